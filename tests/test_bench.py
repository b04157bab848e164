"""The benches run, at a tiny size, with the rivals that are installed; what is recorded was made by them, with all."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TINY = {
    "gemm": ["--size", "32", "--rounds", "2"],
    "cast": ["--elements", "4096", "--rounds", "2"],
    "engine_choice": ["--size", "32", "--rounds", "2", "--processes", "1"],
    "update": ["--elements", "500", "--rounds", "2"],
}
RIVALS = {
    "gemm": ["threadpoolctl", "torch", "qtorch", "apytypes"],
    "cast": ["ml_dtypes", "torch", "qtorch", "gfloat", "apytypes"],
    "engine_choice": ["numba"],
    "update": ["torch", "qtorch"],
}
NEEDED = {"BLAS": "threadpoolctl"}
"""What a contestant cannot do without, where it is not called so itself."""
GOALS = {
    "gemm": {
        "1-6-9 RNE / BLAS": 0.15,
        "1-6-9 SR 13 bits / BLAS": 0.07,
        "1-6-9 RNE, two threads / one": 1.7,
        "1-6-9 SR 13 bits, two threads / one": 1.7,
    },
    "cast": {
        f"{fmt} {how} / {rival} RNE": goal
        for fmt in ("E4M3", "E5M2")
        for how, goal in (("RNE", 1.0), ("SR 8 bits", 0.5), ("SR 13 bits", 0.5))
        for rival in ("ml_dtypes", "torch")
    },
    "engine_choice": {},
    "update": {},
}


def record(text: str) -> dict:
    """A record, of which a repeated key would be lost unseen."""

    def unique(pairs: list) -> dict:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    return json.loads(text, object_pairs_hook=unique)


@pytest.fixture(scope="module", params=TINY)
def run(request, tmp_path_factory) -> tuple[str, dict, str]:
    """A bench's name, its record and what it printed."""
    name = request.param
    output = tmp_path_factory.mktemp("bench") / "record.json"
    command = [sys.executable, f"bench/{name}.py", *TINY[name], "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert not done.returncode, done.stderr
    assert not done.stdout
    return name, record(output.read_text(encoding="utf-8")), done.stderr


def recorded(name: str) -> dict:
    return record((ROOT / "bench" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def missing(name: str) -> set[str]:
    found = {rival for rival in RIVALS[name] if not importlib.util.find_spec(rival)}
    return found | ({"qtorch"} if "torch" in found and "qtorch" in RIVALS[name] else set())


def test_absent_rivals_are_named(run):
    name, found, printed = run
    assert set(found["absent"]) == missing(name)
    for rival, reason in found["absent"].items():
        assert reason
        assert f"absent: {rival} (" in printed
    assert not {rival for rival in RIVALS[name] if rival not in found["absent"] and rival not in found["versions"]}


def test_ratios_are_those_of_the_contestants_that_are_there(run):
    name, found, _ = run
    assert {key for key, ratio in found["ratios"].items() if ratio["goal"] is not None} >= set(GOALS[name])
    for key, goal in GOALS[name].items():
        assert found["ratios"][key]["goal"] == goal
    computed = 0
    for key, ratio in found["ratios"].items():
        words = key.replace(",", "").split()
        if any(NEEDED.get(word, word) in found["absent"] for word in words):
            assert ratio["of_best"] is None and ratio["of_rounds"] is None
        else:
            assert ratio["of_best"] > 0 and ratio["of_rounds"] > 0
            computed += 1
    assert computed or (name == "engine_choice" and found["absent"])


def test_rows_are_measurements(run):
    _, found, printed = run
    contestants = {row["contestant"] for row in found["rows"]}
    assert len(contestants) == len(found["rows"]) > 1
    assert sum(c.startswith("quaver ") for c in contestants) > 1
    for row in found["rows"]:
        assert row["best_s"] > 0 and row["turns"] == 2
        assert row.get("mmac_per_s", row.get("melem_per_s")) > 0
        assert row["contestant"].split()[0] in printed


def test_the_record_says_where_it_comes_from(run):
    name, found, _ = run
    assert found["command"].startswith(f"python bench/{name}.py {' '.join(TINY[name])}")
    assert found["machine"]["cpu"] and found["machine"]["cores"] >= 1 and found["machine"]["python"]
    assert found["versions"]["quaver"] and found["versions"]["numpy"]


def test_results_were_compared():
    """A bench ends with an error where quaver's results are wrong; these are the counts of what it compared."""
    gemms, casts, choice, updates = (recorded(name) for name in TINY)
    assert gemms["compared_with_numpy"] == 10 * 512 * 8
    assert gemms["rivals_equal_to_definition"]["apytypes 1-6-9 RNE"] == {"outputs": 256**2, "equal": 256**2}
    assert casts["compared_with_numpy"] == 12 << 16
    assert choice["numba_equal_to_quaver"] == 2 * 512**2
    assert updates["compared_with_numpy"] == 11 * 61_706  # two tensors of SGD, three of Adam, codes of S2FP8
    equal = casts["codes_equal_to_rivals"]
    assert len(equal) == 4
    for counts in equal.values():
        assert counts["codes"] == casts["elements"] + (1 << 16)
        assert max(counts["equal"], counts["equal_saturated"]) == counts["codes"]


def test_a_tiny_run_compares_too(run):
    name, found, _ = run
    if name == "gemm":
        assert found["compared_with_numpy"] == 10 * 32 * 8
    elif name == "cast":
        assert found["compared_with_numpy"] == 12 * 4096
        assert set(found["codes_equal_to_rivals"]) == {
            f"{rival} {fmt}"
            for rival in ("ml_dtypes", "torch")
            if rival not in found["absent"]
            for fmt in ("E4M3", "E5M2")
        }
        for counts in found["codes_equal_to_rivals"].values():
            assert max(counts["equal"], counts["equal_saturated"]) == counts["codes"] == 4096 + (1 << 16)
    elif name == "update":
        assert found["compared_with_numpy"] == 11 * 500
    else:
        assert found["numba_equal_to_quaver"] == (0 if found["absent"] else 2 * 32**2)


def test_starts_are_measured(run):
    name, found, _ = run
    if name == "engine_choice":
        starts = found["starts"]
        assert starts["import quaver.golden"]["import_s"] > 0
        for how in ("RNE", "SR 13 bits"):
            assert 0 < starts[f"quaver {how}"]["first_call_s"] < starts[f"quaver {how}"]["first_use_s"]
            assert ("numba" in found["absent"]) != (f"numba {how}, compiling" in starts)


def test_the_recorded_run_is_one_of_this_script_with_all_rivals(run):
    name, found, _ = run
    record = recorded(name)
    assert record["command"] == f"python bench/{name}.py -o bench/results/{name}.json"
    assert record["absent"] == {}
    assert set(RIVALS[name]) <= set(record["versions"])
    assert list(record) == list(found)
    assert list(record["ratios"]) == list(found["ratios"])
    assert {row["contestant"] for row in found["rows"]} <= {row["contestant"] for row in record["rows"]}
    for ratio in record["ratios"].values():
        assert ratio["of_best"] > 0 and ratio["of_rounds"] > 0
