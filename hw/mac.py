"""The multiply-accumulate unit: exact product, then one addition, fused with its rounding where there is one."""

from amaranth.hdl import Const, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Machine
from quaver.hw.adder import Adder
from quaver.hw.design import place
from quaver.hw.exact_adder import ExactAdder
from quaver.hw.lfsr import word_port
from quaver.hw.multiplier import Multiplier
from quaver.hw.pipeline import cut
from quaver.hw.unpacked import operand_shape, product_shape


class Mac(wiring.Component):
    """result = round(sum + a * b) in the inner accumulator's format, or sum + a * b where inner sums are exact.

    Latency: `Machine.mac_depth` from operands and word, `Machine.adder_latency` from `sum`, which enters behind the
    product's register, or, if it is exact, the aligned product's.  Throughput: one per cycle.

    Parameters
    ----------
    machine:
        Operand formats, inner accumulator and depth are read.

    Members
    -------
    a, b:
        Unpacked operands.
    word:
        Random word, for stochastic rounding only; comes with the operands.
    sum:
        Code of the sum so far, `product_latency` cycles after the operands.
    result:
        Code of the new sum.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.a_shape, self.b_shape = operand_shape(machine.a_formats), operand_shape(machine.b_formats)
        members = {
            "a": In(self.a_shape.layout),
            "b": In(self.b_shape.layout),
            "sum": In(machine.inner_code.bits),
            "result": Out(machine.inner_code.bits),
        }
        super().__init__(members | word_port(machine.inner_rounding))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        machine, stochastic = self.machine, self.machine.inner_rounding.stochastic
        multiplier = place(m, platform, "multiplier", Multiplier, self.a_shape, self.b_shape)
        product = product_shape(self.a_shape, self.b_shape)
        depth, register = machine.mac_depth, machine.exact_register
        if register is None:
            adder = place(m, platform, "adder", Adder, product, machine.inner, depth, machine.sr_adder)
        else:
            adder = place(m, platform, "adder", ExactAdder, product, register, depth)
        word = self.word if stochastic else Const(0, 0)
        s = cut(m, depth, "product", product=multiplier.product, word=word)
        m.d.comb += [
            multiplier.a.eq(self.a),
            multiplier.b.eq(self.b),
            adder.addend.eq(s.product),
            adder.sum.eq(self.sum),
            self.result.eq(adder.result),
        ]
        if stochastic:
            m.d.comb += adder.word.eq(s.word)
        return m
