"""The way of an array's random generators to where a product needs them: nothing but beats and sums moves them."""

from collections.abc import Iterator
from typing import NamedTuple

from quaver.golden import Issued, Machine, issued_by


class Zeros(NamedTuple):
    """GEMMs of zeros."""

    shape: tuple[int, int, int]
    """M, K and N: one output tile."""
    times: int
    """How many of them."""


def between(machine: Machine, start: Issued, stop: Issued) -> list[Zeros]:
    """GEMMs that make the generators of `machine` step from `start` to `stop`.

    A unit is what a 1 x 1 x 1 GEMM issues.  There are as many of them as chunk sums, each as long as it takes to issue
    all beats.

    Raises
    ------
    ValueError
        If no GEMMs do.
    """
    unit = issued_by(machine, 1, 1, 1)
    sums = (stop.sums - start.sums) // unit.sums
    passes, longer = divmod((stop.beats - start.beats) // unit.beats, max(sums, 1))
    zeros = [*_units(machine, sums - longer, passes), *_units(machine, longer, passes + 1)]
    reached = start
    for shape, times in zeros:
        beats, more_sums = issued_by(machine, *shape)
        reached = Issued(reached.beats + times * beats, reached.sums + times * more_sums)
    if reached != stop:
        raise ValueError(f"issued must be what GEMMs on {machine.name} can issue after {list(start)}, not {list(stop)}")
    return zeros


def _units(machine: Machine, count: int, passes: int) -> Iterator[Zeros]:
    """`count` units of `passes` passes through the array, in tiles as large as they may be."""
    if passes < 1:
        return
    products = passes * machine.block_products
    high = 1 if machine.dataflow == "os" else machine.block_rows
    for size, times in ((high, count // high), (count % high, 1)):
        if size > 0 and times > 0:
            yield Zeros((1, products, size) if machine.dataflow == "is" else (size, products, 1), times)
