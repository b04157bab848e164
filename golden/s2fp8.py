"""S2FP8, shifted and squeezed FP8 (Cambier et al. 2020, arXiv 2001.05674): E5M2 codes beside two statistics per tensor.

    mu = mean of log2|x|,  m = maximum of log2|x|, both over the x that are not 0
    alpha = 15 / (m - mu),  beta = -alpha * mu
    Y = sign(x) * 2^beta * |x|^alpha, so that log2|Y| has mean 0 and maximum 15
    codes = Y rounded to E5M2;  decoded: sign * (2^-beta * |Y|)^(1 / alpha)                                  (eq. 5)

Everything is float64 but the codes, with NumPy's log2 and exp2, whose last bit is the platform's; what hardware does,
by tables of log2 and exp2, is in `quaver.golden.s2fp8_fixed`.  A product of codes is no code of the product unless both
alphas are 1: a GEMM decodes first.
"""

from dataclasses import dataclass
from math import inf
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden import engine
from quaver.golden.casts import encode
from quaver.golden.catalog import E5M2
from quaver.golden.errors import check_range
from quaver.golden.formats import all_values, checked_codes
from quaver.golden.lane_words import LaneWords
from quaver.golden.rounding import RNE, Rounding
from quaver.golden.s2fp8_bins import codes_by_bins, power
from quaver.golden.scalars import as_reals, check_positive, check_real

S2FP8_TOP = 15.0
"""log2 of the largest |Y|: below E5M2's largest number, 57344."""
ALPHA_MAX = 4096.0
"""Largest alpha: as far as alpha * log2|x| in float32 is good to a fraction of E5M2's ulp for every float32 x."""


class S2fp8Parameters(NamedTuple):
    """How a tensor is squeezed and shifted."""

    alpha: float
    """Squeeze: the factor of log2|x|, above 0."""
    beta: float
    """Shift: what is added to it."""


class S2fp8Tensor(NamedTuple):
    """A tensor in S2FP8."""

    codes: NDArray[np.unsignedinteger]
    """E5M2 codes, of the tensor's shape."""
    alpha: float
    """Squeeze."""
    beta: float
    """Shift."""


@dataclass(frozen=True, kw_only=True)
class S2fp8Statistics:
    """What S2FP8 knows of a tensor; zeros are not counted.

    Raises
    ------
    TypeError, ValueError
        If a field is out of its range or the maximum below the mean; the message names the field.
    """

    count: int = 0
    """Elements that are not 0."""
    mean: float = 0.0
    """Mean of their log2|x|; 0 where there are none."""
    maximum: float = 0.0
    """Largest of their log2|x|; 0 where there are none."""

    def __post_init__(self) -> None:
        check_range("count", self.count, 0, (1 << 63) - 1)
        mean, maximum = check_real("mean", self.mean), check_real("maximum", self.maximum)
        if maximum < mean:
            raise ValueError(f"maximum must be at least the mean {mean}, not {maximum}")


def s2fp8_statistics(x: ArrayLike) -> S2fp8Statistics:
    """Statistics of an array of any shape; TypeError for what is no real number, ValueError for Inf and NaN."""
    return _statistics(_logarithms(as_reals("x", x)))


def _logarithms(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """log2|x|, -Inf of 0."""
    with np.errstate(divide="ignore"):
        return np.log2(np.abs(values))


def _statistics(logarithms: NDArray[np.float64]) -> S2fp8Statistics:
    some_are_zero = logarithms.min(initial=0.0) == -inf
    logs = logarithms[logarithms != -inf] if some_are_zero else logarithms.ravel()
    if not logs.size:
        return S2fp8Statistics()
    maximum = float(logs.max())
    # The mean of equal numbers may round to above them.
    return S2fp8Statistics(count=logs.size, mean=min(float(logs.mean()), maximum), maximum=maximum)


def s2fp8_parameters(statistics: S2fp8Statistics) -> S2fp8Parameters:
    """alpha and beta of a tensor.

    The paper does not say what becomes of a tensor whose magnitudes are all equal, or of one without any.  Our choice:
    where alpha would exceed `ALPHA_MAX`, that is m - mu < 15 / 4096, alpha = 1 and beta = -mu (no squeeze; the mean of
    log2|Y| is 0 still); for a tensor of zeros alpha = 1 and beta = 0.
    """
    if statistics.count == 0:
        return S2fp8Parameters(1.0, 0.0)
    spread = statistics.maximum - statistics.mean
    alpha = S2FP8_TOP / spread if spread * ALPHA_MAX >= S2FP8_TOP else 1.0
    return S2fp8Parameters(alpha, 0.0 - alpha * statistics.mean)  # 0 - 0 is +0


def s2fp8_squeeze(x: ArrayLike, alpha: float, beta: float) -> NDArray[np.float64]:
    """Y = sign(x) * 2^(alpha * log2|x| + beta) as float64; zeros keep their sign.

    Parameters of another tensor may take a value beyond float64: it becomes Inf or 0.

    Raises
    ------
    TypeError, ValueError
        For an `x`, alpha or beta that is no finite real number, and an alpha that is not above 0.
    """
    values = as_reals("x", x)
    alpha, beta = check_positive("alpha", alpha), check_real("beta", beta)
    return np.copysign(power(_logarithms(values), alpha, beta), values)


def s2fp8_unsqueeze(y: ArrayLike, alpha: float, beta: float) -> NDArray[np.float64]:
    """The inverse (eq. 5): sign(y) * 2^((log2|y| - beta) / alpha); Inf, NaN and zeros keep their sign.

    Raises
    ------
    TypeError, ValueError
        For an alpha or beta that is no finite real number, and an alpha that is not above 0.
    """
    values = np.asarray(y, dtype=np.float64)
    alpha, beta = check_positive("alpha", alpha), check_real("beta", beta)
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        return np.copysign(np.exp2((np.log2(np.abs(values)) - beta) / alpha), values)


def s2fp8_encode(
    x: ArrayLike,
    rounding: Rounding = RNE,
    *,
    parameters: tuple[float, float] | None = None,
    words: ArrayLike | LaneWords | None = None,
    saturate: bool = False,
) -> S2fp8Tensor:
    """Squeeze, shift and round an array of any shape.

    Parameters
    ----------
    x:
        Finite real numbers.
    parameters:
        alpha and beta; by default those of `x`.  Those of an earlier step may let values overflow.
    rounding, words, saturate:
        As in `quaver.golden.encode`; the paper rounds to nearest, ties to even.

    Raises
    ------
    TypeError, ValueError
        As `s2fp8_squeeze` and `quaver.golden.encode`.
    """
    values = as_reals("x", x)
    logarithms = _logarithms(values)
    alpha, beta = s2fp8_parameters(_statistics(logarithms)) if parameters is None else parameters
    alpha, beta = check_positive("alpha", alpha), check_real("beta", beta)
    if engine.selected() and not rounding.stochastic:
        codes = codes_by_bins(logarithms, alpha, beta, rounding, saturate)
        codes = codes | np.signbit(values).astype(E5M2.dtype) * E5M2.sign_mask
    else:
        y = np.copysign(power(logarithms, alpha, beta), values)
        codes = encode(y, E5M2, rounding, words=words, saturate=saturate)
    return S2fp8Tensor(codes, alpha, beta)


def s2fp8_decode(codes: ArrayLike, alpha: float, beta: float) -> NDArray[np.float64]:
    """Values of E5M2 codes as float64 (see `s2fp8_unsqueeze` for the errors, and `decode` for those of codes)."""
    return s2fp8_unsqueeze(all_values(E5M2), alpha, beta).take(checked_codes(codes, E5M2), mode="clip")
