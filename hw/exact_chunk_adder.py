"""The outer adder of exact sums: joins a chunk's sum to the sum of chunks, with the one rounding of all."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Accumulator
from quaver.golden.exact_register import ExactRegister
from quaver.golden.machine_checks import SrAdder
from quaver.hw.adder import Adder
from quaver.hw.design import place
from quaver.hw.exact_adder import exact_layout
from quaver.hw.lfsr import word_port
from quaver.hw.pipeline import CUTS
from quaver.hw.shifters import normalise
from quaver.hw.unpacked import Unpacked


def exact_sum_shape(register: ExactRegister) -> Unpacked:
    """Shape of normalised exact sums: a leading one at the register's bit i has exponent i."""
    return Unpacked(significand_bits=register.width - 1, low=register.lsb, high=register.lsb + register.width - 2)


class ExactChunkAdder(wiring.Component):
    """result = round(sum + chunk) in the outer accumulator's format; the chunk's sum is normalised first.

    Latency: `Machine.outer_latency` from `sum` and `word`, `Machine.chunk_latency` more from `chunk`.  Throughput: one
    per cycle.

    Parameters
    ----------
    inner:
        Register of the chunk's sum.
    outer:
        Format, rounding and overflow of the sum of chunks.
    depth:
        `mac_depth`: where the registers are.
    sr_adder:
        `Machine.sr_adder`: how the adder is built.

    Members
    -------
    chunk:
        Code of the chunk's sum.
    sum:
        Code of the sum so far, `chunk_latency` cycles later.
    word:
        Random word, for stochastic rounding only; comes with `sum`.
    result:
        Code of the new sum.
    """

    def __init__(self, inner: ExactRegister, outer: Accumulator, depth: int, sr_adder: SrAdder = "lazy") -> None:
        self.inner, self.outer, self.depth, self.sr_adder = inner, outer, depth, sr_adder
        members = {"chunk": In(inner.bits), "sum": In(outer.format.bits), "result": Out(outer.format.bits)}
        super().__init__(members | word_port(outer.rounding))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = exact_sum_shape(self.inner)
        chunk = exact_layout(self.inner)(self.chunk)

        # Negate.
        negative, magnitude = chunk.number[-1], Signal(shape.significand_bits)
        number = Signal(shape.layout)
        m.d.comb += [
            magnitude.eq((chunk.number ^ negative.replicate(self.inner.width)) + negative),
            number.significand.eq(magnitude),
            number.sign.eq((negative & ~chunk.up) | chunk.down | chunk.identity),
            number.inf.eq(chunk.up | chunk.down),
            number.nan.eq(chunk.up & chunk.down),
        ]
        if "negate" in CUTS[self.depth]:
            number, negated = Signal.like(number), number
            m.d.sync += number.eq(negated)

        # Normalise.
        steps = (shape.significand_bits - 1).bit_length()
        significand, count = normalise(m, number.significand, steps, None)
        addend = Signal(shape.layout)
        m.d.sync += [
            addend.eq(number),
            addend.significand.eq(significand),
            addend.exponent.eq(shape.significand_bits - 1 - count),
        ]

        # Add and round.
        adder = place(m, platform, "adder", Adder, shape, self.outer, self.depth, self.sr_adder)
        m.d.comb += [adder.addend.eq(addend), adder.sum.eq(self.sum), self.result.eq(adder.result)]
        if self.outer.rounding.stochastic:
            m.d.comb += adder.word.eq(self.word)
        return m
