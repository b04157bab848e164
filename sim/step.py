"""The tasks of a forward pass or of a training step, in the order in which they run.

A training step (micro-batches of `batch` inputs): the forward pass; from the last layer to the first the backward pass
of its vector layers, the gradient of its weights and that of its inputs; at the end the update of all parameters.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import isqrt
from typing import Literal

from quaver.golden import Format, Machine, Recipe, Squeeze
from quaver.golden.errors import Unsuitable, check_choice, check_range
from quaver.sim.layers import Conv2d, Linear, MatMul, Multiplying
from quaver.sim.lowering import BATCH_MAX, Gemm, Tensors, data_gradient, forward, tensors_of, weight_gradient
from quaver.sim.network import Workload
from quaver.sim.timing import gemm_cycles
from quaver.sim.vector_layers import KINDS, Embedding, Vector
from quaver.sim.vector_work import (
    Chain,
    VectorWork,
    chain_backward,
    chain_forward,
    chains,
    gradient_sum,
    lookup,
    scatter,
)

PASSES = ("forward", "training")
"""What can be simulated: a forward pass alone, as of inference, or a training step."""
Phase = Literal["forward", "recompute", "data_gradient", "weight_gradient", "update"]
"""What a task is part of; the backward pass of a vector layer counts as data gradient."""
ACCUMULATE_MAX = 65536


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a workload."""

    pass_: str = "forward"
    """One of `PASSES`."""
    batch: int = 1
    """Inputs that are processed together, 1 to 65536."""
    accumulate: int = 1
    """Micro-batches of `batch` inputs whose gradients are added up before an update, 1 to 65536."""
    recompute: bool = False
    """Whether activations are computed again for the backward pass, from checkpoints between about sqrt(n) segments of
    n layers, of equal size in memory (Chen et al. 2016, arXiv 1604.06174)."""

    def __post_init__(self) -> None:
        check_choice("pass", self.pass_, PASSES)
        check_range("batch", self.batch, 1, BATCH_MAX)
        check_range("accumulate", self.accumulate, 1, ACCUMULATE_MAX)
        if self.pass_ == "forward" and (self.accumulate > 1 or self.recompute):
            raise ValueError("accumulate and recompute must be left out where pass is not training")

    @property
    def training(self) -> bool:
        return self.pass_ == "training"


@dataclass(frozen=True, kw_only=True)
class UpdateWork:
    """SGD with momentum: three AXPYs per parameter (`quaver.golden.update`)."""

    parameters: int
    """Elements."""
    reads: int
    """Bytes of master weights, velocities and gradients."""
    writes: int
    """Bytes of master weights, velocities and weights as operands."""
    master: Format
    """Format of a master weight."""

    @property
    def bits(self) -> int:
        """Bits of the numbers that are computed with."""
        return self.master.bits

    @property
    def operations(self) -> int:
        """A multiplication and an addition per AXPY."""
        return 6 * self.parameters


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing that one unit of the machine does."""

    layers: tuple[str, ...]
    """Names of the layer, or of those of a chain."""
    phase: Phase
    """What it is part of."""
    work: Gemm | VectorWork | UpdateWork
    """What is done."""
    repeats: int = 1
    """Times that it is done: once per micro-batch."""

    @property
    def name(self) -> str:
        """Name in reports: that of the layer, of a chain its first one's and how many follow."""
        return self.layers[0] + (f" +{len(self.layers) - 1}" if len(self.layers) > 1 else "")


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """A layer that multiplies or looks up, if there is one, and the vector layers that follow it."""

    head: Multiplying | Embedding | None
    chains: tuple[Chain, ...]
    tensors: Tensors

    @property
    def learns(self) -> bool:
        parts = [layer for chain in self.chains for layer in chain.layers]
        return any(part.parameters for part in [*parts, *([self.head] if self.head else [])])


class Step:
    """The tasks of one request.

    Parameters
    ----------
    on_array:
        Whether all products go to the array, whatever the machine can do: for other models of arrays.
    """

    def __init__(
        self, workload: Workload, machine: Machine, recipe: Recipe, request: Request, *, on_array: bool = False
    ) -> None:
        self._on_array = on_array
        self.workload, self.machine, self.recipe, self.request = workload, machine, recipe, request
        self._stages = list(self._cut())

    def tasks(self) -> Iterator[Task]:
        """All of them, in order.

        Raises
        ------
        Unsuitable
            If the machine lacks a format that the recipe asks for; the message names both.
        """
        repeats = self.request.accumulate
        for stage in self._stages:
            yield from self._forward(stage, "forward", repeats)
        if not self.request.training:
            return
        first = next((i for i, stage in enumerate(self._stages) if stage.learns), len(self._stages))
        if self.request.recompute:
            for stage in self._stages[: self._segments()[-1].start]:
                yield from self._forward(stage, "recompute", repeats)
        for index in reversed(range(first, len(self._stages))):
            yield from self._backward(self._stages[index], repeats, leading=index == first)
        for layer in self.workload.layers:
            if layer.parameters:
                yield Task(layers=(layer.name,), phase="update", work=self._update(layer.parameters))

    def kept_bytes(self) -> int:
        """Bytes of activations that are kept for the backward pass at most: inputs of products and of chains."""
        if not self.request.training:
            return 0
        kept = self._kept_each
        if not self.request.recompute:
            return sum(kept)
        segments = self._segments()
        checkpoints = sum(self._kept(self._stages[segment.start])[0] for segment in segments)
        return checkpoints + max(sum(kept[segment.start : segment.stop]) for segment in segments)

    @cached_property
    def _kept_each(self) -> list[int]:
        """Bytes of activations that the backward pass of each stage reads."""
        return [sum(self._kept(stage)) for stage in self._stages]

    def _segments(self) -> list[range]:
        """Layers between checkpoints: a segment ends where its activations reach their share of all."""
        kept = self._kept_each
        share = sum(kept) / (isqrt(len(kept) - 1) + 1)
        cuts, held = [0], 0
        for index, size in enumerate(kept):
            held += size
            if held >= share and index + 1 < len(kept):
                cuts.append(index + 1)
                held = 0
        return [range(start, stop) for start, stop in pairwise([*cuts, len(kept)])]

    # ------------------------------------------------------------------------------------------------------ the network

    def _cut(self) -> Iterator[_Stage]:
        layers, training = self.workload.layers, self.request.training
        products = [index for index, layer in enumerate(layers) if isinstance(layer, Conv2d | Linear)]
        first, last = (products[0], products[-1]) if products else (-1, -1)
        edges = {{"first": first, "last": last}[edge] for edge in self.recipe.edges}
        index = 0
        while index < len(layers):
            layer, at = layers[index], index
            head = None if isinstance(layer, Vector) else layer
            index += head is not None
            vectors = [_bias(head)] if isinstance(head, Conv2d | Linear) and head.bias else []
            while index < len(layers) and isinstance(following := layers[index], Vector):
                vectors.append(following)
                index += 1
            wide = isinstance(head, Conv2d | Linear | MatMul)
            cut = chains((v for v in vectors if training or KINDS[v.kind].inference), training=training)
            made = tuple(Chain(layers=part, wide=wide and i == 0) for i, part in enumerate(cut))
            tensors = tensors_of(self.recipe, edge=at in edges, wide=bool(made), image=at == first)
            yield _Stage(head=head, chains=made, tensors=tensors)

    def _forward(self, stage: _Stage, phase: Phase, repeats: int) -> Iterator[Task]:
        batch, recipe, head = self.request.batch, self.recipe, stage.head
        if isinstance(head, Embedding):
            yield Task(layers=(head.name,), phase=phase, work=lookup(head, batch, recipe), repeats=repeats)
        elif head is not None:
            yield from self._placed(head, phase, forward(head, batch, stage.tensors), repeats)
        for chain in stage.chains:
            work = chain_forward(chain, batch, recipe, training=self.request.training)
            yield Task(layers=chain.names, phase=phase, work=work, repeats=repeats)

    def _backward(self, stage: _Stage, repeats: int, *, leading: bool) -> Iterator[Task]:
        batch, recipe, head = self.request.batch, self.recipe, stage.head
        for chain in reversed(stage.chains):
            work = chain_backward(chain, batch, recipe)
            yield Task(layers=chain.names, phase="data_gradient", work=work, repeats=repeats)
        if isinstance(head, Embedding):
            yield Task(layers=(head.name,), phase="weight_gradient", work=scatter(head, batch, recipe), repeats=repeats)
        elif isinstance(head, Conv2d | Linear):
            gradient = self._faster(weight_gradient(head, batch, stage.tensors))
            yield from self._placed(head, "weight_gradient", gradient, repeats)
        if isinstance(head, Conv2d | Linear | Embedding) and head.parameters and repeats > 1:
            work = gradient_sum(head.parameters, recipe)
            yield Task(layers=(head.name,), phase="weight_gradient", work=work, repeats=repeats - 1)
        if isinstance(head, Conv2d | Linear | MatMul) and not leading:
            for gemm in data_gradient(head, batch, stage.tensors):
                yield from self._placed(head, "data_gradient", gemm, repeats)

    def _kept(self, stage: _Stage) -> tuple[int, int]:
        """Bytes of activations that the backward pass of a stage reads: of its product, of its vector layers."""
        batch, recipe = self.request.batch, self.recipe
        between = sum(c.entered * (recipe.wide if c.wide else recipe.activation).bits for c in stage.chains)
        entered = 0
        if isinstance(stage.head, Conv2d | Linear | MatMul):
            gemm = forward(stage.head, batch, stage.tensors)
            both = gemm.b.unique if isinstance(stage.head, MatMul) else 0
            entered = gemm.groups * (gemm.a.unique + both) * stage.tensors.activation.bits
        return -(-entered // 8), -(-batch * between // 8)

    # ------------------------------------------------------------------------------------------------------ the machine

    def _placed(self, layer: Multiplying, phase: Phase, gemm: Gemm, repeats: int) -> Iterator[Task]:
        """A product on the array, or on the vector unit where that is faster: a convolution of single channels."""
        work: Gemm | VectorWork = gemm
        if not self._on_array and isinstance(layer, Conv2d) and layer.groups == layer.in_channels > 1:
            operations = 2 * gemm.macs
            array = gemm.groups * gemm_cycles(self.machine, gemm.m, gemm.k, gemm.n)
            if -(-operations // self.machine.vector_lanes) < array:
                work = VectorWork(
                    operations=operations,
                    reads=gemm.unique_bytes,
                    writes=gemm.result_bytes,
                    bits=self.recipe.wide.bits,
                    macs=gemm.macs,
                )
        if isinstance(work, Gemm) and not self._on_array:
            self._check_formats(work)
        yield Task(layers=(layer.name,), phase=phase, work=work, repeats=repeats)

    def _faster(self, gemm: Gemm) -> Gemm:
        """A product or that of the transposes, whose results are stored as easily: what takes the array less time."""
        other = gemm.exchanged
        if not self._takes(other):
            return gemm
        if not self._takes(gemm):
            return other
        straight = gemm_cycles(self.machine, gemm.m, gemm.k, gemm.n)
        return other if gemm_cycles(self.machine, gemm.n, gemm.k, gemm.m) < straight else gemm

    def _takes(self, gemm: Gemm) -> bool:
        return gemm.a_format in self.machine.a_formats and gemm.b_format in self.machine.b_formats

    def _check_formats(self, gemm: Gemm) -> None:
        if not self.machine.s2fp8 and any(isinstance(c.scaling, Squeeze) for c in self.recipe.operands().values()):
            raise Unsuitable(f"s2fp8 of {self.machine.name} must be true for recipe {self.recipe.name}, not false")
        pairs = (("a", gemm.a_format, self.machine.a_formats), ("b", gemm.b_format, self.machine.b_formats))
        for port, fmt, formats in pairs:
            if fmt not in formats:
                raise Unsuitable(
                    f"{port}_formats of {self.machine.name} must have {fmt.name} for recipe {self.recipe.name}, "
                    f"not {', '.join(f.name for f in formats)}"
                )

    def _update(self, parameters: int) -> UpdateWork:
        recipe = self.recipe
        state = recipe.master.bits + recipe.velocity.bits
        return UpdateWork(
            parameters=parameters,
            reads=-(-parameters * (state + recipe.gradient.bits) // 8),
            writes=-(-parameters * (state + recipe.weight.bits) // 8),
            master=recipe.master,
        )


def _bias(layer: Conv2d | Linear) -> Vector:
    """The addition of a layer's bias, whose parameters are the layer's."""
    if isinstance(layer, Conv2d):
        height, width = layer.output_size
        outputs = layer.out_channels * height * width
    else:
        outputs = layer.rows * layer.out_features
    return Vector(name=f"{layer.name}.bias", kind="bias", outputs=outputs)
