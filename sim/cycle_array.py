"""The stepped weight-stationary array: its entrance, where beats wait, and its rows, in which nothing does."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quaver.golden import Machine
from quaver.sim.cycle_beats import Beat, Reading
from quaver.sim.cycle_feet import Arrival, Feet
from quaver.sim.cycle_macs import Macs, Waits, moved
from quaver.sim.cycle_sums import NOTHING, Codes, ExactSums, FloatSums, Generators, operands_of


@dataclass(frozen=True, kw_only=True)
class Accepted(Arrival):
    """A beat of the a operand in the array, and what is known of it and of its sums."""

    reading: Reading
    numbers: Codes
    """Operands of the rows (see `Operands`)."""


class WeightStationaryArray:
    """Entrance, rows and feet."""

    def __init__(self, machine: Machine, adders: FloatSums | ExactSums) -> None:
        self._entrance, self._rows = Entrance(machine), Rows(machine, adders)
        self.feet = Feet(machine, adders)
        reach = max(self.feet.reach, machine.foot_cycle + machine.columns) + 1
        self._beats: deque[Accepted | None] = deque([None] * reach, maxlen=reach)  # accepted 0, 1, 2, ... cycles ago

    @property
    def waits(self) -> Waits:
        """Cycles in which it waited so far."""
        return self._entrance.waits

    def step(
        self, cycle: int, beat: tuple[Reading, Codes] | None, column: tuple[Beat, Codes] | None, popped: bool
    ) -> tuple[Reading | None, bool]:
        """One cycle.

        Parameters
        ----------
        beat, column:
            What is on offer: a beat of the a operand, a column of the next tile of the b operand.
        popped:
            A beat leaves the output buffer.

        Returns
        -------
        The beat that is accepted, and whether the column is taken.
        """
        accepted = self._entrance.accept(cycle, beat, popped)
        self._beats.appendleft(accepted)
        weights = self._entrance.load(column, accepted is not None and accepted.reading.index == 0)
        inner, tops = self._rows.feet, self.feet.returned.copy()
        self.feet.step(self._beats, inner)
        self._rows.step(self._beats, weights, tops)
        return None if accepted is None else accepted.reading, weights is not None


class Entrance:
    """Where a beat waits until its tile is loaded, the sums of the K tile before are back and its result has room."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._a, self._b = operands_of(machine.a_formats), operands_of(machine.b_formats)
        self._columns = 0  # of the next tile, that are loaded
        self._sums_back = 0  # the cycle in which the next K tile may start
        self._free, self._slot = machine.output_depth, 0
        self._tile_pass, self._opens = 0, False  # of the tile before: its place in its chunk, the chunk's in its output
        self.waits = Waits()

    def accept(self, cycle: int, shown: tuple[Reading, Codes] | None, popped: bool) -> Accepted | None:
        """Take the beat `shown`, if it may enter in this cycle; with `popped` a slot of the output buffer is free."""
        accepted = None if shown is None or self._waits(cycle, shown[0]) else self._take(cycle, *shown)
        self._free += popped
        return accepted

    def load(self, shown: tuple[Beat, Codes] | None, started: bool) -> Codes | None:
        """Take a column `shown` of the next tile, unless it is complete; `started`: a tile starts in this cycle."""
        if started:
            self._columns = 0
        if shown is None or self._columns == self._machine.load_cycles:
            return None
        self._columns += 1
        beat, codes = shown
        used = np.arange(len(codes)) < beat.depth
        return np.where(used, self._b.numbers(codes, beat.command.b_format), self._b.absent)

    def _waits(self, cycle: int, reading: Reading) -> bool:
        if reading.index == 0 and self._columns < self._machine.load_cycles:
            self.waits.b += 1
        elif reading.index == 0 and not reading.first and cycle < self._sums_back:
            self.waits.sums += 1
        elif reading.last and not self._free:
            self.waits.results += 1
        else:
            return False
        return True

    def _take(self, cycle: int, reading: Reading, codes: Codes) -> Accepted:
        # Row m of the next tile needs the sum of this tile's row m: this is the latest of them so far.
        self._sums_back = cycle + self._machine.round_trip - reading.index
        passes = self._machine.passes_per_chunk
        if reading.index == 0:
            chunk_ended = self._tile_pass == passes - 1
            self._tile_pass = 0 if reading.first or chunk_ended else self._tile_pass + 1
            self._opens = reading.first or (self._opens and not chunk_ended)
        slot = None
        if reading.last:
            slot = self._slot
            self._free -= 1
            self._slot = (slot + 1) % self._machine.output_depth
        return Accepted(
            reading=reading,
            numbers=self._a.numbers(codes, reading.command.a_format),
            row=reading.index,
            leaves=reading.last,
            slot=slot,
            fresh=self._tile_pass == 0,
            final=self._tile_pass == passes - 1 or reading.last,
            opens=self._opens,
        )


class Rows:
    """All processing elements: state arrays of shape (rows, columns), moved on by a register per cycle.

    Row i sees a beat `row_skew(i)` cycles after row 0.  Activations, their random words and bursts of weights move
    right by a column per cycle; a PE keeps the first weight of a burst and forwards the rest; sums fall.
    """

    def __init__(self, machine: Machine, adders: FloatSums | ExactSums) -> None:
        self._machine = machine
        self._macs = Macs(machine, adders)
        shape = machine.rows, machine.columns
        self._tops = np.arange(machine.rows) % machine.segment_rows == 0
        self._bits = machine.inner_rounding.random_bits
        self._generators = Generators(machine.seed, range(machine.rows), self._bits)
        self._activations, self._words, self._forwarded, self._shadow, self._active = (
            np.full(shape, NOTHING, np.int64) for _ in range(5)
        )
        self._swaps, self._taken = np.zeros(shape, bool), np.zeros(shape, bool)
        reach = 3 + max(map(machine.row_skew, range(machine.rows)))
        self._bursts: deque[Codes | None] = deque([None] * reach, maxlen=reach)

    @property
    def feet(self) -> NDArray:
        """Sums at the foot of each segment, shape (segments, columns)."""
        return self._macs.results[self._machine.segment_rows - 1 :: self._machine.segment_rows]

    def step(self, beats: deque[Accepted | None], column: Codes | None, tops: NDArray) -> None:
        """One cycle.

        Parameters
        ----------
        beats:
            Beats accepted 0, 1, 2, ... cycles ago.
        column:
            The column of weights taken in this cycle.
        tops:
            Sums that enter the topmost rows of the segments, shape (columns,).
        """
        self._bursts.appendleft(column)
        sums = np.where(self._tops[:, None], tops, np.roll(self._macs.results, 1, axis=0))
        self._macs.step(*self._operands(beats), sums)

    def _operands(self, beats: deque[Accepted | None]) -> tuple[Codes, Codes, Codes]:
        """Activations, active weights and words in this cycle; then the weights move on."""
        heads = np.full((4, self._machine.rows), NOTHING, np.int64)
        for i in range(self._machine.rows):
            skew = self._machine.row_skew(i)
            beat, following, weights = beats[2 + skew], beats[1 + skew], self._bursts[1 + skew]
            if beat is not None:
                heads[0, i] = beat.numbers[i]
                if self._bits:
                    heads[1, i] = self._generators.deal(i)
            heads[2, i] = following is not None and following.reading.index == 0
            if weights is not None:
                heads[3, i] = weights[i]
        self._activations = moved(heads[0], self._activations)
        self._words = moved(heads[1], self._words)
        self._swaps = moved(heads[2].astype(bool), self._swaps)
        weights, active = moved(heads[3], self._forwarded), self._active

        # A swap runs a cycle ahead of a tile's first activation; the weights of the next tile may come with it.
        take = (weights != NOTHING) & (~self._taken | self._swaps)
        self._active = np.where(self._swaps, self._shadow, active)
        self._shadow = np.where(take, weights, self._shadow)
        self._taken = take | (self._taken & ~self._swaps)
        self._forwarded = np.where(take, NOTHING, weights)
        return self._activations, active, self._words
