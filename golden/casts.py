"""Casts of floats to codes: checked, then handed to the definition or to its compiled twin."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden import compiled, engine
from quaver.golden.formats import Format, from_float
from quaver.golden.lane_words import LaneWords, words_of
from quaver.golden.rounding import RNE, Rounding, checked_words, round_to


def encode(
    values: ArrayLike,
    fmt: Format,
    rounding: Rounding = RNE,
    *,
    words: ArrayLike | LaneWords | None = None,
    saturate: bool = False,
) -> NDArray[np.unsignedinteger]:
    """Cast floats of any shape to codes of `fmt`.

    Parameters
    ----------
    values:
        An array of any NumPy float type up to float64, ml_dtypes' types included, or of integers below 2^53.
    words:
        For a stochastic rounding: integers in 0 .. 2^r - 1 that broadcast to the values' shape, or the law of an output
        unit's lanes, which makes them.
    saturate:
        See `round_to`.

    Raises
    ------
    TypeError
        If `values` are no real numbers or `words` no integers.
    ValueError
        If words are missing or out of range, or a NaN meets a `finite` format.
    """
    v = np.asarray(values)
    if v.dtype.kind not in "fiuV" or (v.dtype.kind == "V" and not np.can_cast(v.dtype, np.float64)):
        raise TypeError(f"values must be real numbers, not {v.dtype}")
    dealt: NDArray[np.integer] | LaneWords | None = None
    if rounding.stochastic:
        dealt = words if isinstance(words, LaneWords) else checked_words(words, rounding, v.shape)
    if engine.selected():
        exact_in_float32 = v.dtype.kind == "V" or (v.dtype.kind == "f" and v.itemsize <= 4)
        with np.errstate(invalid="ignore"):  # widening a signalling NaN
            floats = v.astype(np.float32 if exact_in_float32 else np.float64, copy=False)
        codes = compiled.encode(floats, fmt, rounding, dealt, saturate)
        if codes is not None:
            return codes
    return round_to(from_float(v), fmt, rounding, words=words_of(dealt, v.shape, rounding), saturate=saturate)
