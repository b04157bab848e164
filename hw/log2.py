"""Logarithms by table."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quaver.golden.errors import check_range
from quaver.golden.logarithms import LOG2_FRACTION_BITS, LOG2_TABLE, SIGNIFICAND_BITS
from quaver.hw.interpolation import interpolated


class Log2(wiring.Component):
    """The fraction of log2 of a number, as `quaver.golden.logarithms.log2_fixed`; the whole part is its exponent.

    Latency: combinational.

    Parameters
    ----------
    significand_bits:
        Width of the significand, 1 to `SIGNIFICAND_BITS`.

    Members
    -------
    significand:
        Significand with its leading one on top; without it the fraction has no meaning.
    fraction:
        log2 of the significand in [1, 2), in units of 2^-LOG2_FRACTION_BITS.
    """

    def __init__(self, significand_bits: int) -> None:
        check_range("significand_bits", significand_bits, 1, SIGNIFICAND_BITS)
        super().__init__({"significand": In(significand_bits), "fraction": Out(LOG2_FRACTION_BITS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.fraction.eq(interpolated(m, LOG2_TABLE, self.significand[:-1]))
        return m
