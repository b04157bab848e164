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
    """Of the a operand the products of a row, with `os` one of each of the array's rows; of the b operand a column of
    the tile or, transposed and with `os`, a row."""
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
    """Row of its tile; with `os` its slot."""
    first: bool
    """Of the first K tile of an output."""
    last: bool
    """Of the last one."""
    depth: int
    """Products that it brings to each column."""
    end: bool
    """The command's last beat."""


def _depths(machine: Machine, command: Matmul) -> list[int]:
    """Products of each of a command's tiles."""
    return [machine.block_products] * (command.tiles - 1) + [command.depth]


def _operand(
    codes: ArrayLike | None, name: str, shape: tuple[int, int], fmt: Format, power: PowerRegisters | None
) -> Codes:
    """Checked codes of an operand."""
    checked = as_codes(np.asarray(codes), fmt if power is None else E5M2)
    if checked.shape != shape:
        raise ValueError(f"{name} must be of shape {shape}, not {checked.shape}")
    return checked


def _lanes(machine: Machine, tile: Codes) -> Codes:
    """The beats of a tile of the a operand, shape (rows, products): shape (beats, lanes), 0 in lanes without a code."""
    if machine.dataflow == "os":
        block = np.zeros(machine.block_rows, np.int64)
        block[: len(tile)] = tile[:, 0]
        return block.reshape(machine.rows, machine.interleave).T
    lanes = np.zeros((len(tile), machine.rows), np.int64)
    lanes[:, : tile.shape[1]] = tile
    return lanes


def a_beats(machine: Machine, command: Matmul, a: ArrayLike | None, since: int) -> Iterator[Beat]:
    """Rows of the a operand, tile by tile; with `os` columns, every `interleave`-th row of them in a beat."""
    depths = _depths(machine, command)
    shape = (command.rows, sum(depths))
    codes = _operand(a, "a", shape, machine.a_formats[command.a_format], command.a_power)
    for number, depth in enumerate(depths):
        beats = _lanes(machine, codes[:, number * machine.block_products :][:, :depth])
        for index, lanes in enumerate(beats):
            yield Beat(
                codes=lanes,
                power=command.a_power,
                command=command,
                since=since,
                depth=depth,
                index=index,
                tile_end=index == len(beats) - 1,
            )


def b_beats(machine: Machine, command: Matmul, b: ArrayLike | None, since: int) -> Iterator[Beat]:
    """Columns of the b operand, tile by tile; transposed and with `os`, the rows."""
    depths = _depths(machine, command)
    shape = (sum(depths), command.columns)
    codes = _operand(b, "b", shape, machine.b_formats[command.b_format], command.b_power)
    by_rows = command.transposed or machine.dataflow == "os"
    for number, depth in enumerate(depths):
        tile = codes[number * machine.block_products :][:depth]
        lines = tile if by_rows else tile.T
        for index, line in enumerate(lines):
            yield Beat(
                codes=line,
                power=command.b_power,
                command=command,
                since=since,
                depth=depth,
                index=index,
                tile_end=index == len(lines) - 1,
            )


def readings(machine: Machine, command: Matmul, since: int) -> Iterator[Reading]:
    """The order in which the array is fed with a command's beats."""
    slots = machine.interleave if machine.dataflow == "os" else 0
    for tile, depth in enumerate(_depths(machine, command)):
        last_tile = tile == command.tiles - 1
        # With `os` a beat has a product for every row of the array that has such a slot's row of the tile.
        products = [-(-(command.rows - slot) // slots) for slot in range(slots)] or [depth] * command.rows
        for index, each in enumerate(products):
            yield Reading(
                command=command,
                since=since,
                index=index,
                first=command.first and tile == 0,
                last=command.last and last_tile,
                depth=each,
                end=last_tile and index == len(products) - 1,
            )
