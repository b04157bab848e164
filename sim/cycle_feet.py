"""The feet of the stepped array's columns, the output buffer and the output unit behind it."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quaver.golden import RNE, Machine, Matmul, output, sr
from quaver.golden.lfsr import OUTER_GENERATORS, OUTPUT_GENERATORS
from quaver.sim.cycle_sums import NOTHING, Codes, ExactSums, FloatSums, Generators


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A row of inner sums on its way to the feet, one per column, and what is to become of it."""

    row: int
    """Its place in its tile."""
    fresh: bool = True
    """The inner sums start from -0."""
    final: bool = True
    """They are complete at the foot."""
    opens: bool
    """The outer sums start from +0."""
    leaves: bool
    """The outer sums are complete, and are not kept."""
    slot: int | None
    """Where they go in the output buffer; None if they do not."""


class Feet:
    """Outer adders, memories and the output buffer of all columns.

    Column j works j cycles later than column 0, segment g `outer_latency` cycles later than the one above it; so the
    row that a part works for is the one that set out as many cycles ago as the part lies deep.
    """

    def __init__(self, machine: Machine, adders: FloatSums | ExactSums) -> None:
        self._machine, self._adders = machine, adders
        self._chain = machine.segments, machine.columns
        self._chunks = deque([np.full(self._chain, NOTHING, adders.dtype)] * machine.chunk_latency)
        self._sums = deque([np.full(self._chain, NOTHING, np.int64)] * machine.outer_latency)
        self._memory = np.full((machine.block_rows, machine.columns), NOTHING, np.int64)
        self._read = np.full(machine.columns, NOTHING, np.int64)
        self._inner_memory = np.full((machine.block_rows, machine.columns), NOTHING, adders.dtype)
        self.returned = np.full(machine.columns, adders.identity, adders.dtype)
        """Inner sums for the topmost row in this cycle."""
        self._bits = machine.outer.rounding.random_bits
        count = machine.columns * machine.segments
        self._generators = Generators(machine.seed, range(OUTER_GENERATORS, OUTER_GENERATORS + count), self._bits)
        self._buffer = np.full((machine.output_depth, machine.columns), NOTHING, np.int64)
        self._level = self._slot = 0
        self.shown: Codes | None = None
        """The beat of sums on offer to the output unit."""

    @property
    def reach(self) -> int:
        """How long an arrival must be remembered."""
        return self._machine.store_cycle + self._machine.columns

    def pop(self, taken: bool) -> bool:
        """Show the next beat of the output buffer if the one shown is `taken`; whether there was one."""
        if not taken and self.shown is not None:
            return False
        if not self._level:
            self.shown = None
            return False
        self.shown = self._buffer[self._slot].copy()
        self._slot = (self._slot + 1) % len(self._buffer)
        self._level -= 1
        return True

    def step(self, arrivals: Sequence[Arrival | None], inner: NDArray) -> None:
        """One cycle.

        Parameters
        ----------
        arrivals:
            Those that set out 0, 1, 2, ... cycles ago.
        inner:
            The sums at the segments' feet, shape (segments, columns).
        """
        machine = self._machine
        self._chunks.append(inner)
        finished = self._sums.pop()
        self._sums.appendleft(self._joined(arrivals, self._chunks.popleft(), finished))
        if machine.passes_per_chunk > 1:
            self._return(arrivals, inner[0])
        # A read in the cycle of a write to the same row still finds what was there before.
        for j in range(machine.columns):
            arrival = arrivals[machine.foot_cycle + machine.chunk_latency - 1 + j]
            if arrival is not None:
                self._read[j] = 0 if arrival.opens else self._memory[arrival.row, j]
            arrival = arrivals[machine.store_cycle + j]
            if arrival is not None and arrival.final:
                self._store(arrival, j, finished[-1, j])

    def _joined(self, arrivals: Sequence[Arrival | None], chunks: NDArray, finished: Codes) -> Codes:
        """What enters the adders' registers: the memory's sums, or those of the segment above, and the chunks'."""
        machine = self._machine
        results = np.full(self._chain, NOTHING, np.int64)
        busy = np.zeros(self._chain, bool)
        words = np.zeros(self._chain, np.int64)
        for g in range(machine.segments):
            depth = machine.foot_cycle + machine.chunk_latency + g * machine.outer_latency
            for j in range(machine.columns):
                arrival = arrivals[depth + j]
                busy[g, j] = arrival is not None and arrival.final
                if busy[g, j] and self._bits:
                    words[g, j] = self._generators.deal(j * machine.segments + g)
        if busy.any():
            y = np.concatenate([self._read[None], finished[:-1]])
            dealt = words[busy] if self._bits else None
            results[busy] = self._adders.join(y[busy], chunks[busy], dealt)
        return results

    def _return(self, arrivals: Sequence[Arrival | None], inner: NDArray) -> None:
        """Inner sums between the passes of a chunk: read for the top, write what is at the foot."""
        machine = self._machine
        for j in range(machine.columns):
            arrival = arrivals[1 + machine.product_latency + j]
            if arrival is not None:
                stored = self._inner_memory[arrival.row, j]
                self.returned[j] = self._adders.identity if arrival.fresh else stored
            arrival = arrivals[machine.foot_cycle + j]
            if arrival is not None and not arrival.final:
                self._inner_memory[arrival.row, j] = inner[j]

    def _store(self, arrival: Arrival, column: int, y: int) -> None:
        if not arrival.leaves:
            self._memory[arrival.row, column] = y
        elif arrival.slot is not None:
            self._buffer[arrival.slot, column] = y
            self._level += column == self._machine.columns - 1


@dataclass(frozen=True, kw_only=True)
class ResultBeat:
    """A row of results."""

    command: int
    """Index of its command."""
    codes: NDArray
    """Of the command's target."""


class OutputUnit:
    """Sums become results: rounded when a beat enters, and then on their way for `output_latency` cycles.

    The pipeline waits as a whole while results are not taken.
    """

    def __init__(self, machine: Machine, commands: list[Matmul]) -> None:
        self._machine = machine
        self._orders = (
            (number, command)
            for number, command in enumerate(commands)
            if command.last and not command.empty
            for _ in range(command.rows)
        )
        self._pipeline: deque[ResultBeat | None] = deque([None] * machine.output_latency)
        bits = machine.output_random_bits
        numbers = range(OUTPUT_GENERATORS, OUTPUT_GENERATORS + machine.columns)
        self._generators = Generators(machine.seed, numbers, bits) if bits else None

    @property
    def shown(self) -> ResultBeat | None:
        """The beat of results on offer."""
        return self._pipeline[-1]

    def step(self, sums: Codes | None, ready: bool) -> bool:
        """One cycle; whether the beat of `sums`, if there is one, is taken."""
        if self.shown is not None and not ready:
            return False
        self._pipeline.pop()
        self._pipeline.appendleft(None if sums is None else self._rounded(sums, self._orders))
        return sums is not None

    def _rounded(self, sums: Codes, orders: Iterator[tuple[int, Matmul]]) -> ResultBeat:
        machine, (number, command) = self._machine, next(orders)
        words = None
        if self._generators is not None:  # all lanes, whatever the rounding
            words = np.array([self._generators.deal(lane) for lane in range(machine.columns)])
        rounded = output(
            sums[: command.columns],
            machine.outer.format,
            machine.result_formats[command.target],
            sr(machine.output_random_bits) if command.stochastic else RNE,
            exponent=command.scale,
            words=words[: command.columns] if words is not None and command.stochastic else None,
            saturate=command.saturate,
            squeeze=command.squeeze,
        )
        return ResultBeat(command=number, codes=rounded.codes)
