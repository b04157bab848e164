"""How a matrix multiplication becomes commands."""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from quaver.golden.accelerator import beats
from quaver.golden.commands import Matmul
from quaver.golden.errors import check_range
from quaver.golden.machine import Machine


class Block(NamedTuple):
    """One command and the block of the product that it computes, as the ports see it."""

    command: Matmul
    rows: slice
    """Rows of the a operand."""
    columns: slice
    """Columns of the b operand."""


def plan(
    machine: Machine,
    m: int,
    k: int,
    n: int,
    *,
    transposed: bool = False,
    a_format: int = 0,
    b_format: int = 0,
    target: int = 0,
    scale: int = 0,
    stochastic: bool = False,
    saturate: bool = False,
    report: bool = False,
) -> Iterator[Block]:
    """Commands of an M x K x N multiplication in the order of the loop nest: for m_block, for n_tile.

    A block's beats of the a operand are kept for its next n_tile where the scratchpad can hold them.  On a machine
    whose dataflow is `is` the ports take the transposes: M, K, N are those of B^T A^T.

    Parameters
    ----------
    transposed, a_format, b_format, target, scale, stochastic, saturate:
        As in `Matmul`.
    report:
        Whether the last command reports the statistics of all.

    Raises
    ------
    ValueError
        If a dimension is below 1 or too large for a command.
    """
    for name, size in (("m", m), ("k", k), ("n", n)):
        check_range(name, size, 1, 1 << 40)
    tiles = -(-k // machine.block_products)
    for row in range(0, m, machine.block_rows):
        for column in range(0, n, machine.columns):
            rows = slice(row, min(row + machine.block_rows, m))
            columns = slice(column, min(column + machine.columns, n))
            command = Matmul(
                rows=rows.stop - rows.start,
                columns=columns.stop - columns.start,
                tiles=tiles,
                depth=k - (tiles - 1) * machine.block_products,
                transposed=transposed,
                a_format=a_format,
                b_format=b_format,
                target=target,
                scale=scale,
                stochastic=stochastic,
                saturate=saturate,
                report=report and rows.stop == m and columns.stop == n,
            )
            again = columns.stop < n and beats(machine, command) <= machine.scratchpad_depth
            yield Block(replace(command, keep=again), rows, columns)
