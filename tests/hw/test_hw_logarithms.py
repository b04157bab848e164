# amaranth: UnusedElaboratable=no
"""Log2 and Exp2 in Amaranth's simulator, bit for bit the golden tables."""

import numpy as np
import pytest

from quaver.golden import from_float
from quaver.golden.logarithms import (
    EXP2_TABLE,
    LOG2_FRACTION_BITS,
    SIGNIFICAND_BITS,
    interpolate,
    log2_exact,
)
from quaver.hw.exp2 import Exp2
from quaver.hw.log2 import Log2


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 7, 8, 9, 10, 11, 14, 24])
def test_log2(play, bits):
    low, high = 1 << bits - 1, 1 << bits
    significands = np.arange(low, high) if bits <= 12 else np.random.default_rng(bits).integers(low, high, 6000)
    significands[-1] = high - 1
    got = play(Log2(bits), {"significand": significands}, ["fraction"], clocked=False)["fraction"]
    expected = log2_exact(from_float(significands.astype(float))) - (bits - 1 << LOG2_FRACTION_BITS)
    assert len(got) == min(low, 6000)
    np.testing.assert_array_equal(got, expected)


def test_exp2(play):
    fractions = np.arange(0, 1 << LOG2_FRACTION_BITS, 5)
    got = play(Exp2(), {"fraction": fractions}, ["significand"], clocked=False)["significand"]
    assert len(got) == 13_108
    np.testing.assert_array_equal(got, interpolate(EXP2_TABLE, fractions, LOG2_FRACTION_BITS))


@pytest.mark.parametrize("bits", [0, 25])
def test_width_is_checked(bits):
    with pytest.raises(
        ValueError, match=rf"^significand_bits must be an integer in 1\.\.{SIGNIFICAND_BITS}, not {bits}$"
    ):
        Log2(bits)
