"""The closed-form time of a GEMM, on the array and on the whole accelerator: contracts that the RTL is tested against.

`gemm_cycles` is the array's, `accelerator_cycles` that of the machine behind its AXI4-Streams; sequences of commands of
any kind are `quaver.sim.sequence`'s, and what the cycles are spent on is `quaver.sim.array_time`'s.
"""

from quaver.golden import Machine
from quaver.golden.errors import check_range
from quaver.sim.array_time import (
    drain_cycles,
    fill_cycles,
    last_block,
    panel_time,
    saved_at_the_end,
    saved_at_the_start,
)

_MAX = 1 << 48


def gemm_cycles(machine: Machine, m: int, k: int, n: int) -> int:
    """Cycles of one M x K x N GEMM on the array: its first beat in to its last beat of sums out, both edges included.

    The array is idle before, and every stream is always ready: the accelerator's cycles without the way in and out.

    Raises
    ------
    ValueError
        If a dimension is below 1.
    """
    return accelerator_cycles(machine, m, k, n) - machine.input_latency - machine.output_latency


def accelerator_cycles(machine: Machine, m: int, k: int, n: int) -> int:
    """Cycles of one M x K x N GEMM on the accelerator: its first beat of operands in to its last beat of results out.

    By the commands of `quaver.golden.plan`, none of them `transposed`, queued before they are needed; the machine is
    idle before, and every stream is always ready.  The buffers of the operands and the output unit are passed once and
    then keep the array's pace: a tile's columns enter it while the next one's beats are written, never slower than they
    come, and an N tile of fewer columns comes sooner.  So the cycles are those of the commands, M blocks times N tiles,
    less what the first of them need not wait for and the last one would wait for a next one, and the ways in and out.
    Of an input-stationary machine they are those of the transposes.

    Rows of a transposed tile must all be there before its first column is, and take longer.

    Raises
    ------
    ValueError
        If a dimension is below 1.
    """
    for field, size in (("m", m), ("k", k), ("n", n)):
        check_range(field, size, 1, _MAX)
    if machine.dataflow == "is":
        m, n = n, m
    commands = -(-n // machine.columns) * panel_time(machine, m, k).total
    last = last_block(machine, m)
    ends = fill_cycles(machine) + drain_cycles(machine, last)
    return int(commands + ends - saved_at_the_end(machine, last) - saved_at_the_start(machine, k))


def utilization(machine: Machine, macs: int, cycles: int) -> float:
    """Useful multiply-accumulates per MAC and cycle, 0 to 1."""
    return macs / (cycles * machine.rows * machine.columns)
