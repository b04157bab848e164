"""The time of a sequence of commands on the whole accelerator, tile by tile: a contract that the RTL is held to.

It holds where every stream is always ready, the commands are queued before they are needed, no more of them than the
queue is deep, and the host takes the reports of statistics as they come.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import dropwhile

from quaver.golden import Machine
from quaver.golden.commands import Matmul, Update


def sequence_cycles(machine: Machine, commands: Iterable[Matmul]) -> int:
    """Cycles from the edge that accepts the first beat of operands to that of the last beat of results, both included.

    0 for commands without results.
    """
    run = _OutputStationary(machine) if machine.dataflow == "os" else _WeightStationary(machine)
    working = dropwhile(lambda command: command.empty, commands)
    for asked, command in enumerate(working):  # one command a cycle leaves the queue, empty or not
        if not command.empty:
            run.execute(command, asked)
    return run.last_result + 1


@dataclass
class _WeightStationary:
    """When the last thing of each kind happened, in cycles from the first beat."""

    machine: Machine
    last_result: int = -1
    """A beat of results left."""
    beat: int = -1
    """A beat of the b operand was written into the tile buffer."""
    column: int = -1
    """A column was loaded into the array."""
    started: int | None = None
    """A tile's first beat of the a operand entered the array."""
    rows: int = 0
    """Beats of that tile."""
    tile: int = 0
    """Tiles so far."""

    def __post_init__(self) -> None:
        self.free = [0, 0]  # when each bank of the tile buffer can be written

    def execute(self, command: Matmul, asked: int) -> None:
        """One command, whose operands are asked for from cycle `asked` on, tile after tile."""
        machine = self.machine
        self.beat = max(self.beat, asked + machine.decode_latency - 1)
        for index in range(command.tiles):
            used = command.depth if index == command.tiles - 1 else machine.rows
            loaded = self._load(command.transposed, used if command.transposed else command.columns)
            start = loaded + 1
            if self.started is not None:
                start = max(start, self.started + self.rows)
                if index or not command.first:
                    start = max(start, self.started + machine.round_trip)
            self.started, self.rows = start, command.rows
        if command.last and self.started is not None:
            self.last_result = self.started + command.rows - 1 + machine.latency + machine.output_latency

    def _load(self, transposed: bool, beats: int) -> int:
        """Cycle in which the last column of the next tile enters the array."""
        machine, bank = self.machine, self.tile % 2
        first = max(self.beat + 1, self.free[bank])
        self.beat = first + beats - 1
        # Columns follow on the heels of their beats; rows must all be there.
        ready = (self.beat if transposed else first) + machine.input_latency - machine.decode_latency
        entered = max(ready, self.column + 1, self.started or 0)
        read = max(ready - 1, self.column) if machine.columns == 1 else entered + machine.columns - 2
        self.column = entered + machine.columns - 1
        self.free[bank] = read + 1
        self.tile += 1
        return self.column


@dataclass
class _OutputStationary:
    """When the last thing of each kind happened, in cycles from the first beat."""

    machine: Machine
    last_result: int = -1
    """A beat of results left."""
    step: int | None = None
    """The last k step began."""
    closed: int | None = None
    """The last k step that completed a chunk began."""
    products: int = 0
    """Products in the open chunk."""

    def execute(self, command: Matmul, asked: int) -> None:
        """One command, whose operands are asked for from cycle `asked` on, k step after k step."""
        machine = self.machine
        turn = machine.interleave
        for index in range(command.tiles):
            first = command.first and index == 0
            last = command.last and index == command.tiles - 1
            self.products = 1 if first else self.products + 1
            start = asked + machine.input_latency
            if self.step is not None:
                start = max(start, self.step + turn)
            if last or self.products == machine.chunk:
                if self.closed is not None:
                    start = max(start, self.closed + turn * machine.drain_steps)
                self.closed, self.products = start, 0
            self.step = start
        if command.last and self.step is not None:
            first_result = self.step + turn - 1 + machine.latency
            self.last_result = first_result + command.rows - 1 + machine.output_latency


def update_cycles(machine: Machine, command: Update) -> int:
    """Cycles of one weight update, from its first beat of elements to its last beat of results, both included."""
    return command.beats + machine.update_latency if command.beats else 0
