"""Updates of weights: AXPYs and whole optimisers against scalar loops on exact fractions, and what the papers claim."""

import json
from dataclasses import asdict, replace
from fractions import Fraction
from math import inf, nan, sqrt

import numpy as np
import pytest

from quaver.golden import FORMATS, RHA, RNE, RTZ, Accumulator, LaneWords, Rounding, encode, seed_of, sr, to_float
from quaver.golden.adam import Adam, AdamStep
from quaver.golden.catalog import BF16, DLFLOAT16, E4M3, E5M2, E5M2_WANG, E6M9, FP16, FP32
from quaver.golden.lfsr import UPDATE_GENERATORS, step
from quaver.golden.update import Sgd, SgdStep, axpy

MODES = [
    *(RNE, RHA, RTZ, sr(1), sr(9), sr(16)),
    *(Rounding(mode=mode, random_bits=r) for mode in ("sr_fast", "sr_unbiased") for r in (2, 13)),
]
ALPHAS = [0.0, -0.0, 1.0, -1.0, 0.9, -0.1, 1e-4, -3.7e-3, 511.5, -6e4]


def as_real(real, value: float):
    return real("finite", bool(np.signbit(value)), abs(Fraction(value)))


def naive_words(law: LaneWords, count: int, bits: int) -> list[int]:
    """Words of a tensor's elements: lane i mod lanes, each generator stepped one by one."""
    states = [seed_of(law.seed, law.generators + lane) for lane in range(law.lanes)]
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
def test_axpy_is_one_rounding_of_the_exact_sum(law, real, fmt):
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
            factor = law.decode(law.round(as_real(real, alpha), fmt, "rne"), fmt)
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


def sgd_on_fractions(law, real, sgd: Sgd, w: list[int], v: list[int], g: list[int], words: LaneWords):
    """One step, one element and one fraction at a time."""
    fmt, scalar = sgd.format, sgd.scalar or sgd.format
    accumulator = Accumulator(format=fmt, rounding=sgd.rounding, overflow=sgd.overflow)
    bits = sgd.rounding.random_bits
    issued = words.issued

    def q(alpha: float, x: list[int], y: list[int]) -> list[int]:
        nonlocal issued
        factor = law.decode(law.round(as_real(real, alpha), scalar, "rne"), scalar)
        u = naive_words(replace(words, issued=issued), len(x), bits) if bits else [0] * len(x)
        issued += -(-len(x) // words.lanes)
        return [
            law.accumulate(yi, law.multiply(factor, law.decode(xi, fmt)), accumulator, ui)
            for xi, yi, ui in zip(x, y, u, strict=True)
        ]

    g = q(sgd.weight_decay, w, g)
    v = q(sgd.momentum, v, g)
    u = q(sgd.momentum, v, g) if sgd.nesterov else v
    return q(-sgd.lr, u, w), v, issued


@pytest.mark.parametrize("nesterov", [False, True], ids=["heavy-ball", "nesterov"])
@pytest.mark.parametrize("rounding", [RNE, RTZ, sr(9), Rounding(mode="sr_unbiased", random_bits=5)], ids=str)
@pytest.mark.parametrize("fmt", [DLFLOAT16, FP16, FP32, E6M9], ids=str)
def test_sgd_is_its_axpys(law, real, fmt, rounding, nesterov):
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
        issued = words.issued
        want_w, want_v, issued = sgd_on_fractions(law, real, sgd, want_w, want_v, g.tolist(), words)
        w, v, words = sgd.step(w, v, g, words)
        assert w.tolist() == want_w
        assert v.tolist() == want_v
        assert words == replace(sgd.words, issued=issued)
        compared += w.size
    assert compared == 54
    assert words.issued == 6 * (4 if nesterov else 3) * 3  # nine elements on four lanes


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


def resumed(state, codec):
    """A state as it comes back from a file."""
    table = json.loads(json.dumps([*(array.tolist() for array in state[:-1]), asdict(state.words)]))
    arrays = [np.array(codes, array.dtype) for codes, array in zip(table[:-1], state[:-1], strict=True)]
    return codec(*arrays, LaneWords(**table[-1]))


def test_sgd_resumes_with_the_same_bits():
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
    size = ones.size
    sgd, adam = Sgd(lr=0.5, rounding=sr(3), lanes=4), Adam(lr=0.5, format=FP16, rounding=sr(3), lanes=4)
    by_sgd, by_adam = sgd.step(zero, zero, ones, sgd.words), adam.step(zero, zero, zero, ones, adam.words, t=1)
    for state, passes, fmt in ((by_sgd, 3, DLFLOAT16), (by_adam, 4, FP16)):
        assert {np.shape(array) for array in state[:-1]} == {shape}
        assert state.words.issued == passes * -(-size // 4)
        np.testing.assert_allclose(to_float(state.weights, fmt), -ones / 2, rtol=0.01)


def test_tensors_follow_one_another_on_the_lanes():
    """Two tensors in turn consume the words that one of both, lane by lane, would not."""
    sgd = Sgd(lr=0.3, rounding=sr(8), lanes=8)
    rng = np.random.default_rng(5)
    w, g = encode(rng.standard_normal(16), DLFLOAT16), rng.standard_normal(16)
    zero = np.zeros(16, np.uint16)
    first = sgd.step(w, zero, g, sgd.words)
    second = sgd.step(w, zero, g, first.words)
    assert first.words.issued == 6
    assert second.words.issued == 12
    assert (first.weights != second.weights).any()


# ---------------------------------------------------------------------------------------------------------------- Adam


def adam_on_fractions(law, real, adam: Adam, w, m, v, g, words: LaneWords, t: int):
    """One step, one element at a time; float64 only where the definition has it."""
    fmt, moments, bits = adam.format, adam.moments or adam.format, adam.rounding.random_bits
    saturate = adam.overflow == "saturate"
    issued = words.issued

    def numbers(codes, of):
        return [law.decode(code, of) for code in codes]

    def scalar(value: float):
        return law.decode(law.round(as_real(real, value), adam.scalar, "rne"), adam.scalar)

    def q(alpha, x, beta, y, of) -> list[int]:
        nonlocal issued
        u = naive_words(replace(words, issued=issued), len(x), bits) if bits else [0] * len(x)
        issued += -(-len(x) // words.lanes)
        accumulator = Accumulator(format=of, rounding=adam.rounding, overflow=adam.overflow)
        terms = [law.add(law.multiply(alpha, a), law.multiply(beta, b)) for a, b in zip(x, y, strict=True)]
        return [law.round_sum(term, accumulator, word) for term, word in zip(terms, u, strict=True)]

    one = scalar(1.0)
    if adam.decoupled:
        w = q(scalar(-(adam.lr * adam.weight_decay)), numbers(w, fmt), one, numbers(w, fmt), fmt)
    else:
        g = q(scalar(adam.weight_decay), numbers(w, fmt), one, numbers(g, fmt), fmt)
    gradients = numbers(g, fmt)
    h = [law.decode(law.round(law.multiply(x, x), FP32, "rne", saturate=saturate), FP32) for x in gradients]
    m = q(scalar(adam.beta1), numbers(m, moments), scalar(1 - adam.beta1), gradients, moments)
    v = q(scalar(adam.beta2), numbers(v, moments), scalar(1 - adam.beta2), h, moments)
    directions = []
    for mean, square in zip(numbers(m, moments), numbers(v, moments), strict=True):
        mhat = float(mean.magnitude) * (-1) ** mean.negative / float(1 - Fraction(adam.beta1) ** t)
        vhat = float(square.magnitude) / float(1 - Fraction(adam.beta2) ** t)
        quotient = as_real(real, mhat / (sqrt(vhat) + adam.eps))
        directions.append(law.decode(law.round(quotient, FP32, "rne", saturate=saturate), FP32))
    w = q(scalar(-adam.lr), directions, one, numbers(w, fmt), fmt)
    return w, m, v, issued


@pytest.mark.parametrize("decoupled", [True, False], ids=["adamw", "adam"])
@pytest.mark.parametrize("rounding", [RNE, sr(11)], ids=str)
@pytest.mark.parametrize(
    "fmt, moments", [(FP32, None), (BF16, FP32), (DLFLOAT16, None), (FP16, BF16), (E6M9, DLFLOAT16)], ids=str
)
def test_adam_is_what_it_says(law, real, fmt, moments, rounding, decoupled):
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
        *want, issued = adam_on_fractions(law, real, adam, *want, g.tolist(), state.words, t)
        state = adam.step(*state[:3], g, state.words, t=t)
        assert [array.tolist() for array in state[:3]] == want
        assert state.words == replace(adam.words, issued=issued)
        compared += 6
    assert compared == 48
    assert state.words.issued == 8 * 4 * 2  # eight steps of four passes, six elements on four lanes


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
    sgd = Sgd(lr=0.1, format=FP16, rounding=RNE)
    assert sgd.step(encode([1.0, 1.0], FP16), zero[:2], [-inf, nan], sgd.words).weights.tolist() == [0x7C00, 0x7E00]


def test_adam_resumes_with_the_same_bits():
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


# -------------------------------------------------------------------------------------------------------------- errors


Z = np.zeros(2, np.uint16)
SGD, ADAM = Sgd(lr=0.1, rounding=RNE), Adam(format=DLFLOAT16)
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
        (lambda: axpy("1", Z, Z, FP16), "alpha must be a real number, not '1'"),
        (lambda: axpy(1.0, [0.5], Z, FP16), "codes of fp16 must be integers, not float64"),
        (lambda: Sgd(lr="0.1"), "lr must be a real number, not '0.1'"),
        (lambda: Adam(eps=None), "eps must be a real number, not None"),
        (lambda: SGD.step([0.5], Z, Z, SGD.words), "weights: codes of dlfloat16 must be integers, not float64"),
        (lambda: SGD.step(Z, Z, [1j, 0], SGD.words), "gradient: codes of dlfloat16 must be integers, not complex128"),
        (lambda: SGD.step(Z, Z, [True, False], SGD.words), "gradient: codes of dlfloat16 must be integers, not bool"),
        (
            lambda: ADAM.step(Z, Z, [0.5], Z, ADAM.words, t=1),
            "square: codes of dlfloat16 must be integers, not float64",
        ),
    ],
)
def test_wrong_types_are_refused(call, text, message):
    assert message(call, TypeError) == text


def test_every_wide_format_can_be_trained_in():
    """A step of each optimiser in every format that an accumulator may have."""
    count = 0
    for fmt in FORMATS.values():
        if fmt.bits >= 12:
            w, zero = encode([1.0, -0.5], fmt), np.zeros(2, fmt.dtype)
            sgd, adam = Sgd(lr=0.125, format=fmt), Adam(lr=0.125, format=fmt)
            for weights in (
                sgd.step(w, zero, [1.0, -1.0], sgd.words).weights,
                adam.step(w, zero, zero, [1.0, -1.0], adam.words, t=1).weights,
            ):
                assert to_float(weights, fmt) == pytest.approx([0.875, -0.375], rel=0.02)
                count += 1
    assert count == 16
