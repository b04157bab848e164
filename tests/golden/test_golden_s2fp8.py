"""S2FP8: the paper's equations as laws, and our choices where it is silent."""

from math import inf, log2, nan

import ml_dtypes
import numpy as np
import pytest

from quaver.golden import LaneWords, encode, sr, to_float
from quaver.golden.catalog import E5M2
from quaver.golden.s2fp8 import (
    ALPHA_MAX,
    S2fp8Parameters,
    S2fp8Statistics,
    s2fp8_decode,
    s2fp8_encode,
    s2fp8_parameters,
    s2fp8_squeeze,
    s2fp8_statistics,
    s2fp8_unsqueeze,
)

pytestmark = pytest.mark.usefixtures("backend")

RNG = np.random.default_rng(20)
TENSORS = {
    "normal": RNG.standard_normal(5000),
    "tiny": RNG.standard_normal((50, 40)) * 2.0**-40,
    "huge": RNG.standard_normal(1000) * 1e30,
    "log-normal": np.exp(RNG.standard_normal(4000) * 6) * RNG.choice([-1.0, 1.0], 4000),
    "wide": np.ldexp(1 + RNG.random(2000), RNG.integers(-140, 120, 2000)),
    "relu": np.maximum(RNG.standard_normal((20, 30, 5)), 0),
    "two": np.array([3.0, -3.5]),
    "float32": RNG.standard_normal(3000).astype(np.float32),
    "integers": np.arange(-20, 100),
    "bfloat16": RNG.standard_normal(500).astype(ml_dtypes.bfloat16),
}


@pytest.fixture(params=TENSORS)
def x(request) -> np.ndarray:
    return TENSORS[request.param]


def reals(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64)


def test_statistics_leave_zeros_out(x):
    statistics = s2fp8_statistics(x)
    logs = [log2(abs(v)) for v in reals(x).ravel().tolist() if v]
    assert statistics.count == len(logs) > 0
    assert statistics.maximum == max(logs)
    assert abs(statistics.mean - sum(logs) / len(logs)) < 1e-9
    padded = np.concatenate([reals(x).ravel(), np.zeros(1000), -np.zeros(10)])
    assert s2fp8_statistics(padded) == statistics


def test_squeezed_logarithms_have_mean_0_and_maximum_15(x):
    """Equations 1 and 2 of the paper."""
    alpha, beta = s2fp8_parameters(s2fp8_statistics(x))
    y = s2fp8_squeeze(x, alpha, beta)
    assert y.shape == x.shape
    assert y.dtype == np.float64
    logs = np.log2(np.abs(y[y != 0]))
    assert abs(logs.mean()) < 1e-8
    assert abs(logs.max() - 15) < 1e-8
    np.testing.assert_array_equal(np.signbit(y), np.signbit(reals(x)))
    np.testing.assert_array_equal(y == 0, reals(x) == 0)


def test_the_squeeze_is_the_papers(x):
    """Y = sign(x) * 2^beta * |x|^alpha, by powers instead of logarithms; only float64's range differs."""
    alpha, beta = s2fp8_parameters(s2fp8_statistics(x))
    compared = 0
    for value, got in zip(reals(x).ravel().tolist(), s2fp8_squeeze(x, alpha, beta).ravel().tolist(), strict=True):
        if value and abs(alpha * log2(abs(value))) < 1000 and abs(beta) < 1000:
            assert abs(got) == pytest.approx(2.0**beta * abs(value) ** alpha, rel=1e-9)
            compared += 1
    assert compared > 0


def test_the_largest_is_exactly_2_to_the_15th(x):
    """15 is below log2 57344: no tensor overflows."""
    codes = s2fp8_encode(x).codes
    assert codes.dtype == np.uint8
    assert codes.shape == x.shape
    assert to_float((codes & 0x7F).max(), E5M2) == 2.0**15


def test_the_codes_are_squeezed_values_rounded_once(x):
    tensor = s2fp8_encode(x)
    np.testing.assert_array_equal(tensor.codes, encode(s2fp8_squeeze(x, tensor.alpha, tensor.beta), E5M2))
    words = LaneWords(lanes=3, seed=9)
    stochastic = s2fp8_encode(x, sr(8), words=words)
    want = encode(s2fp8_squeeze(x, tensor.alpha, tensor.beta), E5M2, sr(8), words=words)
    np.testing.assert_array_equal(stochastic.codes, want)
    assert (stochastic.alpha, stochastic.beta) == (tensor.alpha, tensor.beta)


def test_the_inverse_undoes_the_squeeze(x):
    alpha, beta = s2fp8_parameters(s2fp8_statistics(x))
    back = s2fp8_unsqueeze(s2fp8_squeeze(x, alpha, beta), alpha, beta)
    # A squeezed value may underflow float64 where alpha is large; none of these tensors is so.
    np.testing.assert_allclose(back, reals(x), rtol=1e-9)


def test_decoded_values_are_as_near_as_e5m2_and_alpha_allow(x):
    """A normal code is within half an ulp, 1/8, of Y; the power 1/alpha makes it (1 + 1/8)^(1/alpha) of x."""
    tensor = s2fp8_encode(x)
    back = s2fp8_decode(*tensor)
    squeezed = np.abs(s2fp8_squeeze(x, tensor.alpha, tensor.beta))
    normal = squeezed >= 2.0**-14
    assert normal.any()
    ratio = np.abs(np.log2(back[normal] / reals(x)[normal]))
    assert ratio.max() <= -np.log2(1 - 1 / 8) / tensor.alpha + 1e-9
    lost = squeezed < 2.0**-17
    assert (back[lost] == 0).all()
    np.testing.assert_array_equal(np.signbit(back), np.signbit(reals(x)))


def test_codes_are_a_fixed_point(x):
    """With the same parameters, what was decoded is encoded to the same codes."""
    tensor = s2fp8_encode(x)
    again = s2fp8_encode(s2fp8_decode(*tensor), parameters=(tensor.alpha, tensor.beta))
    np.testing.assert_array_equal(again.codes, tensor.codes)
    assert again[1:] == tensor[1:]


def test_every_code_comes_back():
    codes = np.arange(256)
    for alpha, beta in ((1.0, 0.0), (5.0, 21.0), (0.1, -3.0), (40.0, 100.0)):
        values = s2fp8_decode(codes, alpha, beta)
        finite = np.isfinite(values)
        assert finite.sum() == 248
        np.testing.assert_array_equal(
            s2fp8_encode(values[finite], parameters=(alpha, beta)).codes, codes[finite].astype(np.uint8)
        )
    np.testing.assert_allclose(s2fp8_decode(codes, 1.0, 0.0), to_float(codes, E5M2), rtol=1e-12)
    assert s2fp8_decode([0x7C, 0xFC], 2.0, 3.0).tolist() == [inf, -inf]


def test_it_keeps_what_e5m2_loses():
    """The paper's reason for it: a tensor out of FP8's range, with no loss scale."""
    x = TENSORS["tiny"]
    assert not to_float(encode(x, E5M2), E5M2).any()
    back = s2fp8_decode(*s2fp8_encode(x))
    assert np.median(np.abs(back / x - 1)) < 0.05


def test_parameters_by_hand():
    assert s2fp8_parameters(S2fp8Statistics(count=4, mean=-3.0, maximum=0.0)) == (5.0, 15.0)
    assert s2fp8_parameters(S2fp8Statistics(count=4, mean=2.0, maximum=32.0)) == (0.5, -1.0)
    # log2 of 1, 2, 4 and 8: mean 1.5, maximum 3.
    assert s2fp8_parameters(s2fp8_statistics([1.0, -2.0, 4.0, 0.0, 8.0])) == (10.0, -15.0)


# ------------------------------------------------------------------------------------------- where the paper is silent


@pytest.mark.parametrize("value", [1.0, -0.1, 3e30, 2.0**-1074, 5])
@pytest.mark.parametrize("count", [1, 7, 1000])
def test_equal_magnitudes_are_shifted_to_1(value, count):
    x = np.full(count, value) * np.where(np.arange(count) % 2, 1, -1)
    codes, alpha, beta = s2fp8_encode(x)
    assert alpha == 1.0
    assert beta == pytest.approx(-log2(abs(value)), rel=1e-12)
    np.testing.assert_array_equal(codes & 0x7F, np.full(count, 0x3C))  # 1
    np.testing.assert_allclose(s2fp8_decode(codes, alpha, beta), x, rtol=1e-9)


@pytest.mark.parametrize("x", [np.zeros(5), -np.zeros((2, 3)), np.zeros(0), np.zeros((0, 4)), 0.0])
def test_a_tensor_of_zeros_is_left_alone(x):
    assert s2fp8_statistics(x) == S2fp8Statistics(count=0, mean=0.0, maximum=0.0)
    codes, alpha, beta = s2fp8_encode(x)
    assert (alpha, beta) == S2fp8Parameters(1.0, 0.0)
    back = s2fp8_decode(codes, alpha, beta)
    assert back.shape == np.shape(x)
    np.testing.assert_array_equal(back, x)
    np.testing.assert_array_equal(np.signbit(back), np.signbit(x))


def test_alpha_has_a_limit():
    below, above = 15 / ALPHA_MAX, np.nextafter(15 / ALPHA_MAX, 0)
    assert s2fp8_parameters(S2fp8Statistics(count=9, mean=-below, maximum=0.0)) == (ALPHA_MAX, 15.0)
    assert s2fp8_parameters(S2fp8Statistics(count=9, mean=-above, maximum=0.0)) == (1.0, above)
    # All but one are equal: squeezed by 15 / (m - mu), the odd one would vanish.
    x = np.ones(100_000)
    x[17] = 2.0**-10
    tensor = s2fp8_encode(x)
    assert tensor.alpha == 1.0
    np.testing.assert_allclose(s2fp8_decode(*tensor), x, rtol=1e-3)
    # Nearly equal ones come back nearly equal.
    x = 1.7 + RNG.random(1000) * 1e-6
    np.testing.assert_allclose(s2fp8_decode(*s2fp8_encode(x)), x, rtol=1e-5)


def test_parameters_of_another_tensor_may_overflow():
    x = [2.0**20, -(2.0**20), 1.0]
    assert s2fp8_encode(x, parameters=(1.0, 0.0)).codes.tolist() == [0x7C, 0xFC, 0x3C]
    assert s2fp8_encode(x, parameters=(1.0, 0.0), saturate=True).codes.tolist() == [0x7B, 0xFB, 0x3C]
    assert s2fp8_squeeze([2.0, 0.5, -0.0], 5000.0, 0.0).tolist() == [inf, 0.0, -0.0]


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: s2fp8_encode([1.0, nan]), "x must be finite"),
        (lambda: s2fp8_encode([1.0, -inf], parameters=(1.0, 0.0)), "x must be finite"),
        (lambda: s2fp8_statistics(inf), "x must be finite"),
        (lambda: s2fp8_squeeze([1.0], 0.0, 0.0), "alpha must be a finite number above 0, not 0.0"),
        (lambda: s2fp8_squeeze([1.0], -1, 0.0), "alpha must be a finite number above 0, not -1.0"),
        (lambda: s2fp8_squeeze([1.0], nan, 0.0), "alpha must be a finite number above 0, not nan"),
        (lambda: s2fp8_squeeze([1.0], inf, 0.0), "alpha must be a finite number above 0, not inf"),
        (lambda: s2fp8_squeeze([1.0], 1.0, nan), "beta must be finite, not nan"),
        (lambda: s2fp8_encode([1.0], parameters=(1.0, inf)), "beta must be finite, not inf"),
        (lambda: s2fp8_decode([1], 0, 0.0), "alpha must be a finite number above 0, not 0.0"),
        (lambda: s2fp8_decode([1], 1.0, -inf), "beta must be finite, not -inf"),
        (lambda: s2fp8_decode([256], 1.0, 0.0), "codes of e5m2 must be in 0..0xff"),
        (lambda: s2fp8_encode([1.1], sr(3)), "words are needed by rounding sr(3)"),
        (lambda: S2fp8Statistics(count=-1), f"count must be an integer in 0..{2**63 - 1}, not -1"),
        (lambda: S2fp8Statistics(count=1, mean=nan), "mean must be finite, not nan"),
        (lambda: S2fp8Statistics(count=1, maximum=inf), "maximum must be finite, not inf"),
        (lambda: S2fp8Statistics(count=1, mean=1.0), "maximum must be at least the mean 1.0, not 0.0"),
    ],
)
def test_bad_values_are_refused(call, text, message):
    assert message(call) == text


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: s2fp8_encode(["a"]), "x must be real numbers, not <U1"),
        (lambda: s2fp8_statistics([1j]), "x must be real numbers, not complex128"),
        (lambda: s2fp8_squeeze([1.0], "1", 0.0), "alpha must be a real number, not '1'"),
        (lambda: s2fp8_squeeze([1.0], 1.0, None), "beta must be a real number, not None"),
        (lambda: s2fp8_decode([1.0], 1.0, 0.0), "codes of e5m2 must be integers, not float64"),
    ],
)
def test_wrong_types_are_refused(call, text, message):
    assert message(call, TypeError) == text
