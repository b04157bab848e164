"""Gathered places against PyTorch's unfold and against loops over places and taps."""

import re

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from quaver.train.unfolding import Axis, Line, unfold
from tests.train.draws import convolutions


def naive(codes: NDArray, rows: Axis, columns: Axis, groups: int) -> NDArray:
    """One place after the other."""
    images, channels, height, width = codes.shape
    each = channels // groups
    shape = (groups, images, rows.positions, columns.positions, each, rows.taps, columns.taps)
    result = np.zeros(shape, codes.dtype)
    for index in np.ndindex(shape):
        group, image, row, column, channel, down, across = index
        y = row * rows.step + rows.start + down * rows.spacing
        x = column * columns.step + columns.start + across * columns.spacing
        if 0 <= y < height and 0 <= x < width:
            result[index] = codes[image, group * each + channel, y, x]
    return result.reshape(groups, images * rows.positions * columns.positions, -1)


def lines_of(geometry) -> list[Line]:
    keys = ("size", "kernel", "stride", "padding", "dilation")
    return [Line(**{key: getattr(geometry, key)[axis] for key in keys}) for axis in range(2)]


def test_forward_is_pytorchs_unfold() -> None:
    rng = np.random.default_rng(1)
    compared = 0
    for geometry in convolutions(seed=1, count=320):
        codes = rng.integers(1, 256, geometry.input_shape).astype(np.uint8)
        rows, columns = lines_of(geometry)
        got = unfold(codes, rows.forward, columns.forward, geometry.groups)
        theirs = F.unfold(
            torch.from_numpy(codes.astype(np.float32)),
            geometry.kernel,
            dilation=geometry.dilation,
            padding=geometry.padding,
            stride=geometry.stride,
        )
        want = theirs.unflatten(1, (geometry.groups, -1)).permute(1, 0, 3, 2).flatten(1, 2).numpy()
        assert got.dtype == codes.dtype
        np.testing.assert_array_equal(got, want)
        assert got.shape[1] == geometry.images * rows.positions * columns.positions
        compared += 1
    assert compared == 320


def test_any_axis_is_the_loop_over_places() -> None:
    """Starts within, before and behind the tensor; taps that go back, or stay where they are."""
    rng = np.random.default_rng(2)
    outside = backwards = 0
    for _ in range(320):
        rows, columns = (
            Axis(
                positions=int(rng.integers(1, 5)),
                step=int(rng.integers(1, 4)),
                start=int(rng.integers(-6, 9)),
                taps=int(rng.integers(1, 4)),
                spacing=int(rng.integers(-3, 4)),
            )
            for _ in range(2)
        )
        groups = int(rng.integers(1, 3))
        shape = int(rng.integers(1, 3)), groups * int(rng.integers(1, 3)), *(int(s) for s in rng.integers(1, 6, 2))
        codes = rng.integers(1, 1 << 16, shape).astype(np.uint16)
        got, want = unfold(codes, rows, columns, groups), naive(codes, rows, columns, groups)
        np.testing.assert_array_equal(got, want)
        outside += bool((want == 0).any())
        backwards += rows.spacing < 0 or columns.spacing < 0
    assert outside > 100
    assert backwards > 100


def test_codes_may_lie_anyhow() -> None:
    """Channels last, every other place, and one place for all."""
    rng = np.random.default_rng(3)
    codes = rng.integers(1, 256, (2, 10, 12, 4)).astype(np.uint8)
    rows, columns = Line(size=5, kernel=3, padding=1, stride=2).forward, Line(size=6, kernel=2, dilation=2).forward
    for lying in (
        codes.transpose(0, 3, 1, 2)[:, :, ::2, 1::2],
        np.broadcast_to(codes[:, :1, :1, :4].transpose(0, 3, 1, 2), (2, 4, 5, 6)),
    ):
        np.testing.assert_array_equal(unfold(lying, rows, columns, 2), unfold(lying.copy(), rows, columns, 2))
        np.testing.assert_array_equal(unfold(lying, rows, columns, 2), naive(lying, rows, columns, 2))


def test_backward_finds_every_output_that_an_input_took_part_in() -> None:
    """Of each input place: which taps met which outputs."""
    rng = np.random.default_rng(4)
    places = without_taps = 0
    for _ in range(600):
        size, kernel, stride, padding, dilation = (int(rng.integers(1, most)) for most in (14, 6, 7, 6, 4))
        padding -= 1
        if size + 2 * padding < dilation * (kernel - 1) + 1:
            continue
        line = Line(size=size, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
        want: dict[int, dict[int, int]] = {}
        for o in range(line.positions):
            for t in range(kernel):
                place = o * stride + t * dilation - padding
                if 0 <= place < size:
                    want.setdefault(place, {})[t] = o
        got: dict[int, dict[int, int]] = {}
        phases = list(line.backward())
        for phase, taps, axis in phases:
            taken = list(range(kernel))[taps]
            assert len(taken) == axis.taps > 0 and axis.positions > 0
            assert axis.step == 1
            for p in range(axis.positions):
                place = phase + p * stride
                assert place < size and place not in got
                read = {t: p * axis.step + axis.start + i * axis.spacing for i, t in enumerate(taken)}
                got[place] = {t: o for t, o in read.items() if 0 <= o < line.positions}
                places += 1
        assert {place: pairs for place, pairs in got.items() if pairs} == want
        without_taps += min(stride, size) - len(phases)
    assert places > 2000
    assert without_taps > 50


def test_positions_are_pytorchs() -> None:
    compared = 0
    for geometry in convolutions(seed=5, count=100):
        y = F.conv2d(torch.zeros(geometry.input_shape), torch.zeros(geometry.weight_shape), **geometry.options)
        assert tuple(line.positions for line in lines_of(geometry)) == tuple(y.shape[2:])
        compared += 1
    assert compared == 100


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 0, "kernel": 1}, "size must be an integer in 1..1048576, not 0"),
        ({"size": 4, "kernel": 0}, "kernel must be an integer in 1..1048576, not 0"),
        ({"size": 4, "kernel": 2, "stride": 0}, "stride must be an integer in 1..1048576, not 0"),
        ({"size": 4, "kernel": 2, "dilation": True}, "dilation must be an integer in 1..1048576, not True"),
        ({"size": 4, "kernel": 2, "padding": -1}, "padding must be an integer in 0..1048576, not -1"),
        ({"size": 3, "kernel": 6, "padding": 1}, "kernel must fit into 5 places, padding included"),
        ({"size": 5, "kernel": 3, "dilation": 3}, "kernel must fit into 5 places, padding included"),
    ],
)
def test_lines_that_are_none(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Line(**fields)
