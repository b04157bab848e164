"""log2 of a significand."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quaver.golden.errors import check_range
from quaver.golden.logarithms import LOG2_FRACTION_BITS, LOG2_TABLE, SIGNIFICAND_BITS
from quaver.hw.interpolation import interpolate


class Log2(wiring.Component):
    """log2 of a number in [1, 2), as `quaver.golden.logarithms.log2_fixed` takes it: the exponent goes above it.

    Latency: combinational.

    Parameters
    ----------
    significand_bits:
        Width of the significand, 1 to 24.  Up to 8 bits the table is looked up, from then on interpolated.

    Members
    -------
    significand:
        The number, its leading one on top; that bit is not looked at.
    fraction:
        The logarithm, in units of 2^-`LOG2_FRACTION_BITS`.
    """

    def __init__(self, significand_bits: int) -> None:
        check_range("significand_bits", significand_bits, 1, SIGNIFICAND_BITS)
        super().__init__({"significand": In(significand_bits), "fraction": Out(LOG2_FRACTION_BITS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.fraction.eq(interpolate(m, LOG2_TABLE, self.significand[:-1]))
        return m
