"""S2FP8 to BF16: what was squeezed and shifted comes back as numbers that a multiplier takes."""

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quaver.golden.catalog import BF16, E5M2
from quaver.golden.s2fp8_fixed import FACTOR_BITS, OFFSET_BITS
from quaver.hw.decoder import unpack
from quaver.hw.design import place
from quaver.hw.power_law import POWER_LAW_LATENCY, POWER_LAYOUT, PowerLaw
from quaver.hw.rounder import ROUNDER_LATENCY, Rounder, number_layout
from quaver.hw.unpacked import operand_shape

S2FP8_DECODER_LATENCY = POWER_LAW_LATENCY + ROUNDER_LATENCY
"""Registers of an `S2fp8Decoder`."""


class S2fp8Decoder(wiring.Component):
    """BF16 code of an E5M2 code by a power law and one rounding, as `quaver.golden.s2fp8_decode_fixed`.

    Latency: `S2FP8_DECODER_LATENCY`, counted in cycles with `enable`.  Throughput: one code per cycle.

    Members
    -------
    enable:
        All registers take what is there; otherwise they keep what they have.
    code:
        The E5M2 code.
    factor, offset:
        As of `PowerLaw`, which see: 1 / alpha and -beta / alpha.
    result:
        The BF16 code.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "enable": In(1),
                "code": In(E5M2.bits),
                "factor": In(FACTOR_BITS),
                "offset": In(signed(OFFSET_BITS)),
                "result": Out(BF16.bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = operand_shape((E5M2,))
        layout = number_layout(shape.significand_bits, max(-shape.low, shape.high).bit_length() + 1)

        # Unpack: four significands, so that the logarithm is a table of four entries.
        y = unpack(m, self.code, E5M2, shape)
        number = Signal(layout)
        m.d.comb += [
            number.significand.eq(y.significand),
            number.exponent.eq(y.exponent + shape.low),
            number.sign.eq(y.sign),
            number.inf.eq(y.inf),
            number.nan.eq(y.nan),
        ]

        power_law = place(m, platform, "power_law", PowerLaw, layout)
        m.d.comb += [
            power_law.enable.eq(self.enable),
            power_law.number.eq(number),
            power_law.factor.eq(self.factor),
            power_law.offset.eq(self.offset),
        ]

        rounder = place(m, platform, "rounder", Rounder, POWER_LAYOUT, BF16)
        m.d.comb += [
            rounder.enable.eq(self.enable),
            rounder.number.eq(power_law.power),
            rounder.saturate.eq(0),
            self.result.eq(rounder.code),
        ]
        return m
