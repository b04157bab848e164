"""S2FP8 on the RTL: power laws, what they round to, and decoded codes, many side by side."""

from amaranth.hdl import Module, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quaver.cosim.lanes import LANES
from quaver.golden import Format
from quaver.golden.catalog import E5M2
from quaver.hw.decoder import unpack
from quaver.hw.design import place
from quaver.hw.power_law import POWER_LAW_LATENCY, POWER_LAYOUT, PowerLaw
from quaver.hw.rounder import ROUNDER_LATENCY, Rounder, number_layout
from quaver.hw.s2fp8_decoder import S2fp8Decoder
from quaver.hw.unpacked import operand_shape

ENCODED_LATENCY = POWER_LAW_LATENCY + ROUNDER_LATENCY
"""Cycles from a code to its `encoded`."""
REGISTERS_LATE = {"factor": 1, "offset": 2}
"""Cycles by which the registers of a code come after it."""
ROUNDING_LATE = dict.fromkeys(("word", "stochastic", "saturate"), POWER_LAW_LATENCY)
"""Cycles by which the rounding of a code comes after it."""


class S2fp8Lanes(wiring.Component):
    """`LANES` codes of `source`, each with its own registers: ports are arrays, for `quaver.cosim.lanes.evaluate`.

    `power` is the power law as it is, `encoded` what it rounds to in E5M2, `decoded` (only where `source` is E5M2) the
    BF16 code.
    """

    def __init__(self, source: Format, random_bits: int) -> None:
        self.source, self.random_bits = source, random_bits
        names = ["power", "encoded", *(["decoded"] if source == E5M2 else [])]
        array = data.ArrayLayout(32, LANES)
        inputs = dict.fromkeys(("code", "factor", "offset", "word", "stochastic", "saturate"), In(array))
        super().__init__(inputs | dict.fromkeys(names, Out(array)))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = operand_shape((self.source,))
        layout = number_layout(shape.significand_bits, max(-shape.low, shape.high).bit_length() + 1)
        for index in range(LANES):
            x = unpack(m, self.code[index][: self.source.bits], self.source, shape)
            power_law = place(m, platform, f"power_law_{index}", PowerLaw, layout)
            rounder = place(m, platform, f"rounder_{index}", Rounder, POWER_LAYOUT, E5M2, self.random_bits)
            m.d.comb += [
                power_law.enable.eq(1),
                power_law.number.exponent.eq(x.exponent + shape.low),
                *(
                    getattr(power_law.number, name).eq(getattr(x, name))
                    for name in ("significand", "sign", "inf", "nan")
                ),
                power_law.factor.eq(self.factor[index]),
                power_law.offset.eq(self.offset[index]),
                self.power[index].eq(Value.cast(power_law.power)),
                rounder.enable.eq(1),
                rounder.number.eq(power_law.power),
                *(getattr(rounder, name).eq(getattr(self, name)[index]) for name in ROUNDING_LATE),
                self.encoded[index].eq(rounder.code),
            ]
            if self.source == E5M2:
                decoder = place(m, platform, f"decoder_{index}", S2fp8Decoder)
                m.d.comb += [
                    decoder.enable.eq(1),
                    decoder.code.eq(self.code[index]),
                    decoder.factor.eq(self.factor[index]),
                    decoder.offset.eq(self.offset[index]),
                    self.decoded[index].eq(decoder.result),
                ]
        return m
