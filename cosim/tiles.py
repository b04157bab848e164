"""A GEMM as the array's beats, in the order of its loop nest, and the array's sums as a matrix again."""

from collections.abc import Iterator

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from quaver.golden import Machine
from quaver.hw.streams import activation_beat, os_activation_beat, os_weight_beat, weight_beat

Beats = NDArray[np.uint8]
"""Payloads, of shape (beats, bytes)."""
PART = 4096
"""Beats that are made at a time: enough for NumPy, little for the memory."""


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
    weights, activations = zip(*beats_by_part(machine, a, b, a_format, b_format), strict=True)
    return np.concatenate(weights), np.concatenate(activations)


def beats_by_part(
    machine: Machine, a: NDArray, b: NDArray, a_format: int = 0, b_format: int = 0
) -> Iterator[tuple[Beats, Beats]]:
    """The same, part by part, each of about `PART` beats of a port at most."""
    if machine.dataflow == "is":
        yield from beats_by_part(machine.exchanged, b.T, a.T, b_format, a_format)
        return
    feed = _feed_steps if machine.dataflow == "os" else _feed_tiles
    for rows, columns in output_tiles(machine, len(a), b.shape[1]):
        yield from feed(machine, a[rows], b[:, columns], a_format, b_format)


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
    """Weights and activations of the K tiles of an output tile of a weight-stationary array."""
    m, rows = len(a), machine.rows
    for start, stop in _parts(len(b), rows, max(m, machine.columns)):
        at = np.arange(start, stop, rows)
        depth = np.minimum(rows, len(b) - at).repeat(machine.columns)
        place = {
            "start": np.tile(np.arange(m) == 0, len(at)),
            "first": (at == 0).repeat(m),
            "last": (at + rows >= len(b)).repeat(m),
        }
        whole = len(at) * rows
        a_tiles = _padded(a[:, start:stop], (m, whole)).reshape(m, len(at), rows)
        b_tiles = _padded(b[start:stop], (whole, machine.columns)).reshape(len(at), rows, machine.columns)
        codes, columns = a_tiles.swapaxes(0, 1).reshape(-1, rows), b_tiles.swapaxes(1, 2).reshape(-1, rows)
        yield (
            pack(weight_beat(machine), codes=columns, format=b_format, depth=depth),
            pack(activation_beat(machine), codes=codes, format=a_format, **place),
        )


def _feed_steps(
    machine: Machine, a: NDArray, b: NDArray, a_format: int, b_format: int
) -> Iterator[tuple[Beats, Beats]]:
    """Weights and activations of the k steps of an output tile of an output-stationary array."""
    slots = _padded(a, (machine.block_rows, len(b))).reshape(machine.rows, machine.interleave, len(b))
    for start, stop in _parts(len(b), 1, machine.interleave):
        codes = slots[..., start:stop].transpose(2, 1, 0).reshape(-1, machine.rows)
        step = np.arange(start, stop).repeat(machine.interleave)
        place = {"rows": len(a), "first": step == 0, "last": step == len(b) - 1}
        columns = _padded(b[start:stop], (stop - start, machine.columns))
        yield (
            pack(os_weight_beat(machine), codes=columns, format=b_format),
            pack(os_activation_beat(machine), codes=codes, format=a_format, **place),
        )


def _parts(k: int, tile: int, beats: int) -> Iterator[tuple[int, int]]:
    """Bounds of parts of K, of as many tiles of `tile` products and `beats` beats as make a part."""
    size = tile * max(1, PART // beats)
    for start in range(0, k, size):
        yield start, min(start + size, k)


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
