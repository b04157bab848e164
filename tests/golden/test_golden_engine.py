"""The compiled engine against the definition: never different by a bit, whatever formats, words and shapes."""

import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quaver.golden import (
    FORMATS,
    Accumulator,
    AlignedSum,
    Arithmetic,
    ArrayWords,
    Blocks,
    ExactSum,
    GemmWords,
    Issued,
    LaneWords,
    Rounding,
    encode,
    encode_blocks,
    engine,
    gemm,
    sr,
    to_float,
)
from tests.golden.draws import CASES, arithmetics, array_law, codes, compared, formats, roundings


@CASES
@given(arithmetics, st.sampled_from([(), (2,), (2, 1)]), st.integers(0, 2**32 - 1))
def test_gemms_are_equal(arithmetic, batch, seed):
    rng = np.random.default_rng(seed)
    m, k, n = int(rng.integers(1, 9)), int(rng.integers(0, 70)), int(rng.integers(1, 70))
    a, b = codes(rng, arithmetic.a, (*batch, m, k)), codes(rng, arithmetic.b, (k, n))
    c = codes(rng, arithmetic.outer.format, (*batch, m, n)) if rng.random() < 0.4 else None
    words: ArrayWords | GemmWords | None = None
    if rng.random() < 0.4:
        words = array_law(rng, arithmetic.chunk)
    elif rng.random() < 0.5:
        inner, outer = arithmetic.inner_random_bits, arithmetic.outer_random_bits
        words = GemmWords(
            rng.integers(0, 1 << inner, (k, *batch, m, n)),
            rng.integers(0, 1 << outer, (-(-k // arithmetic.chunk), *batch, m, n)),
        )
    assert compared(lambda: gemm(a, b, arithmetic, c=c, words=words), threads=int(rng.integers(1, 4))) > 0


@CASES
@given(formats(23, signed=False), roundings, st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_casts_are_equal(fmt, rounding, saturate, single, seed):
    rng = np.random.default_rng(seed)
    wide = rng.normal(size=200) * 2.0 ** rng.integers(-140, 140, 200)
    near = np.ldexp(rng.normal(size=200), fmt.emin + rng.integers(-30, 8, 200))
    held = to_float(rng.integers(0, 1 << fmt.bits, 50), fmt)
    values = np.concatenate([wide, near, [0.0, -0.0, np.inf, -np.inf], held[~np.isnan(held)]])
    if rng.random() < 0.5:
        values = np.concatenate([values, [np.nan, -np.nan]])
    if single:
        with np.errstate(over="ignore", under="ignore"):
            values = values.astype(np.float32)
    law = LaneWords(lanes=int(rng.choice([1, 3, 16, 32, 100])), issued=int(rng.integers(0, 2**33)))
    given_words = rng.integers(0, 1 << rounding.random_bits, values.size)
    words = law if rng.random() < 0.5 else given_words
    assert compared(lambda: encode(values, fmt, rounding, words=words, saturate=saturate)) > 0


LARGE = {  # each crosses blocks of rows, panels of columns, and shares of threads
    "tall": (150, 20, 40),
    "wide": (5, 24, 400),
    "deep": (6, 600, 33),
}
SUMS = {
    "float32": Accumulator(format=FORMATS["fp32"]),
    "nearest": Accumulator(),
    "stochastic": Accumulator(rounding=sr(9)),
    "float64": Accumulator(format=FORMATS["fp32"], rounding=Rounding(mode="sr_unbiased", random_bits=20)),
    "exact": ExactSum(),
    "aligned": AlignedSum(13),
}


@pytest.mark.parametrize("columns", [16, 24, 128])
@pytest.mark.parametrize("shape", LARGE)
@pytest.mark.parametrize("inner", SUMS)
def test_work_is_split_without_a_trace(inner, shape, columns):
    rng = np.random.default_rng(columns)
    m, k, n = LARGE[shape]
    outer = Accumulator(rounding=sr(13))
    arithmetic = Arithmetic(inner=SUMS[inner], outer=outer, chunk=8)
    law = ArrayWords(rows=16, columns=columns, chunk=8, accumulator_depth=70, seed=3, issued=Issued(5, 7))
    a = encode(rng.normal(size=(2, m, k)), FORMATS["e4m3"])
    b = encode(rng.normal(size=(2, k, n)), FORMATS["e4m3"])
    for threads in (1, 3):
        assert compared(lambda: gemm(a, b, arithmetic, words=law), threads) == 2 * m * n * len(engine.kernels())


@pytest.mark.parametrize("name", ["e5m2", "e4m3", "e3m2", "e2m3", "e2m1"])
@pytest.mark.parametrize("inner", SUMS)
@pytest.mark.parametrize("chunk", [8, 32])
def test_products_of_blocks_are_equal(inner, name, chunk):
    rng = np.random.default_rng(chunk)
    fmt = FORMATS[name]
    a = encode_blocks(rng.normal(size=(2, 3, 70)) * 2.0 ** rng.integers(-60, 60, (2, 3, 70)), fmt)
    b = encode_blocks(rng.normal(size=(70, 40)), fmt, axis=-2)
    b = Blocks(b.codes, np.where(rng.random(b.scales.shape) < 0.02, 0xFF, b.scales).astype(np.uint8))
    arithmetic = Arithmetic(a=fmt, b=fmt, inner=SUMS[inner], outer=Accumulator(format=FORMATS["fp32"]), chunk=chunk)
    assert compared(lambda: gemm(a, b, arithmetic)) == 240 * len(engine.kernels())


@pytest.mark.parametrize("bits", range(1, 25))
def test_the_engine_makes_every_width_of_word(bits):
    """Far down the sequence, with lanes that fill vectors and lanes that do not."""
    values = np.random.default_rng(bits).normal(size=9000).astype(np.float32)
    for lanes in (16, 17):
        law = LaneWords(lanes=lanes, issued=10**9 + bits, seed=bits)
        assert compared(lambda law=law: encode(values, FORMATS["e5m2"], sr(bits), words=law), threads=3) > 9000


def test_arrays_of_many_elements_are_shared_by_threads():
    values = np.random.default_rng(0).normal(size=(1000, 999)).astype(np.float32)
    for words in (None, LaneWords(lanes=100)):
        rounding = Rounding() if words is None else sr(11)
        cast = partial(encode, values, FORMATS["e4m3"], rounding, words=words)
        assert compared(cast, threads=3) >= values.size


def test_shapes_without_elements_and_without_axes():
    for shape in ((), (0,), (3, 0), (1, 1, 1)):
        for kernels in engine.kernels():
            with engine.using("native", kernels=kernels):
                assert encode(np.zeros(shape), FORMATS["e4m3"]).shape == shape
    for m, k, n in ((0, 3, 2), (2, 0, 3), (2, 3, 0)):
        y = gemm(np.zeros((m, k), int), np.zeros((k, n), int), Arithmetic())
        assert y.shape == (m, n) and not y.any()


def test_strided_operands_are_read_as_they_are():
    rng = np.random.default_rng(1)
    a, b = codes(rng, FORMATS["e4m3"], (20, 12))[::2, ::3], codes(rng, FORMATS["e4m3"], (30, 4)).T
    assert compared(lambda: gemm(a, b, Arithmetic(chunk=2))) > 0
    values = rng.normal(size=(40, 30))[::3, ::-2]
    assert compared(lambda: encode(values, FORMATS["e4m3"])) > 0


def test_rounding_of_the_calling_thread_is_left_alone():
    """The kernels truncate; afterwards the caller's arithmetic rounds to nearest again."""
    one, tiny = np.float32(1), np.float32(2**-24 * 1.5)
    arithmetic = Arithmetic(inner=Accumulator(rounding=sr(9)))
    before = one + tiny
    with engine.using("native", threads=1):
        gemm(np.ones((4, 64)), np.ones((64, 40)), arithmetic)
        encode(np.ones(100, np.float32), FORMATS["e4m3"], sr(9), words=LaneWords())
    assert one + tiny == before == np.float32(1 + 2**-23)


def test_the_choice_is_checked():
    for arguments, message in (
        (dict(backend="gpu"), "backend must be one of auto, numpy, native, not 'gpu'"),
        (dict(threads=0), "threads must be an integer in 1..1024, not 0"),
        (dict(kernels="neon"), f"kernels must be one of {', '.join(engine.kernels())}, not 'neon'"),
    ):
        with pytest.raises(ValueError) as error, engine.using(**arguments):
            pass
        assert str(error.value) == message
    assert engine.available() and engine.selected()
    with engine.using("numpy"):
        assert not engine.selected()
        with engine.using("native"):
            assert engine.selected()
        assert not engine.selected()


def test_without_the_engine_the_definition_does_the_work():
    code = """if True:
        import sys
        sys.modules["quaver.golden._engine"] = None
        from quaver.golden import FORMATS, Arithmetic, encode, engine, gemm
        assert not engine.available() and not engine.selected() and engine.kernels() == ()
        print(gemm([[1.0, 2.0]], [[3.0], [4.0]], Arithmetic()).tolist(), encode(1.0, FORMATS["e4m3"]))
        with engine.using("native"):
            pass
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    expected = gemm([[1.0, 2.0]], [[3.0], [4.0]], Arithmetic()).tolist()
    assert run.stdout == f"{expected} 56\n"
    assert run.returncode == 1
    assert run.stderr.endswith("ValueError: backend must be one of auto, numpy, not 'native'\n")
