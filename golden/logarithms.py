"""log2 and exp2 in fixed point: two tables that the hardware shares, and straight lines between their entries.

    log2(1 + f) ~ floor(line through LOG2_TABLE at f),   2^f ~ floor(line through EXP2_TABLE at f),   0 <= f < 1

in units of 2^-LOG2_FRACTION_BITS and 2^-EXP2_FRACTION_BITS.  Both are monotonic, and exact at f = 0: powers of two have
whole logarithms, and whole logarithms are powers of two.  The entries are the nearest integers, found by integers.
"""

from functools import cache
from math import isqrt

import numpy as np
from numpy.typing import ArrayLike

from quaver.golden.formats import Exact, Format, IntArray, decode

INDEX_BITS = 7
"""log2 of the segments between the entries of each table."""
LOG2_FRACTION_BITS = 16
"""Fraction bits of a logarithm, and of the argument of exp2."""
EXP2_FRACTION_BITS = 16
"""Fraction bits of a power of two of a fraction, which lies in [1, 2)."""
SIGNIFICAND_BITS = 24
"""Significant bits of which the logarithm is taken; further ones are cut off."""

LOG2_ERROR = 2.1
"""Bound of the error of a logarithm of at most `SIGNIFICAND_BITS` bits, in units of 2^-LOG2_FRACTION_BITS."""
EXP2_ERROR = 1.45
"""Bound of the error of a power, in units of 2^-EXP2_FRACTION_BITS of its own binade."""

_GUARD_BITS = 128
"""Fraction bits of the squares that find the entries of `LOG2_TABLE`: each squaring doubles an error below 2^-128."""


def _log2_entry(index: int) -> int:
    """log2(1 + index / 2^INDEX_BITS), to nearest: the square of a number has twice its logarithm."""
    number = ((1 << INDEX_BITS) + index) << (_GUARD_BITS - INDEX_BITS)
    logarithm = number >> _GUARD_BITS + 1
    number >>= logarithm
    for _ in range(LOG2_FRACTION_BITS + 1):
        number = number * number >> _GUARD_BITS
        carry = number >> _GUARD_BITS + 1
        logarithm, number = 2 * logarithm + carry, number >> carry
    return (logarithm + 1) // 2


def _exp2_entry(index: int) -> int:
    """2^(index / 2^INDEX_BITS), to nearest: as many square roots as `INDEX_BITS`, whose floors are the root's floor."""
    number = 1 << index + (EXP2_FRACTION_BITS + 1 << INDEX_BITS)
    for _ in range(INDEX_BITS):
        number = isqrt(number)
    return (number + 1) // 2


LOG2_TABLE = tuple(_log2_entry(index) for index in range((1 << INDEX_BITS) + 1))
"""log2 at the ends of the segments, from 0 to 2^LOG2_FRACTION_BITS."""
EXP2_TABLE = tuple(_exp2_entry(index) for index in range((1 << INDEX_BITS) + 1))
"""Powers of two at the ends of the segments, from 2^EXP2_FRACTION_BITS to twice that."""


@cache
def _entries(table: tuple[int, ...]) -> IntArray:
    return np.array(table, np.int64)


def interpolate(table: tuple[int, ...], argument: IntArray, bits: int) -> IntArray:
    """The line through `table` at `argument` * 2^-`bits`, rounded down; 0 <= argument < 2^bits."""
    entries, low_bits = _entries(table), bits - INDEX_BITS
    index, low = argument >> low_bits, argument & ((1 << low_bits) - 1)
    return entries[index] + ((entries[index + 1] - entries[index]) * low >> low_bits)


def log2_exact(x: Exact) -> IntArray:
    """log2|x| in units of 2^-LOG2_FRACTION_BITS, of significands below 2^53; meaningless for zero, Inf and NaN."""
    half, length = np.frexp(x.significand.astype(np.float64))  # in [1/2, 1), exactly
    number = np.ldexp(half, SIGNIFICAND_BITS).astype(np.int64)
    fraction = interpolate(LOG2_TABLE, number & ((1 << (SIGNIFICAND_BITS - 1)) - 1), SIGNIFICAND_BITS - 1)
    return (x.exponent + length - 1 << LOG2_FRACTION_BITS) + fraction


def log2_fixed(codes: ArrayLike, fmt: Format) -> IntArray:
    """log2 of the magnitudes of codes of `fmt`, in units of 2^-LOG2_FRACTION_BITS.

    Raises
    ------
    TypeError, ValueError
        For what is no code of `fmt`, and for codes of zero, Inf and NaN.
    """
    x = decode(codes, fmt)
    if ((x.significand == 0) | x.inf | x.nan).any():
        raise ValueError(f"codes of {fmt.name} must be of finite numbers other than 0")
    return log2_exact(x)


def exp2_fixed(logarithms: ArrayLike) -> Exact:
    """2^x of logarithms in units of 2^-LOG2_FRACTION_BITS, significands of EXP2_FRACTION_BITS + 1 bits.

    Raises
    ------
    TypeError
        If they are no integers.
    """
    x = np.asarray(logarithms)
    if x.dtype.kind not in "ui":
        raise TypeError(f"logarithms must be integers, not {x.dtype}")
    x = x.astype(np.int64)
    significand = interpolate(EXP2_TABLE, x & ((1 << LOG2_FRACTION_BITS) - 1), LOG2_FRACTION_BITS)
    false = np.zeros(x.shape, bool)
    return Exact(false, (x >> LOG2_FRACTION_BITS) - EXP2_FRACTION_BITS, significand, false, false, false)
