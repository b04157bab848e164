"""Block scales after OCP MX against gfloat, and GEMM on blocks against fractions."""

from fractions import Fraction

import gfloat
import numpy as np
import pytest
from gfloat import formats as gfloat_formats
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import (
    FORMATS,
    RHA,
    RNE,
    RTZ,
    Accumulator,
    AlignedSum,
    Arithmetic,
    Blocks,
    ExactSum,
    GemmWords,
    Rounding,
    decode_blocks,
    encode,
    encode_blocks,
    gemm,
    sr,
    to_float,
)
from quaver.golden.catalog import E4M3, E5M2, FP32

pytestmark = pytest.mark.usefixtures("backend")

MX = {
    "e5m2": gfloat_formats.format_info_mxfp8_e5m2,
    "e4m3": gfloat_formats.format_info_mxfp8_e4m3,
    "e3m2": gfloat_formats.format_info_mxfp6_e3m2,
    "e2m3": gfloat_formats.format_info_mxfp6_e2m3,
    "e2m1": gfloat_formats.format_info_mxfp4_e2m1,
}
MODES = [(RNE, gfloat.RoundMode.TiesToEven), (RTZ, gfloat.RoundMode.TowardZero), (RHA, gfloat.RoundMode.TiesToAway)]


def random_blocks(rng: np.random.Generator, count: int) -> np.ndarray:
    """Blocks of 32 float32, a sixth each: of one magnitude, spread over all of them, subnormal, sparse, zero, even."""
    shape = (count, 32)
    normal = np.ldexp(rng.standard_normal(shape), rng.integers(-120, 120, (count, 1)))
    spread = np.ldexp(1 + rng.random(shape), rng.integers(-149, 127, shape)) * rng.choice([-1.0, 1.0], shape)
    subnormal = np.ldexp(rng.integers(-64, 64, shape).astype(float), -149 + rng.integers(0, 20, (count, 1)))
    sparse = np.where(rng.random(shape) < 0.05, normal, 0.0)
    zero = np.where(rng.random(shape) < 0.5, 0.0, -0.0)
    even = np.ldexp(rng.integers(-40, 41, shape).astype(float), rng.integers(-100, 100, (count, 1)))
    kinds = np.array([normal, spread, subnormal, sparse, zero, even])
    return kinds[rng.integers(0, 6, count), np.arange(count)].astype(np.float32)


def quantised(name: str, block: np.ndarray, mode=gfloat.RoundMode.TiesToEven) -> np.ndarray:
    return gfloat.quantize_block(MX[name], block.astype(np.float64), gfloat.compute_scale_amax, mode)


def assert_same(got: np.ndarray, want: np.ndarray) -> None:
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


@pytest.mark.parametrize("name", MX)
def test_blocks_equal_gfloat(name):
    fmt, rng = FORMATS[name], np.random.default_rng(20)
    compared = 0
    for (rounding, mode), count in zip(MODES, (1_000, 100, 100), strict=True):
        values = random_blocks(rng, count)
        blocks = encode_blocks(values, fmt, rounding)
        assert (blocks.codes.dtype, blocks.codes.shape) == (np.uint8, (count, 32))
        assert (blocks.scales.dtype, blocks.scales.shape) == (np.uint8, (count, 1))
        want = np.array([quantised(name, block, mode) for block in values])
        assert_same(decode_blocks(blocks, fmt), want)
        compared += count
        # The elements fill the format, or the scale is at its end.
        amax = np.abs(to_float(blocks.codes, fmt)).max(axis=1)
        assert ((amax >= fmt.max_finite / 2) | (blocks.scales[:, 0] == 0)).all()
        assert np.unique(blocks.scales).size > 40
    assert compared == 1_200


@pytest.mark.parametrize("name", MX)
def test_the_ends_of_the_scales(name):
    fmt = FORMATS[name]
    for value in (1e300, -1e300, 1e-300, 2.0**-127, 2.0**127 * fmt.max_finite, 5e-324):
        block = np.array([value, -value / 2, 0.0, value / 64])
        assert_same(decode_blocks(encode_blocks(block, fmt), fmt), quantised(name, block))
    assert encode_blocks([1e300], fmt).scales.tolist() == [254]
    assert encode_blocks([0.0, -0.0], fmt).scales.tolist() == [0]
    power = 2.0 ** (int(np.log2(fmt.max_finite)) + 3)
    assert encode_blocks([power], fmt).scales.tolist() == [127 + 3]
    assert encode_blocks([np.nextafter(power, 0)], fmt).scales.tolist() == [127 + 2]


@pytest.mark.parametrize("name", MX)
def test_a_block_with_no_number_is_nan(name):
    fmt = FORMATS[name]
    values = np.ones((4, 64))
    values[0, 3], values[1, 40], values[2, 63] = np.nan, np.inf, -np.inf
    blocks = encode_blocks(values, fmt)
    nan = [[True, False], [False, True], [False, True], [False, False]]
    assert (blocks.scales == 255).tolist() == nan
    np.testing.assert_array_equal(np.isnan(decode_blocks(blocks, fmt)), np.repeat(nan, 32, axis=1))
    assert (blocks.codes[np.repeat(nan, 32, axis=1)] == 0).all()


@pytest.mark.parametrize("length", [0, 1, 31, 32, 33, 70])
def test_axis_and_a_short_last_block(length):
    rng = np.random.default_rng(length)
    values = np.ldexp(rng.standard_normal((3, length, 2)), rng.integers(-9, 9, (3, length, 2)))
    blocks = encode_blocks(values, E4M3, axis=1)
    assert blocks.codes.shape == values.shape
    assert blocks.scales.shape == (3, -(-length // 32), 2)
    same = encode_blocks(values, E4M3, axis=-2)
    np.testing.assert_array_equal(same.codes, blocks.codes)
    np.testing.assert_array_equal(same.scales, blocks.scales)
    got = decode_blocks(blocks, E4M3, axis=1)
    for i in range(3):
        for j in range(2):
            for start in range(0, length, 32):
                part = slice(start, start + 32)
                assert_same(got[i, part, j], quantised("e4m3", values[i, part, j]))


def test_stochastic_elements_are_casts():
    rng = np.random.default_rng(21)
    values = random_blocks(rng, 60).reshape(20, 96)
    words = rng.integers(0, 1 << 9, values.shape)
    for mode in ("sr", "sr_fast", "sr_unbiased"):
        rounding = Rounding(mode=mode, random_bits=9)
        blocks = encode_blocks(values, E5M2, rounding, words=words)
        exponent = np.repeat(blocks.scales.astype(int) - 127, 32, axis=1)
        want = encode(np.ldexp(values.astype(np.float64), -exponent), E5M2, rounding, words=words, saturate=True)
        np.testing.assert_array_equal(blocks.codes, want)
        assert (blocks.codes != encode_blocks(values, E5M2).codes).any()


inners = st.sampled_from(
    [
        *(Accumulator(format=FORMATS[name]) for name in ("fp32", "fp16", "dlfloat16", "e6m5")),
        Accumulator(format=FORMATS["bf16"], rounding=sr(9)),
        *(ExactSum(), ExactSum(), AlignedSum(13), AlignedSum(25)),
    ]
)
outers = st.builds(
    Accumulator,
    format=st.sampled_from([FORMATS[name] for name in ("fp32", "fp16", "dlfloat16", "e8m13", "bf16")]),
    rounding=st.sampled_from([RNE, RTZ, RHA, sr(13), Rounding(mode="sr_unbiased", random_bits=4)]),
)


@settings(deadline=None, max_examples=300)
@given(
    names=st.tuples(st.sampled_from(sorted(MX)), st.sampled_from(sorted(MX))),
    inner=inners,
    outer=outers,
    chunk=st.sampled_from([32, 16, 8, 1]),
    k=st.integers(1, 80),
    far=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_gemm_on_blocks_equals_fractions(law, names, inner, outer, chunk, k, far, seed):
    rng = np.random.default_rng(seed)
    m, n, count = 2, 2, -(-k // 32)
    arithmetic = Arithmetic(a=FORMATS[names[0]], b=FORMATS[names[1]], inner=inner, outer=outer, chunk=chunk)

    def draw(fmt, shape, scales):
        codes = rng.integers(0, fmt.max_code + 1, shape) | rng.integers(0, 2, shape) * fmt.sign_mask
        codes = np.where(rng.random(shape) < 0.01, rng.integers(0, 1 << fmt.bits, shape), codes)
        middle = rng.integers(117, 138, scales)
        ends = rng.choice([0, 1, 254, 255, 100, 160], scales)
        return Blocks(codes.astype(np.uint8), np.where(far & (rng.random(scales) < 0.3), ends, middle).astype(np.uint8))

    a, b = draw(arithmetic.a, (m, k), (m, count)), draw(arithmetic.b, (k, n), (count, n))
    c = rng.integers(0, outer.format.max_code, (m, n))
    chunks = -(-k // chunk)
    words = GemmWords(
        rng.integers(0, 1 << arithmetic.inner_random_bits, (k, m, n)),
        rng.integers(0, 1 << arithmetic.outer_random_bits, (chunks, m, n)),
    )
    scales = [
        [[scale_of(a.scales[i, x * chunk // 32], b.scales[x * chunk // 32, j]) for j in range(n)] for i in range(m)]
        for x in range(chunks)
    ]
    want = law.gemm(
        *(a.codes.tolist(), b.codes.tolist(), arithmetic, c.tolist(), words.inner.tolist(), words.outer.tolist()),
        scales,
    )
    assert gemm(a, b, arithmetic, c=c, words=words).tolist() == want


def scale_of(a: np.uint8, b: np.uint8) -> Fraction | None:
    return None if 255 in (int(a), int(b)) else Fraction(2) ** (int(a) + int(b) - 2 * 127)


@pytest.mark.parametrize("name", MX)
def test_an_exact_product_of_blocks_is_that_of_their_values(name, law, real):
    """From floats to the sum: one rounding of the exact product of what gfloat makes of the operands."""
    fmt, rng = FORMATS[name], np.random.default_rng(22)
    a, b = random_blocks(rng, 8), random_blocks(rng, 8)
    a, b = np.ldexp(rng.standard_normal((8, 32)), rng.integers(-40, 40, (8, 1))), b * (np.abs(b) < 2.0**60)
    arithmetic = Arithmetic(a=fmt, b=fmt, inner=ExactSum(), outer=Accumulator(format=FP32), chunk=32)
    got = gemm(encode_blocks(a, fmt), encode_blocks(b.T, fmt, axis=0), arithmetic)
    left, right = ([[Fraction(v) for v in quantised(name, row)] for row in rows] for rows in (a, b))
    compared = 0
    for row, codes in zip(left, got.tolist(), strict=True):
        for column, code in zip(right, codes, strict=True):
            total = sum(x * y for x, y in zip(row, column, strict=True))
            want = law.round(real("finite", total < 0, abs(total)), FP32, "rne")
            assert code & 0x7FFFFFFF == want & 0x7FFFFFFF
            assert code == want or total == 0
            compared += 1
    assert compared == 64


def test_what_does_not_fit_is_an_error():
    a = encode_blocks(np.ones((3, 40)), E4M3)
    b = encode_blocks(np.ones((40, 2)), E4M3, axis=0)
    exact = Arithmetic(inner=ExactSum(), chunk=32)
    assert to_float(gemm(a, b, exact), exact.outer.format).tolist() == [[40.0] * 2] * 3
    for call, error, message in (
        (lambda: gemm(a, b.codes, exact), TypeError, "a and b must both be Blocks, or neither"),
        (lambda: gemm(a.codes, b, exact), TypeError, "a and b must both be Blocks, or neither"),
        (lambda: gemm(a, b, Arithmetic(chunk=64)), ValueError, "chunk must divide the block of 32, not 64"),
        (lambda: gemm(a, b, Arithmetic(chunk=24)), ValueError, "chunk must divide the block of 32, not 24"),
        (
            lambda: gemm(a._replace(scales=a.scales[:, :1]), b, exact),
            ValueError,
            "scales of a must be of shape (3, 2), not (3, 1)",
        ),
        (
            lambda: gemm(a, b._replace(scales=b.scales.T[:1]), exact),
            ValueError,
            "scales of b must be of shape (2, 2), not (1, 2)",
        ),
        (
            lambda: gemm(a._replace(scales=a.scales.astype(np.int64)), b, exact),
            TypeError,
            "scales of a must be of uint8, not int64",
        ),
        (
            lambda: gemm(a, b._replace(scales=b.scales.astype(np.float32)), exact),
            TypeError,
            "scales of b must be of uint8, not float32",
        ),
        (
            lambda: encode_blocks(np.ones((2, 3)), E4M3, axis=2),
            ValueError,
            "axis must be one of the 2 of values, not 2",
        ),
        (lambda: encode_blocks(1.0, E4M3), ValueError, "axis must be one of the 0 of values, not -1"),
        (lambda: encode_blocks(np.ones(3), E4M3, sr(4)), ValueError, "words are needed by rounding sr(4)"),
        (
            lambda: encode_blocks(np.ones(3), E4M3, sr(4), words=[1, 2, 16]),
            ValueError,
            "words of sr(4) must be in 0..15",
        ),
    ):
        with pytest.raises(error) as caught:
            call()
        assert str(caught.value) == message
