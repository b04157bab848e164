"""Tables of log2 and exp2 against decimals of 50 digits."""

from decimal import Decimal, localcontext

import numpy as np
import pytest

from quaver.golden import FORMATS, decode, from_float, to_float
from quaver.golden.catalog import DLFLOAT16, E4M3, E5M2, FP32
from quaver.golden.logarithms import (
    EXP2_ERROR,
    EXP2_FRACTION_BITS,
    EXP2_TABLE,
    INDEX_BITS,
    LOG2_ERROR,
    LOG2_FRACTION_BITS,
    LOG2_TABLE,
    exp2_fixed,
    interpolate,
    log2_exact,
    log2_fixed,
)

SEGMENTS = 1 << INDEX_BITS
SEED = 20260


@pytest.fixture(autouse=True)
def digits():
    with localcontext() as context:
        context.prec = 50
        yield


def log2(numerator: int, denominator: int) -> Decimal:
    return (Decimal(numerator) / Decimal(denominator)).ln() / Decimal(2).ln()


def exp2(numerator: int, denominator: int) -> Decimal:
    return (Decimal(numerator) / Decimal(denominator) * Decimal(2).ln()).exp()


def test_entries_are_the_nearest():
    half = Decimal("0.5")
    for index, entry in enumerate(LOG2_TABLE):
        assert abs(entry - log2(SEGMENTS + index, SEGMENTS) * 2**LOG2_FRACTION_BITS) < half
    for index, entry in enumerate(EXP2_TABLE):
        assert abs(entry - exp2(index, SEGMENTS) * 2**EXP2_FRACTION_BITS) < half
    assert len(LOG2_TABLE) == len(EXP2_TABLE) == 129
    assert (LOG2_TABLE[0], LOG2_TABLE[-1]) == (0, 1 << LOG2_FRACTION_BITS)
    assert (EXP2_TABLE[0], EXP2_TABLE[-1]) == (1 << EXP2_FRACTION_BITS, 2 << EXP2_FRACTION_BITS)


@pytest.mark.parametrize("bits, count", [(15, None), (23, 20_000)])
def test_error_of_logarithms(bits, count):
    """Every significand of 16 bits, and random ones of 24."""
    print("seed", SEED)
    drawn = np.random.default_rng(SEED).integers(0, 1 << bits, count or 0)
    arguments = np.unique(drawn) if count else np.arange(1 << bits)
    got = interpolate(LOG2_TABLE, arguments, bits).tolist()
    errors = [
        value - log2((1 << bits) + argument, 1 << bits) * 2**LOG2_FRACTION_BITS
        for argument, value in zip(arguments.tolist(), got, strict=True)
    ]
    assert len(errors) >= 19_000
    assert -Decimal(str(LOG2_ERROR)) < min(errors) < -2
    assert Decimal("0.4") < max(errors) < Decimal("0.5")


def test_error_of_powers():
    got = interpolate(EXP2_TABLE, np.arange(1 << LOG2_FRACTION_BITS), LOG2_FRACTION_BITS).tolist()
    errors = [value - exp2(x, 1 << LOG2_FRACTION_BITS) * 2**EXP2_FRACTION_BITS for x, value in enumerate(got)]
    assert len(errors) == 65_536
    assert -Decimal(str(EXP2_ERROR)) < min(errors) < Decimal("-1.4")
    assert Decimal("0.8") < max(errors) < 1


def test_error_of_every_significand_of_24_bits():
    """NumPy's log2 is far better than the bound."""
    fractions = np.arange(1 << 23)
    errors = interpolate(LOG2_TABLE, fractions, 23) - np.log2(1 + fractions / 2.0**23) * 2**LOG2_FRACTION_BITS
    assert len(errors) == 1 << 23
    assert errors.min() > -LOG2_ERROR
    assert errors.max() < 0.5


@pytest.mark.parametrize("table, bits", [(LOG2_TABLE, 23), (EXP2_TABLE, LOG2_FRACTION_BITS)])
def test_they_are_monotonic_and_stay_in_their_binade(table, bits):
    values = interpolate(table, np.arange(1 << bits), bits)
    assert np.diff(values).min() >= 0
    assert (values[0], values[-1] < table[-1]) == (table[0], True)


def test_whole_logarithms_are_exact():
    whole = np.arange(-300, 300)
    power = exp2_fixed(whole << LOG2_FRACTION_BITS)
    np.testing.assert_array_equal(np.ldexp(power.significand.astype(float), power.exponent), np.ldexp(1.0, whole))
    np.testing.assert_array_equal(log2_exact(power), whole << LOG2_FRACTION_BITS)
    np.testing.assert_array_equal(log2_exact(from_float(np.ldexp(1.0, whole))), whole << LOG2_FRACTION_BITS)


@pytest.mark.parametrize("fmt", [f for f in FORMATS.values() if f.bits <= 16], ids=str)
def test_every_code(fmt):
    codes = np.arange(1 << fmt.bits)
    x = decode(codes, fmt)
    codes = codes[(x.significand != 0) & ~x.inf & ~x.nan]
    assert len(codes) >= 14
    values = np.abs(to_float(codes, fmt))
    got = log2_fixed(codes, fmt)
    errors = got - np.log2(values) * 2**LOG2_FRACTION_BITS
    assert errors.min() > -LOG2_ERROR
    assert errors.max() < 0.5
    powers = np.frexp(values)[0] == 0.5
    np.testing.assert_array_equal(got[powers], (np.frexp(values[powers])[1] - 1) << LOG2_FRACTION_BITS)
    assert powers.sum() >= 6


def test_longer_significands_are_cut():
    for bits in range(1, 54):
        (number,) = log2_exact(from_float([float((1 << bits) - 1)]))
        (kept,) = log2_exact(from_float([float((1 << min(bits, 24)) - 1)]))
        assert number == kept + (max(bits - 24, 0) << LOG2_FRACTION_BITS)


def test_shapes_are_kept():
    assert log2_fixed([[0x3C], [0x40]], E5M2).tolist() == [[0], [1 << LOG2_FRACTION_BITS]]
    assert log2_fixed(0x3F800001, FP32) == 0
    assert exp2_fixed(1 << LOG2_FRACTION_BITS).exponent == 1 - EXP2_FRACTION_BITS


@pytest.mark.parametrize("code, fmt", [(0x80, E5M2), (0x7C, E5M2), (0x7E, E5M2), (0x7FFF, DLFLOAT16), (0x7F, E4M3)])
def test_numbers_without_a_logarithm_are_refused(code, fmt, message):
    text = f"codes of {fmt.name} must be of finite numbers other than 0"
    assert message(lambda: log2_fixed([0x10, code], fmt)) == text


def test_wrong_types_are_refused(message):
    assert message(lambda: log2_fixed([1.0], E5M2), TypeError) == "codes of e5m2 must be integers, not float64"
    assert message(lambda: log2_fixed([256], E5M2)) == "codes of e5m2 must be in 0..0xff"
    assert message(lambda: exp2_fixed([0.5]), TypeError) == "logarithms must be integers, not float64"
