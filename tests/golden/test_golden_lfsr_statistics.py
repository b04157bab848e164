"""Statistics of the leaping LFSR's words, and of the words that the register yields without the leap."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

BENCH = Path(__file__).parents[2] / "bench"
LAGS = (1, 2, 3, 4)
TESTS = ["values", *(f"{name}, lag {lag}" for lag in LAGS for name in ("correlation", "pairs"))]


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCH)
        yield importlib.import_module("numerics_words")


@pytest.fixture(scope="module")
def statistics(script):
    return script.statistics()


def test_the_leap_makes_words_that_pass(script, statistics):
    assert script.TESTED_WORDS >= 1 << 16
    assert len(set(script.TESTED_SEEDS)) == 12
    compared = 0
    for bits in (4, 9, 13):
        found = statistics[str(bits)]["r steps"]
        assert list(found) == TESTS
        for name, p in found.items():
            assert p > 0.001, (bits, name)
            compared += 1
    assert compared == 27


def test_one_step_per_word_fails_the_same_tests(statistics):
    compared = 0
    for bits in (4, 9, 13):
        found = statistics[str(bits)]["one step"]
        assert list(found) == TESTS
        for lag in (1, 2, 3):  # at r = 4, words four steps apart share no bit
            for name in ("correlation", "pairs"):
                assert found[f"{name}, lag {lag}"] < 1e-9, (bits, name, lag)
                compared += 1
    assert compared == 18


@pytest.mark.parametrize("bits", [4, 9, 13])
def test_one_step_per_word_is_the_same_register(script, bits):
    seeds = [1, 0x80000000, script.seed_of(0, 3)]
    got = script.OneStepLfsr(bits).words(seeds, 5, 100).tolist()
    for state, words in zip(seeds, got, strict=True):
        expected = []
        for _ in range(105):
            state = (state >> 1) ^ (0x80200003 if state & 1 else 0)
            expected.append(state >> (32 - bits))
        assert words == expected[5:]


@pytest.mark.parametrize("bits", [4, 9, 13])
def test_p_values_of_independent_words_are_uniform(script, bits):
    """Of each test on its own: one that calls too much or too little significant would prove nothing above."""
    words = np.random.Generator(np.random.Philox(bits)).integers(0, 1 << bits, (48, 1 << 17), dtype=np.uint32)
    found = script.p_values(words, bits)
    assert list(found) == TESTS
    for name, p in found.items():
        assert p.shape == (48,)
        assert stats.kstest(p, "uniform").pvalue > 0.001, name


def test_p_values_see_a_missing_value_and_a_repeated_word(script):
    words = np.random.Generator(np.random.Philox(0)).integers(0, 512, (3, 1 << 16), dtype=np.uint32)
    words[0][words[0] == 77] = 78
    words[1, 2:] = np.where(np.arange((1 << 16) - 2) % 16 == 0, words[1, :-2], words[1, 2:])
    found = script.p_values(words, 9)
    assert [name for name in TESTS if found[name][0] < 1e-5] == ["values"]
    assert [name for name in TESTS if found[name][1] < 1e-5] == ["correlation, lag 2", "pairs, lag 2"]
    assert all(found[name][2] > 0.001 for name in TESTS)
