"""The page on numerics: its examples run, and its generated parts are those that the code makes now."""

import doctest
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "numerics.md"
SCRIPT = ROOT / "bench" / "numerics_words.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("numerics_words", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_examples_run():
    result = doctest.testfile(str(PAGE), module_relative=False)
    assert result.failed == 0
    assert result.attempted >= 15


def test_generated_parts_are_current(script):
    page = PAGE.read_text(encoding="utf-8")
    assert script.rewritten(page) == page, f"run python {SCRIPT.relative_to(ROOT)} --page {PAGE.relative_to(ROOT)}"
    assert page.count("<!-- generated: ") == len(script.generated()) == 3


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
    assert compared == 60


def test_words_of_one_sum_are_nearly_independent(script):
    for bits, table in script.correlations().items():
        for name in ("rows i, i + 1", "times t, t + 1"):
            # The mean magnitude of independent words is sqrt(2 / pi / TIMES); 5 sigma for the largest of 64.
            assert table[name]["mean"] < 1.3 * np.sqrt(2 / np.pi / script.TIMES), (bits, name)
            assert table[name]["max"] < 5 / np.sqrt(script.TIMES), (bits, name)


def test_correlation_is_that_of_numpy(script):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 512, (2, 1, 1000))
    got = np.mean(script._normalised(x) * script._normalised(y))
    assert got == pytest.approx(np.corrcoef(x[0], y[0])[0, 1])


def test_the_script_writes_json():
    run = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=True)
    content = json.loads(run.stdout)
    assert content["sample"] == {"rows": 64, "columns": 64, "times": 4096, "seed": 0}
    assert content["words"]["9"]["0x0"][:2] == ["0xdb", "0xdb"]
    assert set(content["correlations"]) == {"4", "9", "13"}
