# amaranth: UnusedElaboratable=no
"""log2 and exp2 in Amaranth's own simulator: the bits of golden."""

from collections.abc import Callable

import numpy as np
import pytest

from quaver.golden.logarithms import (
    EXP2_TABLE,
    INDEX_BITS,
    LOG2_FRACTION_BITS,
    LOG2_TABLE,
    SIGNIFICAND_BITS,
    interpolate,
)
from quaver.hw.exp2 import Exp2
from quaver.hw.log2 import Log2

Play = Callable[..., dict[str, np.ndarray]]


@pytest.mark.parametrize("bits", [1, 2, 3, 8, 9, 10, 11, 24])
def test_log2(play: Play, bits: int) -> None:
    """Every significand of up to 11 bits: a shorter one is a longer one with zeros."""
    fractions = np.arange(1 << bits - 1)
    if bits > 11:
        fractions = np.unique(np.r_[fractions[:500], fractions[-500:], fractions[:: (1 << bits - 1) // 2000]])
    significands = fractions | 1 << bits - 1
    got = play(Log2(bits), {"significand": significands}, ["fraction"], clocked=False)["fraction"]
    expected = interpolate(LOG2_TABLE, fractions << (SIGNIFICAND_BITS - bits), SIGNIFICAND_BITS - 1)
    np.testing.assert_array_equal(got, expected)
    assert len(got) >= min(1 << bits - 1, 3000)


def test_exp2(play: Play) -> None:
    """Both ends of every segment, and each place within some."""
    width = 1 << LOG2_FRACTION_BITS - INDEX_BITS
    ends = np.arange(1, 1 << INDEX_BITS) * width
    fractions = np.unique(np.r_[ends - 1, ends, np.arange(2 * width), (1 << LOG2_FRACTION_BITS) - 1 - np.arange(width)])
    got = play(Exp2(), {"fraction": fractions}, ["significand"], clocked=False)["significand"]
    np.testing.assert_array_equal(got, interpolate(EXP2_TABLE, fractions, LOG2_FRACTION_BITS))
    assert len(got) > 3 * width


@pytest.mark.parametrize("bits", [0, 25])
def test_significands_have_1_to_24_bits(bits: int) -> None:
    with pytest.raises(ValueError) as error:
        Log2(bits)
    assert str(error.value) == f"significand_bits must be an integer in 1..24, not {bits}"
