"""S2FP8's power law and decoder in Verilog, in bulk, against the golden model."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from quaver.cosim.lanes import evaluate
from quaver.cosim.s2fp8_runs import ENCODED_LATENCY, REGISTERS_LATE, ROUNDING_LATE, S2fp8Lanes
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
from quaver.hw.power_law import POWER_LAW_LATENCY, POWER_LAYOUT
from quaver.hw.s2fp8_decoder import S2FP8_DECODER_LATENCY

SEED = 15
CASES, PAIRS = 60_000, 400
"""Numbers squeezed in each format, and pairs of registers among them."""
PAIRS_OF_DECODER = 64
RANDOM_BITS = 8


def port_values(registers: np.ndarray) -> dict[str, np.ndarray]:
    return {"factor": registers[:, 0], "offset": registers[:, 1] & 0xFFFFFFFF}


def by_pair(codes: np.ndarray, pair: np.ndarray, registers: np.ndarray, golden: Callable) -> Iterator[tuple]:
    """Where each pair of registers was used, and what `golden` makes of the codes there."""
    for index, (factor, offset) in enumerate(registers.tolist()):
        where = pair == index
        yield where, golden(codes[where], (factor, offset))


def decoder_registers(rng: np.random.Generator) -> np.ndarray:
    """Registers of tensors, of the paper's and of extremes among them, and the registers' ends."""
    tensors = [(5.0, 21.0), (1.0, 0.0), (0.25, 21.0), (16.0, 128.0)]
    tensors += [(4096.0, 21.0), (4096.0, -32768.0), (2.0**-12, 0.0)]
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
    with Model.of(S2fp8Lanes, E5M2, RANDOM_BITS) as model:
        inputs = {"code": codes, **port_values(registers[pair])}
        got = evaluate(model, "decoded", inputs, latency=S2FP8_DECODER_LATENCY, late=REGISTERS_LATE)
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
    with Model.of(S2fp8Lanes, fmt, RANDOM_BITS) as model:
        inputs = {"code": codes, **port_values(registers[pair]), **rounding}
        late = REGISTERS_LATE | ROUNDING_LATE
        powers = evaluate(model, "power", inputs, latency=POWER_LAW_LATENCY, late=late)
        results = evaluate(model, "encoded", inputs, latency=ENCODED_LATENCY, late=late)

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
