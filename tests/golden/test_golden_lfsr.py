"""The leaping LFSR against its definition, stepped bit by bit, and the facts that make its period maximal."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import LeapingLfsr, seed_of
from quaver.golden.lfsr import OUTER_GENERATORS, fmix32, rotated

PERIOD = 2**32 - 1
PRIMES = [3, 5, 17, 257, 65537]


def step(state: int) -> int:
    return (state >> 1) ^ (0x80200003 if state & 1 else 0)


def words_by_steps(seed: int, bits: int, count: int) -> list[int]:
    words = []
    for _ in range(count):
        for _ in range(bits):
            seed = step(seed)
        words.append(seed >> (32 - bits))
    return words


def apply(matrix: list[int], state: int) -> int:
    result = 0
    for b in range(32):
        if state >> b & 1:
            result ^= matrix[b]
    return result


def power(matrix: list[int], exponent: int) -> list[int]:
    result = [1 << b for b in range(32)]
    for digit in bin(exponent)[2:]:
        result = [apply(result, column) for column in result]
        if digit == "1":
            result = [apply(matrix, column) for column in result]
    return result


def test_the_period_is_maximal():
    """The step's order is 2^32 - 1, of which 3, 5, 17, 257 and 65537 are the prime factors."""
    assert np.prod(PRIMES, dtype=np.int64) == PERIOD
    identity = [1 << b for b in range(32)]
    matrix = [step(column) for column in identity]
    assert power(matrix, PERIOD) == identity
    for prime in PRIMES:
        assert power(matrix, PERIOD // prime) != identity
    assert LeapingLfsr(1).leap.tolist() == matrix
    for bits in range(2, 25):
        assert LeapingLfsr(bits).leap.tolist() == power(matrix, bits)


@pytest.mark.parametrize("bits", range(1, 25))
def test_words_follow_the_definition(bits):
    seeds = [1, 0x80000000, 0xFFFFFFFF, seed_of(0, 0), seed_of(7, 3)]
    got = LeapingLfsr(bits).words(seeds, 0, 200)
    assert got.tolist() == [words_by_steps(seed, bits, 200) for seed in seeds]


@settings(deadline=None, max_examples=100)
@given(
    bits=st.integers(1, 24),
    seed=st.integers(1, 2**32 - 1),
    start=st.integers(0, 2**16),
    further=st.integers(0, 100),
    count=st.integers(0, 40),
)
def test_any_word_is_found_by_its_index(bits, seed, start, further, count):
    lfsr = LeapingLfsr(bits)
    got = lfsr.words(seed, start + further, count)
    assert got.shape == (count,)
    np.testing.assert_array_equal(got, lfsr.words(seed, start, further + count)[further:])
    state = apply(power([step(1 << b) for b in range(32)], bits * (start + further)), seed)
    assert got.tolist() == words_by_steps(state, bits, count)


def test_words_return_after_the_period():
    lfsr = LeapingLfsr(1)
    np.testing.assert_array_equal(lfsr.words([5, 9], PERIOD + 17, 30), lfsr.words([5, 9], 17, 30))


def test_seeds():
    # Published values of MurmurHash3_x86_32 of no bytes, which is fmix32(seed).
    assert [fmix32(x) for x in (0, 1, 0xFFFFFFFF)] == [0, 0x514E28B7, 0x81F16F39]
    assert seed_of(0, 0) == 1
    assert seed_of(-0x9E3779B9 % 2**32, 1) == 1
    assert seed_of(5, 3) == fmix32((5 + 3 * 0x9E3779B9) % 2**32)
    assert OUTER_GENERATORS == 0x10000
    seeds = {seed_of(0, g) for g in [*range(1024), *range(OUTER_GENERATORS, OUTER_GENERATORS + 1024)]}
    assert len(seeds) == 2048


def test_fmix32_is_a_bijection_on_a_sample():
    rng = np.random.default_rng(0)
    x = np.unique(rng.integers(0, 1 << 32, 20_000))
    assert len({fmix32(v) for v in x.tolist()}) == x.size


@pytest.mark.parametrize("bits", [1, 2, 4, 9, 13, 16, 24])
def test_columns_rotate_and_mask(bits):
    rng = np.random.default_rng(bits)
    words, columns = rng.integers(0, 1 << bits, 300), np.append(np.arange(200), rng.integers(0, 1024, 100))
    got = rotated(words, columns, bits)
    for word, column, result in zip(words.tolist(), columns.tolist(), got.tolist(), strict=True):
        turned = word
        for _ in range(column % bits):
            turned = turned * 2 % 2**bits + turned // 2 ** (bits - 1)
        mask = column * 0x9E3779B1 % 2**32 // 2 ** (32 - bits)
        assert result == turned ^ mask
    assert rotated(words, 0, bits).tolist() == words.tolist()


@pytest.mark.parametrize("bits", [0, 25, -1, 1.5, True])
def test_random_bits_are_checked(bits):
    with pytest.raises(ValueError) as error:
        LeapingLfsr(bits)
    assert str(error.value) == f"random_bits must be an integer in 1..24, not {bits!r}"
