"""Powers of two by table."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quaver.golden.logarithms import EXP2_FRACTION_BITS, EXP2_TABLE, LOG2_FRACTION_BITS
from quaver.hw.interpolation import interpolated


class Exp2(wiring.Component):
    """The significand of a power of two, as `quaver.golden.logarithms.exp2_fixed`; the exponent is the whole part.

    Latency: combinational.

    Members
    -------
    fraction:
        The fraction of a logarithm, in units of 2^-LOG2_FRACTION_BITS.
    significand:
        2^fraction in units of 2^-EXP2_FRACTION_BITS: its leading one is on top.
    """

    fraction: In(LOG2_FRACTION_BITS)
    significand: Out(EXP2_FRACTION_BITS + 1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.significand.eq(interpolated(m, EXP2_TABLE, self.fraction))
        return m
