"""The leaping LFSR in hardware: one leap per item, an XOR network that the golden model's matrix defines."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Rounding
from quaver.golden.lfsr import WIDTH, LeapingLfsr


def word_port(rounding: Rounding) -> dict[str, wiring.Member]:
    """Member `word`, as wide as `rounding` needs it; none where it needs none."""
    return {"word": In(rounding.random_bits)} if rounding.stochastic else {}


RESEEDING = data.StructLayout({"valid": 1, "generator": 18, "state": WIDTH})
"""For one cycle: generator number `generator` starts anew from `state`."""


def addressed(reseeding: Value, number: int) -> Value:
    """Whether a re-seeding is for generator `number`."""
    return reseeding.valid & (reseeding.generator == number)


class WordGenerator(wiring.Component):
    """Random words of `random_bits` bits from a 32-bit Galois LFSR that leaps as far per word.

    Latency: the word of an item is there in the cycle after `step`, and stays until the next one.

    Parameters
    ----------
    random_bits:
        Width of a word.

    Members
    -------
    seed:
        Initial state; constant.
    reseed, state:
        The generator starts anew, from `state`; no item may be issued in this cycle.
    step:
        An item is issued.
    word:
        The word of the last item issued.
    """

    def __init__(self, random_bits: int) -> None:
        self.law = LeapingLfsr(random_bits)
        super().__init__(
            {"seed": In(WIDTH), "reseed": In(1), "state": In(WIDTH), "step": In(1), "word": Out(random_bits)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # The register holds the difference to the seed, so that plain reset seeds it and all generators are one module.
        difference = Signal(WIDTH)
        state = Signal(WIDTH)
        m.d.comb += [state.eq(difference ^ self.seed), self.word.eq(state[WIDTH - self.law.bits :])]
        columns = [int(column) for column in self.law.leap]
        leapt = Cat(
            Cat(state[source] for source, column in enumerate(columns) if column >> bit & 1).xor()
            for bit in range(WIDTH)
        )
        with m.If(self.reseed):
            m.d.sync += difference.eq(self.state ^ self.seed)
        with m.Elif(self.step):
            m.d.sync += difference.eq(leapt ^ self.seed)
        return m
