"""Which arithmetic of the machine carries which sums on the compiled engine, and what cannot happen in them.

That depends on the numbers that a call's operands hold, not only on their formats; the results never do.
"""

from functools import lru_cache
from math import ceil, frexp, inf, log2, nan
from typing import NamedTuple

import numpy as np

from quaver.golden.arithmetic import Accumulator, AlignedSum, Arithmetic
from quaver.golden.formats import Format, to_float
from quaver.golden.rounding import Rounding

MODES = {"rne": 0, "rha": 1, "rtz": 2, "sr": 3, "sr_fast": 3, "sr_unbiased": 4}
ODD, NATIVE = 5, 6
UNBOUNDED, GRADUAL, CUT = range(3)
NARROW, WIDE, EXACT, ALIGNED = range(4)
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_FLOAT32_LAST = -149


class Numbers(NamedTuple):
    """What is known of an operand's numbers."""

    last: int
    """Exponent of the last bit that any of them has."""
    largest: float
    """No finite magnitude is larger."""
    precision: int
    """Significant bits."""
    special: bool
    """Whether there may be an Inf or a NaN."""
    single: bool
    """Whether they are float32 numbers, none of them in a binade that float32 keeps for subnormal ones."""


@lru_cache(maxsize=4096)
def numbers(least: int, largest: int, fmt: Format) -> Numbers:
    """Numbers of codes, of which `least` is the least magnitude but zero and `largest` the largest."""
    field = min(least, fmt.max_code) >> fmt.mantissa_bits  # where all are zeros, any will do
    exponent = field - fmt.bias if fmt.subnormals == "normal" else max(field, 1) - fmt.bias
    return Numbers(
        last=exponent - fmt.mantissa_bits,
        largest=float(to_float(min(largest, fmt.max_code), fmt)),
        precision=fmt.precision,
        special=largest > fmt.max_code or fmt.specials == "fnuz",  # whose NaN has no magnitude
        single=fmt.emin >= -126 and fmt.max_finite <= _FLOAT32_MAX,
    )


def rounds(fmt: Format, rounding: Rounding, saturate: bool, low: int | None = None, high: bool = True) -> tuple:
    """The fields of the kernels' struct Round."""
    special = inf if fmt.has_inf else nan
    stops = saturate or fmt.nan_code is None
    fast = rounding.mode == "sr_fast"
    return (
        *(MODES[rounding.mode], fmt.mantissa_bits, rounding.random_bits + fast, fast),
        *((GRADUAL if fmt.subnormals == "gradual" else CUT) if low is None else low, high),
        *(0 if fmt.mantissa_bits else (fmt.bias + 1) % 2, 2.0**fmt.emin, fmt.min_positive, fmt.max_finite),
        fmt.max_finite if stops or rounding.mode == "rtz" else special,
        fmt.max_finite if stops and fmt.specials != "fnuz" else special,
    )


def windows(a: Numbers, b: Numbers, chunk: int) -> tuple[int, int, int]:
    """Windows of an exact sum: how many, their distance in bits, and the least one's exponent."""
    last, largest = a.last + b.last, a.largest * b.largest
    first, growth = ceil(log2(largest)) if largest else last, ceil(log2(chunk))
    if first + growth - last <= 53:
        return 1, 53, last
    bits = 52 - a.precision - b.precision - growth
    return -(-(first - last) // bits), bits, last


def sums(
    arithmetic: Arithmetic, a: Numbers, b: Numbers, chunk: int, chunks: int, scaled: bool, from_zero: bool
) -> tuple[int, bool, tuple, tuple]:
    """Who adds up a chunk, whether float32 suffices for the outer sums too, and how both round.

    Parameters
    ----------
    chunk, chunks:
        Products of a chunk, and how many chunks there are.
    scaled:
        Whether the chunks' sums are multiplied by factors.
    from_zero:
        Whether the outer sums start from zero, not from any codes.
    """
    inner, outer = arithmetic.inner, arithmetic.outer
    outer_rounds = rounds(outer.format, outer.rounding, outer.saturate)
    if not isinstance(inner, Accumulator):
        return ALIGNED if isinstance(inner, AlignedSum) else EXACT, False, outer_rounds, outer_rounds
    last, largest, special = a.last + b.last, a.largest * b.largest, a.special or b.special
    bound = _bound(inner, largest, chunk)
    high = bound > inner.format.max_finite or (special and (inner.saturate or inner.format.nan_code is None))
    single = a.single and b.single and last >= _FLOAT32_LAST and largest < 2.0**127
    narrow = _narrow(inner, last, largest, high) if single else None
    if narrow is None:
        return WIDE, False, rounds(inner.format, inner.rounding, inner.saturate), outer_rounds
    inner_last = max(_last(inner.format, last, high), inner.format.emin - inner.format.mantissa_bits)
    inner_largest = min(bound, inner.format.max_finite)
    outer_high = high or special or not from_zero or _bound(outer, inner_largest, chunks) > outer.format.max_finite
    outer_last = inner_last if from_zero else min(inner_last, outer.format.emin - outer.format.mantissa_bits)
    joined = None if scaled else _narrow(outer, outer_last, inner_largest, outer_high)
    greatest = max(bound, inner.format.max_finite) if high else bound
    if narrow[0] == ODD and _near(inner, a.precision + b.precision, greatest):
        # Outer sums that start from +0, none of them too small, are never -0: then a zero's sign is of no matter.
        unsigned = from_zero and joined is not None and joined[4] == UNBOUNDED
        if unsigned or not inner.format.has_negative_zero:
            narrow = (MODES["rne"], *narrow[1:])
    return NARROW, joined is not None, narrow, joined or outer_rounds


def _last(fmt: Format, last: int, high: bool) -> int:
    """Exponent of the last bit of sums of multiples of 2^last, where one may stop at the largest number."""
    return min(last, frexp(fmt.max_finite)[1] - 1 - fmt.mantissa_bits) if high else last


def _near(sum: Accumulator, precision: int, largest: float) -> bool:
    """Whether float32 that rounds to nearest suffices: both addends are short, and no power of two gets too large."""
    p = sum.format.precision
    return p <= 11 and precision <= p and largest < 2.0 ** (100 + p)


def _bound(sum: Accumulator, largest: float, count: int) -> float:
    """What a sum of `count` addends of at most `largest` cannot exceed.

    To nearest, i of them are at most 2 i times the largest; words can make a sum grow by an ulp every time.
    """
    ulps = count * log2(1 + 2.0**-sum.format.mantissa_bits) if sum.rounding.stochastic else 0.0
    return 2 * count * largest * 2.0 ** min(ulps, 500.0) if largest < 2.0**500 else inf


def _narrow(sum: Accumulator, last: int, largest: float, high: bool) -> tuple | None:
    """How sums are rounded that are carried in float32; None where that does not suffice.

    Parameters
    ----------
    last, largest:
        Every addend is a multiple of 2^last that float32 holds, and none is of a greater magnitude than `largest`.
    high:
        Whether a sum can exceed the format's largest number.
    """
    fmt, rounding, m = sum.format, sum.rounding, sum.format.mantissa_bits
    if m == 23 and fmt.emin == -126 and fmt.specials == "ieee" and fmt.subnormals == "gradual":
        if rounding.mode not in ("rne", "rtz") or sum.saturate:
            return None
        mode, *others = rounds(fmt, rounding, False, UNBOUNDED, False)
        return (NATIVE if rounding.mode == "rne" else mode, *others)
    if not m or fmt.emin < -126 or fmt.max_finite > _FLOAT32_MAX or (high and fmt.max_finite + largest >= 2.0**127):
        return None
    last = _last(fmt, last, high)  # it may be that no sum is too small, neither for the format nor for float32
    if last >= -126 and (last >= fmt.emin - m if fmt.subnormals == "gradual" else 2.0**last >= fmt.min_positive):
        low = UNBOUNDED
    elif fmt.emin < -120:
        return None
    else:
        low = GRADUAL if fmt.subnormals == "gradual" else CUT
    p, r = fmt.precision, rounding.random_bits
    fits = {"rne": p <= 22, "rha": p <= 23, "rtz": p <= 23, "sr": p + r <= 24}
    if not fits.get(rounding.mode, False):
        return None
    mode, *others = rounds(fmt, rounding, sum.saturate, low, high)
    return (ODD if rounding.mode == "rne" else mode, *others)
