"""Casts and decoding against ml_dtypes, gfloat and NumPy."""

from functools import cache

import ml_dtypes
import numpy as np
import pytest
from gfloat import Domain, FormatInfo, RoundMode, decode_ndarray, encode_ndarray, round_ndarray
from gfloat import formats as gfloat_formats

from quaver.golden import FORMATS, RHA, RNE, RTZ, Rounding, decode, encode, to_float

pytestmark = pytest.mark.usefixtures("backend")

RANDOM = 1_000_000

ML_DTYPES = {
    "e5m2": ml_dtypes.float8_e5m2,
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e4m3fnuz": ml_dtypes.float8_e4m3fnuz,
    "e5m2fnuz": ml_dtypes.float8_e5m2fnuz,
    "e4m3b11fnuz": ml_dtypes.float8_e4m3b11fnuz,
    "e4m3_ieee": ml_dtypes.float8_e4m3,
    "e3m2": ml_dtypes.float6_e3m2fn,
    "e2m3": ml_dtypes.float6_e2m3fn,
    "e2m1": ml_dtypes.float4_e2m1fn,
}


def info(k: int, precision: int, bias: int, *, inf: bool, minus_zero: bool, high_nans: int) -> FormatInfo:
    return FormatInfo(
        name="",
        k=k,
        precision=precision,
        bias=bias,
        is_signed=True,
        domain=Domain.Extended if inf else Domain.Finite,
        has_nz=minus_zero,
        num_high_nans=high_nans,
        has_subnormals=True,
        is_twos_complement=False,
    )


GFLOAT_NARROW = {
    "e5m2": gfloat_formats.format_info_ocp_e5m2,
    "e4m3": gfloat_formats.format_info_ocp_e4m3,
    "e4m3fnuz": info(8, 4, 8, inf=False, minus_zero=False, high_nans=0),
    "e5m2fnuz": info(8, 3, 16, inf=False, minus_zero=False, high_nans=0),
    "e4m3b11fnuz": info(8, 4, 11, inf=False, minus_zero=False, high_nans=0),
    "e4m3_ieee": info(8, 4, 7, inf=True, minus_zero=True, high_nans=7),
    "noune_143b10": info(8, 4, 10, inf=False, minus_zero=False, high_nans=0),
    "noune_152b32": info(8, 3, 32, inf=False, minus_zero=False, high_nans=0),
    "e5m2_wang": info(8, 3, 15, inf=False, minus_zero=True, high_nans=0),
    "e3m2": gfloat_formats.format_info_ocp_e3m2,
    "e2m3": gfloat_formats.format_info_ocp_e2m3,
    "e2m1": gfloat_formats.format_info_ocp_e2m1,
    "hfp8_143": info(8, 4, 11, inf=False, minus_zero=True, high_nans=0),
}
GFLOAT_WIDE = {
    "hfp8_153": info(9, 4, 15, inf=False, minus_zero=True, high_nans=0),
    "e6m5_sub": info(12, 6, 31, inf=True, minus_zero=True, high_nans=31),
    "e6m9": info(16, 10, 31, inf=True, minus_zero=True, high_nans=511),
    "fp16": gfloat_formats.format_info_binary16,
    "bf16": gfloat_formats.format_info_bfloat16,
    "e8m13": info(22, 14, 127, inf=True, minus_zero=True, high_nans=8191),
    "fp32": gfloat_formats.format_info_binary32,
}
GFLOAT_STOCHASTIC = {
    "sr": RoundMode.StochasticFastest,
    "sr_fast": RoundMode.StochasticFast,
    "sr_unbiased": RoundMode.Stochastic,
}


def test_every_narrow_format_is_compared():
    assert set(GFLOAT_NARROW) == {name for name, fmt in FORMATS.items() if fmt.bits <= 8}
    assert len(GFLOAT_NARROW) == 13


@cache
def short_floats() -> np.ndarray:
    """Every finite float32 of at most 12 significant bits."""
    normal = np.arange(1 << 8, 255 << 8 << 3, dtype=np.uint32)
    normal = normal[normal >> 11 > 0] << 12
    subnormal = np.unique(np.arange(1 << 12)[:, None] << np.arange(12))
    magnitudes = np.concatenate([subnormal[subnormal < 1 << 23].astype(np.uint32), normal])
    return np.concatenate([magnitudes, magnitudes | np.uint32(1 << 31)]).view(np.float32)


@cache
def short_floats_near(name: str) -> np.ndarray:
    """Those of them in the format's range and four binades beyond on either side, and the zeros."""
    fmt = FORMATS[name]
    values = short_floats()
    low, high = np.float32(fmt.min_positive / 16), np.float32(fmt.max_finite * 16)
    near = values[(np.abs(values) >= low) & (np.abs(values) <= high) | (values == 0)]
    assert near.size > 2**12 * (np.log2(fmt.max_finite / fmt.min_positive) + 7)
    return near


@cache
def random_floats(name: str) -> np.ndarray:
    """Random float32: of exponents in and around the format's range, and a tenth of any bits, specials included."""
    fmt = FORMATS[name]
    rng = np.random.default_rng(fmt.bias * 1000 + fmt.bits)
    low = np.log2(fmt.min_positive) - 5
    exponent = rng.integers(max(int(low), -149), min(np.log2(fmt.max_finite) + 4, 128), RANDOM)
    with np.errstate(over="ignore", under="ignore"):
        values = (np.ldexp(1 + rng.random(RANDOM), exponent) * rng.choice([-1.0, 1.0], RANDOM)).astype(np.float32)
    bits = rng.integers(0, 1 << 32, RANDOM // 10, dtype=np.uint32)
    bits[np.isnan(bits.view(np.float32))] |= 1 << 22  # quiet
    values[: bits.size] = bits.view(np.float32)
    values[:6] = [0.0, -0.0, np.inf, -np.inf, np.nan, -np.nan]
    return without_nan(values) if fmt.specials == "finite" else values


def without_nan(values: np.ndarray) -> np.ndarray:
    """For formats in which a NaN is an error."""
    return np.where(np.isnan(values), np.float32(1), values)


def test_the_sets_are_what_they_say():
    values = short_floats()
    assert values.size == np.unique(values.view(np.uint32)).size
    bits = values.view(np.uint32)
    assert np.isfinite(values).all()
    # 254 binades of 2^11 normal numbers; below them widths 1 to 11 in full and 12 bits at 12 places; zero.
    assert values.size == 2 * (254 * 2**11 + 2**12 + 11 * 2**11)
    widths = bits & 0x7FFFFFFF
    odd = widths // np.maximum(widths & -widths.astype(np.int64), 1)
    assert (odd[widths < 1 << 23] < 1 << 12).all()


@pytest.mark.parametrize("name", ML_DTYPES)
def test_rne_equals_ml_dtypes(name):
    """Code for code, the signs of NaNs included."""
    fmt, dtype = FORMATS[name], ML_DTYPES[name]
    compared = 0
    for values in (short_floats(), random_floats(name)):
        got = encode(values, fmt)
        with np.errstate(over="ignore", invalid="ignore"):
            want = values.astype(dtype).view(np.uint8)
        np.testing.assert_array_equal(got, want)
        compared += values.size
    assert compared > 2_000_000


@pytest.mark.parametrize("name", FORMATS)
def test_decode_equals_ml_dtypes_and_gfloat(name):
    fmt = FORMATS[name]
    rng = np.random.default_rng(5)
    codes = np.arange(1 << fmt.bits) if fmt.bits <= 16 else rng.integers(0, 1 << fmt.bits, 1 << 16)
    oracles = []
    if name in ML_DTYPES:
        oracles.append(codes.astype(np.uint8).view(ML_DTYPES[name]).astype(np.float64))
    if name in GFLOAT_NARROW | GFLOAT_WIDE:
        oracles.append(decode_ndarray((GFLOAT_NARROW | GFLOAT_WIDE)[name], codes))
    native = {"fp16": np.float16, "bf16": ml_dtypes.bfloat16, "fp32": np.float32}
    if name in native:
        with np.errstate(invalid="ignore"):
            oracles.append(codes.astype(fmt.dtype).view(native[name]).astype(np.float64))
    got = to_float(codes, fmt)
    for want in oracles:
        np.testing.assert_array_equal(got, want)
        number = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(got)[number], np.signbit(want)[number])
    gradual = fmt.subnormals == "gradual" and fmt.specials != "dlfloat"
    assert len(oracles) == gradual + (name in ML_DTYPES) + (name in native)


def compare_with_gfloat(
    name: str,
    fi: FormatInfo,
    values: np.ndarray,
    rounding: Rounding,
    mode: RoundMode,
    saturate: bool,
    words: np.ndarray | None = None,
) -> int:
    """Compare codes, NaNs as a class; returns how many."""
    fmt = FORMATS[name]
    saturate |= fmt.specials == "finite"
    wide = values.astype(np.float64)
    got = encode(values, fmt, rounding, words=words, saturate=saturate)
    if words is None:
        rounded = round_ndarray(fi, wide, mode, saturate)
    else:
        rounded = round_ndarray(fi, wide, mode, saturate, words, rounding.random_bits)
    want = encode_ndarray(fi, rounded)
    # gfloat saturates an infinity in every format; the table of conversions keeps it a NaN in these.
    nan = np.isnan(rounded) | (np.isinf(wide) & (fmt.specials == "fnuz"))
    np.testing.assert_array_equal(decode(got, fmt).nan, nan)
    np.testing.assert_array_equal(got[~nan], want[~nan])
    return values.size


@pytest.mark.parametrize("name", GFLOAT_NARROW)
@pytest.mark.parametrize(
    "rounding, mode",
    [(RNE, RoundMode.TiesToEven), (RTZ, RoundMode.TowardZero), (RHA, RoundMode.TiesToAway)],
    ids=["rne", "rtz", "rha"],
)
def test_narrow_casts_equal_gfloat(name, rounding, mode):
    fi = GFLOAT_NARROW[name]
    compared = compare_with_gfloat(name, fi, short_floats_near(name), rounding, mode, False)
    compared += compare_with_gfloat(name, fi, short_floats_near(name), rounding, mode, True)
    compared += compare_with_gfloat(name, fi, random_floats(name), rounding, mode, False)
    compared += compare_with_gfloat(name, fi, random_floats(name)[: RANDOM // 5], rounding, mode, True)
    assert compared == RANDOM * 1.2 + 2 * short_floats_near(name).size > 1_280_000


@pytest.mark.parametrize("mode", GFLOAT_STOCHASTIC)
@pytest.mark.parametrize("name", GFLOAT_NARROW)
def test_narrow_stochastic_casts_equal_gfloat(name, mode):
    """Every r; two words in three are where the decision turns.  gfloat's float64 sums are exact for a float32."""
    fi, rng = GFLOAT_NARROW[name], np.random.default_rng(9)
    compared = 0
    for bits in range(1, 25):
        rounding = Rounding(mode=mode, random_bits=bits)
        values = np.concatenate([rng.choice(short_floats_near(name), 3_000), rng.choice(random_floats(name), 3_000)])
        words = words_at_the_edge(rng, values, name, bits)
        for saturate in (False, True):
            compared += compare_with_gfloat(name, fi, values, rounding, GFLOAT_STOCHASTIC[mode], saturate, words)
    assert compared == 24 * 2 * 6_000


def words_at_the_edge(rng: np.random.Generator, values: np.ndarray, name: str, bits: int) -> np.ndarray:
    """Random words, and for two values in three a word next to the first one that rounds up under `sr`."""
    fmt = FORMATS[name]
    with np.errstate(invalid="ignore"):
        magnitude = np.clip(np.nan_to_num(np.abs(values.astype(np.float64))), 0, fmt.max_finite)
    code = np.minimum(encode(magnitude, fmt, RTZ), fmt.max_code - 1)
    below, above = to_float(code, fmt), to_float(code + 1, fmt)
    first = (1 << bits) - np.floor((magnitude - below) / (above - below) * (1 << bits)).astype(np.int64)
    words = np.where(rng.random(values.size) < 2 / 3, first - rng.integers(0, 3, values.size), -1)
    return np.where(words < 0, rng.integers(0, 1 << bits, values.size), np.minimum(words, (1 << bits) - 1))


@pytest.mark.parametrize("name", GFLOAT_WIDE)
def test_wide_casts_equal_gfloat(name):
    fi = GFLOAT_WIDE[name]
    rng = np.random.default_rng(10)
    values = random_floats(name)[: RANDOM // 5]
    if name in ("fp32", "e8m13"):  # float32 would hardly need rounding
        exponent = rng.integers(-155, 130, values.size)
        values = np.ldexp(1 + rng.random(values.size), exponent) * rng.choice([-1.0, 1.0], values.size)
    compared = 0
    modes = [(RNE, RoundMode.TiesToEven), (RTZ, RoundMode.TowardZero), (RHA, RoundMode.TiesToAway)]
    for index, (rounding, mode) in enumerate(modes):
        compared += compare_with_gfloat(name, fi, values, rounding, mode, index == 0)
    part = values[: RANDOM // 20]
    for mode in GFLOAT_STOCHASTIC:
        for bits in (1, 9, 13, 24):
            words = rng.integers(0, 1 << bits, part.size)
            rounding = Rounding(mode=mode, random_bits=bits)
            compared += compare_with_gfloat(name, fi, part, rounding, GFLOAT_STOCHASTIC[mode], bits == 9, words)
    assert compared == values.size * 3 + part.size * 12


@pytest.mark.parametrize("name, dtype", [("fp16", np.float16), ("bf16", ml_dtypes.bfloat16), ("fp32", np.float32)])
def test_native_casts_equal_numpy(name, dtype):
    """NumPy casts float64 to float16 and float32 in one rounding; ml_dtypes casts float32 to bfloat16 so."""
    fmt = FORMATS[name]
    values = random_floats(name)
    if name != "bf16":
        rng = np.random.default_rng(11)
        low, high = (-28, 18) if name == "fp16" else (-152, 130)
        doubles = np.ldexp(1 + rng.random(values.size), rng.integers(low, high, values.size))
        values = np.concatenate([values, doubles, -doubles])
    for part in (values, short_floats()):
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            cast = part.astype(dtype)
        got, want = encode(part, fmt), cast.view(fmt.dtype)
        nan = np.isnan(cast)
        np.testing.assert_array_equal(got[~nan], want[~nan])
        np.testing.assert_array_equal(got[nan], fmt.nan_code | np.where(np.signbit(part[nan]), fmt.sign_mask, 0))
    assert values.size + short_floats().size > 2_000_000


@pytest.mark.parametrize(
    "name, nan, minus_nan",
    [
        *(("fp16", 0x7E00, 0xFE00), ("bf16", 0x7FC0, 0xFFC0), ("e5m2", 0x7E, 0xFE), ("e4m3", 0x7F, 0xFF)),
        *(("e4m3fnuz", 0x80, 0x80), ("dlfloat16", 0x7FFF, 0x7FFF), ("e6m5", 0x7F0, 0xFF0)),
    ],
)
def test_a_cast_keeps_the_sign_of_a_nan_where_there_is_one(name, nan, minus_nan):
    quiet = encode(np.array([np.nan, -np.nan]), FORMATS[name])
    signalling = encode(np.array([0x7F800001, 0xFF800001], np.uint32).view(np.float32), FORMATS[name])
    assert quiet.tolist() == signalling.tolist() == [nan, minus_nan]


@pytest.mark.parametrize(
    "name, saturate, infinity, beyond, below",
    [  # the table of conversions: code of +Inf, of -1e9 and of the number that rounds up past the largest
        *(("e4m3", True, 0x7E, 0xFE, 0x7E), ("e4m3", False, 0x7F, 0xFF, 0x7F)),
        *(("e5m2", True, 0x7B, 0xFB, 0x7B), ("e5m2", False, 0x7C, 0xFC, 0x7C)),
        *(("e4m3fnuz", True, 0x80, 0xFF, 0x7F), ("e4m3fnuz", False, 0x80, 0x80, 0x80)),
        *(("e5m2fnuz", True, 0x80, 0xFF, 0x7F), ("e5m2fnuz", False, 0x80, 0x80, 0x80)),
    ],
)
def test_overflow_as_in_the_table_of_conversions(name, saturate, infinity, beyond, below):
    fmt = FORMATS[name]
    past = {"e4m3": 465.0, "e5m2": 61440.0, "e4m3fnuz": 248.0, "e5m2fnuz": 61440.0}[name]
    got = encode([np.inf, -1e9, past], fmt, saturate=saturate)
    assert got.tolist() == [infinity, beyond, below]
    largest = {"e4m3": 464.0, "e5m2": 61439.0, "e4m3fnuz": 247.9, "e5m2fnuz": 61439.0}[name]
    assert encode(largest, fmt, saturate=saturate) == fmt.max_code
