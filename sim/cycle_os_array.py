"""The stepped output-stationary array: its entrance, where beats wait for their turn, and its rows, which turn."""

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
class Accepted:
    """A beat of the a operand with its row of the b operand in the array, and what is known of them."""

    reading: Reading
    a: Codes
    """Operands of the rows (see `Operands`)."""
    b: Codes
    """Operands of the columns."""
    fresh: bool
    """Its sums start from -0."""
    close: bool
    """They are complete with it."""
    closed: bool
    """And so are those of all slots: their chunk is."""
    opens: bool
    """The chunk is the first one of its output."""


class OutputStationaryArray:
    """Entrance, rows and feet."""

    def __init__(self, machine: Machine, adders: FloatSums | ExactSums) -> None:
        self._entrance, self._rows, self._drain = Entrance(machine), Rows(machine, adders), Drain(machine)
        self.feet = Feet(machine, adders)
        self._arrivals: deque[Arrival | None] = deque([None] * self.feet.reach, maxlen=self.feet.reach)

    @property
    def waits(self) -> Waits:
        """Cycles in which it waited so far."""
        return self._entrance.waits

    def step(
        self, cycle: int, beat: tuple[Reading, Codes] | None, row: tuple[Beat, Codes] | None, popped: bool
    ) -> tuple[Reading | None, bool]:
        """One cycle.

        Parameters
        ----------
        beat, row:
            What is on offer: a beat of the a operand, a row of the b operand.
        popped:
            A beat leaves the output buffer.

        Returns
        -------
        The beat that is accepted, and whether the row is taken: it is with the last beat of its k step.
        """
        inserts = self._entrance.inserts
        accepted = self._entrance.accept(beat, row, popped)
        self._arrivals.appendleft(self._drain.step(accepted))
        self.feet.step(self._arrivals, self._rows.foot)
        self._rows.step(accepted, inserts)
        if accepted is None:
            return None, False
        return accepted.reading, self._entrance.at_step


class Entrance:
    """Where a beat waits for its row, its slot's turn, the way out for the sums that it completes, and their room.

    The rings of the rows turn for ever, but while no chunk is open or drains the next beat may come at once: then the
    count of turns waits for it.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._a, self._b = operands_of(machine.a_formats), operands_of(machine.b_formats)
        self._turn = self._slot = 0
        self._step, self._opens = 0, False  # of the next k step: its place in its chunk, the chunk's in its output
        self._patience = 0  # turns until the sums of the chunk before are out of the way
        self.inserts = False
        """Row 0 sends the sums of its complete chunk down in this turn."""
        self._free = machine.output_depth
        self.waits = Waits()

    @property
    def at_step(self) -> bool:
        """Whether the next beat is the first one of a k step."""
        return self._slot == 0

    def accept(
        self, shown: tuple[Reading, Codes] | None, row: tuple[Beat, Codes] | None, popped: bool
    ) -> Accepted | None:
        """Take the beat `shown`, if it may enter; with `popped` a slot of the output buffer is free from then on."""
        turn_ends = self._turn == self._machine.interleave - 1
        at_rest = not (self._step or self._slot or self._turn or self._patience or self.inserts)
        accepted = self._accepted(shown, row)
        closed = accepted is not None and accepted.closed
        if accepted is not None or not at_rest:
            self._turn = 0 if turn_ends else self._turn + 1
        if closed:
            self._patience = self._machine.drain_steps - 1
        elif turn_ends:
            self._patience = max(0, self._patience - 1)
        if turn_ends:
            self.inserts = closed
        self._free += popped
        return accepted

    def _accepted(self, shown: tuple[Reading, Codes] | None, row: tuple[Beat, Codes] | None) -> Accepted | None:
        if shown is None:
            return None
        reading, codes = shown
        step = 0 if reading.first else self._step
        close = reading.last or step == self._machine.chunk - 1
        if row is None:
            self.waits.b += 1
        elif self._turn != self._slot or (close and self._slot == 0 and self._patience):
            self.waits.sums += 1
        elif reading.last and self._slot == 0 and self._free < reading.command.rows:
            self.waits.results += 1
        else:
            return self._take(reading, codes, row, step, close)
        return None

    def _take(self, reading: Reading, codes: Codes, row: tuple[Beat, Codes], step: int, close: bool) -> Accepted:
        if reading.last and self._slot == 0:
            self._free -= reading.command.rows
        step_ends = self._slot == self._machine.interleave - 1
        opens = reading.first or self._opens
        self._slot = 0 if step_ends else self._slot + 1
        if step_ends:
            self._step, self._opens = (0, False) if close else (step + 1, opens)
        beat, weights = row
        return Accepted(
            reading=reading,
            a=self._a.numbers(codes, reading.command.a_format),
            b=self._b.numbers(weights, beat.command.b_format),
            fresh=step == 0,
            close=close,
            closed=close and step_ends,
            opens=opens,
        )


class Drain:
    """Counts the sums of a complete chunk, row by row of its tile, on their way to the feet."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._chunk: Accepted | None = None
        self._row = self._slot = 0

    def step(self, accepted: Accepted | None) -> Arrival | None:
        """One cycle: the row that sets out, which is the first one of a chunk if `accepted` closes it."""
        if accepted is not None and accepted.closed:
            self._chunk, self._row = accepted, 0
        if self._chunk is None:
            return None
        reading, row, slot = self._chunk.reading, self._row, None
        if reading.last and row < reading.command.rows:
            slot = self._slot
            self._slot = (slot + 1) % self._machine.output_depth
        arrival = Arrival(row=row, opens=self._chunk.opens, leaves=reading.last, slot=slot)
        self._row += 1
        if self._row == self._machine.block_rows:
            self._chunk = None
        return arrival


class Rows:
    """All processing elements: state arrays of shape (rows, columns), moved on by a register per cycle.

    Row i works i cycles later than row 0, column j j cycles later than column 0.  Activations, their random words and
    controls move right, weights move down.  A MAC and the registers behind it are a ring of `interleave` sums; a second
    ring, in step with the first, keeps those of the last complete chunk until they go down.
    """

    def __init__(self, machine: Machine, adders: FloatSums | ExactSums) -> None:
        self._machine, self._identity = machine, adders.identity
        self._macs = Macs(machine, adders)
        self._bits = machine.inner_rounding.random_bits
        self._generators = Generators(machine.seed, range(machine.rows), self._bits)
        shape = machine.rows, machine.columns
        self._a, self._b, self._words = (np.full(shape, NOTHING, np.int64) for _ in range(3))
        self._fresh, self._close, self._insert = (np.zeros(shape, bool) for _ in range(3))
        empty = np.full(shape, NOTHING, adders.dtype)
        self._ring = deque([empty] * (machine.interleave - machine.adder_latency))
        self._complete = deque([empty] * machine.interleave)
        self._falling = empty
        reach = 1 + machine.mac_depth + max(machine.rows, machine.columns)
        self._beats: deque[Accepted | None] = deque([None] * reach, maxlen=reach)  # accepted 0, 1, 2, ... cycles ago
        reach = 2 + machine.mac_depth + (machine.rows - 1) * (machine.interleave + 1)
        self._inserts = deque([False] * reach, maxlen=reach)

    @property
    def foot(self) -> NDArray:
        """Completed sums at the foot of each column, shape (1, columns)."""
        return self._falling[-1:]

    def step(self, accepted: Accepted | None, inserts: bool) -> None:
        """One cycle, in which a beat is `accepted`, and row 0 `inserts` its sums into the columns."""
        self._beats.appendleft(accepted)
        self._inserts.appendleft(inserts)
        self._move()
        results, kept = self._macs.results, self._complete.pop()
        self._ring.append(results)
        turned = self._ring.popleft()
        self._macs.step(self._a, self._b, self._words, np.where(self._fresh, self._identity, turned))
        self._complete.appendleft(np.where(self._close, results, kept))
        above = np.concatenate([np.full_like(self._falling[:1], NOTHING), self._falling[:-1]])
        self._falling = np.where(self._insert, kept, above)

    def _move(self) -> None:
        """Operands, words and controls as the PEs see them in this cycle."""
        machine, beats = self._machine, self._beats
        a, words = np.full((2, machine.rows), NOTHING, np.int64)
        fresh, close, insert = np.zeros((3, machine.rows), bool)
        for i in range(machine.rows):
            skew = 1 + machine.row_skew(i)
            beat, added, done = beats[skew], beats[skew + machine.product_latency], beats[skew + machine.mac_depth]
            if beat is not None:
                a[i] = beat.a[i]
                if self._bits:
                    words[i] = self._generators.deal(i)
            fresh[i] = added is not None and added.fresh
            close[i] = done is not None and done.close
            # Row i sends its sums down when those of the rows above have passed.
            insert[i] = self._inserts[1 + machine.mac_depth + i * (machine.interleave + 1)]
        b = np.full(machine.columns, NOTHING, np.int64)
        for j in range(machine.columns):
            beat = beats[1 + j]
            if beat is not None:
                b[j] = beat.b[j]
        self._a, self._words = moved(a, self._a), moved(words, self._words)
        self._fresh, self._close, self._insert = (
            moved(heads, state) for heads, state in ((fresh, self._fresh), (close, self._close), (insert, self._insert))
        )
        self._b = np.concatenate([b[None], self._b[:-1]])
