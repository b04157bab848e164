"""Bytes of panels and slabs, against walks over all tiles that list the address of each element that a tile reads."""

from collections import Counter
from collections.abc import Collection, Iterable
from itertools import product
from math import prod

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quaver.golden import RECIPES
from quaver.sim.axes import Axis, backward_axes, forward_axis
from quaver.sim.layers import Conv2d
from quaver.sim.lowering import data_gradient, tensors_of
from quaver.sim.operands import Panels, Patches, PatchesByTap, Plain, burst_bytes, doublings

DRAWS = settings(max_examples=80, deadline=None, database=None, derandomize=True)
BITS = st.sampled_from([4, 8, 16])
BURSTS = st.sampled_from([1, 2, 4, 8, 16, 32, 64])
ENDLESS = 1 << 40
"""A line that no run reaches the end of."""


def packed(elements: int, bits: int) -> int:
    return (elements * bits + 7) // 8


def in_bursts(elements: int, bits: int, burst: int) -> int:
    return (packed(elements, bits) + burst - 1) // burst * burst


def cost(addresses: Collection[int], bits: int, burst: int, line: int = ENDLESS) -> int:
    """Bytes of the runs of consecutive addresses, each in whole bursts; none goes on from one line into the next."""
    runs: list[int] = []
    for address in sorted(set(addresses)):
        if address - 1 in addresses and address % line:
            runs[-1] += 1
        else:
            runs.append(1)
    return sum(in_bursts(run, bits, burst) for run in runs)


def pieces(count: int, size: int) -> list[range]:
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def check_tiles(panels: Panels, way: int, tiles: list[range]) -> None:
    """The panels that are announced are those that there are."""
    size, full, rest, rests = (int(field[way]) for field in panels[:4])
    assert Counter(len(tile) for tile in tiles) == +Counter({size: full}) + Counter({rest: rests})
    assert panels.number[way] == len(tiles) and (rest > 0) == (rests > 0)


def test_doublings() -> None:
    assert doublings(3, 20) == [3, 6, 12, 20]
    assert doublings(4, 16) == [4, 8, 16]
    assert (doublings(8, 8), doublings(9, 4)) == ([8], [4])


@DRAWS
@given(st.lists(st.integers(0, 300), min_size=1), BITS, BURSTS)
def test_bursts(runs: list[int], bits: int, burst: int) -> None:
    assert burst_bytes(np.array(runs), bits, burst).tolist() == [in_bursts(run, bits, burst) for run in runs]


# Matrices.


@st.composite
def plains(draw: st.DrawFn) -> Plain:
    lines = draw(st.sampled_from(["together", "whole", "apart"]))
    inner = draw(st.sampled_from(["k", "outer"]))
    return Plain(outer=draw(st.integers(1, 20)), k=draw(st.integers(1, 20)), bits=draw(BITS), inner=inner, lines=lines)


def stored(operand: Plain, outer: range, ks: range) -> set[int]:
    """Addresses of a tile of a matrix; there is one free after each line that does not lie beside the next."""
    whole = len(outer) == operand.outer and len(ks) == operand.k
    gap = operand.lines == "apart" or (operand.lines == "whole" and not whole)
    length = (operand.k if operand.inner == "k" else operand.outer) + gap
    return {o * length + k if operand.inner == "k" else k * length + o for o in outer for k in ks}


@DRAWS
@given(plains(), BURSTS, st.lists(st.integers(1, 25), min_size=1, max_size=4))
@example(Plain(outer=7, k=9, bits=8, inner="k"), 64, [1, 2, 7])
@example(Plain(outer=4, k=9, bits=4, inner="outer"), 8, [4])
def test_panels_of_a_matrix(operand: Plain, burst: int, sizes: list[int]) -> None:
    panels = operand.panels(sizes, burst)
    assert panels.size.tolist() == sorted({min(size, operand.outer) for size in [*sizes, operand.outer]})
    for way, size in enumerate(panels.size.tolist()):
        tiles = pieces(operand.outer, size)
        check_tiles(panels, way, tiles)
        read = [stored(operand, tile, range(operand.k)) for tile in tiles]
        assert panels.largest[way] == max(packed(len(tile), operand.bits) for tile in read)
        assert panels.sweep[way] == sum(cost(tile, operand.bits, burst) for tile in read)
        assert (
            panels.sweep[way] >= packed(operand.unique, operand.bits) == packed(operand.outer * operand.k, operand.bits)
        )
    chosen = panels.chosen(panels.size == operand.outer)
    assert (chosen.size.tolist(), chosen.full.tolist()) == ([operand.outer], [1])


@DRAWS
@given(plains(), BURSTS, st.data())
def test_slabs_of_a_matrix(operand: Plain, burst: int, data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, operand.outer), min_size=1, max_size=3))
    depths = data.draw(st.lists(st.integers(1, operand.k), min_size=1, max_size=3))
    slabs = operand.slabs(np.array(sizes), np.array(depths), burst)
    assert operand.depths == []
    assert slabs.largest.shape == slabs.sweep.shape == (len(sizes), len(depths))
    for (i, size), (j, depth) in product(enumerate(sizes), enumerate(depths)):
        read = [stored(operand, *tile) for tile in product(pieces(operand.outer, size), pieces(operand.k, depth))]
        assert slabs.largest[i, j] == max(packed(len(tile), operand.bits) for tile in read)
        assert slabs.sweep[i, j] == sum(cost(tile, operand.bits, burst) for tile in read)


# Tensors that convolutions see.


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    """An axis of a convolution's forward pass, or one of its gradient's."""
    kernel, stride, padding, dilation = (draw(st.integers(low, high)) for low, high in ((1, 3), (1, 3), (0, 1), (1, 2)))
    reach = (kernel - 1) * dilation + 1
    size = draw(st.integers(max(1, reach - 2 * padding), reach + 4))
    shape = (size, (size + 2 * padding - reach) // stride + 1, kernel, stride, padding, dilation)
    return draw(st.sampled_from([forward_axis(*shape), *backward_axes(*shape)]))


def tensors() -> st.SearchStrategy[dict]:
    shape = {
        "images": st.integers(1, 3),
        "rows": axes(),
        "columns": axes(),
        "channels": st.integers(1, 5),
        "bits": BITS,
    }
    return st.fixed_dictionaries(shape)


def whole(size: int, kernel: int, channels: int, images: int = 2) -> dict:
    """A convolution that keeps the size and reads all."""
    axis = forward_axis(size, size, kernel, 1, kernel // 2, 1)
    return {"images": images, "rows": axis, "columns": axis, "channels": channels, "bits": 8}


class Walk:
    """Addresses of what positions see through taps, of a tensor that lies channels first, then width, height, image."""

    def __init__(self, operand: Patches | PatchesByTap) -> None:
        self.operand, rows, columns = operand, operand.rows, operand.columns
        self.taps = list(product(range(rows.taps), range(columns.taps)))
        self.places: list[list[int | None]] = []
        for image, i, j in product(range(operand.images), range(rows.positions), range(columns.positions)):
            seen: list[int | None] = []
            for down, across in self.taps:
                row, column = i * rows.step + rows.offsets[down], j * columns.step + columns.offsets[across]
                inside = 0 <= row < rows.size and 0 <= column < columns.size
                seen.append((image * rows.size + row) * columns.size + column if inside else None)
            self.places.append(seen)
        self.image = rows.positions * columns.positions
        self.all = self.read(range(len(self.places)), range(operand.channels))

    def read(self, positions: Iterable[int], channels: range, taps: Iterable[int] | None = None) -> set[int]:
        taps = range(len(self.taps)) if taps is None else list(taps)
        places = {self.places[position][tap] for position in positions for tap in taps}
        return {
            place * self.operand.channels + channel for place in places if place is not None for channel in channels
        }

    def line(self, *, images: bool, channels: int) -> int:
        """Elements after which the module promises no run to go on, if images and all channels are read as a whole."""
        operand = self.operand
        elements = operand.images * operand.rows.size * operand.columns.size * operand.channels
        if channels == operand.channels and images and len(self.all) == elements:
            return ENDLESS
        columns = sorted({address // operand.channels % operand.columns.size for address in self.all})
        gaps = len(columns) > 0 and columns != list(range(columns[0], columns[-1] + 1))
        return operand.channels * (1 if gaps else operand.columns.size)

    def by_rows(self, size: int) -> list[range]:
        """Positions that are read together: whole images, or parts of one."""
        if size >= self.image:
            assert size % self.image == 0 or size == len(self.places)
            return pieces(len(self.places), size)
        assert size % self.operand.columns.positions == 0
        starts = range(0, len(self.places), self.image)
        return [range(start + part.start, start + part.stop) for start in starts for part in pieces(self.image, size)]


@DRAWS
@given(tensors(), BURSTS, st.integers(1, 40))
@example(whole(5, 3, 1), 64, 1)  # what a depthwise convolution sees
@example(whole(4, 3, 5, images=3), 16, 8)
def test_panels_of_patches(shape: dict, burst: int, least: int) -> None:
    operand = Patches(**shape)
    walk, bits = Walk(operand), operand.bits
    assert operand.unique == len(walk.all)
    assert (operand.outer, operand.k) == (len(walk.places), len(walk.taps) * operand.channels)
    panels = operand.panels([least + 3, least], burst)
    row, image = operand.columns.positions, walk.image
    parts = [n * row for n in (1, 2, 4, 8) if n * row < image and n * row >= least]
    whole_images = [n * image for n in (1, 2) if n < operand.images and n * image >= least]
    assert panels.size.tolist() == [*parts, *whole_images, operand.outer]
    for way, size in enumerate(panels.size.tolist()):
        tiles = walk.by_rows(size)
        check_tiles(panels, way, tiles)
        read = [walk.read(tile, range(operand.channels)) for tile in tiles]
        line = walk.line(images=size >= walk.image, channels=operand.channels)
        assert panels.largest[way] == max(packed(len(tile), bits) for tile in read)
        assert panels.sweep[way] == sum(cost(tile, bits, burst, line) for tile in read)
        assert panels.sweep[way] >= sum(cost(tile, bits, burst) for tile in read) >= packed(operand.unique, bits)


@DRAWS
@given(tensors(), BURSTS, st.data())
def test_slabs_of_patches(shape: dict, burst: int, data: st.DataObject) -> None:
    operand = Patches(**shape)
    walk, bits = Walk(operand), operand.bits
    size, depth = data.draw(st.integers(1, operand.outer)), data.draw(st.integers(1, operand.k))
    slabs = operand.slabs(np.array([size]), np.array([depth]), burst)
    assert operand.depths == []
    by_tap = needed = 0
    for positions, ks in product(pieces(operand.outer, size), pieces(operand.k, depth)):
        pairs = [divmod(k, operand.channels) for k in ks]
        taps = Counter(tap for tap, _ in pairs)
        by_tap += len(positions) * sum(in_bursts(channels, bits, burst) for channels in taps.values())
        read = set[int]()
        for tap, channel in pairs:
            read |= walk.read(positions, range(channel, channel + 1), [tap])
        needed += cost(read, bits, burst)
        assert slabs.largest[0, 0] >= packed(len(read), bits)
    assert slabs.largest[0, 0] == packed(size * depth, bits)
    assert slabs.sweep[0, 0] == by_tap >= needed >= packed(operand.unique, bits)


@DRAWS
@given(tensors(), BURSTS, st.integers(1, 40))
@example(whole(5, 3, 1), 64, 1)
@example(whole(4, 3, 5, images=3), 16, 8)
def test_panels_of_patches_by_tap(shape: dict, burst: int, least: int) -> None:
    operand = PatchesByTap(**shape)
    walk, bits = Walk(operand), operand.bits
    assert operand.unique == len(walk.all) and operand.taps == len(walk.taps)
    assert (operand.outer, operand.k) == (len(walk.taps) * operand.channels, len(walk.places))
    panels = operand.panels([least + 3, least], burst)
    some = [n * operand.taps for n in (1, 2, 4) if n < operand.channels and n * operand.taps >= least]
    assert panels.size.tolist() == [*some, operand.outer]
    for way, size in enumerate(panels.size.tolist()):
        check_tiles(panels, way, pieces(operand.outer, size))
        channels, apart = divmod(size, operand.taps)
        assert apart == 0
        read = [walk.read(range(operand.k), tile) for tile in pieces(operand.channels, channels)]
        line = walk.line(images=True, channels=channels)
        assert panels.largest[way] == max(packed(len(tile), bits) for tile in read)
        assert panels.sweep[way] == sum(cost(tile, bits, burst, line) for tile in read)
        assert panels.sweep[way] >= sum(cost(tile, bits, burst) for tile in read) >= packed(operand.unique, bits)


@DRAWS
@given(tensors(), BURSTS, st.data())
@example(whole(4, 3, 1, images=3), 64, None)
def test_slabs_of_patches_by_tap(shape: dict, burst: int, data: st.DataObject | None) -> None:
    operand = PatchesByTap(**shape)
    walk, bits = Walk(operand), operand.bits
    sizes = data.draw(st.lists(st.integers(1, operand.outer), min_size=1, max_size=2)) if data else [operand.outer]
    slabs = operand.slabs(np.array(sizes), np.array(operand.depths), burst)
    assert slabs.largest.shape == slabs.sweep.shape == (len(sizes), len(operand.depths))
    assert operand.depths[-1] == operand.k
    for (i, size), (j, depth) in product(enumerate(sizes), enumerate(operand.depths)):
        sweep = needed = largest = 0
        for tile, positions in product(pieces(operand.outer, size), walk.by_rows(depth)):
            pairs = [divmod(index, operand.taps) for index in tile]  # a channel and one of its taps
            channels = range(pairs[0][0], pairs[-1][0] + 1)
            read = walk.read(positions, channels)
            sweep += cost(read, bits, burst, walk.line(images=depth >= walk.image, channels=len(channels)))
            largest = max(largest, packed(len(read), bits))
            own = set[int]()
            for channel, tap in pairs:
                own |= walk.read(positions, range(channel, channel + 1), [tap])
            assert own <= read
            needed += cost(own, bits, burst)
        assert (slabs.largest[i, j], slabs.sweep[i, j]) == (largest, sweep)
        assert sweep >= needed >= packed(operand.unique, bits)


# Filters, which lie filter by filter, each tap by tap, as the data gradient reads them.


def phase_taps(layer: Conv2d, side: int) -> list[list[int]]:
    """Taps of each phase of the strides along an axis, of those phases that have one."""
    stride, padding = layer.stride[side], layer.padding[side]
    taps = [[t for t in range(layer.kernel[side]) if (phase + padding - t) % stride == 0] for phase in range(stride)]
    return [of_phase for of_phase in taps if of_phase]


def filters(layer: Conv2d, taps: list[tuple[int, int]], channels: range, ks: range) -> set[int]:
    """Addresses of some input channels in some products, which go tap by tap through all filters."""
    (height, width), addresses = layer.kernel, set()
    for k in ks:
        (down, across), filter_ = taps[k // layer.out_channels], k % layer.out_channels
        line = (filter_ * height + down) * width + across
        addresses |= {line * layer.in_channels + channel for channel in channels}
    return addresses


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (2, 1), (3, 3)])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 3)])
@pytest.mark.parametrize("channels", [(1, 1), (3, 5), (64, 3)])
def test_filters_of_the_data_gradient(
    stride: tuple[int, int], kernel: tuple[int, int], channels: tuple[int, int]
) -> None:
    inputs, outputs = channels
    layer = Conv2d(
        name="c", in_channels=inputs, out_channels=outputs, size=(7, 7), kernel=kernel, stride=stride, padding=(1, 1)
    )
    phases = [list(product(*taps)) for taps in product(phase_taps(layer, 0), phase_taps(layer, 1))]
    gemms = data_gradient(layer, 1, tensors_of(RECIPES["hybrid"], edge=False, wide=True))
    for taps, gemm in zip(phases, gemms, strict=True):
        assert isinstance(gemm.b, Plain)
        panels, depths = gemm.b.panels([1, 2], 16), sorted({1, 2, min(4, gemm.k), gemm.k})
        slabs = gemm.b.slabs(panels.size, np.array(depths), 16)
        for way, (j, depth) in product(range(len(panels.size)), enumerate(depths)):
            tiles = list(product(pieces(inputs, int(panels.size[way])), pieces(gemm.k, depth)))
            read = [filters(layer, taps, *tile) for tile in tiles]
            needed, apart = (sum(cost(tile, 8, 16, line) for tile in read) for line in (ENDLESS, inputs))
            assert needed <= slabs.sweep[way, j] <= apart
            if depth == gemm.k:
                assert panels.sweep[way] == slabs.sweep[way, j]
                if len(taps) == prod(kernel):
                    assert panels.sweep[way] == needed
    assert sum(map(len, phases)) == prod(kernel)
