"""The laws of stochastic rounding, enumerated: all words, all gaps between the numbers of a small format."""

from bisect import bisect
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from quaver.golden import Format, Rounding, encode, to_float

pytestmark = pytest.mark.usefixtures("backend")

FLUSHING = [("flush", "ieee"), ("normal", "dlfloat"), ("flush", "finite"), ("normal", "finite")]
KINDS = [("gradual", "ieee"), ("gradual", "fn"), ("gradual", "fnuz"), ("gradual", "finite"), *FLUSHING]
BITS = [1, 2, 4, 6]
MODES = ["sr", "sr_fast", "sr_unbiased"]
TAIL = 2
"""Bits by which the points between two numbers are finer than the words."""


@pytest.fixture(params=KINDS, ids="-".join)
def small(request) -> Format:
    """1-3-2 with each kind of subnormals and of special codes."""
    subnormals, specials = request.param
    return Format(name="small", exponent_bits=3, mantissa_bits=2, bias=3, specials=specials, subnormals=subnormals)


def numbers(fmt: Format) -> np.ndarray:
    """Magnitudes of all finite numbers, from the smallest but zero."""
    values = to_float(np.arange(fmt.min_code, fmt.max_code + 1), fmt)
    assert (np.diff(values) > 0).all()
    return values


def points(fmt: Format, bits: int) -> np.ndarray:
    """Magnitudes in every gap of the format, at 2^(bits + TAIL) places each."""
    values = numbers(fmt)
    places = np.arange(1 << (bits + TAIL)) / (1 << (bits + TAIL))
    inside = (values[:-1, None] + np.diff(values)[:, None] * places).ravel()
    if fmt.subnormals == "gradual":
        inside = np.concatenate([values[0] * places, inside])
    return np.append(inside, values[-1])


def over_all_words(values: np.ndarray, fmt: Format, mode: str, bits: int) -> np.ndarray:
    """Codes of every value (axis 1) for every word (axis 0)."""
    words = np.arange(1 << bits)[:, None]
    rounding = Rounding(mode=mode, random_bits=bits)
    return encode(np.broadcast_to(values, (1 << bits, values.size)), fmt, rounding, words=words)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bits", BITS)
def test_representable_values_never_move(small, mode, bits):
    codes = np.append(0, np.arange(small.min_code, small.max_code + 1))
    for sign in (1.0, -1.0):
        want = codes | np.where((sign < 0) & (small.has_negative_zero | (codes > 0)), small.sign_mask, 0)
        got = over_all_words(sign * to_float(codes, small), small, mode, bits)
        np.testing.assert_array_equal(got, np.broadcast_to(want, got.shape))
    assert got.size == codes.size << bits


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_mean_over_all_words_is_the_value_to_r_bits(small, mode, bits, sign):
    """The fraction is cut to r bits by `sr`, rounded half up by `sr_fast`, half to even by `sr_unbiased`."""
    values = points(small, bits)
    got = to_float(over_all_words(sign * values, small, mode, bits), small)
    assert np.isfinite(got).all()
    compared = exactly = 0
    bias = Fraction(0)
    grid = [Fraction(x) for x in numbers(small).tolist()]
    ulps = {low: high - low for low, high in pairwise(grid)}
    smallest, grid_and_zero = grid[0], [Fraction(0), *grid]
    # Sums and extremes over the words: small dyadic numbers, exact in float64.
    totals, least, most = got.sum(axis=0), np.abs(got).min(axis=0), np.abs(got).max(axis=0)
    for value, *column in zip(*(v.tolist() for v in (values, totals, least, most)), strict=True):
        exact, total, low, high = map(Fraction, (value, *column))
        below = grid_and_zero[bisect(grid, exact)]
        # The gap above zero is a subnormal's ulp; the top number has the ulp of its binade.
        ulp = ulps.get(below, smallest if below == 0 else grid[-1] - grid[-2])
        unit = ulp / 2**bits
        counted = exact / unit
        match mode:
            case "sr":
                mean = counted // 1 * unit
                assert -unit < mean - exact <= 0
            case "sr_fast":
                mean = (counted + Fraction(1, 2)) // 1 * unit
                assert -unit / 2 < mean - exact <= unit / 2
            case _:
                mean = round(counted) * unit
                assert abs(mean - exact) <= unit / 2
        assert total / 2**bits == sign * mean, value
        if counted.denominator == 1:
            assert mean == exact
            exactly += 1
        assert low == (below if mean < below + ulp else below + ulp)
        assert high == (below if mean == below else below + ulp)
        bias += (mean - exact) / unit
        compared += 1 << bits
    assert compared == values.size << bits
    assert exactly > values.size // 4
    # The tail's quarters are evenly spread: 0, 1/4, 1/2 and 3/4 of a unit, each once per unit of every gap.
    units = values.size // 4
    per_unit = {"sr": Fraction(-3, 2), "sr_fast": Fraction(1, 2), "sr_unbiased": Fraction(0)}[mode]
    assert bias == units * per_unit


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bits", BITS)
def test_results_never_fall_as_values_or_words_rise(small, mode, bits):
    values = np.sort(np.concatenate([-points(small, bits), points(small, bits)]))
    got = to_float(over_all_words(values, small, mode, bits), small)
    assert (np.diff(got, axis=1) >= 0).all()
    magnitude = np.abs(got)
    assert (np.diff(magnitude, axis=0) >= 0).all()
    assert (np.diff(magnitude, axis=0) > 0).any()


@pytest.mark.parametrize("small", FLUSHING, ids="-".join, indirect=True)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bits", BITS)
def test_too_small_values_become_zero_or_the_smallest_number(small, mode, bits):
    smallest = numbers(small)[0]
    values = smallest * np.arange(1, 1 << 9) / (1 << 9)
    got = to_float(over_all_words(values, small, mode, bits), small)
    assert set(np.unique(got)) == {0.0, smallest}
    # Rounded with the ulp of its own binade: only what that ulp can lift to the smallest number does not vanish.
    ulp = smallest / 8 if small.subnormals == "flush" else smallest / 5
    rest = (values - (smallest - ulp)) / ulp
    half = 2.0 ** -(bits + 1)
    match mode:
        case "sr":
            sometimes, always = rest >= 2 * half, rest >= 1
        case "sr_fast":
            sometimes, always = rest >= half, rest >= 1 - half
        case _:
            sometimes, always = rest > half, rest >= 1 - half
    np.testing.assert_array_equal(got[-1] > 0, sometimes)
    np.testing.assert_array_equal(got[0] > 0, always)
    assert sometimes.any()
