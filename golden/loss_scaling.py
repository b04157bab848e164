"""Loss scales: what the loss is multiplied by so that its gradients fall into the range of an 8-bit format.

A policy is an immutable state with a `scale`; `updated` gives the state after a step.  The caller divides the gradients
by the scale that was in force, and skips the update of weights where a gradient was not finite.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import exp2, inf, isfinite, ldexp, log2, sqrt
from typing import Protocol, Self

from quaver.golden.catalog import E5M2
from quaver.golden.errors import check_choice, check_range
from quaver.golden.scalars import (
    as_float,
    check_fraction,
    check_not_negative,
    check_positive,
    check_power_of_two,
    check_real,
)
from quaver.golden.states import State

_STEPS_MAX = (1 << 63) - 1


class LossScaling(Protocol):
    """What all policies have in common."""

    @property
    def scale(self) -> float:
        """What the next step's loss is multiplied by."""
        ...

    def updated(self, amax: float) -> Self:
        """The state after a step.

        `amax` is the step's largest magnitude of a weight's gradient, the scale divided out; Inf or NaN where any
        gradient was not finite (a format that saturates tells by its count of overflows).  TypeError for what is no
        number, ValueError for a negative one.
        """
        ...

    def to_dict(self) -> dict[str, object]:
        """Plain data, from which `loss_scaling` makes the same state again."""
        ...


@dataclass(frozen=True, kw_only=True)
class ConstantScale(State):
    """One scale for the whole training, as in QPyTorch's emulation of Wang et al. 2018: 1000."""

    scale: float = 1000.0
    """Any finite number above 0."""

    def __post_init__(self) -> None:
        check_positive("scale", self.scale)

    def updated(self, amax: float) -> Self:
        _check_amax(amax)
        return self


@dataclass(frozen=True, kw_only=True)
class BackOff(State):
    """Halve the scale when a gradient is not finite, double it after `interval` clean steps (Noune et al. 2022).

    Scales are powers of two, so that scaling and unscaling are exact.  The first scale and the limits are ours.
    """

    scale: float = 2.0**16
    """The scale now, a power of two within the limits."""
    interval: int = 2000
    """Clean steps in a row after which the scale doubles; counted anew after every change or attempt of one."""
    minimum: float = 1.0
    """Power of two below which the scale does not fall."""
    maximum: float = 2.0**24
    """Power of two above which it does not rise."""
    clean: int = 0
    """Clean steps since the last change."""

    def __post_init__(self) -> None:
        _check_limits(self.minimum, self.maximum)
        check_power_of_two("scale", self.scale)
        if not self.minimum <= self.scale <= self.maximum:
            raise ValueError(f"scale must be in {self.minimum}..{self.maximum}, not {self.scale}")
        check_range("interval", self.interval, 1, _STEPS_MAX)
        check_range("clean", self.clean, 0, self.interval - 1)

    def updated(self, amax: float) -> Self:
        scale, clean = self._backed_off(amax)
        return replace(self, scale=scale, clean=clean)

    def _backed_off(self, amax: float) -> tuple[float, int]:
        """The next `scale` and `clean`."""
        _check_amax(amax)
        if not isfinite(amax):
            return max(self.scale / 2, self.minimum), 0
        if self.clean + 1 < self.interval:
            return self.scale, self.clean + 1
        return min(self.scale * 2, self.maximum), 0


@dataclass(frozen=True, kw_only=True)
class RisingFloor(BackOff):
    """Back-off whose scale stays above a floor that rises in the course of training (Mellempudi et al. 2019).

    The paper's schedule is not known to us first-hand, so there is no default: the floors are the recipe's to give.  A
    scale that a floor has lifted is the one that the next halving or doubling starts from.
    """

    floors: tuple[tuple[int, float], ...]
    """Pairs (iteration from which it holds, floor): both rising, floors powers of two up to `maximum`."""
    iteration: int = 0
    """Steps done."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("iteration", self.iteration, 0, _STEPS_MAX)
        if not isinstance(self.floors, tuple) or any(not isinstance(p, tuple) or len(p) != 2 for p in self.floors):
            raise ValueError(f"floors must be a tuple of pairs (iteration, floor), not {self.floors!r}")
        before, lower = -1, 0.0
        for index, (start, floor) in enumerate(self.floors):
            check_range(f"iteration of floors[{index}]", start, before + 1, _STEPS_MAX)
            check_power_of_two(f"floors[{index}]", floor)
            if not lower <= floor <= self.maximum:
                raise ValueError(f"floors[{index}] must be in {lower}..{self.maximum}, not {floor}")
            before, lower = start, floor
        floor = self.floor_at(self.iteration)
        if self.scale < floor:
            raise ValueError(
                f"scale must be at least {floor}, the floor of iteration {self.iteration}, not {self.scale}"
            )

    def floor_at(self, iteration: int) -> float:
        """The floor after `iteration` steps; 0 before the first one holds."""
        return max((floor for start, floor in self.floors if start <= iteration), default=0.0)

    def updated(self, amax: float) -> Self:
        scale, clean = self._backed_off(amax)
        done = self.iteration + 1
        return replace(self, scale=max(scale, self.floor_at(done)), clean=clean, iteration=done)


@dataclass(frozen=True, kw_only=True)
class LogMax(State):
    """The scale that puts mean + c * sigma of log2 max|dw| at log2 of the largest number (Noune et al. 2022).

    The paper found c = 0 best.  How the statistics are taken is ours: weighted means over the steps, weights falling by
    `decay` per step and adding up to 1 from the first step on.  So is the rounding of log2 of the scale to the nearest
    integer.  A step whose gradients are not finite, or all zero, has no logarithm and changes nothing.
    """

    largest: float = E5M2.max_finite
    """Largest number of the gradients' format."""
    c: float = 0.0
    """Standard deviations of room at the top."""
    decay: float = 0.99
    """What a step's weight in the statistics becomes with every later one, at least 0 and below 1."""
    initial: float = 2.0**16
    """Scale before anything was seen, a power of two within the limits."""
    minimum: float = 1.0
    """Power of two below which the scale does not fall."""
    maximum: float = 2.0**40
    """Power of two above which it does not rise."""
    weight: float = 0.0
    """1 - decay^(steps seen)."""
    total: float = 0.0
    """`weight` times the mean of log2 max|dw|."""
    squares: float = 0.0
    """`weight` times the mean of its square."""

    def __post_init__(self) -> None:
        check_positive("largest", self.largest)
        check_real("c", self.c)
        check_fraction("decay", self.decay)
        _check_limits(self.minimum, self.maximum)
        check_power_of_two("initial", self.initial)
        if not self.minimum <= self.initial <= self.maximum:
            raise ValueError(f"initial must be in {self.minimum}..{self.maximum}, not {self.initial}")
        check_not_negative("weight", self.weight)
        check_real("total", self.total)
        check_not_negative("squares", self.squares)

    @property
    def top(self) -> float:
        """Mean + c * sigma of log2 max|dw|; -inf before anything was seen."""
        if not self.weight:
            return -inf
        mean = self.total / self.weight
        return mean + self.c * sqrt(max(self.squares / self.weight - mean * mean, 0.0))

    @property
    def amax(self) -> float:
        """2^`top`, from which `noune_bias` makes a bias; 0 before anything was seen."""
        return exp2(min(self.top, 1023.0))

    @property
    def scale(self) -> float:
        if not self.weight:
            return self.initial
        # The limits are within float64's normal range: clipping first keeps the power in it.
        exponent = min(max(log2(self.largest) - self.top, log2(self.minimum)), log2(self.maximum))
        return ldexp(1.0, round(exponent))

    def updated(self, amax: float) -> Self:
        _check_amax(amax)
        if not isfinite(amax) or amax == 0:
            return self
        x, new = log2(amax), 1 - self.decay
        return replace(
            self,
            weight=self.decay * self.weight + new,
            total=self.decay * self.total + new * x,
            squares=self.decay * self.squares + new * x * x,
        )


def loss_scaling(table: Mapping[str, object]) -> LossScaling:
    """The state that any policy's `to_dict` wrote.

    Raises
    ------
    TypeError, ValueError
        For an unknown `kind` or key, a missing key or a bad value; the message names it.
    """
    kinds = {kind.__name__: kind for kind in (ConstantScale, BackOff, RisingFloor, LogMax)}
    check_choice("kind", table.get("kind"), kinds)
    return kinds[str(table["kind"])].from_dict(table)


def _check_amax(amax: object) -> None:
    if as_float("amax", amax) < 0:
        raise ValueError(f"amax must not be negative, not {as_float('amax', amax)}")


def _check_limits(minimum: object, maximum: object) -> None:
    low, high = check_power_of_two("minimum", minimum), check_power_of_two("maximum", maximum)
    if low > high:
        raise ValueError(f"maximum must be at least minimum = {low}, not {high}")
