"""One multiply-accumulate step: exact product, exact sum, one rounding."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden.arithmetic import Accumulator
from quaver.golden.formats import Exact, Format, decode
from quaver.golden.rounding import round_to

_TOP = 56
"""Width that `add` aligns its larger operand to: a sum's leading bit lands at bit 54 or higher unless it is exact, and
24 bits of significand with 24 random bits need 48."""


def multiply(a: Exact, b: Exact) -> Exact:
    """Exact products of finite-width operands; 0 * Inf is NaN."""
    zero = (a.significand == 0) & ~a.inf & ~a.nan | (b.significand == 0) & ~b.inf & ~b.nan
    inf = a.inf | b.inf
    nan = a.nan | b.nan | (inf & zero)
    return Exact(
        a.sign ^ b.sign,
        a.exponent + b.exponent,
        a.significand * b.significand,
        a.sticky | b.sticky,
        inf & ~nan,
        nan,
    )


def add(x: Exact, y: Exact) -> Exact:
    """Sums, exact but for a sticky tail far below any rounding; Inf - Inf is NaN, an exactly cancelled sum is +0.

    The operands' significands must be below 2^48 (any format's number, the product of any two), without sticky tails.
    """
    x_exp, x_sig = _normalised(x)
    y_exp, y_sig = _normalised(y)
    # A zero has no exponent of its own; it must not push the other operand out of the window.
    x_exp = np.where(x.significand == 0, y_exp, x_exp)
    y_exp = np.where(y.significand == 0, x_exp, y_exp)
    swap = y_exp > x_exp
    big, small = np.where(swap, y_sig, x_sig), np.where(swap, x_sig, y_sig)
    big_sign, small_sign = np.where(swap, y.sign, x.sign), np.where(swap, x.sign, y.sign)
    exponent = np.where(swap, y_exp, x_exp)
    shift = np.minimum(np.abs(x_exp - y_exp), 62)

    kept = small >> shift
    sticky = (kept << shift) != small
    opposite = big_sign != small_sign
    # big - (kept + tail) = (big - kept - 1) + (1 - tail): the floor of the magnitude and a tail in (0, 1) again.
    total = big + np.where(opposite, -kept - sticky, kept)
    sign = np.where(total < 0, small_sign, big_sign)
    sign = np.where((total == 0) & ~sticky, x.sign & y.sign, sign)

    nan = x.nan | y.nan | (x.inf & y.inf & (x.sign != y.sign))
    inf = (x.inf | y.inf) & ~nan
    sign = np.where(inf, np.where(x.inf, x.sign, y.sign), sign)
    return Exact(sign, exponent, np.abs(total), sticky, inf, nan)


def accumulate(acc: ArrayLike, addend: Exact, accumulator: Accumulator, words: ArrayLike | None = None) -> NDArray:
    """round(acc + addend): codes of the accumulator's format in and out, NaNs canonical."""
    return round_sum(add(decode(acc, accumulator.format), addend), accumulator, words)


def round_sum(total: Exact, accumulator: Accumulator, words: ArrayLike | None = None) -> NDArray:
    """Exact sums as codes of the accumulator's format, NaNs canonical."""
    codes = round_to(
        total._replace(sign=total.sign & ~total.nan),
        accumulator.format,
        accumulator.rounding,
        words=words,
        saturate=accumulator.saturate,
    )
    if accumulator.format.specials == "fn":  # an overflow is a NaN here, and sums have one NaN
        magnitude = codes & accumulator.format.magnitude_mask
        codes = np.where(magnitude == accumulator.format.nan_code, magnitude, codes).astype(codes.dtype)
    return codes


def chunk_addend(codes: ArrayLike, fmt: Format) -> Exact:
    """Finished inner sums as what joins the outer sums.

    The only zero of a format without -0 is read as -0: a chunk of padding is the identity of addition in every format.
    """
    x = decode(codes, fmt)
    if fmt.has_negative_zero:
        return x
    return x._replace(sign=x.sign | ((x.significand == 0) & ~x.nan))


def mac(
    acc: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    *,
    a_format: Format,
    b_format: Format,
    accumulator: Accumulator,
    words: ArrayLike | None = None,
) -> NDArray:
    """acc' = round(acc + a * b) on arrays of codes that broadcast against each other.

    Raises
    ------
    TypeError, ValueError
        For codes or words that are no integers or out of range, and for a NaN result in a `finite` accumulator.
    """
    acc, a, b = np.broadcast_arrays(acc, a, b)
    return accumulate(acc, multiply(decode(a, a_format), decode(b, b_format)), accumulator, words)


def _normalised(x: Exact) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Exponent and significand with the leading one at bit _TOP - 1 (zero stays zero)."""
    length = np.frexp(np.maximum(x.significand, 1).astype(np.float64))[1].astype(np.int64)
    return x.exponent - (_TOP - length), x.significand << (_TOP - length)
