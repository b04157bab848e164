"""Rounding of exact values to a format: the one place where bits are lost.

ARITHMETIC: let p = M + 1 be the format's precision.  |S| is rounded to a multiple of ulp = 2^(e - M) with
e = max(floor(log2 |S|), emin); the sign is kept.  `flush` and `normal` formats round as if exponents had no lower end,
then what is smaller than the smallest number becomes zero.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden.errors import check_choice, check_range
from quaver.golden.formats import Exact, Format, IntArray

Mode = Literal["rne", "rha", "rtz", "sr", "sr_fast", "sr_unbiased"]
_SHIFT_MAX = 63  # significands are below 2^62: a right shift by 63 leaves nothing, a larger one is undefined


@dataclass(frozen=True, kw_only=True)
class Rounding:
    """How a sum or a cast drops bits."""

    mode: Mode = "rne"
    """`rne` to nearest, ties to the even code; `rha` to nearest, ties away from zero; `rtz` toward zero; `sr`
    stochastic: floor(|S|/ulp * 2^r) plus a uniform r-bit word, cut back to whole ulps (gfloat's StochasticFastest);
    `sr_fast` the same with r + 1 bits and the odd word 2 * word + 1 (StochasticFast); `sr_unbiased` the same with the
    fraction rounded to r bits by `rne` instead of cut (Stochastic)."""
    random_bits: int = 0
    """r, 1 to 24 for the stochastic modes; 0 for the others."""

    def __post_init__(self) -> None:
        check_choice("rounding", self.mode, get_args(Mode))
        if self.stochastic:
            check_range("random_bits", self.random_bits, 1, 24)
        else:
            check_range(f"random_bits of rounding {self.mode}", self.random_bits, 0, 0)

    def __str__(self) -> str:
        return f"{self.mode}({self.random_bits})" if self.stochastic else self.mode

    @property
    def stochastic(self) -> bool:
        return self.mode.startswith("sr")


RNE = Rounding(mode="rne")
RHA = Rounding(mode="rha")
RTZ = Rounding(mode="rtz")


def sr(random_bits: int) -> Rounding:
    """Stochastic rounding with words of `random_bits` bits."""
    return Rounding(mode="sr", random_bits=random_bits)


def round_to(
    x: Exact, fmt: Format, rounding: Rounding = RNE, *, words: ArrayLike | None = None, saturate: bool = False
) -> NDArray[np.unsignedinteger]:
    """Round exact values to codes of `fmt`.

    Parameters
    ----------
    x:
        Values of any shape.
    words:
        Integers in 0 .. 2^r - 1 that broadcast to the shape of `x`; needed by the stochastic modes only.
    saturate:
        Whether a result beyond the largest finite number, infinity included, becomes that number (an infinity stays
        NaN in `fnuz`: ONNX's cast table).  Otherwise it becomes Inf, or the NaN of a format that has no Inf; `rtz`
        stops at the largest finite number by itself.  A `finite` format always saturates.  In an unsigned format the
        smallest number is 0: what is negative after rounding becomes 0 or the NaN by the same rules.

    Raises
    ------
    ValueError
        If words are missing or out of range, or a NaN meets a `finite` format.
    """
    code = round_magnitude(x, fmt, rounding, words=words)
    over = code > fmt.max_code
    code = np.where(over, fmt.max_code if saturate or rounding.mode == "rtz" else fmt.overflow_code, code)
    infinite = fmt.max_code if saturate and fmt.specials != "fnuz" else fmt.overflow_code
    code = np.where(x.inf, infinite, code)

    sign = x.sign
    if not fmt.has_negative_zero:
        sign = sign & (code != 0)
    if not fmt.signed:
        below = 0 if fmt.nan_code is None or saturate else fmt.nan_code
        code = np.where(sign, np.where(x.inf | (rounding.mode != "rtz"), below, 0), code)
    if fmt.specials == "dlfloat":
        sign = sign & (code != fmt.nan_code)
    code = code | np.where(sign, fmt.sign_mask, 0)
    if x.nan.any():
        if fmt.nan_code is None:
            raise ValueError(f"NaN cannot be encoded in {fmt.name}")
        keep = fmt.specials in ("ieee", "fn")  # an unsigned format has no sign bit to keep it in
        code = np.where(x.nan, fmt.nan_code | np.where(x.sign & keep, fmt.sign_mask, 0), code)
    return code.astype(fmt.dtype)


def round_magnitude(x: Exact, fmt: Format, rounding: Rounding, *, words: ArrayLike | None = None) -> IntArray:
    """Codes of the rounded magnitudes as if exponents had no upper end: one above `fmt.max_code` is an overflow.

    Parameters and errors as in `round_to`; what is Inf or NaN has no meaning here.
    """
    u = checked_words(words, rounding, x.sign.shape)
    significand = x.significand
    length = _bit_length(significand)
    top = x.exponent + length - 1
    quantum = top - fmt.mantissa_bits
    if fmt.subnormals == "gradual":
        quantum = np.maximum(quantum, fmt.emin - fmt.mantissa_bits)
    cut = quantum - x.exponent
    kept = np.where(cut > 0, significand >> np.clip(cut, 0, _SHIFT_MAX), significand << np.clip(-cut, 0, _SHIFT_MAX))

    # A code counts ulps: the next number up, in the next binade too, is the next code.
    field = quantum + fmt.mantissa_bits + fmt.bias
    hidden = np.int64(1 << fmt.mantissa_bits)
    code = np.where(kept >= hidden, (field << fmt.mantissa_bits) + kept - hidden, kept)
    code = code + ((cut > 0) & _rounds_up(significand, cut, code & 1 != 0, x.sticky, rounding, u))
    if fmt.subnormals != "gradual":
        code = np.where(code < fmt.min_code, 0, code)
    return np.where(significand == 0, 0, code)


def _rounds_up(
    significand: IntArray,
    cut: IntArray,
    odd: NDArray[np.bool_],
    sticky: NDArray[np.bool_],
    rounding: Rounding,
    words: IntArray,
) -> NDArray[np.bool_]:
    """Whether the magnitude goes up, where `cut` > 0 bits of `significand` and the sticky tail below it are dropped."""
    shift = np.clip(cut, 1, _SHIFT_MAX)
    half = np.int64(1) << (shift - 1)
    rest = significand & (((half - 1) << 1) | 1)

    def fraction(bits: int) -> IntArray:
        """The first `bits` bits of what is dropped."""
        return np.where(cut >= bits, rest >> np.clip(cut - bits, 0, _SHIFT_MAX), rest << np.clip(bits - cut, 0, 62))

    r = rounding.random_bits
    match rounding.mode:
        case "rne":
            return (rest > half) | ((rest == half) & (sticky | odd))
        case "rha":
            return rest >= half
        case "rtz":
            return np.zeros(significand.shape, bool)
        case "sr":
            return fraction(r) + words >= 1 << r
        case "sr_fast":
            return fraction(r + 1) + (2 * words + 1) >= 1 << (r + 1)
        case "sr_unbiased":
            below = np.clip(cut - r, 0, _SHIFT_MAX)
            tail = rest - (fraction(r) << below)
            middle = np.where(cut > r, np.int64(1) << np.clip(below - 1, 0, 62), np.int64(1) << 62)
            nearest = (tail > middle) | ((tail == middle) & (sticky | (fraction(r) & 1 != 0)))
            return fraction(r) + nearest + words >= 1 << r


def _bit_length(values: IntArray) -> IntArray:
    """Bit length of each non-negative value below 2^62; 1 for zero."""
    # frexp is exact up to 53 bits: halves are measured apart, so that no rounding can carry into a new length.
    high = values >> 31
    part = np.where(high > 0, high, np.maximum(values, 1))
    return np.frexp(part.astype(np.float64))[1].astype(np.int64) + np.where(high > 0, 31, 0)


def checked_words(words: ArrayLike | None, rounding: Rounding, shape: tuple[int, ...]) -> IntArray:
    """Words of a stochastic rounding in a given shape, or 0 for the other modes (see `round_to` for the errors)."""
    if not rounding.stochastic:
        return np.zeros((), np.int64)
    if words is None:
        raise ValueError(f"words are needed by rounding {rounding}")
    u = np.asarray(words)
    if u.dtype.kind not in "ui":
        raise TypeError(f"words must be integers, not {u.dtype}")
    if u.size and (int(u.min()) < 0 or int(u.max()) >> rounding.random_bits):
        raise ValueError(f"words of {rounding} must be in 0..{(1 << rounding.random_bits) - 1}")
    return np.broadcast_to(u.astype(np.int64), shape)
