"""Where the cycles of the array go, in closed form, when every stream is always ready.

Commands that follow each other without a pause: each multiplies a block of rows by a tile of columns over all of K.
`quaver.sim.timing` states the sum for one GEMM, `quaver.sim.sequence` tells it command by command, the RTL is the
machine.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quaver.golden import Machine

Counts = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class CommandTime:
    """Cycles of commands between others, by what the array does: arrays of one shape, an element per command."""

    beats: Counts
    """It takes a beat of the operand that streams."""
    weights: Counts
    """It waits for a tile of the operand that stays, as in the RTL's counter `wait_b`."""
    sums: Counts
    """It waits for sums to come back or to get out, as in the RTL's counter `wait_sums`."""

    @property
    def total(self) -> Counts:
        """All of them."""
        return self.beats + self.weights + self.sums

    def __add__(self, other: "CommandTime") -> "CommandTime":
        return CommandTime(
            beats=self.beats + other.beats, weights=self.weights + other.weights, sums=self.sums + other.sums
        )

    def times(self, count: Counts) -> "CommandTime":
        """As many of each."""
        return CommandTime(beats=self.beats * count, weights=self.weights * count, sums=self.sums * count)


def command_time(machine: Machine, rows: Counts, k: int) -> CommandTime:
    """Cycles of commands of `rows` rows, 0 for none and at most `machine.block_rows`, and K products per sum.

    Weight-stationary: with B rows, L = `machine.load_cycles`, R = `machine.round_trip`, each of the K tiles takes B
    beats, and the next one's weights max(0, L - B) more; all but the first wait max(0, R - max(B, L)) for the sums.

    Output-stationary: a command takes K steps of `machine.interleave` beats, however many rows it has; a chunk shorter
    than D = `machine.drain_steps` steps waits for the rest of them.
    """
    some = (rows > 0).astype(np.int64)
    if machine.dataflow == "os":
        short = max(0, machine.drain_steps - machine.chunk) * (-(-k // machine.chunk) - 1)
        short += max(0, machine.drain_steps - _last_chunk(machine, k))
        turns = some * machine.interleave
        return CommandTime(beats=turns * k, weights=0 * some, sums=turns * short)
    k_tiles, load = -(-k // machine.rows), machine.load_cycles
    return CommandTime(
        beats=k_tiles * rows,
        weights=some * k_tiles * np.maximum(0, load - rows),
        sums=some * (k_tiles - 1) * np.maximum(0, machine.round_trip - np.maximum(rows, load)),
    )


def panel_time(machine: Machine, rows: Counts, k: int) -> CommandTime:
    """Cycles of panels of `rows` rows on one tile of columns: as many full blocks as fit, then the rest."""
    blocks, rest = rows // machine.block_rows, rows % machine.block_rows
    full = command_time(machine, np.full_like(rows, machine.block_rows), k).times(blocks)
    return full + command_time(machine, rest, k)


def last_block(machine: Machine, rows: int) -> int:
    """Rows of the last block of a panel of `rows` rows."""
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


def _last_chunk(machine: Machine, k: int) -> int:
    return (k - 1) % machine.chunk + 1
