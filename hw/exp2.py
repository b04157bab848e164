"""The power of two of a fraction."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quaver.golden.logarithms import EXP2_FRACTION_BITS, EXP2_TABLE, LOG2_FRACTION_BITS
from quaver.hw.interpolation import interpolate


class Exp2(wiring.Component):
    """2^x for x in [0, 1), as `quaver.golden.logarithms.exp2_fixed` takes it: x's whole part is the exponent.

    Latency: combinational.

    Members
    -------
    fraction:
        x, in units of 2^-`LOG2_FRACTION_BITS`.
    significand:
        The power, in [1, 2): a leading one and `EXP2_FRACTION_BITS`.
    """

    def __init__(self) -> None:
        super().__init__({"fraction": In(LOG2_FRACTION_BITS), "significand": Out(EXP2_FRACTION_BITS + 1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.significand.eq(interpolate(m, EXP2_TABLE, self.fraction))
        return m
