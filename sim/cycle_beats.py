"""The beats that commands bring to the stepped machine, and what its array is told with each."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from quaver.golden import Format, Machine, Matmul, PowerRegisters
from quaver.golden.catalog import E5M2
from quaver.golden.formats import as_codes
from quaver.sim.cycle_sums import Codes


@dataclass(frozen=True, kw_only=True)
class Beat:
    """A beat of an operand's stream."""

    codes: Codes
    """Of the a operand the products of a row; of the b operand a column of the tile or, transposed, a row."""
    power: PowerRegisters | None = None
    """The codes are S2FP8's."""
    command: Matmul
    since: int
    """The cycle from which on its command is known."""
    depth: int
    """Products that its tile has."""
    index: int
    """Its place in its tile."""
    tile_end: bool
    """The last one of its tile."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What the array is told with a beat of the a operand."""

    command: Matmul
    since: int
    """The cycle from which on its command is known."""
    index: int
    """Row of its tile."""
    first: bool
    """Of the first K tile of an output."""
    last: bool
    """Of the last one."""
    depth: int
    """Products that its tile has."""
    end: bool
    """The command's last beat."""


def _depths(machine: Machine, command: Matmul) -> list[int]:
    """Products of each of a command's tiles."""
    return [machine.rows] * (command.tiles - 1) + [command.depth]


def _operand(
    codes: ArrayLike | None, name: str, shape: tuple[int, int], fmt: Format, power: PowerRegisters | None
) -> Codes:
    """Checked codes of an operand."""
    checked = as_codes(np.asarray(codes), fmt if power is None else E5M2)
    if checked.shape != shape:
        raise ValueError(f"{name} must be of shape {shape}, not {checked.shape}")
    return checked


def a_beats(machine: Machine, command: Matmul, a: ArrayLike | None, since: int) -> Iterator[Beat]:
    """Rows of the a operand, tile by tile, 0 in what a tile does not use."""
    tiles = _depths(machine, command)
    shape = (command.rows, sum(tiles))
    codes = _operand(a, "a", shape, machine.a_formats[command.a_format], command.a_power)
    for tile, depth in enumerate(tiles):
        for row in range(command.rows):
            lanes = np.zeros(machine.rows, np.int64)
            lanes[:depth] = codes[row, tile * machine.rows :][:depth]
            end = row == command.rows - 1
            yield Beat(
                codes=lanes,
                power=command.a_power,
                command=command,
                since=since,
                depth=depth,
                index=row,
                tile_end=end,
            )


def b_beats(machine: Machine, command: Matmul, b: ArrayLike | None, since: int) -> Iterator[Beat]:
    """Columns of the b operand, tile by tile; transposed, the rows."""
    tiles = _depths(machine, command)
    shape = (sum(tiles), command.columns)
    codes = _operand(b, "b", shape, machine.b_formats[command.b_format], command.b_power)
    for number, depth in enumerate(tiles):
        tile = codes[number * machine.rows :][:depth]
        lines = tile if command.transposed else tile.T
        for index, line in enumerate(lines):
            end = index == len(lines) - 1
            yield Beat(
                codes=line,
                power=command.b_power,
                command=command,
                since=since,
                depth=depth,
                index=index,
                tile_end=end,
            )


def readings(machine: Machine, command: Matmul, since: int) -> Iterator[Reading]:
    """The order in which the array is fed with a command's beats."""
    for tile, depth in enumerate(_depths(machine, command)):
        for row in range(command.rows):
            last_tile = tile == command.tiles - 1
            yield Reading(
                command=command,
                since=since,
                index=row,
                first=command.first and tile == 0,
                last=command.last and last_tile,
                depth=depth,
                end=last_tile and row == command.rows - 1,
            )
