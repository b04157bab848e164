"""The seeding of all generators, one per cycle: MurmurHash3's finaliser as a pipeline."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quaver.golden.lfsr import GOLDEN_RATIO, WIDTH
from quaver.hw.lfsr import RESEEDING

_MASK = (1 << WIDTH) - 1
STAGES = 6
"""Cycles from a generator's number to its state."""


class Seeder(wiring.Component):
    """Deal each of a machine's generators the state that `quaver.golden.seed_of` says.

    Latency: `done` comes `STAGES` cycles after the last generator was dealt with, which takes one cycle each.

    Parameters
    ----------
    groups:
        First number and count of each group of generators.

    Members
    -------
    start, seed:
        Begin, with this seed, which stays until `done`.
    reseeding:
        A generator and its state.
    done:
        For one cycle, behind the last one.
    """

    def __init__(self, groups: tuple[tuple[int, int], ...]) -> None:
        self.groups = tuple(group for group in groups if group[1])
        super().__init__({"start": In(1), "seed": In(WIDTH), "reseeding": Out(RESEEDING), "done": Out(1)})

    @property
    def cycles(self) -> int:
        """Cycles from `start` to `done`."""
        return 1 + sum(count for _, count in self.groups) + STAGES

    def elaborate(self, platform: object) -> Module:
        m = Module()
        sizes = [count for _, count in self.groups] or [1]
        group, index = Signal(range(max(2, len(sizes)))), Signal(range(max(2, *sizes)))
        active = Signal()
        number, value = Signal(18), Signal(WIDTH)
        # Each group's first number, and the seed of that generator before it is hashed.
        starts = [(first, self.seed + (first * GOLDEN_RATIO & _MASK)) for first, _ in self.groups] or [(0, self.seed)]

        def begin(at: int) -> list[Value]:
            return [number.eq(starts[at][0]), value.eq(starts[at][1]), index.eq(0), group.eq(at)]

        # The generators' numbers times the golden ratio, by addition.
        with m.If(self.start):
            m.d.sync += [active.eq(bool(self.groups)), *begin(0)]
        with m.Elif(active):
            m.d.sync += [index.eq(index + 1), number.eq(number + 1), value.eq(value + GOLDEN_RATIO)]
            with m.Switch(group):
                for i, size in enumerate(sizes):
                    with m.Case(i), m.If(index == size - 1):
                        m.d.sync += begin(i + 1) if i + 1 < len(sizes) else [active.eq(0)]

        # Finalise: each product has a cycle of its own.
        first, second, third, fourth, last = (Signal(WIDTH, name=f"hash_{i}") for i in range(5))
        m.d.sync += [
            first.eq(value ^ (value >> 16)),
            second.eq(first * 0x85EBCA6B),
            third.eq(second ^ (second >> 13)),
            fourth.eq(third * 0xC2B2AE35),
            last.eq(fourth ^ (fourth >> 16)),
        ]
        numbers, valids = Signal(18 * 5), Signal(5 + 1)
        ended = Signal(STAGES)
        running = Signal()
        m.d.sync += [
            numbers.eq((numbers << 18) | number),
            valids.eq((valids << 1) | active),
            running.eq((running | self.start) & ~self.done),
            ended.eq(Mux(self.start | active | self.done, 0, (ended << 1) | 1)),
        ]
        m.d.comb += [
            self.reseeding.valid.eq(valids[4]),
            self.reseeding.generator.eq(numbers[18 * 4 :]),
            self.reseeding.state.eq(Mux(last.any(), last, 1)),
            self.done.eq(running & ended[-1]),
        ]
        return m
