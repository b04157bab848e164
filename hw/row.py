"""A row of the array: its decoders and its random words at the head, then one PE per column."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Machine
from quaver.golden.lfsr import WIDTH, rotated
from quaver.hw.decoder import Decoder
from quaver.hw.design import place
from quaver.hw.lfsr import WordGenerator
from quaver.hw.pe import ProcessingElement
from quaver.hw.streams import choice, code_bits, has_choice


def activation_lane(machine: Machine) -> data.StructLayout:
    """What a row is fed per cycle with activations."""
    return data.StructLayout(
        {"code": code_bits(machine.a_formats), **choice(machine.a_formats), "valid": 1, "start": 1}
    )


def weight_lane(machine: Machine) -> data.StructLayout:
    """What a row is fed per cycle with weights."""
    return data.StructLayout(
        {"code": code_bits(machine.b_formats), **choice(machine.b_formats), "absent": 1, "valid": 1}
    )


class Row(wiring.Component):
    """One row of PEs; all rows of a machine are the same module.

    Latency: an activation reaches the PE of column j after 1 + j cycles, a weight likewise.  Column j's PE rounds with
    the row's word rotated left by j mod r and XORed with the column's mask.

    Members
    -------
    a, w:
        Codes for this row, already skewed.
    seed, reseed, state:
        Of the row's generator, for stochastic rounding only.
    sums, results:
        Codes of all columns' inner sums, column 0 in the low bits, in from the row above and out to the row below.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        # Plain vectors: an array's elements would each be named again in every parent.
        sums = machine.inner_code.bits * machine.columns
        members = {
            "a": In(activation_lane(machine)),
            "w": In(weight_lane(machine)),
            "sums": In(sums),
            "results": Out(sums),
        }
        if machine.inner_rounding.stochastic:
            members |= {"seed": In(WIDTH), "reseed": In(1), "state": In(WIDTH)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        machine = self.machine
        pes = [place(m, platform, f"pe_{j}", ProcessingElement, machine) for j in range(machine.columns)]

        a_decoder = place(m, platform, "a_decoder", Decoder, machine.a_formats)
        w_decoder = place(m, platform, "w_decoder", Decoder, machine.b_formats)
        m.d.comb += [
            a_decoder.code.eq(self.a.code),
            w_decoder.code.eq(self.w.code),
            w_decoder.absent.eq(self.w.absent),
        ]
        for decoder, lane in ((a_decoder, self.a), (w_decoder, self.w)):
            if has_choice(lane):
                m.d.comb += decoder.format.eq(lane.format)
        activation, weight = Signal.like(pes[0].a), Signal.like(pes[0].w)
        with m.If(self.a.valid):  # an idle row does not toggle
            m.d.sync += activation.eq(a_decoder.operand)
        m.d.sync += [weight.operand.eq(w_decoder.operand), weight.valid.eq(self.w.valid)]

        swap = self.a.valid & self.a.start
        for j, pe in enumerate(pes):
            m.d.comb += [
                pe.a.eq(activation),
                pe.swap.eq(swap),
                pe.w.eq(weight),
                pe.sum.eq(self.sums.word_select(j, len(pe.sum))),
            ]
            activation, swap, weight = pe.a_out, pe.swap_out, pe.w_out
        m.d.comb += self.results.eq(Cat(pe.result for pe in pes))
        if machine.inner_rounding.stochastic:
            deal_words(m, platform, self, pes)
        return m


def deal_words(m: Module, platform: object, row: wiring.Component, pes: Sequence[wiring.Component]) -> None:
    """Give each PE of a row its word of each activation; a row has `seed`, `reseed`, `state` and its lane `a`."""
    r = row.machine.inner_rounding.random_bits
    generator = place(m, platform, "generator", WordGenerator, r)
    m.d.comb += [
        generator.seed.eq(row.seed),
        generator.reseed.eq(row.reseed),
        generator.state.eq(row.state),
        generator.step.eq(row.a.valid),
    ]
    word = generator.word
    for j, pe in enumerate(pes):
        mask = int(rotated(0, j, r))
        m.d.comb += pe.word.eq(Cat(word[r - j % r :], word[: r - j % r]) ^ mask)
        word, previous = Signal(r, name=f"word_{j + 1}"), word
        m.d.sync += word.eq(previous)
