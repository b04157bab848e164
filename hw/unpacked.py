"""How numbers travel inside the machine: sign, exponent, significand, class.  No encoding, so no format logic.

The widths follow from the formats of the machine; nothing hard-codes them.
"""

from dataclasses import dataclass
from functools import cached_property

from amaranth.lib import data

from quaver.golden import Format


@dataclass(frozen=True)
class Unpacked:
    """Shape of numbers whose significand's top bit weighs 2^(exponent + low).

    A zero has a zero significand and any exponent; Inf and NaN are flags beside the number.
    """

    significand_bits: int
    """Width of the significand."""
    low: int
    """Weight (as a power of two) of the significand's top bit at exponent 0."""
    high: int
    """The same at the largest exponent."""
    headroom: int = 0
    """Leading zeros that a non-zero significand may have: 1 for products, which lie in [1, 4)."""
    normalised: bool = True
    """Whether leading zeros go no further than that; False: down to the fixed exponent of subnormals."""

    @classmethod
    def of_sum(cls, fmt: Format, *, normalised: bool) -> "Unpacked":
        """Shape of the numbers of one format, its subnormals `normalised` or not."""
        low = lowest_exponent(fmt) if normalised else -fmt.bias
        return cls(fmt.precision, low, (1 << fmt.exponent_bits) - 1 - fmt.bias, normalised=normalised)

    @cached_property
    def layout(self) -> data.StructLayout:
        return data.StructLayout(
            {
                "significand": self.significand_bits,
                "exponent": self.exponent_bits,
                "sign": 1,
                "inf": 1,
                "nan": 1,
            }
        )

    @cached_property
    def exponent_bits(self) -> int:
        return max(1, (self.high - self.low).bit_length())


def operand_shape(formats: tuple[Format, ...]) -> Unpacked:
    """Shape of a MAC operand of any of `formats`: subnormals are normalised, the leading one is kept."""
    return Unpacked(
        significand_bits=max(f.precision for f in formats),
        low=min(lowest_exponent(f) for f in formats),
        high=max(highest_exponent(f) for f in formats),
    )


def product_shape(a: Unpacked, b: Unpacked) -> Unpacked:
    """Shape of the exact product of normalised operands."""
    return Unpacked(
        significand_bits=a.significand_bits + b.significand_bits,
        low=a.low + b.low + 1,
        high=a.high + b.high + 1,
        headroom=1,
    )


def lowest_exponent(fmt: Format) -> int:
    """floor(log2) of the smallest positive number of `fmt`."""
    return fmt.emin - (fmt.mantissa_bits if fmt.subnormals == "gradual" else 0)


def highest_exponent(fmt: Format) -> int:
    """floor(log2) of the largest finite number of `fmt`."""
    return (fmt.max_code >> fmt.mantissa_bits) - fmt.bias
