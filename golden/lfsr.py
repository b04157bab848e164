"""The leaping LFSR: random words as a function of place and time.

A 32-bit Galois register leaps `bits` steps per word, so that neighbouring words share no bits.  A leap is a matrix
over GF(2); the hardware's XOR network and the model's jumps to any index are both derived from it.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden.errors import check_range

WIDTH = 32
POLYNOMIAL = 0x80200003
"""Feedback mask of the right-shifting Galois form; maximal: period 2^32 - 1."""
GOLDEN_RATIO = 0x9E3779B9
COLUMN_FACTOR = 0x9E3779B1
"""Column j's mask is the top bits of j times this, mod 2^32."""
OUTER_GENERATORS = 0x10000
"""Generator number of the outer adder of column 0, segment 0; row i's generator is number i."""
OUTPUT_GENERATORS = 0x20000
"""Generator number of lane 0 of the output unit."""
UPDATE_GENERATORS = 0x30000
"""Generator number of lane 0 of the weight update."""
_MASK = (1 << WIDTH) - 1

Words = NDArray[np.uint32]


def step(state: int) -> int:
    """One step of the register."""
    return (state >> 1) ^ (POLYNOMIAL if state & 1 else 0)


def fmix32(x: int) -> int:
    """MurmurHash3's 32-bit finaliser."""
    x = (x ^ (x >> 16)) * 0x85EBCA6B & _MASK
    x = (x ^ (x >> 13)) * 0xC2B2AE35 & _MASK
    return x ^ (x >> 16)


def seed_of(seed: int, generator: int) -> int:
    """Initial state of generator number `generator` of a machine seeded with `seed`; never the lock-up state 0."""
    return fmix32((seed + generator * GOLDEN_RATIO) & _MASK) or 1


def rotated(words: ArrayLike, column: ArrayLike, bits: int) -> Words:
    """The words that columns make of their row's `words`: rotated left by column mod r, XORed with the column's mask.

    `words` (unsigned, r = `bits` wide) and `column` broadcast against each other.
    """
    w = np.asarray(words, dtype=np.uint32)
    j = np.asarray(column, dtype=np.int64)
    turn = (j % bits).astype(np.uint32)
    mask = ((j * COLUMN_FACTOR & _MASK) >> (WIDTH - bits)).astype(np.uint32)
    return (((w << turn) | (w >> (np.uint32(bits) - turn))) & np.uint32((1 << bits) - 1)) ^ mask


@dataclass(frozen=True)
class LeapingLfsr:
    """The generator law for words of `bits` bits, 1 to 24.  Word i is the top bits of the state after i + 1 leaps."""

    bits: int

    def __post_init__(self) -> None:
        check_range("random_bits", self.bits, 1, 24)

    @cached_property
    def leap(self) -> Words:
        """Column b of the leap's matrix, shape (32,): what a state that is only bit b leaps to."""
        columns = [1 << b for b in range(WIDTH)]
        for _ in range(self.bits):
            columns = [step(c) for c in columns]
        return np.array(columns, dtype=np.uint32)

    def words(self, seeds: ArrayLike, start: int, count: int) -> Words:
        """Words start .. start + count - 1 of the generators with initial states `seeds`, any shape S.

        Returns an array of shape S + (count,), in O(log start + count) steps.
        """
        states = _apply(_power(self.leap, start + 1), np.asarray(seeds, dtype=np.uint32))[..., None]
        matrix = self.leap
        while states.shape[-1] < count:  # the second half is the first one, leapt over it
            states = np.concatenate([states, _apply(matrix, states)], axis=-1)
            matrix = _apply(matrix, matrix)
        return states[..., :count] >> np.uint32(WIDTH - self.bits)


def _apply(matrix: Words, states: Words) -> Words:
    """Multiply GF(2) column vectors `states` by `matrix`; on a matrix's columns this is the matrix product."""
    result = np.zeros_like(states)
    for b in range(WIDTH):
        result ^= matrix[b] * ((states >> np.uint32(b)) & np.uint32(1))
    return result


def _power(matrix: Words, exponent: int) -> Words:
    result = np.array([1 << b for b in range(WIDTH)], dtype=np.uint32)
    while exponent:
        if exponent & 1:
            result = _apply(matrix, result)
        matrix = _apply(matrix, matrix)
        exponent >>= 1
    return result
