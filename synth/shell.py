"""The shell in which multiply-accumulate units are compared."""

from dataclasses import replace

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Machine
from quaver.hw.design import place
from quaver.hw.lfsr import word_port
from quaver.hw.mac import Mac
from quaver.hw.unpacked import operand_shape


class MacShell(wiring.Component):
    """A MAC between registered operands and one accumulator register that is fed back: the output-stationary loop.

    The operands are unpacked, as they are inside the array, where a decoder serves a whole row.  All is combinational
    between the registers, whatever the machine's `mac_depth`.

    Members
    -------
    a, b:
        Unpacked operands.
    clear:
        The product starts a new sum.
    word:
        Random word, for stochastic rounding only; its generator serves a row and is not part of the shell.
    sum:
        The accumulator.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = replace(machine, mac_depth=1)
        members = {
            "a": In(operand_shape(machine.a_formats).layout),
            "b": In(operand_shape(machine.b_formats).layout),
            "clear": In(1),
            "sum": Out(machine.inner_code.bits),
        }
        super().__init__(members | word_port(machine.inner_rounding))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        mac = place(m, platform, "mac", Mac, self.machine)
        a, b, clear = Signal.like(self.a), Signal.like(self.b), Signal()
        m.d.sync += [a.eq(self.a), b.eq(self.b), clear.eq(self.clear)]
        m.d.comb += [
            mac.a.eq(a),
            mac.b.eq(b),
            mac.sum.eq(mac.result & ~clear.replicate(len(mac.result))),
            self.sum.eq(mac.result),
        ]
        if self.machine.inner_rounding.stochastic:
            word = Signal.like(self.word)
            m.d.sync += word.eq(self.word)
            m.d.comb += mac.word.eq(word)
        return m
