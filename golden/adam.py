"""Adam and AdamW with every rounding told.

    w = q(w - (lr * weight_decay) * w)              decoupled decay, or else  g = q(g + weight_decay * w)
    m = q(beta1 * m + (1 - beta1) * g)
    v = q(beta2 * v + (1 - beta2) * h)              h = g * g in FP32, rounded to nearest
    u = mhat / (sqrt(vhat) + eps)                   float64, then rounded to nearest to FP32
    w = q(w - lr * u)

Each q is one rounding of an exact sum of exact products.  h is exact in formats of at most 12 significant bits but for
FP32's range (fp16, bf16, 1-6-9).  With t steps done, this one included, mhat = m / (1 - beta1^t) and
vhat = v / (1 - beta2^t); these, the root, the sum and the quotient are float64 operations, each correctly rounded (IEEE
754), the powers by repeated squaring.  u is therefore the float64 quotient rounded once more, not the correctly rounded
one of the real numbers: it may differ from that by an ulp of FP32 where float64 lands on the other side of a tie.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden.arithmetic import Accumulator, Overflow
from quaver.golden.casts import encode
from quaver.golden.catalog import FP32
from quaver.golden.errors import check_choice, check_range
from quaver.golden.formats import Format
from quaver.golden.lane_words import LaneWords
from quaver.golden.lfsr import UPDATE_GENERATORS
from quaver.golden.rounding import RNE, Rounding
from quaver.golden.scalars import check_fraction, check_not_negative, check_positive
from quaver.golden.update import Codes, as_gradient, as_tensor, check_shapes, scalar_of
from quaver.golden.weighted_sums import Weighted, values_of, weighted_sum


class AdamStep(NamedTuple):
    """What a step leaves behind: the next one needs all of it."""

    weights: Codes
    """Codes of the weights."""
    mean: Codes
    """Codes of m, the running mean of the gradient."""
    square: Codes
    """Codes of v, the running mean of its square."""
    words: LaneWords
    """The law of the words that come next."""


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam (Kingma and Ba 2015), or AdamW (Loshchilov and Hutter 2019) where the decay is decoupled.

    The four lines with a q (see the module) are stages of one pipeline, in the order above, whose words are dealt as
    those of `Sgd`.  lr, weight_decay (decoupled: lr * weight_decay), beta1, beta2, 1 - beta1 and 1 - beta2 are computed
    in float64 and rounded once to `scalar`; the bias corrections and eps stay float64.

    Raises
    ------
    TypeError, ValueError
        If a field is out of its range; the message names the field.
    """

    lr: float = 1e-3
    """Learning rate, at least 0."""
    beta1: float = 0.9
    """Decay of the mean, at least 0 and below 1."""
    beta2: float = 0.999
    """Decay of the mean square, likewise."""
    eps: float = 1e-8
    """What keeps the quotient finite, above 0."""
    weight_decay: float = 0.0
    """At least 0."""
    decoupled: bool = True
    """Whether the decay acts on the weights (AdamW) and not through the gradient."""
    format: Format = FP32
    """Format of the weights and of the gradient."""
    moments: Format | None = None
    """Format of m and v; by default `format`."""
    rounding: Rounding = RNE
    """Rounding of every q."""
    overflow: Overflow = "special"
    """What becomes of a result beyond the largest number, as in `Accumulator`."""
    scalar: Format = FP32
    """Format of the scalars: 1-6-9 would make 1 of a beta2 of 0.9996."""
    lanes: int = 16
    """Lanes of the update unit, 1 to 65536."""
    seed: int = 0
    """Seed of the lanes' generators."""

    def __post_init__(self) -> None:
        check_not_negative("lr", self.lr)
        check_fraction("beta1", self.beta1)
        check_fraction("beta2", self.beta2)
        check_positive("eps", self.eps)
        check_not_negative("weight_decay", self.weight_decay)
        check_choice("decoupled", self.decoupled, (True, False))
        check_range("lanes", self.lanes, 1, 1 << 16)
        check_range("seed", self.seed, 0, (1 << 32) - 1)
        for fmt in (self.format, self.moments or self.format):
            Accumulator(format=fmt, rounding=self.rounding, overflow=self.overflow)
        for field in ("lr", "beta1", "beta2", "weight_decay"):
            scalar_of(field, getattr(self, field), self.scalar)

    @property
    def words(self) -> LaneWords:
        """The law at the start of training."""
        return LaneWords(lanes=self.lanes, generators=UPDATE_GENERATORS, seed=self.seed)

    def step(
        self,
        weights: ArrayLike,
        mean: ArrayLike,
        square: ArrayLike,
        gradient: ArrayLike,
        words: LaneWords,
        *,
        t: int,
    ) -> AdamStep:
        """One update of one tensor.

        Parameters
        ----------
        weights:
            Codes of `format`.
        mean, square:
            Codes of `moments`, of the same shape; both start at zero.
        gradient:
            Codes of `format` (integers), or floats, which are cast to it (`rne`); of the same shape.
        words:
            The law, as in `Sgd.step`.
        t:
            Number of this step, from 1.

        Raises
        ------
        TypeError, ValueError
            For codes that are no integers or out of range, shapes that differ, and NaN in a `finite` format.
        """
        check_range("t", t, 1, (1 << 63) - 1)
        fmt, moments, saturate = self.format, self.moments or self.format, self.overflow == "saturate"
        w = as_tensor("weights", weights, fmt)
        m, v = as_tensor("mean", mean, moments), as_tensor("square", square, moments)
        g = as_gradient(gradient, fmt, saturate)
        check_shapes(w, mean=m, square=v, gradient=g)

        def weighted(field: str, factor: float, codes: Codes, of: Format) -> Weighted:
            return Weighted(scalar_of(field, factor, self.scalar), codes, of)

        def q(stage: int, x: Weighted, y: Weighted, into: Format) -> Codes:
            accumulator = Accumulator(format=into, rounding=self.rounding, overflow=self.overflow)
            return weighted_sum(x, y, accumulator, words.stage(stage))

        def decayed(stage: int, beta: float, old: Codes, new: Codes, new_format: Format) -> Codes:
            """q(beta * old + (1 - beta) * new), as codes of the moments' format."""
            kept = weighted("beta", beta, old, moments)
            return q(stage, kept, weighted("1 - beta", 1 - beta, new, new_format), moments)

        if self.decoupled:
            decay = weighted("lr * weight_decay", -(self.lr * self.weight_decay), w, fmt)
            w = q(0, decay, Weighted(1.0, w, fmt), fmt)
        else:
            g = q(0, weighted("weight_decay", self.weight_decay, w, fmt), Weighted(1.0, g, fmt), fmt)
        h = encode(np.square(values_of(g, fmt)), FP32, saturate=saturate)  # exact before it is rounded
        m = decayed(1, self.beta1, m, g, fmt)
        v = decayed(2, self.beta2, v, h, FP32)
        u = encode(self.direction(m, v, t), FP32, saturate=saturate)
        w = q(3, weighted("lr", -self.lr, u, FP32), Weighted(1.0, w, fmt), fmt)
        return AdamStep(w, m, v, words.after(w.size))

    def direction(self, mean: ArrayLike, square: ArrayLike, t: int) -> NDArray[np.float64]:
        """mhat / (sqrt(vhat) + eps) of codes of m and v after `t` steps, in float64."""
        m, v = (values_of(codes, self.moments or self.format) for codes in (mean, square))
        # Inf and NaN take their course; a quotient of finite numbers may be beyond float64 only by a tiny eps.
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            return (m / (1 - _power(self.beta1, t))) / (np.sqrt(v / (1 - _power(self.beta2, t))) + self.eps)


def _power(base: float, exponent: int) -> float:
    """base^exponent by repeated squaring, the same on every platform."""
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result
