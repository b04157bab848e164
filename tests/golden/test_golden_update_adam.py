"""Adam against a scalar loop on exact fractions and against the textbook in float64."""

from dataclasses import replace
from fractions import Fraction
from math import inf, nan, sqrt

import numpy as np
import pytest

from quaver.golden import FORMATS, RNE, Accumulator, LaneWords, encode, sr, to_float
from quaver.golden.adam import Adam, AdamStep
from quaver.golden.catalog import BF16, DLFLOAT16, E6M9, FP16, FP32

pytestmark = pytest.mark.usefixtures("backend")


def adam_on_fractions(law, adam: Adam, w, m, v, g, words: LaneWords, t: int):
    """One step, one element at a time; float64 only where the definition has it."""
    fmt, moments, bits = adam.format, adam.moments or adam.format, adam.rounding.random_bits
    saturate = adam.overflow == "saturate"

    def numbers(codes, of):
        return [law.decode(code, of) for code in codes]

    def scalar(value: float):
        return law.decode(law.round(law.real(value), adam.scalar, "rne"), adam.scalar)

    def q(stage, alpha, x, beta, y, of) -> list[int]:
        lanes = replace(words, generators=0x30000 + stage * words.lanes)
        u = lanes.of_tensor((len(x),), bits).tolist() if bits else [0] * len(x)
        accumulator = Accumulator(format=of, rounding=adam.rounding, overflow=adam.overflow)
        terms = [law.add(law.multiply(alpha, a), law.multiply(beta, b)) for a, b in zip(x, y, strict=True)]
        return [law.round_sum(term, accumulator, word) for term, word in zip(terms, u, strict=True)]

    one = scalar(1.0)
    if adam.decoupled:
        w = q(0, scalar(-(adam.lr * adam.weight_decay)), numbers(w, fmt), one, numbers(w, fmt), fmt)
    else:
        g = q(0, scalar(adam.weight_decay), numbers(w, fmt), one, numbers(g, fmt), fmt)
    gradients = numbers(g, fmt)
    h = [law.decode(law.round(law.multiply(x, x), FP32, "rne", saturate=saturate), FP32) for x in gradients]
    m = q(1, scalar(adam.beta1), numbers(m, moments), scalar(1 - adam.beta1), gradients, moments)
    v = q(2, scalar(adam.beta2), numbers(v, moments), scalar(1 - adam.beta2), h, moments)
    directions = []
    for mean, square in zip(numbers(m, moments), numbers(v, moments), strict=True):
        mhat = float(mean.magnitude) * (-1) ** mean.negative / float(1 - Fraction(adam.beta1) ** t)
        vhat = float(square.magnitude) / float(1 - Fraction(adam.beta2) ** t)
        quotient = law.real(mhat / (sqrt(vhat) + adam.eps))
        directions.append(law.decode(law.round(quotient, FP32, "rne", saturate=saturate), FP32))
    w = q(3, scalar(-adam.lr), directions, one, numbers(w, fmt), fmt)
    return w, m, v


@pytest.mark.parametrize("decoupled", [True, False], ids=["adamw", "adam"])
@pytest.mark.parametrize("rounding", [RNE, sr(11)], ids=str)
@pytest.mark.parametrize(
    "fmt, moments", [(FP32, None), (BF16, FP32), (DLFLOAT16, None), (FP16, BF16), (E6M9, DLFLOAT16)], ids=str
)
def test_adam_is_what_it_says(law, fmt, moments, rounding, decoupled):
    adam = Adam(
        lr=0.01,
        beta1=0.5,  # powers that float64 holds exactly
        beta2=0.75,
        weight_decay=0.1,
        decoupled=decoupled,
        format=fmt,
        moments=moments,
        rounding=rounding,
        lanes=4,
        seed=9,
    )
    rng = np.random.default_rng(6)
    zero = np.zeros(6, (moments or fmt).dtype)
    state = AdamStep(encode(rng.standard_normal(6), fmt), zero, zero, adam.words)
    want = [array.tolist() for array in state[:3]]
    compared = 0
    for t in range(1, 9):
        g = encode(rng.standard_normal(6) * rng.choice([1e-5, 1.0, 100.0]), fmt)
        want = list(adam_on_fractions(law, adam, *want, g.tolist(), state.words, t))
        state = adam.step(*state[:3], g, state.words, t=t)
        assert [array.tolist() for array in state[:3]] == want
        compared += 6
    assert compared == 48
    assert state.words == replace(adam.words, issued=8 * 2)  # eight steps, six elements on four lanes


@pytest.mark.parametrize("decay, decoupled", [(0.0, True), (0.01, True), (0.01, False)])
def test_adam_in_fp32_is_the_textbooks(decay, decoupled):
    """Kingma and Ba, algorithm 1, in float64; Loshchilov and Hutter, algorithm 2, where decoupled."""
    adam = Adam(lr=0.003, weight_decay=decay, decoupled=decoupled)
    rng = np.random.default_rng(7)
    w = start = rng.standard_normal(200).astype(np.float32).astype(np.float64)
    m, v = np.zeros(200), np.zeros(200)
    state = AdamStep(encode(w, FP32), np.zeros(200, np.uint32), np.zeros(200, np.uint32), adam.words)
    target = rng.standard_normal(200)
    for t in range(1, 101):
        g = (w - target) * 0.3 + rng.standard_normal(200) * 0.1
        state = adam.step(*state[:3], g.astype(np.float32), state.words, t=t)
        if decoupled:
            w = w - adam.lr * decay * w
        else:
            g = g + decay * w
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        w = w - adam.lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(to_float(state.weights, FP32), w, atol=2e-5)
    np.testing.assert_allclose(to_float(state.mean, FP32), m, atol=1e-6)
    np.testing.assert_allclose(to_float(state.square, FP32), v, rtol=1e-5)
    assert abs(w - start).mean() > 0.1


def test_the_first_step_of_adam_is_lr_long():
    """The bias corrections make m / sqrt(v) the gradient's sign, whatever its size."""
    adam = Adam(lr=0.25, format=FP32)
    g = np.array([1e-6, -3.0, 2e9, -1e-3])
    zero = np.zeros(4, np.uint32)
    state = adam.step(encode(np.ones(4), FP32), zero, zero, g, adam.words, t=1)
    assert to_float(state.weights, FP32) == pytest.approx(1 - 0.25 * np.sign(g), rel=0.01)


def test_a_square_below_the_moments_range_leaves_the_mean_alone():
    """1-6-9 holds 2^-20 but not its square: v stays 0, and the quotient is m / eps."""
    adam = Adam(lr=2.0**-30, beta1=0.5, beta2=0.5, eps=2.0**-10, format=DLFLOAT16)
    zero = np.zeros(1, np.uint16)
    state = adam.step(encode([1.0], DLFLOAT16), zero, zero, [2.0**-20], adam.words, t=1)
    assert state.square.tolist() == [0]
    assert adam.direction(state.mean, state.square, 1).tolist() == [2.0**-10]


def test_infinities_and_nans_take_their_course():
    adam = Adam(lr=0.1, format=FP16)
    zero = np.zeros(3, np.uint16)
    state = adam.step(encode([1.0, 1.0, 1.0], FP16), zero, zero, [inf, nan, 0.5], adam.words, t=1)
    assert state.weights[:2].tolist() == [0x7E00] * 2
    assert to_float(state.weights[2], FP16) == pytest.approx(0.9, rel=1e-3)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2, 3, 5)], ids=str)
def test_tensors_may_have_any_shape(shape):
    zero, ones = np.zeros(shape, np.uint16), np.ones(shape)
    adam = Adam(lr=0.5, format=FP16, rounding=sr(3), lanes=4)
    state = adam.step(zero, zero, zero, ones, adam.words, t=1)
    assert {np.shape(array) for array in state[:-1]} == {shape}
    assert state.words.issued == -(-ones.size // 4)
    np.testing.assert_allclose(to_float(state.weights, FP16), -ones / 2, rtol=0.01)


def test_adam_resumes_with_the_same_bits(resumed):
    adam = Adam(lr=0.01, format=BF16, moments=FP32, rounding=sr(16), weight_decay=0.1, seed=1)
    rng = np.random.default_rng(8)
    zero = np.zeros((5, 7), np.uint32)
    straight = broken = AdamStep(encode(rng.standard_normal((5, 7)), BF16), zero, zero, adam.words)
    for t in range(1, 9):
        g = rng.standard_normal((5, 7))
        straight = adam.step(*straight[:3], g, straight.words, t=t)
        broken = resumed(broken, AdamStep)
        broken = adam.step(*broken[:3], g, broken.words, t=t)
    for one, other in zip(straight[:3], broken[:3], strict=True):
        assert one.shape == (5, 7)
        np.testing.assert_array_equal(one, other)
    assert straight.words == broken.words


def test_every_wide_format_can_be_trained_in():
    """A step in every format that an accumulator may have."""
    wide = [fmt for fmt in FORMATS.values() if fmt.bits >= 12]
    for fmt in wide:
        w, zero = encode([1.0, -0.5], fmt), np.zeros(2, fmt.dtype)
        adam = Adam(lr=0.125, format=fmt)
        weights = adam.step(w, zero, zero, [1.0, -1.0], adam.words, t=1).weights
        assert to_float(weights, fmt) == pytest.approx([0.875, -0.375], rel=0.02)
    assert len(wide) == 8


# -------------------------------------------------------------------------------------------------------------- errors


Z = np.zeros(2, np.uint16)
ADAM = Adam(format=DLFLOAT16)


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: Adam(lr=-1), "lr must be a finite number of at least 0, not -1.0"),
        (lambda: Adam(beta1=1), "beta1 must be at least 0 and below 1, not 1.0"),
        (lambda: Adam(beta2=nan), "beta2 must be at least 0 and below 1, not nan"),
        (lambda: Adam(eps=0), "eps must be a finite number above 0, not 0.0"),
        (lambda: Adam(weight_decay=-1), "weight_decay must be a finite number of at least 0, not -1.0"),
        (lambda: Adam(decoupled="no"), "decoupled must be one of True, False, not 'no'"),
        (lambda: Adam(lanes=1 << 17), "lanes must be an integer in 1..65536, not 131072"),
        (lambda: Adam(overflow=None), "overflow must be one of special, saturate, not None"),
        (lambda: ADAM.step(Z, Z, Z, Z, ADAM.words, t=0), f"t must be an integer in 1..{2**63 - 1}, not 0"),
        (lambda: ADAM.step(Z, Z, Z[:1], Z, ADAM.words, t=1), "square must be of the weights' shape (2,), not (1,)"),
        (lambda: ADAM.step(Z, [-1, 0], Z, Z, ADAM.words, t=1), "mean: codes of dlfloat16 must be in 0..0xffff"),
    ],
)
def test_bad_values_are_refused(call, text, message):
    assert message(call) == text


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: Adam(eps=None), "eps must be a real number, not None"),
        (
            lambda: ADAM.step(Z, Z, [0.5], Z, ADAM.words, t=1),
            "square: codes of dlfloat16 must be integers, not float64",
        ),
    ],
)
def test_wrong_types_are_refused(call, text, message):
    assert message(call, TypeError) == text
