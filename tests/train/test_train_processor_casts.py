"""Casts of tensors: scales, fixed and from what was seen, what is too large or no number, and words."""

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from quaver.golden import RECIPES, Format, encode, sr, to_float
from quaver.golden.catalog import BF16, E4M3, E4M3FNUZ, E5M2, E5M2_WANG, FP16, FP32, HFP8_143
from quaver.golden.lane_words import LaneWords
from quaver.golden.recipe import Amax, Cast, Fixed, Squeeze
from quaver.golden.s2fp8 import s2fp8_decode, s2fp8_encode
from quaver.golden.scaling import AmaxHistory
from quaver.train.processor import Diverged, Operand, Processor, values_of
from tests.train.draws import CHUNKED, STOCHASTIC, Record, same_bits


def floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def values(codes: NDArray, fmt: Format) -> list[float]:
    return to_float(codes, fmt).tolist()


# --------------------------------------------------------------------------------------------------------------- fixed


@pytest.mark.parametrize("fmt", [E4M3, E5M2], ids=str)
@pytest.mark.parametrize("exponent", [0, 5, -7, 130])
def test_a_fixed_scale_multiplies_before_the_cast(fmt: Format, exponent: int) -> None:
    """Against ml_dtypes' casts of float64 products."""
    theirs = {E4M3: ml_dtypes.float8_e4m3fn, E5M2: ml_dtypes.float8_e5m2}[fmt]
    rng = np.random.default_rng(1)
    x = np.ldexp(rng.uniform(-1, 1, 500), rng.integers(-12, 5, 500) - exponent).astype(np.float32)
    operand, history = Processor(CHUNKED).cast(x, Cast(format=fmt, scaling=Fixed(exponent)))
    want = (x.astype(np.float64) * 2.0**exponent).astype(np.float32).astype(theirs).view(np.uint8)
    np.testing.assert_array_equal(operand.codes, want)
    assert operand.format == fmt and operand.exponent == exponent and history is None
    assert len(set(operand.codes.tolist())) > 60
    np.testing.assert_array_equal(values_of(operand), to_float(want, fmt) * 2.0**-exponent)


def test_what_is_too_large() -> None:
    """Saturated, infinite, or the format's NaN; an infinity as an overflow, but in `fnuz`: ONNX's cast table."""
    x = floats(1e9, -1e9, np.inf, -np.inf)
    for fmt, saturate, want in (
        (E4M3, True, [448.0, -448.0, 448.0, -448.0]),
        (E5M2, True, [57344.0, -57344.0, 57344.0, -57344.0]),
        (E5M2, False, [np.inf, -np.inf, np.inf, -np.inf]),
        (E4M3, False, [np.nan] * 4),
        (E4M3FNUZ, True, [240.0, -240.0, np.nan, np.nan]),
        (E5M2_WANG, False, [114688.0, -114688.0, 114688.0, -114688.0]),
        (HFP8_143, True, [30.0, -30.0, 30.0, -30.0]),
    ):
        operand, _ = Processor(CHUNKED).cast(x, Cast(format=fmt, saturate=saturate))
        np.testing.assert_array_equal(to_float(operand.codes, fmt), want)


def test_a_nan_is_zero_where_the_format_has_none() -> None:
    """As the output unit writes it, whatever else there is; elsewhere it stays."""
    x = floats(np.nan, 1.0, -np.nan, np.inf, -np.inf, 3e38, 3e38)
    for fmt in (E5M2_WANG, HFP8_143):
        top = fmt.max_finite
        operand, _ = Processor(CHUNKED).cast(x, Cast(format=fmt))
        assert values(operand.codes, fmt) == [0.0, 1.0, 0.0, top, -top, top, top]
        assert operand.codes[[0, 2]].tolist() == [0, 0]
        assert same_bits(Processor(CHUNKED).rounded(x, Cast(format=fmt)), floats(0.0, 1.0, 0.0, top, -top, top, top))
    for fmt in (E4M3, E5M2, FP16):
        operand, _ = Processor(CHUNKED).cast(x, Cast(format=fmt))
        assert np.isnan(to_float(operand.codes, fmt)).tolist() == [True, False, True] + [False] * 4
    # Large numbers alone are none.
    operand, _ = Processor(CHUNKED).cast(floats(3e38, 3e38, -3e38, 1.0), Cast(format=E5M2_WANG))
    assert values(operand.codes, E5M2_WANG) == [114688.0, 114688.0, -114688.0, 1.0]


# ---------------------------------------------------------------------------------------------------------------- amax


def largest_exponent(amax: float, fmt: Format, margin: int) -> int:
    """The largest e for which amax * 2^e is at most 2^-margin of the largest number, by trying."""
    top = Fraction(fmt.max_finite) / 2**margin
    e = 300
    while Fraction(amax) * Fraction(2) ** e > top:
        e -= 1
    return e


@pytest.mark.parametrize("fmt", [E4M3, E5M2, E5M2_WANG], ids=str)
@pytest.mark.parametrize("margin", [0, 3])
def test_amax_of_the_tensor_itself(fmt: Format, margin: int) -> None:
    rng = np.random.default_rng(2)
    processor, cast = Processor(CHUNKED), Cast(format=fmt, scaling=Amax(margin=margin))
    seen = set()
    for scale in (1e-40, 1e-20, 0.003, 1.0, 447.0, 448.0, 449.0, 1e20, 3e38):
        x = (rng.uniform(-1, 1, 50) * scale).astype(np.float32)
        x[7] = -scale
        operand, history = processor.cast(x, cast)
        assert operand.exponent == largest_exponent(float(np.abs(x).max()), fmt, margin)
        assert history is None
        want = np.ldexp(x.astype(np.float64), operand.exponent)
        np.testing.assert_array_equal(operand.codes, encode(want, fmt, saturate=True))
        assert fmt.max_finite / 2 ** (margin + 1) <= np.abs(to_float(operand.codes, fmt)).max() <= fmt.max_finite
        seen.add(operand.exponent)
    assert len(seen) >= 7


def test_amax_counts_finite_numbers_only() -> None:
    processor, cast = Processor(CHUNKED), Cast(format=E4M3, scaling=Amax())
    operand, _ = processor.cast(floats(np.inf, -np.inf, np.nan, -3.0, 1.0), cast)
    assert operand.exponent == 7  # 3 * 2^7 = 384 is the last that 448 holds
    np.testing.assert_array_equal(to_float(operand.codes, E4M3), [448.0, -448.0, np.nan, -384.0, 128.0])
    for nothing in (floats(), floats(0.0, -0.0), floats(np.nan), floats(np.inf)):
        assert processor.cast(nothing, cast)[0].exponent == 0


def test_a_history_stands_for_the_next_tensor() -> None:
    """The first tensor's own amax; then the largest of the last 3 before, so that a larger one saturates."""
    processor, cast = Processor(CHUNKED), Cast(format=E5M2, scaling=Amax(history=3, margin=1))
    amaxes = [1.0, 8.0, 2.0, 1.0, 0.5, 0.25, 1e6]
    known = [1.0, 1.0, 8.0, 8.0, 8.0, 2.0, 1.0]
    history = None
    for amax, of in zip(amaxes, known, strict=True):
        operand, history = processor.cast(floats(-amax, amax / 4, np.inf), cast, history)
        assert operand.exponent == largest_exponent(of, E5M2, 1)
        assert history.values[-1] == amax
        assert to_float(operand.codes, E5M2)[0] == -min(amax * 2.0**operand.exponent, 57344.0)
    assert history == AmaxHistory(length=3, values=(0.5, 0.25, 1e6))


def test_aside_scales_stay_as_they_are() -> None:
    """What is known stands for a tensor that is cast aside; where nothing is, it stands for itself and is forgotten."""
    processor, cast = Processor(STOCHASTIC), Cast(format=E4M3, rounding=sr(4), scaling=Amax(history=2, margin=1))
    large, small = floats(64.0, 1.0), floats(1.0, 0.3)
    processor.recorder = record = Record()
    before = processor.to_dict()
    with processor.aside():
        operand, history = processor.cast(large, cast)
        assert operand.exponent == largest_exponent(64.0, E4M3, 1) and history is None
        processor.multiply(
            Operand(encode(np.ones((2, 3)), E4M3), E4M3), Operand(encode(np.ones((3, 2)), E4M3), E4M3),
            place="p", phase="forward",
        )  # fmt: skip
        assert processor.to_dict() != before
    assert processor.to_dict() == before
    assert processor.recorder is record and not record

    _, history = processor.cast(small, cast)
    later = processor.to_dict()
    with pytest.raises(ZeroDivisionError), processor.aside():
        operand, same = processor.cast(large, cast, history)
        assert operand.exponent == largest_exponent(1.0, E4M3, 1)
        assert same == history
        raise ZeroDivisionError
    assert processor.to_dict() == later != before
    operand, history = processor.cast(large, cast, history)
    assert operand.exponent == largest_exponent(1.0, E4M3, 1)
    assert history.values == (1.0, 64.0)


# ------------------------------------------------------------------------------------------------------------- squeeze


@pytest.mark.parametrize("rounding", [Cast(format=E5M2).rounding, sr(8)], ids=str)
def test_squeezed_tensors_are_decoded_to_bf16(rounding) -> None:
    rng = np.random.default_rng(3)
    x = np.exp2(rng.normal(-20, 6, 4000)).astype(np.float32) * rng.choice(np.float32([-1, 1]), 4000)
    x[::9] = 0.0
    processor = Processor(RECIPES["s2fp8"], seed=5)
    cast = Cast(format=E5M2, scaling=Squeeze(), rounding=rounding)
    words = LaneWords(lanes=16, seed=5) if rounding.stochastic else None
    tensor = s2fp8_encode(x, rounding, words=words, saturate=True)
    decoded = s2fp8_decode(tensor.codes, tensor.alpha, tensor.beta)

    operand, history = processor.cast(x, cast)
    assert operand.format == BF16 and operand.exponent == 0 and history is None
    np.testing.assert_array_equal(operand.codes, decoded.astype(ml_dtypes.bfloat16).view(np.uint16))
    assert len(set(operand.codes.tolist())) > 50
    processor.cast_words = LaneWords(lanes=16, seed=5)
    np.testing.assert_array_equal(processor.rounded(x, cast), decoded.astype(np.float32))
    assert processor.cast_words.issued == (250 if rounding.stochastic else 0)


def test_squeezing_what_is_not_finite_is_the_end() -> None:
    processor, cast = Processor(RECIPES["s2fp8"]), Cast(format=E5M2, scaling=Squeeze())
    for bad in (np.inf, -np.inf, np.nan):
        for call in (processor.cast, processor.rounded):
            with pytest.raises(Diverged, match=r"^a tensor to squeeze is not finite: x must be .*finite.*$"):
                call(floats(1.0, bad), cast)
    assert values(processor.cast(floats(0.0, -0.0), cast)[0].codes, BF16) == [0.0, 0.0]


# --------------------------------------------------------------------------------------------------- words and rounded


def test_casts_draw_words_one_after_the_other() -> None:
    """16 lanes, each stepping once per row of a tensor; a rounding to nearest draws none."""
    processor, law = Processor(CHUNKED, seed=9), LaneWords(lanes=16, seed=9)
    rng = np.random.default_rng(4)
    changed = 0
    for shape, cast in (
        ((5, 7), Cast(format=E5M2, rounding=sr(8))),
        ((40,), Cast(format=E5M2)),
        ((2, 3, 4), Cast(format=E4M3, rounding=sr(3), scaling=Amax())),
        ((16,), Cast(format=E4M3, rounding=sr(11), saturate=False)),
        ((1,), Cast(format=E4M3, rounding=sr(1))),
        ((33,), Cast(format=FP16, rounding=sr(5))),
    ):
        x = rng.standard_normal(shape).astype(np.float32)
        operand, _ = processor.cast(x, cast)
        want = encode(np.ldexp(x, operand.exponent), cast.format, cast.rounding, words=law, saturate=cast.saturate)
        np.testing.assert_array_equal(operand.codes, want)
        changed += int((operand.codes != encode(np.ldexp(x, operand.exponent), cast.format)).sum())
        if cast.rounding.stochastic:
            law = law.after(x.size)
        assert processor.cast_words == law
    assert law.issued == 3 + 2 + 1 + 1 + 3
    assert changed > 20


def test_rounded_is_there_and_back() -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal(100).astype(np.float32)
    processor = Processor(CHUNKED)
    assert processor.rounded(x, Cast(format=FP32)) is x
    np.testing.assert_array_equal(processor.rounded(x, Cast(format=BF16)), x.astype(ml_dtypes.bfloat16).astype("f4"))
    np.testing.assert_array_equal(
        processor.rounded(x, Cast(format=E4M3, scaling=Fixed(4))),
        (x * np.float32(16)).astype(ml_dtypes.float8_e4m3fn).astype("f4") / 16,
    )
