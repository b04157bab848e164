"""Recipes against what the papers say, written out here, and what a description may not say."""

import json
from dataclasses import FrozenInstanceError, fields, replace

import pytest

from quaver.golden import (
    PRESETS,
    RECIPES,
    RNE,
    Accumulator,
    AlignedSum,
    Amax,
    BackOff,
    Cast,
    ConstantScale,
    ExactSum,
    Fixed,
    Format,
    Recipe,
    RisingFloor,
    Squeeze,
    recipe_named,
    sr,
    to_float,
)
from quaver.golden.catalog import BF16, DLFLOAT16, E4M3, E5M2, E5M2_WANG, FP16, FP32, HFP8_143
from quaver.golden.loss_scaling import loss_scaling

UNSIGNED = Format(name="unsigned", exponent_bits=4, mantissa_bits=4, bias=7, signed=False, specials="finite")
FP32_RNE = Accumulator(format=FP32, rounding=RNE)
SUMS_169 = Accumulator(format=DLFLOAT16, rounding=RNE)


def shape(fmt: Format) -> tuple[int, int, int]:
    """Exponent bits, mantissa bits and bias of a signed format."""
    assert fmt.signed
    return fmt.exponent_bits, fmt.mantissa_bits, fmt.bias


def test_recipes_are_those_of_the_literature_and_the_baselines() -> None:
    papers = ["wang2018", "mellempudi2019", "hfp8", "s2fp8", "noune2022", "micikevicius2022", "gallus2018"]
    trained = [name for name, recipe in RECIPES.items() if recipe.post_training == "none"]
    assert trained == ["hybrid", *papers, "bf16", "fp16", "fp32"]
    for name, recipe in RECIPES.items():
        assert recipe.name == str(recipe) == name
        assert recipe_named(name) is recipe
    for name in papers:
        assert name[-4:] in RECIPES[name].source or name in ("hfp8", "s2fp8")
        assert RECIPES[name].choices


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=str)
def test_every_recipe_names_its_source(recipe: Recipe) -> None:
    assert any(word in recipe.source for word in ("et al.", "Gallus and Nannarelli 2018", "baseline"))
    assert len(recipe.source) > 30
    assert recipe.loss_scaling == loss_scaling(json.loads(json.dumps(recipe.loss_scaling.to_dict())))


def test_what_is_done_after_training_is_done_to_the_baseline() -> None:
    fp32 = RECIPES["fp32"]
    for recipe in RECIPES.values():
        if recipe.post_training != "none":
            told = {field: getattr(recipe, field) for field in ("name", "source", "choices", "post_training")}
            assert recipe == replace(fp32, **told)


def test_wang_2018() -> None:
    """1-5-2 operands to nearest, 1-6-9 sums in chunks of 64, a stochastic 1-6-9 update, a loss scale of 1000.

    No code of 1-5-2 is reserved: QPyTorch's IBM8 goes to 114688.
    """
    recipe = RECIPES["wang2018"]
    for cast in (recipe.weight, recipe.activation, recipe.error, recipe.gradient):
        assert shape(cast.format) == (5, 2, 15)
        assert cast.rounding == RNE and cast.scaling == Fixed(0) and cast.saturate
        assert to_float(0x7F, cast.format) == 114688.0
        assert to_float(0x01, cast.format) == 2.0**-16
    for fmt in (recipe.inner.format, recipe.outer.format, recipe.wide, recipe.master, recipe.velocity):
        assert shape(fmt) == (6, 9, 31)
        assert fmt.max_finite == 8573157376
    assert recipe.inner.rounding == recipe.outer.rounding == RNE
    assert recipe.chunk == 64
    assert recipe.update.stochastic
    assert recipe.loss_scaling == ConstantScale(scale=1000.0)
    assert recipe.edges == ("first", "last") and recipe.edge.format == BF16


def test_mellempudi_2019() -> None:
    """E5M2 with Inf and NaN everywhere, FP32 sums, FP16 master weights, a loss scale whose minimum rises.

    Activations and gradients are rounded stochastically, with 8 bits in the authors' toolkit, whose overflows are Inf.
    """
    recipe = RECIPES["mellempudi2019"]
    for cast in (recipe.weight, recipe.activation, recipe.error, recipe.gradient):
        assert shape(cast.format) == (5, 2, 15)
        assert cast.format.max_finite == 57344.0 and cast.format.has_inf
    assert recipe.weight.rounding == RNE
    assert [cast.rounding for cast in (recipe.activation, recipe.error, recipe.gradient)] == [sr(8)] * 3
    assert not recipe.error.saturate and not recipe.gradient.saturate
    assert recipe.inner == recipe.outer == FP32_RNE
    assert shape(recipe.master) == (5, 10, 15)
    assert isinstance(recipe.loss_scaling, RisingFloor)
    floors = [floor for _, floor in recipe.loss_scaling.floors]
    assert floors == sorted(floors) and len(set(floors)) > 1
    assert recipe.edges == ("first", "last") and recipe.edge.bits == 16


def test_sun_2019() -> None:
    """1-4-3 forward, its bias 4 more than 7; 1-5-2 backward with a scaled loss; 16 bits at both ends."""
    recipe = RECIPES["hfp8"]
    for cast in (recipe.weight, recipe.activation):
        assert shape(cast.format) == (4, 3, 11)
        assert cast.format.max_finite == 30.0
        assert to_float(0x01, cast.format) == 2.0**-13
    assert shape(recipe.error.format) == (5, 2, 15)
    assert recipe.loss_scaling.scale > 1
    assert recipe.edges == ("first", "last") and recipe.edge.bits == 16


def test_cambier_2020() -> None:
    """E5M2 to nearest, shifted and squeezed; FP32 sums and master weights; no loss scale and no exempted layer."""
    recipe = RECIPES["s2fp8"]
    for cast in (recipe.weight, recipe.activation, recipe.error, recipe.gradient):
        assert cast == Cast(format=E5M2, rounding=RNE, scaling=Squeeze())
        assert cast.operand == BF16 and cast.bits == 8
    assert recipe.inner == recipe.outer == FP32_RNE
    assert recipe.master == FP32
    assert recipe.loss_scaling == ConstantScale(scale=1.0)
    assert recipe.edge is recipe.image is None


def test_noune_2022() -> None:
    """The biases of ResNet-32 on CIFAR-100: activations 10, weights 14, their gradients 33 and 31.

    The one reserved code is 0x80; numbers beyond the largest are clipped to it.
    """
    recipe = RECIPES["noune2022"]
    for cast, exponent_bits, bias in (
        (recipe.activation, 4, 10),
        (recipe.weight, 4, 14),
        (recipe.error, 5, 33),
        (recipe.gradient, 5, 31),
    ):
        assert (cast.format.exponent_bits, cast.format.mantissa_bits) == (exponent_bits, 7 - exponent_bits)
        assert cast.format.nan_code == 0x80 and not cast.format.has_inf and cast.saturate
        # What a code stands for: its value as the format has it, the scale undone.
        values = [float(to_float(code, cast.format)) * 2.0**-cast.scaling.exponent for code in (0x01, 0x7F)]
        p = 7 - exponent_bits
        assert values == [2.0 ** (1 - bias - p), 2.0 ** (2**exponent_bits - 1 - bias) * (2 - 2.0**-p)]
    assert recipe.edge is None
    assert recipe.image == Cast(format=BF16)


def test_micikevicius_2022() -> None:
    """E4M3 forward, E5M2 for gradients of activations, of all layers; a scale per tensor; casts saturate."""
    recipe = RECIPES["micikevicius2022"]
    for cast in (recipe.weight, recipe.activation):
        assert shape(cast.format) == (4, 3, 7) and cast.format.max_finite == 448.0
    assert shape(recipe.error.format) == (5, 2, 15) and recipe.error.format.max_finite == 57344.0
    for cast in (recipe.weight, recipe.activation, recipe.error):
        assert isinstance(cast.scaling, Amax) and cast.saturate and cast.rounding == RNE
    assert recipe.gradient.bits == 16
    assert recipe.edge is recipe.image is None


def test_gallus_2018() -> None:
    """A quarter of FP32's storage."""
    recipe = RECIPES["gallus2018"]
    stored = [cast.bits for cast in (recipe.weight, recipe.activation, recipe.error, recipe.gradient)]
    assert [4 * bits for bits in (*stored, recipe.master.bits, recipe.velocity.bits)] == [32] * 6
    assert recipe.master == recipe.weight.format


def test_hybrid_is_what_the_presets_can_do() -> None:
    recipe = RECIPES["hybrid"]
    assert (recipe.weight.format, recipe.activation.format, recipe.error.format) == (E4M3, E4M3, E5M2)
    assert recipe.inner == recipe.outer == SUMS_169 and recipe.chunk == 64
    assert recipe.master == recipe.velocity == DLFLOAT16 and recipe.update.stochastic
    for machine in PRESETS.values():
        assert {E4M3, E5M2} <= set(machine.a_formats) & set(machine.b_formats)


def test_baselines() -> None:
    bf16, fp16, fp32 = (RECIPES[name] for name in ("bf16", "fp16", "fp32"))
    for recipe, fmt in ((bf16, BF16), (fp16, FP16), (fp32, FP32)):
        assert [cast.format for cast in (recipe.weight, recipe.activation, recipe.error)] == [fmt] * 3
        assert recipe.inner == recipe.outer == FP32_RNE
        assert recipe.master == recipe.velocity == FP32
    assert (bf16.host, fp16.host, fp32.host) == (False, True, True)
    assert isinstance(fp16.loss_scaling, BackOff) and not fp16.gradient.saturate
    assert bf16.loss_scaling.scale == fp32.loss_scaling.scale == 1.0


# --------------------------------------------------------------------------------------------------------- description


def test_casts_tell_what_they_are() -> None:
    for cast, text in (
        (Cast(format=E4M3), "e4m3"),
        (Cast(format=E4M3, scaling=Fixed(-3)), "e4m3 x 2^-3"),
        (Cast(format=E4M3, rounding=sr(8), scaling=Amax(margin=1)), "e4m3 sr(8) amax"),
        (Cast(format=E5M2, scaling=Amax(history=16), saturate=False), "e5m2 amax of the last 16, overflows"),
        (Cast(format=E5M2, scaling=Squeeze()), "e5m2 shifted and squeezed"),
    ):
        assert str(cast) == text
        assert cast.bits == 8
        assert cast.operand == (BF16 if isinstance(cast.scaling, Squeeze) else cast.format)


def test_recipes_tell_what_they_are() -> None:
    wang = RECIPES["wang2018"]
    assert wang.operands() == {
        "weight": wang.weight,
        "activation": wang.activation,
        "error": wang.error,
        "edge": wang.edge,
    }
    assert list(RECIPES["noune2022"].operands()) == ["weight", "activation", "error", "image"]
    assert wang.sums == "dlfloat16 rne, chunks of 64"
    assert RECIPES["s2fp8"].sums == "fp32 rne, chunks of 64"
    mixed = replace(wang, inner=ExactSum(), outer=Accumulator(format=FP32, overflow="saturate"), chunk=8)
    assert mixed.sums == "exact, chunks of 8, then fp32 rne saturating"
    arithmetic = mixed.arithmetic(E4M3, E5M2, seed=9)
    assert (arithmetic.a, arithmetic.b, arithmetic.seed) == (E4M3, E5M2, 9)
    assert (arithmetic.inner, arithmetic.outer, arithmetic.chunk) == (mixed.inner, mixed.outer, 8)
    assert replace(wang, inner=AlignedSum(13)).arithmetic(E4M3, E4M3).inner == AlignedSum(13)


def test_nothing_can_be_changed() -> None:
    for value in (RECIPES["hybrid"], Cast(format=E4M3), Fixed(1), Amax(), Squeeze()):
        for field in fields(value):
            with pytest.raises(FrozenInstanceError):
                setattr(value, field.name, None)


PLAIN = Recipe(
    name="plain", source="none", weight=Cast(format=E4M3), activation=Cast(format=E4M3), error=Cast(format=E5M2)
)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: Fixed(65537), "exponent must be an integer in -65536..65536, not 65537"),
        (lambda: Fixed(0.5), "exponent must be an integer in -65536..65536, not 0.5"),
        (lambda: Amax(margin=-1), "margin must be an integer in 0..64, not -1"),
        (lambda: Amax(margin=65), "margin must be an integer in 0..64, not 65"),
        (lambda: Amax(history=-1), "history must be an integer in 0..65536, not -1"),
        (lambda: Amax(history=True), "history must be an integer in 0..65536, not True"),
        (lambda: Cast(format=E4M3, scaling=Squeeze()), "format of what is squeezed must be e5m2, not e4m3"),
        (lambda: replace(PLAIN, edges=("middle",)), "edges must be one of first, last, not 'middle'"),
        (lambda: replace(PLAIN, post_training="int8"), "post_training must be one of none, afp, ptq, not 'int8'"),
        (lambda: replace(PLAIN, chunk=0), "chunk must be an integer in 1..1048576, not 0"),
        (
            lambda: replace(PLAIN, activation=Cast(format=FP16)),
            "significant bits of operand a (fp16) must be an integer in 1..8, not 11",
        ),
        (
            lambda: replace(PLAIN, image=Cast(format=FP32)),
            "significant bits of operand a (fp32) must be an integer in 1..8, not 24",
        ),
        (
            lambda: replace(PLAIN, gradient=Cast(format=E5M2, scaling=Amax(history=16))),
            "history of gradient must be an integer in 0..0, not 16",
        ),
        *(
            (
                lambda role=role: replace(PLAIN, **{role: Cast(format=UNSIGNED)}),
                f"format of {role} must be signed, not unsigned",
            )
            for role in ("weight", "activation", "error", "edge")
        ),
        (
            lambda: recipe_named("wang"),
            f"recipe must be one of {', '.join(RECIPES)}, not 'wang'",
        ),
    ],
)
def test_bad_values_are_refused(call, text, message) -> None:
    assert message(call) == text


def test_what_may_be_said() -> None:
    """Limits, an unsigned image, and operands of the host that no array takes."""
    assert (Fixed(-65536).exponent, Fixed(65536).exponent) == (-65536, 65536)
    assert Amax(margin=64, history=65536).history == 65536
    assert replace(PLAIN, image=Cast(format=UNSIGNED)).image.format == UNSIGNED
    assert replace(PLAIN, host=True, weight=Cast(format=FP16)).weight.format == FP16
    assert replace(PLAIN, edge=Cast(format=HFP8_143), edges=("last",)).edges == ("last",)
    assert replace(PLAIN, gradient=Cast(format=E5M2_WANG, scaling=Amax(margin=2))).gradient.scaling.margin == 2
