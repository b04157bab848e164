"""What the engine chooses by shapes and numbers: which operand fills vectors, which arithmetic carries a sum."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quaver.golden import (
    FORMATS,
    RNE,
    RTZ,
    Accumulator,
    AlignedSum,
    Arithmetic,
    ArrayWords,
    ExactSum,
    Format,
    GemmWords,
    Issued,
    encode,
    engine,
    gemm,
    sr,
    to_float,
)
from quaver.golden import compiled_sums as choice
from tests.golden.draws import CASES, accumulators, arithmetics, array_law, codes, compared, formats

NARROW_SIDES = (1, 2, 3, 5, 6, 7, 8, 11, 16)
LONG_SIDES = (40, 70, 129, 200)


def words_of(rng: np.random.Generator, arithmetic: Arithmetic, shape: tuple[int, ...], k: int):
    """The words of some array, given words, or None: those of the reference array."""
    match rng.integers(0, 3):
        case 0:
            return array_law(rng, arithmetic.chunk)
        case 1:
            return GemmWords(
                rng.integers(0, 1 << arithmetic.inner_random_bits, (k, *shape)),
                rng.integers(0, 1 << arithmetic.outer_random_bits, (-(-k // arithmetic.chunk), *shape)),
            )
    return None


def laid_out(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """The same numbers in another order of memory."""
    return x if rng.random() < 0.5 else np.ascontiguousarray(x.swapaxes(-2, -1)).swapaxes(-2, -1)


@CASES
@given(arithmetics, st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_few_rows_and_few_columns(arithmetic, tall, batched, seed):
    rng = np.random.default_rng(seed)
    m, n = int(rng.choice(NARROW_SIDES)), int(rng.choice(LONG_SIDES))
    if tall:
        m, n = n, m
    k, batch = int(rng.choice([1, 2, 5, 15, 16, 17, 25, 70])), (2,) if batched else ()
    a = laid_out(rng, codes(rng, arithmetic.a, (*batch, m, k)))
    b = laid_out(rng, codes(rng, arithmetic.b, (k, n)))
    c = codes(rng, arithmetic.outer.format, (*batch, m, n)) if rng.random() < 0.3 else None
    words = words_of(rng, arithmetic, (*batch, m, n), k)
    assert compared(lambda: gemm(a, b, arithmetic, c=c, words=words), threads=int(rng.integers(1, 4))) > 0


@pytest.mark.parametrize("columns", [1, 3, 16, 128])
@pytest.mark.parametrize("depth", [7, 40, 1024])
@pytest.mark.parametrize("inner", [sr(9), sr(13), RNE], ids=str)
def test_each_result_gets_its_words_whichever_way_the_product_is_turned(inner, depth, columns):
    """Blocks of rows end within vectors, columns lie in one tile of the array or in many, chunks share passes."""
    rng = np.random.default_rng(depth)
    arithmetic = Arithmetic(inner=Accumulator(rounding=inner), outer=Accumulator(rounding=sr(11)), chunk=8)
    for rows in (8, 32):
        law = ArrayWords(rows=rows, columns=columns, chunk=8, accumulator_depth=depth, seed=5, issued=Issued(9, 4))
        for m, k, n in ((150, 21, 5), (5, 70, 150)):
            a = encode(rng.normal(size=(2, m, k)), FORMATS["e4m3"])
            b = encode(rng.normal(size=(k, n)), FORMATS["e4m3"])
            for threads in (1, 3):
                count = compared(lambda a=a, b=b, law=law: gemm(a, b, arithmetic, words=law), threads)
                assert count == 2 * m * n * len(engine.kernels())


@pytest.mark.parametrize("inner", [ExactSum(), AlignedSum(13), Accumulator(format=FORMATS["fp32"])], ids=str)
@pytest.mark.parametrize("shape", [(3000, 9, 6), (5, 3000, 20), (70, 300, 70)], ids=str)
def test_long_products_are_split_without_a_trace(inner, shape):
    rng = np.random.default_rng(0)
    m, k, n = shape
    arithmetic = Arithmetic(inner=inner, chunk=32)
    a, b = encode(rng.normal(size=(m, k)), FORMATS["e4m3"]), encode(rng.normal(size=(k, n)), FORMATS["e4m3"])
    for threads in (1, 3):
        assert compared(lambda: gemm(a, b, arithmetic), threads) == m * n * len(engine.kernels())


@CASES
@given(formats(7), st.booleans(), st.integers(0, 1))
def test_every_code_is_read(fmt, turned, side):
    """Times one, in sums that hold all of them: every code as a line, and as a lane."""
    one = FORMATS["e4m3"]
    wide = Accumulator(format=FORMATS["fp32"])
    all_codes = np.arange(1 << fmt.bits).astype(fmt.dtype)
    if turned:
        all_codes = np.concatenate([all_codes, all_codes[:3]])
    arithmetic = Arithmetic(a=one if side else fmt, b=fmt if side else one, inner=wide, outer=wide, chunk=1)
    ones = encode(np.ones((1, 40)), one)
    left, right = (ones.T, all_codes[None]) if side else (all_codes[:, None], ones)
    assert compared(lambda: gemm(left, right, arithmetic)) == 40 * all_codes.size * len(engine.kernels())


def code_near(fmt: Format, magnitude: float, above: int) -> int:
    """The code of a number near some magnitude, `above` codes further up."""
    held = to_float(np.arange(fmt.max_code + 1), fmt)
    at = int(np.argmin(np.abs(held - magnitude)))
    return int(np.clip(at + above, fmt.min_code, fmt.max_code))


def between(rng: np.random.Generator, fmt: Format, least: int, largest: int, shape: tuple[int, ...]) -> np.ndarray:
    """Codes whose magnitudes lie between two, which occur both; with signs, zeros and any other code, or without."""
    least, largest = min(least, largest), max(least, largest)
    size = rng.choice([least, largest], shape)
    size = np.where(rng.random(shape) < 0.3, rng.integers(least, largest + 1, shape), size)
    size = np.where(rng.random(shape) < rng.choice([0.0, 0.3]), 0, size)
    sign = np.where(rng.random(shape) < rng.choice([0.0, 0.5]), fmt.sign_mask, 0)
    found = (size | sign).reshape(-1)
    if rng.random() < 0.2:
        found[rng.integers(found.size)] = rng.integers(0, 1 << fmt.bits)
    return found.reshape(shape).astype(fmt.dtype)


@CASES
@given(
    *(formats(7), formats(7), accumulators, accumulators),
    *(st.sampled_from(["low", "high"]), st.integers(-2, 2), st.integers(0, 2**32 - 1)),
)
def test_numbers_at_the_edges_of_what_is_chosen(a, b, inner, outer, end, above, seed):
    """Products whose last bit, or whose size, is that at which another arithmetic is chosen, or next to it."""
    rng = np.random.default_rng(seed)
    k = int(rng.choice([1, 2, 5, 64]))
    fmt = inner.format
    if end == "low":
        products = [fmt.min_positive, 2.0**fmt.emin, 2.0 ** (fmt.emin - fmt.mantissa_bits), 2.0**-126, 2.0**-149]
    else:
        largest = fmt.max_finite
        products = [largest / (2 * k), largest / k, largest, 2.0**127 / k, 2.0**127, 2.0 ** (100 + fmt.precision)]
    product = float(rng.choice(products))
    first = int(rng.integers(a.min_code, a.max_code + 1))
    second = code_near(b, product / float(to_float(first, a)), above)
    others = [int(rng.integers(f.min_code, f.max_code + 1)) for f in (a, b)]
    if rng.random() < 0.5:
        others = [first, second]
    m, n = (int(rng.choice(NARROW_SIDES)) for _ in "mn")
    x, y = between(rng, a, first, others[0], (m, k)), between(rng, b, second, others[1], (k, n))
    c = codes(rng, outer.format, (m, n)) if rng.random() < 0.3 else None
    arithmetic = Arithmetic(a=a, b=b, inner=inner, outer=outer, chunk=int(rng.choice([1, 3, 64])))
    words = words_of(rng, arithmetic, (m, n), k)
    assert compared(lambda: gemm(x, y, arithmetic, c=c, words=words)) > 0


@pytest.mark.parametrize("overflow", ["special", "saturate"])
@pytest.mark.parametrize("rounding", [RNE, RTZ, sr(9)], ids=str)
@pytest.mark.parametrize("name", ["fp16", "dlfloat16", "e6m5", "e6m9", "bf16"])
def test_sums_that_reach_the_largest_number_and_pass_it(name, rounding, overflow):
    """By a code more or less, in one step, or in many; then back again."""
    fmt = FORMATS[name]
    sums = Accumulator(format=fmt, rounding=rounding, overflow=overflow)
    arithmetic = Arithmetic(a=FORMATS["bf16"], b=FORMATS["e5m2"], inner=sums, outer=sums, chunk=8)
    seen = set()
    for count in (1, 2, 8):
        for scale in (0.49, 0.5, 0.99, 1.0, 1.01, 2.0):
            factor = min(2.0 ** (np.floor(np.log2(fmt.max_finite)) // 2), 2.0**15)
            row = np.array([fmt.max_finite / factor / count * scale] * count + [-fmt.max_finite / factor])
            a = encode(np.stack([row, -row, row[::-1]]), FORMATS["bf16"], saturate=True)
            b = encode(np.full((count + 1, 9), factor), FORMATS["e5m2"], saturate=True)
            assert compared(lambda a=a, b=b: gemm(a, b, arithmetic)) == 27 * len(engine.kernels())
            seen.add(bool(np.isfinite(to_float(gemm(a[:1, :count], b[:count], arithmetic), fmt)).all()))
    assert seen == ({True} if overflow == "saturate" or rounding == RTZ else {True, False})


@pytest.mark.parametrize("name", ["fp16", "e6m5", "e6m5_sub", "dlfloat16"])
def test_signs_of_zeros(name):
    """Of sums that vanish, underflow or are empty but for -0, from +0 and from -0."""
    fmt = FORMATS[name]
    sums = Accumulator(format=fmt)
    rng = np.random.default_rng(1)
    values = rng.choice([0.0, -0.0, 2.0**-16, -(2.0**-16), 1.0, -1.0], (7, 40), p=[0.2, 0.4, 0.1, 0.1, 0.1, 0.1])
    for operand in ("e5m2", "bf16"):
        arithmetic = Arithmetic(a=FORMATS[operand], b=FORMATS[operand], inner=sums, outer=sums, chunk=2)
        a, b = encode(values, FORMATS[operand]), encode(values.T[:, ::-1], FORMATS[operand])
        for c in (None, np.full((7, 7), fmt.identity_code, fmt.dtype)):
            assert compared(lambda a=a, b=b, c=c, ar=arithmetic: gemm(a, b, ar, c=c)) == 49 * len(engine.kernels())


def chosen(a: str, b: str, inner: Accumulator, outer: Accumulator | None = None, *, scale: float = 1.0) -> tuple:
    """Who adds up normal numbers in chunks of 64, the mode, what happens to small sums, and to large ones."""
    values = np.random.default_rng(0).normal(size=4096) * scale
    known = []
    for name in (a, b):
        fmt = FORMATS[name]
        size = encode(values, fmt) & fmt.magnitude_mask
        known.append(choice.numbers(int(size[size > 0].min()), int(size.max()), fmt))
    arithmetic = Arithmetic(a=FORMATS[a], b=FORMATS[b], inner=inner, outer=outer or inner)
    kind, outer_narrow, inner_round, _ = choice.sums(arithmetic, *known, 64, 4, False, True)
    return kind, outer_narrow, inner_round[0], inner_round[4], inner_round[5]


def test_ordinary_numbers_are_summed_in_float32():
    """BF16's products are of 16 bits: to nearest, their sums are made odd first."""
    fp16, fp32, dlfloat = (Accumulator(format=FORMATS[name]) for name in ("fp16", "fp32", "dlfloat16"))
    rne = choice.MODES["rne"]
    assert chosen("e4m3", "e4m3", dlfloat) == (choice.NARROW, True, rne, choice.UNBOUNDED, False)
    assert chosen("e5m2", "e5m2", dlfloat, scale=0.1) == (choice.NARROW, True, rne, choice.CUT, False)
    assert chosen("e4m3", "e4m3", fp16) == (choice.NARROW, True, rne, choice.UNBOUNDED, False)
    assert chosen("e5m2", "e5m2", fp16, scale=0.1) == (choice.NARROW, True, rne, choice.GRADUAL, False)
    assert chosen("bf16", "bf16", dlfloat) == (choice.NARROW, True, choice.ODD, choice.CUT, False)
    assert chosen("bf16", "bf16", fp16) == (choice.NARROW, True, choice.ODD, choice.GRADUAL, False)
    assert chosen("bf16", "bf16", fp32) == (choice.NARROW, True, choice.NATIVE, choice.UNBOUNDED, False)
    assert chosen("bf16", "bf16", Accumulator(rounding=sr(13)))[:3] == (choice.NARROW, True, choice.MODES["sr"])


def test_numbers_that_float32_cannot_sum_are_summed_in_float64():
    fp16, dlfloat = (Accumulator(format=FORMATS[name]) for name in ("fp16", "dlfloat16"))
    assert chosen("e4m3", "e4m3", fp16, scale=100.0)[4]  # may overflow
    assert chosen("bf16", "bf16", dlfloat, scale=2.0**-75)[0] == choice.WIDE  # products' last bits are below float32's
    assert chosen("bf16", "bf16", dlfloat, scale=2.0**65)[0] == choice.WIDE
    assert chosen("bf16", "bf16", Accumulator(rounding=sr(20)))[0] == choice.WIDE
