"""A GEMM as the array's beats, in the order of its loop nest, and the array's sums as a matrix again."""

from collections.abc import Iterator

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from quaver.golden import Machine
from quaver.hw.streams import activation_beat, os_activation_beat, os_weight_beat, weight_beat

Beats = NDArray[np.uint8]
"""Payloads, of shape (beats, bytes)."""


def output_tiles(machine: Machine, m: int, n: int) -> Iterator[tuple[slice, slice]]:
    """The tiles of an M x N result: for m_block, for n_tile.  Each is a chain of K tiles (`os`: of k steps)."""
    for row in range(0, m, machine.block_rows):
        for column in range(0, n, machine.columns):
            yield slice(row, min(row + machine.block_rows, m)), slice(column, min(column + machine.columns, n))


def sum_beats(machine: Machine, m: int, n: int) -> int:
    """Beats of sums of an M x N result."""
    if machine.dataflow == "is":
        m, n = n, m
    return m * -(-n // machine.columns)


def beats(machine: Machine, a: NDArray, b: NDArray, a_format: int = 0, b_format: int = 0) -> tuple[Beats, Beats]:
    """Beats of the array's ports `weights` and `activations` for codes a (M, K) and b (K, N)."""
    if machine.dataflow == "is":
        return beats(machine.exchanged, b.T, a.T, b_format, a_format)
    feed = _feed_steps if machine.dataflow == "os" else _feed_tiles
    tiles = output_tiles(machine, len(a), b.shape[1])
    pairs = [pair for rows, columns in tiles for pair in feed(machine, a[rows], b[:, columns], a_format, b_format)]
    weights, activations = zip(*pairs, strict=True)
    return np.concatenate(weights), np.concatenate(activations)


def assemble(machine: Machine, sums: Beats, m: int, k: int, n: int) -> NDArray[np.int64]:
    """Codes of shape (M, N) from the beats of sums in the array's order."""
    if machine.dataflow == "is":
        return assemble(machine.exchanged, sums, n, k, m).T
    width = machine.outer.format.bits
    bits = np.unpackbits(sums, axis=1, bitorder="little")[:, : width * machine.columns]
    codes = bits.reshape(len(sums), machine.columns, width) @ (1 << np.arange(width, dtype=np.int64))
    y = np.empty((m, n), np.int64)
    start = 0
    for rows, columns in output_tiles(machine, m, n):
        stop = start + rows.stop - rows.start
        y[rows, columns] = codes[start:stop, : columns.stop - columns.start]
        start = stop
    return y


def _feed_tiles(
    machine: Machine, a: NDArray, b: NDArray, a_format: int, b_format: int
) -> Iterator[tuple[Beats, Beats]]:
    """Weights and activations of each K tile of an output tile of a weight-stationary array."""
    for start in range(0, len(b), machine.rows):
        tile_b, tile_a = b[start : start + machine.rows], a[:, start : start + machine.rows]
        columns = _padded(tile_b, (machine.rows, machine.columns)).T
        depth = np.full(machine.columns, len(tile_b))
        place = {"first": start == 0, "last": start + machine.rows >= len(b)}
        codes = _padded(tile_a, (len(a), machine.rows))
        yield (
            pack(weight_beat(machine), codes=columns, format=b_format, depth=depth),
            pack(activation_beat(machine), codes=codes, format=a_format, start=np.arange(len(a)) == 0, **place),
        )


def _feed_steps(
    machine: Machine, a: NDArray, b: NDArray, a_format: int, b_format: int
) -> Iterator[tuple[Beats, Beats]]:
    """Weights and activations of all k steps of an output tile of an output-stationary array."""
    slots = _padded(a, (machine.block_rows, len(b))).reshape(machine.rows, machine.interleave, len(b))
    codes = slots.transpose(2, 1, 0).reshape(-1, machine.rows)
    step = np.repeat(np.arange(len(b)), machine.interleave)
    place = {"rows": len(a), "first": step == 0, "last": step == len(b) - 1}
    yield (
        pack(os_weight_beat(machine), codes=_padded(b, (len(b), machine.columns)), format=b_format),
        pack(os_activation_beat(machine), codes=codes, format=a_format, **place),
    )


def _padded(codes: NDArray, shape: tuple[int, int]) -> NDArray:
    return np.pad(codes, [(0, full - size) for full, size in zip(shape, codes.shape, strict=True)])


def pack(layout: data.StructLayout, **fields: object) -> NDArray[np.uint8]:
    """Beats of `layout`: each field of shape (beats,), (beats, elements) or a scalar."""
    count = max(len(np.atleast_1d(np.asarray(values))) for values in fields.values())
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
