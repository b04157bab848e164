"""The processing element: one MAC with its active and its shadow weight."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Machine
from quaver.hw.design import place
from quaver.hw.lfsr import word_port
from quaver.hw.mac import Mac
from quaver.hw.unpacked import Unpacked, operand_shape


def weight_layout(shape: Unpacked) -> data.StructLayout:
    """A weight on its way along a row."""
    return data.StructLayout({"operand": shape.layout, "valid": 1})


class ProcessingElement(wiring.Component):
    """Multiply the activation that passes by the weight that stays, and add the product to the sum that falls through.

    A tile's weights come along the row as a burst: each PE keeps the first one that reaches it as its shadow weight and
    forwards the rest, one register per PE.  `swap` runs ahead of a tile's first activation by one cycle; it makes the
    shadow the active weight, and the PE takes part in the next burst.

    Latency: 1 cycle along the row; `Machine.adder_latency` from `sum` to `result`.

    Members
    -------
    a, a_out:
        Activation, and the same one cycle later for the next column.
    swap, swap_out:
        Start of a tile.
    w, w_out:
        Burst of weights.
    word:
        Random word of the activation, for stochastic rounding only.
    sum, result:
        Code of the inner sum, from the row above and to the row below.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        activation = operand_shape(machine.a_formats).layout
        weight = weight_layout(operand_shape(machine.b_formats))
        members = {
            "a": In(activation),
            "a_out": Out(activation),
            "swap": In(1),
            "swap_out": Out(1),
            "w": In(weight),
            "w_out": Out(weight),
            "sum": In(machine.inner_code.bits),
            "result": Out(machine.inner_code.bits),
        }
        super().__init__(members | word_port(machine.inner_rounding))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        mac = place(m, platform, "mac", Mac, self.machine)
        active = Signal(operand_shape(self.machine.b_formats).layout)
        shadow = Signal.like(active)
        taken = Signal()
        take = self.w.valid & (~taken | self.swap)

        m.d.sync += [
            self.a_out.eq(self.a),
            self.swap_out.eq(self.swap),
            self.w_out.operand.eq(self.w.operand),
            self.w_out.valid.eq(self.w.valid & ~take),
            taken.eq(take | (taken & ~self.swap)),
        ]
        with m.If(take):
            m.d.sync += shadow.eq(self.w.operand)
        with m.If(self.swap):
            m.d.sync += active.eq(shadow)

        m.d.comb += [mac.a.eq(self.a), mac.b.eq(active), mac.sum.eq(self.sum), self.result.eq(mac.result)]
        if self.machine.inner_rounding.stochastic:
            m.d.comb += mac.word.eq(self.word)
        return m
