"""Chunked matrix multiplication: operands checked and cast, then handed to the definition or to its compiled twin."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden.arithmetic import Arithmetic
from quaver.golden.array_words import ArrayWords, GemmWords
from quaver.golden.blocks import BLOCK, Blocks, chunk_scales
from quaver.golden.chunks import Codes, chunked_gemm
from quaver.golden.formats import Format, as_codes
from quaver.golden.rounding import encode

Operand = ArrayLike | Blocks


def gemm(
    a: Operand,
    b: Operand,
    arithmetic: Arithmetic,
    *,
    c: ArrayLike | None = None,
    words: GemmWords | ArrayWords | None = None,
) -> NDArray[np.unsignedinteger]:
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
    scales = None
    if isinstance(a, Blocks) and isinstance(b, Blocks):
        if BLOCK % arithmetic.chunk:
            raise ValueError(f"chunk must divide the block of {BLOCK}, not {arithmetic.chunk}")
        scales = chunk_scales(a, b, batch, arithmetic.chunk)
    a_codes = np.broadcast_to(a_codes, (*batch, m, k))
    b_codes = np.broadcast_to(b_codes, (*batch, k, n))
    return chunked_gemm(a_codes, b_codes, y, arithmetic, _words(words, arithmetic, shape, k), scales)


def _elements(operand: Operand) -> ArrayLike:
    return operand.codes if isinstance(operand, Blocks) else operand


def _codes(name: str, values: ArrayLike, fmt: Format) -> Codes:
    v = np.asarray(values)
    if v.dtype.kind in "ui":
        return as_codes(v, fmt)
    ml_dtypes_float = v.dtype.kind == "V" and np.can_cast(v.dtype, np.float64)
    if v.dtype.kind == "f" or ml_dtypes_float:
        return encode(v, fmt)
    raise TypeError(f"{name} must be an array of codes or floats, not of {v.dtype}")


def _words(words: GemmWords | ArrayWords | None, arithmetic: Arithmetic, shape: tuple[int, ...], k: int) -> GemmWords:
    """The words of all GEMMs as arrays."""
    bits = arithmetic.inner_random_bits, arithmetic.outer_random_bits
    if not any(bits):
        return GemmWords(None, None)
    if words is None:
        words = ArrayWords.reference(arithmetic)
    *batch, m, n = shape
    if isinstance(words, ArrayWords):
        if words.chunk != arithmetic.chunk:
            raise ValueError(f"words.chunk must be the arithmetic's {arithmetic.chunk}, not {words.chunk}")
        dealt = [words.after(m, k, n, i).of_gemm(m, k, n, *bits) for i in range(int(np.prod(batch)))]
        return GemmWords(*(_stacked([getattr(w, name) for w in dealt], shape) for name in GemmWords._fields))
    chunks = -(-k // arithmetic.chunk)
    for name, needed, count in (("inner", bits[0], k), ("outer", bits[1], chunks)):
        member = getattr(words, name)
        if not needed:
            words = words._replace(**{name: None})
        elif member is None:
            expected = (count, *shape)
            raise ValueError(
                f"words.{name} of shape {expected} is needed by the {name} accumulator's stochastic rounding"
            )
        elif np.shape(member) != (count, *shape):
            raise ValueError(f"words.{name} must be of shape {(count, *shape)}, not {np.shape(member)}")
    return words


def _stacked(members: list[NDArray | None], shape: tuple[int, ...]) -> NDArray | None:
    """Words of one GEMM each, (steps, M, N), as words of all, (steps, ..., M, N)."""
    present = [member for member in members if member is not None]
    if not present:
        return None
    return np.stack(present, axis=1).reshape(len(present[0]), *shape)
