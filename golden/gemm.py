"""Chunked matrix multiplication, the definition: products in index order, one rounding per addition.

The order is flat, so that the bits depend on the arithmetic and never on an array's shape.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden.arithmetic import Arithmetic
from quaver.golden.formats import Format, as_codes, decode
from quaver.golden.mac import accumulate, chunk_addend, multiply
from quaver.golden.rounding import encode


class GemmWords(NamedTuple):
    """The random words of one GEMM of shape M x K x N; a member is None where its accumulator does not need it."""

    inner: NDArray[np.unsignedinteger] | None
    """Word of each product, shape (K, M, N)."""
    outer: NDArray[np.unsignedinteger] | None
    """Word of each chunk's addition, shape (ceil(K / chunk), M, N)."""


def gemm(
    a: ArrayLike,
    b: ArrayLike,
    arithmetic: Arithmetic,
    *,
    c: ArrayLike | None = None,
    words: GemmWords | None = None,
) -> NDArray[np.unsignedinteger]:
    """y = a @ b (+ c), every sum rounded as `arithmetic` says.

    Parameters
    ----------
    a, b:
        Codes of shape (M, K) and (K, N) of `arithmetic.a` and `arithmetic.b`; floats are cast with RNE first.
    c:
        Codes (or floats) of shape (M, N) of the outer format, from which the outer sums start; +0 if absent.
    words:
        The random words; needed when an accumulator rounds stochastically.

    Returns
    -------
    Codes of shape (M, N) of the outer accumulator's format.

    Raises
    ------
    TypeError, ValueError
        For shapes that do not fit, for codes out of range, and for missing words.
    """
    inner, outer = arithmetic.inner, arithmetic.outer
    a_codes, b_codes = _codes(a, arithmetic.a), _codes(b, arithmetic.b)
    if a_codes.ndim != 2 or b_codes.ndim != 2 or a_codes.shape[1] != b_codes.shape[0]:
        raise ValueError(f"a and b must be of shapes (M, K) and (K, N), not {a_codes.shape} and {b_codes.shape}")
    (m, depth), n = a_codes.shape, b_codes.shape[1]
    y = np.zeros((m, n), outer.format.dtype) if c is None else _codes(c, outer.format)
    if y.shape != (m, n):
        raise ValueError(f"c must be of shape {(m, n)}, not {y.shape}")
    inner_words = _member(words, "inner", inner.rounding.stochastic, (depth, m, n))
    outer_words = _member(words, "outer", outer.rounding.stochastic, (-(-depth // arithmetic.chunk), m, n))

    for index, start in enumerate(range(0, depth, arithmetic.chunk)):
        s = np.full((m, n), inner.format.identity_code, inner.format.dtype)
        for k in range(start, min(start + arithmetic.chunk, depth)):
            product = multiply(decode(a_codes[:, k, None], arithmetic.a), decode(b_codes[None, k, :], arithmetic.b))
            s = accumulate(s, product, inner, None if inner_words is None else inner_words[k])
        y = accumulate(y, chunk_addend(s, inner.format), outer, None if outer_words is None else outer_words[index])
    return y


def _codes(values: ArrayLike, fmt: Format) -> NDArray:
    v = np.asarray(values)
    return as_codes(v, fmt) if v.dtype.kind in "ui" else encode(v, fmt).astype(np.int64)


def _member(words: GemmWords | None, name: str, needed: bool, shape: tuple[int, int, int]) -> NDArray | None:
    if not needed:
        return None
    member = None if words is None else getattr(words, name)
    if member is None:
        raise ValueError(f"words.{name} of shape {shape} is needed by the {name} accumulator's stochastic rounding")
    if member.shape != shape:
        raise ValueError(f"words.{name} must be of shape {shape}, not {member.shape}")
    return member
