"""Stimuli that reach the corners of floating-point sums: every one is drawn, none is typed in."""

from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from quaver.cosim.array_runs import GemmCase
from quaver.cosim.exact_cases import add_product, as_terms, beside_products, exact_sums
from quaver.golden import Accumulator, Format, Machine, accumulate, chunk_addend, decode, encode, mac
from quaver.golden.exact_register import ExactRegister
from quaver.golden.exact_sums import add_exactly
from quaver.golden.mac import round_sum

Codes = NDArray[Any]
"""Codes; those of exact sums are Python's integers."""


def corners(fmt: Format) -> Codes:
    """Codes at the ends of a format's ranges, with both signs: zeros, least and greatest numbers, one, Inf, NaN."""
    smallest_normal = 1 << fmt.mantissa_bits
    one = int(encode(1.0, fmt))
    magnitudes = {0, 1, 2, smallest_normal - 1, smallest_normal, smallest_normal + 1, one, one + 1, fmt.max_code}
    magnitudes |= {
        fmt.max_code - 1,
        fmt.magnitude_mask,
        fmt.magnitude_mask - 1,
        min(fmt.max_code + 1, fmt.magnitude_mask),
    }
    return np.array([m | s for m in sorted(magnitudes) for s in (0, fmt.sign_mask)])


def sums(rng: Generator, fmt: Format, count: int) -> Codes:
    """Codes of a sum: a quarter each of any code, small ones, large ones and corners."""
    signs = rng.integers(0, 2, count) * fmt.sign_mask
    near = 1 << min(fmt.bits - 1, fmt.mantissa_bits + 2)
    return np.choose(
        rng.integers(0, 4, count),
        [
            rng.integers(0, 1 << fmt.bits, count),
            rng.integers(0, near, count) | signs,
            fmt.magnitude_mask - rng.integers(0, near, count) | signs,
            rng.choice(corners(fmt), count),
        ],
    )


def beside(rng: Generator, codes: Codes, fmt: Format) -> Codes:
    """Sums close to addends that are about `codes`: half cancel them but for a few ulps, half overlap their bits."""
    count, reach = len(codes), fmt.precision + 3
    cancelling = ((codes ^ fmt.sign_mask) + rng.integers(-2, 3, count)) & ((1 << fmt.bits) - 1)
    binades = rng.integers(-reach, reach + 1, count) << fmt.mantissa_bits
    overlapping = (codes & fmt.magnitude_mask ^ rng.integers(0, 1 << fmt.mantissa_bits, count)) + binades
    overlapping = np.clip(overlapping, 0, fmt.max_code) | rng.integers(0, 2, count) * fmt.sign_mask
    return np.where(rng.integers(0, 2, count) == 1, cancelling, overlapping)


def operand_pairs(rng: Generator, a_format: Format, b_format: Format) -> tuple[Codes, Codes]:
    """Every pair of codes of two formats of 8 or 9 bits; of wider ones, which have too many, 65,536 drawn pairs."""
    if a_format.bits + b_format.bits > 18:
        return sums(rng, a_format, 1 << 16), sums(rng, b_format, 1 << 16)
    a, b = np.indices((1 << a_format.bits, 1 << b_format.bits))
    return a.reshape(-1), b.reshape(-1)


def mac_cases(rng: Generator, machine: Machine, count: int) -> dict[str, Codes]:
    """Operands, format choices and sums of `count` MACs: half of the sums lie close to their product."""
    a_choice, b_choice = (rng.integers(0, len(f), count) for f in (machine.a_formats, machine.b_formats))
    a, b, close = np.zeros(count, np.int64), np.zeros(count, np.int64), inner_sums(rng, machine, count)
    for a_index, a_format in enumerate(machine.a_formats):
        for b_index, b_format in enumerate(machine.b_formats):
            of = np.nonzero((a_choice == a_index) & (b_choice == b_index))[0]
            a[of], b[of] = sums(rng, a_format, len(of)), sums(rng, b_format, len(of))
            close[of] = beside_macs(rng, machine, a[of], b[of], a_format, b_format)
    cases = {"a": a, "b": b, "a_format": a_choice, "b_format": b_choice}
    cases["sum"] = np.where(rng.integers(0, 2, count) == 1, close, inner_sums(rng, machine, count))
    if machine.inner_rounding.stochastic:
        cases["word"] = rng.integers(0, 1 << machine.inner_rounding.random_bits, count)
    return cases


def inner_sums(rng: Generator, machine: Machine, count: int) -> Codes:
    """Codes of `count` inner sums of any size."""
    code = machine.inner_code
    return exact_sums(rng, code, count) if isinstance(code, ExactRegister) else sums(rng, code, count)


def beside_macs(rng: Generator, machine: Machine, a: Codes, b: Codes, a_format: Format, b_format: Format) -> Codes:
    """Codes of inner sums close to the products of `a` and `b`; exact ones close to what cancels them."""
    fmt = machine.inner_code
    if isinstance(fmt, ExactRegister):
        return beside_products(rng, fmt, decode(a, a_format), decode(b, b_format))
    near = mac(0, a, b, a_format=a_format, b_format=b_format, accumulator=Accumulator(format=fmt))
    return beside(rng, near.astype(np.int64), fmt)


def add_products(cases: dict[str, Codes], a_format: Format, b_format: Format, machine: Machine) -> Codes:
    """What the definition makes of `mac_cases` of one pair of formats."""
    a, b, codes, inner = cases["a"], cases["b"], cases["sum"], machine.inner
    if isinstance(inner, Accumulator):
        formats = {"a_format": a_format, "b_format": b_format}
        return mac(codes, a, b, **formats, accumulator=inner, words=cases.get("word"))
    assert machine.exact_register is not None
    return add_product(machine.exact_register, codes, decode(a, a_format), decode(b, b_format))


def join_chunks(y: Codes, chunks: Codes, machine: Machine, outer: Accumulator, words: Codes | None = None) -> Codes:
    """What the definition makes of outer sums `y` and codes of `machine`'s chunk sums."""
    code = machine.inner_code
    if isinstance(code, ExactRegister):
        return round_sum(add_exactly([decode(y, outer.format), *as_terms(code, chunks)]), outer, words)
    return accumulate(y, chunk_addend(chunks, code), outer, words)


def outer_cases(rng: Generator, machine: Machine, count: int) -> dict[str, Codes]:
    """Chunk sums and outer sums of `count` outer additions: half of the latter lie close to the former (`beside`)."""
    outer, chunk = machine.outer.format, inner_sums(rng, machine, count)
    near = join_chunks(np.zeros(count, np.int64), chunk, machine, Accumulator(format=outer)).astype(np.int64)
    close = rng.integers(0, 2, count) == 1
    cases = {"chunk": chunk, "outer_sum": np.where(close, beside(rng, near, outer), sums(rng, outer, count))}
    if machine.outer.rounding.stochastic:
        cases["outer_word"] = rng.integers(0, 1 << machine.outer.rounding.random_bits, count)
    return cases


def gemm_cases(rng: Generator, machine: Machine, count: int) -> list[GemmCase]:
    """GEMMs of random shape, M, K and N up to `shape_limits`.  Every second one has idle cycles and back-pressure."""
    cases = []
    for index in range(count):
        m, k, n = rng.integers(1, shape_limits(machine), endpoint=True)
        a_format, b_format = rng.choice(len(machine.a_formats)), rng.choice(len(machine.b_formats))
        weights_idle, activations_idle, stall = [0.0] * 3 if index % 2 else rng.uniform(0, 0.6, 3).tolist()
        cases.append(
            GemmCase(
                operand(rng, machine.a_formats[a_format], (m, k)),
                operand(rng, machine.b_formats[b_format], (k, n)),
                machine.a_formats[a_format],
                machine.b_formats[b_format],
                weights_idle,
                activations_idle,
                stall,
                reset=index % 5 != 4,
            )
        )
    return cases


def shape_limits(machine: Machine) -> tuple[int, int, int]:
    """M, K and N of GEMMs that take a few tiles: 40 rows (`os`: two blocks), three tiles of K and of N.

    With `os` a tile of K is a k step, and what counts is a chunk of up to 64 products.
    """
    rows, products, columns = 40, 3 * machine.rows, 3 * machine.columns
    match machine.dataflow:
        case "os":
            return max(rows, 2 * machine.block_rows), 3 * max(machine.rows, min(machine.chunk, 64)), columns
        case "is":
            return columns, products, rows
        case _:
            return rows, products, columns


def operand(rng: Generator, fmt: Format, shape: tuple[int, ...]) -> Codes:
    """Codes of an array: of a normal distribution of random scale, with zeros; one array in eight of any codes."""
    if rng.integers(0, 8) == 0:
        return rng.integers(0, 1 << fmt.bits, shape)
    values = rng.normal(size=shape) * 2.0 ** rng.integers(-4, 4)
    values[rng.random(shape) < 0.1] = rng.choice([0.0, -0.0])
    return encode(values, fmt, saturate=True).astype(np.int64)
