"""A network as operators on named tensors, with ONNX's names of operators: what importers read their sources into."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

Shape = tuple[int, ...]

_VIEWS = (
    "Cast CastLike DequantizeLinear Expand Flatten Gather Identity QuantizeLinear Reshape Squeeze Transpose Unsqueeze"
)
VIEWS = frozenset(_VIEWS.split())
"""Operators whose result is their first input seen differently: what was learnt is still that input."""
_SHAPES = frozenset({"Shape", "Size"})
_STORING = frozenset({"Constant", "ConstantOfShape"})


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One node of a network's graph."""

    type: str
    """ONNX's name of what it does; with a domain in front, `domain.Type`, for what is not ONNX's own."""
    name: str = ""
    """Name of the node, empty if it has none."""
    inputs: tuple[str, ...] = ()
    """Names of tensors, in ONNX's order; empty for one that is left out."""
    outputs: tuple[str, ...]
    """Names of tensors, likewise."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """By ONNX's names: integers, floats, strings (as str) and lists of them."""

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"node {self.name or next(filter(None, self.outputs), '')!r} ({self.type})"

    def input(self, index: int) -> str:
        """Name of an input, empty if it is left out."""
        return self.inputs[index] if index < len(self.inputs) else ""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Operators in an order in which they can run.

    A tensor is constant if it is known before any input comes: it is stored, or computed from constants and shapes.
    """

    operators: tuple[Operator, ...]
    """Each after those that write its inputs."""
    shapes: Mapping[str, Shape]
    """Of tensors, as far as they are known."""
    stored: frozenset[str]
    """Tensors that come with the network: weights, buffers and other constants."""
    fixed: frozenset[str] = frozenset()
    """Constants that are not learnt, as far as the source tells them from weights."""
    results: frozenset[str] = frozenset()
    """Tensors that leave the network."""

    def shape(self, tensor: str) -> Shape:
        """Shape of a tensor; ValueError if it is unknown."""
        if tensor not in self.shapes:
            raise ValueError(f"the shape of {tensor!r} is unknown")
        return self.shapes[tensor]

    def elements(self, tensor: str) -> int:
        """Elements of a tensor; ValueError if its shape is unknown."""
        return prod(self.shape(tensor))

    @cached_property
    def origins(self) -> Mapping[str, str]:
        """Of each constant, the stored or computed one that it is a view of, `VIEWS` undone."""
        origins = {name: name for name in self.stored}
        for operator in self.operators:
            if operator.type in _SHAPES or all(name in origins for name in operator.inputs if name):
                seen = operator.type in VIEWS and operator.input(0) in origins
                origins |= {name: origins[operator.inputs[0]] if seen else name for name in operator.outputs if name}
        return origins

    @cached_property
    def weights(self) -> frozenset[str]:
        """Constants that may have been learnt: those that were not computed, whether stored or written by a node."""
        written = {operator.outputs[0] for operator in self.operators if operator.type in _STORING}
        return (self.stored | written) - self.fixed

    def constant(self, operator: Operator) -> bool:
        """Whether all that an operator writes is constant."""
        return all(name in self.origins for name in operator.outputs if name)

    def computed(self, operator: Operator) -> list[str]:
        """The inputs of an operator that depend on the network's inputs."""
        return [name for name in operator.inputs if name and name not in self.origins]

    @cached_property
    def users(self) -> Mapping[str, tuple[int, ...]]:
        """Of each tensor, the places of the operators that read it."""
        users: dict[str, tuple[int, ...]] = {}
        for place, operator in enumerate(self.operators):
            for name in dict.fromkeys(filter(None, operator.inputs)):
                users[name] = (*users.get(name, ()), place)
        return users
