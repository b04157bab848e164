"""Straight lines between the entries of a table."""

from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Signal, Value

from quaver.golden.logarithms import INDEX_BITS


def interpolated(m: Module, table: tuple[int, ...], argument: Value) -> Value:
    """The line through `table` at `argument` * 2^-len(argument), rounded down: `quaver.golden.logarithms.interpolate`.

    The table holds the entry and the step to the next one; one multiplication and one addition follow.
    """
    argument = Cat(Const(0, max(0, INDEX_BITS - len(argument))), argument)
    low, index = argument[:-INDEX_BITS], argument[-INDEX_BITS:]
    steps = [following - entry for entry, following in pairwise(table)]
    entry = Signal(range(max(table) + 1))
    step = Signal(range(max(steps) + 1))
    with m.Switch(index):
        for number, choice in enumerate(zip(table[:-1], steps, strict=True)):
            with m.Case(number):
                m.d.comb += Cat(entry, step).eq(Cat(Const(choice[0], len(entry)), Const(choice[1], len(step))))
    return (entry + (step * low >> len(low)))[: len(entry)]
