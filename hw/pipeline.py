"""Where a MAC's registers go."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data

from quaver.golden.machine_checks import MAC_DEPTH_MAX

STEPS = ("product", "compare", "shift", "add", "negate", "normalise")
"""The places between the steps of a MAC, in order, at which a register may cut it; its output is always registered."""

CUTS: dict[int, frozenset[str]] = {
    1: frozenset(),
    2: frozenset({"product"}),
    3: frozenset({"product", "add"}),
    4: frozenset({"product", "shift", "negate"}),
    5: frozenset({"product", "shift", "negate", "normalise"}),
    6: frozenset({"product", "compare", "shift", "negate", "normalise"}),
    7: frozenset(STEPS),
}
"""The cuts of each depth.  From depth 2 on the product is cut off first: the sum enters behind it, so that a row adds
one cycle less to the column's latency."""

assert all(len(cuts) + 1 == depth for depth, cuts in CUTS.items()) and max(CUTS) == MAC_DEPTH_MAX


def cut(
    m: Module, depth: int, step: str, state: SimpleNamespace | None = None, **values: Value | data.View
) -> SimpleNamespace:
    """What is known after `step`: `state`, the knowledge before it, with the new `values`.

    All of it is registered if a MAC of `depth` has a cut there; registers that nobody reads are dropped from the
    Verilog.
    """
    known = {**(vars(state) if state else {}), **values}
    if step in CUTS[depth]:
        for name, value in known.items():
            if len(Value.cast(value)):  # the word of a rounding that needs none is empty
                known[name] = register = Signal(value.shape(), name=f"{name}_{step}")
                m.d.sync += register.eq(value)
    return SimpleNamespace(**known)


def delay(m: Module, value: Value | data.View, cycles: int, name: str) -> Value | data.View:
    """`value` delayed by `cycles` registers: one wide shift register, which stays one statement in Verilog."""
    if cycles == 0:
        return value
    plain = Value.cast(value)
    chain = Signal(len(plain) * cycles, name=name)
    m.d.sync += chain.eq(Cat(plain, chain))
    last = chain[-len(plain) :]
    return value.shape()(last) if isinstance(value, data.View) else last
