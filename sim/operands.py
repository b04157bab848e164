"""Operands of a product as they lie in DRAM, and what it costs to read them tile by tile.

An operand is a matrix of `outer` rows (of a product's left operand) or columns (of its right one) by `k` products.  A
panel is a number of them with all their products; a slab is a number of them with some of their products.  Tensors lie
with their channels innermost, then width, height and image.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quaver.sim.axes import Axis, swept

Counts = NDArray[np.int64]


class Panels(NamedTuple):
    """Ways to cut an operand into panels; each field has an element per way."""

    size: Counts
    """Outer indices of a full panel."""
    full: Counts
    """Full panels."""
    rest: Counts
    """Outer indices of a panel at an edge, 0 if there is none."""
    rests: Counts
    """Panels at edges."""
    largest: Counts
    """Bytes of the largest panel."""
    sweep: Counts
    """Bytes of all panels, in whole bursts."""

    @property
    def count(self) -> Counts:
        """Panels in all."""
        return self.full + self.rests

    def chosen(self, index: NDArray | slice) -> "Panels":
        """Some of the ways."""
        return Panels(*(field[index] for field in self))


class Slabs(NamedTuple):
    """Ways to read an operand slab by slab; axes: outer indices of a slab, products of a slab."""

    largest: Counts
    """Bytes of the largest slab."""
    sweep: Counts
    """Bytes of all slabs, in whole bursts."""


def doublings(low: int, high: int) -> list[int]:
    """`low` and its doublings below `high`, then `high`; only `high` where low is above it."""
    sizes = []
    while low < high:
        sizes.append(low)
        low *= 2
    return [*sizes, high]


def _bytes(elements: Counts, bits: int) -> Counts:
    return -(-elements * bits // 8)


def burst_bytes(run: Counts, bits: int, burst: int) -> Counts:
    """Bytes of `run` elements that lie side by side, in whole bursts."""
    return -(-_bytes(run, bits) // burst) * burst


def _panels(outer: int, size: Counts, largest: Counts, sweep: Counts) -> Panels:
    full, rest = outer // size, outer % size
    return Panels(size, full, rest, (rest > 0).astype(np.int64), largest, sweep)


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A matrix, stored as it is."""

    outer: int
    k: int
    bits: int
    """Bits of an element."""
    inner: str
    """Which of its dimensions lies side by side: `k` or `outer`."""

    @property
    def unique(self) -> int:
        """Elements that are read at least once."""
        return self.outer * self.k

    @property
    def depths(self) -> list[int]:
        """Numbers of products of a slab that fit the tensor: any, hence none in particular."""
        return []

    def panels(self, sizes: list[int], burst: int) -> Panels:
        """Cut into panels of about `sizes` outer indices."""
        size = np.array(sorted({min(s, self.outer) for s in sizes} | {self.outer}))
        return _panels(self.outer, size, _bytes(size * self.k, self.bits), self._sweep(size, np.array(self.k), burst))

    def slabs(self, sizes: Counts, depths: Counts, burst: int) -> Slabs:
        """Read slabs of `sizes` outer indices by `depths` products."""
        size, depth = sizes[:, None], depths[None, :]
        return Slabs(_bytes(size * depth, self.bits), self._sweep(size, depth, burst))

    def _sweep(self, size: Counts, depth: Counts, burst: int) -> Counts:
        """Bytes of all tiles of `size` x `depth`, each run of elements side by side in whole bursts."""
        along, across = (depth, self.outer) if self.inner == "k" else (size, self.k)
        length = self.k if self.inner == "k" else self.outer
        runs = length // along * burst_bytes(along, self.bits, burst) + burst_bytes(length % along, self.bits, burst)
        # What is not cut lies side by side with the next row.
        sweep = np.where(along == length, burst_bytes(np.array(across * length), self.bits, burst), across * runs)
        return np.broadcast_to(sweep, np.broadcast_shapes(size.shape, depth.shape))


@dataclass(frozen=True, kw_only=True)
class Patches:
    """What the positions of a convolution see of a tensor: outer indices are positions, products taps by channels.

    Panels are whole images or whole rows of positions, and read each place of the tensor once, however many positions
    see it: the matrix is unrolled on its way to the array.  Slabs are read place by place, tap by tap.
    """

    images: int
    rows: Axis
    columns: Axis
    channels: int
    bits: int
    """Bits of an element."""

    @property
    def outer(self) -> int:
        """Positions."""
        return self.images * self.rows.positions * self.columns.positions

    @property
    def k(self) -> int:
        """Products per position."""
        return self.rows.taps * self.columns.taps * self.channels

    @property
    def unique(self) -> int:
        """Elements that are read at least once."""
        return self.images * self.rows.touched * self.columns.touched * self.channels

    @property
    def depths(self) -> list[int]:
        """Numbers of products of a slab that fit the tensor: any, hence none in particular."""
        return []

    def panels(self, sizes: list[int], burst: int) -> Panels:
        """Cut into images, or rows of an image, of at least the least of `sizes` positions."""
        height, width, least = self.rows.positions, self.columns.positions, min(sizes)
        # Rows of one image, then whole images.
        parts = [n for n in doublings(1, height)[:-1] if n * width >= least]
        whole = [n for n in doublings(1, self.images) if n * height * width >= least or n == self.images]
        read = [swept(self.rows, n) for n in parts]
        image = self.rows.touched
        size = np.array([n * width for n in parts] + [n * height * width for n in whole])
        edges = [height % n for n in parts]
        full = [self.images * (height // n) for n in parts] + [self.images // n for n in whole]
        rest = [e * width for e in edges] + [self.images % n * height * width for n in whole]
        rests = [self.images * (e > 0) for e in edges] + [int(self.images % n > 0) for n in whole]
        largest = np.array([r.largest for r in read] + [n * image for n in whole])
        places = np.array([self.images * r.total for r in read] + [self.images * image for _ in whole])
        bytes_ = _bytes(largest * self.columns.touched * self.channels, self.bits)
        return Panels(size, np.array(full), np.array(rest), np.array(rests), bytes_, places * self._row(burst))

    def slabs(self, sizes: Counts, depths: Counts, burst: int) -> Slabs:
        """Read slabs of `sizes` positions by `depths` products."""
        size, depth = sizes[:, None], depths[None, :]
        run = np.minimum(depth, self.channels)
        runs = self.outer * -(-self.k // run)
        sweep = np.broadcast_to(runs * burst_bytes(run, self.bits, burst), (len(sizes), len(depths)))
        return Slabs(_bytes(size * depth, self.bits), sweep)

    def _row(self, burst: int) -> int:
        """Bytes of the places of a row of the tensor."""
        apart, together = (1, self.columns.touched) if self.columns.dense else (self.columns.touched, 1)
        return apart * int(burst_bytes(np.array(self.channels * together), self.bits, burst))


@dataclass(frozen=True, kw_only=True)
class PatchesByTap:
    """The same matrix transposed: outer indices are channels by taps, products positions.

    A tile is a number of channels with all their taps; slabs are whole images or whole rows of positions.
    """

    images: int
    rows: Axis
    columns: Axis
    channels: int
    bits: int
    """Bits of an element."""

    @property
    def taps(self) -> int:
        """Outer indices per channel."""
        return self.rows.taps * self.columns.taps

    @property
    def outer(self) -> int:
        """Taps of all channels."""
        return self.channels * self.taps

    @property
    def k(self) -> int:
        """Positions."""
        return self.images * self.rows.positions * self.columns.positions

    @property
    def unique(self) -> int:
        """Elements that are read at least once."""
        return self.images * self.rows.touched * self.columns.touched * self.channels

    @property
    def depths(self) -> list[int]:
        """Positions of slabs that are whole rows or whole images."""
        height, width = self.rows.positions, self.columns.positions
        return [n * width for n in doublings(1, height)[:-1]] + [n * height * width for n in doublings(1, self.images)]

    def panels(self, sizes: list[int], burst: int) -> Panels:
        """Cut into channels, of at least the least of `sizes` taps."""
        channels = np.array([n for n in doublings(1, self.channels) if n * self.taps >= min(min(sizes), self.outer)])
        rows = self.images * self.rows.touched
        return _panels(
            self.outer,
            channels * self.taps,
            _bytes(channels * (rows * self.columns.touched), self.bits),
            rows * self._row(channels, burst),
        )

    def slabs(self, sizes: Counts, depths: Counts, burst: int) -> Slabs:
        """Read slabs of `sizes` taps, in whole channels, by `depths` positions, which must be among `self.depths`."""
        channels = np.minimum(-(-sizes // self.taps), self.channels)[:, None]
        height, width = self.rows.positions, self.columns.positions
        largest, total = [], []
        for depth in depths:
            images, rows = (1, depth // width) if depth < height * width else (depth // (height * width), height)
            read = swept(self.rows, int(rows))
            largest.append(images * read.largest * self.columns.touched)
            total.append(self.images * read.total)
        return Slabs(_bytes(channels * np.array(largest), self.bits), np.array(total) * self._row(channels, burst))

    def _row(self, channels: Counts, burst: int) -> Counts:
        """Bytes of the places of a row of the tensor, read `channels` channels at a time, in all channels."""
        places = self.columns.touched
        whole = self.channels // channels * burst_bytes(channels, self.bits, burst)
        apart = places * (whole + burst_bytes(self.channels % channels, self.bits, burst))
        if not self.columns.dense:
            return apart
        return np.where(
            channels == self.channels, burst_bytes(np.array(places * self.channels), self.bits, burst), apart
        )


Operand = Plain | Patches | PatchesByTap
"""How an operand lies in DRAM."""
