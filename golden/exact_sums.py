"""Sums of many terms with one rounding at their end: exact, or aligned to a common quantum."""

from collections.abc import Sequence

import numpy as np

from quaver.golden.formats import BoolArray, Exact, IntArray

_WIDTH = 60
"""Bits of a sum that are kept as a number; what is below is a sticky tail."""


def add_exactly(terms: Sequence[Exact]) -> Exact:
    """The exact sum of arrays of one shape; a sticky tail stands for what lies 60 bits below its leading one.

    The sum is Inf or NaN by the rules of addition, +0 where it cancels, and -0 where every term is -0.
    """
    quantum = min((int(x.exponent[x.significand != 0].min(initial=0)) for x in terms), default=0)
    total = np.zeros(terms[0].sign.shape, object)
    for x in terms:
        magnitude = x.significand.astype(object) << np.where(x.significand != 0, x.exponent - quantum, 0)
        total = total + np.where(x.sign, -magnitude, magnitude)

    length = np.frompyfunc(int.bit_length, 1, 1)(abs(total)).astype(np.int64)
    cut = np.maximum(length - _WIDTH, 0)
    kept = abs(total) >> cut
    sticky = (kept << cut) != abs(total)
    return _special(
        terms, Exact((total < 0).astype(bool), quantum + cut, kept.astype(np.int64), sticky.astype(bool), *_none(cut))
    )


def add_aligned(terms: Sequence[tuple[Exact, int]], fraction_bits: int) -> Exact:
    """Sum of terms that are cut toward zero to `fraction_bits` bits below the largest of the terms' exponents.

    A term comes with the number of fraction bits of its significand, from which follows its exponent; zeros have none.
    """
    values = [x for x, _ in terms]
    exponents = [np.where(x.significand != 0, x.exponent + fraction, _LOWEST) for x, fraction in terms]
    quantum = np.maximum.reduce(exponents) - fraction_bits
    total = np.zeros(values[0].sign.shape, np.int64)
    for x in values:
        shift = x.exponent - quantum
        left, right = np.clip(shift, 0, 62), np.clip(-shift, 0, 63)
        magnitude = np.where(x.significand == 0, 0, x.significand << left >> right)
        total += np.where(x.sign, -magnitude, magnitude)
    tail = np.zeros(total.shape, bool)
    return _special(values, Exact(total < 0, quantum, np.abs(total), tail, *_none(total)))


_LOWEST = -(1 << 20)
"""Below every exponent."""


def _none(like: IntArray) -> tuple[BoolArray, BoolArray]:
    return np.zeros(like.shape, bool), np.zeros(like.shape, bool)


def _special(terms: Sequence[Exact], total: Exact) -> Exact:
    """Put in the infinities, NaNs and negative zeros that follow from the terms'."""
    up = np.logical_or.reduce([x.inf & ~x.sign for x in terms])
    down = np.logical_or.reduce([x.inf & x.sign for x in terms])
    nan = np.logical_or.reduce([x.nan for x in terms]) | (up & down)
    inf = (up | down) & ~nan
    negative_zeros = np.logical_and.reduce([x.sign & (x.significand == 0) & ~x.inf & ~x.nan for x in terms])
    return total._replace(sign=np.where(inf, down, total.sign | negative_zeros), inf=inf, nan=nan)
