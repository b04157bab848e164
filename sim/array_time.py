"""Where the cycles of the array go, in closed form, when every stream is always ready.

Commands that follow each other without a pause: each multiplies a block of rows by a tile of columns over all of K.
`quaver.sim.timing` adds them up for one GEMM, `quaver.sim.sequence` tells the time command by command, the RTL is the
machine.  Everything here takes numbers as well as arrays of them.
"""

from dataclasses import dataclass
from typing import Any

from quaver.golden import Machine

Count = Any
"""An int, or an array of integers."""


@dataclass(frozen=True, kw_only=True)
class CommandTime:
    """Cycles of a command between others, by what the array does."""

    beats: Count
    """It takes a beat of the operand that streams."""
    weights: Count
    """It waits for a tile of the operand that stays, as in the RTL's counter `wait_b`."""
    sums: Count
    """It waits for sums to come back or to get out, as in the RTL's counter `wait_sums`."""

    @property
    def total(self) -> Count:
        """All of them."""
        return self.beats + self.weights + self.sums

    def __add__(self, other: "CommandTime") -> "CommandTime":
        return CommandTime(
            beats=self.beats + other.beats, weights=self.weights + other.weights, sums=self.sums + other.sums
        )

    def times(self, count: Count) -> "CommandTime":
        """As many of each."""
        return CommandTime(beats=self.beats * count, weights=self.weights * count, sums=self.sums * count)


def command_time(machine: Machine, rows: Count, k: int) -> CommandTime:
    """Cycles of commands of `rows` rows, 0 for none and at most `machine.block_rows`, and K products per sum.

    Weight-stationary.  Let L = `machine.load_cycles`, R = `machine.round_trip`, and let the command's K tiles stream B
    beats each.  The next tile's weights are loaded while this one computes, so a tile takes B beats and the weights
    max(0, L - B) more cycles; and a sum must be back from the bottom of the array before its next K tile adds to it, so
    all tiles but the first wait max(0, R - max(B, L)) more: a step is max(B, L, R) cycles from K tile to K tile, and
    max(B, L) to the next command.

    Output-stationary.  A command takes K steps of I = `machine.interleave` beats, however many rows it has.  Let
    D = `machine.drain_steps`: so many steps must lie between the ends of two chunks, the rest of which the array waits
    before the second one's last step.  A command has chunks of L = `machine.chunk` products and a last one of l, hence
    takes, from the end of the one before to its own end, (chunks - 1) * max(L, D) + max(l, D) steps.
    """
    some = rows > 0
    if machine.dataflow == "os":
        chunks = -(-k // machine.chunk)
        short = (chunks - 1) * max(0, machine.drain_steps - machine.chunk)
        short += max(0, machine.drain_steps - (k - (chunks - 1) * machine.chunk))
        turns = some * machine.interleave
        return CommandTime(beats=turns * k, weights=turns * 0, sums=turns * short)
    k_tiles, load = -(-k // machine.rows), machine.load_cycles
    late = _above(load, rows)
    return CommandTime(
        beats=k_tiles * rows,
        weights=some * k_tiles * late,
        sums=some * (k_tiles - 1) * _above(machine.round_trip, rows + late),
    )


def panel_time(machine: Machine, rows: Count, k: int) -> CommandTime:
    """Cycles of `rows` rows on one tile of columns: as many full blocks as fit, then the rest."""
    blocks, rest = rows // machine.block_rows, rows % machine.block_rows
    return command_time(machine, machine.block_rows, k).times(blocks) + command_time(machine, rest, k)


def last_block(machine: Machine, rows: int) -> int:
    """Rows of the last block of `rows` rows."""
    return (rows - 1) % machine.block_rows + 1


def saved_at_the_end(machine: Machine, rows: int) -> int:
    """Cycles of the last command, of `rows` rows, in which it would wait for the weights of a next one."""
    return 0 if machine.dataflow == "os" else max(0, machine.load_cycles - rows)


def saved_at_the_start(machine: Machine, k: int) -> int:
    """Cycles of the first command in which it would wait for sums of one before."""
    if machine.dataflow != "os":
        return 0
    return machine.interleave * max(0, machine.drain_steps - min(k, machine.chunk))


def fill_cycles(machine: Machine) -> int:
    """Cycles before the first beat enters the array: the way through the operands' buffers and the first weights."""
    return machine.input_latency + machine.load_cycles


def drain_cycles(machine: Machine, rows: int) -> int:
    """Cycles after the last beat of a last command of `rows` rows, until its last result has left."""
    left = rows - 1 if machine.dataflow == "os" else 0
    return machine.latency + left + machine.output_latency


def _above(count: Count, limit: Count) -> Count:
    """By how much `count` is above `limit`, 0 if it is not."""
    return (count - limit) * (count > limit)
