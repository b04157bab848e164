"""Workloads as data: layers with their shapes, in the order in which a forward pass runs them."""

from collections.abc import Callable
from dataclasses import dataclass

from quaver.golden.errors import check_choice, check_range
from quaver.sim.layers import Layer
from quaver.sim.resnet import resnet18_layers


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A network, as far as the array is concerned: its convolutions and fully connected layers."""

    name: str
    """Name in reports and on the command line."""
    layers: tuple[Layer, ...]
    """At least one layer, each with its own name."""

    def __post_init__(self) -> None:
        check_range(f"{self.name}: number of layers", len(self.layers), 1, 1 << 20)
        names = [layer.name for layer in self.layers]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{self.name}: layers must have different names, not {name!r} twice")

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one input's forward pass."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Weights and biases of the layers; those of normalisation, which the array does not run, are not counted."""
        return sum(layer.parameters for layer in self.layers)

    def layer_named(self, name: str) -> Layer:
        """Look a layer up by its name; ValueError lists the layers there are."""
        check_choice(f"layer of {self.name}", name, [layer.name for layer in self.layers])
        return next(layer for layer in self.layers if layer.name == name)


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "resnet18": lambda: Workload(name="resnet18", layers=resnet18_layers()),
}
"""The built-in workloads."""


def workload_named(name: str) -> Workload:
    """Build a built-in workload; ValueError lists the names there are."""
    check_choice("workload", name, WORKLOADS)
    return WORKLOADS[name]()
