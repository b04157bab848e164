"""Block-scaled operands after OCP MX: 32 elements along K share a power of two, stored as E8M0."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden.chunks import ChunkScales
from quaver.golden.formats import Format, IntArray, to_float
from quaver.golden.rounding import RNE, Rounding, encode

BLOCK = 32
"""Elements per scale (OCP Microscaling Formats v1.0, section 5)."""
SCALE_BIAS = 127
"""E8M0: code e stands for 2^(e - 127)."""
SCALE_NAN = 0xFF


class Blocks(NamedTuple):
    """An operand in blocks along its K axis; an element's value is that of its code times 2^(scale - 127)."""

    codes: NDArray[np.unsignedinteger]
    """Codes of the elements, shape (..., M, K), or (..., K, N) of a second operand."""
    scales: NDArray[np.uint8]
    """E8M0 codes, one per 32 elements along K: shape (..., M, ceil(K / 32)) or (..., ceil(K / 32), N)."""


def encode_blocks(
    values: ArrayLike, fmt: Format, rounding: Rounding = RNE, *, axis: int = -1, words: ArrayLike | None = None
) -> Blocks:
    """Cast floats to blocks of 32 elements of `fmt` along `axis`; the last block may be shorter.

    The scale is 2^(floor(log2 amax) - emax), with emax the exponent of the format's largest number, within 2^-127 ..
    2^127; an all-zero block has the smallest one (OCP MX v1.0, section 6.3).  Elements saturate.  A block with an Inf
    or NaN has a NaN scale and zeros for elements.  `rounding` and `words` (of the values' shape) are as in `encode`.

    Raises
    ------
    ValueError
        If `values` has no axis `axis`, or words are missing or out of range.
    """
    v = np.asarray(values, dtype=np.float64)
    if not -v.ndim <= axis < v.ndim:
        raise ValueError(f"axis must be one of the {v.ndim} of values, not {axis}")
    v = np.moveaxis(v, axis, -1)
    length = v.shape[-1]
    padded = np.zeros((*v.shape[:-1], -(-length // BLOCK), BLOCK))
    padded.reshape(*v.shape[:-1], -1)[..., :length] = v
    amax = np.max(np.abs(padded), axis=-1, initial=0.0)
    nan = ~np.isfinite(amax)
    emax = int(np.frexp(fmt.max_finite)[1]) - 1
    exponent = np.where((amax == 0) | nan, -SCALE_BIAS, np.frexp(np.where(nan, 0.0, amax))[1] - 1 - emax)
    exponent = np.clip(exponent, -SCALE_BIAS, SCALE_BIAS)
    elements = np.ldexp(np.where(nan[..., None], 0.0, padded), -exponent[..., None])
    elements = np.moveaxis(elements.reshape(*v.shape[:-1], padded.shape[-2] * BLOCK)[..., :length], -1, axis)
    scales = np.where(nan, SCALE_NAN, exponent + SCALE_BIAS).astype(np.uint8)
    return Blocks(encode(elements, fmt, rounding, words=words, saturate=True), np.moveaxis(scales, -1, axis))


def decode_blocks(blocks: Blocks, fmt: Format, *, axis: int = -1) -> NDArray[np.float64]:
    """Values of blocks along `axis`: exact, as float64."""
    exponent, nan = _spread(blocks.scales, blocks.codes.shape[axis], axis)
    return np.where(nan, np.nan, np.ldexp(to_float(blocks.codes, fmt), exponent))


def chunk_scales(a: Blocks, b: Blocks, batch: tuple[int, ...], chunk: int) -> ChunkScales:
    """What multiplies each chunk of a block product; `chunk` divides the block.

    Raises
    ------
    TypeError, ValueError
        If the scales of an operand are no bytes, or not one per 32 elements along K.
    """
    depth = a.codes.shape[-1]
    first = range(0, depth, chunk)
    blocks = np.array([k // BLOCK for k in first], np.int64)
    for name, operand, axis in (("a", a, -1), ("b", b, -2)):
        expected = list(operand.codes.shape)
        expected[axis] = -(-depth // BLOCK)
        if np.asarray(operand.scales).dtype != np.uint8:
            raise TypeError(f"scales of {name} must be of uint8, not {np.asarray(operand.scales).dtype}")
        if operand.scales.shape != tuple(expected):
            raise ValueError(f"scales of {name} must be of shape {tuple(expected)}, not {operand.scales.shape}")
    left = np.moveaxis(a.scales, -1, 0)[blocks][..., :, None]
    right = np.moveaxis(b.scales, -2, 0)[blocks][..., None, :]
    m, n = a.codes.shape[-2], b.codes.shape[-1]
    shape = (len(blocks), *batch, m, n)
    left = left.reshape(len(blocks), *(1,) * (len(shape) - left.ndim), *left.shape[1:])
    right = right.reshape(len(blocks), *(1,) * (len(shape) - right.ndim), *right.shape[1:])
    nan = (left == SCALE_NAN) | (right == SCALE_NAN)
    exponent = left.astype(np.int64) + right.astype(np.int64) - 2 * SCALE_BIAS
    return ChunkScales(np.broadcast_to(exponent, shape), np.broadcast_to(nan, shape))


def _spread(scales: NDArray[np.uint8], length: int, axis: int) -> tuple[IntArray, NDArray[np.bool_]]:
    """Exponent of each element, and where its scale is NaN."""
    each = np.take(scales, np.arange(length) // BLOCK, axis=axis)
    return each.astype(np.int64) - SCALE_BIAS, each == SCALE_NAN
