"""The processing element of an output-stationary array: one MAC with the sums that it turns, and those that leave."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Machine
from quaver.hw.design import place
from quaver.hw.lfsr import word_port
from quaver.hw.mac import Mac
from quaver.hw.pipeline import delay
from quaver.hw.unpacked import operand_shape


def turn_control() -> data.StructLayout:
    """What becomes of the sums in this cycle.

    `fresh`: the sum that is added to is -0, whatever the ring holds.  `close`: the result completes a chunk.
    `insert`: the completed sum of this slot goes down the column.
    """
    return data.StructLayout({"fresh": 1, "close": 1, "insert": 1})


class OutputStationaryElement(wiring.Component):
    """Multiply the activation by the weight that passes, and add the product to the sum whose turn it is.

    The MAC and the registers behind it are a ring of `Machine.interleave` sums, each of which comes round to be added
    to once per turn; a product of -0 leaves it as it is.  A second ring, in step with the first, keeps the sums of the
    last complete chunk for as long as they have to wait for their way down the column.

    Latency: 1 cycle along the row and down the column.  `control.fresh` comes `Machine.product_latency`,
    `control.close` and `control.insert` come `Machine.mac_depth` cycles later than the operands they belong to.

    Members
    -------
    a, a_out:
        Activation, and the same one cycle later for the next column.
    b, b_out:
        Weight, and the same one cycle later for the next row.
    control, control_out:
        `turn_control`, and the same one cycle later for the next column.
    word:
        Random word of the activation, for stochastic rounding only.
    sum, result:
        Code of a completed inner sum on its way down the column.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        activation = operand_shape(machine.moving_formats).layout
        weight = operand_shape(machine.stationary_formats).layout
        members = {
            "a": In(activation),
            "a_out": Out(activation),
            "b": In(weight),
            "b_out": Out(weight),
            "control": In(turn_control()),
            "control_out": Out(turn_control()),
            "sum": In(machine.inner_code.bits),
            "result": Out(machine.inner_code.bits),
        }
        super().__init__(members | word_port(machine.inner_rounding))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        machine, code = self.machine, self.machine.inner_code
        mac = place(m, platform, "mac", Mac, machine)
        m.d.sync += [self.a_out.eq(self.a), self.b_out.eq(self.b), self.control_out.eq(self.control)]

        turned = delay(m, mac.result, machine.interleave - machine.adder_latency, "ring")
        m.d.comb += [
            mac.a.eq(self.a),
            mac.b.eq(self.b),
            mac.sum.eq(Mux(self.control.fresh, code.identity_code, turned)),
        ]
        if machine.inner_rounding.stochastic:
            m.d.comb += mac.word.eq(self.word)

        completed, kept = Signal(code.bits), Signal(code.bits)
        m.d.comb += [
            completed.eq(Mux(self.control.close, mac.result, kept)),
            kept.eq(delay(m, completed, machine.interleave, "completed_ring")),
        ]
        m.d.sync += self.result.eq(Mux(self.control.insert, kept, self.sum))
        return m
