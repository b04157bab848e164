"""The two shifts of a floating-point sum: aligning the smaller number, and normalising what comes out."""

from amaranth.hdl import Const, Module, Mux, Signal, Value


def shift_right(m: Module, value: Value, lost: Value, distance: Value) -> tuple[Value, Value]:
    """`value` >> `distance`, and whether a one was lost on the way."""
    width = len(value)
    steps = (width - 1).bit_length()
    far = distance[steps:].any()
    sticky = lost
    for step in reversed(range(steps)):
        amount = 1 << step
        sticky = sticky | (distance[step] & value[:amount].any())
        shifted = Signal(width, name=f"shifted_{amount}")
        m.d.comb += shifted.eq(Mux(distance[step], value >> amount, value))
        value = shifted
    return value & ~far.replicate(width), sticky | (far & value.any())


def normalise(m: Module, value: Value, steps: int, room: Value | None) -> tuple[Value, Value]:
    """Shift leading zeros out, 2^steps - 1 and `room` (unsigned) at most; returns the value and the count."""
    width = len(value)
    count = Signal(steps)
    free = Const(1, 1) if room is None else room[steps:].any()
    for step in reversed(range(steps)):
        amount = 1 << step
        go = Signal(name=f"go_{amount}")
        m.d.comb += count[step].eq(go)
        if room is None:
            m.d.comb += go.eq(~value[-amount:].any())
        else:
            # Room for a shift that is not needed is room for all the smaller ones.
            m.d.comb += go.eq(~value[-amount:].any() & (free | room[step]))
            free = free | (room[step] & ~go)
        shifted = Signal(width, name=f"normal_{amount}")
        m.d.comb += shifted.eq(Mux(go, value << amount, value))
        value = shifted
    return value, count
