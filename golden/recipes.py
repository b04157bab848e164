"""The recipes of the literature, each with its source and with what we had to choose."""

from typing import Any

from quaver.golden.catalog import (
    BF16,
    DLFLOAT16,
    E4M3,
    E4M3FNUZ,
    E5M2,
    E5M2_WANG,
    E5M2FNUZ,
    FP16,
    FP32,
    HFP8_143,
)
from quaver.golden.errors import check_choice
from quaver.golden.loss_scaling import BackOff, ConstantScale, RisingFloor
from quaver.golden.recipe import FP32_SUMS, Amax, Cast, Fixed, Recipe, Squeeze
from quaver.golden.rounding import sr

_FLOAT32: dict[str, Any] = {
    "weight": Cast(format=FP32),
    "activation": Cast(format=FP32),
    "error": Cast(format=FP32),
    "wide": FP32,
    "gradient": Cast(format=FP32),
    "inner": FP32_SUMS,
    "outer": FP32_SUMS,
    "master": FP32,
    "velocity": FP32,
    "host": True,
}
_ALL: tuple[Recipe, ...] = (
    Recipe(
        name="hybrid",
        source="what the presets are built for: E4M3 forward and E5M2 backward as in Micikevicius et al. 2022, 1-6-9 "
        "sums in chunks of 64, 1-6-9 master weights and momentum, updated stochastically, as in Wang et al. "
        "2018",
        choices="scales are powers of two: a weight's from itself, the others' from the last 16 steps",
        weight=Cast(format=E4M3, scaling=Amax()),
        activation=Cast(format=E4M3, scaling=Amax(history=16)),
        error=Cast(format=E5M2, scaling=Amax(history=16)),
        wide=DLFLOAT16,
        gradient=Cast(format=DLFLOAT16),
        master=DLFLOAT16,
        velocity=DLFLOAT16,
        update=sr(16),
    ),
    Recipe(
        name="wang2018",
        source="Wang et al. 2018, arXiv 1812.08011: 1-5-2 operands, 1-6-9 sums in chunks of 64, 1-6-9 master weights "
        "and momentum, stochastic rounding in the update; a loss scale of 1000 as in QPyTorch's emulation",
        choices="the first and the last layer, 1-6-9 there, are BF16 here, the widest operand that a machine takes; "
        "sums to nearest, ties to even; 16 random bits; gradients of weights become 1-5-2 before the loss "
        "scale is undone, as later they would be too small; no code of 1-5-2 is reserved",
        weight=Cast(format=E5M2_WANG),
        activation=Cast(format=E5M2_WANG),
        error=Cast(format=E5M2_WANG),
        edge=Cast(format=BF16),
        wide=DLFLOAT16,
        gradient=Cast(format=E5M2_WANG),
        master=DLFLOAT16,
        velocity=DLFLOAT16,
        update=sr(16),
        loss_scaling=ConstantScale(scale=1000.0),
    ),
    Recipe(
        name="mellempudi2019",
        source="Mellempudi et al. 2019, arXiv 1905.12334: E5M2 for weights, activations, errors and gradients, FP32 "
        "sums, FP16 master weights, stochastic rounding of activations and gradients, a dynamic loss scale "
        "whose minimum rises",
        choices="the first and the last layer, more precise there, are BF16; 8 random bits, as in the authors' "
        "toolkit; the floors of the loss scale, which doubles after 200 clean steps; FP16 momentum; sums of "
        "the update to nearest",
        weight=Cast(format=E5M2),
        activation=Cast(format=E5M2, rounding=sr(8)),
        error=Cast(format=E5M2, rounding=sr(8), saturate=False),
        edge=Cast(format=BF16, saturate=False),
        inner=FP32_SUMS,
        outer=FP32_SUMS,
        gradient=Cast(format=E5M2, rounding=sr(8), saturate=False),
        loss_scaling=RisingFloor(
            scale=2.0**13, interval=200, maximum=2.0**20, floors=((0, 2.0**8), (500, 2.0**10), (2000, 2.0**12))
        ),
    ),
    Recipe(
        name="hfp8",
        source="Sun et al. 2019 (HFP8): 1-4-3 with a bias of 11 forward, 1-5-2 with a scaled loss backward, the "
        "first and the last layer in 16 bits",
        choices="sums and update are those of Wang et al. 2018, the authors' earlier work, and so is the loss scale; "
        "the first and the last layer, FP16 there, are BF16 here, the widest operand that a machine takes; no "
        "residual buffer: its algorithm could not be read",
        weight=Cast(format=HFP8_143),
        activation=Cast(format=HFP8_143),
        error=Cast(format=E5M2_WANG),
        edge=Cast(format=BF16),
        wide=DLFLOAT16,
        gradient=Cast(format=DLFLOAT16),
        master=DLFLOAT16,
        velocity=DLFLOAT16,
        update=sr(16),
        loss_scaling=ConstantScale(scale=1000.0),
    ),
    Recipe(
        name="s2fp8",
        source="Cambier et al. 2020 (S2FP8), arXiv 2001.05674: E5M2 shifted and squeezed by each tensor's own "
        "statistics, before and after every product, FP32 sums and master weights, no loss scale, no layer "
        "exempted",
        choices="operands are decoded to BF16, the widest that a machine takes; results of products are squeezed "
        "where the next product reads them, not twice; FP32 momentum",
        weight=Cast(format=E5M2, scaling=Squeeze()),
        activation=Cast(format=E5M2, scaling=Squeeze()),
        error=Cast(format=E5M2, scaling=Squeeze()),
        inner=FP32_SUMS,
        outer=FP32_SUMS,
        wide=FP32,
        gradient=Cast(format=E5M2, scaling=Squeeze()),
        master=FP32,
        velocity=FP32,
    ),
    Recipe(
        name="noune2022",
        source="Noune et al. 2022, arXiv 2206.02915: 1.4.3 forward and 1.5.2 backward without Inf, one bias per kind "
        "of tensor; the biases of their ResNet-32 (activations 10, weights 14, their gradients 33 and 31); "
        "the input of the first layer is not quantised",
        choices="FP32 sums: the paper does not say; the input of the first layer is BF16; FP16 results, FP32 master "
        "weights and momentum",
        weight=Cast(format=E4M3FNUZ, scaling=Fixed(14 - E4M3FNUZ.bias)),
        activation=Cast(format=E4M3FNUZ, scaling=Fixed(10 - E4M3FNUZ.bias)),
        error=Cast(format=E5M2FNUZ, scaling=Fixed(33 - E5M2FNUZ.bias)),
        image=Cast(format=BF16),
        inner=FP32_SUMS,
        outer=FP32_SUMS,
        gradient=Cast(format=E5M2FNUZ, scaling=Fixed(31 - E5M2FNUZ.bias)),
        master=FP32,
        velocity=FP32,
    ),
    Recipe(
        name="micikevicius2022",
        source="Micikevicius et al. 2022, arXiv 2209.05433: E4M3 for weights and activations, E5M2 for gradients of "
        "activations, the first and the last layer included, a scale per tensor, saturating casts",
        choices="scales are powers of two: a weight's from itself, the others' from the last 16 steps; FP32 sums, "
        "FP16 results and gradients of weights, FP32 master weights and momentum",
        weight=Cast(format=E4M3, scaling=Amax()),
        activation=Cast(format=E4M3, scaling=Amax(history=16)),
        error=Cast(format=E5M2, scaling=Amax(history=16)),
        inner=FP32_SUMS,
        outer=FP32_SUMS,
        gradient=Cast(format=FP16),
        master=FP32,
        velocity=FP32,
    ),
    Recipe(
        name="gallus2018",
        source="Gallus and Nannarelli 2018, DTU Compute TR 2018-01: LeNet-5 trained in 8-bit floating point, a "
        "quarter of the storage; formats, rounding and sums could not be read",
        choices="everything else: 1-4-3 forward, 1-5-2 backward, both scaled by amax; weights are kept in 8 bits and "
        "nowhere else (1-4-3 with a bias of 11), updated stochastically with 16 random bits; momentum "
        "likewise; 1-6-9 sums",
        weight=Cast(format=HFP8_143),
        activation=Cast(format=E4M3, scaling=Amax(history=16)),
        error=Cast(format=E5M2, scaling=Amax(history=16)),
        wide=DLFLOAT16,
        gradient=Cast(format=E5M2, scaling=Amax()),
        master=HFP8_143,
        velocity=HFP8_143,
        update=sr(16),
    ),
    Recipe(
        name="bf16",
        source="the baseline of 16-bit training: BF16 operands, FP32 sums, master weights and momentum",
        weight=Cast(format=BF16),
        activation=Cast(format=BF16),
        error=Cast(format=BF16),
        inner=FP32_SUMS,
        outer=FP32_SUMS,
        wide=BF16,
        gradient=Cast(format=BF16),
        master=FP32,
        velocity=FP32,
    ),
    Recipe(
        name="fp16",
        source="the baseline of mixed precision: FP16 operands and results, float32 sums of the host, FP32 master "
        "weights and momentum, a loss scale that backs off",
        choices="the loss scale doubles after 200 clean steps",
        weight=Cast(format=FP16, saturate=False),
        activation=Cast(format=FP16, saturate=False),
        error=Cast(format=FP16, saturate=False),
        gradient=Cast(format=FP16, saturate=False),
        inner=FP32_SUMS,
        outer=FP32_SUMS,
        master=FP32,
        velocity=FP32,
        loss_scaling=BackOff(scale=2.0**12, interval=200),
        host=True,
    ),
    Recipe(name="fp32", source="the baseline: float32 throughout, on the host", **_FLOAT32),
    Recipe(
        name="afp",
        source="Liu et al. 2021 (AFP): the fp32 baseline, whose weights are then given formats of 3 to 8 bits, layer "
        "by layer, by a search; products in float32, of the host",
        choices="the exhaustive search of the authors' code, but of each layer for itself, as in the paper, which "
        "searches by Bayes",
        **_FLOAT32,
        post_training="afp",
    ),
    Recipe(
        name="micikevicius2022_ptq",
        source="Micikevicius et al. 2022, arXiv 2209.05433, after training: the fp32 baseline, whose weights and "
        "activations are then E4M3 with a scale per tensor from calibration",
        choices="scales are powers of two; FP32 sums, on the engine",
        **_FLOAT32,
        post_training="ptq",
    ),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}
"""The recipes that a training step can follow, by name."""


def recipe_named(name: str) -> Recipe:
    """Look a recipe up by its name; ValueError lists those that there are."""
    check_choice("recipe", name, RECIPES)
    return RECIPES[name]
