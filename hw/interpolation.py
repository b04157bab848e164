"""A table and the straight lines between its entries, as in `quaver.golden.logarithms`."""

from itertools import pairwise

from amaranth.hdl import Module, Signal, Value

from quaver.golden.logarithms import INDEX_BITS


def interpolate(m: Module, table: tuple[int, ...], argument: Value) -> Value:
    """The line through `table` at `argument`, a fraction, rounded down; it stays below the last entry."""
    known = min(len(argument), INDEX_BITS)
    starts = table[:: 1 << INDEX_BITS - known]  # a short argument meets no other entries
    index, low = argument[len(argument) - known :], argument[: len(argument) - known]

    # Look up: where the segment starts, and how far it rises.
    rises = [above - start for start, above in pairwise(starts)]
    start, rise = Signal(range(max(table))), Signal(range(max(rises) + 1))
    with m.Switch(index):
        for entry, (value, step) in enumerate(zip(starts, rises, strict=False)):
            with m.Case(entry):
                m.d.comb += [start.eq(value), rise.eq(step)]

    if not len(low):
        return start
    line = Signal.like(start)
    m.d.comb += line.eq(start + (rise * low >> len(low)))
    return line
