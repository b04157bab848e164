"""Layers become matrix multiplications: Y (M x N) = A (M x K) B (K x N), groups of them where operands fall apart.

The three products of a training step (Rumelhart et al. 1986): forward Y = X W; data gradient dX = dY W^T; weight
gradient dW = X^T dY.  A convolution is unrolled (im2col) on the way to the array, never in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

from quaver.golden import Cast, Format, Recipe
from quaver.golden.errors import check_range
from quaver.sim.axes import Axis, backward_axes, forward_axis
from quaver.sim.layers import Conv2d, Linear, MatMul, Multiplying
from quaver.sim.operands import Operand, Patches, PatchesByTap, Plain

BATCH_MAX = 65536


@dataclass(frozen=True, kw_only=True)
class Gemm:
    """Multiplications of one shape, one after the other, each with operands of its own."""

    name: str = field(compare=False)
    """Name of the layer."""
    a: Operand
    """The left operand of one group: M x K."""
    b: Operand
    """The right operand of one group: K x N."""
    a_format: Format
    """Format of the left operand."""
    b_format: Format
    """Format of the right operand."""
    out_bits: int
    """Bits of an element of the results, as they go to DRAM."""
    groups: int = 1
    """Multiplications of this shape."""
    serial: bool = False
    """Whether a group needs the results of the one before; they share the right operand then."""

    @property
    def m(self) -> int:
        """Rows of one group's left operand and results."""
        return self.a.outer

    @property
    def k(self) -> int:
        """Products per result."""
        return self.a.k

    @property
    def n(self) -> int:
        """Columns of one group's right operand and results."""
        return self.b.outer

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all groups, those with padding's zeros included."""
        return self.groups * self.m * self.k * self.n

    @property
    def unique_bytes(self) -> int:
        """Bytes of the operands that are read at least once, packed."""
        weights = 1 if self.serial else self.groups
        a, b = self.groups * self.a.unique * self.a.bits, weights * self.b.unique * self.b.bits
        return -(-a // 8) + -(-b // 8)

    @property
    def result_bytes(self) -> int:
        """Bytes of the results, packed."""
        return -(-self.groups * self.m * self.n * self.out_bits // 8)

    @property
    def exchanged(self) -> "Gemm":
        """The product of the transposes, B^T A^T; the formats go along with the operands."""
        return replace(self, a=self.b, b=self.a, a_format=self.b_format, b_format=self.a_format)


@dataclass(frozen=True, kw_only=True)
class Tensors:
    """The tensors of one layer in a recipe."""

    activation: Cast
    weight: Cast
    error: Cast
    out_bits: int
    """Bits of a result of the forward pass."""
    error_bits: int
    """Bits of a gradient of an activation as a result."""
    gradient_bits: int
    """Bits of a gradient of a weight."""


def tensors_of(recipe: Recipe, *, edge: bool, wide: bool, image: bool = False) -> Tensors:
    """Tensors of a layer.

    Parameters
    ----------
    edge:
        Whether it is one of those that the recipe's `edges` name.
    wide:
        Whether its results go to the vector unit.
    image:
        Whether its input is the network's.
    """
    at_edge = recipe.edge if edge else None
    activation = (recipe.image if image else None) or at_edge or recipe.activation
    error = at_edge or recipe.error
    return Tensors(
        activation=activation,
        weight=at_edge or recipe.weight,
        error=error,
        out_bits=(recipe.wide if wide else activation).bits,
        error_bits=error.bits,
        gradient_bits=recipe.gradient.bits,
    )


def _axes(layer: Conv2d) -> tuple[tuple[int, int, int, int, int, int], ...]:
    """Arguments of `forward_axis` and `backward_axes` along height and width."""
    return tuple(
        (size, positions, kernel, stride, padding, dilation)
        for size, positions, kernel, stride, padding, dilation in zip(
            layer.size, layer.output_size, layer.kernel, layer.stride, layer.padding, layer.dilation, strict=True
        )
    )


def forward(layer: Multiplying, batch: int, tensors: Tensors) -> Gemm:
    """The forward pass of `layer` over `batch` inputs.

    Of a convolution, a row of A holds the inputs that one output position sees: M = batch * output height * output
    width, K = kernel height * kernel width * input channels / groups, N = output channels / groups.

    Raises
    ------
    ValueError
        If `batch` is out of its range.
    """
    check_range("batch", batch, 1, BATCH_MAX)
    x, w = tensors.activation, tensors.weight
    if isinstance(layer, MatMul):
        return _products(layer, batch, (layer.m, layer.k, layer.n), (x, x), ("k", "k"), tensors.out_bits)
    if isinstance(layer, Linear):
        weights = Plain(outer=layer.out_features, k=layer.in_features, bits=w.bits, inner="k")
        vectors = batch if layer.serial else batch * layer.rows
        return Gemm(
            name=layer.name,
            a=Plain(outer=vectors, k=layer.in_features, bits=x.bits, inner="k"),
            b=weights,
            a_format=x.operand,
            b_format=w.operand,
            out_bits=tensors.out_bits,
            groups=layer.rows if layer.serial else 1,
            serial=layer.serial,
        )
    rows, columns = (forward_axis(*axis) for axis in _axes(layer))
    patches = _patches(batch, rows, columns, layer.in_channels // layer.groups, x)
    return Gemm(
        name=layer.name,
        a=patches,
        b=Plain(outer=layer.out_channels // layer.groups, k=patches.k, bits=w.bits, inner="k"),
        a_format=x.operand,
        b_format=w.operand,
        out_bits=tensors.out_bits,
        groups=layer.groups,
    )


def data_gradient(layer: Multiplying, batch: int, tensors: Tensors) -> Iterator[Gemm]:
    """Gradients of the layer's input; of a `MatMul`, those of both operands.

    Of a convolution with strides, one product for each phase of the strides that has a tap: places of the input that
    are a stride apart gather from the same taps.  None of them multiplies with the zeros that a dilated gradient has.
    """
    dy, w = tensors.error, tensors.weight
    if isinstance(layer, MatMul):
        x = tensors.activation
        yield _products(layer, batch, (layer.m, layer.n, layer.k), (dy, x), ("k", "outer"), tensors.error_bits)
        yield _products(layer, batch, (layer.n, layer.m, layer.k), (dy, x), ("outer", "outer"), tensors.error_bits)
    elif isinstance(layer, Linear):
        vectors = batch if layer.serial else batch * layer.rows
        yield Gemm(
            name=layer.name,
            a=Plain(outer=vectors, k=layer.out_features, bits=dy.bits, inner="k"),
            b=Plain(outer=layer.in_features, k=layer.out_features, bits=w.bits, inner="outer"),
            a_format=dy.operand,
            b_format=w.operand,
            out_bits=tensors.error_bits,
            groups=layer.rows if layer.serial else 1,
            serial=layer.serial,
        )
    else:
        down, across = (backward_axes(*axis) for axis in _axes(layer))
        for rows, columns in ((r, c) for r in down for c in across):
            patches = _patches(batch, rows, columns, layer.out_channels // layer.groups, dy)
            yield Gemm(
                name=layer.name,
                a=patches,
                b=Plain(
                    outer=layer.in_channels // layer.groups,
                    k=patches.k,
                    bits=w.bits,
                    inner="outer",
                    lines=_lines(rows.taps * columns.taps, prod(layer.kernel)),
                ),
                a_format=dy.operand,
                b_format=w.operand,
                out_bits=tensors.error_bits,
                groups=layer.groups,
            )


def weight_gradient(layer: Conv2d | Linear, batch: int, tensors: Tensors) -> Gemm:
    """Gradient of the layer's weights, as dW^T = dY^T X, whose left operand is the gradient as it is of data gradients.

    M = output channels / groups, K = batch * positions, N = products per output of the forward pass.
    """
    x, dy = tensors.activation, tensors.error
    if isinstance(layer, Linear):
        outputs, groups = layer.out_features, 1
        inputs: Operand = Plain(outer=layer.in_features, k=batch * layer.rows, bits=x.bits, inner="outer")
    else:
        down, across = (forward_axis(*axis) for axis in _axes(layer))
        outputs, groups = layer.out_channels // layer.groups, layer.groups
        channels = layer.in_channels // groups
        inputs = PatchesByTap(images=batch, rows=down, columns=across, channels=channels, bits=x.bits)
    return Gemm(
        name=layer.name,
        a=Plain(outer=outputs, k=inputs.k, bits=dy.bits, inner="outer"),
        b=inputs,
        a_format=dy.operand,
        b_format=x.operand,
        out_bits=tensors.gradient_bits,
        groups=groups,
    )


def _patches(batch: int, rows: Axis, columns: Axis, channels: int, tensor: Cast) -> Patches:
    return Patches(images=batch, rows=rows, columns=columns, channels=channels, bits=tensor.bits)


def _products(
    layer: MatMul,
    batch: int,
    shape: tuple[int, int, int],
    tensors: tuple[Cast, Cast],
    inner: tuple[str, str],
    out_bits: int,
) -> Gemm:
    """Products M x K x N of matrices that were computed; each was stored along its products of the forward pass."""
    m, k, n = shape
    a, b = tensors
    return Gemm(
        name=layer.name,
        a=Plain(outer=m, k=k, bits=a.bits, inner=inner[0]),
        b=Plain(outer=n, k=k, bits=b.bits, inner=inner[1]),
        a_format=a.operand,
        b_format=b.operand,
        out_bits=out_bits,
        groups=layer.count * batch,
    )


def _lines(taps: int, kernel: int) -> Literal["together", "whole", "apart"]:
    """How filters' lines of input channels lie where some of a kernel's taps are read, each for all filters."""
    if taps < kernel:
        return "apart"
    return "whole" if kernel > 1 else "together"
