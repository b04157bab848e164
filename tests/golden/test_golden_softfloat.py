"""MAC, sums and GEMM with FP16, BF16 and FP32 accumulators against Berkeley SoftFloat."""

from contextlib import contextmanager

import ml_dtypes
import numpy as np
import pytest
import softfloatpy as sf

from quaver.golden import FORMATS, Accumulator, Arithmetic, Rounding, accumulate, decode, gemm, mac

OPERANDS = {"e4m3": ml_dtypes.float8_e4m3fn, "e5m2": ml_dtypes.float8_e5m2}
NATIVE = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16, "fp32": np.float32}


def bf16_mul_add(a, b, c):
    """Two roundings that equal one, as 24 bits are at least 2 * 8 + 2 and an FP8 product has at most 8, as has c."""
    return sf.f32_to_bf16(sf.f32_mul_add(sf.bf16_to_f32(a), sf.bf16_to_f32(b), sf.bf16_to_f32(c)))


def bf16_add(x, y):
    return sf.f32_to_bf16(sf.f32_add(sf.bf16_to_f32(x), sf.bf16_to_f32(y)))


SOFT = {
    "fp16": (sf.Float16, sf.f16_mul_add, sf.f16_add),
    "bf16": (sf.BFloat16, bf16_mul_add, bf16_add),
    "fp32": (sf.Float32, sf.f32_mul_add, sf.f32_add),
}
MODES = {
    "rne": sf.RoundingMode.NEAR_EVEN,
    "rtz": sf.RoundingMode.MIN_MAG,
    "rha": sf.RoundingMode.NEAR_MAX_MAG,
}


@contextmanager
def rounding_mode(mode):
    before = sf.get_rounding_mode()
    sf.set_rounding_mode(mode)
    try:
        yield
    finally:
        sf.set_rounding_mode(before)


def numbers(name: str, codes: np.ndarray) -> list:
    """Codes as SoftFloat's objects."""
    make, size = SOFT[name][0].from_bytes, np.dtype(NATIVE[name]).itemsize
    data = codes.astype(f">u{size}").tobytes()
    return [make(data[i : i + size]) for i in range(0, len(data), size)]


def codes_of(name: str, results) -> np.ndarray:
    soft, size = SOFT[name][0], np.dtype(NATIVE[name]).itemsize
    return np.frombuffer(b"".join(map(soft.to_bytes, results)), f">u{size}").astype(np.int64)


def check(name: str, got: np.ndarray, want: np.ndarray) -> None:
    """Equal codes; SoftFloat's NaN has its own sign and payload, ours is canonical."""
    fmt = FORMATS[name]
    with np.errstate(invalid="ignore"):
        nan = np.isnan(want.astype(f"u{np.dtype(NATIVE[name]).itemsize}").view(NATIVE[name]))
    want = np.where(nan, fmt.nan_code, want)
    np.testing.assert_array_equal(got, want)


def operand_table(operand: str, name: str) -> np.ndarray:
    """All codes of an operand as SoftFloat's objects of format `name`, which holds them exactly."""
    values = np.arange(256, dtype=np.uint8).view(OPERANDS[operand])
    widened = values.astype(NATIVE[name])
    np.testing.assert_array_equal(widened.astype(np.float64), values.astype(np.float64))
    return np.array(numbers(name, widened.view(FORMATS[name].dtype)), dtype=object)


@pytest.mark.parametrize("mode, count", [("rne", 1_000_000), ("rtz", 200_000), ("rha", 200_000)])
@pytest.mark.parametrize("name", SOFT)
def test_mac_equals_softfloat(name, mode, count, cases):
    fmt, rng = FORMATS[name], np.random.default_rng(16)
    accumulator = Accumulator(format=fmt, rounding=Rounding(mode=mode))
    _, mul_add, _ = SOFT[name]
    compared = nans = infinities = subnormals = zeros = 0
    for a_name in OPERANDS:
        for b_name in OPERANDS:
            a_format, b_format = FORMATS[a_name], FORMATS[b_name]
            tables = [operand_table(a_name, name), operand_table(b_name, name)]
            acc, a, b = cases(rng, count // 4, a_format, b_format, fmt)
            with rounding_mode(MODES[mode]):
                want = codes_of(name, map(mul_add, tables[0][a], tables[1][b], numbers(name, acc)))
            got = mac(acc, a, b, a_format=a_format, b_format=b_format, accumulator=accumulator)
            check(name, got, want)
            compared += got.size
            x, magnitude = decode(got, fmt), got & fmt.magnitude_mask
            nans += np.count_nonzero(x.nan)
            infinities += np.count_nonzero(x.inf)
            zeros += np.count_nonzero(magnitude == 0)
            subnormals += np.count_nonzero((magnitude > 0) & (magnitude < 1 << fmt.mantissa_bits))
    assert compared == count
    least = 200 if name != "bf16" else 2_000  # products lie far above its subnormals: only its own codes get there
    assert min(nans, infinities, zeros, subnormals) > count // least, (nans, infinities, zeros, subnormals)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", SOFT)
def test_sums_of_chunks_equal_softfloat(name, mode):
    """y + s, both of the accumulator's format."""
    fmt, rng, count = FORMATS[name], np.random.default_rng(17), 200_000
    x, y = rng.integers(0, 1 << fmt.bits, (2, count))
    near = rng.random(count) < 0.5
    exponents = rng.integers(-fmt.precision - 2, fmt.precision + 3, count) << fmt.mantissa_bits
    moved = np.clip((x & fmt.magnitude_mask) + np.where(rng.random(count) < 0.5, exponents, 0), 0, fmt.magnitude_mask)
    moved ^= rng.integers(0, 8, count)
    y = np.where(near, moved | rng.integers(0, 2, count) << (fmt.bits - 1), y)
    with rounding_mode(MODES[mode]):
        want = codes_of(name, map(SOFT[name][2], numbers(name, y), numbers(name, x)))
    got = accumulate(y, decode(x, fmt), Accumulator(format=fmt, rounding=Rounding(mode=mode)))
    check(name, got, want)
    assert got.size == count


TO_F32 = {"fp16": sf.f16_to_f32, "bf16": sf.bf16_to_f32, "fp32": lambda x: x}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("inner, outer", [*zip(SOFT, SOFT, strict=True), ("fp16", "fp32"), ("bf16", "fp32")])
@pytest.mark.parametrize("a_name, b_name", [("e4m3", "e4m3"), ("e5m2", "e4m3")])
@pytest.mark.usefixtures("backend")
def test_gemm_equals_softfloat(inner, outer, mode, a_name, b_name):
    """The outer sums are of the inner format or of FP32: SoftFloat adds no two formats with one rounding."""
    rng = np.random.default_rng(18)
    m, k, n, chunk = 8, 52, 12, 16
    a, b = rng.integers(0, 1 << 8, (m, k)), rng.integers(0, 1 << 8, (k, n))
    plain = rng.random((m, k)) < 0.995  # or every sum would meet a NaN
    a, b = np.where(plain, a & 0xBF, a), b & 0xBF
    rounding = Rounding(mode=mode)
    arithmetic = Arithmetic(
        a=FORMATS[a_name],
        b=FORMATS[b_name],
        inner=Accumulator(format=FORMATS[inner], rounding=rounding),
        outer=Accumulator(format=FORMATS[outer], rounding=rounding),
        chunk=chunk,
    )
    _, mul_add, _ = SOFT[inner]
    _, _, add = SOFT[outer]
    widen = TO_F32[inner] if outer == "fp32" else lambda x: x
    minus_zero, zero = (
        numbers(name, np.array([code]))[0] for name, code in ((inner, FORMATS[inner].sign_mask), (outer, 0))
    )
    x, y = operand_table(a_name, inner)[a], operand_table(b_name, inner)[b]
    want = []
    with rounding_mode(MODES[mode]):
        for i in range(m):
            for j in range(n):
                total = zero
                for start in range(0, k, chunk):
                    s = minus_zero
                    for step in range(start, min(start + chunk, k)):
                        s = mul_add(x[i, step], y[step, j], s)
                    total = add(total, widen(s))
                want.append(total)
    got = gemm(a, b, arithmetic)
    check(outer, got.ravel(), codes_of(outer, want))
    assert np.unique(got).size > 30
