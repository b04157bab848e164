"""Chunked matrix multiplication: operands checked and cast, then handed to the definition or to its compiled twin."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden import compiled, engine
from quaver.golden.arithmetic import Accumulator, Arithmetic
from quaver.golden.array_words import ArrayWords, GemmWords
from quaver.golden.blocks import Blocks, check_blocks, chunk_factors, chunk_scales
from quaver.golden.casts import encode
from quaver.golden.chunks import Codes, chunked_gemm
from quaver.golden.formats import Format, checked_codes
from quaver.golden.rounding import Rounding, checked_words

Operand = ArrayLike | Blocks


def gemm(
    a: Operand,
    b: Operand,
    arithmetic: Arithmetic,
    *,
    c: ArrayLike | None = None,
    words: GemmWords | ArrayWords | None = None,
) -> Codes:
    """y = a @ b (+ c), every sum rounded as `arithmetic` says.

    Parameters
    ----------
    a, b:
        Codes of shape (..., M, K) and (..., K, N) of `arithmetic.a` and `arithmetic.b`; leading dimensions broadcast.
        Floats are cast with RNE first.  Or both are `Blocks`, scaled along K; then `chunk` must divide the block of 32.
    c:
        Codes (or floats) of shape (..., M, N) of the outer format, from which the outer sums start; +0 if absent.
    words:
        The random words: as arrays, or as the law of an array that executes the GEMMs of the leading dimensions one
        after the other.  If absent, those of `ArrayWords.reference(arithmetic)`.

    Returns
    -------
    Codes of shape (..., M, N) of the outer accumulator's format.

    Raises
    ------
    TypeError
        If an operand is neither of integers nor of floats, or only one of a and b is `Blocks`.
    ValueError
        For shapes that do not fit, codes and words out of range, missing words, and a NaN that meets a `finite` format.
    """
    if isinstance(a, Blocks) != isinstance(b, Blocks):
        raise TypeError("a and b must both be Blocks, or neither")
    outer = arithmetic.outer.format
    a_codes, b_codes = _codes("a", _elements(a), arithmetic.a), _codes("b", _elements(b), arithmetic.b)
    if a_codes.ndim < 2 or b_codes.ndim < 2 or a_codes.shape[-1] != b_codes.shape[-2]:
        raise ValueError(
            f"a and b must be of shapes (..., M, K) and (..., K, N), not {a_codes.shape} and {b_codes.shape}"
        )
    try:
        batch = np.broadcast_shapes(a_codes.shape[:-2], b_codes.shape[:-2])
    except ValueError:
        shapes = f"{a_codes.shape[:-2]} and {b_codes.shape[:-2]}"
        raise ValueError(f"leading dimensions of a and b must broadcast, not {shapes}") from None
    (m, k), n = a_codes.shape[-2:], b_codes.shape[-1]
    shape = (*batch, m, n)
    y = np.zeros(shape, outer.dtype) if c is None else _codes("c", c, outer)
    if y.shape != shape:
        raise ValueError(f"c must be of shape {shape}, not {y.shape}")
    dealt = _words(words, arithmetic, shape, k)
    blocks = (a, b) if isinstance(a, Blocks) and isinstance(b, Blocks) else None
    if blocks:
        check_blocks(*blocks, arithmetic.chunk)
    if isinstance(dealt, ArrayWords) and dealt.dataflow != "ws":  # the engine makes no other words itself
        dealt = dealt.of_gemms(shape, k, arithmetic.inner_random_bits, arithmetic.outer_random_bits)
    if engine.selected():
        factors = chunk_factors(*blocks, arithmetic.chunk) if blocks else None
        codes = compiled.gemm(a_codes, b_codes, None if c is None else y, batch, arithmetic, dealt, factors)
        if codes is not None:
            return codes
    if isinstance(dealt, ArrayWords):
        dealt = dealt.of_gemms(shape, k, arithmetic.inner_random_bits, arithmetic.outer_random_bits)
    scales = chunk_scales(*blocks, batch, arithmetic.chunk) if blocks else None
    a_codes = np.broadcast_to(a_codes, (*batch, m, k))
    b_codes = np.broadcast_to(b_codes, (*batch, k, n))
    return chunked_gemm(a_codes, b_codes, y, arithmetic, dealt, scales)


def _elements(operand: Operand) -> ArrayLike:
    return operand.codes if isinstance(operand, Blocks) else operand


def _codes(name: str, values: ArrayLike, fmt: Format) -> Codes:
    v = np.asarray(values)
    if v.dtype.kind in "ui":
        return checked_codes(v, fmt)
    ml_dtypes_float = v.dtype.kind == "V" and np.can_cast(v.dtype, np.float64)
    if v.dtype.kind == "f" or ml_dtypes_float:
        return encode(v, fmt)
    raise TypeError(f"{name} must be an array of codes or floats, not of {v.dtype}")


def _words(
    words: GemmWords | ArrayWords | None, arithmetic: Arithmetic, shape: tuple[int, ...], k: int
) -> GemmWords | ArrayWords:
    """The words that are needed, checked: those that are not are None."""
    if not arithmetic.inner_random_bits and not arithmetic.outer_random_bits:
        return GemmWords(None, None)
    if words is None:
        words = ArrayWords.reference(arithmetic)
    if isinstance(words, ArrayWords):
        if words.chunk != arithmetic.chunk:
            raise ValueError(f"words.chunk must be the arithmetic's {arithmetic.chunk}, not {words.chunk}")
        return words

    def checked(name: str, rounding: Rounding | None, count: int) -> NDArray | None:
        member, expected = getattr(words, name), (count, *shape)
        if rounding is None or not rounding.stochastic:
            return None
        if member is None:
            raise ValueError(f"words.{name} of shape {expected} is needed by the {name} sum's {rounding}")
        if np.shape(member) != expected:
            raise ValueError(f"words.{name} must be of shape {expected}, not {np.shape(member)}")
        return np.asarray(checked_words(member, rounding, expected))

    inner = arithmetic.inner.rounding if isinstance(arithmetic.inner, Accumulator) else None
    return GemmWords(checked("inner", inner, k), checked("outer", arithmetic.outer.rounding, -(-k // arithmetic.chunk)))
