"""Layers become matrix multiplications: Y (M x N) = A (M x K) B (K x N), activations times weights."""

from dataclasses import dataclass

from quaver.golden.errors import check_range
from quaver.sim.layers import Conv2d, Linear

BATCH_MAX = 65536


@dataclass(frozen=True, kw_only=True)
class Gemm:
    """One layer's multiplication, done once for each of its groups with that group's own operands."""

    name: str
    """Name of the layer."""
    m: int
    """Rows of one group's activations and outputs."""
    k: int
    """Products per output."""
    n: int
    """Columns of one group's weights and outputs."""
    groups: int = 1
    """Multiplications of this shape, one after the other."""
    input_elements: int
    """Elements of the input tensor that are used at least once, in all groups together."""
    weight_elements: int
    """Elements of the weight tensor, likewise."""
    output_elements: int
    """Elements of the output tensor, likewise."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all groups."""
        return self.groups * self.m * self.k * self.n


def forward(layer: Conv2d | Linear, batch: int) -> Gemm:
    """The forward pass of `layer` over `batch` inputs.

    A convolution is unrolled (im2col): a row of A holds the inputs that one output position sees, so that
    M = batch * output height * output width, K = kernel height * kernel width * input channels / groups and
    N = output channels / groups.  The element counts are those of the tensors themselves, which unrolling repeats.

    Raises
    ------
    ValueError
        If `batch` is out of its range.
    """
    check_range("batch", batch, 1, BATCH_MAX)
    if not isinstance(layer, Conv2d):
        return Gemm(
            name=layer.name,
            m=batch,
            k=layer.in_features,
            n=layer.out_features,
            input_elements=batch * layer.in_features,
            weight_elements=layer.weights,
            output_elements=batch * layer.out_features,
        )
    height, width = layer.output_size
    read_height, read_width = layer.read_size
    return Gemm(
        name=layer.name,
        m=batch * height * width,
        k=layer.kernel[0] * layer.kernel[1] * layer.in_channels // layer.groups,
        n=layer.out_channels // layer.groups,
        groups=layer.groups,
        input_elements=batch * layer.in_channels * read_height * read_width,
        weight_elements=layer.weights,
        output_elements=batch * layer.out_channels * height * width,
    )
