"""Layers that multiply, described by their shapes alone; those that do not are `quaver.sim.vector_layers`'."""

from dataclasses import dataclass

from quaver.golden.errors import check_range

_MAX = 1 << 24
_SIDES = ("height", "width")

Pair = tuple[int, int]
"""Something along (height, width)."""


@dataclass(frozen=True, kw_only=True)
class Conv2d:
    """A two-dimensional convolution, its sizes those of PyTorch's module of that name.

    Raises
    ------
    ValueError
        If a field is out of its range, the groups do not divide the channels, or the kernel exceeds the padded input.
    """

    name: str
    """Name in reports, unique in a workload."""
    in_channels: int
    """Channels of the input."""
    out_channels: int
    """Filters."""
    size: Pair
    """Height and width of the input, padding excluded."""
    kernel: Pair
    """Height and width of a filter."""
    stride: Pair = (1, 1)
    """Steps between outputs."""
    padding: Pair = (0, 0)
    """Zeros above and below, left and right."""
    end_padding: Pair | None = None
    """Zeros below and right, where they are not as many as above and left; None if they are."""
    dilation: Pair = (1, 1)
    """Steps between a filter's taps."""
    groups: int = 1
    """Equal parts of the channels that do not see each other; `in_channels` of them is a depthwise convolution."""
    bias: bool = False
    """Whether a number is added per output channel: a parameter, but no MAC."""
    tied: bool = False
    """Whether the filters are another layer's: no parameters of its own, and no update."""

    def __post_init__(self) -> None:
        check_range(f"{self.name}: in_channels", self.in_channels, 1, _MAX)
        check_range(f"{self.name}: out_channels", self.out_channels, 1, _MAX)
        for axis, side in enumerate(_SIDES):
            check_range(f"{self.name}: {side} of size", self.size[axis], 1, _MAX)
            check_range(f"{self.name}: {side} of kernel", self.kernel[axis], 1, _MAX)
            check_range(f"{self.name}: {side} of stride", self.stride[axis], 1, _MAX)
            check_range(f"{self.name}: {side} of padding", self.padding[axis], 0, _MAX)
            if self.end_padding is not None:
                check_range(f"{self.name}: {side} of end_padding", self.end_padding[axis], 0, _MAX)
            check_range(f"{self.name}: {side} of dilation", self.dilation[axis], 1, _MAX)
            if self._slack(axis) < 0:
                raise ValueError(
                    f"{self.name}: {side} of the dilated kernel must not exceed that of the padded input, "
                    f"{self._padded(axis)}, by {-self._slack(axis)}"
                )
        check_range(f"{self.name}: groups", self.groups, 1, _MAX)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"{self.name}: groups must divide in_channels = {self.in_channels} and "
                f"out_channels = {self.out_channels}, not {self.groups}"
            )

    def _padded(self, axis: int) -> int:
        """Length of the input along `axis`, padding included."""
        ends = self.padding if self.end_padding is None else self.end_padding
        return self.padding[axis] + self.size[axis] + ends[axis]

    def _slack(self, axis: int) -> int:
        """Positions by which a filter can move along `axis`."""
        return self._padded(axis) - self.dilation[axis] * (self.kernel[axis] - 1) - 1

    @property
    def output_size(self) -> Pair:
        """Height and width of the output."""
        height, width = (self._slack(axis) // self.stride[axis] + 1 for axis in (0, 1))
        return height, width

    @property
    def read_size(self) -> Pair:
        """Rows and columns of the input that some filter tap sees: fewer than `size` where strides skip or cut."""
        height, width = (self._read(axis) for axis in (0, 1))
        return height, width

    def _read(self, axis: int) -> int:
        starts = range(0, self._slack(axis) + 1, self.stride[axis])
        seen = {
            position
            for tap in range(self.kernel[axis])
            for position in (start + tap * self.dilation[axis] - self.padding[axis] for start in starts)
            if 0 <= position < self.size[axis]
        }
        return len(seen)

    @property
    def weights(self) -> int:
        """Elements of the filters."""
        return self.out_channels * self.kernel[0] * self.kernel[1] * (self.in_channels // self.groups)

    @property
    def parameters(self) -> int:
        """Elements of the filters, unless they are tied, and of the bias."""
        return (0 if self.tied else self.weights) + (self.out_channels if self.bias else 0)

    @property
    def macs(self) -> int:
        """Multiply-accumulates per image, those with padding's zeros included."""
        height, width = self.output_size
        return height * width * self.weights


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A fully connected layer, applied to each of an input's rows."""

    name: str
    """Name in reports, unique in a workload."""
    in_features: int
    """Inputs."""
    out_features: int
    """Outputs."""
    rows: int = 1
    """Vectors per input that it is applied to, such as the tokens of a sequence."""
    serial: bool = False
    """Whether each row needs the outputs of the one before, as a recurrent layer's state does."""
    bias: bool = True
    """Whether a number is added per output: a parameter, but no MAC."""
    tied: bool = False
    """Whether the matrix is another layer's, such as an embedding's: no parameters of its own, and no update."""

    def __post_init__(self) -> None:
        check_range(f"{self.name}: in_features", self.in_features, 1, _MAX)
        check_range(f"{self.name}: out_features", self.out_features, 1, _MAX)
        check_range(f"{self.name}: rows", self.rows, 1, _MAX)

    @property
    def weights(self) -> int:
        """Elements of the matrix."""
        return self.in_features * self.out_features

    @property
    def parameters(self) -> int:
        """Elements of the matrix, unless it is tied, and of the bias."""
        return (0 if self.tied else self.weights) + (self.out_features if self.bias else 0)

    @property
    def macs(self) -> int:
        """Multiply-accumulates per input."""
        return self.rows * self.weights


@dataclass(frozen=True, kw_only=True)
class MatMul:
    """A product of two tensors that are both computed, such as the scores of an attention: Y = A B, no parameters."""

    name: str
    """Name in reports, unique in a workload."""
    m: int
    """Rows of A and Y."""
    k: int
    """Columns of A, rows of B."""
    n: int
    """Columns of B and Y."""
    count: int = 1
    """Products of this shape per input, such as an attention's heads."""

    def __post_init__(self) -> None:
        for field in ("m", "k", "n", "count"):
            check_range(f"{self.name}: {field}", getattr(self, field), 1, _MAX)

    @property
    def parameters(self) -> int:
        """None."""
        return 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates per input."""
        return self.count * self.m * self.k * self.n


Multiplying = Conv2d | Linear | MatMul
"""Layers that become matrix multiplications."""
