"""The fixed-point register that keeps an exact sum, as wide as the operands of a machine need it."""

from dataclasses import dataclass
from functools import cached_property

from quaver.golden.formats import Format, decode

WIDTH_MAX = 128
"""Widest register that a machine may ask for."""


@dataclass(frozen=True, kw_only=True)
class ExactRegister:
    """Codes of exact sums: a number in fixed point, and what it cannot say.

    From bit 0 on: `width` bits of two's complement, the sum of all finite products, whose least significant bit weighs
    2^lsb; `up`, an addend was +Inf or NaN; `down`, an addend was -Inf or NaN; `identity`, every addend was -0.  The
    three never change back; `up` and `down` together are NaN.
    """

    lsb: int
    """Weight of the least significant bit, as a power of two: that of the smallest product."""
    width: int
    """Bits of the number, the sign included: no chunk of the largest products leaves it."""

    @classmethod
    def of(cls, a_formats: tuple[Format, ...], b_formats: tuple[Format, ...], chunk: int) -> "ExactRegister":
        """The register for sums of `chunk` products of operands of these formats, any of them.

        E4M3 x E4M3: lsb -18, 2^17 the largest product's leading bit, and with 64 products 43 bits; with E5M2 -32, 2^31
        and 71 bits.
        """
        a_unit, b_unit = min(map(_unit, a_formats)), min(map(_unit, b_formats))
        a_largest, b_largest = (
            max(_largest(fmt) << _unit(fmt) - unit for fmt in formats)
            for formats, unit in ((a_formats, a_unit), (b_formats, b_unit))
        )
        return cls(lsb=a_unit + b_unit, width=(chunk * a_largest * b_largest).bit_length() + 1)

    @cached_property
    def bits(self) -> int:
        """Width of a code."""
        return self.width + 3

    @cached_property
    def identity_code(self) -> int:
        """Code of -0, the identity of addition."""
        return 1 << self.width + 2


def _unit(fmt: Format) -> int:
    """Weight of the last bit of the smallest numbers of `fmt`, as a power of two."""
    return fmt.emin - fmt.mantissa_bits


def _largest(fmt: Format) -> int:
    """The largest finite number of `fmt`, in units of its smallest numbers' last bit."""
    largest = decode(fmt.max_code, fmt)
    return int(largest.significand) << int(largest.exponent) - _unit(fmt)
