"""The words that an array's generators deal to each product and each chunk sum of a GEMM.

A generator steps once per item issued to it, padded ones too, in the order of the dataflow's loop nest:
for m_block, for n_tile, for k_tile, for m in the weight-stationary one, which an input-stationary array goes through
with the operands exchanged; for m_block, for n_tile, for k, for slot in the output-stationary one, whose row i holds
rows i * interleave + slot of a block.  There a chunk's sums are issued for the whole block, in the order of its rows.
"""

import math
from dataclasses import dataclass, replace
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from quaver.golden.arithmetic import Arithmetic
from quaver.golden.errors import check_choice, check_range
from quaver.golden.lfsr import OUTER_GENERATORS, LeapingLfsr, Words, rotated, seed_of
from quaver.golden.machine import Machine
from quaver.golden.machine_checks import Dataflow


class GemmWords(NamedTuple):
    """The random words of one GEMM of shape M x K x N; a member is None where its accumulator does not need it."""

    inner: NDArray[np.integer] | None
    """Word of each product, shape (K, ..., M, N) where ... are the leading dimensions of the result."""
    outer: NDArray[np.integer] | None
    """Word of each chunk's addition, shape (ceil(K / chunk), ..., M, N)."""


class Issued(NamedTuple):
    """Items that the generators have served since the seed."""

    beats: int = 0
    """Activation beats: steps of each row's generator."""
    sums: int = 0
    """Chunk sums per column and segment: steps of each outer generator."""


@dataclass(frozen=True, kw_only=True)
class ArrayWords:
    """The law of an array's words: what `gemm` needs to make them itself, where and when they are used."""

    rows: int
    """Rows of the array, one inner generator each."""
    columns: int
    """Columns of the array."""
    chunk: int
    """Products per chunk; divides `rows` or is a multiple of it (`os`: any)."""
    accumulator_depth: int
    """Rows of an m_block; with `os` it is a multiple of `rows`, the slots of each row."""
    seed: int = 0
    """Seed of all generators."""
    issued: Issued = Issued()
    """Items that the generators served before."""
    dataflow: Dataflow = "ws"
    """The loop nest."""

    def __post_init__(self) -> None:
        check_range("rows", self.rows, 1, OUTER_GENERATORS)
        check_range("columns", self.columns, 1, 1 << 16)
        check_range("chunk", self.chunk, 1, 1 << 20)
        check_choice("dataflow", self.dataflow, get_args(Dataflow))
        if self.dataflow != "os" and self.rows % self.chunk and self.chunk % self.rows:
            raise ValueError(f"chunk must divide rows = {self.rows} or be a multiple of it, not {self.chunk}")
        check_range("accumulator_depth", self.accumulator_depth, 1, 1 << 32)
        if self.dataflow == "os" and self.accumulator_depth % self.rows:
            depth = self.accumulator_depth
            raise ValueError(f"accumulator_depth must be a multiple of rows = {self.rows}, not {depth}")
        check_range("seed", self.seed, 0, (1 << 32) - 1)

    @classmethod
    def of(cls, machine: Machine, issued: Issued = Issued()) -> "ArrayWords":
        """The law of `machine` after it has issued `issued`."""
        return cls(
            rows=machine.rows,
            columns=machine.columns,
            chunk=machine.chunk,
            accumulator_depth=machine.block_rows,
            seed=machine.seed,
            issued=issued,
            dataflow=machine.dataflow,
        )

    @classmethod
    def reference(cls, arithmetic: Arithmetic) -> "ArrayWords":
        """The law of an array of about 128 rows and of 128 columns, for whoever has an arithmetic but no machine.

        Raises
        ------
        ValueError
            If the chunk is longer than an array has rows.
        """
        check_range("chunk of the reference array", arithmetic.chunk, 1, OUTER_GENERATORS)
        rows = arithmetic.chunk * max(1, 128 // arithmetic.chunk)
        return cls(rows=rows, columns=128, chunk=arithmetic.chunk, accumulator_depth=1024, seed=arithmetic.seed)

    @property
    def segments(self) -> int:
        """Chunk sums that a column makes in one pass."""
        return 1 if self.dataflow == "os" else max(1, self.rows // self.chunk)

    def of_gemm(self, m: int, k: int, n: int, inner_bits: int, outer_bits: int) -> GemmWords:
        """Words of an M x K x N GEMM, `inner_bits` per product and `outer_bits` per chunk, 0 for none."""
        if self.dataflow == "is":
            words = replace(self, dataflow="ws").of_gemm(n, k, m, inner_bits, outer_bits)
            return GemmWords(*(None if member is None else member.swapaxes(-2, -1) for member in words))
        if self.dataflow == "os":
            return self._of_output_stationary(m, k, n, inner_bits, outer_bits)
        inner = outer = None
        column = np.arange(n)

        if inner_bits:
            product = np.arange(k)[:, None, None]
            beat = self._items(m, n, -(-k // self.rows), product // self.rows)
            table = self._table(range(self.rows), inner_bits, self.issued.beats, self.issued_by(m, k, n).beats)
            inner = rotated(table[product % self.rows, beat], column % self.columns, inner_bits)

        if outer_bits:
            segments = self.segments
            chunk = np.arange(-(-k // self.chunk))[:, None, None]
            item = self._items(m, n, -(-len(chunk) // segments), chunk // segments)
            generators = range(OUTER_GENERATORS, OUTER_GENERATORS + self.columns * segments)
            table = self._table(generators, outer_bits, self.issued.sums, self.issued_by(m, k, n).sums)
            outer = table[column % self.columns * segments + chunk % segments, item]

        return GemmWords(inner, outer)

    def _of_output_stationary(self, m: int, k: int, n: int, inner_bits: int, outer_bits: int) -> GemmWords:
        inner = outer = None
        depth, slots = self.accumulator_depth, self.accumulator_depth // self.rows
        block, within = np.divmod(np.arange(m)[:, None], depth)
        tile_of, column = np.divmod(np.arange(n), self.columns)
        tile = block * -(-n // self.columns) + tile_of
        issued = self.issued_by(m, k, n)

        if inner_bits:
            beat = (tile * k + np.arange(k)[:, None, None]) * slots + within % slots
            table = self._table(range(self.rows), inner_bits, self.issued.beats, issued.beats)
            inner = rotated(table[within // slots, beat], column, inner_bits)

        if outer_bits:
            chunks = -(-k // self.chunk)
            item = (tile * chunks + np.arange(chunks)[:, None, None]) * depth + within
            generators = range(OUTER_GENERATORS, OUTER_GENERATORS + self.columns)
            outer = self._table(generators, outer_bits, self.issued.sums, issued.sums)[column, item]

        return GemmWords(inner, outer)

    def of_gemms(self, shape: tuple[int, ...], k: int, inner_bits: int, outer_bits: int) -> GemmWords:
        """Words of GEMMs with results of `shape` = (..., M, N), executed one after the other in C order."""
        *batch, m, n = shape
        each = [
            self.after(m, k, n, index).of_gemm(m, k, n, inner_bits, outer_bits) for index in range(math.prod(batch))
        ]

        def together(members: list[NDArray[np.integer] | None]) -> NDArray[np.integer] | None:
            present = [member for member in members if member is not None]
            return np.stack(present, axis=1).reshape(len(present[0]), *shape) if present else None

        return GemmWords(together([w.inner for w in each]), together([w.outer for w in each]))

    def issued_by(self, m: int, k: int, n: int) -> Issued:
        """Items that one GEMM of this shape issues to each generator."""
        if self.dataflow == "is":
            return replace(self, dataflow="ws").issued_by(n, k, m)
        if self.dataflow == "os":
            tiles = -(-m // self.accumulator_depth) * -(-n // self.columns)
            return Issued(
                tiles * k * (self.accumulator_depth // self.rows),
                tiles * -(-k // self.chunk) * self.accumulator_depth,
            )
        passes = -(-k // self.rows)
        per_pass = m * -(-n // self.columns)
        return Issued(per_pass * passes, per_pass * -(-passes // max(1, self.chunk // self.rows)))

    def after(self, m: int, k: int, n: int, times: int = 1) -> "ArrayWords":
        """The law that holds after `times` GEMMs of this shape."""
        beats, sums = self.issued_by(m, k, n)
        return replace(self, issued=Issued(self.issued.beats + times * beats, self.issued.sums + times * sums))

    def _table(self, generators: range, bits: int, start: int, count: int) -> Words:
        seeds = np.array([seed_of(self.seed, g) for g in generators], dtype=np.uint32)
        return LeapingLfsr(bits).words(seeds, start, count)

    def _items(self, m: int, n: int, steps: int, step: NDArray) -> NDArray[np.int64]:
        """Index in the loop nest, which has `steps` items per output along K, of each `step` (any shape (S, 1, 1)).

        Returns shape (S, m, n).
        """
        row, column = np.arange(m)[:, None], np.arange(n)
        block, within = np.divmod(row, self.accumulator_depth)
        start = block * self.accumulator_depth
        size = np.minimum(self.accumulator_depth, m - start)
        tiles = -(-n // self.columns)
        return start * tiles * steps + (column // self.columns * steps + step) * size + within


def array_words(machine: Machine, m: int, k: int, n: int, issued: Issued = Issued()) -> GemmWords:
    """Words of an M x K x N GEMM that `machine` starts after having issued `issued` (see `issued_by`)."""
    law = ArrayWords.of(machine, issued)
    return law.of_gemm(m, k, n, machine.inner_rounding.random_bits, machine.outer.rounding.random_bits)


def issued_by(machine: Machine, m: int, k: int, n: int) -> Issued:
    """Items that one GEMM of this shape issues to each generator of `machine`."""
    return ArrayWords.of(machine).issued_by(m, k, n)
