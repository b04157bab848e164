"""Operands on their way into the stepped array: ports with their decoders of S2FP8, scratchpad, tile buffer or queue.

Every part shows what it offers in `shown`, a register, and is stepped after the part that it feeds: `step` is told
whether that one took what was shown.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from quaver.golden import Machine
from quaver.golden.s2fp8_fixed import s2fp8_decode_fixed
from quaver.sim.cycle_beats import Beat, Reading
from quaver.sim.cycle_sums import Codes


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
        if beat is None or cycle < beat.since or not self._offered(cycle):
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

    def starved(self, cycle: int) -> bool:
        """Whether there is a command, but no beat to show."""
        return self._order is not None and self._order.since <= cycle and self.shown is None

    @property
    def finished(self) -> bool:
        """Whether all has been read and taken."""
        return self._order is None and self.shown is None

    def step(self, cycle: int, written: Beat | None, taken: bool) -> None:
        """One cycle: `written` arrives, the array has `taken` the beat shown."""
        if taken or self.shown is None:
            self.shown = self._read(cycle)
        if written is not None:
            self._ring[self._written % len(self._ring)] = written.codes
            self._written += 1

    def _read(self, cycle: int) -> tuple[Reading, Codes] | None:
        order = self._order
        if order is None or cycle < order.since or self._position == self._written:
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
        self.shown: tuple[Beat, Codes] | None = None
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


class RowQueue:
    """Rows of the b operand (`os`), as many as commands wait; each is there in the cycle after it is written."""

    def __init__(self, machine: Machine) -> None:
        self._columns, self._depth = machine.columns, machine.queue_depth
        self._rows: deque[tuple[Beat, Codes]] = deque()

    @property
    def ready(self) -> bool:
        """Whether a beat finds room."""
        return len(self._rows) < self._depth

    @property
    def shown(self) -> tuple[Beat, Codes] | None:
        """The row on offer to the array, 0 in columns that its command does not use, with its beat."""
        return self._rows[0] if self._rows else None

    def step(self, written: Beat | None, taken: bool) -> None:
        """One cycle: `written` arrives, the array has `taken` the row shown."""
        if taken:
            self._rows.popleft()
        if written is not None:
            codes = np.zeros(self._columns, np.int64)
            codes[: len(written.codes)] = written.codes
            self._rows.append((written, codes))
