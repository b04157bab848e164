"""A row of an output-stationary array: its decoder, controls and random words at the head, then one PE per column."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Machine
from quaver.golden.lfsr import WIDTH
from quaver.hw.decoder import Decoder
from quaver.hw.design import place
from quaver.hw.os_pe import OutputStationaryElement, turn_control
from quaver.hw.pipeline import delay
from quaver.hw.row import deal_words
from quaver.hw.streams import choice, code_bits, has_choice
from quaver.hw.unpacked import operand_shape


def os_activation_lane(machine: Machine) -> data.StructLayout:
    """What a row is fed per cycle: an activation if `valid`, which begins (`fresh`) or completes (`close`) a chunk."""
    formats = machine.moving_formats
    return data.StructLayout({"code": code_bits(formats), **choice(formats), "valid": 1, "fresh": 1, "close": 1})


class OutputStationaryRow(wiring.Component):
    """One row of PEs; all rows of a machine are the same module.

    Latency: an activation reaches the PE of column j after 1 + j cycles.  Column j's PE rounds with the row's word
    rotated left by j mod r and XORed with the column's mask.

    Members
    -------
    a:
        `os_activation_lane` of this row, already skewed.
    insert:
        The sums of the last complete chunk go down the columns, for `interleave` cycles from slot 0's on.
    weights, weights_out:
        Operands of all columns, column 0 in the low bits, column j's j cycles later than column 0's; in from the row
        above and, one cycle later, out to the row below.
    seed, reseed, state:
        Of the row's generator, for stochastic rounding only.
    sums, results:
        Codes of all columns' completed sums, likewise.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        # Plain vectors: an array's elements would each be named again in every parent.
        sums = machine.inner_code.bits * machine.columns
        weights = operand_shape(machine.stationary_formats).layout.size * machine.columns
        members = {
            "a": In(os_activation_lane(machine)),
            "insert": In(1),
            "weights": In(weights),
            "weights_out": Out(weights),
            "sums": In(sums),
            "results": Out(sums),
        }
        if machine.inner_rounding.stochastic:
            members |= {"seed": In(WIDTH), "reseed": In(1), "state": In(WIDTH)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        machine = self.machine
        pes = [place(m, platform, f"pe_{j}", OutputStationaryElement, machine) for j in range(machine.columns)]

        # In an idle cycle the activation is -0 and the weight +0: their product is the identity of addition.
        decoder = place(m, platform, "decoder", Decoder, machine.moving_formats)
        m.d.comb += [decoder.code.eq(self.a.code), decoder.absent.eq(~self.a.valid)]
        if has_choice(self.a):
            m.d.comb += decoder.format.eq(self.a.format)
        activation, control = Signal.like(pes[0].a), Signal(turn_control())
        m.d.sync += activation.eq(decoder.operand)
        m.d.comb += [
            control.fresh.eq(delay(m, self.a.fresh, 1 + machine.product_latency, "fresh_delay")),
            control.close.eq(delay(m, self.a.close, 1 + machine.mac_depth, "close_delay")),
            control.insert.eq(delay(m, self.insert, 1 + machine.mac_depth, "insert_delay")),
        ]

        for j, pe in enumerate(pes):
            m.d.comb += [
                pe.a.eq(activation),
                pe.control.eq(control),
                pe.b.eq(self.weights.word_select(j, operand_shape(machine.stationary_formats).layout.size)),
                pe.sum.eq(self.sums.word_select(j, len(pe.sum))),
            ]
            activation, control = pe.a_out, pe.control_out
        m.d.comb += [
            self.weights_out.eq(Cat(pe.b_out for pe in pes)),
            self.results.eq(Cat(pe.result for pe in pes)),
        ]
        if machine.inner_rounding.stochastic:
            deal_words(m, platform, self, pes)
        return m
