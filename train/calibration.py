"""What a trained model's products are made of: the largest magnitudes of their operands, over some batches."""

from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from quaver.golden import recipe_named
from quaver.golden.catalog import FP32
from quaver.golden.errors import check_choice
from quaver.golden.recipe import Cast
from quaver.golden.scalars import check_not_negative
from quaver.golden.states import State
from quaver.train.convert import convert
from quaver.train.processor import Operand, amax_of
from quaver.train.site import Role, Site

ROLES = ("weight", "activation", "other")
_FLOAT32 = Cast(format=FP32)
_EXCHANGED = replace(recipe_named("bf16"), name="calibration", host=True, wide=FP32)
"""Lets `convert` exchange the layers; the casts are not looked at."""


@dataclass(frozen=True, kw_only=True)
class Calibration(State):
    """Largest magnitudes, which `to_dict` makes plain data of and `from_dict` reads again.

    Raises
    ------
    TypeError, ValueError
        For an unknown role, and a magnitude that is no finite number of at least 0.
    """

    operands: tuple[tuple[str, str, float], ...]
    """Name of a product, role of an operand (`weight`, `activation`, or `other`, the second activation of a product of
    two) and largest magnitude, in the order of their first use."""

    def __post_init__(self) -> None:
        for name, role, amax in self.operands:
            check_choice(f"role of an operand of {name}", role, ROLES)
            check_not_negative(f"{role} of {name}", amax)

    def of(self, name: str) -> dict[str, float]:
        """Largest magnitude of each operand of a product, by role; ValueError where no product is called so."""
        check_choice("name of a product", name, dict.fromkeys(product for product, _, _ in self.operands))
        return {role: amax for product, role, amax in self.operands if product == name}

    @property
    def with_weights(self) -> tuple[str, ...]:
        """Products with weights, in the order in which they are computed."""
        return tuple(name for name, role, _ in self.operands if role == "weight")


def calibrate(model: nn.Module, batches: Iterable[Tensor | tuple[Tensor, ...]]) -> Calibration:
    """Look at the operands of all products of a model, in float32 and evaluation mode; the model stays as it is.

    Parameters
    ----------
    model:
        As for `quaver.train.convert`, which finds and names its products.
    batches:
        Inputs of the model; of a tuple each tensor is an argument.

    Raises
    ------
    ValueError
        If there are no batches, one makes an operand that is not finite, or none reaches a product; and as of
        `convert`.
    """
    observed = convert(deepcopy(model).eval(), _EXCHANGED)
    seen: dict[tuple[str, str], float] = {}
    names = []
    for module in placed(observed):
        names.append(module.site.name)
        module.site = _Observer(module.site, seen)
    with torch.no_grad():
        for batch in batches:
            observed(*batch) if isinstance(batch, tuple) else observed(batch)
    reached = {name for name, _ in seen}
    for name in names:
        if name not in reached:
            raise ValueError(f"batches must reach all products of the model, not miss {name}")
    return Calibration(operands=tuple((name, role, amax) for (name, role), amax in seen.items()))


def placed(model: nn.Module) -> Iterator[nn.Module]:
    """The parts of a converted model that have a `site`."""
    for module in model.modules():
        if isinstance(getattr(module, "site", None), Site):
            yield module


class _Observer(Site):
    """A site of float32 products that remembers the largest magnitudes of their operands."""

    def __init__(self, site: Site, seen: dict[tuple[str, str], float]) -> None:
        super().__init__(site.processor, site.name, site.casts)
        self.seen = seen

    def operand(self, role: Role, tensor: Tensor) -> Operand:
        values = tensor.detach().numpy()
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{role} of {self.name} must be finite in all batches")
        key = self.name, role
        self.seen[key] = max(self.seen.get(key, 0.0), amax_of(values))
        return self.processor.cast(values, _FLOAT32)[0]
