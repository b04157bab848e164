"""What the vector unit does: chains of vector layers, each chain in one pass over its data.

Vector layers that follow each other make a chain: what one writes the next one reads in the unit, not from DRAM.  What
must know its whole input before its first output, as a batch normalisation in training, begins a chain.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from quaver.golden import Recipe
from quaver.sim.operands import packed_bytes
from quaver.sim.vector_layers import KINDS, Embedding, Vector

_JOINS = ("add", "mul", "div", "elementwise")
"""Kinds that may read a second tensor."""


@dataclass(frozen=True, kw_only=True)
class VectorWork:
    """One or more passes of the vector unit over tensors."""

    operations: int
    """Operations: a lane does one a cycle."""
    reads: int
    """Bytes read from DRAM, packed."""
    writes: int
    """Bytes written to DRAM, packed."""
    bits: int
    """Bits of the numbers that are computed with."""
    macs: int = 0
    """Multiply-accumulates of a layer that would otherwise be the array's, two operations each."""


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Vector layers in one pass, and whether their first tensor comes from the array."""

    layers: tuple[Vector, ...]
    """At least one."""
    wide: bool
    """Whether what the first one reads are results of products, which are kept in the recipe's wide format."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers."""
        return tuple(layer.name for layer in self.layers)

    @property
    def outputs(self) -> int:
        """Elements that the chain writes, per input of the network."""
        return self.layers[-1].outputs

    @property
    def entered(self) -> int:
        """Elements of the tensor that it begins with."""
        first = self.layers[0]
        return min(first.reads, first.outputs) if first.kind in _JOINS else first.reads

    @property
    def joined(self) -> int:
        """Elements of other tensors that it reads on its way, such as the other operand of a sum."""
        flows = zip(self.layers[1:], self.layers[:-1], strict=True)
        others = sum(max(0, layer.reads - before.outputs) for layer, before in flows)
        return others + self.layers[0].reads - self.entered


def chains(layers: Iterable[Vector], *, training: bool) -> Iterator[tuple[Vector, ...]]:
    """Cut vector layers that follow each other into those that share a pass."""
    run: list[Vector] = []
    for layer in layers:
        kind = KINDS[layer.kind]
        several = (kind.passes if training else kind.inference_passes) > 1
        if run and (several or layer.reads < run[-1].outputs):
            yield tuple(run)
            run = []
        run.append(layer)
    if run:
        yield tuple(run)


def chain_forward(chain: Chain, batch: int, recipe: Recipe, *, training: bool) -> VectorWork:
    """The forward pass of a chain over `batch` inputs."""
    kinds = [(layer, KINDS[layer.kind]) for layer in chain.layers]
    each = [layer.outputs * layer.window * (kind.forward if training else kind.inference) for layer, kind in kinds]
    first = kinds[0][1]
    passes = first.passes if training else first.inference_passes
    entered = passes * chain.entered * (recipe.wide if chain.wide else recipe.activation).bits
    return VectorWork(
        operations=batch * sum(each),
        reads=packed_bytes(batch * (entered + chain.joined * recipe.activation.bits)),
        writes=packed_bytes(batch * chain.outputs * recipe.activation.bits),
        bits=recipe.wide.bits,
    )


def chain_backward(chain: Chain, batch: int, recipe: Recipe) -> VectorWork:
    """The backward pass of a chain: from the gradients of what it wrote to those of all that it read.

    What a layer within the chain needs of the forward pass is computed again from the tensor that the chain began with.
    """
    kinds = [KINDS[layer.kind] for layer in chain.layers]
    passes = max(kind.passes for kind in kinds)
    needs_input = any(kind.saved == "input" for kind in kinds) or any(kind.saved == "output" for kind in kinds[:-1])
    inner = needs_input and len(kinds) > 1
    operations = sum(
        layer.outputs * layer.window * (kind.backward + (kind.forward if inner else 0))
        for layer, kind in zip(chain.layers, kinds, strict=True)
    )
    gradients = passes * chain.outputs + sum(
        (kind.users - 1) * layer.outputs for layer, kind in zip(chain.layers, kinds, strict=True)
    )
    saved = passes * chain.entered * (recipe.wide if chain.wide else recipe.activation).bits if needs_input else 0
    saved += chain.outputs * recipe.activation.bits if kinds[-1].saved == "output" else 0
    return VectorWork(
        operations=batch * operations,
        reads=packed_bytes(batch * (gradients * recipe.error.bits + saved)),
        writes=packed_bytes(batch * (chain.entered + chain.joined) * recipe.error.bits),
        bits=recipe.wide.bits,
    )


def lookup(layer: Embedding, batch: int, recipe: Recipe) -> VectorWork:
    """Rows of a table become activations; moving an element takes a lane for a cycle."""
    elements = batch * layer.rows * layer.width
    return VectorWork(
        operations=elements,
        reads=packed_bytes(elements * recipe.weight.bits),
        writes=packed_bytes(elements * recipe.activation.bits),
        bits=recipe.wide.bits,
    )


def scatter(layer: Embedding, batch: int, recipe: Recipe) -> VectorWork:
    """Gradients are added to the rows of a table's gradient that were looked up."""
    elements = batch * layer.rows * layer.width
    return VectorWork(
        operations=elements,
        reads=packed_bytes(elements * (recipe.error.bits + recipe.gradient.bits)),
        writes=packed_bytes(elements * recipe.gradient.bits),
        bits=recipe.wide.bits,
    )


def gradient_sum(parameters: int, recipe: Recipe) -> VectorWork:
    """A gradient is added to the sum of those of the micro-batches before."""
    size = packed_bytes(parameters * recipe.gradient.bits)
    return VectorWork(operations=parameters, reads=2 * size, writes=size, bits=recipe.wide.bits)
