"""Block-scaled operands after OCP MX: 32 elements along K share a power of two, stored as E8M0."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden.casts import encode
from quaver.golden.chunks import ChunkScales
from quaver.golden.formats import Format, IntArray, to_float
from quaver.golden.rounding import RNE, Rounding

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


def check_blocks(a: Blocks, b: Blocks, chunk: int) -> None:
    """Check the scales of operands of shapes (..., M, K) and (..., K, N) for chunks of `chunk` products.

    Raises
    ------
    TypeError, ValueError
        If an operand's scales are no bytes or not one per 32 elements along K, or a chunk leaves its block.
    """
    if BLOCK % chunk:
        raise ValueError(f"chunk must divide the block of {BLOCK}, not {chunk}")
    for name, operand, axis in (("a", a, -1), ("b", b, -2)):
        expected = list(np.shape(operand.codes))
        expected[axis] = -(-expected[axis] // BLOCK)
        scales = np.asarray(operand.scales)
        if scales.dtype != np.uint8:
            raise TypeError(f"scales of {name} must be of uint8, not {scales.dtype}")
        if scales.shape != tuple(expected):
            raise ValueError(f"scales of {name} must be of shape {tuple(expected)}, not {scales.shape}")


def chunk_scales(a: Blocks, b: Blocks, batch: tuple[int, ...], chunk: int) -> ChunkScales:
    """What multiplies each chunk's sum in a product of blocks with leading dimensions `batch`."""
    left, right = (each[..., None] if axis == -1 else each[..., None, :] for axis, each in _by_chunk(a, b, chunk))
    shape = (len(left), *batch, left.shape[-2], right.shape[-1])
    # The chunks' axis comes first, before leading dimensions that broadcast.
    left = left.reshape(len(left), *(1,) * (len(shape) - left.ndim), *left.shape[1:])
    right = right.reshape(len(right), *(1,) * (len(shape) - right.ndim), *right.shape[1:])
    nan = (left == SCALE_NAN) | (right == SCALE_NAN)
    exponent = left.astype(np.int64) + right.astype(np.int64) - 2 * SCALE_BIAS
    return ChunkScales(np.broadcast_to(exponent, shape), np.broadcast_to(nan, shape))


def chunk_factors(a: Blocks, b: Blocks, chunk: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The scales of both operands' chunks as numbers, of shapes (..., M, chunks) and (..., chunks, N)."""
    left, right = (
        np.moveaxis(np.where(each == SCALE_NAN, np.nan, np.ldexp(1.0, each.astype(np.int64) - SCALE_BIAS)), 0, axis)
        for axis, each in _by_chunk(a, b, chunk)
    )
    return left, right


def _by_chunk(a: Blocks, b: Blocks, chunk: int) -> list[tuple[int, NDArray[np.uint8]]]:
    """The axis of K in each operand, and the scales by chunk, their axis moved to the front."""
    block = np.arange(0, np.shape(a.codes)[-1], chunk) // BLOCK
    return [(axis, np.moveaxis(np.asarray(x.scales), axis, 0)[block]) for axis, x in ((-1, a), (-2, b))]


def _spread(scales: NDArray[np.uint8], length: int, axis: int) -> tuple[IntArray, NDArray[np.bool_]]:
    """Exponent of each element, and where its scale is NaN."""
    each = np.take(scales, np.arange(length) // BLOCK, axis=axis)
    return each.astype(np.int64) - SCALE_BIAS, each == SCALE_NAN
