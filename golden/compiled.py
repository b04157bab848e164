"""Casts and GEMMs on the compiled engine: descriptions turned into the plain numbers that the kernels work with."""

import numpy as np
from numpy.typing import NDArray

from quaver.golden.arithmetic import Accumulator, AlignedSum, Arithmetic
from quaver.golden.array_words import ArrayWords, GemmWords
from quaver.golden.compiled_sums import Numbers, numbers, rounds, sums, windows
from quaver.golden.engine import start
from quaver.golden.formats import Format, to_float
from quaver.golden.lane_words import LaneWords
from quaver.golden.rounding import Rounding

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
        rounds(fmt, rounding, saturate),
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
    *issued, batch_beats, batch_sums = law[-4:]
    if max(issued[0] + count * batch_beats, issued[1] + count * batch_sums) >= _ITEMS_MAX:
        return None
    module, name, threads = start()
    left, a_numbers = _operand(a, batch, arithmetic.a, lines=-2)
    right, b_numbers = _operand(b, batch, arithmetic.b, lines=-1)
    factors = (None, None) if scales is None else tuple(_spread(s, batch) for s in scales)
    chunk, chunks = min(arithmetic.chunk, k), -(-k // arithmetic.chunk)
    good = module.gemm(
        *(name, threads, (count, m, k, n, chunk), left, right),
        None if c is None else np.ascontiguousarray(to_float(c, outer.format)),
        (out, out.itemsize),
        (
            *sums(arithmetic, a_numbers, b_numbers, chunk, chunks, scales is not None, c is None),
            _code(outer.format, outer.rounding.mode == "rtz", outer.saturate, cast=False),
            *_specials(arithmetic.inner),
            outer.format.nan_code is not None,
        ),
        windows(a_numbers, b_numbers, chunk),
        arithmetic.inner.fraction_bits if isinstance(arithmetic.inner, AlignedSum) else 0,
        factors,
        (inner_words, arithmetic.inner_random_bits, outer_words, arithmetic.outer_random_bits),
        law,
    )
    return out if good else None


def _operand(codes: NDArray, batch: tuple[int, ...], fmt: Format, lines: int) -> tuple[tuple, Numbers]:
    """The fields of the kernels' struct Operand, whose lines lie along the axis `lines`, and what its numbers are."""
    size = codes.shape[-2] * codes.shape[-1]
    if codes.size != size:
        codes = np.broadcast_to(codes, (*batch, *codes.shape[-2:]))
    turned = codes.swapaxes(-2, -1)
    if turned.flags.c_contiguous:
        codes, lines = turned, -3 - lines
    codes = np.ascontiguousarray(codes, fmt.dtype)
    module, name, _ = start()
    least, largest = module.magnitudes(name, codes, codes.itemsize, fmt.magnitude_mask)
    known = numbers(least, largest, fmt)
    strides = (1, codes.shape[-1]) if lines == -1 else (codes.shape[-1], 1)
    fields = (
        *(codes, codes.itemsize, size if codes.size != size else 0, *strides),
        *(fmt.mantissa_bits, fmt.bias, fmt.subnormals == "gradual", fmt.has_negative_zero and not known.special),
        *(fmt.has_negative_zero, fmt.has_inf, fmt.specials == "fnuz", fmt.sign_mask, fmt.magnitude_mask),
        *(1 if fmt.subnormals == "normal" else 1 << fmt.mantissa_bits, fmt.max_code, 2.0**fmt.emin),
    )
    return fields, known


def _spread(factors: NDArray[np.float64], batch: tuple[int, ...]) -> NDArray[np.float64]:
    return np.ascontiguousarray(np.broadcast_to(factors, (*batch, *factors.shape[-2:])))


def _law(words: GemmWords | ArrayWords, m: int, k: int, n: int) -> tuple[tuple, NDArray | None, NDArray | None]:
    if isinstance(words, GemmWords):
        inner, outer = (None if w is None else np.ascontiguousarray(w, np.uint32) for w in words)
        return (1, 1, 1, 1, 0, 0, 0, 0, 0), inner, outer
    batch = words.issued_by(m, k, n)
    geometry = (words.rows, words.columns, words.segments, words.accumulator_depth, words.seed)
    return (*geometry, *words.issued, *batch), None, None


def _specials(inner: object) -> tuple[bool, bool, bool]:
    if not isinstance(inner, Accumulator):
        return True, True, True
    return inner.format.has_negative_zero, inner.format.has_inf, inner.format.nan_code is not None
