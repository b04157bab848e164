"""AXPYs and stochastic gradient descent against scalar loops on exact fractions, and what the papers claim."""

from dataclasses import replace
from math import inf, nan, sqrt

import numpy as np
import pytest

from quaver.golden import FORMATS, RHA, RNE, RTZ, Accumulator, LaneWords, Rounding, encode, seed_of, sr, to_float
from quaver.golden.catalog import BF16, DLFLOAT16, E4M3, E5M2, E5M2_WANG, E6M9, FP16, FP32
from quaver.golden.lfsr import UPDATE_GENERATORS, step
from quaver.golden.update import Sgd, SgdStep, axpy

pytestmark = pytest.mark.usefixtures("backend")

MODES = [
    *(RNE, RHA, RTZ, sr(1), sr(9), sr(16)),
    *(Rounding(mode=mode, random_bits=r) for mode in ("sr_fast", "sr_unbiased") for r in (2, 13)),
]
ALPHAS = [0.0, -0.0, 1.0, -1.0, 0.9, -0.1, 1e-4, -3.7e-3, 511.5, -6e4]


def naive_words(law: LaneWords, count: int, bits: int, stage: int = 0) -> list[int]:
    """Words of a tensor's elements at a stage: lane i mod lanes, each generator stepped one by one."""
    first = 0x30000 + stage * law.lanes
    states = [seed_of(law.seed, first + lane) for lane in range(law.lanes)]
    rows = []
    for _ in range(law.issued + -(-count // law.lanes)):
        for lane in range(law.lanes):
            for _ in range(bits):
                states[lane] = step(states[lane])
        rows.append([state >> (32 - bits) for state in states])
    return [word for row in rows[law.issued :] for word in row][:count]


# ---------------------------------------------------------------------------------------------------------------- axpy


def axpy_cases(rng: np.random.Generator, fmt, alpha: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes for alpha * x + y: any, of like exponents, cancelling but for some ulps, and special ones."""
    x = rng.integers(0, 1 << fmt.bits, count)
    y = rng.integers(0, 1 << fmt.bits, count)
    third = count // 3
    x[:third] = encode(rng.standard_normal(third), fmt)
    y[:third] = encode(rng.standard_normal(third) * (abs(alpha) or 1.0), fmt)
    near = slice(third, 2 * third)
    x[near] = encode(np.ldexp(rng.standard_normal(third), rng.integers(-6, 7, third)), fmt)
    cancelling = encode(-alpha * to_float(x[near], fmt), fmt).astype(np.int64) + rng.integers(-2, 3, third)
    y[near] = np.clip(cancelling, 0, (1 << fmt.bits) - 1)
    special = [0, fmt.sign_mask, fmt.max_code, fmt.max_code | fmt.sign_mask, fmt.inf_code, fmt.nan_code, fmt.min_code]
    x[-10:], y[-10:] = rng.choice(special, 10), rng.choice(special, 10)
    return x.astype(fmt.dtype), y.astype(fmt.dtype)


@pytest.mark.parametrize("fmt", [FP16, BF16, FP32, DLFLOAT16, E6M9], ids=str)
def test_axpy_is_one_rounding_of_the_exact_sum(law, fmt):
    rng = np.random.default_rng(fmt.bits + fmt.bias)
    compared = stochastic = 0
    for index, rounding in enumerate(MODES):
        saturate = index % 2 == 1
        accumulator = Accumulator(format=fmt, rounding=rounding, overflow="saturate" if saturate else "special")
        for alpha in ALPHAS:
            x, y = axpy_cases(rng, fmt, alpha, 60)
            words = rng.integers(0, 1 << rounding.random_bits, 60)
            got = axpy(alpha, x, y, fmt, rounding, words=words, saturate=saturate)
            assert got.dtype == fmt.dtype
            factor = law.decode(law.round(law.real(alpha), fmt, "rne"), fmt)
            for i in range(60):
                product = law.multiply(factor, law.decode(int(x[i]), fmt))
                assert got[i] == law.accumulate(int(y[i]), product, accumulator, int(words[i])), (alpha, x[i], y[i])
                compared += 1
            if rounding.stochastic:
                stochastic += int((got != axpy(alpha, x, y, fmt, RNE, saturate=saturate)).sum())
    assert compared == 6000
    assert stochastic > 100


def test_the_scalar_has_a_format_of_its_own():
    one, zero = encode([1.0], FP32), encode([0.0], FP32)
    for alpha, scalar, want in [
        (0.3, None, np.float32(0.3)),
        (0.3, BF16, 0.30078125),
        (0.3, E4M3, 0.3125),
        (np.float16(0.1), FP32, 0.0999755859375),
        (1e-9, E5M2, 0.0),  # too small for the format: nothing is added
    ]:
        assert to_float(axpy(alpha, one, zero, FP32, scalar=scalar), FP32).tolist() == [want]
    # In 8 bits the product alone does not fit: 1.125 * 1.125 + 1 is rounded once.
    x = encode([1.125], E4M3)
    assert to_float(axpy(1.125, x, encode([1.0], E4M3), E4M3), E4M3).tolist() == [2.25]


def test_axpy_broadcasts_and_takes_the_law_of_lanes():
    rng = np.random.default_rng(2)
    x, y = encode(rng.standard_normal((5, 1)), FP16), encode(rng.standard_normal(7), FP16)
    law = LaneWords(lanes=4, generators=UPDATE_GENERATORS, seed=3, issued=5)
    got = axpy(0.37, x, y, FP16, sr(7), words=law)
    assert got.shape == (5, 7)
    words = np.array(naive_words(law, 35, 7)).reshape(5, 7)
    np.testing.assert_array_equal(got, axpy(0.37, x, y, FP16, sr(7), words=words))
    np.testing.assert_array_equal(axpy(0.37, x, y, FP16, words=law), axpy(0.37, x, y, FP16))
    assert (got != axpy(0.37, x, y, FP16)).any()


# ----------------------------------------------------------------------------------------------------------------- SGD


def sgd_on_fractions(law, sgd: Sgd, w: list[int], v: list[int], g: list[int], words: LaneWords):
    """One step, one element and one fraction at a time."""
    fmt, scalar = sgd.format, sgd.scalar or sgd.format
    accumulator = Accumulator(format=fmt, rounding=sgd.rounding, overflow=sgd.overflow)
    bits = sgd.rounding.random_bits

    def q(stage: int, alpha: float, x: list[int], y: list[int]) -> list[int]:
        factor = law.decode(law.round(law.real(alpha), scalar, "rne"), scalar)
        u = naive_words(words, len(x), bits, stage) if bits else [0] * len(x)
        return [
            law.accumulate(yi, law.multiply(factor, law.decode(xi, fmt)), accumulator, ui)
            for xi, yi, ui in zip(x, y, u, strict=True)
        ]

    g = q(0, sgd.weight_decay, w, g)
    v = q(1, sgd.momentum, v, g)
    u = q(2, sgd.momentum, v, g) if sgd.nesterov else v
    return q(3 if sgd.nesterov else 2, -sgd.lr, u, w), v


@pytest.mark.parametrize("nesterov", [False, True], ids=["heavy-ball", "nesterov"])
@pytest.mark.parametrize("rounding", [RNE, RTZ, sr(9), Rounding(mode="sr_unbiased", random_bits=5)], ids=str)
@pytest.mark.parametrize("fmt", [DLFLOAT16, FP16, FP32, E6M9], ids=str)
def test_sgd_is_its_axpys(law, fmt, rounding, nesterov):
    sgd = Sgd(
        lr=0.1,
        momentum=0.9,
        weight_decay=1e-3,
        nesterov=nesterov,
        format=fmt,
        rounding=rounding,
        scalar=BF16 if fmt is FP16 else None,
        overflow="saturate" if fmt is E6M9 else "special",
        lanes=4,
        seed=11,
    )
    rng = np.random.default_rng(3)
    w, v, words = encode(rng.standard_normal(9), fmt), np.zeros(9, fmt.dtype), sgd.words
    want_w, want_v = w.tolist(), v.tolist()
    compared = 0
    for _ in range(6):
        g = encode(rng.standard_normal(9) * rng.choice([1e-4, 1.0, 1e3]), fmt)
        want_w, want_v = sgd_on_fractions(law, sgd, want_w, want_v, g.tolist(), words)
        w, v, words = sgd.step(w, v, g, words)
        assert w.tolist() == want_w
        assert v.tolist() == want_v
        compared += w.size
    assert compared == 54
    assert words == replace(sgd.words, issued=6 * 3)  # nine elements on four lanes


def test_gradients_may_be_floats():
    sgd = Sgd(lr=0.5, momentum=0.5, rounding=RNE)
    w, v = encode([[1.0, 2.0]], DLFLOAT16), np.zeros((1, 2), np.uint16)
    g = np.array([[0.1, -3.3]])
    np.testing.assert_array_equal(
        sgd.step(w, v, g, sgd.words).weights, sgd.step(w, v, encode(g, DLFLOAT16), sgd.words).weights
    )
    got = sgd.step(w, v, g.astype(np.float32), sgd.words)
    assert to_float(got.velocity, DLFLOAT16) == pytest.approx(g, rel=2**-10)
    assert to_float(got.weights, DLFLOAT16) == pytest.approx(to_float(w, DLFLOAT16) - g / 2, rel=2**-9)
    assert isinstance(got, SgdStep)


def test_the_loss_scale_is_undone_as_in_wangs_emulation():
    """g = Q152(grad / 1000), and every FP8 number of 1-5-2 is one of 1-6-9: the cast to it is exact."""
    codes = np.arange(256)
    wide = encode(to_float(codes, E5M2_WANG), DLFLOAT16)
    np.testing.assert_array_equal(to_float(wide, DLFLOAT16), to_float(codes, E5M2_WANG))


@pytest.mark.parametrize("fmt", [DLFLOAT16, E6M9, FP16, BF16], ids=str)
def test_stochastic_updates_move_where_nearest_ones_stall(fmt):
    """Wang et al. 2018: small updates vanish under nearest rounding; stochastic rounding keeps their mean."""
    count, steps, ulp = 8192, 30, 2.0**-fmt.mantissa_bits
    lr, gradient = 2.0**-4, ulp  # an eighth of half an ulp of 1.5
    w = encode(np.full(count, 1.5), fmt)
    for rounding in (RNE, RHA, sr(16), sr(6)):
        sgd = Sgd(lr=lr, format=fmt, rounding=rounding, seed=7)
        state = SgdStep(w, np.zeros(count, fmt.dtype), sgd.words)
        for _ in range(steps):
            state = sgd.step(state.weights, state.velocity, np.full(count, gradient), state.words)
        drift = 1.5 - to_float(state.weights, fmt)
        if rounding.stochastic:
            p = lr * gradient / ulp
            deviation = ulp * sqrt(steps * p * (1 - p) / count)
            assert abs(drift.mean() - steps * lr * gradient) < 5 * deviation
            assert drift.mean() > 40 * deviation
        else:
            assert (drift == 0).all()


def test_sgd_resumes_with_the_same_bits(resumed):
    sgd = Sgd(lr=0.05, momentum=0.9, weight_decay=1e-4, rounding=sr(13), seed=2)
    rng = np.random.default_rng(4)
    start = SgdStep(encode(rng.standard_normal(100), DLFLOAT16), np.zeros(100, np.uint16), sgd.words)
    straight = broken = start
    for _ in range(10):
        g = rng.standard_normal(100)
        straight = sgd.step(*straight[:2], g, straight.words)
        broken = resumed(broken, SgdStep)
        broken = sgd.step(*broken[:2], g, broken.words)
    np.testing.assert_array_equal(straight.weights, broken.weights)
    np.testing.assert_array_equal(straight.velocity, broken.velocity)
    assert straight.words == broken.words != sgd.words
    other = replace(sgd, seed=3)
    assert (other.step(*start[:2], g, other.words).weights != sgd.step(*start[:2], g, sgd.words).weights).any()


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3, 5)], ids=str)
def test_tensors_may_have_any_shape(shape):
    zero, ones = np.zeros(shape, np.uint16), np.ones(shape)
    sgd = Sgd(lr=0.5, rounding=sr(3), lanes=4)
    state = sgd.step(zero, zero, ones, sgd.words)
    assert {np.shape(array) for array in state[:-1]} == {shape}
    assert state.words.issued == -(-ones.size // 4)
    np.testing.assert_allclose(to_float(state.weights, DLFLOAT16), -ones / 2, rtol=0.01)


def test_tensors_follow_one_another_on_the_lanes():
    """Two tensors in turn take the words that one of both would; a last row that is not full shifts the second."""
    sgd = Sgd(lr=0.3, rounding=sr(8), lanes=8)
    rng = np.random.default_rng(5)
    w, g = encode(rng.standard_normal(16), DLFLOAT16), rng.standard_normal(16)
    zero = np.zeros(16, np.uint16)
    first = sgd.step(w, zero, g, sgd.words)
    second = sgd.step(w, zero, g, first.words)
    assert first.words.issued == 2
    assert second.words.issued == 4
    assert (first.weights != second.weights).any()
    both = sgd.step(np.tile(w, 2), np.zeros(32, np.uint16), np.tile(g, 2), sgd.words)
    np.testing.assert_array_equal(both.weights, [*first.weights, *second.weights])
    part = sgd.step(w[:9], zero[:9], g[:9], sgd.words)
    assert part.words == first.words


def test_infinities_and_nans_take_their_course():
    zero = np.zeros(2, np.uint16)
    sgd = Sgd(lr=0.1, format=FP16, rounding=RNE)
    assert sgd.step(encode([1.0, 1.0], FP16), zero, [-inf, nan], sgd.words).weights.tolist() == [0x7C00, 0x7E00]


def test_every_wide_format_can_be_trained_in():
    """A step in every format that an accumulator may have."""
    wide = [fmt for fmt in FORMATS.values() if fmt.bits >= 12]
    for fmt in wide:
        w, zero = encode([1.0, -0.5], fmt), np.zeros(2, fmt.dtype)
        sgd = Sgd(lr=0.125, format=fmt)
        weights = sgd.step(w, zero, [1.0, -1.0], sgd.words).weights
        assert to_float(weights, fmt) == pytest.approx([0.875, -0.375], rel=0.02)
    assert len(wide) == 8


# -------------------------------------------------------------------------------------------------------------- errors


Z = np.zeros(2, np.uint16)
SGD = Sgd(lr=0.1, rounding=RNE)
UNSIGNED = replace(E4M3, name="unsigned", signed=False)


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: axpy(nan, Z, Z, FP16), "alpha must be finite, not nan"),
        (lambda: axpy(-inf, Z, Z, FP16), "alpha must be finite, not -inf"),
        (lambda: axpy(7e4, Z, Z, FP16), "alpha must be within 65504.0, the largest number of fp16, not 70000.0"),
        (
            lambda: axpy(500, Z, Z, FP16, scalar=E4M3),
            "alpha must be within 448.0, the largest number of e4m3, not 500.0",
        ),
        (lambda: axpy(1.0, Z, Z, FP16, scalar=UNSIGNED), "format of alpha must be signed, not unsigned"),
        (lambda: axpy(1.0, [1 << 16], Z, FP16), "codes of fp16 must be in 0..0xffff"),
        (lambda: axpy(1.0, Z, Z, FP16, sr(4)), "words are needed by rounding sr(4)"),
        (lambda: axpy(1.0, Z, Z, UNSIGNED, scalar=FP16), "format of an accumulator must be signed, not unsigned"),
        (lambda: Sgd(lr=-0.1), "lr must be a finite number of at least 0, not -0.1"),
        (lambda: Sgd(lr=nan), "lr must be a finite number of at least 0, not nan"),
        (lambda: Sgd(lr=1e5, format=FP16), "lr must be within 65504.0, the largest number of fp16, not 100000.0"),
        (lambda: Sgd(lr=0.1, momentum=1.0), "momentum must be at least 0 and below 1, not 1.0"),
        (lambda: Sgd(lr=0.1, weight_decay=inf), "weight_decay must be a finite number of at least 0, not inf"),
        (lambda: Sgd(lr=0.1, nesterov=2), "nesterov must be one of True, False, not 2"),
        (lambda: Sgd(lr=0.1, overflow="wrap"), "overflow must be one of special, saturate, not 'wrap'"),
        (lambda: Sgd(lr=0.1, lanes=0), "lanes must be an integer in 1..65536, not 0"),
        (lambda: Sgd(lr=0.1, seed=-1), f"seed must be an integer in 0..{2**32 - 1}, not -1"),
        (lambda: Sgd(lr=0.1, format=UNSIGNED), "format of an accumulator must be signed, not unsigned"),
        (lambda: SGD.step([1 << 16], [0], [0], SGD.words), "weights: codes of dlfloat16 must be in 0..0xffff"),
        (lambda: SGD.step(Z, [-1, 0], Z, SGD.words), "velocity: codes of dlfloat16 must be in 0..0xffff"),
        (lambda: SGD.step(Z, Z, [1 << 16, 0], SGD.words), "gradient: codes of dlfloat16 must be in 0..0xffff"),
        (lambda: SGD.step(Z, Z[:1], Z, SGD.words), "velocity must be of the weights' shape (2,), not (1,)"),
        (lambda: SGD.step(Z, Z, 0.5, SGD.words), "gradient must be of the weights' shape (2,), not ()"),
    ],
)
def test_bad_values_are_refused(call, text, message):
    assert message(call) == text


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: axpy("1", Z, Z, FP16), "alpha must be a real number, not '1'"),
        (lambda: axpy(1.0, [0.5], Z, FP16), "codes of fp16 must be integers, not float64"),
        (lambda: Sgd(lr="0.1"), "lr must be a real number, not '0.1'"),
        (lambda: SGD.step([0.5], Z, Z, SGD.words), "weights: codes of dlfloat16 must be integers, not float64"),
        (lambda: SGD.step(Z, Z, [1j, 0], SGD.words), "gradient: codes of dlfloat16 must be integers, not complex128"),
        (lambda: SGD.step(Z, Z, [True, False], SGD.words), "gradient: codes of dlfloat16 must be integers, not bool"),
    ],
)
def test_wrong_types_are_refused(call, text, message):
    assert message(call, TypeError) == text
