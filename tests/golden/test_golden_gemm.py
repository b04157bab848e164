"""Chunked GEMM against the flat loops on exact fractions, and the laws of order and of signed zeros."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import (
    FORMATS,
    PRESETS,
    RNE,
    Accumulator,
    Arithmetic,
    GemmWords,
    Machine,
    Rounding,
    array_words,
    encode,
    gemm,
    sr,
    to_float,
)
from quaver.golden.catalog import (
    BF16,
    DLFLOAT16,
    E2M1,
    E3M2,
    E4M3,
    E4M3FNUZ,
    E5M2,
    FP16,
    FP32,
    HFP8_153,
    NOUNE_152,
)

pytestmark = pytest.mark.usefixtures("backend")

ACCUMULATORS = ["dlfloat16", "fp16", "bf16", "fp32", "e6m5", "e6m5_sub", "e6m9", "e8m13", "e4m3", "e4m3fnuz"]

accumulators = st.builds(
    Accumulator,
    format=st.sampled_from([FORMATS[name] for name in ACCUMULATORS]),
    rounding=st.sampled_from(
        [
            *(RNE, Rounding(mode="rtz"), Rounding(mode="rha"), sr(4), sr(9), sr(13), sr(24)),
            *(Rounding(mode=mode, random_bits=bits) for mode in ("sr_fast", "sr_unbiased") for bits in (2, 9, 24)),
        ]
    ),
    overflow=st.sampled_from(["special", "saturate"]),
)
arithmetics = st.builds(
    Arithmetic,
    a=st.sampled_from([E4M3, E5M2, E4M3FNUZ, E2M1, BF16, NOUNE_152]),
    b=st.sampled_from([E4M3, E5M2, E3M2, BF16, HFP8_153]),
    inner=accumulators,
    outer=accumulators,
    chunk=st.sampled_from([1, 2, 3, 4, 7, 8, 64]),
)


def operand(rng: np.random.Generator, fmt, shape, specials: bool) -> np.ndarray:
    """Codes of mixed magnitudes; few special ones, or a sum would hardly ever be a number."""
    codes = rng.integers(0, 1 << fmt.bits, shape)
    plain = encode(rng.standard_normal(shape), fmt)
    return np.where(rng.random(shape) < (0.1 if specials else 0.0), codes, plain)


def words_for(rng: np.random.Generator, arithmetic: Arithmetic, m: int, k: int, n: int) -> GemmWords:
    def draw(rounding: Rounding, items: int) -> np.ndarray | None:
        return rng.integers(0, 1 << rounding.random_bits, (items, m, n)) if rounding.stochastic else None

    return GemmWords(draw(arithmetic.inner.rounding, k), draw(arithmetic.outer.rounding, -(-k // arithmetic.chunk)))


def as_lists(words: np.ndarray | None) -> list | None:
    return None if words is None else words.tolist()


@settings(deadline=None, max_examples=300)
@given(
    arithmetic=arithmetics,
    m=st.integers(1, 3),
    k=st.integers(1, 20),
    n=st.integers(1, 3),
    start=st.booleans(),
    specials=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_gemm_equals_the_flat_loops(law, arithmetic, m, k, n, start, specials, seed):
    rng = np.random.default_rng(seed)
    a = operand(rng, arithmetic.a, (m, k), specials)
    b = operand(rng, arithmetic.b, (k, n), specials)
    c = operand(rng, arithmetic.outer.format, (m, n), specials) if start else None
    words = words_for(rng, arithmetic, m, k, n)
    got = gemm(a, b, arithmetic, c=c, words=words)
    want = law.gemm(a.tolist(), b.tolist(), arithmetic, as_lists(c), as_lists(words.inner), as_lists(words.outer))
    assert got.tolist() == want
    assert got.dtype == arithmetic.outer.format.dtype


@pytest.mark.parametrize("mode", ["rne", "rtz", "rha", "sr", "sr_fast", "sr_unbiased"])
@pytest.mark.parametrize("overflow", ["special", "saturate"])
def test_every_accumulator_equals_the_flat_loops(law, mode, overflow):
    """Codes of every size, so that sums cancel, vanish and overflow."""
    rng = np.random.default_rng(23)
    m, k, n, compared = 6, 9, 6, 0
    for index, name in enumerate([*ACCUMULATORS, "hfp8_153"]):
        rounding = Rounding(mode=mode, random_bits=[1, 4, 9, 16, 24][index % 5] if mode.startswith("sr") else 0)
        accumulator = Accumulator(format=FORMATS[name], rounding=rounding, overflow=overflow)
        arithmetic = Arithmetic(a=E4M3, b=E5M2, inner=accumulator, outer=accumulator, chunk=4)
        a = rng.integers(0, 127, (m, k)) | rng.integers(0, 2, (m, k)) << 7
        b = rng.integers(0, 124, (k, n)) | rng.integers(0, 2, (k, n)) << 7
        c = encode(rng.standard_normal((m, n)), FORMATS[name])
        if mode == "rne" and name != "hfp8_153":  # which has no NaN
            a[0, 0], b[1, 2] = 0x7F, 0x7C
        words = words_for(rng, arithmetic, m, k, n)
        got = gemm(a, b, arithmetic, c=c, words=words)
        lists = (c.tolist(), as_lists(words.inner), as_lists(words.outer))
        assert got.tolist() == law.gemm(a.tolist(), b.tolist(), arithmetic, *lists), name
        compared += got.size
    assert compared == 11 * 36


@pytest.mark.parametrize("chunk", [1, 5, 8, 24, 25, 64])
def test_long_sums_equal_the_flat_loops(law, chunk):
    """K = 24 in one chunk, whole chunks, and with a partial last one."""
    rng = np.random.default_rng(chunk)
    arithmetic = Arithmetic(
        a=E4M3, b=E5M2, inner=Accumulator(format=DLFLOAT16), outer=Accumulator(format=FP32), chunk=chunk
    )
    a, b = rng.integers(0, 127, (8, 24)), rng.integers(0, 124, (24, 8))
    a |= rng.integers(0, 2, a.shape) << 7
    b |= rng.integers(0, 2, b.shape) << 7
    got = gemm(a, b, arithmetic)
    assert got.tolist() == law.gemm(a.tolist(), b.tolist(), arithmetic)
    assert np.unique(got).size > 40


@pytest.mark.parametrize("inner", [FP16, BF16, FP32, DLFLOAT16])
@pytest.mark.parametrize("outer", [FP16, FP32, DLFLOAT16])
def test_zero_products(inner, outer):
    arithmetic = Arithmetic(inner=Accumulator(format=inner), outer=Accumulator(format=outer), chunk=4)
    minus, plus = np.full((1, 10), 0x80), np.zeros((10, 1), int)
    kept = inner.has_negative_zero and outer.has_negative_zero
    start = np.array([[outer.sign_mask]])
    assert gemm(minus, plus, arithmetic) == 0, "y starts at +0"
    assert gemm(minus, plus, arithmetic, c=start if kept else [[0]]) == (outer.sign_mask if kept else 0)
    assert gemm(-minus % 256 ^ 0x80, plus, arithmetic, c=start if kept else [[0]]) == 0, "+0 products"
    mixed = minus.copy()
    mixed[0, 9] = 0
    assert gemm(mixed, plus, arithmetic, c=start if kept else [[0]]) == 0, "one +0 product"
    if outer.has_negative_zero and not inner.has_negative_zero:
        assert gemm(minus, plus, arithmetic, c=start) == outer.sign_mask, "the only zero is read as -0"
    one = encode([[1.0]], outer)
    assert gemm(minus, plus, arithmetic, c=one) == one


@settings(deadline=None, max_examples=80)
@given(
    arithmetic=arithmetics,
    m=st.integers(1, 3),
    k=st.integers(1, 12),
    n=st.integers(1, 3),
    padding=st.integers(1, 10),
    seed=st.integers(0, 2**32 - 1),
)
def test_padding_with_minus_zero_changes_nothing(arithmetic, m, k, n, padding, seed):
    """Idle lanes deal -0 products, whatever the words; in chunks of their own too."""
    arithmetic = dataclasses.replace(arithmetic, a=E4M3, b=E5M2)
    rng = np.random.default_rng(seed)
    a, b = operand(rng, E4M3, (m, k), True), operand(rng, E5M2, (k, n), True)
    c = operand(rng, arithmetic.outer.format, (m, n), False)
    words = words_for(rng, arithmetic, m, k + padding, n)
    short = GemmWords(
        None if words.inner is None else words.inner[:k],
        None if words.outer is None else words.outer[: -(-k // arithmetic.chunk)],
    )
    padded_a = np.hstack([a, np.full((m, padding), 0x80)])
    padded_b = np.vstack([b, np.zeros((padding, n), int)])
    want = gemm(a, b, arithmetic, c=c, words=short)
    np.testing.assert_array_equal(gemm(padded_a, padded_b, arithmetic, c=c, words=words), want)


def test_a_chunk_of_padding_is_the_identity():
    """An inner format without -0 cannot carry it: its only zero is read as -0, and y = -0 stays."""
    arithmetic = Arithmetic(a=E5M2, b=E5M2, outer=Accumulator(format=FP16), chunk=4)
    a, b = np.full((1, 5), 0x80), np.zeros((5, 1), int)
    a[0, 0], b[0, 0] = 0x81, 0x04  # -2^-30, less than half of FP16's smallest number
    assert [gemm(a[:, :k], b[:k], arithmetic).item() for k in (1, 4, 5)] == [0x8000] * 3


@settings(deadline=None, max_examples=60)
@given(arithmetic=arithmetics, k=st.integers(1, 12), seed=st.integers(0, 2**32 - 1))
def test_each_output_is_a_gemm_of_its_own(arithmetic, k, seed):
    rng = np.random.default_rng(seed)
    m, n = 4, 5
    a, b = operand(rng, arithmetic.a, (m, k), True), operand(rng, arithmetic.b, (k, n), True)
    words = words_for(rng, arithmetic, m, k, n)
    whole = gemm(a, b, arithmetic, words=words)
    for i in range(m):
        for j in range(n):
            part = GemmWords(*(None if w is None else w[:, i : i + 1, j : j + 1] for w in words))
            assert gemm(a[i : i + 1], b[:, j : j + 1], arithmetic, words=part) == whole[i, j]


@pytest.mark.parametrize("mode", ["rne", "rtz", "rha"])
@pytest.mark.parametrize("chunk", [4, 16])
def test_bits_do_not_depend_on_the_array(mode, chunk):
    rng = np.random.default_rng(3)
    m, k, n = 9, 41, 7
    a, b = rng.integers(0, 120, (m, k)), rng.integers(0, 120, (k, n)) | rng.integers(0, 2, (k, n)) << 7
    accumulator = Accumulator(format=DLFLOAT16, rounding=Rounding(mode=mode))
    results = []
    for rows, columns, mac_depth, depth in ((4, 4, 1, 2), (8, 3, 2, 5), (16, 16, 4, 64), (64, 1, 7, 1024)):
        machine = Machine(
            rows=rows,
            columns=columns,
            mac_depth=mac_depth,
            accumulator_depth=depth,
            chunk=chunk,
            inner=accumulator,
            outer=accumulator,
        )
        words = array_words(machine, m, k, n)
        assert words == GemmWords(None, None)
        results.append(gemm(a, b, machine.arithmetic(), words=words))
    for result in results:
        np.testing.assert_array_equal(result, results[0])
    assert np.unique(results[0]).size > 20


def test_chunks_are_what_the_bits_depend_on():
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 120, (4, 64)), rng.integers(0, 120, (64, 4))
    results = [gemm(a, b, Arithmetic(chunk=chunk)) for chunk in (1, 4, 64)]
    assert (results[0] != results[1]).any()
    assert (results[1] != results[2]).any()
    # A chunk of one rounds twice, but its product is exact here: the sum is that of one chunk.
    np.testing.assert_array_equal(results[0], results[2])


def test_floats_are_cast_first():
    rng = np.random.default_rng(5)
    a, b, c = rng.standard_normal((3, 5)), rng.standard_normal((5, 2)), rng.standard_normal((3, 2))
    arithmetic = Arithmetic(a=E4M3, b=E5M2, chunk=4)
    want = gemm(encode(a, E4M3), encode(b, E5M2), arithmetic, c=encode(c, DLFLOAT16))
    np.testing.assert_array_equal(gemm(a, b, arithmetic, c=c), want)
    exact = to_float(encode(a, E4M3), E4M3) @ to_float(encode(b, E5M2), E5M2) + to_float(
        encode(c, DLFLOAT16), DLFLOAT16
    )
    np.testing.assert_allclose(to_float(want, DLFLOAT16), exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("machine", PRESETS.values(), ids=str)
def test_empty_sums_are_the_start(machine):
    arithmetic = machine.arithmetic()
    c = np.array([[5, 6]])
    none = np.zeros((1, 0), int), np.zeros((0, 2), int)
    assert gemm(*none, arithmetic).tolist() == [[0, 0]]
    assert gemm(*none, arithmetic, c=c).tolist() == c.tolist()


def test_what_does_not_fit_is_an_error():
    a, b = np.zeros((2, 3), int), np.zeros((3, 4), int)
    stochastic = Arithmetic(inner=Accumulator(rounding=sr(9)), outer=Accumulator(rounding=sr(4)), chunk=2)
    inner, outer = np.zeros((3, 2, 4), int), np.zeros((2, 2, 4), int)
    for call, message in (
        (
            lambda: gemm(a, b.T, Arithmetic()),
            r"a and b must be of shapes (..., M, K) and (..., K, N), not (2, 3) and (4, 3)",
        ),
        (
            lambda: gemm(a[0], b, Arithmetic()),
            r"a and b must be of shapes (..., M, K) and (..., K, N), not (3,) and (3, 4)",
        ),
        (lambda: gemm(a, b, Arithmetic(), c=a), r"c must be of shape (2, 4), not (2, 3)"),
        (lambda: gemm(a + 256, b, Arithmetic()), r"codes of e4m3 must be in 0..0xff"),
        (
            lambda: gemm(a, b, stochastic, words=GemmWords(None, None)),
            "words.inner of shape (3, 2, 4) is needed by the inner sum's sr(9)",
        ),
        (
            lambda: gemm(a, b, stochastic, words=GemmWords(inner, None)),
            "words.outer of shape (2, 2, 4) is needed by the outer sum's sr(4)",
        ),
        (
            lambda: gemm(a, b, stochastic, words=GemmWords(inner[1:], outer)),
            "words.inner must be of shape (3, 2, 4), not (2, 2, 4)",
        ),
        (lambda: gemm(a, b, stochastic, words=GemmWords(inner + 512, outer)), "words of sr(9) must be in 0..511"),
    ):
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == message
