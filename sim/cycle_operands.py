"""Operands on their way into the stepped array: packets, decoders of S2FP8, scratchpad, tile buffer.

Every part shows what it offers in `shown`, a register, and is stepped after the part that it feeds: `step` is told
whether that one took what was shown.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden import Machine, Matmul, PowerRegisters
from quaver.golden.catalog import E5M2
from quaver.golden.formats import as_codes
from quaver.golden.s2fp8_fixed import s2fp8_decode_fixed
from quaver.sim.cycle_sums import Codes


@dataclass(frozen=True, kw_only=True)
class Beat:
    """A beat of an operand's stream."""

    codes: Codes
    """Of the a operand the products of a row; of the b operand a column of the tile or, transposed, a row."""
    power: PowerRegisters | None = None
    """The codes are S2FP8's."""
    command: Matmul
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


def depths(machine: Machine, command: Matmul) -> list[int]:
    """Products of each of a command's tiles."""
    return [machine.rows] * (command.tiles - 1) + [command.depth]


def operand(codes: ArrayLike | None, name: str, shape: tuple[int, int], fmt: object, power: object) -> Codes:
    """Checked codes of an operand."""
    checked = as_codes(np.asarray(codes), E5M2 if power is not None else fmt)  # type: ignore[arg-type]
    if checked.shape != shape:
        raise ValueError(f"{name} must be of shape {shape}, not {checked.shape}")
    return checked


def a_beats(machine: Machine, command: Matmul, a: ArrayLike | None) -> Iterator[Beat]:
    """Rows of the a operand, tile by tile, 0 in what a tile does not use."""
    tiles = depths(machine, command)
    shape = (command.rows, sum(tiles))
    codes = operand(a, "a", shape, machine.a_formats[command.a_format], command.a_power)
    for tile, depth in enumerate(tiles):
        for row in range(command.rows):
            lanes = np.zeros(machine.rows, np.int64)
            lanes[:depth] = codes[row, tile * machine.rows :][:depth]
            end = row == command.rows - 1
            yield Beat(codes=lanes, power=command.a_power, command=command, depth=depth, index=row, tile_end=end)


def b_beats(machine: Machine, command: Matmul, b: ArrayLike | None) -> Iterator[Beat]:
    """Columns of the b operand, tile by tile; transposed, the rows."""
    tiles = depths(machine, command)
    shape = (sum(tiles), command.columns)
    codes = operand(b, "b", shape, machine.b_formats[command.b_format], command.b_power)
    for number, depth in enumerate(tiles):
        tile = codes[number * machine.rows :][:depth]
        lines = tile if command.transposed else tile.T
        for index, line in enumerate(lines):
            end = index == len(lines) - 1
            yield Beat(codes=line, power=command.b_power, command=command, depth=depth, index=index, tile_end=end)


def readings(machine: Machine, command: Matmul) -> Iterator[Reading]:
    """The order in which the array is fed with a command's beats."""
    for tile, depth in enumerate(depths(machine, command)):
        for row in range(command.rows):
            last_tile = tile == command.tiles - 1
            yield Reading(
                command=command,
                index=row,
                first=command.first and tile == 0,
                last=command.last and last_tile,
                depth=depth,
                end=last_tile and row == command.rows - 1,
            )


class Port:
    """A stream of beats and, on machines with `s2fp8`, its decoders, which wait as a whole."""

    def __init__(self, machine: Machine, beats: list[Beat], offered: Callable[[int], bool]) -> None:
        self._beats, self._offered = iter(beats), offered
        self._next = next(self._beats, None)
        self._pipeline: list[Beat | None] = [None] * machine.decode_latency
        self.accepted: list[int] = []
        """Cycles in which beats were accepted."""

    def step(self, cycle: int, ready: bool) -> Beat | None:
        """One cycle; returns the beat that the buffer behind, if it is `ready`, writes in this cycle."""
        if not self._pipeline:
            return self._accepted(cycle) if ready else None
        leaving = self._pipeline[-1]
        if leaving is not None and not ready:
            return None
        self._pipeline = [self._accepted(cycle), *self._pipeline[:-1]]
        return leaving

    def _accepted(self, cycle: int) -> Beat | None:
        beat = self._next
        if beat is None or not self._offered(cycle):
            return None
        self._next = next(self._beats, None)
        self.accepted.append(cycle)
        if beat.power is None:
            return beat
        return replace(beat, codes=s2fp8_decode_fixed(beat.codes, beat.power).astype(np.int64))


class Scratchpad:
    """A ring of beats that are read in order, and again where a command keeps them."""

    def __init__(self, machine: Machine, orders: list[Reading]) -> None:
        self._orders = iter(orders)
        self._order = next(self._orders, None)
        self._ring: list[Codes | None] = [None] * machine.scratchpad_depth
        self._written = self._position = self._freed = 0  # beats, since the start
        self.shown: tuple[Reading, Codes] | None = None
        """The beat on offer to the array."""

    @property
    def ready(self) -> bool:
        """Whether a beat finds room."""
        return self._written - self._freed < len(self._ring)

    @property
    def starved(self) -> bool:
        """Whether there is a command, but no beat to show."""
        return self._order is not None and self.shown is None

    @property
    def finished(self) -> bool:
        """Whether all has been read and taken."""
        return self._order is None and self.shown is None

    def step(self, written: Beat | None, taken: bool) -> None:
        """One cycle: `written` arrives, the array has `taken` the beat shown."""
        if taken or self.shown is None:
            self.shown = self._read()
        if written is not None:
            self._ring[self._written % len(self._ring)] = written.codes
            self._written += 1

    def _read(self) -> tuple[Reading, Codes] | None:
        order = self._order
        if order is None or self._position == self._written:
            return None
        codes = self._ring[self._position % len(self._ring)]
        assert codes is not None
        self._position += 1
        if not order.command.keep:
            self._freed = self._position
        elif order.end:
            self._position = self._freed
        self._order = next(self._orders, None)
        return order, np.where(np.arange(len(codes)) < order.depth, codes, 0)


class TileBuffer:
    """Two tiles of the b operand, written by columns or rows, read by columns, always as many as the array has."""

    def __init__(self, machine: Machine) -> None:
        self._columns = machine.columns
        self._codes = np.zeros((2, machine.rows, machine.columns), np.int64)
        self._beats: list[list[Beat]] = [[], []]
        self._complete = [False, False]
        self._into = self._out_of = self._column = 0
        self.shown: tuple[Beat, NDArray[np.int64]] | None = None
        """A column on offer to the array, with a beat of its tile."""

    @property
    def ready(self) -> bool:
        """Whether a beat finds a bank to be written to."""
        return not self._complete[self._into]

    def step(self, written: Beat | None, taken: bool) -> None:
        """One cycle: `written` arrives, the array has `taken` the column shown."""
        released = None
        if taken or self.shown is None:
            released = self._read()
        if written is not None:
            self._write(written)
        if released is not None:
            self._complete[released] = False
            self._beats[released] = []

    def _read(self) -> int | None:
        """Show the next column, if it is there; returns the bank that is free with it."""
        bank, column = self._out_of, self._column
        beats, self.shown = self._beats[bank], None
        follows = bool(beats) and not beats[0].command.transposed and len(beats) > column
        if not (self._complete[bank] or follows):
            return None
        self.shown = beats[0], self._codes[bank, :, column].copy()
        self._column += 1
        if self._column < self._columns:
            return None
        self._column, self._out_of = 0, 1 - bank
        return bank

    def _write(self, beat: Beat) -> None:
        bank = self._into
        if beat.index == 0:
            self._codes[bank] = 0
        if beat.command.transposed:
            self._codes[bank, beat.index, : len(beat.codes)] = beat.codes
        else:
            self._codes[bank, : len(beat.codes), beat.index] = beat.codes
        self._beats[bank].append(beat)
        if beat.tile_end:
            self._complete[bank] = True
            self._into = 1 - bank
