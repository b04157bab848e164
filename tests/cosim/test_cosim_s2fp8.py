"""S2FP8's power law and decoder in Verilog, in bulk, against the golden model."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from amaranth.hdl import Module, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quaver.cosim.lanes import LANES, evaluate
from quaver.cosim.simulator import Model
from quaver.golden import (
    RNE,
    Exact,
    Format,
    decode,
    encode,
    power_law,
    round_to,
    s2fp8_decode_fixed,
    squeeze_registers,
    sr,
    to_float,
    unsqueeze_registers,
)
from quaver.golden.catalog import BF16, DLFLOAT16, E5M2, FP32
from quaver.golden.logarithms import EXP2_FRACTION_BITS
from quaver.golden.s2fp8_fixed import FACTOR_BITS, OFFSET_BITS
from quaver.hw.decoder import unpack
from quaver.hw.design import place
from quaver.hw.power_law import POWER_LAW_LATENCY, POWER_LAYOUT, PowerLaw
from quaver.hw.rounder import ROUNDER_LATENCY, Rounder, number_layout
from quaver.hw.s2fp8_decoder import S2FP8_DECODER_LATENCY, S2fp8Decoder
from quaver.hw.unpacked import operand_shape

SEED = 15
CASES, PAIRS = 60_000, 400
"""Numbers squeezed in each format, and pairs of registers among them."""
PAIRS_OF_DECODER = 64
RANDOM_BITS = 8
LATE = {"factor": 1, "offset": 2}
"""The registers are read while their number is within: each case has its own."""


class Encoder(wiring.Component):
    """Codes of `source` to E5M2: unpacked, squeezed, and rounded as chosen."""

    def __init__(self, source: Format) -> None:
        self.source = source
        super().__init__(
            {
                **{"enable": In(1), "code": In(source.bits)},
                **{"factor": In(FACTOR_BITS), "offset": In(signed(OFFSET_BITS))},
                **{"stochastic": In(1), "word": In(RANDOM_BITS), "saturate": In(1)},
                **{"power": Out(POWER_LAYOUT.size), "result": Out(E5M2.bits)},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = operand_shape((self.source,))
        layout = number_layout(shape.significand_bits, 9)
        number = unpack(m, self.code, self.source, shape)
        power_law = place(m, platform, "power_law", PowerLaw, layout)
        rounder = place(m, platform, "rounder", Rounder, POWER_LAYOUT, E5M2, RANDOM_BITS)
        m.d.comb += [
            power_law.number.significand.eq(number.significand),
            power_law.number.exponent.eq(number.exponent + shape.low),
            power_law.number.sign.eq(number.sign),
            power_law.number.inf.eq(number.inf),
            power_law.number.nan.eq(number.nan),
            rounder.number.eq(power_law.power),
            self.power.eq(power_law.power),
            self.result.eq(rounder.code),
        ]
        for part, names in ((power_law, ("factor", "offset", "enable")), (rounder, ("word", "stochastic", "saturate"))):
            m.d.comb += [getattr(part, name).eq(getattr(self, name)) for name in names]
        m.d.comb += rounder.enable.eq(self.enable)
        return m


class SideBySide(wiring.Component):
    """`LANES` copies of a component, whose ports it has as arrays of 32-bit words."""

    def __init__(self, component: type[wiring.Component], *args: Format) -> None:
        self.component, self.args = component, args
        lane = component(*args)
        lane._MustUse__silence = True  # built for its signature alone
        array = data.ArrayLayout(32, LANES)
        super().__init__(
            {name: In(array) if member.flow == In else Out(array) for name, member in lane.signature.members.items()}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for index in range(LANES):
            lane = place(m, platform, f"lane_{index}", self.component, *self.args)
            for name, member in self.signature.members.items():
                outside, inside = getattr(self, name)[index], Value.cast(getattr(lane, name))
                m.d.comb += inside.eq(outside) if member.flow == In else outside.eq(inside)
        return m


def run(model: Model, output: str, inputs: dict[str, np.ndarray], latency: int, late: dict[str, int]) -> np.ndarray:
    """What the lanes answer, the pipeline enabled to the end of the last case."""
    cases = len(inputs["code"])
    inputs = {"enable": np.ones(cases, np.int64), **inputs}
    longer = {name: np.concatenate([values, np.ones(8 * LANES, np.int64)]) for name, values in inputs.items()}
    return evaluate(model, output, longer, latency=latency, late=late)[:cases]


def port_values(registers: np.ndarray) -> dict[str, np.ndarray]:
    return {"factor": registers[:, 0], "offset": registers[:, 1] & 0xFFFFFFFF}


def by_pair(codes: np.ndarray, pair: np.ndarray, registers: np.ndarray, golden: Callable) -> Iterator[tuple]:
    """Where each pair of registers was used, and what `golden` makes of the codes there."""
    for index, (factor, offset) in enumerate(registers.tolist()):
        where = pair == index
        yield where, golden(codes[where], (factor, offset))


def decoder_registers(rng: np.random.Generator) -> np.ndarray:
    """Registers of tensors, of the paper's and of extremes among them, and the registers' ends."""
    tensors = [
        (5.0, 21.0),
        (1.0, 0.0),
        (0.25, 21.0),
        (4096.0, 21.0),
        (4096.0, -32768.0),
        (2.0**-12, 0.0),
        (16.0, 128.0),
    ]
    ends = [(1, 0), (0xFFFFFFFF, (1 << 31) - 1), (0xFFFFFFFF, -(1 << 31)), (1 << 20, -126 << 16), (1 << 20, 112 << 16)]
    count = PAIRS_OF_DECODER - len(tensors) - len(ends)
    alphas, means = 15 / np.exp2(rng.uniform(-1, 5, count)), rng.uniform(-110, 60, count)
    tensors += zip(alphas, -alphas * means, strict=True)
    return np.array([*map(unsqueeze_registers, tensors), *ends], np.int64)


def test_decoder() -> None:
    """All codes under 64 pairs of registers, in random order."""
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    registers = decoder_registers(rng)
    pair, codes = np.divmod(rng.permutation(PAIRS_OF_DECODER * 256), 256)
    with Model.of(SideBySide, S2fp8Decoder) as model:
        inputs = {"code": codes, **port_values(registers[pair])}
        got = run(model, "result", inputs, S2FP8_DECODER_LATENCY, LATE)
    expected = np.full(len(codes), -1)
    for where, results in by_pair(codes, pair, registers, s2fp8_decode_fixed):
        expected[where] = results
    np.testing.assert_array_equal(got, expected)
    assert len(got) == 16_384
    reach(expected, BF16)


def reach(results: np.ndarray, fmt: Format) -> None:
    """Nothing is proved by results of one kind."""
    values = np.abs(to_float(results, fmt))
    seen = {
        "0": values == 0,
        "subnormal": (values > 0) & (values < fmt.min_normal),
        "normal": np.isfinite(values) & (values >= fmt.min_normal),
        "Inf": np.isinf(values),
        "NaN": np.isnan(values),
    }
    counts = {name: int(where.sum()) for name, where in seen.items()}
    print(counts)
    assert min(counts.values()) > 50
    assert counts["normal"] > len(values) / 4


def encoder_cases(rng: np.random.Generator, fmt: Format) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes, indices into pairs of registers, and those: three quarters in E5M2's range or just out of it."""
    alphas, means = np.exp2(rng.uniform(-4, 12, PAIRS)), rng.uniform(-30, 30, PAIRS)
    means = np.clip(means, -32000 / alphas, 32000 / alphas)
    registers = np.array([*map(squeeze_registers, zip(alphas, -alphas * means, strict=True))], np.int64)
    wild = PAIRS // 20
    registers[:wild] = np.stack([rng.integers(1, 1 << 32, wild), rng.integers(-1 << 31, 1 << 31, wild)], axis=1)
    pair = rng.permutation(np.repeat(np.arange(PAIRS), CASES // PAIRS))
    logarithms = means[pair] + rng.uniform(-19, 17, CASES) / alphas[pair]
    values = np.exp2(np.clip(logarithms, -148, 127)) * rng.choice([-1.0, 1.0], CASES)
    codes = encode(values, fmt, saturate=True).astype(np.int64)
    kind = rng.integers(0, 16, CASES)
    codes[kind < 3] = rng.integers(0, 1 << fmt.bits, np.count_nonzero(kind < 3))
    specials = [0, fmt.sign_mask, fmt.inf_code, fmt.inf_code | fmt.sign_mask, fmt.nan_code, 1, fmt.max_code]
    codes[kind == 3] = rng.choice(specials, np.count_nonzero(kind == 3))
    return codes, pair, registers


@pytest.mark.parametrize("fmt", [FP32, DLFLOAT16], ids=str)
def test_encoder(fmt: Format) -> None:
    """Powers bit by bit, and their codes by both roundings; successive cases have different registers."""
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    codes, pair, registers = encoder_cases(rng, fmt)
    rounding = {"stochastic": rng.integers(0, 2, CASES), "saturate": rng.integers(0, 2, CASES)}
    rounding["word"] = rng.integers(0, 1 << RANDOM_BITS, CASES)
    with Model.of(SideBySide, Encoder, fmt) as model:
        inputs = {"code": codes, **port_values(registers[pair]), **rounding}
        late = LATE | dict.fromkeys(rounding, POWER_LAW_LATENCY)
        powers = run(model, "power", inputs, POWER_LAW_LATENCY, late)
        results = run(model, "result", inputs, POWER_LAW_LATENCY + ROUNDER_LATENCY, late)

    expected = Exact(*(np.zeros(CASES, kind) for kind in (bool, np.int64, np.int64, bool, bool, bool)))
    for where, power in by_pair(codes, pair, registers, lambda c, r: power_law(decode(c, fmt), r)):
        for whole, part in zip(expected, power, strict=True):
            whole[where] = part
    fields = {name: powers >> field.offset & ((1 << field.width) - 1) for name, field in POWER_LAYOUT}
    for name, flags in (("sign", expected.sign), ("inf", expected.inf), ("nan", expected.nan)):
        np.testing.assert_array_equal(fields[name], flags)
    number = ~(expected.inf | expected.nan)
    np.testing.assert_array_equal(fields["significand"][number], expected.significand[number])
    number &= expected.significand != 0
    exponents = expected.exponent + EXP2_FRACTION_BITS & (1 << POWER_LAYOUT["exponent"].width) - 1
    np.testing.assert_array_equal(fields["exponent"][number], exponents[number])
    assert number.sum() > 0.9 * CASES

    compared = 0
    for stochastic in (0, 1):
        for saturate in (0, 1):
            where = (rounding["stochastic"] == stochastic) & (rounding["saturate"] == saturate)
            part = Exact(*(field[where] for field in expected))
            mode = sr(RANDOM_BITS) if stochastic else RNE
            words = rounding["word"][where] if stochastic else None
            np.testing.assert_array_equal(
                results[where], round_to(part, E5M2, mode, words=words, saturate=bool(saturate))
            )
            compared += len(part.sign)
    assert compared == len(powers) == CASES == 60_000
    reach(results, E5M2)
