"""S2FP8 codes from the table of bins against the definition, where codes change and all over the range."""

import numpy as np
import pytest

from quaver.golden import RHA, RNE, RTZ, engine, to_float
from quaver.golden.catalog import E5M2
from quaver.golden.s2fp8 import S2FP8_TOP, s2fp8_encode
from quaver.golden.s2fp8_bins import ALPHA_LIMIT, BETA_LIMIT, HIGHEST, LOWEST, _codes_of_bins

PARAMETERS = [
    *((1.0, 0.0), (2.5, -3.25), (0.11, 7.3), (37.0, 511.1), (4096.0, 0.0), (4000.0, -4000.0 * 900.3)),
    *((4095.9, 4095.9 * 1000.7), (ALPHA_LIMIT * 1.01, 3.0), (1.0, 2 * BETA_LIMIT), (1e300, -1e300)),
]


def thresholds() -> np.ndarray:
    """Where roundings change their minds: numbers of E5M2, half way between them, and ends of the bins."""
    numbers = np.append(to_float(np.arange(1, E5M2.max_code + 1), E5M2), 2.0**16)
    between = (np.append(0.0, numbers[:-1]) + numbers) / 2
    return np.concatenate([np.log2(numbers), np.log2(between), np.arange(LOWEST - 1, HIGHEST + 1, 1 / 16)])


@pytest.mark.parametrize("saturate", [False, True])
@pytest.mark.parametrize("rounding", [RNE, RHA, RTZ], ids=str)
@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
def test_codes_at_the_thresholds_are_the_definitions(parameters, rounding, saturate):
    alpha, beta = parameters
    with np.errstate(over="ignore", under="ignore"):
        near = np.exp2((thresholds() - beta) / alpha)
    near = near[np.isfinite(near)]
    steps = np.concatenate([np.arange(20), 2.0 ** np.arange(5, 34)])
    x = np.concatenate([near + step * np.spacing(near) for step in (*steps, *-steps)])
    x = np.concatenate([x, -x, [0.0, -0.0, 5e-324, 1.7e308]])
    codes = s2fp8_encode(x, rounding, parameters=parameters, saturate=saturate).codes
    with engine.using("numpy"):
        wanted = s2fp8_encode(x, rounding, parameters=parameters, saturate=saturate).codes
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(codes, wanted)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (300, 1000)], ids=str)
@pytest.mark.parametrize("scale", [1.0, 3.0], ids=["narrow", "wide"])
def test_codes_of_tensors_are_the_definitions(shape, scale):
    rng = np.random.default_rng(3)
    x = np.asarray(np.exp(rng.standard_normal(shape) * scale) * rng.standard_normal(shape) * rng.integers(0, 2, shape))
    x = x.astype(np.float32).T
    found = s2fp8_encode(x)
    with engine.using("numpy"):
        wanted = s2fp8_encode(x)
    np.testing.assert_array_equal(found.codes, wanted.codes)
    assert np.shape(found.codes) == shape[::-1]
    assert found[1:] == wanted[1:]


def test_most_bins_have_a_code():
    """Else the table would be of no use; `rtz` tells what is too large from what is too large for float64, too."""
    for rounding, last in ((RNE, E5M2.inf_code), (RHA, E5M2.inf_code), (RTZ, 0xFF)):
        table = _codes_of_bins(rounding, False)
        assert (table != 0xFF).mean() > 0.97
        assert (table[0], table[-1]) == (0, last)
    assert LOWEST < S2FP8_TOP < HIGHEST
