"""Random formats, arithmetics, codes and laws for the engine's tests, and how two computations are compared."""

from collections.abc import Callable

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from quaver.golden import (
    FORMATS,
    Accumulator,
    AlignedSum,
    Arithmetic,
    ArrayWords,
    ExactSum,
    Format,
    Issued,
    Rounding,
    encode,
    engine,
    to_float,
)

MODES = ("rne", "rha", "rtz", "sr", "sr_fast", "sr_unbiased")
CASES = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def format_of(name: str, e: int, m: int, bias: int, specials: str, subnormals: str, signed: bool) -> Format | None:
    try:
        return Format(
            name=name,
            exponent_bits=e,
            mantissa_bits=m,
            bias=bias,
            specials=specials,
            subnormals=subnormals,
            signed=signed,
        )
    except ValueError:
        return None


def formats(mantissa_max: int, signed: bool = True) -> st.SearchStrategy[Format]:
    """Formats of the catalogue, and any others."""
    invented = st.builds(
        format_of,
        st.just("any"),
        st.integers(1, 8),
        st.integers(0, mantissa_max),
        st.one_of(st.sampled_from([1, 7, 15, 31, 127]), st.integers(-128, 255)),
        st.sampled_from(["ieee", "fn", "fnuz", "dlfloat", "finite"]),
        st.sampled_from(["gradual", "flush", "normal"]),
        st.just(True) if signed else st.booleans(),
    ).filter(lambda fmt: fmt is not None)
    known = st.sampled_from([fmt for fmt in FORMATS.values() if fmt.mantissa_bits <= mantissa_max])
    return st.one_of(known, invented)


roundings = st.builds(
    lambda mode, bits: Rounding(mode=mode, random_bits=bits if mode.startswith("sr") else 0),
    st.sampled_from(MODES),
    st.integers(1, 24),
)
accumulators = st.builds(
    lambda fmt, rounding, overflow: Accumulator(format=fmt, rounding=rounding, overflow=overflow),
    formats(23),
    roundings,
    st.sampled_from(["special", "saturate"]),
)
arithmetics = st.builds(
    lambda a, b, inner, outer, chunk, seed: Arithmetic(a=a, b=b, inner=inner, outer=outer, chunk=chunk, seed=seed),
    formats(7),
    formats(7),
    st.one_of(accumulators, accumulators, st.just(ExactSum()), st.builds(AlignedSum, st.integers(1, 30))),
    accumulators,
    st.sampled_from([1, 2, 3, 8, 20, 64]),
    st.integers(0, 2**32 - 1),
)


def outcome(call: Callable[[], np.ndarray]) -> object:
    """The codes, or the words of an error."""
    try:
        return call()
    except ValueError as error:
        return str(error)


def compared(call: Callable[[], np.ndarray], threads: int = 2) -> int:
    """Hold every set of kernels against the definition; the number of codes compared, 1 for an error."""
    with engine.using("numpy"):
        expected = outcome(call)
    count = 0
    for kernels in engine.kernels():
        with engine.using("native", kernels=kernels, threads=threads):
            got = outcome(call)
        assert type(got) is type(expected), (kernels, got, expected)
        if isinstance(got, np.ndarray) and isinstance(expected, np.ndarray):
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected, kernels)
            count += got.size
        else:
            assert got == expected
            count += 1
    return count


def codes(rng: np.random.Generator, fmt: Format, shape: tuple[int, ...]) -> np.ndarray:
    """Codes of any kind; often none is special, or they are close together, or many are zeros."""
    c = rng.integers(0, 1 << fmt.bits, shape)
    match rng.integers(0, 4):
        case 0:
            c = np.where(np.isfinite(to_float(c, fmt)), c, 0)
        case 1:
            spread = rng.normal(size=shape) * fmt.max_finite ** rng.random()
            c = encode(np.abs(spread) if not fmt.signed else spread, fmt, saturate=True)
        case 2:
            c = np.where(rng.random(shape) < 0.5, fmt.identity_code, c)
    return c


def array_law(rng: np.random.Generator, chunk: int) -> ArrayWords:
    return ArrayWords(
        rows=chunk * int(rng.integers(1, 4)),
        columns=int(rng.choice([1, 3, 7, 16, 32, 64])),
        chunk=chunk,
        accumulator_depth=int(rng.integers(1, 12)),
        seed=int(rng.integers(0, 2**32)),
        issued=Issued(int(rng.integers(0, 1000)), int(rng.integers(0, 2**30))),
    )
