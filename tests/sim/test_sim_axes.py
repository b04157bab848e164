"""Places that a convolution reads along an axis, against loops over its positions and taps."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quaver.sim.axes import Axis, backward_axes, forward_axis, swept

DRAWS = settings(max_examples=200, deadline=None, database=None, derandomize=True)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, int, int, int, int, int]:
    """Size, positions, kernel, stride, padding and dilation of an axis that a convolution can have."""
    kernel, stride, padding, dilation = (draw(st.integers(low, 5)) for low in (1, 1, 0, 1))
    reach = (kernel - 1) * dilation + 1
    size = draw(st.integers(max(1, reach - 2 * padding), reach + 20))
    return size, (size + 2 * padding - reach) // stride + 1, kernel, stride, padding, dilation


def terms(shape: tuple[int, int, int, int, int, int]) -> list[tuple[int, int, int]]:
    """Position, tap and place of each product that is none of padding's."""
    size, positions, kernel, stride, padding, dilation = shape
    products = []
    for position in range(positions):
        for tap in range(kernel):
            place = position * stride + tap * dilation - padding
            if 0 <= place < size:
                products.append((position, tap, place))
    return products


def read(axis: Axis, positions: range) -> set[int]:
    """Places that some positions read."""
    places = set()
    for position in positions:
        for offset in axis.offsets:
            place = position * axis.step + offset
            if 0 <= place < axis.size:
                places.add(place)
    return places


def check_reads(axis: Axis, count: int) -> None:
    tiles = [read(axis, range(first, min(first + count, axis.positions))) for first in range(0, axis.positions, count)]
    assert swept(axis, count) == (sum(map(len, tiles)), max(map(len, tiles)))
    whole = sorted(read(axis, range(axis.positions)))
    assert axis.touched == len(whole)
    assert axis.dense is all(after == before + 1 for before, after in pairwise(whole))


@DRAWS
@given(shapes(), st.integers(1, 30))
@example((9, 3, 1, 4, 0, 1), 2)  # strides that skip
@example((7, 2, 2, 2, 0, 5), 1)  # taps that lie apart
@example((1, 3, 1, 2, 2, 1), 1)  # positions that see padding alone
def test_what_the_forward_pass_reads(shape: tuple[int, int, int, int, int, int], count: int) -> None:
    axis = forward_axis(*shape)
    size, positions, kernel, *_ = shape
    assert (axis.size, axis.positions, axis.taps) == (size, positions, kernel)
    assert read(axis, range(positions)) == {place for _, _, place in terms(shape)}
    check_reads(axis, count)


@DRAWS
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 4), st.lists(st.integers(-9, 15), min_size=1, max_size=5))
def test_any_axis(size: int, positions: int, step: int, offsets: list[int]) -> None:
    for count in (1, 2, 3, positions, positions + 1):
        check_reads(Axis(size, positions, step, tuple(offsets)), count)


def test_nothing_is_read_of_padding() -> None:
    axis = Axis(4, 2, 1, (-3, 4))
    assert (axis.touched, axis.dense, swept(axis, 1)) == (0, True, (0, 0))


def phases(shape: tuple[int, int, int, int, int, int]) -> list[int]:
    """Places of the input, below a stride, that share a remainder with what some tap sees."""
    size, _, kernel, stride, padding, dilation = shape
    seen = {(tap * dilation - padding) % stride for tap in range(kernel)}
    return [place for place in range(size) if place < stride and place in seen]


@DRAWS
@given(shapes())
@example((8, 4, 1, 2, 0, 1))  # a phase without a tap
@example((2, 1, 1, 5, 0, 1))  # a stride beyond the input
@example((12, 4, 3, 2, 0, 2))  # a dilation that shares a factor with the stride
def test_backward_axes_gather_each_product_once(shape: tuple[int, int, int, int, int, int]) -> None:
    size, positions, kernel, stride, padding, dilation = shape
    gathered: Counter[tuple[int, int, int]] = Counter()
    places: Counter[int] = Counter()
    for phase, axis in zip(phases(shape), backward_axes(*shape), strict=True):
        assert axis.size == positions
        for q in range(axis.positions):
            place = phase + q * stride
            places[place] += 1
            for offset in axis.offsets:
                position = q * axis.step + offset
                tap, apart = divmod(place + padding - position * stride, dilation)
                assert apart == 0 and 0 <= tap < kernel
                if 0 <= position < positions:
                    gathered[position, tap, place] += 1
    assert gathered == Counter(terms(shape))
    gets = {
        place for place in range(size) if any((place + padding - t * dilation) % stride == 0 for t in range(kernel))
    }
    assert places == Counter(gets)
    for axis in backward_axes(*shape):
        check_reads(axis, 3)


@pytest.mark.parametrize(("kernel", "stride", "count"), [(3, 1, 1), (3, 2, 2), (1, 2, 1), (2, 3, 2), (7, 2, 2)])
def test_phases_of_common_convolutions(kernel: int, stride: int, count: int) -> None:
    padding = kernel // 2
    positions = (12 + 2 * padding - kernel) // stride + 1
    axes = backward_axes(12, positions, kernel, stride, padding, 1)
    assert len(axes) == count
    assert sum(axis.taps for axis in axes) == kernel
