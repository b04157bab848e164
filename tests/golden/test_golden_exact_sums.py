"""Exact inner sums against fractions: cancellation, long sums, far ties, order, zeros and special values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import (
    FORMATS,
    Accumulator,
    Arithmetic,
    ExactSum,
    Format,
    GemmWords,
    Rounding,
    encode,
    gemm,
    to_float,
)
from quaver.golden.catalog import BF16, E4M3, E5M2, E5M2_WANG, FP16, FP32

pytestmark = pytest.mark.usefixtures("backend")

PAIRINGS = [(E4M3, E4M3), (E5M2, E5M2), (BF16, BF16), (E4M3, E5M2), (E5M2, BF16), (BF16, E4M3)]
OUTERS = ["fp32", "fp16", "dlfloat16", "bf16", "e8m13", "e6m5", "e6m9", "e4m3"]
ROUNDINGS = [
    *(Rounding(mode=mode) for mode in ("rne", "rtz", "rha")),
    *(Rounding(mode=mode, random_bits=bits) for mode in ("sr", "sr_fast", "sr_unbiased") for bits in (9, 24)),
]
LONG = 10_000

exact_arithmetics = st.builds(
    lambda pairing, outer, chunk: Arithmetic(a=pairing[0], b=pairing[1], inner=ExactSum(), outer=outer, chunk=chunk),
    st.sampled_from(PAIRINGS),
    st.builds(
        Accumulator,
        format=st.sampled_from([FORMATS[name] for name in OUTERS]),
        rounding=st.sampled_from(ROUNDINGS),
        overflow=st.sampled_from(["special", "saturate"]),
    ),
    st.sampled_from([1, 2, 5, 8, 32, 64]),
)


def finite_codes(rng: np.random.Generator, fmt: Format, shape) -> np.ndarray:
    """Codes of every exponent and both signs, small numbers and zeros too."""
    magnitude = rng.integers(0, fmt.max_code + 1, shape)
    magnitude = np.where(rng.random(shape) < 0.1, rng.integers(0, 3, shape), magnitude)
    return magnitude | rng.integers(0, 2, shape) * fmt.sign_mask


def cancelling(rng: np.random.Generator, a_format: Format, b_format: Format, m: int, k: int, n: int):
    """Operands of which all products but the last few cancel in pairs, in any order; the last ones are small."""
    pairs = max(0, k - 1 - int(rng.integers(0, 3))) // 2
    a, b = finite_codes(rng, a_format, (m, k)), finite_codes(rng, b_format, (k, n))
    a[:, pairs : 2 * pairs] = a[:, :pairs] ^ a_format.sign_mask
    b[pairs : 2 * pairs] = b[:pairs]
    a[:, 2 * pairs :] = a[:, 2 * pairs :] & a_format.sign_mask | rng.integers(0, 4, a[:, 2 * pairs :].shape)
    b[2 * pairs :] = b[2 * pairs :] & b_format.sign_mask | rng.integers(0, 4, b[2 * pairs :].shape)
    order = rng.permutation(k)
    return a[:, order], b[order]


def outer_words(rng: np.random.Generator, arithmetic: Arithmetic, shape, k: int) -> GemmWords:
    rounding = arithmetic.outer.rounding
    chunks = -(-k // arithmetic.chunk)
    return GemmWords(
        None, rng.integers(0, 1 << rounding.random_bits, (chunks, *shape)) if rounding.stochastic else None
    )


def check(law, a, b, arithmetic: Arithmetic, c, words: GemmWords) -> np.ndarray:
    got = gemm(a, b, arithmetic, c=c, words=words)
    want = law.gemm(
        a.tolist(),
        b.tolist(),
        arithmetic,
        None if c is None else c.tolist(),
        outer_words=None if words.outer is None else words.outer.tolist(),
    )
    assert got.tolist() == want
    return got


@settings(deadline=None, max_examples=400)
@given(
    arithmetic=exact_arithmetics,
    m=st.integers(1, 3),
    k=st.integers(1, 70),
    n=st.integers(1, 3),
    kind=st.sampled_from(["any", "cancelling", "special"]),
    start=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_exact_sums_equal_fractions(law, arithmetic, m, k, n, kind, start, seed):
    rng = np.random.default_rng(seed)
    outer = arithmetic.outer.format
    if kind == "cancelling":
        a, b = cancelling(rng, arithmetic.a, arithmetic.b, m, k, n)
    else:
        a, b = finite_codes(rng, arithmetic.a, (m, k)), finite_codes(rng, arithmetic.b, (k, n))
    if kind == "special":
        a = np.where(rng.random(a.shape) < 0.03, rng.integers(0, 1 << arithmetic.a.bits, a.shape), a)
    c = rng.integers(0, 1 << outer.bits, (m, n)) if start else None
    check(law, a, b, arithmetic, c, outer_words(rng, arithmetic, (m, n), k))


@pytest.mark.parametrize("chunk", [LONG, 1000, 37])
@pytest.mark.parametrize("a_format, b_format", PAIRINGS, ids=lambda fmt: fmt.name)
def test_ten_thousand_terms_equal_fractions(a_format, b_format, chunk, law):
    """All but a few cancel, far above and below what is left; C decides some of the last bits."""
    rng = np.random.default_rng(chunk + PAIRINGS.index((a_format, b_format)))
    a, b = cancelling(rng, a_format, b_format, 1, LONG, 2)
    name = OUTERS[int(rng.integers(0, 4))]
    rounding = ROUNDINGS[int(rng.integers(0, len(ROUNDINGS)))]
    arithmetic = Arithmetic(
        a=a_format,
        b=b_format,
        inner=ExactSum(),
        outer=Accumulator(format=FORMATS[name], rounding=rounding),
        chunk=chunk,
    )
    c = np.array([[0, int(encode(2.0**-9, FORMATS[name]))]])
    check(law, a, b, arithmetic, c, outer_words(rng, arithmetic, (1, 2), LONG))


def test_a_long_sum_cancels_to_its_last_bit():
    """10^4 products of up to 448^2 leave the square of the smallest number, which is 2^-18."""
    rng = np.random.default_rng(1)
    a, b = finite_codes(rng, E4M3, (1, LONG + 1)), finite_codes(rng, E4M3, (LONG + 1, 1))
    a[:, LONG // 2 : LONG] = a[:, : LONG // 2] ^ 0x80
    b[LONG // 2 : LONG] = b[: LONG // 2]
    a[0, LONG], b[LONG, 0] = 0x81, 0x01
    for outer in ("fp32", "fp16", "dlfloat16"):
        order = rng.permutation(LONG + 1)
        arithmetic = Arithmetic(inner=ExactSum(), outer=Accumulator(format=FORMATS[outer]), chunk=LONG + 1)
        got = gemm(a[:, order], b[order], arithmetic)
        assert to_float(got, FORMATS[outer]) == -(2.0**-18)
    naive = gemm(a, b, Arithmetic(inner=Accumulator(format=FP32), outer=Accumulator(format=FP32), chunk=LONG + 1))
    assert to_float(naive, FP32) != -(2.0**-18)


@pytest.mark.parametrize("outer", ["fp32", "bf16", "dlfloat16", "fp16"])
@pytest.mark.parametrize("distance", [20, 60, 100, 230])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_tie_is_broken_however_far_below(outer, distance, sign):
    """1 + half an ulp, and a term that lies up to 230 bits below it, more than any register of fixed width."""
    fmt = FORMATS[outer]
    half = 2.0**-fmt.precision
    far = half * 2.0**-distance
    one, up = int(encode(sign, fmt)), int(encode(sign * (1 + 2 * half), fmt))
    odd, next_up = up, int(encode(sign * (1 + 4 * half), fmt))
    for start, mode, tail, want in (
        (1.0, "rne", 0.0, one),
        (1.0, "rne", far, up),
        (1.0, "rne", -far, one),
        (1.0, "rha", 0.0, up),
        (1.0, "rha", -far, one),
        (1.0, "rtz", far, one),
        (1 + 2 * half, "rne", 0.0, next_up),
        (1 + 2 * half, "rne", -far, odd),
    ):
        lead = [1.0, start - 1.0] if start > 1.0 else [1.0, 0.0]
        values = sign * np.array([[*lead, half, tail]])
        # Each number as a product of two numbers of BF16, whose exponents reach far enough only together.
        exponent = np.frexp(values)[1]
        left = encode(np.ldexp(values, -(exponent // 2)), BF16)
        right = encode(np.ldexp(1.0, exponent // 2), BF16)
        np.testing.assert_array_equal(to_float(left, BF16) * to_float(right, BF16), values)
        arithmetic = Arithmetic(
            a=BF16, b=BF16, inner=ExactSum(), outer=Accumulator(format=fmt, rounding=Rounding(mode=mode)), chunk=4
        )
        assert gemm(left, right.T, arithmetic).item() == want, (start, mode, tail)


@pytest.mark.parametrize("outer", ["fp32", "bf16", "dlfloat16"])
@pytest.mark.parametrize("bits", [4, 24])
@pytest.mark.parametrize("mode", ["sr", "sr_fast", "sr_unbiased"])
def test_the_word_that_decides(mode, bits, outer, law):
    """Sums of hundreds of bits; the words are the first one that rounds up and the last one that does not."""
    rng = np.random.default_rng(bits)
    accumulator = Accumulator(format=FORMATS[outer], rounding=Rounding(mode=mode, random_bits=bits))
    arithmetic = Arithmetic(a=BF16, b=BF16, inner=ExactSum(), outer=accumulator, chunk=8)
    m, n = 16, 16
    # A leading product, one on the edge between two words, or half of it above, and one far below either.
    middle = rng.integers(1, 4, (m, 1)) * 2.0 ** -(accumulator.format.mantissa_bits + bits + 1)
    a = np.hstack([np.ones((m, 1)), middle, rng.standard_normal((m, 4)) * 2.0 ** rng.integers(-90, -10, (m, 4))])
    b = np.vstack([np.ones((2, n)), rng.integers(-1, 2, (4, n)) * 2.0 ** rng.integers(-30, 0, (4, n))])
    a, b = encode(a, BF16), encode(b, BF16)
    left, right = ([[law.decode(x, BF16) for x in row] for row in codes.tolist()] for codes in (a, b.T))
    first = np.array(
        [
            [
                law.first_word_up(
                    law.chunk_sum([law.multiply(x, y) for x, y in zip(row, column, strict=True)], arithmetic, None),
                    *(accumulator.format, mode, bits),
                )
                for column in right
            ]
            for row in left
        ]
    )
    compared = 0
    for below in (0, 1):
        words = np.clip(first - below, 0, (1 << bits) - 1)
        got = check(law, a, b, arithmetic, None, GemmWords(None, words[None]))
        decided = (first - below >= 0) & (first - below < 1 << bits)
        up = to_float(got, accumulator.format) > to_float(encode(1.0, accumulator.format), accumulator.format)
        compared += np.count_nonzero(decided & (up == (below == 0)))
    assert compared > 300


@settings(deadline=None, max_examples=60)
@given(
    arithmetic=exact_arithmetics,
    k=st.integers(1, 70),
    special=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_order_within_a_chunk_does_not_matter(arithmetic, k, special, seed):
    rng = np.random.default_rng(seed)
    m, n = 2, 3
    a, b = cancelling(rng, arithmetic.a, arithmetic.b, m, k, n)
    if special:
        a = np.where(rng.random(a.shape) < 0.03, rng.integers(0, 1 << arithmetic.a.bits, a.shape), a)
    c = finite_codes(rng, arithmetic.outer.format, (m, n))
    words = outer_words(rng, arithmetic, (m, n), k)
    want = gemm(a, b, arithmetic, c=c, words=words)
    order = np.concatenate(
        [start + rng.permutation(min(arithmetic.chunk, k - start)) for start in range(0, k, arithmetic.chunk)]
    )
    np.testing.assert_array_equal(gemm(a[:, order], b[order], arithmetic, c=c, words=words), want)


@pytest.mark.parametrize("outer", ["fp32", "fp16", "dlfloat16"])
def test_zeros_and_special_values(outer):
    fmt = FORMATS[outer]
    arithmetic = Arithmetic(a=E5M2, b=E5M2, inner=ExactSum(), outer=Accumulator(format=fmt), chunk=4)
    minus = fmt.identity_code
    one, two, inf, nan = 0x3C, 0x40, 0x7C, 0x7E

    def run(a: list[int], b: list[int], c: int | None = None) -> int:
        return gemm([a], np.reshape(b, (len(a), 1)), arithmetic, c=None if c is None else [[c]]).item()

    assert gemm(np.zeros((2, 0), int), np.zeros((0, 3), int), arithmetic).tolist() == [[0] * 3] * 2
    assert gemm(np.zeros((1, 0), int), np.zeros((0, 1), int), arithmetic, c=[[minus]]).item() == minus
    assert run([0x80] * 5, [0] * 5) == 0, "y starts at +0"
    assert run([0x80] * 5, [0] * 5, minus) == minus
    assert run([0x80] * 4 + [0], [0] * 5, minus) == 0, "one +0"
    assert run([one, one | 0x80], [two, two], minus) == 0, "cancelled"
    assert run([0x81], [0x01], minus) == {"fp32": 0xAF800000, "fp16": 0x8000, "dlfloat16": 0}[outer], "-2^-32"
    infinite = fmt.nan_code if outer == "dlfloat16" else fmt.inf_code
    assert run([inf, one], [one, two]) == infinite
    assert run([one, inf], [two, one | 0x80]) == (infinite if outer == "dlfloat16" else infinite | fmt.sign_mask)
    for a, b in (([inf, inf], [one, one | 0x80]), ([inf], [0]), ([nan | 0x80], [one]), ([0x80], [inf | 0x80])):
        assert run(a, b) == fmt.nan_code, "canonical"
    if outer != "dlfloat16":
        assert run([inf], [one], infinite | fmt.sign_mask) == fmt.nan_code
        assert run([one], [one], infinite | fmt.sign_mask) == infinite | fmt.sign_mask
        assert run([one], [one], fmt.nan_code | fmt.sign_mask) == fmt.nan_code


def test_overflow_is_that_of_the_whole_chunk():
    """57344^2 overflows FP16 alone, and not where the chunk takes it back."""
    big, one = 0x7B, 0x3C
    for overflow, want in (("special", 0x7C00), ("saturate", 0x7BFF)):
        outer = Accumulator(format=FP16, overflow=overflow)
        arithmetic = Arithmetic(a=E5M2, b=E5M2, inner=ExactSum(), outer=outer, chunk=3)
        assert gemm([[big, one]], [[big], [one]], arithmetic).item() == want
        assert gemm([[big, one, big | 0x80]], [[big], [one], [big]], arithmetic).item() == encode(1.0, FP16)


def test_a_finite_operand_format_and_the_name():
    arithmetic = Arithmetic(a=E5M2_WANG, b=E5M2_WANG, inner=ExactSum(), outer=Accumulator(format=FP32), chunk=2)
    assert to_float(gemm([[0x7F, 0xFF]], [[0x01], [0x01]], arithmetic), FP32) == 0
    assert to_float(gemm([[0x7F, 0x7F]], [[0x01], [0x01]], arithmetic), FP32) == 2 * 114688 * 2.0**-16
    assert str(ExactSum()) == "exact"
