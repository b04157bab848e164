"""Trained models in eight bits: scales from calibration, products on the bit-exact engine.

Micikevicius et al., FP8 Formats for Deep Learning, 2022 (arXiv 2209.05433): weights and activations of all products,
those of the first and the last layer included, become E4M3 after training, each tensor multiplied by a scale before
the cast; the scale is undone once per dot product, and casts saturate.  The perplexity of their GPT of 1.3 billion
weights is 10.19 in 16 bits, 10.29 to 10.44 so, and 12.59 with the format's bias of 7 and no scales.
"""

from collections.abc import Collection, Mapping
from copy import deepcopy
from dataclasses import replace
from math import frexp, prod
from typing import Literal, NamedTuple, get_args

import numpy as np
from torch import Tensor, nn

from quaver.golden import Arithmetic, Format, Recipe, amax_exponent, amax_scale
from quaver.golden.catalog import FP32
from quaver.golden.errors import check_choice, check_range
from quaver.golden.recipe import FP32_SUMS, Cast, Edge, Fixed
from quaver.train.calibration import Calibration, placed
from quaver.train.convert import convert
from quaver.train.processor import Operand, Values
from quaver.train.site import Phase, Role, Site

Scales = Literal["power_of_two", "real", "none"]
POST_TRAINING = Arithmetic(inner=FP32_SUMS, outer=FP32_SUMS)
"""E4M3 operands and float32 sums."""


def quantise_post_training(
    model: nn.Module,
    calibration: Calibration,
    *,
    arithmetic: Arithmetic = POST_TRAINING,
    scales: Scales = "power_of_two",
    margin: int = 0,
    exempt: Collection[Edge] = (),
) -> nn.Module:
    """A copy of the model, for evaluation alone, whose products are those of `arithmetic`.

    Parameters
    ----------
    model:
        As for `quaver.train.convert`; what is no product stays float32.
    calibration:
        Of this model.
    arithmetic:
        `a` is the format of activations, `b` that of weights; sums as it says, random words from its seed on.
    scales:
        `power_of_two`: the largest power of two that keeps the calibration's largest magnitude in the format; `real`:
        what brings this magnitude to the format's largest number, rounded to float32, as the scaled tensor is; `none`:
        the format's bias alone.  What is larger than in calibration saturates.
    margin:
        Binades, 0 to 64, that scales leave free at the top of a format: for sums that would overflow otherwise.
    exempt:
        `first`, `last` or both: of the layers with weights those that are computed first and last stay float32.

    Raises
    ------
    ValueError
        For an argument that is none of these, a product that the calibration does not know; and as of `convert`.
    """
    check_choice("scales", scales, get_args(Scales))
    check_range("margin", margin, 0, 64)
    for edge in exempt:
        check_choice("edge in exempt", edge, get_args(Edge))
    ends = {"first": 0, "last": -1}
    left = tuple({_layer_of(model, calibration.with_weights[ends[edge]]) for edge in exempt})
    quantised = convert(deepcopy(model), _recipe(arithmetic), seed=arithmetic.seed, exempt=left)
    for module in placed(quantised):
        known = {}
        for role, amax in calibration.of(module.site.name).items():
            known[role] = _scale(amax, arithmetic.b if role == "weight" else arithmetic.a, scales, margin)
        module.site = CalibratedSite(module.site, known)
    return quantised.eval().requires_grad_(False)


class Scale(NamedTuple):
    """What a tensor is multiplied by: factor * 2^exponent."""

    factor: float
    """A number of float32, 1 to 2; 1 for a power of two."""
    exponent: int


class CalibratedSite(Site):
    """A site whose operands have scales of their own, for the forward pass alone."""

    def __init__(self, site: Site, scales: Mapping[str, Scale]) -> None:
        super().__init__(site.processor, site.name, site.casts)
        self.scales = scales
        self._undone = np.float64(prod(scale.factor for scale in scales.values()))  # exact: 24 bits each

    def operand(self, role: Role, tensor: Tensor) -> Operand:
        if role not in self.scales:
            raise ValueError(f"{self.name} was quantised after training: it has no backward pass")
        factor, exponent = self.scales[role]
        cast = self.casts.weight if role == "weight" else self.casts.activation
        values: Values = tensor.detach().numpy()
        values = values if factor == 1 else values * np.float32(factor)
        return self.processor.cast(values, replace(cast, scaling=Fixed(exponent)))[0]

    def product(self, phase: Phase, a: Operand, b: Operand) -> Values:
        y = super().product(phase, a, b)  # the powers of two are undone in there
        return y if self._undone == 1 else (y / self._undone).astype(np.float32)


def _scale(amax: float, fmt: Format, scales: Scales, margin: int) -> Scale:
    if scales == "none":
        return Scale(1.0, 0)
    if scales == "power_of_two":
        return Scale(1.0, amax_exponent(amax, fmt, margin=margin))
    fraction, exponent = frexp(amax_scale(amax, fmt, margin=margin, power_of_two=False))
    return Scale(float(np.float32(2 * fraction)), exponent - 1)


def _recipe(arithmetic: Arithmetic) -> Recipe:
    activation = Cast(format=arithmetic.a)
    return Recipe(
        name="ptq",
        source="Micikevicius et al. 2022, arXiv 2209.05433: scales per tensor, found after training",
        weight=Cast(format=arithmetic.b),
        activation=activation,
        error=activation,  # there is none
        inner=arithmetic.inner,
        outer=arithmetic.outer,
        chunk=arithmetic.chunk,
        wide=FP32,
        gradient=Cast(format=FP32),
        master=FP32,
        velocity=FP32,
        post_training="ptq",
    )


def _layer_of(model: nn.Module, product: str) -> str:
    """The layer that a product is computed in: a part of an attention is not exempt alone."""
    parent = product.rpartition(".")[0]
    return parent if isinstance(model.get_submodule(parent), nn.MultiheadAttention) else product
