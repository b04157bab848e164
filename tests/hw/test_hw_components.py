"""Components are ordinary Amaranth components: without a `Design` they simulate in Amaranth, and tell the same bits."""

from collections.abc import Callable

import numpy as np
import pytest
from amaranth.lib import data

from quaver.golden import (
    FORMATS,
    Accumulator,
    Format,
    LeapingLfsr,
    Machine,
    accumulate,
    decode,
    mac,
    multiply,
    seed_of,
    sr,
)
from quaver.golden.arithmetic import OPERAND_PRECISION_MAX
from quaver.golden.catalog import DLFLOAT16, E4M3, E4M3FNUZ, E5M2, E6M5, FP16, FP32
from quaver.golden.formats import Exact
from quaver.golden.mac import chunk_addend
from quaver.hw.chunk_adder import ChunkAdder
from quaver.hw.decoder import Decoder
from quaver.hw.lfsr import WordGenerator
from quaver.hw.mac import Mac
from quaver.hw.multiplier import Multiplier
from quaver.hw.unpacked import Unpacked, operand_shape

Play = Callable[..., dict[str, np.ndarray]]
OPERANDS = [f for f in FORMATS.values() if f.bits <= 9 and f.precision <= OPERAND_PRECISION_MAX]


def members(raw: np.ndarray, layout: data.StructLayout) -> dict[str, np.ndarray]:
    return {name: raw >> field.offset & ((1 << field.width) - 1) for name, field in layout}


def same(raw: np.ndarray, shape: Unpacked, exact: Exact) -> np.ndarray:
    """Where an unpacked number is `exact`."""
    got = members(raw, shape.layout)
    value = np.ldexp(got["significand"].astype(float), got["exponent"] + shape.low - shape.significand_bits + 1)
    number = ~(exact.nan | exact.inf)
    classes = (got["nan"] == exact.nan) & (exact.nan | ((got["inf"] == exact.inf) & (got["sign"] == exact.sign)))
    return classes & (~number | (value == np.ldexp(exact.significand.astype(float), exact.exponent)))


@pytest.mark.parametrize("fmt", OPERANDS, ids=str)
def test_decoder(play: Play, fmt: Format) -> None:
    codes = np.arange(1 << fmt.bits)
    for formats in ((fmt,), (E4M3FNUZ, fmt, E5M2) if fmt not in (E4M3FNUZ, E5M2) else (E4M3, fmt)):
        choice = {"format": np.full(len(codes), formats.index(fmt))} if len(formats) > 1 else {}
        decoder = Decoder(formats)
        raw = play(decoder, {"code": codes, **choice}, ["operand"], clocked=False)["operand"]
        assert len(raw) == len(codes)
        assert same(raw, decoder.shape, decode(codes, fmt)).all()
        got = members(raw, decoder.shape.layout)
        number = ~(decode(codes, fmt).nan | decode(codes, fmt).inf)
        leading = got["significand"] >> (decoder.shape.significand_bits - 1)
        assert (leading == (got["significand"] != 0))[number].all(), "an operand is normalised"


@pytest.mark.parametrize("formats", [(E4M3, E5M2), (E4M3FNUZ,)], ids=["hybrid", "fnuz"])
def test_an_absent_operand_is_minus_zero(play: Play, formats: tuple[Format, ...]) -> None:
    decoder = Decoder(formats)
    codes = np.arange(256)
    raw = play(decoder, {"code": codes, "absent": np.ones_like(codes)}, ["operand"], clocked=False)["operand"]
    got = members(raw, decoder.shape.layout)
    assert {name: set(got[name].tolist()) for name in ("significand", "sign", "inf", "nan")} == {
        **{"significand": {0}, "sign": {1}, "inf": {0}, "nan": {0}}
    }


@pytest.mark.parametrize("formats", [((E4M3, E5M2), (E5M2, E4M3)), ((E4M3FNUZ,), (E6M5,))], ids=["hybrid", "wide"])
def test_multiplier(play: Play, formats: tuple[tuple[Format, ...], tuple[Format, ...]]) -> None:
    rng = np.random.default_rng(2)
    codes = [rng.integers(0, 1 << f[0].bits, 4000) for f in formats]
    operands = [
        play(Decoder(f), {"code": c}, ["operand"], clocked=False)["operand"]
        for f, c in zip(formats, codes, strict=True)
    ]
    multiplier = Multiplier(*map(operand_shape, formats))
    raw = play(multiplier, dict(zip("ab", operands, strict=True)), ["product"], clocked=False)["product"]
    exact = multiply(*(decode(c, f[0]) for f, c in zip(formats, codes, strict=True)))
    assert same(raw, multiplier.shape, exact).all()


@pytest.mark.parametrize("bits", [1, 2, 7, 10, 16])
def test_word_generator(play: Play, bits: int) -> None:
    """The word of item i is there after the i-th step and stays; without a step nothing moves."""
    rng = np.random.default_rng(bits)
    seed = seed_of(1, bits)
    step = rng.integers(0, 2, 300)
    got = play(WordGenerator(bits), {"seed": np.full(300, seed), "step": step}, ["word"])["word"]
    words = LeapingLfsr(bits).words(seed, 0, 300)
    served = np.cumsum(step) - step
    assert served[-1] > 100
    np.testing.assert_array_equal(got[served > 0], words[served - 1][served > 0])


def machine_of_depth(depth: int, *, stochastic: bool = False) -> Machine:
    inner = Accumulator(format=FP16, rounding=sr(9)) if stochastic else Accumulator(format=DLFLOAT16)
    outer = Accumulator(format=FP32, rounding=sr(6)) if stochastic else Accumulator(format=E6M5)
    return Machine(rows=2, columns=2, chunk=2, mac_depth=depth, inner=inner, outer=outer)


def delayed(values: np.ndarray, cycles: int) -> np.ndarray:
    return np.concatenate([np.zeros(cycles, np.int64), values[: len(values) - cycles]])


@pytest.mark.parametrize("stochastic", [False, True], ids=["rne", "sr"])
@pytest.mark.parametrize("depth", range(1, 8))
def test_mac_and_its_latency(play: Play, depth: int, stochastic: bool) -> None:
    """One MAC per cycle, each `mac_depth` after its operands; no other latency gives these sums."""
    machine, count = machine_of_depth(depth, stochastic=stochastic), 400
    rng = np.random.default_rng(depth)
    a, b = rng.integers(0, 256, count), rng.integers(0, 256, count)
    fmt = machine.inner.format
    acc = rng.integers(0, fmt.max_code, count) | rng.integers(0, 2, count) * fmt.sign_mask
    words = rng.integers(0, 1 << machine.inner.rounding.random_bits, count) if stochastic else None
    decoded = [play(Decoder((E4M3, E5M2)), {"code": c}, ["operand"], clocked=False)["operand"] for c in (a, b)]
    inputs = {"a": decoded[0], "b": decoded[1], "sum": delayed(acc, machine.product_latency)}
    if words is not None:
        inputs["word"] = words
    got = play(Mac(machine), inputs, ["result"])["result"]
    expected = mac(acc, a, b, a_format=E4M3, b_format=E4M3, accumulator=machine.inner, words=words)
    matching = [d for d in range(12) if np.array_equal(got[d:], expected[: count - d])]
    assert matching == [machine.mac_depth] == [machine.product_latency + machine.adder_latency]


@pytest.mark.parametrize("stochastic", [False, True], ids=["rne", "sr"])
@pytest.mark.parametrize("depth", range(1, 8))
def test_outer_adder_and_its_latency(play: Play, depth: int, stochastic: bool) -> None:
    machine, count = machine_of_depth(depth, stochastic=stochastic), 400
    rng = np.random.default_rng(depth)
    chunk, y = (rng.integers(0, 1 << f.bits, count) for f in (machine.inner.format, machine.outer.format))
    words = rng.integers(0, 1 << machine.outer.rounding.random_bits, count) if stochastic else None
    inputs = {"chunk": chunk, "sum": y} | ({} if words is None else {"word": words})
    got = play(ChunkAdder(machine.inner.format, machine.outer, depth), inputs, ["result"])["result"]
    expected = accumulate(y, chunk_addend(chunk, machine.inner.format), machine.outer, words)
    matching = [d for d in range(12) if np.array_equal(got[d:], expected[: count - d])]
    assert matching == [machine.adder_latency]
