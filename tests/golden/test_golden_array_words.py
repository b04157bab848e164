"""The words of a GEMM against generators that step one item at a time through the loop nest."""

import numpy as np
import pytest

from quaver.golden import Accumulator, ArrayWords, Issued, Machine, array_words, gemm, issued_by, sr

MACHINES = {
    "rows = chunk": dict(rows=4, columns=3, chunk=4, accumulator_depth=4),
    "two segments": dict(rows=8, columns=3, chunk=4, accumulator_depth=5),
    "four segments": dict(rows=8, columns=2, chunk=2, accumulator_depth=64),
    "chunk of one": dict(rows=4, columns=5, chunk=1, accumulator_depth=2),
    "two passes per chunk": dict(rows=4, columns=3, chunk=8, accumulator_depth=3),
    "long chunk": dict(rows=2, columns=4, chunk=16, accumulator_depth=7),
    "one row": dict(rows=1, columns=20, chunk=3, accumulator_depth=2),
}
OUTPUT_STATIONARY = {
    "chunk of rows": dict(rows=4, columns=3, chunk=4, mac_depth=2),
    "three slots, odd chunk": dict(rows=2, columns=5, chunk=7, mac_depth=3),
    "one slot, chunk of one": dict(rows=3, columns=4, chunk=1, mac_depth=1),
    "one PE": dict(rows=1, columns=1, chunk=5, mac_depth=7),
}
SHAPES = [(1, 1, 1), (4, 8, 3), (7, 13, 8), (9, 5, 4), (3, 17, 2), (12, 16, 21)]


class Generator:
    """One register, stepped r bits at a time; its words are the top bits."""

    def __init__(self, seed: int, number: int, bits: int):
        x = (seed + number * 0x9E3779B9) % 2**32
        x = (x ^ x >> 16) * 0x85EBCA6B % 2**32
        x = (x ^ x >> 13) * 0xC2B2AE35 % 2**32
        self.state, self.bits, self.issued = (x ^ x >> 16) or 1, bits, 0

    def next(self) -> int:
        for _ in range(self.bits):
            self.state = (self.state >> 1) ^ (0x80200003 if self.state % 2 else 0)
        self.issued += 1
        return self.state >> (32 - self.bits)


class Dealer:
    """All generators of a machine."""

    def __init__(self, machine: Machine):
        self.machine, bits = machine, machine.outer.rounding.random_bits
        self.bits = machine.inner.rounding.random_bits
        self.rows = [Generator(machine.seed, i, self.bits) for i in range(machine.rows)]
        n = 1 if machine.dataflow == "os" else max(1, machine.rows // machine.chunk)
        self.outer = [
            [Generator(machine.seed, 0x10000 + column * n + segment, bits) for segment in range(n)]
            for column in range(machine.columns)
        ]

    def deal_slots(self, m: int, k: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Words of one GEMM on an output-stationary array: in turn each row of PEs works on each of its slots."""
        rows, columns, chunk, slots = (
            getattr(self.machine, name) for name in ("rows", "columns", "chunk", "mac_depth")
        )
        inner = np.full((k, m, n), -1)
        outer = np.full((-(-k // chunk), m, n), -1)
        for top in range(0, m, rows * slots):
            for left in range(0, n, columns):
                for index in range(k):
                    for slot in range(slots):
                        for i in range(rows):
                            word, row_of_a = self.rows[i].next(), top + i * slots + slot
                            for j in range(columns):
                                if row_of_a < m and left + j < n:
                                    inner[index, row_of_a, left + j] = self.turned(word, j)
                    if (index + 1) % chunk and index + 1 < k:
                        continue
                    for row_of_a in range(top, top + rows * slots):
                        for j in range(columns):
                            word = self.outer[j][0].next()
                            if row_of_a < m and left + j < n:
                                outer[index // chunk, row_of_a, left + j] = word
        return inner, outer

    def turned(self, word: int, column: int) -> int:
        bits = self.bits
        turn, mask = column % bits, column * 0x9E3779B1 % 2**32 >> (32 - bits)
        return (word << turn | word >> (bits - turn)) % 2**bits ^ mask

    def deal(self, m: int, k: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Words of one GEMM, in the order in which the array works."""
        if self.machine.dataflow == "os":
            return self.deal_slots(m, k, n)
        if self.machine.dataflow == "is":
            return tuple(words.transpose(0, 2, 1) for words in self.deal_tiles(n, k, m))
        return self.deal_tiles(m, k, n)

    def deal_tiles(self, m: int, k: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Words of one GEMM on a weight-stationary array."""
        rows, columns, chunk = self.machine.rows, self.machine.columns, self.machine.chunk
        depth = self.machine.accumulator_depth
        inner = np.full((k, m, n), -1)
        outer = np.full((-(-k // chunk), m, n), -1)
        k_tiles = -(-k // rows)
        for block in range(0, m, depth):
            for left in range(0, n, columns):
                for k_tile in range(k_tiles):
                    for row_of_a in range(block, min(block + depth, m)):
                        for i in range(rows):
                            word, index = self.rows[i].next(), k_tile * rows + i
                            for j in range(columns):
                                if index < k and left + j < n:
                                    inner[index, row_of_a, left + j] = self.turned(word, j)
                        # Sums leave the array where a chunk ends: at every segment, or after its last pass.
                        end = (k_tile + 1) * rows
                        if rows < chunk and end % chunk and k_tile + 1 < k_tiles:
                            continue
                        for j in range(columns):
                            for segment, generator in enumerate(self.outer[j]):
                                word, index = generator.next(), (end - 1) // chunk - len(self.outer[j]) + 1 + segment
                                if index < len(outer) and left + j < n:
                                    outer[index, row_of_a, left + j] = word
        return inner, outer


@pytest.mark.parametrize("inner_bits, outer_bits", [(9, 13), (4, 16), (1, 1)])
@pytest.mark.parametrize(
    "dataflow, name",
    [(d, name) for d in ("ws", "is") for name in MACHINES] + [("os", name) for name in OUTPUT_STATIONARY],
)
def test_words_equal_the_loop_nest(dataflow, name, inner_bits, outer_bits):
    """One GEMM after another on one machine: what was issued before counts."""
    machine = Machine(
        **(OUTPUT_STATIONARY if dataflow == "os" else MACHINES)[name],
        dataflow=dataflow,
        seed=1234,
        inner=Accumulator(rounding=sr(inner_bits)),
        outer=Accumulator(rounding=sr(outer_bits)),
    )
    dealer, issued, compared = Dealer(machine), Issued(), 0
    for m, k, n in SHAPES:
        inner, outer = dealer.deal(m, k, n)
        assert inner.min() >= 0 <= outer.min(), "the naive loops reached every product and chunk"
        got = array_words(machine, m, k, n, issued)
        np.testing.assert_array_equal(got.inner, inner)
        np.testing.assert_array_equal(got.outer, outer)
        step = issued_by(machine, m, k, n)
        issued = Issued(issued.beats + step.beats, issued.sums + step.sums)
        assert {g.issued for g in dealer.rows} == {issued.beats}
        assert {g.issued for column in dealer.outer for g in column} == {issued.sums}
        compared += inner.size + outer.size
    assert compared > 4000


def test_only_what_rounds_stochastically_gets_words():
    half = Machine(rows=4, columns=4, chunk=4, inner=Accumulator(rounding=sr(9)))
    words = array_words(half, 2, 5, 3)
    assert words.inner.shape == (5, 2, 3)
    assert words.outer is None
    other = Machine(rows=4, columns=4, chunk=4, outer=Accumulator(rounding=sr(9)))
    words = array_words(other, 2, 5, 3)
    assert words.inner is None
    assert words.outer.shape == (2, 2, 3)


def test_words_fit_gemm_and_depend_on_the_seed():
    rng = np.random.default_rng(0)
    m, k, n = 5, 30, 6
    a, b = rng.integers(0, 120, (m, k)), rng.integers(0, 120, (k, n))
    results = []
    for seed in (1, 1, 2):
        accumulator = Accumulator(rounding=sr(9))
        machine = Machine(rows=4, columns=4, chunk=8, seed=seed, inner=accumulator, outer=accumulator)
        results.append(gemm(a, b, machine.arithmetic(), words=array_words(machine, m, k, n)))
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()


@pytest.mark.parametrize("dataflow", ["os", "is"])
def test_gemm_makes_the_words_of_every_dataflow(dataflow):
    """Given the law, `gemm` deals the words of a batch as the array would, one GEMM after the other."""
    rng = np.random.default_rng(1)
    accumulator = Accumulator(rounding=sr(9))
    machine = Machine(rows=4, columns=3, chunk=8, mac_depth=2, dataflow=dataflow, inner=accumulator, outer=accumulator)
    a, b = rng.integers(0, 120, (3, 9, 20)), rng.integers(0, 120, (3, 20, 7))
    got = gemm(a, b, machine.arithmetic(), words=ArrayWords.of(machine, Issued(5, 7)))
    issued = Issued(5, 7)
    for index in range(3):
        words = array_words(machine, 9, 20, 7, issued)
        np.testing.assert_array_equal(got[index], gemm(a[index], b[index], machine.arithmetic(), words=words))
        issued = Issued(*np.add(issued, issued_by(machine, 9, 20, 7)).tolist())
    assert (got != gemm(a, b, machine.arithmetic(), words=ArrayWords.of(machine))).any()


def test_slots_of_an_output_stationary_law_fill_its_rows():
    with pytest.raises(ValueError, match=r"^accumulator_depth must be a multiple of rows = 4, not 6$"):
        ArrayWords(rows=4, columns=2, chunk=3, accumulator_depth=6, dataflow="os")
    with pytest.raises(ValueError, match=r"^dataflow must be one of ws, os, is, not 'rs'$"):
        ArrayWords(rows=4, columns=2, chunk=4, accumulator_depth=6, dataflow="rs")
