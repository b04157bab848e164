"""Operands of a product as they lie in DRAM, and what it costs to read them tile by tile.

An operand is a matrix of `outer` rows (of a product's left operand) or columns (of its right one) by `k` products.  A
panel is a number of them with all their products; a slab is a number of them with some of their products.  Tensors lie
with their channels innermost, then width, height and image; each group's channels are a tensor of their own.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

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
    def number(self) -> Counts:
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


def packed_bytes(bits: Any) -> Any:
    """Whole bytes that hold `bits` bits, a number or an array of them."""
    return -(-bits // 8)


def _bytes(elements: Counts, bits: int) -> Counts:
    return packed_bytes(elements * bits)


def burst_bytes(run: Counts, bits: int, burst: int) -> Counts:
    """Bytes of `run` elements that lie side by side, in whole bursts."""
    return -(-_bytes(run, bits) // burst) * burst


def _cut_bytes(units: Counts | int, part: Counts, unit: int, bits: int, burst: int) -> Counts:
    """Bytes of `units` of `unit` elements each that lie side by side, a `part` of them at a time in whole bursts."""
    return units // part * burst_bytes(part * unit, bits, burst) + burst_bytes(units % part * unit, bits, burst)


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
    lines: Literal["together", "whole", "apart"] = "together"
    """Whether lines along `inner` lie side by side: `together` in any tile, only in the `whole` matrix, or `apart`."""

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
        along, across = (depth, size) if self.inner == "k" else (size, depth)
        length, lines = (self.k, self.outer) if self.inner == "k" else (self.outer, self.k)
        joined = {"together": along == length, "whole": (along == length) & (across == lines), "apart": False}
        return np.where(
            joined[self.lines],
            _cut_bytes(lines, across, length, self.bits, burst),
            lines * _cut_bytes(length, along, 1, self.bits, burst),
        )


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A tensor that the positions of a convolution see."""

    images: int
    rows: Axis
    columns: Axis
    channels: int
    bits: int
    """Bits of an element."""

    @property
    def unique(self) -> int:
        """Elements that are read at least once."""
        return self.images * self.rows.touched * self.columns.touched * self.channels

    def _row(self, channels: Counts, burst: int) -> Counts:
        """Bytes of some channels of a row's places that are read."""
        joined, places = self.columns.dense & (channels == self.channels), self.columns.touched
        run, runs = np.where(joined, channels * places, channels), np.where(joined, 1, places)
        return runs * burst_bytes(run, self.bits, burst)

    def _whole_images(self, count: Counts, burst: int) -> Counts:
        """Bytes of all channels of all images, `count` images at a time."""
        image = self.rows.size * self.columns.size * self.channels
        if self.unique == self.images * image:
            return _cut_bytes(self.images, count, image, self.bits, burst)
        return self.images * self.rows.touched * np.broadcast_to(self._row(np.array(self.channels), burst), count.shape)


@dataclass(frozen=True, kw_only=True)
class Patches(_Seen):
    """What the positions of a convolution see of a tensor: outer indices are positions, products taps by channels.

    Panels are whole images or whole rows of positions, and read each place of the tensor once, however many positions
    see it: the matrix is unrolled on its way to the array.  What is read of a row of the tensor lies side by side if
    there are no gaps, and images lie side by side if all of them is read.  Slabs are read place by place, tap by tap.
    """

    @property
    def outer(self) -> int:
        """Positions."""
        return self.images * self.rows.positions * self.columns.positions

    @property
    def k(self) -> int:
        """Products per position."""
        return self.rows.taps * self.columns.taps * self.channels

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
        size = np.array([n * width for n in parts] + [n * height * width for n in whole])
        edges = [height % n for n in parts]
        full = [self.images * (height // n) for n in parts] + [self.images // n for n in whole]
        rest = [e * width for e in edges] + [self.images % n * height * width for n in whole]
        rests = [self.images * (e > 0) for e in edges] + [int(self.images % n > 0) for n in whole]
        rows = np.array([r.largest for r in read] + [n * self.rows.touched for n in whole])
        in_parts = np.array([self.images * r.total for r in read], np.int64) * self._row(np.array(self.channels), burst)
        return Panels(
            size,
            np.array(full),
            np.array(rest),
            np.array(rests),
            _bytes(rows * self.columns.touched * self.channels, self.bits),
            np.concatenate([in_parts, self._whole_images(np.array(whole), burst)]),
        )

    def slabs(self, sizes: Counts, depths: Counts, burst: int) -> Slabs:
        """Read slabs of `sizes` positions by `depths` products."""
        sweep = self.outer * np.array([self._position(int(depth), burst) for depth in depths])
        return Slabs(_bytes(sizes[:, None] * depths, self.bits), np.broadcast_to(sweep, (len(sizes), len(depths))))

    def _position(self, depth: int, burst: int) -> int:
        """Bytes of the products of one position, `depth` at a time: slabs and taps cut them."""
        cuts = {*range(0, self.k, depth), *range(0, self.k, self.channels)}
        runs = np.diff(sorted(cuts), append=self.k)
        return int(burst_bytes(runs, self.bits, burst).sum())


@dataclass(frozen=True, kw_only=True)
class PatchesByTap(_Seen):
    """The same matrix transposed: outer indices are channels by taps, products positions.

    A panel is a number of channels with all their taps; slabs are whole images or whole rows of positions, and read all
    of a channel if they have one of its taps.  Rows and images lie side by side as of `Patches`, but only where all
    channels are read.
    """

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
    def depths(self) -> list[int]:
        """Positions of slabs that are whole rows or whole images."""
        height, width = self.rows.positions, self.columns.positions
        return [n * width for n in doublings(1, height)[:-1]] + [n * height * width for n in doublings(1, self.images)]

    def panels(self, sizes: list[int], burst: int) -> Panels:
        """Cut into channels, of at least the least of `sizes` taps."""
        channels = np.array([n for n in doublings(1, self.channels) if n * self.taps >= min(min(sizes), self.outer)])
        rows = self.images * self.rows.touched
        row = self.channels // channels * self._row(channels, burst) + self._row(self.channels % channels, burst)
        return _panels(
            self.outer,
            channels * self.taps,
            _bytes(channels * (rows * self.columns.touched), self.bits),
            np.where(channels == self.channels, self._whole_images(np.array(self.images), burst), rows * row),
        )

    def slabs(self, sizes: Counts, depths: Counts, burst: int) -> Slabs:
        """Read slabs of `sizes` taps by `depths` positions, which must be among `self.depths`."""
        tiles = [self._channels_of(int(size)) for size in sizes]
        rows = [self._row(channels, burst) for channels in tiles]
        height, width = self.rows.positions, self.columns.positions
        largest, sweep = [], []
        for depth in depths:
            images, read = int(depth) // (height * width), swept(self.rows, min(int(depth) // width, height))
            largest.append(max(images, 1) * read.largest * self.columns.touched)
            bytes_ = [self.images * read.total * row for row in rows]
            if images:
                together = self._whole_images(np.array(images), burst)
                bytes_ = [np.where(c == self.channels, together, b) for c, b in zip(tiles, bytes_, strict=True)]
            sweep.append([b.sum() for b in bytes_])
        most = np.array([channels.max() for channels in tiles])[:, None]
        return Slabs(_bytes(most * np.array(largest), self.bits), np.array(sweep).T)

    def _channels_of(self, size: int) -> Counts:
        """Channels of each tile of `size` taps."""
        first = np.arange(0, self.outer, size)
        last = np.minimum(first + size, self.outer) - 1
        return last // self.taps - first // self.taps + 1


Operand = Plain | Patches | PatchesByTap
"""How an operand lies in DRAM."""
