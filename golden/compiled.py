"""Casts and GEMMs on the compiled engine: descriptions turned into the plain numbers that the kernels work with.

Here is decided which arithmetic of the machine carries which rounding, and when a case that costs time cannot arise.
"""

from functools import lru_cache
from math import ceil, inf, log2, nan

import numpy as np
from numpy.typing import NDArray

from quaver.golden.arithmetic import Accumulator, AlignedSum, Arithmetic
from quaver.golden.array_words import ArrayWords, GemmWords
from quaver.golden.engine import start
from quaver.golden.formats import Format, all_values, decode, to_float
from quaver.golden.lane_words import LaneWords
from quaver.golden.rounding import Rounding

_MODES = {"rne": 0, "rha": 1, "rtz": 2, "sr": 3, "sr_fast": 3, "sr_unbiased": 4}
_UNBOUNDED, _GRADUAL, _CUT = range(3)
_NARROW, _WIDE, _EXACT, _ALIGNED = range(4)
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_ITEMS_MAX = 1 << 46
"""Items of a generator that the kernels' table of jumps reaches."""


def encode(
    values: NDArray, fmt: Format, rounding: Rounding, words: NDArray | LaneWords | None, saturate: bool
) -> NDArray[np.unsignedinteger] | None:
    """`casts.encode` on float32 or float64 and checked words of their shape; None where the definition must do."""
    law = words if isinstance(words, LaneWords) else None
    if law is not None and law.issued + values.size >= _ITEMS_MAX:
        return None
    module, name, threads = start()
    v = np.ascontiguousarray(values)  # of one dimension at least
    out = np.empty(values.shape, fmt.dtype)
    given = None if law is not None or words is None else np.ascontiguousarray(words, np.uint32)
    good = module.cast(
        *(name, threads, v.size, (v, v.itemsize), (out, out.itemsize), _casts_narrow(v, fmt, rounding)),
        _round(fmt, rounding, saturate),
        _code(fmt, rounding.mode == "rtz", saturate, cast=True),
        (
            *(fmt.max_code, fmt.min_code, fmt.max_code if saturate or rounding.mode == "rtz" else fmt.overflow_code),
            *(fmt.max_code if saturate and fmt.specials != "fnuz" else fmt.overflow_code, fmt.nan_code is not None),
        ),
        (
            *(given, rounding.random_bits, None if law is None else law.seeds()),
            *((1, 0) if law is None else (law.lanes, law.issued)),
        ),
    )
    return out if good else None


def _casts_narrow(v: NDArray[np.floating], fmt: Format, rounding: Rounding) -> bool:
    """Whether float32 and integer arithmetic suffices: no number of the format is a subnormal of float32."""
    if v.itemsize != 4 or not fmt.signed or fmt.mantissa_bits > 22 or not -125 <= fmt.emin <= 100:
        return False
    return not rounding.stochastic or (rounding.mode == "sr" and fmt.mantissa_bits + rounding.random_bits <= 23)


def _round(fmt: Format, rounding: Rounding, saturate: bool, low: int | None = None, high: bool = True) -> tuple:
    """The fields of the kernels' struct Round."""
    special = inf if fmt.has_inf else nan
    stops = saturate or fmt.nan_code is None
    fast = rounding.mode == "sr_fast"
    return (
        *(_MODES[rounding.mode], fmt.mantissa_bits, rounding.random_bits + fast, fast),
        *((_GRADUAL if fmt.subnormals == "gradual" else _CUT) if low is None else low, high),
        *(0 if fmt.mantissa_bits else (fmt.bias + 1) % 2, 2.0**fmt.emin, fmt.min_positive, fmt.max_finite),
        fmt.max_finite if stops or rounding.mode == "rtz" else special,
        fmt.max_finite if stops and fmt.specials != "fnuz" else special,
    )


def _code(fmt: Format, truncates: bool, saturate: bool, *, cast: bool) -> tuple:
    """The fields of the kernels' struct Code."""
    nan_code = fmt.nan_code or 0
    below_inf = 0 if saturate else nan_code
    return (
        *(fmt.mantissa_bits, fmt.bias, fmt.subnormals == "gradual", fmt.has_negative_zero),
        *(cast and fmt.specials in ("ieee", "fn"), fmt.signed, fmt.sign_mask, nan_code, fmt.inf_code or 0),
        *(0 if truncates else below_inf, below_inf, 2.0**fmt.emin),
    )


def gemm(
    a: NDArray,
    b: NDArray,
    c: NDArray | None,
    batch: tuple[int, ...],
    arithmetic: Arithmetic,
    words: GemmWords | ArrayWords,
    scales: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
) -> NDArray[np.unsignedinteger] | None:
    """`gemm.gemm` on checked codes; None where the definition must do, or a NaN meets a `finite` format.

    `scales` are the factors of a's and b's chunks, of shapes (..., M, chunks) and (..., chunks, N).
    """
    outer = arithmetic.outer
    (m, k), n = a.shape[-2:], b.shape[-1]
    count = int(np.prod(batch, dtype=np.int64))
    shape = (*batch, m, n)
    out = np.empty(shape, outer.format.dtype)
    if not out.size or not k:
        return None
    law, inner_words, outer_words = _law(words, m, k, n)
    beats, sums, batch_beats, batch_sums = law[-4:]
    if max(beats + count * batch_beats, sums + count * batch_sums) >= _ITEMS_MAX:
        return None
    module, name, threads = start()
    left, a_stride = _flat(a, batch, arithmetic.a)
    right, b_stride = _flat(b, batch, arithmetic.b)
    none = np.zeros(0)
    aligned = isinstance(arithmetic.inner, AlignedSum)
    factors = (None, None) if scales is None else tuple(_spread(s, batch) for s in scales)
    chunk = min(arithmetic.chunk, k)
    good = module.gemm(
        *(name, threads, (count, m, k, n, chunk), (left, left.itemsize, a_stride), (right, right.itemsize, b_stride)),
        (all_values(arithmetic.a), all_values(arithmetic.b)),
        (_powers(arithmetic.a), _powers(arithmetic.b)) if aligned else (none, none),
        None if c is None else np.ascontiguousarray(to_float(c, outer.format)),
        (out, out.itemsize),
        (
            *_sums(arithmetic, chunk, scales is not None),
            _code(outer.format, outer.rounding.mode == "rtz", outer.saturate, cast=False),
            *_specials(arithmetic.inner),
            outer.format.nan_code is not None,
        ),
        _windows(arithmetic, chunk),
        arithmetic.inner.fraction_bits if isinstance(arithmetic.inner, AlignedSum) else 0,
        factors,
        (inner_words, arithmetic.inner_random_bits, outer_words, arithmetic.outer_random_bits),
        law,
    )
    return out if good else None


def _flat(codes: NDArray, batch: tuple[int, ...], fmt: Format) -> tuple[NDArray, int]:
    """Contiguous codes, and the distance from one GEMM's to the next one's: 0 where all share them."""
    size = codes.shape[-2] * codes.shape[-1]
    if codes.size != size:
        codes = np.broadcast_to(codes, (*batch, *codes.shape[-2:]))
    return np.ascontiguousarray(codes, fmt.dtype), size if codes.size != size else 0


def _spread(factors: NDArray[np.float64], batch: tuple[int, ...]) -> NDArray[np.float64]:
    return np.ascontiguousarray(np.broadcast_to(factors, (*batch, *factors.shape[-2:])))


@lru_cache(maxsize=64)
def _powers(fmt: Format) -> NDArray[np.float64]:
    """2^exponent of each code's number, emin in a subnormal one; 0 for zero."""
    x = decode(np.arange(1 << fmt.bits), fmt)
    return np.where(x.significand != 0, np.ldexp(1.0, x.exponent + fmt.mantissa_bits), 0.0)


def _law(words: GemmWords | ArrayWords, m: int, k: int, n: int) -> tuple[tuple, NDArray | None, NDArray | None]:
    if isinstance(words, GemmWords):
        inner, outer = (None if w is None else np.ascontiguousarray(w, np.uint32) for w in words)
        return (1, 1, 1, 1, 0, 0, 0, 0, 0), inner, outer
    batch = words.issued_by(m, k, n)
    geometry = (words.rows, words.columns, words.segments, words.accumulator_depth, words.seed)
    return (*geometry, *words.issued, *batch), None, None


def _product_range(arithmetic: Arithmetic) -> tuple[int, float]:
    """Exponent of the last bit that any product has, and the largest product."""
    a, b = arithmetic.a, arithmetic.b
    return a.emin - a.mantissa_bits + b.emin - b.mantissa_bits, a.max_finite * b.max_finite


def _windows(arithmetic: Arithmetic, chunk: int) -> tuple[int, int, int]:
    """Windows of an exact sum: how many, their distance in bits, and the least one's exponent."""
    last, largest = _product_range(arithmetic)
    first, growth = ceil(log2(largest)), ceil(log2(chunk))
    if first + growth - last <= 53:
        return 1, 53, last
    bits = 52 - arithmetic.a.precision - arithmetic.b.precision - growth
    return -(-(first - last) // bits), bits, last


def _specials(inner: object) -> tuple[bool, bool, bool]:
    if not isinstance(inner, Accumulator):
        return True, True, True
    return inner.format.has_negative_zero, inner.format.has_inf, inner.format.nan_code is not None


def _sums(arithmetic: Arithmetic, chunk: int, scaled: bool) -> tuple[int, bool, tuple, tuple]:
    """Who adds up a chunk, whether float32 suffices for the outer sums too, and how both round."""
    inner, outer = arithmetic.inner, arithmetic.outer
    outer_round = _round(outer.format, outer.rounding, outer.saturate)
    if not isinstance(inner, Accumulator):
        return _ALIGNED if isinstance(inner, AlignedSum) else _EXACT, False, outer_round, outer_round
    last, largest = _product_range(arithmetic)
    # To nearest, a sum of i products is at most 2 i times the largest; words can make it grow by an ulp every time.
    ulps = chunk * log2(1 + 2.0**-inner.format.mantissa_bits) if inner.rounding.stochastic else 0.0
    bound = 2 * chunk * largest * 2.0 ** min(ulps, 500.0) if largest < 2.0**500 else inf
    infinities = arithmetic.a.has_inf or arithmetic.b.has_inf
    high = bound > inner.format.max_finite or (inner.saturate and infinities) or inner.format.nan_code is None
    precision = arithmetic.a.precision + arithmetic.b.precision
    narrow = last >= -126 and largest < 2.0**127 and _narrow(inner, last, precision, largest, high)
    if not narrow:
        return _WIDE, False, _round(inner.format, inner.rounding, inner.saturate), outer_round
    # The outer sum may start from any code of C.
    last = min(last, outer.format.emin - outer.format.mantissa_bits)
    joined = None if scaled else _narrow(outer, last, inner.format.precision, inner.format.max_finite, True)
    return _NARROW, joined is not None, narrow, joined or outer_round


def _narrow(sum: Accumulator, last: int, precision: int, largest: float, high: bool) -> tuple | None:
    """How sums are rounded that are carried in float32; None where that does not suffice.

    Parameters
    ----------
    last:
        Every addend is a multiple of 2^last.
    precision, largest:
        Significant bits and greatest magnitude of an addend.
    high:
        Whether a sum can exceed the format's largest number.
    """
    fmt, rounding, m = sum.format, sum.rounding, sum.format.mantissa_bits
    if m == 23 and fmt.emin == -126 and fmt.specials == "ieee" and fmt.subnormals == "gradual":
        native = rounding.mode in ("rne", "rtz") and not sum.saturate  # float32 itself
        return _round(fmt, rounding, False, _UNBOUNDED, False) if native else None
    if not m or fmt.max_finite > _FLOAT32_MAX or (high and fmt.max_finite + largest >= 2.0**127):
        return None
    if fmt.min_positive < 2.0**-126 or (fmt.subnormals == "gradual" and last < fmt.emin - m):
        return None
    p, r = fmt.precision, rounding.random_bits
    fits = {"rne": p <= 11 and precision <= p, "rha": p <= 23, "rtz": p <= 23, "sr": p + r <= 24}
    if not fits.get(rounding.mode, False):
        return None
    # A sum of multiples of 2^last is one itself: it may be that none is too small.
    low = _UNBOUNDED if fmt.subnormals == "gradual" or 2.0**last >= fmt.min_positive else _CUT
    return _round(fmt, rounding, sum.saturate, low, high)
