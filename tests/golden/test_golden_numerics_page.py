"""The page on numerics: its examples run, and its generated parts are those that the code makes now."""

import doctest
import importlib
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from quaver.golden import ArrayWords, Rounding, to_float

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "numerics.md"
SCRIPT = ROOT / "bench" / "numerics_words.py"


LINEAR = 7
"""Laws of the columns' words that are functions of their row's word."""


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        yield importlib.import_module("numerics_words")


@pytest.fixture(scope="module")
def columns(script):
    return script.numerics_columns


@pytest.fixture(scope="module")
def plots(script):
    return script.numerics_plots


def test_examples_run():
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.failed == 0
    assert result.attempted >= 15


def test_generated_parts_are_current(script):
    page = PAGE.read_text(encoding="utf-8")
    assert script.rewritten(page) == page, f"run python {SCRIPT.relative_to(ROOT)} --page {PAGE.relative_to(ROOT)}"
    assert page.count("<!-- generated: ") == page.count("<!-- end: ") == 7


def test_published_words_follow_the_definition(script):
    """Stepped bit by bit, from the seeds' definition."""
    compared = 0
    for bits, table in script.first_words().items():
        for generator, words in table.items():
            r, x = int(bits), int(generator, 16) * 0x9E3779B9 % 2**32
            x = (x ^ x >> 16) * 0x85EBCA6B % 2**32
            x = (x ^ x >> 13) * 0xC2B2AE35 % 2**32
            state = (x ^ x >> 16) or 1
            for word in words:
                for _ in range(r):
                    state = (state >> 1) ^ (0x80200003 if state % 2 else 0)
                assert int(word, 16) == state >> (32 - r)
                compared += 1
    assert compared == 100


def test_words_of_one_sum_are_nearly_independent(script):
    compared = 0
    for bits, table in script.correlations().items():
        for name, rho in table.items():
            if not name.startswith("columns"):
                # The mean magnitude of independent words is sqrt(2 / pi / TIMES); 5 sigma for the largest of 64.
                assert rho["mean"] < 1.35 * np.sqrt(2 / np.pi / script.TIMES), (bits, name)
                assert rho["max"] < 5 / np.sqrt(script.TIMES), (bits, name)
                compared += 1
    assert compared == (5 * 4 + 4) + 2 * (5 * 5 + 4)  # at r = 4 the distance r is among the others


def test_correlation_is_that_of_numpy(script):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 512, (2, 1, 1000))
    got = np.mean(script._normalised(x) * script._normalised(y))
    assert got == pytest.approx(np.corrcoef(x[0], y[0])[0, 1])


def test_the_script_writes_json():
    run = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=True)
    content = json.loads(run.stdout)
    assert content["sample"] == {"places": 64, "times": 4096, "seed": 0}
    assert content["words"]["9"]["0x0"][:2] == ["0xdb", "0xdb"]
    assert set(content["correlations"]) == {"4", "9", "13"}
    assert set(content["statistics"]) == {"4", "9", "13"}


def test_recorded_columns_are_current(columns):
    """What is exact is recomputed for all, the GEMMs for some."""
    record = columns.recorded()
    compared = 0
    for bits in (4, 9, 13):
        found = record["words"][str(bits)]
        for name, law in columns.LAWS.items():
            if law:
                assert found[name] == pytest.approx(columns.word_correlations(bits, law), abs=1e-9)
                compared += 1
    assert compared == LINEAR * 3
    name = columns.PUBLISHED[0]
    for kind, make in columns.OPERANDS.items():
        first = columns.errors(9, columns.LAWS[name], make, gemms=1)
        recorded = record["errors"][kind]["9"][name]["rms_of_first_gemm"]
        assert np.sqrt(np.mean(first**2)) == pytest.approx(recorded, rel=1e-9)


def test_the_measured_law_is_that_of_the_array(columns):
    place = ArrayWords(rows=128, columns=128, chunk=64, accumulator_depth=1024)
    for bits in (4, 9, 13):
        words = place.of_gemm(2, 200, 256, bits, 0).inner
        np.testing.assert_array_equal(columns.array(words[:, :, ::128], bits).reshape(200, 2, 256), words)


def test_every_law_deals_every_word_to_every_column(columns):
    compared = 0
    for bits in (4, 9, 13):
        every = np.arange(1 << bits, dtype=np.uint32)
        for name, law in columns.LAWS.items():
            if law:
                words = law(every, bits)
                assert words.shape == (1 << bits, 128)
                assert (np.sort(words, axis=0) == every[:, None]).all(), name
                compared += 1
    assert compared == LINEAR * 3


def test_recorded_columns_say_what_the_page_says(columns):
    ours, own, same = columns.PUBLISHED
    for kind, by_bits in columns.recorded()["errors"].items():
        for found in by_bits.values():
            assert found[ours]["rms"] == pytest.approx(found[own]["rms"], rel=0.02)
            assert found[ours]["sum_ratio"] < 1.2
            if kind == "of both signs":
                assert found[same]["sum_ratio"] < 1.1
                assert found[ours]["worst_ratio"] == pytest.approx(found[own]["worst_ratio"], rel=0.05)
            else:
                assert found[same]["sum_ratio"] > 2


def test_recorded_dot_products_are_current(plots):
    recorded = plots.recorded("numerics_dot")["rms_relative_error"]
    assert list(recorded) == [str(1 << n) for n in range(4, 17)]
    compared = 0
    for length in (16, 32, 64, 128, 256):
        assert recorded[str(length)] == pytest.approx(plots.dot_errors(length), rel=1e-9)
        compared += len(recorded[str(length)])
    assert compared == 30


def test_recorded_fp32_sums_are_those_of_numpy(plots):
    """A product of FP8 numbers is exact in FP32, and NumPy accumulates one after the other."""
    recorded = plots.recorded("numerics_dot")["rms_relative_error"]
    compared = 0
    for length in (1 << n for n in range(4, 14)):
        a, b = to_float(plots.operands(length), plots.E5M2).astype(np.float32)
        exact = np.sum(a.astype(np.float64) * b, axis=1)
        y = np.add.accumulate(a * b, axis=1, dtype=np.float32)[:, -1]
        error = plots.rms(y - exact) / plots.rms(exact)
        assert recorded[str(length)]["FP32 plain, rne"] == pytest.approx(error, rel=1e-9)
        compared += 1
    assert compared == 10


def test_the_plain_sum_stalls_and_the_others_do_not(plots):
    found = plots.recorded("numerics_dot")["rms_relative_error"]
    assert found["65536"]["1-6-9 plain, rne"] > 0.5
    assert found["65536"]["1-6-9 plain, sr(13)"] < 0.05
    for name in ("1-6-9 in chunks of 64, rne", "1-6-9 in chunks of 64, sr(13)"):
        assert found["65536"][name] < 0.02
    assert max(table["exact, rounded once to 1-6-9"] for table in found.values()) < 2**-10


def words_that_round_up(mode: str, bits: int, fraction: Fraction) -> int:
    """Counted one by one, by the definitions that the page and `Rounding` give."""
    every, size = range(1 << bits), 1 << bits
    match mode:
        case "sr":
            return sum(int(fraction * size) + u >= size for u in every)
        case "sr_fast":
            return sum(int(fraction * 2 * size) + 2 * u + 1 >= 2 * size for u in every)
        case "sr_unbiased":
            return sum(round(fraction * size) + u >= size for u in every)  # round() breaks ties to even


@pytest.mark.parametrize("mode", ["sr", "sr_fast", "sr_unbiased"])
def test_biases_are_those_of_all_words(plots, mode):
    compared = 0
    for bits in (1, 2, 3, 5):
        got = plots.biases(Rounding(mode=mode, random_bits=bits), 8)
        for i, bias in enumerate(got.tolist()):
            fraction = Fraction(i, 256)
            assert bias == Fraction(words_that_round_up(mode, bits, fraction), 1 << bits) - fraction
            compared += 1
    assert compared == 4 * 256


def test_recorded_biases_follow_the_law(plots):
    grid, compared = 2.0**-20, 0
    figures = plots.recorded("numerics_bias")["figures"]
    for bits in range(1, 17):
        step = 2.0**-bits
        expected = {
            "sr": (-(step - grid) / 2, -step / 4, step - grid),
            "sr_fast": (grid / 2, step / 4, step / 2),
            "sr_unbiased": (0, 0, step / 2),
        }
        for mode, biases in expected.items():
            found = figures[mode][str(bits)]
            assert tuple(found[key] for key in ("mean", "mean_one_bit_beyond", "largest")) == biases, (mode, bits)
            compared += 1
    assert compared == 48
    for mode in ("sr", "sr_fast", "sr_unbiased"):
        assert figures[mode]["2"] == pytest.approx(plots.bias_figures(mode, 2), rel=1e-9)


@pytest.mark.parametrize("name", ["numerics_dot", "numerics_bias"])
def test_figures_are_drawn_from_the_records(plots, name):
    assert plots.recorded(name)["command"] == "python bench/numerics_plots.py"
    path = ROOT / "docs" / "figures" / f"{name}.svg"
    picture = path.read_text(encoding="utf-8")
    assert plots.description(name) in picture, "run python bench/numerics_plots.py --draw"
    assert len(picture) < 150_000
    assert f"figures/{name}.svg" in PAGE.read_text(encoding="utf-8")
