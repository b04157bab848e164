"""Every mode and kind of accumulator against the definition in exact fractions."""

import dataclasses
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import (
    FORMATS,
    RHA,
    RNE,
    RTZ,
    Accumulator,
    Format,
    Rounding,
    accumulate,
    decode,
    encode,
    mac,
    to_float,
)
from quaver.golden.catalog import E4M3, E4M3FNUZ, E5M2, E5M2_WANG, HFP8_143, HFP8_153, NOUNE_143, NOUNE_152

ACCUMULATORS = [
    *("dlfloat16", "fp16", "bf16", "fp32", "e6m5", "e6m5_sub", "e6m9", "e8m13"),
    *("e4m3", "e4m3fnuz", "hfp8_153"),
]
PAIRINGS = [(E4M3, E4M3), (E4M3, E5M2), (E5M2, E4M3), (E5M2, E5M2), (NOUNE_143, NOUNE_152), (E4M3FNUZ, HFP8_143)]
PAIRINGS_WITHOUT_NAN = [(HFP8_143, E5M2_WANG), (E5M2_WANG, HFP8_153)]
RANDOM_BITS = [1, 2, 4, 9, 13, 16, 24]
CASES = 800
MODES = ["rne", "rtz", "rha", "sr", "sr_fast", "sr_unbiased"]
STOCHASTIC = MODES[3:]


@pytest.mark.parametrize("mode", MODES)
def test_mac_equals_fractions(mode, law, cases):
    rng = np.random.default_rng(MODES.index(mode))
    compared, seen = 0, Counter()
    for name in ACCUMULATORS:
        fmt = FORMATS[name]
        pairings = PAIRINGS_WITHOUT_NAN * 3 if fmt.specials == "finite" else PAIRINGS
        for overflow in ("special", "saturate"):
            for a_format, b_format in pairings:
                bits = RANDOM_BITS[(compared // CASES) % len(RANDOM_BITS)] if mode in STOCHASTIC else 0
                accumulator = Accumulator(format=fmt, rounding=Rounding(mode=mode, random_bits=bits), overflow=overflow)
                acc, a, b = cases(rng, CASES, a_format, b_format, fmt)
                sums = (
                    law.add(law.decode(c, fmt), law.multiply(law.decode(x, a_format), law.decode(y, b_format)))
                    for c, x, y in zip(acc.tolist(), a.tolist(), b.tolist(), strict=True)
                )
                words = words_at_the_edge(rng, law, sums, fmt, accumulator.rounding, CASES)
                got = mac(acc, a, b, a_format=a_format, b_format=b_format, accumulator=accumulator, words=words)
                for c, x, y, u, code in zip(*(v.tolist() for v in (acc, a, b, words, got)), strict=True):
                    want = law.mac(c, x, y, a_format, b_format, accumulator, u)
                    assert code == want, (
                        f"{accumulator}: {c:#x} + {a_format} {x:#x} * {b_format} {y:#x}, word {u:#x}: "
                        f"{code:#x}, expected {want:#x}"
                    )
                compared += CASES
                classify(seen, fmt, acc, a, b, a_format, b_format, got)
    assert compared == CASES * 6 * 2 * len(ACCUMULATORS) >= 100_000
    for what in ("cancelled", "subnormal", "overflowed", "special operand", "minus zero", "tiny product"):
        assert seen[what] > 500, (what, seen)


def words_at_the_edge(rng, law, sums, fmt, rounding: Rounding, count) -> np.ndarray:
    """Random words, and for two in three sums the first word that rounds up or the last one that does not."""
    bits = rounding.random_bits
    words = rng.integers(0, 1 << bits, count)
    if bits:
        first = np.array([law.first_word_up(x, fmt, rounding.mode, bits) for x in sums])
        choice = rng.integers(0, 3, count)
        words = np.where(choice > 0, np.clip(first - choice % 2, 0, (1 << bits) - 1), words)
    return words


def classify(seen, fmt, acc, a, b, a_format, b_format, got) -> None:
    """Count the kinds of cases by their float64 values: the sums of most formats are exact or nearly so."""
    with np.errstate(invalid="ignore", over="ignore"):
        x, product = to_float(acc, fmt), to_float(a, a_format) * to_float(b, b_format)
        total = x + product
    finite = np.isfinite(x) & np.isfinite(product)
    magnitude = got & fmt.magnitude_mask
    seen["cancelled"] += np.count_nonzero(finite & (x != 0) & (np.abs(total) * 4 < np.abs(x)))
    seen["subnormal"] += np.count_nonzero((magnitude > 0) & (magnitude >> fmt.mantissa_bits == 0))
    seen["overflowed"] += np.count_nonzero(finite & (np.abs(total) > fmt.max_finite))
    seen["special operand"] += np.count_nonzero(~finite)
    seen["minus zero"] += np.count_nonzero(fmt.has_negative_zero & (got == fmt.sign_mask))
    seen["tiny product"] += np.count_nonzero(
        finite & (x != 0) & (product != 0) & (np.abs(product) * 2.0**fmt.precision < np.abs(x))
    )


@pytest.mark.parametrize("inner", ["fp32", "dlfloat16", "e6m5", "bf16"])
@pytest.mark.parametrize("outer", ["fp32", "fp16", "dlfloat16", "e6m5"])
def test_sums_of_two_accumulators_equal_fractions(inner, outer, law):
    """A chunk's sum joins an outer sum of another format: 24-bit operands at any distance."""
    rng = np.random.default_rng(7)
    x_format, y_format = FORMATS[inner], FORMATS[outer]
    count, compared = 800, 0
    for mode, bits in (
        ("rne", 0),
        ("rha", 0),
        ("sr", 9),
        ("sr", 24),
        ("sr_fast", 24),
        ("sr_unbiased", 24),
        ("sr_unbiased", 4),
    ):
        accumulator = Accumulator(format=y_format, rounding=Rounding(mode=mode, random_bits=bits))
        x = rng.integers(0, 1 << x_format.bits, count)
        y = rng.integers(0, 1 << y_format.bits, count)
        value = to_float(x, x_format)
        close = encode(np.where(np.isfinite(value), -value, 1.0), y_format, saturate=True).astype(np.int64)
        wobble = rng.integers(-3, 4, count)
        close = (close & y_format.sign_mask) | np.clip((close & y_format.magnitude_mask) + wobble, 0, y_format.max_code)
        y = np.where(rng.random(count) < 0.5, close, y)
        drop = x_format.mantissa_bits - y_format.mantissa_bits
        drop -= bits if mode == "sr_unbiased" else 0  # it rounds to nearest below the word
        if drop > 0:  # ties of large x, which only a tiny y breaks
            m = x_format.mantissa_bits
            exponent = np.minimum(x_format.bias + rng.integers(10, 31, count), x_format.max_code >> m)
            tie = (exponent << m) | (x & ((1 << m) - (1 << drop))) | 1 << (drop - 1)
            x[:200] = (tie | (x & x_format.sign_mask))[:200]
            y[:200] = rng.integers(0, 2 << y_format.mantissa_bits, 200) | (y[:200] & y_format.sign_mask)
        sums = (
            law.add(law.decode(q, y_format), law.decode(p, x_format))
            for p, q in zip(x.tolist(), y.tolist(), strict=True)
        )
        words = words_at_the_edge(rng, law, sums, y_format, accumulator.rounding, count)
        got = accumulate(y, decode(x, x_format), accumulator, words)
        for p, q, u, code in zip(x.tolist(), y.tolist(), words.tolist(), got.tolist(), strict=True):
            assert code == law.accumulate(q, law.decode(p, x_format), accumulator, u), (p, q, u)
        compared += count
    assert compared == 5600


@pytest.mark.parametrize("name", [name for name, fmt in FORMATS.items() if fmt.bits <= 16])
def test_every_code_decodes_to_its_fraction(name, law):
    fmt = FORMATS[name]
    codes = np.arange(1 << fmt.bits)
    x = decode(codes, fmt)
    for code, sign, exponent, significand, inf, nan in zip(
        codes.tolist(), *(v.tolist() for v in (x.sign, x.exponent, x.significand, x.inf, x.nan)), strict=True
    ):
        want = law.decode(code, fmt)
        assert (nan, inf) == (want.kind == "nan", want.kind == "inf"), hex(code)
        assert sign == want.negative, hex(code)
        assert significand * Fraction(2) ** exponent == want.magnitude, hex(code)
    assert not x.sticky.any()


@pytest.mark.parametrize("name", [name for name, fmt in FORMATS.items() if fmt.bits <= 16])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.usefixtures("backend")
def test_every_number_casts_to_itself(name, mode):
    fmt = FORMATS[name]
    codes = np.arange(1 << fmt.bits)
    x = decode(codes, fmt)
    zero = x.significand == 0
    codes = codes[~x.nan & (~zero | (codes & fmt.magnitude_mask == 0))]
    rounding = Rounding(mode=mode, random_bits=9 if mode in STOCHASTIC else 0)
    words = np.random.default_rng(13).choice([0, 511, 256], codes.size)
    got = encode(to_float(codes, fmt), fmt, rounding, words=words)
    want = codes if fmt.has_negative_zero else np.where(codes == fmt.sign_mask, 0, codes)
    np.testing.assert_array_equal(got, want)
    assert codes.size > (1 << fmt.bits) * 0.7


@st.composite
def formats(draw) -> Format:
    """Any format with a finite number other than zero."""
    specials = draw(st.sampled_from(["ieee", "fn", "fnuz", "dlfloat", "finite"]))
    subnormals = draw(st.sampled_from(["gradual", "flush", "normal"]))
    exponent_bits = draw(st.integers(2, 8))
    mantissa_bits = draw(st.integers(1 if specials == "ieee" else 0, 12))
    bias = draw(st.integers(-8, 140))
    return Format(
        name="drawn",
        exponent_bits=exponent_bits,
        mantissa_bits=mantissa_bits,
        bias=bias,
        specials=specials,
        subnormals=subnormals,
        signed=specials == "fnuz" or draw(st.booleans()),
    )


@settings(deadline=None, max_examples=600)
@given(
    fmt=formats(),
    mode=st.sampled_from(MODES),
    bits=st.integers(1, 24),
    saturate=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@pytest.mark.usefixtures("backend")
def test_casts_to_any_format_equal_fractions(law, real, fmt, mode, bits, saturate, seed):
    rng = np.random.default_rng(seed)
    rounding = Rounding(mode=mode, random_bits=bits if mode in STOCHASTIC else 0)
    low, high = fmt.emin - fmt.mantissa_bits - 3, fmt.emin + (1 << fmt.exponent_bits) + 2
    count = 24
    ends = rng.choice([low, fmt.emin - 1, fmt.emin, fmt.emin + 1, high - 4, high - 3], count)
    exponent = np.where(rng.random(count) < 0.5, ends, rng.integers(low, high, count))
    width = rng.choice([1, fmt.mantissa_bits + 1, fmt.mantissa_bits + 2, 53], count)
    significand = 1 + np.floor(rng.random(count) * 2.0 ** (width - 1)) * 2.0 ** (1 - width)
    values = np.ldexp(significand, exponent) * rng.choice([-1.0, 1.0], count)
    values[:6] = [0.0, -0.0, -np.inf, np.inf, np.nan, -np.nan]
    if fmt.specials == "finite":
        values[4:6] = 1.0
    exact = [as_real(value, real) for value in values.tolist()]
    words = words_at_the_edge(rng, law, exact, fmt, rounding, count)
    got = encode(values, fmt, rounding, words=words, saturate=saturate)
    for x, word, code in zip(exact, words.tolist(), got.tolist(), strict=True):
        assert code == law.round(x, fmt, mode, rounding.random_bits, word, saturate), (x, word)


def as_real(value: float, real):
    negative = math.copysign(1.0, value) < 0
    if math.isfinite(value):
        return real("finite", negative, Fraction(abs(value)))
    return real("nan" if math.isnan(value) else "inf", negative, Fraction(0))


UNSIGNED = [dataclasses.replace(FORMATS[name], signed=False) for name in ("e4m3", "e5m2", "e2m3", "dlfloat16", "e6m5")]


@pytest.mark.parametrize("saturate", [False, True])
@pytest.mark.parametrize("fmt", UNSIGNED, ids=str)
@pytest.mark.usefixtures("backend")
def test_unsigned_casts_equal_fractions(fmt, saturate, law, real):
    """What is negative after rounding has no code; what rounds to zero, and -0, is 0."""
    assert fmt.bits == FORMATS[fmt.name].bits - 1
    rng, count = np.random.default_rng(12), 1_500
    exponent = rng.integers(np.log2(fmt.min_positive) - 4, np.log2(fmt.max_finite) + 3, count)
    values = np.ldexp(1 + rng.random(count), exponent) * rng.choice([-1.0, 1.0], count)
    values[:4] = [0.0, -0.0, np.inf, -np.inf]
    if fmt.nan_code is not None:
        values[4:6] = [np.nan, -np.nan]
    exact = [as_real(value, real) for value in values.tolist()]
    compared = vanished = 0
    for mode in MODES:
        rounding = Rounding(mode=mode, random_bits=9 if mode in STOCHASTIC else 0)
        words = words_at_the_edge(rng, law, exact, fmt, rounding, count)
        got = encode(values, fmt, rounding, words=words, saturate=saturate)
        want = [
            law.round(x, fmt, mode, rounding.random_bits, u, saturate)
            for x, u in zip(exact, words.tolist(), strict=True)
        ]
        assert got.tolist() == want
        assert (got <= fmt.magnitude_mask).all()
        compared += count
        vanished += np.count_nonzero((values < 0) & (got == 0))
    assert compared == 9_000
    assert vanished > 100


@pytest.mark.usefixtures("backend")
def test_a_nan_has_no_code_in_a_finite_format():
    with pytest.raises(ValueError, match=r"^NaN cannot be encoded in hfp8_143$"):
        encode([1.0, np.nan], HFP8_143)
    acc = Accumulator(format=HFP8_153)
    with pytest.raises(ValueError, match=r"^NaN cannot be encoded in hfp8_153$"):
        mac(0, 0x7F, 0x38, a_format=E4M3, b_format=E4M3, accumulator=acc)
    assert encode(np.inf, HFP8_143) == 0x7F
    assert encode(-np.inf, HFP8_143, RNE, saturate=False) == 0xFF


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)])
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.usefixtures("backend")
def test_values_far_out_of_range_round_without_a_warning(name, shape):
    fmt = FORMATS[name]
    for value in (5e-324, 1e-300, -1e-300, 1e300):
        for rounding in (RNE, RHA, RTZ, *(Rounding(mode=mode, random_bits=24) for mode in STOCHASTIC)):
            code = encode(np.full(shape, value), fmt, rounding, words=np.zeros((), int))
            assert code.shape == shape
            assert (decode(code, fmt).significand == 0).all() or abs(value) > 1


@pytest.mark.usefixtures("backend")
def test_words_are_checked():
    rounding = Rounding(mode="sr", random_bits=4)
    with pytest.raises(ValueError, match=r"^words are needed by rounding sr\(4\)$"):
        encode([1.0], E4M3, rounding)
    for bad in (-1, 16):
        with pytest.raises(ValueError, match=r"^words of sr\(4\) must be in 0\.\.15$"):
            encode([1.0], E4M3, rounding, words=[bad])
    with pytest.raises(TypeError, match=r"^words must be integers, not float64$"):
        encode([1.0], E4M3, rounding, words=[0.5])


def test_codes_are_checked():
    with pytest.raises(TypeError, match=r"^codes of e4m3 must be integers, not float64$"):
        decode([1.0], E4M3)
    for bad in (-1, 256):
        with pytest.raises(ValueError, match=r"^codes of e4m3 must be in 0\.\.0xff$"):
            decode([0, bad], E4M3)
