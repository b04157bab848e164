"""A GEMM as the array's beats, in the order of its loop nest, and the array's sums as a matrix again."""

from collections.abc import Iterable, Iterator

import numpy as np
from amaranth.lib import data
from numpy.typing import NDArray

from quaver.golden import Machine
from quaver.hw.streams import activation_beat, os_activation_beat, os_weight_beat, weight_beat

Beats = NDArray[np.uint8]
"""Payloads, of shape (beats, bytes)."""
Fields = dict[str, NDArray]
"""Members of beats by name, each of shape (beats,) or (beats, elements)."""
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
    """The same, part by part, each of about `PART` beats of a port."""
    if machine.dataflow == "is":
        yield from beats_by_part(machine.exchanged, b.T, a.T, b_format, a_format)
        return
    steps = machine.dataflow == "os"
    weights = os_weight_beat(machine) if steps else weight_beat(machine)
    activations = os_activation_beat(machine) if steps else activation_beat(machine)
    feed = _feed_steps if steps else _feed_tiles
    fed = (
        pair
        for rows, columns in output_tiles(machine, len(a), b.shape[1])
        for pair in feed(machine, a[rows], b[:, columns])
    )
    for pairs in _batches(fed):
        yield (
            pack(weights, **_joined([pair[0] for pair in pairs]), format=b_format),
            pack(activations, **_joined([pair[1] for pair in pairs]), format=a_format),
        )


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


def _feed_tiles(machine: Machine, a: NDArray, b: NDArray) -> Iterator[tuple[Fields, Fields]]:
    """Weights and activations of the K tiles of an output tile of a weight-stationary array."""
    m, rows = len(a), machine.rows
    for start, stop in _parts(len(b), rows, max(m, machine.columns)):
        at = np.arange(start, stop, rows)
        whole = len(at) * rows
        a_tiles = _padded(a[:, start:stop], (m, whole)).reshape(m, len(at), rows)
        b_tiles = _padded(b[start:stop], (whole, machine.columns)).reshape(len(at), rows, machine.columns)
        yield (
            {
                "codes": b_tiles.swapaxes(1, 2).reshape(-1, rows),
                "depth": np.minimum(rows, len(b) - at).repeat(machine.columns),
            },
            {
                "codes": a_tiles.swapaxes(0, 1).reshape(-1, rows),
                "start": np.tile(np.arange(m) == 0, len(at)),
                "first": (at == 0).repeat(m),
                "last": (at + rows >= len(b)).repeat(m),
            },
        )


def _feed_steps(machine: Machine, a: NDArray, b: NDArray) -> Iterator[tuple[Fields, Fields]]:
    """Weights and activations of the k steps of an output tile of an output-stationary array."""
    slots = _padded(a, (machine.block_rows, len(b))).reshape(machine.rows, machine.interleave, len(b))
    for start, stop in _parts(len(b), 1, machine.interleave):
        step = np.arange(start, stop).repeat(machine.interleave)
        yield (
            {"codes": _padded(b[start:stop], (stop - start, machine.columns))},
            {
                "codes": slots[..., start:stop].transpose(2, 1, 0).reshape(-1, machine.rows),
                "rows": np.full(len(step), len(a)),
                "first": step == 0,
                "last": step == len(b) - 1,
            },
        )


def _batches(fed: Iterable[tuple[Fields, Fields]]) -> Iterator[list[tuple[Fields, Fields]]]:
    """Pairs of fields, as many together as make a part: to pack few beats takes almost as long as to pack many."""
    pairs, size = [], 0
    for weights, activations in fed:
        pairs.append((weights, activations))
        size += max(len(weights["codes"]), len(activations["codes"]))
        if size >= PART:
            yield pairs
            pairs, size = [], 0
    if pairs:
        yield pairs


def _joined(all_fields: list[Fields]) -> Fields:
    return {name: np.concatenate([fields[name] for fields in all_fields]) for name in all_fields[0]}


def _parts(k: int, tile: int, beats: int) -> Iterator[tuple[int, int]]:
    """Bounds of parts of K, of as many tiles of `tile` products and `beats` beats as make a part."""
    size = tile * max(1, PART // beats)
    for start in range(0, k, size):
        yield start, min(start + size, k)


def _padded(codes: NDArray, shape: tuple[int, int]) -> NDArray:
    padded = np.zeros(shape, codes.dtype)
    padded[: len(codes), : codes.shape[1]] = codes
    return padded


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
