"""The chunked sum of products, the definition: readable first, exact integers throughout.

The order is flat, so that the bits depend on the arithmetic and never on an array's shape.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quaver.golden.arithmetic import Accumulator, AlignedSum, Arithmetic
from quaver.golden.array_words import GemmWords
from quaver.golden.exact_sums import add_aligned, add_exactly
from quaver.golden.formats import BoolArray, Exact, IntArray, decode
from quaver.golden.mac import accumulate, chunk_addend, multiply, round_sum

Codes = NDArray[np.integer]


class ChunkScales(NamedTuple):
    """Powers of two by which the chunks' sums are multiplied: the product of the operands' block scales."""

    exponent: IntArray
    """Shape (chunks, ..., M, N)."""
    nan: BoolArray
    """Where a scale is NaN; same shape."""


def chunked_gemm(
    a: Codes, b: Codes, y: Codes, arithmetic: Arithmetic, words: GemmWords, scales: ChunkScales | None = None
) -> Codes:
    """Codes of y + a @ b: `a` of shape (..., M, K), `b` (..., K, N), `y` (..., M, N), leading dimensions alike."""
    depth = a.shape[-1]
    outer = arithmetic.outer
    y = y.astype(outer.format.dtype)
    if not y.size:
        return y  # an empty batch is dealt no words
    for index, start in enumerate(range(0, depth, arithmetic.chunk)):
        ks = range(start, min(start + arithmetic.chunk, depth))
        word = None if words.outer is None else words.outer[index]
        match arithmetic.inner:
            case Accumulator() as inner:
                s = np.full(y.shape, inner.format.identity_code, inner.format.dtype)
                for k, product in zip(ks, _products(a, b, arithmetic, ks), strict=True):
                    s = accumulate(s, product, inner, None if words.inner is None else words.inner[k])
                y = accumulate(y, _scaled(chunk_addend(s, inner.format), scales, index), outer, word)
            case AlignedSum(fraction_bits):
                fraction = arithmetic.a.mantissa_bits + arithmetic.b.mantissa_bits  # below a significand in [0, 4)
                aligned = [(_scaled(p, scales, index), fraction) for p in _products(a, b, arithmetic, ks)]
                aligned.append((decode(y, outer.format), outer.format.mantissa_bits))
                y = round_sum(add_aligned(aligned, fraction_bits), outer, word)
            case _:
                terms = [_scaled(p, scales, index) for p in _products(a, b, arithmetic, ks)]
                y = round_sum(add_exactly([decode(y, outer.format), *terms]), outer, word)
    return y


def _products(a: Codes, b: Codes, arithmetic: Arithmetic, ks: range) -> Iterator[Exact]:
    for k in ks:
        yield multiply(decode(a[..., :, k, None], arithmetic.a), decode(b[..., None, k, :], arithmetic.b))


def _scaled(x: Exact, scales: ChunkScales | None, index: int) -> Exact:
    if scales is None:
        return x
    nan = x.nan | scales.nan[index]
    return x._replace(exponent=x.exponent + scales.exponent[index], inf=x.inf & ~nan, nan=nan)
