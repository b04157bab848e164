"""GEMM over leading dimensions: one product after another, with words as arrays, by a law, or by default."""

import dataclasses

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import (
    FORMATS,
    RNE,
    RTZ,
    Accumulator,
    AlignedSum,
    Arithmetic,
    ArrayWords,
    Blocks,
    ExactSum,
    GemmWords,
    LaneWords,
    Machine,
    Rounding,
    array_words,
    encode,
    encode_blocks,
    gemm,
    sr,
    to_float,
)
from quaver.golden.catalog import DLFLOAT16, E4M3, E5M2, FP16, FP32, HFP8_143, HFP8_153

pytestmark = pytest.mark.usefixtures("backend")

STOCHASTIC = Arithmetic(
    a=E4M3, b=E5M2, inner=Accumulator(rounding=sr(9)), outer=Accumulator(format=FP16, rounding=sr(5)), chunk=4, seed=7
)
LAW = ArrayWords(rows=8, columns=3, chunk=4, accumulator_depth=2, seed=7)
BATCHES = [
    *(
        ((), ()),
        ((3,), ()),
        ((), (3,)),
        ((3,), (3,)),
        ((2, 1), (1, 3)),
        ((1, 2, 2), (2, 1)),
        ((0,), ()),
        ((2, 0), (1,)),
    ),
]

inners = st.sampled_from(
    [
        *(Accumulator(), Accumulator(rounding=sr(9)), Accumulator(format=FORMATS["e6m5"], rounding=RTZ)),
        *(Accumulator(format=FP16, rounding=Rounding(mode="sr_fast", random_bits=16)), ExactSum(), AlignedSum(13)),
    ]
)
outers = st.sampled_from(
    [Accumulator(), Accumulator(format=FP16, rounding=sr(4)), Accumulator(format=FP32, rounding=RTZ)]
)


def operands(rng: np.random.Generator, left, right, m: int, k: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    return (
        encode(rng.standard_normal((*left, m, k)), E4M3),
        encode(rng.standard_normal((*right, k, n)), E5M2),
    )


@settings(deadline=None, max_examples=150)
@given(
    batches=st.sampled_from(BATCHES),
    inner=inners,
    outer=outers,
    chunk=st.sampled_from([1, 4, 16]),
    k=st.integers(0, 20),
    start=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_batch_is_its_gemms(law, batches, inner, outer, chunk, k, start, seed):
    """Each product of broadcast operands, its C and its words are one GEMM, and that equals the flat loops."""
    rng = np.random.default_rng(seed)
    arithmetic = Arithmetic(a=E4M3, b=E5M2, inner=inner, outer=outer, chunk=chunk)
    m, n = 2, 3
    a, b = operands(rng, *batches, m, k, n)
    batch = np.broadcast_shapes(*batches)
    shape = (*batch, m, n)
    c = encode(rng.standard_normal(shape), outer.format) if start else None
    words = GemmWords(
        rng.integers(0, 1 << arithmetic.inner_random_bits, (k, *shape)),
        rng.integers(0, 1 << arithmetic.outer_random_bits, (-(-k // chunk), *shape)),
    )
    got = gemm(a, b, arithmetic, c=c, words=words)
    assert (got.shape, got.dtype) == (shape, outer.format.dtype)
    a, b = np.broadcast_to(a, (*batch, m, k)), np.broadcast_to(b, (*batch, k, n))
    compared = 0
    for index in np.ndindex(batch):
        part = GemmWords(*(w[(slice(None), *index)] for w in words))
        one = None if c is None else c[index]
        np.testing.assert_array_equal(got[index], gemm(a[index], b[index], arithmetic, c=one, words=part))
        if compared < 2 and k:
            lists = (None if one is None else one.tolist(), part.inner.tolist(), part.outer.tolist())
            assert got[index].tolist() == law.gemm(a[index].tolist(), b[index].tolist(), arithmetic, *lists)
        compared += 1
    assert compared == int(np.prod(batch))


@pytest.mark.parametrize("batches", BATCHES)
def test_a_law_deals_to_one_gemm_after_another(batches):
    rng = np.random.default_rng(1)
    m, k, n = 5, 13, 7
    a, b = operands(rng, *batches, m, k, n)
    batch = np.broadcast_shapes(*batches)
    got = gemm(a, b, STOCHASTIC, words=LAW)
    a, b = np.broadcast_to(a, (*batch, m, k)), np.broadcast_to(b, (*batch, k, n))
    law, count = LAW, 0
    for index in np.ndindex(batch):
        np.testing.assert_array_equal(got[index], gemm(a[index], b[index], STOCHASTIC, words=law))
        arrays = law.of_gemm(m, k, n, 9, 5)
        np.testing.assert_array_equal(got[index], gemm(a[index], b[index], STOCHASTIC, words=arrays))
        law, count = law.after(m, k, n), count + 1
        assert law == LAW.after(m, k, n, count)
    assert count == int(np.prod(batch))
    assert got.shape == (*batch, m, n)


def test_equal_gemms_of_a_batch_get_words_of_their_own():
    rng = np.random.default_rng(2)
    a, b = operands(rng, (), (), 4, 64, 4)
    got = gemm(np.stack([a] * 3), b, STOCHASTIC, words=LAW)
    assert (got[0] != got[1]).any()
    assert (got[1] != got[2]).any()
    np.testing.assert_array_equal(got[0], gemm(a, b, STOCHASTIC, words=LAW))


@pytest.mark.parametrize("inner", [Accumulator(rounding=sr(9)), Accumulator(), ExactSum(), AlignedSum()], ids=str)
@pytest.mark.parametrize("chunk", [1, 4, 64, 100, 128, 300])
def test_words_by_default_are_those_of_the_reference_array(inner, chunk):
    rng = np.random.default_rng(3)
    arithmetic = dataclasses.replace(STOCHASTIC, inner=inner, chunk=chunk, seed=99)
    a, b = operands(rng, (2,), (), 3, 330, 5)
    law = ArrayWords.reference(arithmetic)
    assert (law.columns, law.chunk, law.seed) == (128, chunk, 99)
    assert law.rows % chunk == 0
    got = gemm(a, b, arithmetic)
    np.testing.assert_array_equal(got, gemm(a, b, arithmetic, words=law))
    assert (got != gemm(a, b, dataclasses.replace(arithmetic, seed=100))).any(), "the seed is the arithmetic's"
    machine = Machine(rows=law.rows, columns=128, chunk=chunk, accumulator_depth=1024, seed=99)
    assert ArrayWords.of(machine) == law


def test_the_law_of_a_machine_is_its_words():
    machine = Machine(
        rows=8, columns=4, chunk=4, inner=Accumulator(rounding=sr(9)), outer=Accumulator(rounding=sr(9)), seed=5
    )
    a, b = operands(np.random.default_rng(4), (), (), 6, 20, 9)
    arithmetic = dataclasses.replace(machine.arithmetic(), a=E4M3, b=E5M2)
    want = gemm(a, b, arithmetic, words=array_words(machine, 6, 20, 9))
    np.testing.assert_array_equal(gemm(a, b, arithmetic, words=ArrayWords.of(machine)), want)


def test_blocks_come_in_batches():
    rng = np.random.default_rng(5)
    arithmetic = Arithmetic(a=E4M3, b=E5M2, inner=ExactSum(), outer=Accumulator(format=FP32), chunk=16)
    a = encode_blocks(np.ldexp(rng.standard_normal((2, 1, 3, 40)), rng.integers(-9, 9, (2, 1, 3, 1))), E4M3)
    b = encode_blocks(np.ldexp(rng.standard_normal((4, 40, 2)), rng.integers(-9, 9, (4, 1, 2))), E5M2, axis=-2)
    got = gemm(a, b, arithmetic)
    assert got.shape == (2, 4, 3, 2)
    for i, j in np.ndindex(2, 4):
        left, right = Blocks(a.codes[i, 0], a.scales[i, 0]), Blocks(b.codes[j], b.scales[j])
        np.testing.assert_array_equal(got[i, j], gemm(left, right, arithmetic))
    assert np.unique(got).size == got.size


def test_operands_of_every_kind():
    rng = np.random.default_rng(6)
    a, b, c = rng.standard_normal((3, 6)), rng.standard_normal((6, 2)), rng.standard_normal((3, 2))
    arithmetic = Arithmetic(a=E4M3, b=E5M2, chunk=4)
    want = gemm(encode(a, E4M3), encode(b, E5M2), arithmetic, c=encode(c, DLFLOAT16))
    np.testing.assert_array_equal(gemm(a, b, arithmetic, c=c), want)
    np.testing.assert_array_equal(gemm(a.tolist(), b.tolist(), arithmetic, c=c.tolist()), want)
    narrow_a, narrow_b = a.astype(ml_dtypes.float8_e4m3fn), b.astype(ml_dtypes.float8_e5m2)
    np.testing.assert_array_equal(gemm(narrow_a, narrow_b, arithmetic, c=c), want)
    codes = encode(a, E4M3), encode(b, E5M2), encode(c, DLFLOAT16)
    for dtype in (np.int64, np.uint32, np.uint16):
        got = gemm(*(x.astype(dtype) for x in codes[:2]), arithmetic, c=codes[2].astype(dtype))
        np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(gemm(codes[0].tolist(), codes[1].tolist(), arithmetic, c=codes[2].tolist()), want)
    strided = np.asfortranarray(codes[0]), np.repeat(codes[1], 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(gemm(*strided, arithmetic, c=codes[2]), want)
    for dtype in (np.float16, np.float32, ml_dtypes.bfloat16, ml_dtypes.float6_e2m3fn):
        cast = a.astype(dtype), b.astype(dtype), c.astype(dtype)
        wide = [x.astype(np.float64) for x in cast]
        np.testing.assert_array_equal(gemm(*cast[:2], arithmetic, c=cast[2]), gemm(*wide[:2], arithmetic, c=wide[2]))


def test_operands_are_left_as_they_were():
    a, b, c = np.full((2, 3), 0x38), np.full((3, 2), 0x3C), np.full((2, 2), 0x3E00)
    gemm(a, b, Arithmetic(a=E4M3, b=E5M2, chunk=2), c=c)
    assert (np.unique(a), np.unique(b), np.unique(c)) == (0x38, 0x3C, 0x3E00)
    words = np.zeros((3, 2, 2), np.uint16), np.zeros((1, 2, 2), np.uint16)
    read_only = [x.copy() for x in (a, b, c, *words)]
    for x in read_only:
        x.flags.writeable = False
    gemm(read_only[0], read_only[1], STOCHASTIC, c=read_only[2], words=GemmWords(*read_only[3:]))


A, B = np.zeros((2, 3), int), np.zeros((3, 4), int)
INNER, OUTER = np.zeros((3, 2, 4), int), np.zeros((1, 2, 4), int)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: gemm(A + 0j, B, Arithmetic()), TypeError, "a must be an array of codes or floats, not of complex128"),
        (lambda: gemm(A, B > 0, Arithmetic()), TypeError, "b must be an array of codes or floats, not of bool"),
        (lambda: gemm(A.astype(str), B, Arithmetic()), TypeError, "a must be an array of codes or floats, not of <U21"),
        (
            lambda: gemm(A, B, Arithmetic(), c=[["x"]]),
            TypeError,
            "c must be an array of codes or floats, not of <U1",
        ),
        (lambda: gemm(A, [[None]], Arithmetic()), TypeError, "b must be an array of codes or floats, not of object"),
        (lambda: gemm(A, B.astype("V8"), Arithmetic()), TypeError, "b must be an array of codes or floats, not of |V8"),
        (
            lambda: gemm(3, B, Arithmetic()),
            ValueError,
            "a and b must be of shapes (..., M, K) and (..., K, N), not () and (3, 4)",
        ),
        (
            lambda: gemm(np.zeros((2, 5, 3), int), np.zeros((3, 3, 4), int), Arithmetic()),
            ValueError,
            "leading dimensions of a and b must broadcast, not (2,) and (3,)",
        ),
        (
            lambda: gemm(np.zeros((2, 2, 3), int), B, Arithmetic(), c=np.zeros((2, 4), int)),
            ValueError,
            "c must be of shape (2, 2, 4), not (2, 4)",
        ),
        (lambda: gemm(A - 1, B, Arithmetic()), ValueError, "codes of e4m3 must be in 0..0xff"),
        (lambda: gemm(A, B, Arithmetic(), c=INNER[0] + 65536), ValueError, "codes of dlfloat16 must be in 0..0xffff"),
        (
            lambda: gemm(np.stack([A, A]), B, STOCHASTIC, words=GemmWords(INNER, OUTER)),
            ValueError,
            "words.inner must be of shape (3, 2, 2, 4), not (3, 2, 4)",
        ),
        (
            lambda: gemm(A, B, STOCHASTIC, words=GemmWords(INNER, OUTER[:0])),
            ValueError,
            "words.outer must be of shape (1, 2, 4), not (0, 2, 4)",
        ),
        (
            lambda: gemm(A, B, STOCHASTIC, words=GemmWords(INNER - 1, OUTER)),
            ValueError,
            "words of sr(9) must be in 0..511",
        ),
        (
            lambda: gemm(A, B, STOCHASTIC, words=GemmWords(INNER, OUTER + 32)),
            ValueError,
            "words of sr(5) must be in 0..31",
        ),
        (
            lambda: gemm(A, B, STOCHASTIC, words=GemmWords(INNER + 0.5, OUTER)),
            TypeError,
            "words must be integers, not float64",
        ),
        (
            lambda: gemm(A, B, dataclasses.replace(STOCHASTIC, chunk=8), words=LAW),
            ValueError,
            "words.chunk must be the arithmetic's 8, not 4",
        ),
        (
            lambda: gemm(A, B, dataclasses.replace(STOCHASTIC, chunk=65537)),
            ValueError,
            "chunk of the reference array must be an integer in 1..65536, not 65537",
        ),
        (lambda: sr(0), ValueError, "random_bits must be an integer in 1..24, not 0"),
        (lambda: sr(25), ValueError, "random_bits must be an integer in 1..24, not 25"),
        (
            lambda: Rounding(mode="sr_fast", random_bits=25),
            ValueError,
            "random_bits must be an integer in 1..24, not 25",
        ),
        (
            lambda: Rounding(mode="sr_slow"),
            ValueError,
            "rounding must be one of rne, rha, rtz, sr, sr_fast, sr_unbiased, not 'sr_slow'",
        ),
        (
            lambda: Accumulator(format=dataclasses.replace(FP16, signed=False)),
            ValueError,
            "format of an accumulator must be signed, not fp16",
        ),
        (
            lambda: dataclasses.replace(FORMATS["e4m3fnuz"], signed=False),
            ValueError,
            "e4m3fnuz: signed must be one of True, not False",
        ),
        (
            lambda: Arithmetic(a=FP16),
            ValueError,
            "significant bits of operand a (fp16) must be an integer in 1..8, not 11",
        ),
        (
            lambda: gemm([[np.nan]], [[1.0]], Arithmetic(a=HFP8_143)),
            ValueError,
            "NaN cannot be encoded in hfp8_143",
        ),
        (
            lambda: gemm([[0x7F]], [[0x38]], Arithmetic(inner=ExactSum(), outer=Accumulator(format=HFP8_153))),
            ValueError,
            "NaN cannot be encoded in hfp8_153",
        ),
        (
            lambda: encode([1.0, 2.0], E4M3, sr(4), words=[[16]]),
            ValueError,
            "words of sr(4) must be in 0..15",
        ),
        (lambda: encode([1j], E4M3), TypeError, "values must be real numbers, not complex128"),
        (lambda: encode([True], E4M3), TypeError, "values must be real numbers, not bool"),
        (lambda: encode(["1"], E4M3), TypeError, "values must be real numbers, not <U1"),
        (lambda: encode([1.0], E4M3, sr(4), words=[0.5]), TypeError, "words must be integers, not float64"),
        (lambda: LaneWords(lanes=0), ValueError, "lanes must be an integer in 1..65536, not 0"),
    ],
)
def test_what_does_not_fit_is_an_error(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


def test_words_that_are_not_needed_are_not_looked_at():
    deterministic = dataclasses.replace(STOCHASTIC, inner=Accumulator(), outer=Accumulator())
    for words in (GemmWords(None, None), GemmWords(INNER[:1] - 5, None), dataclasses.replace(LAW, chunk=8)):
        assert gemm(A, B, deterministic, words=words).tolist() == np.zeros((2, 4)).tolist()
    inner_only = dataclasses.replace(STOCHASTIC, outer=Accumulator())
    assert gemm(A, B, inner_only, words=GemmWords(INNER, OUTER[:0] - 1)).shape == (2, 4)


@pytest.mark.parametrize("bits", [1, 9, 16])
def test_lanes_deal_to_a_tensor_in_its_order(bits):
    """Each lane's generator steps once per row of lanes; a second tensor goes on where the first one ended."""
    law = LaneWords(lanes=4, seed=3)
    values = np.linspace(0.1, 9, 30).reshape(3, 10)
    whole = LaneWords(lanes=4, seed=3).of_tensor((48,), bits)
    got = encode(values, E4M3, sr(bits), words=law)
    np.testing.assert_array_equal(got, encode(values, E4M3, sr(bits), words=whole[:30].reshape(3, 10)))
    second = encode(values[0], E4M3, sr(bits), words=law.after(30))
    np.testing.assert_array_equal(second, encode(values[0], E4M3, sr(bits), words=whole[32:42]))
    np.testing.assert_array_equal(encode(values, E4M3, RNE, words=law), encode(values, E4M3))
    assert to_float(got, E4M3).shape == values.shape
