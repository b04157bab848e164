"""The description of a training method, as far as it decides which number is kept in which format."""

from dataclasses import dataclass

from quaver.golden.catalog import BF16, DLFLOAT16, E4M3, E5M2, E5M2_WANG, FP16, FP32, HFP8_143
from quaver.golden.errors import check_choice
from quaver.golden.formats import Format


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Formats of the tensors of a training step; accumulators are the machine's."""

    name: str
    """Name in reports and on the command line."""
    source: str
    """Publication, and what in here is a choice of ours."""
    weight: Format
    """Weights as operands."""
    activation: Format
    """Activations as operands, and as they are kept for the backward pass."""
    error: Format
    """Gradients of activations as operands."""
    edge: Format | None = None
    """Operands of the first and of the last layer that multiplies; None where they are like all others."""
    wide: Format = FP16
    """Results of products on their way to the vector unit, and what it keeps there."""
    gradient: Format = FP16
    """Gradients of weights."""
    master: Format = FP16
    """Weights that are updated."""
    velocity: Format = FP16
    """Momentum."""


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="hybrid",
            source="what the presets are built for: E4M3 and E5M2 as in Micikevicius et al. 2022, 1-6-9 master weights "
            "and momentum, updated stochastically, as in Wang et al. 2018",
            weight=E4M3,
            activation=E4M3,
            error=E5M2,
            wide=DLFLOAT16,
            gradient=DLFLOAT16,
            master=DLFLOAT16,
            velocity=DLFLOAT16,
        ),
        Recipe(
            name="micikevicius2022",
            source="Micikevicius et al. 2022, arXiv 2209.05433: E4M3 for weights and activations, E5M2 for gradients, "
            "the first and the last layer included; 16-bit tensors elsewhere, FP32 master weights, momentum are ours",
            weight=E4M3,
            activation=E4M3,
            error=E5M2,
            master=FP32,
            velocity=FP32,
        ),
        Recipe(
            name="mellempudi2019",
            source="Mellempudi et al. 2019, arXiv 1905.12334: E5M2 for weights, activations, errors and gradients, "
            "FP16 master weights; BF16 for the first and the last layer, more precise there, FP16 momentum are ours",
            weight=E5M2,
            activation=E5M2,
            error=E5M2,
            edge=BF16,
            gradient=E5M2,
        ),
        Recipe(
            name="wang2018",
            source="Wang et al. 2018, arXiv 1812.08011: 1-5-2 operands, 1-6-9 master weights and momentum; the first "
            "and the last layer, 1-6-9 there, are BF16 here, the widest operand that a machine takes",
            weight=E5M2_WANG,
            activation=E5M2_WANG,
            error=E5M2_WANG,
            edge=BF16,
            wide=DLFLOAT16,
            gradient=E5M2_WANG,
            master=DLFLOAT16,
            velocity=DLFLOAT16,
        ),
        Recipe(
            name="hfp8",
            source="Sun et al. 2019 (HFP8): 1-4-3 with bias 11 forward, 1-5-2 backward; the first and the last layer, "
            "FP16 there, are BF16 here; master weights and momentum in 1-6-9 are ours",
            weight=HFP8_143,
            activation=HFP8_143,
            error=E5M2_WANG,
            edge=BF16,
            wide=DLFLOAT16,
            gradient=DLFLOAT16,
            master=DLFLOAT16,
            velocity=DLFLOAT16,
        ),
        Recipe(
            name="bf16",
            source="the baseline of 16-bit training: BF16 operands, FP32 master weights and momentum",
            weight=BF16,
            activation=BF16,
            error=BF16,
            wide=BF16,
            gradient=BF16,
            master=FP32,
            velocity=FP32,
        ),
    )
}
"""The recipes that a training step can follow, by name."""


def recipe_named(name: str) -> Recipe:
    """Look a recipe up by its name; ValueError lists those that there are."""
    check_choice("recipe", name, RECIPES)
    return RECIPES[name]
