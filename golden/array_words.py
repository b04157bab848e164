"""The words that a machine's generators deal to each product and each chunk sum of a GEMM.

A generator steps once per item issued to it, padded ones too, in the order of the weight-stationary loop nest:
for m_block, for n_tile, for k_tile, for m.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quaver.golden.gemm import GemmWords
from quaver.golden.lfsr import OUTER_GENERATORS, LeapingLfsr, rotated, seed_of
from quaver.golden.machine import Machine


class Issued(NamedTuple):
    """Items that the generators have served since the seed."""

    beats: int = 0
    """Activation beats: steps of each row's generator."""
    sums: int = 0
    """Chunk sums per column and segment: steps of each outer generator."""


def array_words(machine: Machine, m: int, k: int, n: int, issued: Issued = Issued()) -> GemmWords:
    """Words of an M x K x N GEMM that `machine` starts after having issued `issued` (see `issued_by`)."""
    rows, columns = machine.rows, machine.columns
    column = np.arange(n)
    inner = outer = None

    if machine.inner.rounding.stochastic:
        lfsr = LeapingLfsr(machine.inner.rounding.random_bits)
        seeds = np.array([seed_of(machine.seed, g) for g in range(rows)], dtype=np.uint32)
        table = lfsr.words(seeds, issued.beats, issued_by(machine, m, k, n).beats)
        product = np.arange(k)[:, None, None]
        beat = _items(machine, m, n, -(-k // rows), product // rows)
        inner = rotated(table[product % rows, beat], column % columns, lfsr.bits)

    if machine.outer.rounding.stochastic:
        lfsr = LeapingLfsr(machine.outer.rounding.random_bits)
        segments = machine.segments
        generators = [OUTER_GENERATORS + g for g in range(columns * segments)]
        seeds = np.array([seed_of(machine.seed, g) for g in generators], dtype=np.uint32)
        table = lfsr.words(seeds, issued.sums, issued_by(machine, m, k, n).sums)
        chunk = np.arange(-(-k // machine.chunk))[:, None, None]
        item = _items(machine, m, n, -(-len(chunk) // segments), chunk // segments)
        outer = table[column % columns * segments + chunk % segments, item]

    return GemmWords(inner, outer)


def issued_by(machine: Machine, m: int, k: int, n: int) -> Issued:
    """Items that one GEMM of this shape issues to each generator."""
    passes = -(-k // machine.rows)
    per_pass = m * -(-n // machine.columns)
    return Issued(per_pass * passes, per_pass * -(-passes // machine.passes_per_chunk))


def _items(machine: Machine, m: int, n: int, steps: int, step: NDArray) -> NDArray[np.int64]:
    """Index in the loop nest, which has `steps` items per output along K, of each `step` (any shape (S, 1, 1)).

    Returns shape (S, m, n).
    """
    row, column = np.arange(m)[:, None], np.arange(n)
    block, within = np.divmod(row, machine.accumulator_depth)
    start = block * machine.accumulator_depth
    size = np.minimum(machine.accumulator_depth, m - start)
    tiles = -(-n // machine.columns)
    return start * tiles * steps + (column // machine.columns * steps + step) * size + within
