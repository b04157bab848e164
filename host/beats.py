"""Operands and results as the packets of the machine's AXI4-Streams.

A beat is a row of lanes, lane 0 in the lowest byte; a code takes whole bytes, little end first.
"""

import numpy as np
from numpy.typing import NDArray

from quaver.golden import Format, Machine
from quaver.golden.commands import Matmul

Codes = NDArray[np.integer]
Packet = NDArray[np.uint8]


def lane_bytes(formats: tuple[Format, ...]) -> int:
    """Bytes of a lane that carries codes of any of `formats`."""
    return max(-(-fmt.bits // 8) for fmt in formats)


def b_lanes(machine: Machine) -> int:
    """Lanes of the b port: a column or a row of a tile; with `os` one product of each column."""
    return machine.columns if machine.dataflow == "os" else max(machine.rows, machine.columns)


def a_bytes(machine: Machine) -> int:
    """Bytes of a beat of the a port, which has a lane for each row of the array."""
    return machine.rows * lane_bytes(machine.moving_formats)


def b_bytes(machine: Machine) -> int:
    """Bytes of a beat of the b port."""
    return b_lanes(machine) * lane_bytes(machine.stationary_formats)


def result_bytes(machine: Machine) -> int:
    """Bytes of a beat of results, which has a lane for each column of the array."""
    return machine.columns * lane_bytes(machine.result_formats)


def a_packet(machine: Machine, command: Matmul, a: Codes) -> Packet:
    """The a operand of a command, codes of shape (rows, products), as beats of shape (beats, bytes).

    For each tile the rows of its products; with `os` for each product the interleaved rows: lane r of beat s has row
    r * interleave + s.
    """
    if machine.dataflow == "os":
        padded = _padded(a, (machine.block_rows, a.shape[1]))
        lanes = padded.reshape(machine.rows, machine.interleave, -1).transpose(2, 1, 0)
    else:
        padded = _padded(a, (len(a), command.tiles * machine.rows))
        lanes = padded.reshape(len(a), command.tiles, machine.rows).transpose(1, 0, 2)
    return _packed(lanes.reshape(-1, machine.rows), lane_bytes(machine.moving_formats))


def b_packet(machine: Machine, command: Matmul, b: Codes) -> Packet:
    """The b operand of a command, codes of shape (products, columns), as beats of shape (beats, bytes).

    For each tile its columns or, transposed, its rows; with `os` the rows.
    """
    width = lane_bytes(machine.stationary_formats)
    if machine.dataflow == "os" or command.transposed:
        lanes = b
    else:
        padded = _padded(b, (command.tiles * machine.rows, b.shape[1]))
        lanes = padded.reshape(command.tiles, machine.rows, -1).transpose(0, 2, 1).reshape(-1, machine.rows)
    return _packed(_padded(lanes, (len(lanes), b_lanes(machine))), width)


def update_bytes(machine: Machine) -> int:
    """Bytes of a third of a beat of a weight update: one code in each of its lanes."""
    return machine.update_lanes * lane_bytes((machine.update.format,))


def update_packet(machine: Machine, elements: Codes) -> Packet:
    """Codes of weights, velocities and gradients, shape (3, beats, lanes), as beats of shape (beats, bytes).

    A beat has the weights' lanes lowest, then the velocities', then the gradients'.
    """
    beats = elements.transpose(1, 0, 2).reshape(elements.shape[1], -1)
    return _packed(beats, lane_bytes((machine.update.format,)))


def updated(machine: Machine, packet: bytes) -> Codes:
    """Codes of weights and velocities, shape (2, beats, lanes), from a packet of an update's results."""
    width = lane_bytes((machine.update.format,))
    parts = np.frombuffer(packet, np.uint8).reshape(-1, 2, machine.update_lanes, width).astype(np.int64)
    return (parts @ (1 << 8 * np.arange(width, dtype=np.int64))).transpose(1, 0, 2)


def results(machine: Machine, command: Matmul, packet: bytes) -> Codes:
    """Codes of shape (rows, columns) from a packet of results without its null bytes.

    Raises
    ------
    ValueError
        If the packet is not as long as the command's results.
    """
    width = lane_bytes((machine.result_formats[command.target],))
    expected = command.rows * command.columns * width
    if len(packet) != expected:
        raise ValueError(f"packet of results must be of {expected} bytes, not {len(packet)}")
    parts = np.frombuffer(packet, np.uint8).reshape(command.rows, command.columns, width).astype(np.int64)
    return parts @ (1 << 8 * np.arange(width, dtype=np.int64))


def _padded(codes: Codes, shape: tuple[int, int]) -> Codes:
    return np.pad(codes, [(0, full - size) for full, size in zip(shape, codes.shape, strict=True)])


def _packed(lanes: Codes, width: int) -> Packet:
    """Lanes of codes, shape (beats, lanes), as little-endian bytes."""
    parts = lanes.astype(np.int64)[..., None] >> 8 * np.arange(width) & 0xFF
    return parts.reshape(len(lanes), -1).astype(np.uint8)
