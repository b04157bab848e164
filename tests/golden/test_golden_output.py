"""The output unit's results and statistics, held against exact fractions and float64's logarithm."""

from dataclasses import fields, replace
from fractions import Fraction

import numpy as np
import pytest

from quaver.golden import RNE, LaneWords, decode, encode, rescale, s2fp8_encode_fixed, squeeze_registers, sr, to_float
from quaver.golden.catalog import (
    BF16,
    DLFLOAT16,
    E2M1,
    E2M3,
    E4M3,
    E4M3FNUZ,
    E5M2,
    E5M2FNUZ,
    E6M5,
    FP16,
    FP32,
    HFP8_143,
    HFP8_153,
)
from quaver.golden.logarithms import LOG2_FRACTION_BITS
from quaver.golden.output import LOG2_NONE, OutputStatistics, output

TARGETS = [E4M3, E5M2, E4M3FNUZ, E5M2FNUZ, E2M3, E2M1, HFP8_143, HFP8_153, DLFLOAT16, E6M5, FP16, BF16, FP32]
SOURCES = [DLFLOAT16, FP16, E6M5, FP32]


def overflowed(law, x, target, rounding, word) -> bool:
    """Whether the rounded number lies beyond the largest one."""
    if x.kind != "finite":
        return x.kind == "inf"
    if target.nan_code is not None:
        return law.decode(law.round(x, target, rounding.mode, rounding.random_bits, word), target).kind != "finite"
    wide = replace(target, name="wide", exponent_bits=target.exponent_bits + 1)
    code = law.round(x, wide, rounding.mode, rounding.random_bits, word)
    return law.decode(code, wide).magnitude > law.largest(target)


@pytest.mark.parametrize("target", TARGETS, ids=str)
@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_output_against_fractions(law, real, source, target):
    rng = np.random.default_rng(source.bits * 100 + target.bits)
    compared, seen = 0, OutputStatistics()
    for index, rounding in enumerate([RNE, sr(1), sr(9), sr(16)] * 2):
        saturate = index % 2 == 1
        # The source's numbers as they are, across the top of the target's range, and across its bottom.
        top = int(np.log2(target.max_finite) - np.log2(source.max_finite))
        bottom = int(np.log2(target.min_positive) - np.log2(source.min_positive))
        exponent = (0, top, bottom)[index % 3] + int(rng.integers(-3, 4)) + (5, 8, -8)[index % 3] * (index > 2)
        codes = rng.integers(0, 1 << source.bits, 40)
        ends = [0, source.sign_mask, 1, source.max_code, source.nan_code, source.inf_code | source.sign_mask]
        codes = np.concatenate([codes, ends]).astype(source.dtype)
        words = rng.integers(0, 1 << rounding.random_bits, codes.size)
        got, statistics = output(codes, source, target, rounding, exponent=exponent, words=words, saturate=saturate)
        assert got.dtype == target.dtype

        numbers = [law.decode(code, source) for code in codes.tolist()]
        over = under = 0
        for x, word, result in zip(numbers, words.tolist(), got.tolist(), strict=True):
            scaled = real(x.kind, x.negative, x.magnitude * Fraction(2) ** exponent)
            if x.kind == "nan" and target.nan_code is None:
                assert result == 0
            else:
                want = law.round(scaled, target, rounding.mode, rounding.random_bits, word, saturate)
                if law.decode(want, target).kind == "nan":
                    want = law.nan(target)
                assert result == want, (x, exponent, str(rounding), word)
                over += overflowed(law, scaled, target, rounding, word)
                under += x.magnitude != 0 and law.decode(want, target) == real("finite", x.negative, Fraction(0))
                if not law.has_negative_zero(target):
                    under += x.magnitude != 0 and x.negative and result == 0
            compared += 1
        finite = [x.magnitude for x in numbers if x.kind == "finite" and x.magnitude]
        assert law.decode(statistics.amax, source) == real("finite", False, max(finite))
        assert statistics.nonzeros == len(finite)
        assert statistics.nans == sum(x.kind == "nan" for x in numbers)
        assert statistics.overflows == over
        assert statistics.underflows == under
        logarithms = np.log2([float(x) for x in finite]) * 2**LOG2_FRACTION_BITS
        assert abs(statistics.log2_sum - logarithms.sum()) <= 3 * len(finite)
        assert abs(statistics.log2_max - logarithms.max()) <= 3
        seen += statistics
    assert compared == 8 * 46
    assert min(seen.overflows, seen.underflows, seen.nans) > 0


def test_statistics_are_of_what_was_summed_and_not_of_the_scale():
    y = encode([1.5, -6.0, 0.0, 2.0**-9], FP16)
    plain, scaled = (output(y, FP16, E4M3, exponent=exponent).statistics for exponent in (0, 7))
    assert plain.amax == scaled.amax == int(encode(6.0, FP16))
    assert (plain.log2_max, plain.log2_sum) == (scaled.log2_max, scaled.log2_sum)
    assert (plain.overflows, scaled.overflows) == (0, 1)
    assert output(y, FP16, E4M3, exponent=-1).statistics.underflows == 1  # half of the smallest number: a tie


def test_powers_of_two_have_whole_logarithms():
    exponents = np.arange(-24, 16)
    _, statistics = output(encode(2.0**exponents, FP16), FP16, FP32)
    assert statistics.log2_sum == exponents.sum() << LOG2_FRACTION_BITS
    assert statistics.log2_max == 15 << LOG2_FRACTION_BITS
    assert statistics.nonzeros == exponents.size


def test_an_overflow_before_saturation_is_one():
    y = encode([1e4, -1e4, np.inf, 448.0, np.nan], FP16)
    for saturate in (False, True):
        codes, statistics = output(y, FP16, E4M3, saturate=saturate)
        assert (statistics.overflows, statistics.nans, statistics.nonzeros) == (3, 1, 3)
        assert codes.tolist() == ([0x7E, 0xFE, 0x7E, 0x7E, 0x7F] if saturate else [0x7F, 0x7F, 0x7F, 0x7E, 0x7F])


def test_a_nan_that_cannot_be_encoded_is_zero_and_counted():
    codes, statistics = output([0x7E00, 0xFE00, 0x3C00], FP16, E2M1)
    assert codes.tolist() == [0, 0, 2]
    assert (statistics.nans, statistics.nonzeros, statistics.underflows) == (2, 1, 0)
    with pytest.raises(ValueError) as error:
        rescale([0x7E00], FP16, E2M1)
    assert str(error.value) == "NaN cannot be encoded in e2m1"


def test_nothing_is_told_of_nothing():
    assert OutputStatistics() == OutputStatistics(
        amax=0, nonzeros=0, overflows=0, underflows=0, nans=0, log2_sum=0, log2_max=LOG2_NONE
    )
    for codes in ([], [0, 0x8000], [0x7E00], [0x7C00]):
        _, statistics = output(np.array(codes, np.uint16), FP16, FP32)
        assert (statistics.amax, statistics.nonzeros) == (0, 0)
        assert (statistics.log2_sum, statistics.log2_max) == (0, -(2**31))
    assert output(np.array([0, 0x8000]), FP16, FP32).statistics == OutputStatistics()


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_statistics_of_parts_add_up(source):
    rng = np.random.default_rng(source.bits)
    words = LaneWords(lanes=4, seed=3)
    codes = rng.integers(0, 1 << source.bits, 4 * 300)
    codes[-3:] = source.nan_code, source.max_code, source.inf_code
    whole = output(codes, source, E5M2, sr(9), exponent=-3, words=words)
    total, results = OutputStatistics(), []
    for part in np.split(codes, [4, 400, 1000]):
        got, statistics = output(part, source, E5M2, sr(9), exponent=-3, words=words)
        words = words.after(part.size)
        total += statistics
        results += got.tolist()
    assert results == whole.codes.tolist()
    assert total == whole.statistics
    assert all(getattr(total, field.name) for field in fields(total))
    assert whole.codes.tolist() != output(codes, source, E5M2, exponent=-3).codes.tolist()


def test_shapes_and_types_do_not_matter():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 1 << 16, (3, 5, 7))
    flat = output(codes.reshape(-1).astype(np.uint16), DLFLOAT16, E4M3)
    deep = output(codes.tolist(), DLFLOAT16, E4M3)
    assert deep.statistics == flat.statistics
    np.testing.assert_array_equal(deep.codes.reshape(-1), flat.codes)
    assert deep.codes.shape == (3, 5, 7)
    finite = ~(decode(codes, DLFLOAT16).nan)
    largest = np.abs(to_float(codes[finite], DLFLOAT16)).max()
    assert float(to_float(flat.statistics.amax, DLFLOAT16)) == largest


@pytest.mark.parametrize(
    "codes, arguments, kind, text",
    [
        ([0.5], {}, TypeError, "codes of fp16 must be integers, not float64"),
        ([1 << 16], {}, ValueError, "codes of fp16 must be in 0..0xffff"),
        ([1], {"exponent": 1 << 17}, ValueError, "exponent must be an integer in -65536..65536, not 131072"),
        ([1], {"rounding": sr(4)}, ValueError, "words are needed by rounding sr(4)"),
        ([1], {"rounding": sr(4), "words": [16]}, ValueError, "words of sr(4) must be in 0..15"),
    ],
)
def test_bad_arguments(codes, arguments, kind, text):
    with pytest.raises(kind) as error:
        output(codes, FP16, E4M3, **arguments)
    assert str(error.value) == text


def test_a_squeeze_comes_between_scale_and_rounding():
    rng = np.random.default_rng(0)
    y = encode(rng.normal(size=4000) * 2.0 ** rng.integers(-20, 12, 4000), FP16)
    y[:4] = FP16.nan_code, FP16.inf_code | FP16.sign_mask, 0, FP16.sign_mask
    registers, words = squeeze_registers((1.5, -3.0)), LaneWords(lanes=4)
    plain = output(y, FP16, E5M2, sr(7), exponent=2, words=words)
    got = output(y, FP16, E5M2, sr(7), exponent=2, words=words, squeeze=registers)
    want = s2fp8_encode_fixed(y, FP16, registers, sr(7), exponent=2, words=words)
    np.testing.assert_array_equal(got.codes, want)
    assert (got.codes != plain.codes).mean() > 0.5

    moved = {"overflows", "underflows"}
    for field in fields(OutputStatistics):
        same = getattr(got.statistics, field.name) == getattr(plain.statistics, field.name)
        assert same == (field.name not in moved), field.name
    values = np.abs(to_float(y, FP16)[4:] * 4.0)
    power = np.exp2(1.5 * np.log2(values[values != 0]) - 3)
    # A word decides between the largest number and the next power of two, and below the smallest number.
    assert np.count_nonzero(power > 65600) < got.statistics.overflows <= 1 + np.count_nonzero(power > 57300)
    under = [np.count_nonzero(power < E5M2.min_positive * reach) for reach in (2**-8, 1)]
    assert 0 < under[0] <= got.statistics.underflows <= under[1]
    assert output(y[:1], FP16, E2M1, squeeze=registers).codes.tolist() == [0]
