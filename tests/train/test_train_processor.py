"""Casts of tensors, scales that are undone once, and results in the wide format."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from quaver.golden import PRESETS, RECIPES, Accumulator, ExactSum, Format, Machine, Recipe, encode, sr, to_float
from quaver.golden.array_words import ArrayWords, Issued
from quaver.golden.catalog import BF16, DLFLOAT16, E4M3, E4M3FNUZ, E5M2, E5M2_WANG, FP16, FP32, HFP8_143
from quaver.golden.errors import Unsuitable
from quaver.golden.lane_words import LaneWords
from quaver.golden.recipe import Amax, Cast, Fixed, Squeeze
from quaver.golden.s2fp8 import s2fp8_decode, s2fp8_encode
from quaver.golden.scaling import AmaxHistory
from quaver.train.processor import Diverged, Operand, Processor, values_of
from tests.train.draws import CHUNKED, INTEGERS, STOCHASTIC, Record, same_bits


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
    processor, cast = Processor(STOCHASTIC), Cast(format=E4M3, rounding=sr(4), scaling=Amax(history=2))
    large, small = floats(64.0, 1.0), floats(1.0, 0.3)
    processor.recorder = record = Record()
    before = processor.to_dict()
    with processor.aside():
        operand, history = processor.cast(large, cast)
        assert operand.exponent == largest_exponent(64.0, E4M3, 0) and history is None
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
        assert operand.exponent == largest_exponent(1.0, E4M3, 0)
        assert same == history
        raise ZeroDivisionError
    assert processor.to_dict() == later != before
    operand, history = processor.cast(large, cast, history)
    assert operand.exponent == largest_exponent(1.0, E4M3, 0)
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


# ------------------------------------------------------------------------------------------------------------ products


def operand(x: NDArray, fmt: Format, exponent: int = 0) -> Operand:
    return Operand(encode(np.ldexp(x, exponent), fmt), fmt, exponent)


@pytest.mark.parametrize("recipe", [INTEGERS, replace(INTEGERS, host=True)], ids=["array", "host"])
def test_scales_are_undone_once(recipe: Recipe) -> None:
    """Products of integers are exact under any scales of their operands."""
    rng = np.random.default_rng(6)
    a, b = rng.integers(-8, 9, (3, 4, 30)).astype(np.float64), rng.integers(-8, 9, (30, 5)).astype(np.float64)
    for left, right in ((0, 0), (3, 0), (0, -5), (20, -13), (-60, -60), (60, 50)):
        y = Processor(recipe).multiply(operand(a, BF16, left), operand(b, BF16, right), place="p", phase="forward")
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, a @ b)


@pytest.mark.parametrize("host", [False, True])
def test_results_are_rounded_to_the_wide_format(host: bool) -> None:
    """FP16 overflows as the error's cast does; DLFloat16 has no Inf; 8 bits without NaN have +0 for one."""
    x = floats(1.0, 256.0, 70000.0, -70000.0, 65519.0, 65520.0, 2.0**-24, 2.0**-25, 2049.0, np.inf, np.nan)
    halves = [1.0, 256.0, 65504.0, -65504.0, 65504.0, 65504.0, 2.0**-24, 0.0, 2048.0, 65504.0, np.nan]
    inf = [1.0, 256.0, np.inf, -np.inf, 65504.0, np.inf, 2.0**-24, 0.0, 2048.0, np.inf, np.nan]
    for fmt, saturate, want in (
        (FP16, True, halves),
        (FP16, False, inf),
        (FP32, True, x.tolist()),
        (BF16, False, x.astype(ml_dtypes.bfloat16).astype("f4").tolist()),
        (DLFLOAT16, False, [*x[:4].tolist()[:2], 70016.0, -70016.0, 65536.0, 65536.0, *x[6:8], 2048.0, np.nan, np.nan]),
        (E5M2_WANG, True, [1.0, 256.0, 65536.0, -65536.0, 65536.0, 65536.0, 0.0, 0.0, 2048.0, 114688.0, 0.0]),
    ):
        error = Cast(format=FP32, saturate=saturate) if host else Cast(format=BF16, saturate=saturate)
        recipe = replace(INTEGERS, wide=fmt, error=error, host=host)
        # Split into numbers of 8 significant bits, which are added up again in FP32.
        parts = []
        rest = x.copy()
        for _ in range(3):
            parts.append(rest.astype(ml_dtypes.bfloat16).astype("f4"))
            with np.errstate(invalid="ignore"):
                rest = np.where(np.isfinite(rest), rest - parts[-1], 0).astype("f4")
        a = Operand(encode(np.stack(parts, 1), BF16), BF16)
        y = Processor(recipe).multiply(a, operand(np.ones((3, 1)), BF16), place="p", phase="forward")
        np.testing.assert_array_equal(y[:, 0], want)


def test_a_scale_is_undone_before_the_one_rounding() -> None:
    """A sum beyond FP16 comes back into it, and one within it goes to its subnormal numbers, rounded once."""
    recipe = replace(INTEGERS, wide=FP16)
    x = floats(3.0 * 2**20, 255.0 * 2**10)
    y = Processor(recipe).multiply(
        Operand(encode(x[:, None], BF16), BF16, 12), operand(np.ones((1, 1)), BF16), place="p", phase="forward"
    )
    assert y[:, 0].tolist() == [768.0, 63.75]
    y = Processor(recipe).multiply(
        Operand(encode(floats(5.0, 3.0)[:, None], BF16), BF16, 25), operand(np.ones((1, 1)), BF16), place="p", phase="f"
    )
    assert y[:, 0].tolist() == [2.0**-23, 2.0**-23]  # 2.5 and 1.5 ulps of 2^-24, to even


def test_the_outer_sum_is_the_result_where_the_wide_format_is_its() -> None:
    """A sum that overflows is NaN in DLFloat16, and one that an accumulator saturates stays finite."""
    a, b = operand(np.full((1, 4), 448.0), E4M3), operand(np.full((4, 1), 57344.0), E5M2)
    top = 8573157376.0
    for overflow, scale, want in (
        ("special", 0, 4 * 448 * 57344.0),
        ("special", 7, 4 * 448 * 57344.0 * 2**-7),
        ("saturate", 0, 4 * 448 * 57344.0),
    ):
        recipe = replace(CHUNKED, outer=Accumulator(overflow=overflow))
        y = Processor(recipe).multiply(a._replace(exponent=scale), b, place="p", phase="forward")
        assert y.tolist() == [[want]]
    many = operand(np.full((1, 400), 448.0), E4M3), operand(np.full((400, 1), 57344.0), E5M2)
    saturating = replace(CHUNKED, inner=Accumulator(overflow="saturate"), outer=Accumulator(overflow="saturate"))
    assert np.isnan(Processor(CHUNKED).multiply(*many, place="p", phase="forward")).all()
    assert Processor(saturating).multiply(*many, place="p", phase="forward").tolist() == [[top]]


def test_a_host_multiplies_what_no_array_takes() -> None:
    rng = np.random.default_rng(7)
    a, b = rng.standard_normal((4, 20)).astype("f4"), rng.standard_normal((20, 3)).astype("f4")
    processor, record = Processor(RECIPES["fp16"]), Record()
    processor.recorder = record
    left, right = (processor.cast(x, RECIPES["fp16"].weight)[0] for x in (a, b))
    y = processor.multiply(left, right, place="p", phase="forward")
    want = (a.astype("f2").astype("f8") @ b.astype("f2").astype("f8")).astype("f2")
    np.testing.assert_allclose(y, want, rtol=2**-10)
    assert set(y.ravel().tolist()) <= set(y.astype("f2").astype("f4").ravel().tolist())
    assert not record and processor.issued == Issued()


# ------------------------------------------------------------------------------------------------------ state, machine


def test_a_processor_goes_on_where_another_stood() -> None:
    rng = np.random.default_rng(8)

    def work(processor: Processor, seed: int) -> list[NDArray]:
        draws = np.random.default_rng(seed)
        done = []
        for shape in ((3, 20), (2, 20)):
            a, _ = processor.cast(draws.standard_normal(shape).astype("f4"), STOCHASTIC.activation)
            b, _ = processor.cast(draws.standard_normal((20, 4)).astype("f4"), STOCHASTIC.weight)
            done += [a.codes, b.codes, processor.multiply(a, b, place="p", phase="forward")]
        return done

    for machine in (None, Machine(rows=8, columns=4, chunk=8, seed=3, inner=STOCHASTIC.inner, outer=STOCHASTIC.outer)):
        whole = Processor(STOCHASTIC, machine=machine, seed=rng.integers(100).item())
        work(whole, 1)
        rest = Processor(STOCHASTIC, machine=machine, seed=whole.seed)
        fresh = work(Processor(STOCHASTIC, machine=machine, seed=whole.seed), 2)
        rest.restore(json.loads(json.dumps(whole.to_dict())))
        want, got = work(whole, 2), work(rest, 2)
        for x, y in zip(want, got, strict=True):
            np.testing.assert_array_equal(x, y)
        assert any((x != y).any() for x, y in zip(want, fresh, strict=True))
        assert rest.to_dict() == whole.to_dict()
        assert all(count > 0 for count in whole.to_dict().values())


def test_a_machine_brings_its_sums_and_its_seed() -> None:
    machine = Machine(rows=8, columns=4, chunk=4, inner=ExactSum(), outer=Accumulator(format=FP16), seed=12)
    processor = Processor(CHUNKED, machine=machine, seed=99)
    assert (processor.recipe.inner, processor.recipe.outer) == (machine.inner, machine.outer)
    assert (processor.recipe.chunk, processor.seed) == (4, 12)
    assert processor.cast_words == LaneWords(lanes=16, seed=12)
    assert processor.recipe.weight == CHUNKED.weight
    a, b = operand(np.ones((9, 20)), E4M3), operand(np.ones((20, 6)), E4M3)
    processor.multiply(a, b, place="p", phase="forward")
    assert processor.issued == ArrayWords.of(machine).after(9, 20, 6).issued
    # Without a machine or a stochastic sum there is nothing to issue.
    plain = Processor(CHUNKED)
    plain.multiply(a, b, place="p", phase="forward")
    assert plain.issued == Issued()


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: Processor(CHUNKED, seed=-1), ValueError, "seed must be an integer in 0..4294967295, not -1"),
        (
            lambda: Processor(RECIPES["wang2018"], machine=PRESETS["edge"]),
            Unsuitable,
            "a_formats of edge must have e5m2_wang for recipe wang2018, not e4m3, e5m2",
        ),
        (
            lambda: Processor(CHUNKED, machine=Machine(name="half", a_formats=(E4M3, E5M2), b_formats=(E4M3,))),
            Unsuitable,
            "b_formats of half must have e5m2 for recipe chunked, not e4m3",
        ),
        (
            lambda: Processor(RECIPES["s2fp8"], machine=Machine()),
            Unsuitable,
            "a_formats of machine must have bf16 for recipe s2fp8, not e4m3, e5m2",
        ),
        *(
            (
                lambda name=name: Processor(RECIPES[name], machine=Machine()),
                Unsuitable,
                f"recipe {name} must run without a machine: its products are the host's",
            )
            for name in ("fp16", "fp32")
        ),
    ],
)
def test_bad_values_are_refused(call: Callable[[], Processor], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as error:
        call()
    assert type(error.value) is kind
    assert str(error.value) == text
