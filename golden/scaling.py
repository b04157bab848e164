"""Scales of tensors: the output unit's power of two, the bias that is the same thing, scales from the largest value.

A scale is never part of a code.  It stands beside the tensor: as a power of two that the output unit applies to a
result, exactly, before its one rounding; or as another bias of the format (HFP8; Noune et al. 2022).
"""

from dataclasses import dataclass, replace
from math import frexp, ldexp
from sys import float_info
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden.errors import check_choice, check_range
from quaver.golden.formats import Exact, Format, decode
from quaver.golden.lane_words import LaneWords, words_of
from quaver.golden.rounding import RNE, Rounding, round_to
from quaver.golden.scalars import as_float, check_not_negative
from quaver.golden.states import State

HistoryRule = Literal["max", "most_recent"]
SCALE_MIN, SCALE_MAX = -512, 511
"""Range of a command's `scale`."""
EXPONENT_MAX = 1 << 16
"""Largest magnitude of a scale's exponent: far beyond the range of any format."""


def rescale(
    codes: ArrayLike,
    source: Format,
    target: Format,
    rounding: Rounding = RNE,
    *,
    exponent: int = 0,
    words: ArrayLike | LaneWords | None = None,
    saturate: bool = False,
) -> NDArray[np.unsignedinteger]:
    """The output unit: values of `codes` times 2^exponent, exactly, rounded once to `target`.

    Parameters
    ----------
    codes:
        Codes of `source`, of any shape.
    exponent:
        Of the scale, within -65536 .. 65536.
    words, saturate:
        As in `quaver.golden.encode`.

    Returns
    -------
    Codes of `target`.  Unlike a cast's, a NaN is the canonical one, as of all that leaves the machine; so is the NaN of
    an overflow in a format without Inf.

    Raises
    ------
    TypeError, ValueError
        For codes or words that are no integers or out of range, and for a NaN where `target` has none.
    """
    x = scaled(codes, source, exponent)
    return round_result(x, target, rounding, words=words_of(words, x.sign.shape, rounding), saturate=saturate)


def scaled(codes: ArrayLike, source: Format, exponent: int) -> Exact:
    """Values of `codes` times 2^exponent, exactly (see `rescale` for the parameters and errors)."""
    check_range("exponent", exponent, -EXPONENT_MAX, EXPONENT_MAX)
    x = decode(codes, source)
    return x._replace(exponent=x.exponent + exponent)


def round_result(
    x: Exact, target: Format, rounding: Rounding = RNE, *, words: ArrayLike | None = None, saturate: bool = False
) -> NDArray[np.unsignedinteger]:
    """`round_to`, but that any NaN is the canonical one."""
    result = round_to(x._replace(sign=x.sign & ~x.nan), target, rounding, words=words, saturate=saturate)
    if target.nan_code is None:
        return result
    return np.where(decode(result, target).nan, target.nan_code, result).astype(target.dtype)


def with_bias(fmt: Format, bias: int) -> Format:
    """The format with another bias: each code's value is 2^(fmt.bias - bias) times what it was.

    Codes of values v are those of v * 2^(bias - fmt.bias) in `fmt`, so that a bias is a scale that costs nothing.
    ValueError for a bias that no format may have.
    """
    if bias == fmt.bias:
        return fmt
    name = f"{fmt.name.removesuffix(f'b{fmt.bias}')}b{bias}"
    return replace(fmt, name=name, bias=bias)


def amax_exponent(amax: float, fmt: Format, *, margin: int = 0) -> int:
    """The largest e for which amax * 2^e is at most 2^-margin times the format's largest number; 0 where amax is 0.

    Parameters
    ----------
    amax:
        Largest magnitude of a tensor, at least 0.
    margin:
        Binades to leave free at the top, 0 to 64.

    Raises
    ------
    TypeError, ValueError
        For an `amax` that is no number, negative, infinite or NaN, and for a margin out of range.
    """
    amax = check_not_negative("amax", amax)
    check_range("margin", margin, 0, 64)
    if amax == 0:
        return 0
    fraction, exponent = frexp(amax)
    top_fraction, top_exponent = frexp(fmt.max_finite)
    return top_exponent - exponent - margin - int(fraction > top_fraction)


def amax_scale(amax: float, fmt: Format, *, margin: int = 0, power_of_two: bool = True) -> float:
    """What to multiply a tensor by so that its largest magnitude lands at the top of the format.

    Micikevicius et al. 2022 (arXiv 2209.05433) keep one scale per tensor in software, a power of two or any real
    number, and undo it once per dot product.

    Parameters
    ----------
    amax, margin:
        As in `amax_exponent`.
    power_of_two:
        Whether the scale is 2^`amax_exponent`, which is exact to apply and puts `amax` in the upper half of what is
        allowed; otherwise it is the float64 quotient max_finite * 2^-margin / amax.

    Returns
    -------
    The scale; 1 where `amax` is 0.

    Raises
    ------
    TypeError, ValueError
        As in `amax_exponent`, and where the scale would not be a normal number of float64.
    """
    exponent = amax_exponent(amax, fmt, margin=margin)
    if amax == 0:
        return 1.0
    # The quotient lies in [2^exponent, 2^(exponent + 1)).
    if not float_info.min_exp <= exponent + 1 <= float_info.max_exp:
        raise ValueError(f"amax must allow a scale within float64, not {as_float('amax', amax)}")
    return ldexp(1.0, exponent) if power_of_two else ldexp(fmt.max_finite, -margin) / float(amax)


@dataclass(frozen=True, kw_only=True)
class AmaxHistory(State):
    """Delayed scaling: the largest magnitudes of a tensor in the last steps stand for that of the next.

    Raises
    ------
    TypeError, ValueError
        If a field is out of its range; the message names the field.
    """

    length: int
    """Steps that are remembered, 1 to 65536."""
    rule: HistoryRule = "max"
    """`max`: the largest of them counts; `most_recent`: the last one does."""
    values: tuple[float, ...] = ()
    """What is remembered, the last one last."""

    def __post_init__(self) -> None:
        check_range("length", self.length, 1, 1 << 16)
        check_choice("rule", self.rule, get_args(HistoryRule))
        check_range("number of values", len(self.values), 0, self.length)
        for index, value in enumerate(self.values):
            check_not_negative(f"values[{index}]", value)

    @property
    def amax(self) -> float:
        """The magnitude to scale for; 0 of an empty history, whose scale is 1."""
        if not self.values:
            return 0.0
        return max(self.values) if self.rule == "max" else self.values[-1]

    def updated(self, amax: float) -> "AmaxHistory":
        """The history after a step; a step whose `amax` is Inf or NaN must not be remembered: ValueError."""
        values = (*self.values, check_not_negative("amax", amax))
        return replace(self, values=values[-self.length :])
