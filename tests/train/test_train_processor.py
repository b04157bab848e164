"""Products, whose scales are undone once and whose results are rounded to the wide format; states and machines."""

import json
from collections.abc import Callable
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from quaver.golden import PRESETS, RECIPES, Accumulator, ExactSum, Format, Machine, Recipe, encode
from quaver.golden.array_words import ArrayWords, Issued
from quaver.golden.catalog import BF16, DLFLOAT16, E4M3, E5M2, E5M2_WANG, FP16, FP32
from quaver.golden.errors import Unsuitable
from quaver.golden.lane_words import LaneWords
from quaver.golden.recipe import Cast
from quaver.train.processor import Operand, Processor
from tests.train.draws import CHUNKED, INTEGERS, STOCHASTIC, Record


def floats(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


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
    assert processor.cast_words == LaneWords(lanes=4, seed=12)  # one per column
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
            "a_formats of edge must have bf16 for recipe wang2018, not e4m3, e5m2",
        ),
        (
            lambda: Processor(CHUNKED, machine=Machine(name="half", a_formats=(E4M3, E5M2), b_formats=(E5M2,))),
            Unsuitable,
            "b_formats of half must have e4m3 for recipe chunked, not e5m2",
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
