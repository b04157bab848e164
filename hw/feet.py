"""The feet of an array's columns side by side: their controls, their seeds, and the beats that they make together."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, stream

from quaver.golden import Machine, seed_of
from quaver.golden.lfsr import OUTER_GENERATORS
from quaver.hw.column_foot import ColumnFoot
from quaver.hw.lfsr import addressed


def chain_feet(
    m: Module,
    machine: Machine,
    feet: list[ColumnFoot],
    foot: data.View,
    store: data.View,
    sums: stream.Interface,
    reseeding: data.View,
) -> Value:
    """Send column 0's controls along the feet, one register per column, and the outer sums out as beats of `sums`.

    Parameters
    ----------
    foot, store:
        `foot_control` and `store_control`, in the cycles in which column 0 needs them.

    Returns
    -------
    Whether a beat leaves the output buffer in this cycle.
    """
    # A beat is complete when the last column has stored it.
    stored, popped = Signal(), Signal()
    level, slot = Signal(range(machine.output_depth + 1)), Signal(range(machine.output_depth))
    m.d.comb += popped.eq(level.any() & (~sums.valid | sums.ready))
    m.d.sync += [level.eq(level + stored - popped), slot.eq(slot + popped)]
    with m.If(~sums.valid | sums.ready):
        m.d.sync += sums.valid.eq(popped)

    m.d.comb += sums.payload.eq(Cat(column.result for column in feet))
    for j, column in enumerate(feet):
        m.d.comb += [
            column.foot.eq(foot),
            column.store.eq(store),
            column.read.eq(popped),
            column.slot.eq(slot),
        ]
        foot, last_store, store = column.foot_out, store, column.store_out
        if machine.outer.rounding.stochastic:
            m.d.comb += column.state.eq(reseeding.state)
            for g in range(machine.segments):
                number = OUTER_GENERATORS + j * machine.segments + g
                m.d.comb += [
                    column.seeds[g].eq(seed_of(machine.seed, number)),
                    column.reseed[g].eq(addressed(reseeding, number)),
                ]
    m.d.comb += stored.eq(last_store.valid & last_store.last)
    return popped
