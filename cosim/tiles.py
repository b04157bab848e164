"""A GEMM as the array's beats, in the order of its loop nest, and the array's sums as a matrix again."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from quaver.golden import Machine
from quaver.hw.streams import activation_beat, weight_beat


class Tile(NamedTuple):
    """One pass through the array: the slices of M, N and K that it covers, and its place in its K chain."""

    rows: slice
    columns: slice
    products: slice
    first: bool
    last: bool


def tiles(machine: Machine, m: int, k: int, n: int) -> Iterator[Tile]:
    """The tiles of an M x K x N GEMM: for m_block, for n_tile, for k_tile."""
    for row in range(0, m, machine.accumulator_depth):
        for column in range(0, n, machine.columns):
            for product in range(0, k, machine.rows):
                yield Tile(
                    slice(row, min(row + machine.accumulator_depth, m)),
                    slice(column, min(column + machine.columns, n)),
                    slice(product, min(product + machine.rows, k)),
                    product == 0,
                    product + machine.rows >= k,
                )


def beats(
    machine: Machine, a: NDArray, b: NDArray, a_format: int = 0, b_format: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Beats of weights and of activations, each of shape (beats, bytes), for codes a (M, K) and b (K, N)."""
    weights, activations = [], []
    for tile in tiles(machine, a.shape[0], a.shape[1], b.shape[1]):
        tile_b = _padded(b[tile.products, tile.columns], (machine.rows, machine.columns))
        depth = np.full(machine.columns, tile.products.stop - tile.products.start)
        weights.append(_pack(weight_beat(machine), codes=tile_b.T, format=b_format, depth=depth))
        tile_a = a[tile.rows, tile.products]
        tile_a = _padded(tile_a, (len(tile_a), machine.rows))
        flags = {"start": np.arange(len(tile_a)) == 0, "first": tile.first, "last": tile.last}
        activations.append(_pack(activation_beat(machine), codes=tile_a, format=a_format, **flags))
    return np.concatenate(weights), np.concatenate(activations)


def assemble(machine: Machine, sums: NDArray[np.uint8], m: int, k: int, n: int) -> NDArray[np.int64]:
    """Codes of shape (M, N) from the beats of sums, shape (beats, bytes), in the array's order."""
    width = machine.outer.format.bits
    bits = np.unpackbits(sums, axis=1, bitorder="little")[:, : width * machine.columns]
    codes = bits.reshape(len(sums), machine.columns, width) @ (1 << np.arange(width, dtype=np.int64))
    y = np.empty((m, n), np.int64)
    start = 0
    for tile in tiles(machine, m, k, n):
        if tile.last:
            rows, columns = tile.rows.stop - tile.rows.start, tile.columns.stop - tile.columns.start
            y[tile.rows, tile.columns] = codes[start : start + rows, :columns]
            start += rows
    return y


def _padded(codes: NDArray, shape: tuple[int, int]) -> NDArray:
    return np.pad(codes, [(0, full - size) for full, size in zip(shape, codes.shape, strict=True)])


def _pack(layout: data.StructLayout, **fields: object) -> NDArray[np.uint8]:
    """Beats of `layout`: each field of shape (beats,), (beats, elements) or a scalar."""
    count = len(np.asarray(fields["codes"]))
    bits = np.zeros((count, layout.size), np.uint8)
    for name, field in layout:
        values = np.asarray(fields[name])
        values = np.broadcast_to(
            values[..., None] if values.ndim < 2 else values, (count, values.shape[-1] if values.ndim == 2 else 1)
        )
        width = field.width // values.shape[1]
        field_bits = (values[:, :, None].astype(np.int64) >> np.arange(width)) & 1
        bits[:, field.offset : field.offset + field.width] = field_bits.reshape(count, field.width)
    return np.packbits(bits, axis=1, bitorder="little")
