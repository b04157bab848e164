"""A place in a model where products are computed: its name, its casts and the history of its scales."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from torch import Tensor

from quaver.golden import AmaxHistory, Recipe
from quaver.golden.errors import check_choice
from quaver.golden.recipe import Cast
from quaver.train.processor import Operand, Processor, Values

Role = Literal["weight", "activation", "other", "error"]
Phase = Literal["forward", "weight_gradient", "data_gradient"]


@dataclass(frozen=True, kw_only=True)
class Casts:
    """How the tensors of one layer are cast."""

    weight: Cast
    activation: Cast
    error: Cast
    gradient: Cast

    @classmethod
    def of(cls, recipe: Recipe, *, first: bool = False, last: bool = False) -> Self:
        """Those of a layer; `first` and `last` are the first and the last one of a model that multiply."""
        edge = recipe.edge if (first and "first" in recipe.edges) or (last and "last" in recipe.edges) else None
        return cls(
            weight=edge or recipe.weight,
            activation=(recipe.image if first else None) or edge or recipe.activation,
            error=edge or recipe.error,
            gradient=recipe.gradient,
        )


class Site:
    """One layer's products on a processor."""

    def __init__(self, processor: Processor, name: str, casts: Casts) -> None:
        self.processor, self.name, self.casts = processor, name, casts
        self.histories: dict[str, AmaxHistory] = {}

    def operand(self, role: Role, tensor: Tensor) -> Operand:
        """A tensor cast as `role` says; `other` is the second activation of a product of two."""
        cast: Cast = getattr(self.casts, "activation" if role == "other" else role)
        values: Values = tensor.detach().numpy()
        operand, history = self.processor.cast(values, cast, self.histories.get(role))
        if history is not None:
            self.histories[role] = history
        return operand

    def product(self, phase: Phase, a: Operand, b: Operand) -> Values:
        """The product of (..., M, K) and (..., K, N)."""
        return self.processor.multiply(a, b, place=self.name, phase=phase)

    def gradient(self, values: Values) -> Values:
        """A gradient of weights as it is handed to the update."""
        return self.processor.rounded(values, self.casts.gradient)

    def to_dict(self) -> dict[str, object]:
        """The histories, as plain data."""
        return {role: history.to_dict() for role, history in self.histories.items()}

    def restore(self, state: Mapping[str, Mapping[str, object]]) -> None:
        """Go on where `to_dict` was called."""
        for role in state:
            check_choice("history", role, ("weight", "activation", "other", "error"))
        self.histories = {role: AmaxHistory.from_dict(table) for role, table in state.items()}
