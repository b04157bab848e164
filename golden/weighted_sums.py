"""Sums of two products, exact, rounded once: what updates of weights are made of.

The definition is integer arithmetic on `Exact` values.  Where the engine is chosen, float64 does it instead.  Let
p = M + 1 be the precision of the result's format, r the random bits of its rounding and F the zero and the numbers of
at most k = p + r + 1 significant bits, of any exponent.

- A product of numbers of 24 bits is exact in float64: it has at most 48 bits, and with biases within -128 .. 255 it is
  0 or within 2^-556 .. 2^768.
- Between two neighbours in F, all real numbers have the same code (of a given word).  Every point at which a rounding
  changes its mind is in F: whole ulps (`rtz`), half ulps (`rne`, `rha`), multiples of 2^-r ulp (`sr`) and of 2^-(r+1)
  ulp (`sr_fast`; `sr_unbiased`, whose fraction goes to the nearest of r bits).  Gradual underflow only makes the ulp
  larger for its numbers; `flush`, `normal` and an overflow judge what was rounded.
- Let s be the float64 nearest to the exact sum S.  k <= 49 < 53, hence F is among the float64 numbers, and as rounding
  is monotone, S lies between the same neighbours as an s that is not in F: it has S's code.
- An s in F that is not S is replaced by the float64 next to it on S's side (Boldo and Melquiond 2008: rounding to odd).
  That one is odd in its last place, therefore not in F, and again between the same neighbours as S.
- s = S if and only if s - a = b and s - b = a in float64, as for the larger of a and b the difference is exact (Dekker
  1971); which side S is on is the sign of the sum's error (Knuth's TwoSum).

The one rounding of these numbers is the compiled cast.  Infinities, NaNs and signs of zero are IEEE 754's, which are
the definition's, but that a sum's NaN is canonical.
"""

from math import copysign, frexp, ldexp
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden import engine
from quaver.golden.arithmetic import Accumulator
from quaver.golden.casts import encode
from quaver.golden.formats import Exact, Format, all_values, checked_codes, decode, to_float
from quaver.golden.lane_words import LaneWords, words_of
from quaver.golden.mac import add, multiply, round_sum

_TABLE_BITS = 16
_FACTOR_BITS = 24
_FLOAT64_BITS = 53


class Weighted(NamedTuple):
    """factor * value, elementwise."""

    factor: float
    """A finite number of some format: it has at most 24 significant bits."""
    codes: ArrayLike
    """Codes of the values."""
    format: Format
    """Their format."""


def weighted_sum(
    a: Weighted, b: Weighted, accumulator: Accumulator, words: ArrayLike | LaneWords | None = None
) -> NDArray[np.unsignedinteger]:
    """Round the exact sums of two weighted tensors, of shapes that broadcast against each other.

    Parameters
    ----------
    words:
        As in `quaver.golden.encode`.

    Returns
    -------
    Codes of the accumulator's format, NaNs canonical.

    Raises
    ------
    TypeError, ValueError
        For codes or words that are no integers or out of range; for a NaN result in a `finite` format.
    """
    fmt, rounding = accumulator.format, accumulator.rounding
    if not engine.selected():
        first, second = np.broadcast_arrays(a.codes, b.codes)
        products = (multiply(_exact(x.factor), decode(c, x.format)) for x, c in ((a, first), (b, second)))
        return round_sum(add(*products), accumulator, words_of(words, first.shape, rounding))
    with np.errstate(invalid="ignore"):  # Inf - Inf and 0 * Inf are NaN
        short = max(a.format.bits, b.format.bits) <= _TABLE_BITS
        sums = _sums(_products(a), _products(b), fmt.precision + rounding.random_bits + 1, short)
    codes = encode(sums, fmt, rounding, words=words, saturate=accumulator.saturate)
    if fmt.nan_code is not None:
        negative = codes == fmt.nan_code | fmt.sign_mask
        if negative.any():
            codes[negative] = fmt.nan_code
    return codes


def values_of(codes: ArrayLike, fmt: Format) -> NDArray[np.float64]:
    """`to_float` for tensors that come again and again: a table is made of formats of at most 16 bits."""
    c = checked_codes(codes, fmt)
    if fmt.bits <= _TABLE_BITS:
        return all_values(fmt).take(c, mode="clip")
    if fmt.signed and (fmt.exponent_bits, fmt.bias, fmt.specials, fmt.subnormals) == (8, 127, "ieee", "gradual"):
        with np.errstate(invalid="ignore"):  # widening a signalling NaN
            return (c.astype(np.uint32) << np.uint32(32 - fmt.bits)).view(np.float32).astype(np.float64)
    return to_float(c, fmt)


def _products(x: Weighted) -> NDArray[np.float64]:
    values = values_of(x.codes, x.format)
    return values if x.factor == 1 else values * x.factor


def _sums(a: NDArray[np.float64], b: NDArray[np.float64], k: int, short: bool) -> NDArray[np.float64]:
    """Numbers that have the codes of the exact sums (see the module); sums of `short` numbers are mostly exact."""
    a, b = np.broadcast_arrays(a, b)
    sums = np.asarray(a + b)
    bits = sums.view(np.int64)

    def inexact() -> NDArray[np.bool_]:
        return (sums - a != b) | (sums - b != a)

    def in_f() -> NDArray[np.bool_]:
        return (bits & ((1 << (_FLOAT64_BITS - k)) - 1)) == 0

    rare, other = (inexact, in_f) if short else (in_f, inexact)
    wrong = rare()
    if wrong.any():
        wrong &= other()
        wrong &= np.isfinite(sums)
    if wrong.any():
        s, x, y = sums[wrong], a[wrong], b[wrong]
        part = s - x
        error = (x - (s - part)) + (y - part)
        bits[wrong] += np.where((error < 0) == (s < 0), 1, -1)
    return sums


def _exact(factor: float) -> Exact:
    fraction, exponent = frexp(factor)
    flags = np.zeros((), bool)
    return Exact(
        np.asarray(copysign(1.0, factor) < 0),
        np.asarray(exponent - _FACTOR_BITS),
        np.asarray(int(ldexp(abs(fraction), _FACTOR_BITS))),
        *(flags, flags, flags),
    )
