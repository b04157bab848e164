"""The update of weights as rounded AXPYs (Wang et al. 2018, as QPyTorch's IBM8 example emulates it).

    g = q(g + weight_decay * w)        L2-Reg
    v = q(momentum * v + g)            Momentum-Acc
    w = q(w - lr * v)                  Weight-Upd

Each q is one rounding of an exact sum with an exact product; weights and velocity are codes of one format.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import copysign
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden.arithmetic import Accumulator, Overflow
from quaver.golden.casts import encode
from quaver.golden.catalog import DLFLOAT16
from quaver.golden.errors import check_choice, check_range
from quaver.golden.formats import Format, checked_codes
from quaver.golden.lane_words import LaneWords
from quaver.golden.lfsr import UPDATE_GENERATORS
from quaver.golden.rounding import RNE, Rounding, sr
from quaver.golden.scalars import check_fraction, check_not_negative, check_real, is_float
from quaver.golden.weighted_sums import Weighted, values_of, weighted_sum

Codes = NDArray[np.unsignedinteger]


def axpy(
    alpha: float,
    x: ArrayLike,
    y: ArrayLike,
    fmt: Format,
    rounding: Rounding = RNE,
    *,
    words: ArrayLike | LaneWords | None = None,
    saturate: bool = False,
    scalar: Format | None = None,
) -> Codes:
    """round(alpha * x + y): exact product, exact sum, one rounding.

    Parameters
    ----------
    alpha:
        A finite real number, rounded (`rne`) to `scalar` before it is used: it may become 0.
    x, y:
        Codes of `fmt`, of shapes that broadcast against each other.
    words, saturate:
        As in `quaver.golden.encode`.
    scalar:
        Format of `alpha`; by default `fmt`.

    Returns
    -------
    Codes of `fmt`; NaNs are canonical, as after any sum.

    Raises
    ------
    TypeError, ValueError
        For an `alpha` that is no number, infinite, NaN or beyond the largest number of `scalar`; for codes or words
        that are no integers or out of range; for an unsigned format; for a NaN result in a `finite` one.
    """
    factor = scalar_of("alpha", alpha, scalar or fmt)
    accumulator = Accumulator(format=fmt, rounding=rounding, overflow="saturate" if saturate else "special")
    return weighted_sum(Weighted(factor, x, fmt), Weighted(1.0, y, fmt), accumulator, words)


def scalar_of(field: str, value: float, fmt: Format) -> float:
    """A real number as `fmt` holds it, rounded to nearest; see `axpy` for the errors, which name `field`."""
    number = check_real(field, value)
    if abs(number) > fmt.max_finite:
        raise ValueError(f"{field} must be within {fmt.max_finite}, the largest number of {fmt}, not {number}")
    if not fmt.signed:
        raise ValueError(f"format of {field} must be signed, not {fmt}")
    return _held(abs(number), copysign(1.0, number), fmt)


@lru_cache(maxsize=256)
def _held(magnitude: float, sign: float, fmt: Format) -> float:
    # The sign comes apart, as 0.0 and -0.0 are the same key.
    return float(values_of(encode(copysign(magnitude, sign), fmt), fmt))


class SgdStep(NamedTuple):
    """What a step leaves behind: the next one needs all of it."""

    weights: Codes
    """Codes of the weights."""
    velocity: Codes
    """Codes of the velocity."""
    words: LaneWords
    """The law of the words that come next."""


@dataclass(frozen=True, kw_only=True)
class Sgd:
    """Stochastic gradient descent with momentum and L2 regularisation, in three AXPYs.

    With `nesterov` there is a fourth before the last, u = q(momentum * v + g), and the weights follow u instead of v.

    The AXPYs are stages of one pipeline, in the order above, and a tensor is issued to its lanes in C order; each stage
    of a lane has a generator of its own, which steps once per item under every rounding and with a zero scalar too.
    The scalars are rounded once, to `scalar`.

    Raises
    ------
    TypeError, ValueError
        If a field is out of its range; the message names the field.
    """

    lr: float
    """Learning rate, at least 0."""
    momentum: float = 0.0
    """At least 0 and below 1.  With 0, v is g again, but still an AXPY."""
    weight_decay: float = 0.0
    """Factor of the weights in the gradient, at least 0."""
    nesterov: bool = False
    """Whether the weights follow momentum * v + g."""
    format: Format = DLFLOAT16
    """Format of weights, velocity and gradient.  Wang et al. keep all three in 1-6-9."""
    rounding: Rounding = sr(16)
    """Rounding of every AXPY: stochastic in Wang et al., who do not say with how many bits; 16 is what hardware has."""
    overflow: Overflow = "special"
    """What becomes of a result beyond the largest number, as in `Accumulator`."""
    scalar: Format | None = None
    """Format of lr, momentum and weight decay; by default `format`."""
    lanes: int = 16
    """Lanes of the update unit, 1 to 65536."""
    seed: int = 0
    """Seed of the lanes' generators."""

    def __post_init__(self) -> None:
        check_not_negative("lr", self.lr)
        check_fraction("momentum", self.momentum)
        check_not_negative("weight_decay", self.weight_decay)
        check_choice("nesterov", self.nesterov, (True, False))
        check_range("lanes", self.lanes, 1, 1 << 16)
        check_range("seed", self.seed, 0, (1 << 32) - 1)
        Accumulator(format=self.format, rounding=self.rounding, overflow=self.overflow)
        for field in ("lr", "momentum", "weight_decay"):
            scalar_of(field, getattr(self, field), self.scalar or self.format)

    @property
    def words(self) -> LaneWords:
        """The law at the start of training."""
        return LaneWords(lanes=self.lanes, generators=UPDATE_GENERATORS, seed=self.seed)

    def step(self, weights: ArrayLike, velocity: ArrayLike, gradient: ArrayLike, words: LaneWords) -> SgdStep:
        """One update of one tensor.

        Parameters
        ----------
        weights, velocity:
            Codes of `format`, of one shape; the velocity starts at zero.
        gradient:
            Codes of `format` (integers), or floats, which are cast to it (`rne`); of the same shape.
        words:
            The law: `self.words` for a training's first tensor, then what the last step returned, of this tensor or
            of another one that the same lanes updated.

        Raises
        ------
        TypeError, ValueError
            For codes that are no integers or out of range, shapes that differ, and NaN in a `finite` format.
        """
        saturate = self.overflow == "saturate"
        w, v = as_tensor("weights", weights, self.format), as_tensor("velocity", velocity, self.format)
        g = as_gradient(gradient, self.format, saturate)
        check_shapes(w, velocity=v, gradient=g)

        def q(stage: int, alpha: float, x: Codes, y: Codes) -> Codes:
            law = words.stage(stage)
            return axpy(alpha, x, y, self.format, self.rounding, words=law, saturate=saturate, scalar=self.scalar)

        g = q(0, self.weight_decay, w, g)
        v = q(1, self.momentum, v, g)
        direction, last = (q(2, self.momentum, v, g), 3) if self.nesterov else (v, 2)
        w = q(last, -self.lr, direction, w)
        return SgdStep(w, v, words.after(w.size))


def as_tensor(field: str, codes: ArrayLike, fmt: Format) -> Codes:
    """Checked codes; the messages name `field`."""
    try:
        return checked_codes(codes, fmt).astype(fmt.dtype, copy=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{field}: {error}") from None


def as_gradient(gradient: ArrayLike, fmt: Format, saturate: bool) -> Codes:
    """Codes of a gradient that is given as codes or as floats."""
    g = np.asarray(gradient)
    return encode(g, fmt, saturate=saturate) if is_float(g.dtype) else as_tensor("gradient", g, fmt)


def check_shapes(weights: Codes, **others: Codes) -> None:
    """Raise ValueError unless all are of the weights' shape."""
    for field, array in others.items():
        if array.shape != weights.shape:
            raise ValueError(f"{field} must be of the weights' shape {weights.shape}, not {array.shape}")
