"""`quaver verify`: the generated Verilog against the golden model's bits and the simulator's cycles."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quaver.cosim.array_runs import GemmCase, run_model, run_rtl
from quaver.cosim.cases import add_products, gemm_cases, join_chunks, mac_cases, operand_pairs, outer_cases
from quaver.cosim.checks import Check, Checked, check
from quaver.cosim.command_cases import sequence_cases
from quaver.cosim.exact_cases import canonical
from quaver.cosim.lanes import Lanes, evaluate, lane_words, product_of
from quaver.cosim.sequences import check_sequences
from quaver.cosim.simulator import Model
from quaver.golden import Format, Machine, decode, multiply
from quaver.golden.errors import check_range
from quaver.hw.accelerator import Accelerator
from quaver.hw.array import array_class

GEMMS = 60
"""GEMMs per verification."""
SEQUENCES = 24
"""Sequences of commands per verification."""


@dataclass(frozen=True, kw_only=True)
class Report(Checked):
    """What was compared with random cases."""

    seed: int

    def to_dict(self, **origin: object) -> dict[str, Any]:
        """The report as `--json` prints it."""
        return super().to_dict(seed=self.seed, **origin)


def check_request(*, cases: int, seed: int) -> None:
    """Raise ValueError unless `verify` can take these."""
    check_range("cases", cases, 1, 1 << 30)
    check_range("seed", seed, 0, (1 << 32) - 1)


def verify(
    machine: Machine, *, cases: int = 20_000, seed: int = 0, progress: Callable[[str], None] = lambda _: None
) -> Report:
    """Co-verify the RTL of `machine`, part by part, the array, the whole; after the first that is wrong it ends.

    Exhaustive products, `cases` MACs and outer additions; `GEMMS` GEMMs on the array; `SEQUENCES` sequences of commands
    on the accelerator behind its AXI ports.

    Raises
    ------
    ValueError
        If `cases` or `seed` is out of range.
    SimulatorError
        If the simulator fails.
    """
    check_request(cases=cases, seed=seed)
    rng = np.random.default_rng(seed)
    report = Report(machine=machine.name, seed=seed)
    progress("building the arithmetic")
    with Model.of(Lanes, machine) as model:
        for check in check_parts(model, machine, rng, cases, progress):
            report.checks.append(check)
            if check.mismatches:
                return report
    progress("building the array")
    with Model.of(array_class(machine), machine) as model:
        progress(f"{GEMMS} GEMMs")
        report.checks.extend(check_gemms(model, machine, gemm_cases(rng, machine, GEMMS), seed))
    if report.passed:
        progress("building the accelerator")
        with Model.of(Accelerator, machine) as model:
            progress(f"{SEQUENCES} sequences of commands")
            report.checks.extend(check_accelerator(model, machine, rng, seed))
    return report


def check_parts(
    model: Model, machine: Machine, rng: np.random.Generator, cases: int, progress: Callable[[str], None]
) -> Iterator[Check]:
    """Check a model of `Lanes(machine)`: all products of all format pairs, then `cases` MACs and outer additions."""
    for a_format, b_format in product(machine.a_formats, machine.b_formats):
        progress(f"products {a_format} x {b_format}")
        yield check_products(model, machine, a_format, b_format, rng)
    progress(f"{cases} MACs")
    yield check_macs(model, machine, mac_cases(rng, machine, cases))
    progress(f"{cases} outer additions")
    yield check_outer(model, machine, outer_cases(rng, machine, cases))


def check_products(
    model: Model, machine: Machine, a_format: Format, b_format: Format, rng: np.random.Generator
) -> Check:
    """Pairs of codes, as `operand_pairs` gives them, through the decoders and the multiplier."""
    a, b = operand_pairs(rng, a_format, b_format)
    choice = {
        "a_format": np.full(len(a), machine.a_formats.index(a_format)),
        "b_format": np.full(len(a), machine.b_formats.index(b_format)),
    }
    raw = evaluate(model, "product", {"a": a, "b": b, **choice}, words=lane_words(machine))
    shape = product_of(machine)

    def member(name: str) -> NDArray[np.int64]:
        part = shape.layout[name]
        return (raw.astype(np.int64) >> part.offset) & ((1 << part.width) - 1)

    # One integer per product: its class, or its sign and exact value in units that hold every product.
    got_value = np.ldexp(
        member("significand").astype(float), member("exponent") + shape.low - shape.significand_bits + 1
    )
    exact = multiply(decode(a, a_format), decode(b, b_format))
    value = np.ldexp(exact.significand.astype(float), exact.exponent)
    nan, inf = member("nan") == 1, member("inf") == 1
    same = np.where(
        exact.nan | nan,
        exact.nan == nan,
        (exact.sign == (member("sign") == 1)) & (exact.inf == inf) & (exact.inf | (got_value == value)),
    )

    def show(is_nan: bool, is_inf: bool, negative: bool, number: float) -> str:
        return "NaN" if is_nan else ("-" if negative else "+") + ("Inf" if is_inf else repr(float(number)))

    def describe(i: int) -> str:
        expected = show(exact.nan[i], exact.inf[i], exact.sign[i], value[i])
        got = show(nan[i], inf[i], member("sign")[i] == 1, got_value[i])
        return f"a = {a[i]:#04x} ({a_format}), b = {b[i]:#04x} ({b_format}): expected {expected}, got {got}"

    return check(f"product {a_format} x {b_format}", same, describe)


def check_macs(model: Model, machine: Machine, cases: dict[str, NDArray[np.int64]]) -> Check:
    """MACs, against `golden.mac`, or against sums of `golden.multiply` where they are exact."""
    late, register = {"sum": machine.product_latency}, machine.exact_register
    got = evaluate(model, "mac", cases, latency=machine.mac_depth, late=late, words=lane_words(machine))
    got = got if register is None else canonical(register, got)
    expected = np.zeros_like(cases["sum"])
    for (i, a_format), (j, b_format) in product(enumerate(machine.a_formats), enumerate(machine.b_formats)):
        of = (cases["a_format"] == i) & (cases["b_format"] == j)
        part = {name: values[of] for name, values in cases.items()}
        expected[of] = add_products(part, a_format, b_format, machine)
    return check(f"mac {machine.inner}", got == expected, _codes(cases, expected, got))


def check_outer(model: Model, machine: Machine, cases: dict[str, NDArray[np.int64]]) -> Check:
    """Outer additions, against `golden.accumulate`, or `golden.exact_sums` where chunks are exact."""
    late = dict.fromkeys(("outer_sum", "outer_word"), machine.chunk_latency)
    latency = machine.chunk_latency + machine.outer_latency
    got = evaluate(model, "outer", cases, latency=latency, late=late, words=lane_words(machine))
    expected = join_chunks(cases["outer_sum"], cases["chunk"], machine, machine.outer, cases.get("outer_word"))
    return check(f"outer sum {machine.outer}", got == expected, _codes(cases, expected, got))


def check_gemms(model: Model, machine: Machine, cases: list[GemmCase], seed: int) -> list[Check]:
    """GEMMs on a model of `machine`'s array: every bit, and the cycles of those whose streams are always ready."""
    got, expected = run_rtl(model, machine, cases, seed), run_model(machine, cases)
    at = [(c, g, e, r, s) for c, g, e in zip(cases, got, expected, strict=True) for r, s in np.ndindex(e.y.shape)]
    same = np.concatenate([(g.y == e.y).reshape(-1) for g, e in zip(got, expected, strict=True)])

    def bit(i: int) -> str:
        case, g, e, row, column = at[i]
        operands = f"a = [{_hex(case.a[row])}], b = [{_hex(case.b[:, column])}]"
        result = f"expected {e.y[row, column]:#x}, got {g.y[row, column]:#x}"
        return f"{_shape(case)}, y[{row}, {column}], {operands}: {result}"

    flowing = [(c, g.cycles, e.cycles) for c, g, e in zip(cases, got, expected, strict=True) if c.flows]

    def cycle(i: int) -> str:
        case, g, e = flowing[i]
        return f"{_shape(case)}: expected {e} cycles, got {g}"

    return [
        check("gemm bits", same, bit),
        check("gemm cycles", np.array([g == e for _, g, e in flowing], bool), cycle),
    ]


def check_accelerator(model: Model, machine: Machine, rng: np.random.Generator, seed: int) -> list[Check]:
    """Sequences of commands on a model of `Accelerator(machine)`; no check of updates where it has no unit for them."""
    checks = check_sequences(model, machine, sequence_cases(rng, machine, SEQUENCES), seed)
    return [check for check in checks if machine.update_lanes or check.name != "updates"]


def _shape(case: GemmCase) -> str:
    m, k, n = case.shape
    return f"GEMM M = {m}, K = {k}, N = {n}, {case.a_format} x {case.b_format}"


def _hex(codes: NDArray[np.int64]) -> str:
    return " ".join(f"{code:02x}" for code in codes)


def _codes(cases: dict[str, NDArray[np.int64]], expected: NDArray, got: NDArray) -> Callable[[int], str]:
    def describe(i: int) -> str:
        operands = ", ".join(f"{name} = {values[i]:#x}" for name, values in cases.items())
        return f"{operands}: expected {expected[i]:#x}, got {got[i]:#x}"

    return describe
