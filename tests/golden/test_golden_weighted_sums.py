"""Sums of two products by float64 against integers, where the fast way could go wrong."""

from collections.abc import Iterator
from dataclasses import replace
from math import log2

import numpy as np
import pytest

from quaver.golden import FORMATS, RHA, RNE, RTZ, Accumulator, Format, LaneWords, Rounding, encode, engine, sr, to_float
from quaver.golden.catalog import BF16, DLFLOAT16, E5M2_WANG, E8M13, FP16, FP32
from quaver.golden.weighted_sums import Weighted, values_of, weighted_sum

MODES = [
    *(RNE, RHA, RTZ),
    *(Rounding(mode=mode, random_bits=r) for mode in ("sr", "sr_fast", "sr_unbiased") for r in (1, 9, 16, 24)),
]
CUSTOM = [
    replace(FP32, name="fp32_flush", subnormals="flush"),
    replace(FP32, name="fp32_normal", subnormals="normal", specials="dlfloat"),
    replace(FP32, name="fp32_high", bias=-128, specials="finite"),
    replace(FP32, name="fp32_low", bias=255, specials="fn"),
    replace(FP32, name="fp32_unsigned", signed=False),
    replace(BF16, name="e8m0", mantissa_bits=0, specials="fnuz"),
    replace(FP16, name="fp16_fn_flush", specials="fn", subnormals="flush"),
]
ALL = {fmt.name: fmt for fmt in (*FORMATS.values(), *CUSTOM)}
COUNT = 500

Case = tuple[Weighted, Weighted, np.ndarray]
"""Two terms and words."""


def words_for(rng: np.random.Generator, rounding: Rounding) -> np.ndarray:
    return rng.integers(0, 1 << rounding.random_bits, COUNT)


def any_case(rng: np.random.Generator, fmt: Format, rounding: Rounding) -> Case:
    """Any codes, infinities and NaNs among them, with factors of 24 bits or short ones."""
    terms = []
    for of in rng.choice([fmt, fmt, FP32, BF16, DLFLOAT16], 2):
        long = np.ldexp(rng.integers(-(1 << 24) + 1, 1 << 24), rng.integers(-60, 20))
        factor = rng.choice([long, 1.0, -1.0, 0.0, -0.0, 0.75], p=[0.5, 0.2, 0.1, 0.05, 0.05, 0.1])
        codes = rng.integers(0, 1 << of.bits, COUNT)
        codes[:40] = rng.choice([0, of.sign_mask, of.max_code, of.max_code + 1, of.magnitude_mask, 1], 40)
        if fmt.nan_code is None:
            codes[~np.isfinite(to_float(codes, of))] = 0
        terms.append(Weighted(float(factor), codes, of))
    return *terms, words_for(rng, rounding)


def cancelling_case(rng: np.random.Generator, fmt: Format, rounding: Rounding) -> Case:
    """Terms of the format that cancel but for some ulps, if even those."""
    factor = float(encode(rng.standard_normal(), FP32).view(np.float32))
    x = encode(rng.standard_normal(COUNT) * rng.choice([1.0, fmt.min_normal]), fmt, saturate=True)
    y = encode(-factor * to_float(x, fmt), fmt, saturate=True).astype(np.int64)
    magnitude = (y & fmt.magnitude_mask) + rng.integers(-2, 3, COUNT)
    y = y & fmt.sign_mask | np.clip(magnitude, 0, fmt.max_code)
    return Weighted(factor, x, fmt), Weighted(1.0, y, fmt), words_for(rng, rounding)


def decisive_case(rng: np.random.Generator, fmt: Format, rounding: Rounding) -> Case:
    """A term where the rounding is about to change its mind, and a far smaller one that decides.

    FP32 codes near 1 and factors that put them into the format's range: one of as few bits as make their products
    multiples of the last place that counts.
    """
    r = rounding.random_bits
    low, high = int(log2(fmt.min_positive)) - 1, int(log2(fmt.max_finite)) + 1
    exponent = int(rng.integers(low, high + 1))
    excess = min(max(fmt.precision + r + 1 - FP32.precision, 0), FP32.precision)
    factor = np.ldexp(2.0 * rng.integers(0, 1 << max(excess - 1, 0)) + 1, exponent - excess) * rng.choice([-1.0, 1.0])
    kept = 24 - min(fmt.precision + r + 1, 24) + rng.integers(0, 3)
    big = (encode(rng.uniform(1, 2, COUNT), FP32) >> kept << kept) | (rng.integers(0, 2, COUNT) << 31)
    small = encode(rng.standard_normal(COUNT), FP32)
    little = float(np.ldexp(1.0, exponent - rng.integers(20, 120)))

    value = np.abs(factor * to_float(big, FP32))
    e = np.frexp(value)[1] - 1
    ulp = np.ldexp(1.0, (np.maximum(e, fmt.emin) if fmt.subnormals == "gradual" else e) - fmt.mantissa_bits)
    to_go = (1 - value / ulp % 1) * 2.0**r  # a word of this size carries into the next ulp
    words = np.clip(np.floor(to_go + rng.choice([-1.0, -0.5, 0.0, 0.5], COUNT)), 0, (1 << r) - 1).astype(np.int64)
    terms = [Weighted(float(factor), big, FP32), Weighted(little, small, FP32)]
    return *(terms if rng.random() < 0.5 else terms[::-1]), words


def cases(rng: np.random.Generator, fmt: Format, rounding: Rounding, rounds: int) -> Iterator[tuple[Case, Accumulator]]:
    for index in range(rounds):
        accumulator = Accumulator(format=fmt, rounding=rounding, overflow="saturate" if index % 2 else "special")
        for make in (any_case, cancelling_case, decisive_case, decisive_case):
            yield make(rng, fmt, rounding), accumulator


def compared(fmt: Format, rounding: Rounding, seed: int, rounds: int) -> tuple[int, int]:
    """Codes that were compared, and how many of them float64's nearest sum would have got wrong."""
    count = saved = 0
    for (a, b, words), accumulator in cases(np.random.default_rng(seed), fmt, rounding, rounds):
        got = weighted_sum(a, b, accumulator, words)
        with engine.using("numpy"):
            want = weighted_sum(a, b, accumulator, words)
        bad = np.flatnonzero(got != want)
        assert not bad.size, (a.factor, a.codes[bad[0]], b.factor, b.codes[bad[0]], words[bad[0]], accumulator)
        assert got.dtype == fmt.dtype
        with np.errstate(invalid="ignore"):
            nearest = a.factor * to_float(a.codes, a.format) + b.factor * to_float(b.codes, b.format)
        nearest[~np.isfinite(nearest)] = 0.0
        naive = to_float(encode(nearest, fmt, rounding, words=words, saturate=accumulator.saturate), fmt)
        exact = to_float(want, fmt)
        saved += int(((naive != exact) & np.isfinite(exact) & np.isfinite(naive)).sum())
        count += got.size
    return count, saved


@pytest.mark.parametrize("name", sorted(ALL.keys() - {"fp32_unsigned"}))
def test_float64_and_integers_agree(name):
    count, saved = zip(*(compared(ALL[name], mode, seed, 3) for seed, mode in enumerate(MODES)), strict=True)
    assert set(count) == {12 * COUNT}
    assert sum(saved) > 500  # the odd last place matters


@pytest.mark.parametrize("rounding", [RNE, sr(13)], ids=str)
def test_a_law_deals_its_words(rounding):
    law = LaneWords(lanes=5, seed=2, issued=3)
    rng = np.random.default_rng(1)
    a, b = Weighted(0.3, rng.integers(0, 1 << 15, (7, 1)), FP16), Weighted(-0.7, rng.integers(0, 1 << 15, 9), BF16)
    accumulator = Accumulator(rounding=rounding)
    got = weighted_sum(a, b, accumulator, law)
    assert got.shape == (7, 9)
    np.testing.assert_array_equal(got, weighted_sum(a, b, accumulator, law.of_tensor((7, 9), 13)))
    with engine.using("numpy"):
        np.testing.assert_array_equal(got, weighted_sum(a, b, accumulator, law))


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("fmt", [FP16, DLFLOAT16, ALL["fp16_fn_flush"], ALL["e8m0"]], ids=str)
def test_nans_are_canonical(fmt):
    """Those of a NaN of either sign, of Inf - Inf and 0 * Inf; in formats without Inf those of an overflow, too."""
    nan, inf, one = fmt.nan_code, FP32.inf_code, encode(1.0, FP32)
    negative_nan = FP32.nan_code | FP32.sign_mask
    for factor, x, y in [
        (1.0, FP32.nan_code, one),
        (1.0, negative_nan, one),
        (-1.0, one, negative_nan),
        (-1.0, inf, inf),
        (0.0, inf, one),
        (-0.0, one, negative_nan),
    ]:
        got = weighted_sum(Weighted(factor, [x], FP32), Weighted(1.0, [y], FP32), Accumulator(format=fmt))
        assert got.tolist() == [nan]
    below = weighted_sum(Weighted(-1.0, [inf], FP32), Weighted(1.0, [one], FP32), Accumulator(format=fmt))
    assert below.tolist() == [fmt.inf_code | fmt.sign_mask if fmt.has_inf else nan]


@pytest.mark.usefixtures("backend")
def test_a_nan_has_no_code_in_a_finite_format(message):
    terms = Weighted(0.0, [FP32.inf_code], FP32), Weighted(1.0, [0], FP32)
    text = message(lambda: weighted_sum(*terms, Accumulator(format=E5M2_WANG)))
    assert text == "NaN cannot be encoded in e5m2_wang"


@pytest.mark.parametrize("name", ALL)
def test_values_are_those_of_the_definition(name):
    fmt = ALL[name]
    codes = np.arange(1 << fmt.bits) if fmt.bits <= 16 else np.random.default_rng(0).integers(0, 1 << fmt.bits, 100_000)
    found, wanted = values_of(codes, fmt), to_float(codes, fmt)
    np.testing.assert_array_equal(found, wanted)
    number = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(found[number]), np.signbit(wanted[number]))


@pytest.mark.parametrize("fmt", [E8M13, BF16, FP32, ALL["fp32_low"]], ids=str)
def test_codes_are_checked(fmt, message):
    assert message(lambda: values_of([1 << fmt.bits], fmt)) == f"codes of {fmt} must be in 0..{(1 << fmt.bits) - 1:#x}"
    assert message(lambda: values_of([0.5], fmt), TypeError) == f"codes of {fmt} must be integers, not float64"
