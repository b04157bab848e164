"""S2FP8 on its way in: the codes of a beat become BF16, those of other formats pass."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quaver.golden.catalog import E5M2
from quaver.golden.machine import POWER_LATENCY
from quaver.golden.s2fp8_fixed import FACTOR_BITS, OFFSET_BITS
from quaver.hw.design import place
from quaver.hw.packet_loader import loaded_beat
from quaver.hw.pipeline import delay
from quaver.hw.s2fp8_decoder import S2FP8_DECODER_LATENCY, S2fp8Decoder

assert S2FP8_DECODER_LATENCY == POWER_LATENCY + 1  # what `Machine.decode_latency` says


class OperandDecoder(wiring.Component):
    """A decoder for each lane; a beat whose factor is 0 passes as it is, and takes the same time.

    Latency: `Machine.decode_latency`; the pipeline waits as a whole.  Throughput: one beat per cycle.

    Parameters
    ----------
    lanes, bits:
        Codes of a beat, and their width, at least BF16's.
    side:
        Bits that go along with a beat.

    Members
    -------
    beats, decoded:
        Streams of `loaded_beat`.
    factor, offset, side:
        Of the beat on offer: its power law, and what goes along.
    side_out:
        What went along with the decoded beat on offer.
    """

    def __init__(self, lanes: int, bits: int, side: int) -> None:
        self.lanes, self.bits = lanes, bits
        beat = stream.Signature(loaded_beat(lanes * bits))
        super().__init__(
            {
                "beats": In(beat),
                "decoded": Out(beat),
                "factor": In(FACTOR_BITS),
                "offset": In(signed(OFFSET_BITS)),
                "side": In(side),
                "side_out": Out(side),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beats, decoded = self.beats, self.decoded
        enable = Signal()
        m.d.comb += [enable.eq(~decoded.valid | decoded.ready), beats.ready.eq(enable)]

        passing = Signal.like(beats.payload)
        with m.If(enable):
            factor = delay(m, self.factor, 1, "factor")
            offset = delay(m, self.offset, 2, "offset")
            along = Cat(beats.valid, self.factor.any(), self.side, beats.payload.as_value())
            late = delay(m, along, S2FP8_DECODER_LATENCY, "passing")
        squeezed, last = late[1], 2 + len(self.side)
        m.d.comb += [decoded.valid.eq(late[0]), self.side_out.eq(late[2:last]), passing.eq(late[last:])]

        codes = []
        for lane in range(self.lanes):
            decoder = place(m, platform, f"decoder_{lane}", S2fp8Decoder)
            code = beats.payload.codes.word_select(lane, self.bits)[: E5M2.bits]
            m.d.comb += [
                decoder.enable.eq(enable),
                decoder.code.eq(code),
                decoder.factor.eq(factor),
                decoder.offset.eq(offset),
            ]
            codes.append(Mux(squeezed, decoder.result, passing.codes.word_select(lane, self.bits)))
        m.d.comb += [
            decoded.payload.eq(passing),
            Value.cast(decoded.payload.codes).eq(Cat(code[: self.bits] for code in codes)),
        ]
        return m
