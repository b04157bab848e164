"""Which codes a convolution multiplies, gathered so that it becomes a product of matrices (im2col)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from quaver.golden.errors import check_range


class Axis(NamedTuple):
    """Position p of a product reads, with its tap t, place p * step + start + t * spacing of a tensor, or padding."""

    positions: int
    """Positions of the product."""
    step: int
    """Places from position to position, at least 1."""
    start: int
    """Place of position 0 and tap 0; negative in the padding."""
    taps: int
    """Products per position along this axis."""
    spacing: int
    """Places from tap to tap; negative in a gradient."""

    @property
    def first(self) -> int:
        """The smallest place that is read."""
        return self.start + min(0, (self.taps - 1) * self.spacing)

    @property
    def last(self) -> int:
        """The largest one."""
        return self.start + (self.positions - 1) * self.step + max(0, (self.taps - 1) * self.spacing)


class Phase(NamedTuple):
    """Places of the input, a stride apart, whose gradient is one product."""

    phase: int
    """The first of them."""
    taps: slice
    """Taps of the kernel that they take part in."""
    axis: Axis
    """What their gradient gathers."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """A convolution along one of its axes."""

    size: int
    """Places of the input."""
    kernel: int
    """Taps."""
    stride: int = 1
    padding: int = 0
    """Zeros on either side."""
    dilation: int = 1

    def __post_init__(self) -> None:
        for field in ("size", "kernel", "stride", "dilation"):
            check_range(field, getattr(self, field), 1, 1 << 20)
        check_range("padding", self.padding, 0, 1 << 20)
        if self.positions < 1:
            raise ValueError(f"kernel must fit into {self.size + 2 * self.padding} places, padding included")

    @property
    def positions(self) -> int:
        """Positions of the output."""
        return (self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    @property
    def forward(self) -> Axis:
        """The convolution itself, which reads the input."""
        return Axis(self.positions, self.stride, -self.padding, self.kernel, self.dilation)

    def backward(self) -> Iterator[Phase]:
        """The gradient of the input, which reads that of the output: a product for each phase that has a tap.

        Input y took part in position o with tap t where y = o * stride + t * dilation - padding.
        """
        for phase in range(min(self.stride, self.size)):
            shifts = [divmod(phase + self.padding - tap * self.dilation, self.stride) for tap in range(self.kernel)]
            taps = [tap for tap, (_, rest) in enumerate(shifts) if rest == 0]
            if not taps:
                continue
            apart = taps[1] - taps[0] if len(taps) > 1 else 1
            offsets = [shifts[tap][0] for tap in taps]
            spacing = offsets[1] - offsets[0] if len(taps) > 1 else 0
            axis = Axis(-(-(self.size - phase) // self.stride), 1, offsets[0], len(taps), spacing)
            yield Phase(phase, slice(taps[0], taps[-1] + 1, apart), axis)


def unfold(codes: NDArray, rows: Axis, columns: Axis, groups: int = 1) -> NDArray:
    """What every position multiplies.

    Parameters
    ----------
    codes:
        Shape (N, C, H, W); code 0, a zero in every format, is read outside.

    Returns
    -------
    Shape (groups, N * positions, C / groups * taps): positions in row order, taps of a channel side by side.
    """
    images, channels, height, width = codes.shape
    before = (max(0, -rows.first), max(0, -columns.first))
    after = (max(0, rows.last - height + 1), max(0, columns.last - width + 1))
    if any(before + after):
        codes = np.pad(codes, ((0, 0), (0, 0), (before[0], after[0]), (before[1], after[1])))
    origin = codes[:, :, rows.start + before[0] :, columns.start + before[1] :]
    n, c, y, x = origin.strides
    each = channels // groups
    view = as_strided(
        origin,
        (groups, images, rows.positions, columns.positions, each, rows.taps, columns.taps),
        (each * c, n, rows.step * y, columns.step * x, c, rows.spacing * y, columns.spacing * x),
        writeable=False,
    )
    return view.reshape(groups, images * rows.positions * columns.positions, each * rows.taps * columns.taps)
