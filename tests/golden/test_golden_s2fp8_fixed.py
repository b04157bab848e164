"""Squeezing in exact integers against the real formula, in decimals of 50 digits."""

from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from quaver.golden import (
    RNE,
    Format,
    LaneWords,
    S2fp8Parameters,
    decode,
    from_float,
    power_law,
    rescale,
    s2fp8_decode,
    s2fp8_decode_fixed,
    s2fp8_encode,
    s2fp8_encode_fixed,
    s2fp8_parameters,
    s2fp8_statistics,
    squeeze_registers,
    sr,
    to_float,
    unsqueeze_registers,
)
from quaver.golden.catalog import BF16, DLFLOAT16, E5M2, FP32
from quaver.golden.logarithms import EXP2_ERROR, LOG2_ERROR, LOG2_FRACTION_BITS

SEED = 4096
CODES = np.arange(256)
EXTREMES = [
    *[(1.0, 0.0), (5.0, 21.0), (0.25, 21.0), (0.25, -40.0), (16.0, 128.0), (0.06, -2.5), (3.0, 149.0)],
    *[(2.0**-12, 0.0), (2.0**-12, 7.0), (4096.0, 0.0), (4096.0, 21.0), (4096.0, 32767.0), (4096.0, -32768.0)],
]
"""The paper's (alpha about 5, beta about 21) among them, and what takes every code beyond BF16."""
NEAREST_ENTRY = 0.5
"""Error of the logarithm of a significand that is an end of a segment, as all of E5M2's are."""


def pairs(count: int) -> list[tuple[float, float]]:
    """Extremes, then those of tensors whose mean is 2^-30 to 2^10 and whose maximum is 2^(1/2) to 2^24 above it."""
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    drawn = count - len(EXTREMES)
    alphas, means = 15 / np.exp2(rng.uniform(-1, np.log2(24), drawn)), rng.uniform(-30, 10, drawn)
    return EXTREMES + list(zip(alphas.tolist(), (-alphas * means).tolist(), strict=True))


def log2(x: Fraction) -> Decimal:
    return (Decimal(x.numerator) / Decimal(x.denominator)).ln() / Decimal(2).ln()


def logarithm_bound(factor: float, log2_error: float, logarithm: float) -> float:
    """What docs/numerics.md states: of the logarithm, its rounded product and the power, and of the registers."""
    tables = factor * log2_error + 0.5 + EXP2_ERROR / np.log(2) + 1e-3
    registers = 0.5 + abs(logarithm) / (16 if factor == 4096 else 32)
    return (tables + registers) * 2.0**-LOG2_FRACTION_BITS


def half_ulp(logarithm: Decimal, fmt: Format) -> Decimal:
    return Decimal(2) ** (max(int(logarithm.__floor__()), fmt.emin) - fmt.precision)


@cache
def edge(fmt: Format) -> Decimal:
    """Where an overflow begins."""
    return Decimal(fmt.max_finite) + half_ulp(log2(Fraction(fmt.max_finite)), fmt)


def check_rounded(result: float, exact: Decimal, bound: float, fmt: Format) -> bool:
    """Assert that `result` is 2^exact rounded to nearest, within the logarithm's bound; whether it is so without it."""
    two = Decimal(2)
    low, high = exact - Decimal(bound), exact + Decimal(bound)

    if np.isinf(result):
        assert two**high >= edge(fmt)
        return two**exact >= edge(fmt)
    assert two**low <= edge(fmt)
    assert two**low - half_ulp(low, fmt) <= Decimal(result) <= two**high + half_ulp(high, fmt)
    return abs(Decimal(result) - two**exact) <= half_ulp(exact, fmt)


def compare(fmt: Format, target: Format, inputs, results, law, log2_error) -> tuple[int, int]:
    """Check results for finite inputs other than 0; how many, and how many are the real formula rounded."""
    compared = nearest = 0
    with localcontext() as context:
        context.prec = 50
        factor, offset = law
        for x, result in zip(to_float(inputs, fmt).tolist(), to_float(results, target).tolist(), strict=True):
            assert np.signbit(result) == np.signbit(x)
            logarithm = log2(abs(Fraction(x)))
            exact = logarithm * Decimal(factor.numerator) / Decimal(factor.denominator)
            exact += Decimal(offset.numerator) / Decimal(offset.denominator)
            bound = logarithm_bound(float(factor), log2_error, float(logarithm))
            nearest += check_rounded(abs(result), exact, bound, target)
            compared += 1
    return compared, nearest


def test_every_code_is_decoded_within_the_bound():
    finite = CODES[np.isfinite(to_float(CODES, E5M2)) & (CODES & 0x7F != 0)]
    compared = nearest = 0
    for alpha, beta in pairs(64):
        results = s2fp8_decode_fixed(finite, unsqueeze_registers((alpha, beta)))
        law = 1 / Fraction(alpha), -Fraction(beta) / Fraction(alpha)
        counts = compare(E5M2, BF16, finite, results, law, NEAREST_ENTRY)
        compared, nearest = compared + counts[0], nearest + counts[1]
    assert compared == 64 * 2 * 123
    print(f"{nearest} of {compared} are the real formula rounded")
    assert 0.99 * compared < nearest < compared


@pytest.mark.parametrize("fmt", [FP32, DLFLOAT16], ids=str)
def test_numbers_are_encoded_within_the_bound(fmt):
    rng = np.random.default_rng(SEED)
    compared = nearest = 0
    for alpha, beta in pairs(64):
        # The middle half of the codes are numbers that E5M2 can hold, others anything.
        uniform = rng.integers(0, 1 << fmt.bits, 50)
        logarithms = np.clip((rng.uniform(-17, 17, 150) - beta) / alpha, -140, 120)
        held = rescale_floats(np.exp2(logarithms) * rng.choice([-1.0, 1.0], 150), fmt)
        codes = np.concatenate([uniform, held])
        x = decode(codes, fmt)
        codes = codes[(x.significand != 0) & ~x.inf & ~x.nan]
        results = s2fp8_encode_fixed(codes, fmt, squeeze_registers((alpha, beta)))
        counts = compare(fmt, E5M2, codes, results, (Fraction(alpha), Fraction(beta)), LOG2_ERROR)
        compared, nearest = compared + counts[0], nearest + counts[1]
    print(f"{nearest} of {compared} are the real formula rounded")
    assert compared > 11_000
    assert 0.99 * compared < nearest < compared


def rescale_floats(values: np.ndarray, fmt: Format) -> np.ndarray:
    return rescale(values.astype(np.float32).view(np.uint32), FP32, fmt, saturate=True).astype(np.int64)


@pytest.mark.parametrize("rounding", [RNE, sr(8)], ids=str)
def test_a_tensor_is_encoded_as_in_floats(rounding):
    """With the same words; a code may be the next one where the number lies at the edge between two."""
    rng = np.random.default_rng(SEED)
    x = (np.exp2(rng.normal(-20, 3, 20_000)) * rng.choice([-1, 1], 20_000)).astype(np.float32)
    words = rng.integers(0, 256, x.shape) if rounding.stochastic else None
    codes, *parameters = s2fp8_encode(x, rounding, words=words)
    got = s2fp8_encode_fixed(x.view(np.uint32), FP32, squeeze_registers(parameters), rounding, words=words)
    assert np.abs(got.astype(int) - codes).max() <= 1
    assert np.mean(got == codes) > 0.998
    back = to_float(s2fp8_decode_fixed(codes, unsqueeze_registers(parameters)), BF16)
    np.testing.assert_allclose(back, s2fp8_decode(codes, *parameters), rtol=2**-8 * 1.05)
    held = back != 0
    assert held.sum() > 19_000
    # Half an ulp of E5M2 is at most 1 / 8, an alpha-th part of that in the logarithm; a whole one stochastically.
    alpha = parameters[0]
    normal = np.abs(to_float(codes, E5M2)) >= E5M2.min_normal
    step = np.log2(1.25 if rounding.stochastic else 1.126) / alpha + 2**-7
    assert np.abs(np.log2(back / x))[normal].max() < step


def test_by_hand():
    registers = squeeze_registers((2.0, 3.0))
    assert registers == (2 << 20, 3 << 16)
    codes = rescale_floats(np.array([1.0, -2.0, 0.5, 0.25, 64.0, 128.0, 2.0**-10, 2.0**-11]), FP32)
    values = to_float(s2fp8_encode_fixed(codes[:6], FP32, registers), E5M2)
    assert values.tolist() == [8.0, -32.0, 2.0, 0.5, 2.0**15, np.inf]
    # 2^-17 lies half-way between 0 and 2^-16, and 2^-19 below that.
    assert s2fp8_encode_fixed(codes[6:], FP32, registers).tolist() == [0, 0]
    assert s2fp8_encode_fixed(codes[5:6], FP32, registers, saturate=True).tolist() == [0x7B]
    assert s2fp8_encode_fixed(codes[:1], FP32, registers, exponent=-2).tolist() == [0x38]  # 2^(2 * -2 + 3)
    assert unsqueeze_registers((2.0, 3.0)) == (1 << 19, -3 << 15)
    assert to_float(s2fp8_decode_fixed([0x48, 0xD0], unsqueeze_registers((2.0, 3.0))), BF16).tolist() == [1.0, -2.0]


def test_one_is_the_identity():
    """alpha = 1 and beta = 0: every code of E5M2 is its value, and the values are their codes."""
    decoded = s2fp8_decode_fixed(CODES, unsqueeze_registers((1.0, 0.0)))
    np.testing.assert_array_equal(decoded, rescale(CODES, E5M2, BF16))
    np.testing.assert_array_equal(
        s2fp8_encode_fixed(decoded, BF16, squeeze_registers((1.0, 0.0))), rescale(decoded, BF16, E5M2)
    )


@pytest.mark.parametrize("parameters", [(5.0, 21.0), (0.25, -9.0), (4096.0, 32767.0)])
def test_special_numbers_stay(parameters):
    infinities, nans, zeros = [0x7F800000, 0xFF800000], [0x7FC00000, 0xFF800001], [0, 0x80000000]
    registers = squeeze_registers(parameters)
    codes = [*infinities, *nans, *zeros]
    assert s2fp8_encode_fixed(codes, FP32, registers).tolist() == [0x7C, 0xFC, 0x7E, 0x7E, 0x00, 0x80]
    assert s2fp8_encode_fixed(codes, FP32, registers, saturate=True).tolist() == [0x7B, 0xFB, 0x7E, 0x7E, 0x00, 0x80]
    back = s2fp8_decode_fixed([0x7C, 0xFC, 0x7D, 0xFE, 0x00, 0x80], unsqueeze_registers(parameters))
    assert back.tolist() == [0x7F80, 0xFF80, 0x7FC0, 0x7FC0, 0x0000, 0x8000]


def test_exponents_stay_in_their_range():
    ends = [2.0**-140, 2.0**127]
    power = power_law(from_float(ends), (0xFFFFFFFF, -(1 << 31)))
    np.testing.assert_array_equal(power.exponent + 16, [-512, 511])
    np.testing.assert_array_equal(power.significand, [1 << 16, (1 << 17) - 2])
    assert s2fp8_encode_fixed(from_codes(ends), FP32, (0xFFFFFFFF, 0)).tolist() == [0x00, 0x7C]


def from_codes(values: list[float]) -> np.ndarray:
    return np.array(values, np.float32).view(np.uint32)


def test_statistics_of_a_tensor_fit_the_registers():
    rng = np.random.default_rng(SEED)
    compared = 0
    for spread in (0.001, 0.1, 1.0, 8.0):
        for mean in (-120, -20, 0, 100):
            x = np.exp2(mean + spread * rng.uniform(-1, 1, 500))
            parameters = s2fp8_parameters(s2fp8_statistics(x))
            if abs(parameters.beta) < 32768:
                factor, offset = squeeze_registers(parameters)
                assert abs(Fraction(factor, 1 << 20) - Fraction(parameters.alpha)) <= Fraction(1, 1 << 21)
                assert abs(Fraction(offset, 1 << 16) - Fraction(parameters.beta)) <= Fraction(1, 1 << 17)
                compared += 1
    assert compared >= 14


def test_lanes_draw_their_own_words():
    codes = from_codes(np.exp2(np.linspace(-3, 3, 64)).tolist())
    words = LaneWords(lanes=4, seed=3)
    got = s2fp8_encode_fixed(codes, FP32, squeeze_registers((1.0, 0.0)), sr(4), words=words)
    plain = rescale(codes, FP32, E5M2, sr(4), words=LaneWords(lanes=4, seed=3))
    assert np.mean(got == plain) > 0.9
    assert (got != s2fp8_encode_fixed(codes, FP32, squeeze_registers((1.0, 0.0)))).any()


def test_the_largest_factor_is_that_of_alpha_4096():
    assert squeeze_registers((4096.0, 0.0)).factor == 0xFFFFFFFF
    assert unsqueeze_registers(S2fp8Parameters(2.0**-12, 0.0)).factor == 0xFFFFFFFF
    assert squeeze_registers((2.0**-12, 0.0)).factor == unsqueeze_registers((4096.0, 0.0)).factor == 256


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: squeeze_registers((5000.0, 0.0)), "alpha must be in 0.000244140625..4096.0, not 5000.0"),
        (lambda: unsqueeze_registers((1e-4, 0.0)), "alpha must be in 0.000244140625..4096.0, not 0.0001"),
        (lambda: squeeze_registers((-1.0, 0.0)), "alpha must be a finite number above 0, not -1.0"),
        (lambda: squeeze_registers((1.0, np.nan)), "beta must be finite, not nan"),
        (lambda: squeeze_registers((1.0, 32768.0)), "beta must be at least -32768 and below 32768, not 32768.0"),
        (lambda: squeeze_registers((1.0, -32768.5)), "beta must be at least -32768 and below 32768, not -32768.5"),
        (
            lambda: unsqueeze_registers((0.25, -10000)),
            "-beta / alpha must be at least -32768 and below 32768, not 40000.0",
        ),
        (lambda: s2fp8_decode_fixed([1], (0, 0)), "factor must be an integer in 1..4294967295, not 0"),
        (
            lambda: s2fp8_decode_fixed([1], (1, 1 << 31)),
            "offset must be an integer in -2147483648..2147483647, not 2147483648",
        ),
        (lambda: s2fp8_decode_fixed([256], (1, 0)), "codes of e5m2 must be in 0..0xff"),
        (lambda: s2fp8_encode_fixed([1], FP32, (1, 0), sr(3)), "words are needed by rounding sr(3)"),
        (
            lambda: s2fp8_encode_fixed([1], FP32, (1, 0), exponent=512),
            "exponent must be an integer in -512..511, not 512",
        ),
    ],
)
def test_bad_values_are_refused(call, text, message):
    assert message(call) == text


def test_wrong_types_are_refused(message):
    assert message(lambda: squeeze_registers(("1", 0.0)), TypeError) == "alpha must be a real number, not '1'"
    assert message(lambda: unsqueeze_registers((1.0, None)), TypeError) == "beta must be a real number, not None"
