"""Which places of a tensor a convolution reads, along one of its axes."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Axis:
    """Position p of a product reads, with its tap t, place p * step + offsets[t] of a tensor, if there is one."""

    size: int
    """Places of the tensor."""
    positions: int
    """Positions of the product."""
    step: int
    """Places from position to position."""
    offsets: tuple[int, ...]
    """Places of position 0, one per tap; those outside 0..size - 1 are padding."""

    @property
    def taps(self) -> int:
        """Products per position along this axis."""
        return len(self.offsets)

    @property
    def touched(self) -> int:
        """Places that are read at all."""
        return swept(self, self.positions).total

    @property
    def dense(self) -> bool:
        """Whether the places that are read lie side by side."""
        return _extent(self) == self.touched


class Swept(NamedTuple):
    """Places that are read when positions are taken a number at a time."""

    total: int
    """Over all tiles, each counted for itself."""
    largest: int
    """By the tile that reads most."""


@lru_cache(maxsize=1 << 14)
def swept(axis: Axis, count: int) -> Swept:
    """Places that tiles of `count` positions read; what two tiles read is counted twice."""
    positions = np.arange(axis.positions)[:, None]
    places = positions * axis.step + np.array(axis.offsets)
    tiles = np.broadcast_to(positions // count, places.shape)
    read = (places >= 0) & (places < axis.size)
    pairs = np.unique(tiles[read] * axis.size + places[read])
    if not len(pairs):
        return Swept(0, 0)
    return Swept(len(pairs), int(np.bincount(pairs // axis.size).max()))


@lru_cache(maxsize=1 << 12)
def _extent(axis: Axis) -> int:
    """Places from the first to the last one that is read."""
    places = (np.arange(axis.positions)[:, None] * axis.step + np.array(axis.offsets)).ravel()
    read = places[(places >= 0) & (places < axis.size)]
    return int(read.max() - read.min()) + 1 if len(read) else 0


def forward_axis(size: int, positions: int, kernel: int, stride: int, padding: int, dilation: int) -> Axis:
    """The axis of a convolution."""
    return Axis(size, positions, stride, tuple(tap * dilation - padding for tap in range(kernel)))


def backward_axes(size: int, positions: int, kernel: int, stride: int, padding: int, dilation: int) -> list[Axis]:
    """Axes that give the gradient of a convolution's input, one for each phase of its stride that has a tap.

    Place y of the input took part in position o with tap t where y = o * stride + t * dilation - padding.  So places
    y = q * stride + phase gather, with each tap for which phase + padding - t * dilation is a multiple of the stride,
    from position q + (phase + padding - t * dilation) / stride: a convolution of step 1 over the output's gradient.
    """
    axes = []
    for phase in range(min(stride, size)):
        shifts = [divmod(phase + padding - tap * dilation, stride) for tap in range(kernel)]
        offsets = tuple(quotient for quotient, remainder in shifts if remainder == 0)
        if offsets:
            axes.append(Axis(positions, -(-(size - phase) // stride), 1, offsets))
    return axes
