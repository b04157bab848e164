"""The output unit: sums of the outer accumulator become results, and tell what they were.

A sum y is multiplied by 2^exponent, exactly, squeezed where S2FP8 asks for it, and rounded once to the target format.
Statistics are of y itself, before all that: `amax` and logarithms in the source format, so that they do not depend on
the scale that they may serve to choose; counts of what the one rounding made of y.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden.formats import Format, decode
from quaver.golden.lane_words import LaneWords, words_of
from quaver.golden.logarithms import log2_fixed
from quaver.golden.rounding import RNE, Rounding, round_magnitude
from quaver.golden.s2fp8_fixed import power_law
from quaver.golden.scaling import round_result, scaled

LOG2_NONE = -(1 << 31)
"""`log2_max` where there is no logarithm: the smallest number of its register, below every logarithm."""


@dataclass(frozen=True, kw_only=True)
class OutputStatistics:
    """What an output unit tells of the sums y that it was given; the sum of two is that of their tensors together.

    Counters of the hardware have 32 bits, `log2_sum` 64: enough for 2^32 - 1 sums between two reports.
    """

    amax: int = 0
    """Largest finite |y|, a code of the source format; 0 where there is none but zeros."""
    nonzeros: int = 0
    """Finite y that are not 0."""
    overflows: int = 0
    """Results beyond the target's largest number, before they saturate; an infinite y is one, whatever the target."""
    underflows: int = 0
    """Finite y that are not 0 and whose result is 0."""
    nans: int = 0
    """y that are NaN, the merged code of `dlfloat` among them; an overflow of a format without Inf is not."""
    log2_sum: int = 0
    """Sum of log2|y| over the `nonzeros`, each in units of 2^-`LOG2_FRACTION_BITS`; signed."""
    log2_max: int = LOG2_NONE
    """Largest of them, which is that of `amax`; signed."""

    def __add__(self, other: "OutputStatistics") -> "OutputStatistics":
        return OutputStatistics(
            amax=max(self.amax, other.amax),
            nonzeros=self.nonzeros + other.nonzeros,
            overflows=self.overflows + other.overflows,
            underflows=self.underflows + other.underflows,
            nans=self.nans + other.nans,
            log2_sum=self.log2_sum + other.log2_sum,
            log2_max=max(self.log2_max, other.log2_max),
        )


class Output(NamedTuple):
    """What leaves the output unit."""

    codes: NDArray[np.unsignedinteger]
    """Results, of the target format."""
    statistics: OutputStatistics
    """Of the sums that they were."""


def output(
    codes: ArrayLike,
    source: Format,
    target: Format,
    rounding: Rounding = RNE,
    *,
    exponent: int = 0,
    words: ArrayLike | LaneWords | None = None,
    saturate: bool = False,
    squeeze: tuple[int, int] | None = None,
) -> Output:
    """Results and statistics of sums: `rescale`, but that a NaN in a format without NaN is +0, and counted.

    Parameters
    ----------
    codes:
        Sums, codes of `source`, of any shape; without the lanes that a command does not use.
    exponent, words, saturate:
        As in `rescale`.
    squeeze:
        S2FP8's registers (`quaver.golden.squeeze_registers`): the scaled sums are squeezed and shifted by `power_law`
        before they are rounded.  None: they are not.

    Raises
    ------
    TypeError, ValueError
        For codes or words that are no integers or out of range, and as `power_law`.
    """
    y = decode(codes, source)
    u = words_of(words, y.sign.shape, rounding)
    x = scaled(codes, source, exponent)
    if squeeze is not None:
        x = power_law(x, squeeze)
    encoded = x if target.nan_code is not None else x._replace(sign=x.sign & ~x.nan, nan=np.zeros_like(x.nan))
    results = round_result(encoded, target, rounding, words=u, saturate=saturate)

    nonzero = ~(y.inf | y.nan) & (y.significand != 0)
    rounded = round_magnitude(x, target, rounding, words=u)
    magnitudes = (np.asarray(codes).astype(np.int64) & source.magnitude_mask)[nonzero]
    logarithms = log2_fixed(magnitudes, source)
    statistics = OutputStatistics(
        amax=int(magnitudes.max(initial=0)),
        nonzeros=int(nonzero.sum()),
        overflows=int((y.inf | (nonzero & (rounded > target.max_code))).sum()),
        underflows=int((nonzero & (rounded == 0)).sum()),
        nans=int(y.nan.sum()),
        log2_sum=int(logarithms.sum()),
        log2_max=int(logarithms.max(initial=LOG2_NONE)),
    )
    return Output(results, statistics)
