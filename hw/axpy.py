"""One AXPY of a weight update: result = round(alpha * x + y), exact product, exact sum, one rounding."""

from amaranth.hdl import Const, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Accumulator
from quaver.golden.machine_checks import SrAdder
from quaver.hw.adder import Adder
from quaver.hw.decoder import unpack
from quaver.hw.design import place
from quaver.hw.lfsr import word_port
from quaver.hw.multiplier import Multiplier
from quaver.hw.pipeline import cut
from quaver.hw.unpacked import operand_shape, product_shape


class Axpy(wiring.Component):
    """result = round(alpha * x + y), all in the accumulator's format.

    Latency: `depth`.  Throughput: one per cycle.

    Parameters
    ----------
    accumulator:
        Format, rounding and overflow of the result.
    depth:
        Where the registers are (`CUTS`).
    sr_adder:
        As of `Adder`; the result is the same.

    Members
    -------
    alpha:
        The scalar, unpacked: the lanes of a unit share its decoder.
    x, y:
        Codes.
    word:
        Random word, for stochastic rounding only; comes with the operands.
    result:
        Code of the result.
    """

    def __init__(self, accumulator: Accumulator, depth: int, sr_adder: SrAdder = "lazy") -> None:
        self.accumulator, self.depth, self.sr_adder = accumulator, depth, sr_adder
        fmt = accumulator.format
        self.shape = operand_shape((fmt,))
        members = {"alpha": In(self.shape.layout), "x": In(fmt.bits), "y": In(fmt.bits), "result": Out(fmt.bits)}
        super().__init__(members | word_port(accumulator.rounding))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        stochastic = self.accumulator.rounding.stochastic
        multiplier = place(m, platform, "multiplier", Multiplier, self.shape, self.shape)
        product = product_shape(self.shape, self.shape)
        adder = place(m, platform, "adder", Adder, product, self.accumulator, self.depth, self.sr_adder)
        m.d.comb += [
            multiplier.a.eq(self.alpha),
            multiplier.b.eq(unpack(m, self.x, self.accumulator.format, self.shape)),
        ]
        word = self.word if stochastic else Const(0, 0)
        s = cut(m, self.depth, "product", product=multiplier.product, y=self.y, word=word)
        m.d.comb += [adder.addend.eq(s.product), adder.sum.eq(s.y), self.result.eq(adder.result)]
        if stochastic:
            m.d.comb += adder.word.eq(s.word)
        return m
