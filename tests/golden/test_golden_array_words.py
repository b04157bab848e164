"""The words of a GEMM against generators that step one item at a time through the loop nest."""

import numpy as np
import pytest

from quaver.golden import Accumulator, Issued, Machine, array_words, gemm, issued_by, sr

MACHINES = {
    "rows = chunk": dict(rows=4, columns=3, chunk=4, accumulator_depth=4),
    "two segments": dict(rows=8, columns=3, chunk=4, accumulator_depth=5),
    "four segments": dict(rows=8, columns=2, chunk=2, accumulator_depth=64),
    "chunk of one": dict(rows=4, columns=5, chunk=1, accumulator_depth=2),
    "two passes per chunk": dict(rows=4, columns=3, chunk=8, accumulator_depth=3),
    "long chunk": dict(rows=2, columns=4, chunk=16, accumulator_depth=7),
    "one row": dict(rows=1, columns=20, chunk=3, accumulator_depth=2),
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
        n = max(1, machine.rows // machine.chunk)
        self.outer = [
            [Generator(machine.seed, 0x10000 + column * n + segment, bits) for segment in range(n)]
            for column in range(machine.columns)
        ]

    def deal(self, m: int, k: int, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Words of one GEMM, in the order in which the array works."""
        rows, columns, chunk = self.machine.rows, self.machine.columns, self.machine.chunk
        depth, bits = self.machine.accumulator_depth, self.bits
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
                                turn, mask = j % bits, j * 0x9E3779B1 % 2**32 >> (32 - bits)
                                turned = (word << turn | word >> (bits - turn)) % 2**bits
                                if index < k and left + j < n:
                                    inner[index, row_of_a, left + j] = turned ^ mask
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
@pytest.mark.parametrize("name", MACHINES)
def test_words_equal_the_loop_nest(name, inner_bits, outer_bits):
    """One GEMM after another on one machine: what was issued before counts."""
    machine = Machine(
        **MACHINES[name],
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
