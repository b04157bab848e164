"""Aligned sums against Hopper's and Blackwell's tensor cores as MMA-Sim found them, stated anew on integers."""

from math import frexp, ldexp

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import (
    BLACKWELL_FP8,
    FORMATS,
    HOPPER_FP8,
    Accumulator,
    AlignedSum,
    Arithmetic,
    Format,
    GemmWords,
    Rounding,
    encode,
    gemm,
    to_float,
)
from quaver.golden.catalog import BF16, E2M1, E4M3, E4M3FNUZ, E5M2, E8M13, FP16, FP32

pytestmark = pytest.mark.usefixtures("backend")

GROUP = 32
OPERANDS = {  # significand bits, smallest exponent and the values of all codes, none of them this project's
    "e4m3": (3, -6, np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).astype(np.float64)),
    "e5m2": (2, -14, np.arange(256, dtype=np.uint8).view(ml_dtypes.float8_e5m2).astype(np.float64)),
}
PAIRINGS = [(E4M3, E4M3), (E4M3, E5M2), (E5M2, E4M3), (E5M2, E5M2)]


def integer_and_exponent(value: float, bits: int, emin: int) -> tuple[int, int]:
    """Significand in units of 2^-bits, not normalised below 2^emin, and the exponent it belongs to."""
    exponent = max(frexp(value)[1] - 1, emin)
    significand = ldexp(value, bits - exponent)
    assert significand.is_integer()
    return int(significand), exponent


TABLES = {
    name: [integer_and_exponent(v, bits, emin) if np.isfinite(v) else None for v in values.tolist()]
    for name, (bits, emin, values) in OPERANDS.items()
}


def cut(significand: int, shift: int) -> int:
    """significand * 2^shift toward zero."""
    magnitude = abs(significand) << shift if shift >= 0 else abs(significand) >> -shift
    return -magnitude if significand < 0 else magnitude


def tensor_core(products, product_bits: int, c: float, fraction_bits: int, result_bits: int) -> float:
    """One group: emax over all terms but zeros, each cut to `fraction_bits`, summed, cut to `result_bits` bits."""
    c_significand, c_exponent = integer_and_exponent(c, 23, -126)
    exponents = [e for significand, e in products if significand]
    if c_significand:
        exponents.append(c_exponent)
    if not exponents:
        return 0.0
    emax = max(exponents)
    total = cut(c_significand, fraction_bits - 23 + c_exponent - emax)
    shift = fraction_bits - product_bits - emax
    for significand, e in products:
        total += cut(significand, shift + e)
    # Value total * 2^(emax - fraction_bits), with the exponent range of FP32.
    lost = max(total.bit_length() - result_bits, -126 - (result_bits - 1) - (emax - fraction_bits), 0)
    exponent = emax - fraction_bits + lost
    largest = (1 << result_bits) - 1, 128 - result_bits
    magnitude = abs(total) >> lost
    if magnitude.bit_length() + exponent > 128:
        magnitude, exponent = largest
    return ldexp(-magnitude if total < 0 else magnitude, exponent)


def finite_codes(rng: np.random.Generator, fmt: Format, shape) -> np.ndarray:
    return rng.integers(0, fmt.max_code + 1, shape) | rng.integers(0, 2, shape) * fmt.sign_mask


def operands(rng: np.random.Generator, kind: str, a_format: Format, b_format: Format, m: int, k: int, n: int):
    a, b = finite_codes(rng, a_format, (m, k)), finite_codes(rng, b_format, (k, n))
    match kind:
        case "normal":
            a, b = encode(rng.standard_normal((m, k)), a_format), encode(rng.standard_normal((k, n)), b_format)
        case "subnormal":
            a = a & a_format.sign_mask | rng.integers(0, 3 << a_format.mantissa_bits, a.shape)
            b = b & b_format.sign_mask | rng.integers(0, 3 << b_format.mantissa_bits, b.shape)
        case "sparse":
            a = np.where(rng.random(a.shape) < 0.9, a & a_format.sign_mask, a)
        case "spread":  # one term in eight large, the others tiny
            small = a & a_format.sign_mask | rng.integers(0, 4 << a_format.mantissa_bits, a.shape)
            a = np.where(rng.random(a.shape) < 1 / 8, a, small)
        case "cancelling":
            half = k // 2
            a[:, half : 2 * half] = a[:, :half] ^ a_format.sign_mask
            b[half : 2 * half] = b[:half] + (rng.random((half, n)) < 0.03) * (b[:half] & 0x7F < b_format.max_code)
    return a.astype(np.int64), b.astype(np.int64)


def starts(rng: np.random.Generator, a: np.ndarray, b: np.ndarray, arithmetic: Arithmetic) -> np.ndarray:
    """C operands: zeros, any number, and such that nearly cancel the sum."""
    outer, shape = arithmetic.outer.format, (a.shape[0], b.shape[1])
    total = to_float(a, arithmetic.a) @ to_float(b, arithmetic.b)
    shift = rng.choice([0, 0, -20, 4, 14], shape)
    near = encode(-np.ldexp(total, shift), outer, Rounding(mode="rtz"), saturate=True).astype(np.int64)
    kind = rng.integers(0, 4, shape)
    return np.select([kind == 0, kind == 1], [np.zeros(shape, int), finite_codes(rng, outer, shape)], near)


def as_values(codes: np.ndarray, fmt: Format) -> np.ndarray:
    """FP32 and E8M13 codes as floats, by way of FP32's own."""
    return (codes.astype(np.uint32) << np.uint32(23 - fmt.mantissa_bits)).view(np.float32).astype(np.float64)


@pytest.mark.parametrize("kind", ["uniform", "normal", "subnormal", "sparse", "spread", "cancelling"])
@pytest.mark.parametrize("machine", [HOPPER_FP8, BLACKWELL_FP8], ids=["hopper", "blackwell"])
def test_tensor_cores_equal_mma_sim(machine, kind):
    """Groups of 32 products and C; two groups in a row, of which the first one's result is the second one's C."""
    rng = np.random.default_rng(["uniform", "normal", "subnormal", "sparse", "spread", "cancelling"].index(kind))
    bits = machine.outer.format.mantissa_bits + 1
    f = machine.inner.fraction_bits
    compared = moved = 0
    for a_format, b_format in PAIRINGS:
        arithmetic = Arithmetic(a=a_format, b=b_format, inner=machine.inner, outer=machine.outer, chunk=machine.chunk)
        for _ in range(2):
            m, k, n = 40, 2 * GROUP, 28
            a, b = operands(rng, kind, a_format, b_format, m, k, n)
            c = starts(rng, a[:, :GROUP], b[:GROUP], arithmetic)
            got = as_values(gemm(a, b, arithmetic, c=c), machine.outer.format)
            start = as_values(c, machine.outer.format)
            left = [[TABLES[a_format.name][code] for code in row] for row in a.tolist()]
            right = [[TABLES[b_format.name][code] for code in column] for column in b.T.tolist()]
            for i in range(m):
                for j in range(n):
                    y = start[i, j].item()
                    products = [(p * q, d + e) for (p, d), (q, e) in zip(left[i], right[j], strict=True)]
                    for group in (products[:GROUP], products[GROUP:]):
                        y = tensor_core(group, a_format.mantissa_bits + b_format.mantissa_bits, y, f, bits)
                        compared += 1
                    assert y == got[i, j], (a[i].tolist(), b[:, j].tolist(), c[i, j])
            exact = to_float(a, a_format) @ to_float(b, b_format) + start
            moved += np.count_nonzero(exact != got)
    assert compared == 4 * 2 * 2 * 40 * 28 > 17_000
    assert moved > 500, "the cuts are seen"


aligned_arithmetics = st.builds(
    lambda a, b, f, outer, chunk: Arithmetic(a=a, b=b, inner=AlignedSum(f), outer=outer, chunk=chunk),
    st.sampled_from([E4M3, E5M2, BF16, E2M1, E4M3FNUZ]),
    st.sampled_from([E4M3, E5M2, BF16]),
    st.integers(1, 30),
    st.builds(
        Accumulator,
        format=st.sampled_from([FORMATS[name] for name in ("fp32", "e8m13", "fp16", "dlfloat16", "e6m5", "bf16")]),
        rounding=st.sampled_from(
            [
                *(Rounding(mode=mode) for mode in ("rne", "rtz", "rha")),
                *(Rounding(mode=mode, random_bits=9) for mode in ("sr", "sr_fast", "sr_unbiased")),
            ]
        ),
        overflow=st.sampled_from(["special", "saturate"]),
    ),
    st.sampled_from([1, 4, 8, 32]),
)


@settings(deadline=None, max_examples=400)
@given(
    arithmetic=aligned_arithmetics,
    m=st.integers(1, 3),
    k=st.integers(0, 40),
    n=st.integers(1, 3),
    kind=st.sampled_from(["uniform", "normal", "subnormal", "sparse", "spread", "special"]),
    start=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_aligned_sums_equal_fractions(law, arithmetic, m, k, n, kind, start, seed):
    """Any fraction bits, operands and outer sum, signs of zeros and special values too."""
    rng = np.random.default_rng(seed)
    outer, rounding = arithmetic.outer.format, arithmetic.outer.rounding
    a, b = operands(rng, kind, arithmetic.a, arithmetic.b, m, k, n)
    if kind == "special":
        a = np.where(rng.random(a.shape) < 0.05, rng.integers(0, 1 << arithmetic.a.bits, a.shape), a)
    c = rng.integers(0, 1 << outer.bits, (m, n)) if start else None
    words = rng.integers(0, 1 << rounding.random_bits, (-(-k // arithmetic.chunk), m, n))
    got = gemm(a, b, arithmetic, c=c, words=GemmWords(None, words))
    starts = None if c is None else c.tolist()
    # Without products the lists have no columns.
    want = law.gemm(a.tolist(), b.tolist(), arithmetic, starts, outer_words=words.tolist()) if k else starts
    assert got.tolist() == (np.zeros((m, n), int).tolist() if want is None else want)


def hopper(values: list[float], c: float = 0.0, arithmetic: Arithmetic = HOPPER_FP8) -> float:
    """The sum of `values`, each as the product of two powers of two or of a number and one."""
    exponents = [frexp(v)[1] // 2 for v in values]
    a = encode([[ldexp(v, -e) for v, e in zip(values, exponents, strict=True)]], arithmetic.a)
    b = encode([[ldexp(1.0, e)] for e in exponents], arithmetic.b)
    assert (to_float(a, arithmetic.a)[0] * to_float(b, arithmetic.b)[:, 0]).tolist() == values
    y = gemm(a, b, arithmetic, c=encode([[c]], arithmetic.outer.format))
    return to_float(y, arithmetic.outer.format).item()


def test_hopper_keeps_fourteen_bits():
    """DeepSeek-V3, section 3.3.2: of each product only the highest 14 bits next to the largest one."""
    assert str(HOPPER_FP8.inner) == "aligned(13)"
    assert (HOPPER_FP8.chunk, HOPPER_FP8.outer.format, str(HOPPER_FP8.outer.rounding)) == (32, E8M13, "rtz")
    assert hopper([1.0, *[2.0**-13] * 31]) == 1 + 31 * 2.0**-13
    assert hopper([1.0, *[2.0**-14] * 31]) == 1.0, "each is cut before they are summed"
    assert hopper([1.0, *[-(2.0**-14)] * 31]) == 1.0, "toward zero, negative ones too"
    assert hopper([-1.0, 2.0**-14, -(2.0**-13)]) == -1 - 2.0**-13
    assert hopper([2.0**-14] * 32, c=-1.0) == -1.0, "C aligns them"
    assert hopper([2.0**-14] * 32, c=0.0) == 2.0**-9
    assert hopper([1.0, 1.0, 2.0**-13]) == 2.0, "the result has fourteen bits too"
    assert hopper([1.0, -1.0, 2.0**-14]) == 0.0, "what cancels has aligned the others"
    assert hopper([1.0, *[2.0**-14] * 32]) == 1.0 + 0.0
    assert hopper([*[2.0**-14] * 32, 1.0]) == 1 + 2.0**-9, "groups of 32 in order"


def test_blackwell_keeps_twenty_six_bits():
    assert (BLACKWELL_FP8.inner, BLACKWELL_FP8.chunk) == (AlignedSum(fraction_bits=25), 32)
    assert (BLACKWELL_FP8.outer.format, str(BLACKWELL_FP8.outer.rounding)) == (FP32, "rtz")
    for c, want in ((2.0**-25, 2.0**-25), (-(2.0**-25), -(2.0**-25)), (2.0**-26, 0.0), (2.0**-24 + 2.0**-26, 2.0**-24)):
        assert hopper([1.0, -1.0], c=c, arithmetic=BLACKWELL_FP8) == want


def test_a_subnormal_number_keeps_the_smallest_exponent():
    """2^-9 * 2^-9 has exponent -12, not -18, and so is cut sooner."""
    arithmetic = Arithmetic(inner=AlignedSum(fraction_bits=5), outer=Accumulator(format=FP32), chunk=32)
    tiny, normal = [[0x01]], [[0x01]]
    assert to_float(gemm(tiny, normal, arithmetic), FP32) == 0.0
    six = Arithmetic(inner=AlignedSum(fraction_bits=6), outer=Accumulator(format=FP32), chunk=32)
    assert to_float(gemm(tiny, normal, six), FP32) == 2.0**-18


def test_zeros_take_no_part():
    """A zero times a large number aligns nothing, nor does a zero C."""
    arithmetic = Arithmetic(inner=AlignedSum(fraction_bits=6), outer=Accumulator(format=FP32), chunk=4)
    a, b = [[0x7E, 0x01, 0x80, 0x01]], [[0x00], [0x01], [0x7E], [0x80]]
    assert to_float(gemm(a, b, arithmetic), FP32) == 2.0**-18
    for c, want in ((0x80000000, 0x80000000), (0, 0)):
        assert gemm([[0x80, 0x80]], [[0], [0x01]], arithmetic, c=[[c]]).item() == want, "-0 of -0 only"
    assert gemm([[0x80, 0x00]], [[0], [0]], arithmetic, c=[[0x80000000]]).item() == 0
    assert gemm([[0xB8, 0x38]], [[0x38], [0x38]], arithmetic, c=[[0x80000000]]).item() == 0, "cancelled"


def test_special_values():
    arithmetic = Arithmetic(a=E5M2, b=E5M2, inner=AlignedSum(), outer=Accumulator(format=FP16), chunk=2)
    inf, nan, one = 0x7C, 0x7F, 0x3C
    for a, b, c, want in (
        ([inf, one], [one, one], 0, 0x7C00),
        ([inf | 0x80, one], [one, one], 0, 0xFC00),
        ([inf, one], [one, inf | 0x80], 0, 0x7E00),
        ([inf, one], [0, one], 0, 0x7E00),
        ([nan | 0x80, one], [one, one], 0, 0x7E00),
        ([one, one], [one, one], 0xFC00, 0xFC00),
        ([inf, one], [one, one], 0xFC00, 0x7E00),
        ([one, one], [one, one], 0xFE01, 0x7E00),
        ([0x7B, 0x7B], [0x7B, 0x7B], 0, 0x7C00),
        ([0x7B, 0x7B], [0x7B, 0xFB], 0, 0),
    ):
        assert gemm([a], np.reshape(b, (2, 1)), arithmetic, c=[[c]]).item() == want, (a, b, c)
    assert gemm([[0x7F]], [[0x38]], HOPPER_FP8).item() == E8M13.nan_code
    largest = gemm([[0x7E] * 32], [[0x7E]] * 32, HOPPER_FP8, c=[[E8M13.max_code]]).item()
    assert largest == E8M13.max_code, "toward zero stops there"


@pytest.mark.parametrize("bits", [0, 31, -1, 13.0, True, None])
def test_fraction_bits_out_of_range(bits):
    with pytest.raises(ValueError) as error:
        AlignedSum(fraction_bits=bits)
    assert str(error.value) == f"fraction_bits must be an integer in 1..30, not {bits!r}"
