"""Checks of real numbers that a user gives: scales, rates, statistics."""

from math import frexp, inf, isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray


def check_real(field: str, value: object) -> float:
    """The value as a float.

    Raises
    ------
    TypeError
        If it is no real number (a boolean is none).
    ValueError
        If it is infinite or NaN, also as a float64.
    """
    number = as_float(field, value)
    if not isfinite(number):
        raise ValueError(f"{field} must be finite, not {number}")
    return number


def check_not_negative(field: str, value: object) -> float:
    """Like `check_real`, at least 0."""
    number = as_float(field, value)
    if not 0 <= number < inf:
        raise ValueError(f"{field} must be a finite number of at least 0, not {number}")
    return number


def check_positive(field: str, value: object) -> float:
    """Like `check_real`, above 0."""
    number = as_float(field, value)
    if not 0 < number < inf:
        raise ValueError(f"{field} must be a finite number above 0, not {number}")
    return number


def check_fraction(field: str, value: object) -> float:
    """Like `check_real`, in [0, 1)."""
    number = as_float(field, value)
    if not 0 <= number < 1:
        raise ValueError(f"{field} must be at least 0 and below 1, not {number}")
    return number


def check_power_of_two(field: str, value: object) -> float:
    """Like `check_real`, 2^k for an integer k."""
    number = as_float(field, value)
    if not 0 < number < inf or frexp(number)[0] != 0.5:
        raise ValueError(f"{field} must be a power of two, not {number}")
    return number


def as_float(field: str, value: object) -> float:
    """The value as a float, Inf and NaN too; TypeError for what is no real number, ValueError beyond float64."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{field} must be a real number, not {value!r}")
    try:
        return float(value)
    except OverflowError:
        digits = int(value).bit_length()
        raise ValueError(f"{field} must be in the range of float64, not an integer of {digits} bits") from None


def is_float(dtype: np.dtype) -> bool:
    """Whether the type is one of floats, ml_dtypes' included."""
    # ml_dtypes registers some of its types under the kind of raw bytes, whose own type is np.void.
    return dtype.kind == "f" or (dtype.kind == "V" and dtype.type is not np.void)


def as_reals(field: str, values: ArrayLike) -> NDArray[np.float64]:
    """An array of finite float64 (see `check_real` for the errors); ml_dtypes' types are real numbers too."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu" and not is_float(array.dtype):
        raise TypeError(f"{field} must be real numbers, not {array.dtype}")
    with np.errstate(invalid="ignore"):  # widening a signalling NaN
        wide = array.astype(np.float64)
    if not np.isfinite(wide).all():
        raise ValueError(f"{field} must be finite")
    return wide
