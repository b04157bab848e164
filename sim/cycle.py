"""The accelerator stepped cycle by cycle, with the values that travel through its registers.

The second of three ways to the same number: `quaver.sim.timing` and `quaver.sim.sequence` have cycles in closed form,
the RTL is the machine.  Here every register that can hold a value holds it, so that a wrong latency is a wrong bit; the
arithmetic is golden's, the latencies are those of `Machine`.  Unlike the closed form it knows streams that hesitate.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden import Machine, Matmul
from quaver.sim.cycle_array import WeightStationaryArray
from quaver.sim.cycle_beats import Beat, Reading, a_beats, b_beats, readings
from quaver.sim.cycle_feet import OutputUnit, ResultBeat
from quaver.sim.cycle_macs import Waits
from quaver.sim.cycle_operands import Port, RowQueue, Scratchpad, TileBuffer
from quaver.sim.cycle_os_array import OutputStationaryArray
from quaver.sim.cycle_sums import sums_of

LIMIT = 1_000_000
"""Cycles after which a sequence that does not end is given up."""


def always(cycle: int) -> bool:
    """A stream that is always ready."""
    return True


@dataclass(frozen=True, kw_only=True)
class Streams:
    """How the streams behave, cycle by cycle; a beat that is on offer stays until it is taken."""

    a: Callable[[int], bool] = always
    """Whether the next beat of the a operand is on offer."""
    b: Callable[[int], bool] = always
    """The same of the b operand."""
    results: Callable[[int], bool] = always
    """Whether a beat of results is taken."""


class Stepped(NamedTuple):
    """What a sequence of commands made of the machine."""

    results: list[NDArray | None]
    """Of each command, codes of its target, shape (rows, columns); None where it has none."""
    a_beats: list[int]
    """Cycles in which beats of the a operand were accepted."""
    b_beats: list[int]
    """Cycles in which beats of the b operand were accepted."""
    entered: list[int]
    """Cycles in which beats of the a operand entered the array."""
    result_beats: list[int]
    """Cycles in which beats of results left."""
    cycles: int
    """From the first beat of operands to the last beat of results, both included; 0 without results."""
    waits: Waits
    """Cycles in which the array waited, by cause."""
    macs: int
    """Multiply-accumulates, without padding."""


def step_sequence(
    machine: Machine,
    work: Iterable[tuple[Matmul, ArrayLike | None, ArrayLike | None]],
    streams: Streams = Streams(),
    *,
    limit: int = LIMIT,
) -> Stepped:
    """Step a machine, from reset, through commands that are all queued before the first cycle.

    One command a cycle leaves the queue, whether or not it has anything to do.

    Parameters
    ----------
    work:
        Commands with their operands, as `quaver.golden.Accelerator.run` takes them, none that it refuses.
    streams:
        How the streams behave.
    limit:
        Cycles after which to give up.

    Raises
    ------
    ValueError
        If operands do not fit their commands, or if there is no end within `limit`.
    """
    stepper = _Stepper(machine.exchanged if machine.dataflow == "is" else machine, list(work), streams)
    for cycle in range(limit):
        stepper.step(cycle)
        if stepper.finished:
            return stepper.outcome()
    raise ValueError(f"the sequence must end within {limit} cycles")


class _Stepper:
    """The parts of the machine and how they are connected.

    In each cycle the parts are stepped from the results back to the operands: each reads what the one before it shows,
    a register, before that one moves on.
    """

    def __init__(
        self, machine: Machine, work: list[tuple[Matmul, ArrayLike | None, ArrayLike | None]], streams: Streams
    ) -> None:
        self._commands = [command for command, _, _ in work]
        self._streams = streams
        a_stream: list[Beat] = []
        b_stream: list[Beat] = []
        orders: list[Reading] = []
        kept = False
        for since, (command, a, b) in enumerate(work):  # the queue's head gives its orders, a command per cycle
            if command.empty:
                continue
            if not kept:
                a_stream.extend(a_beats(machine, command, a, since))
            b_stream.extend(b_beats(machine, command, b, since))
            orders.extend(readings(machine, command, since))
            kept = command.keep
        self._a, self._b = Port(machine, a_stream, streams.a), Port(machine, b_stream, streams.b)
        self._scratchpad, self._output = Scratchpad(machine, orders), OutputUnit(machine, self._commands)
        self._weights: RowQueue | TileBuffer
        self._array: OutputStationaryArray | WeightStationaryArray
        if machine.dataflow == "os":
            self._weights, self._array = RowQueue(machine), OutputStationaryArray(machine, sums_of(machine))
        else:
            self._weights, self._array = TileBuffer(machine), WeightStationaryArray(machine, sums_of(machine))
        self._missing = sum(command.rows for command in self._commands if command.last and not command.empty)
        self._left: list[ResultBeat] = []
        self._result_beats: list[int] = []
        self._entered: list[int] = []
        self._macs = 0

    @property
    def finished(self) -> bool:
        """Whether all operands have entered the array and all results have left."""
        return self._scratchpad.finished and len(self._left) == self._missing

    def step(self, cycle: int) -> None:
        """One cycle."""
        array, ready = self._array, self._streams.results(cycle)
        if ready and self._output.shown is not None:
            self._left.append(self._output.shown)
            self._result_beats.append(cycle)
        popped = array.feet.pop(self._output.step(array.feet.shown, ready))

        array.waits.a += self._scratchpad.starved(cycle)
        accepted, taken = array.step(cycle, self._scratchpad.shown, self._weights.shown, popped)
        if accepted is not None:
            self._entered.append(cycle)
            self._macs += accepted.depth * accepted.command.columns

        self._weights.step(self._b.step(cycle, self._weights.ready), taken)
        self._scratchpad.step(cycle, self._a.step(cycle, self._scratchpad.ready), accepted is not None)

    def outcome(self) -> Stepped:
        """What there is to tell at the end."""
        first = min([*self._a.accepted[:1], *self._b.accepted[:1]], default=0)
        return Stepped(
            results=[self._result(number) for number in range(len(self._commands))],
            a_beats=self._a.accepted,
            b_beats=self._b.accepted,
            entered=self._entered,
            result_beats=self._result_beats,
            cycles=self._result_beats[-1] - first + 1 if self._result_beats else 0,
            waits=self._array.waits,
            macs=self._macs,
        )

    def _result(self, number: int) -> NDArray | None:
        rows = [beat.codes for beat in self._left if beat.command == number]
        return np.stack(rows) if rows else None
