"""A workload as data: layers with their shapes, in the order in which a forward pass runs them."""

from collections import Counter
from dataclasses import dataclass

from quaver.golden.errors import check_choice, check_range
from quaver.sim.layers import Multiplying
from quaver.sim.vector_layers import Embedding, Vector

Layer = Multiplying | Vector | Embedding
"""What a workload is made of."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A network: its layers in the order in which a forward pass runs them.

    The order tells what a vector layer reads: what the layer before it wrote, and for the rest tensors of layers
    further up.  The first layer with parameters is the one that needs no gradient of its input.
    """

    name: str
    """Name in reports and on the command line."""
    source: str = ""
    """Publication or file that the shapes are from."""
    layers: tuple[Layer, ...]
    """At least one layer, each with its own name."""

    def __post_init__(self) -> None:
        check_range(f"{self.name}: number of layers", len(self.layers), 1, 1 << 20)
        for name, count in Counter(layer.name for layer in self.layers).items():
            if count > 1:
                raise ValueError(f"{self.name}: layers must have different names, not {name!r} twice")

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one input's forward pass."""
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        """All that is learnt: weights, biases, tables, scales and shifts."""
        return sum(layer.parameters for layer in self.layers)

    def layer_named(self, name: str) -> Layer:
        """Look a layer up by its name; ValueError lists the layers there are."""
        check_choice(f"layer of {self.name}", name, [layer.name for layer in self.layers])
        return next(layer for layer in self.layers if layer.name == name)
