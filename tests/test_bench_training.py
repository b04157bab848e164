"""The benches that train: they run, go on where they were, and ask each question once; what they draw is the record."""

import importlib.util
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from statistics import mean
from types import ModuleType
from typing import Any

import pytest

from quaver.golden import RECIPES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def ablations() -> ModuleType:
    """The bench, whose like imports what lies beside it."""
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        spec = importlib.util.spec_from_file_location("ablations", ROOT / "bench" / "ablations.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules["ablations"] = module  # where its dataclass looks
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(ROOT / "bench"))


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    return import_module("docs.training_page")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "bench/recipes.py", *arguments, "--data", "digits", "--epochs", "1", "--jobs", "1"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)


def test_recipes_are_trained_once(tmp_path: Path) -> None:
    output = tmp_path / "record.json"
    first = run("-o", str(output), "--recipes", "fp32", "--seeds", "1")
    record = json.loads(output.read_text(encoding="utf-8"))
    assert "1 trainings, 1 of them to do" in first.stderr
    (name, trained), *others = record["runs"].items()
    assert (name, trained["steps"], trained["metric"], trained["diverged"]) == ("digits fp32 0", 22, "accuracy", None)
    assert not others and len(trained["tests"]) == 1
    second = run("-o", str(output), "--recipes", "fp32", "micikevicius2022", "--seeds", "1")
    record = json.loads(output.read_text(encoding="utf-8"))
    assert "2 trainings, 1 of them to do" in second.stderr
    assert list(record["runs"]) == ["digits fp32 0", "digits micikevicius2022 0"]
    assert record["runs"]["digits fp32 0"] == trained


def test_each_question_is_put_once(ablations: ModuleType) -> None:
    for name, ablation in ablations.ABLATIONS.items():
        asked = list(ablation.experiments())
        assert len(asked) > 10, name
        assert len({experiment.name for experiment in asked}) == len(asked), name
        assert len({experiment.digest for experiment in asked}) == len(asked), name
        for experiment in asked:
            assert experiment.settings.data in ("mnist", "stdlib-text")


def test_a_digest_is_of_all_that_decides(ablations: ModuleType) -> None:
    one, other = list(ablations.chunks())[1:3]
    assert one._replace(name="x").digest == one.digest != other.digest
    assert one._replace(recipe=other.recipe).digest != one.digest


def test_all_that_was_asked_is_drawn(ablations: ModuleType, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ablations, "FIGURES", tmp_path)
    for name, ablation in ablations.ABLATIONS.items():
        metric = "bits_per_character" if name == "gradients" else "accuracy"
        runs = {
            experiment.name: {"diverged": None, "metric": metric, "tests": [{metric: 50.0 + index}]}
            for index, experiment in enumerate(ablation.experiments())
        }
        ablations.draw(name, runs)
        picture = tmp_path / f"ablation_{name}.svg"
        once = picture.read_bytes()
        assert once.startswith(b"<?xml")
        ablations.draw(name, runs)
        assert picture.read_bytes() == once
        changed = next(iter(runs))
        runs[changed] |= {"tests": [{metric: 0.0}]}
        ablations.draw(name, runs)
        assert picture.read_bytes() != once, name


# ------------------------------------------------------------------- what docs/training.md says of records


def recorded(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def test_recorded_recipes_are_explained_where_they_fall_behind(pages: ModuleType) -> None:
    told = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (told,) = re.findall(r"(?ms)^## Accuracy$(.*?)^## ", told)
    told = re.sub(r"(?s)<!-- generated.*?<!-- end", "", told)
    trained = {name for name, recipe in RECIPES.items() if recipe.post_training == "none"}
    for data in ("mnist", "fashion-mnist"):
        found = pages.accuracies(data)
        variants = {name for name in found if "," in name}
        assert set(found) - variants == trained
        assert all(len(values) == 3 and None not in values for values in found.values())
        behind = {name for name, values in found.items() if mean(values) < mean(found["fp32"]) - pages.NOTABLE}
        assert all(f"`{name}`" in told for name in behind - variants), behind
        assert {name.partition(",")[0] for name in variants} == (behind - variants if data != "mnist" else set())
        mended = {name for name in variants if mean(found[name]) > mean(found["fp32"]) - pages.NOTABLE}
        assert variants - mended <= {"mellempudi2019, activations to nearest"}
        assert {name.partition(",")[0] for name in mended} == {name.partition(",")[0] for name in variants}
        assert data == "fashion-mnist" or min(map(min, found.values())) > 97.10  # Gallus and Nannarelli 2018


def test_recorded_ablations_answer_all_questions(ablations: ModuleType) -> None:
    for name, ablation in ablations.ABLATIONS.items():
        runs = recorded(f"ablation_{name}")["runs"]
        assert list(runs) == [experiment.name for experiment in ablation.experiments()]
        assert (ROOT / "docs" / "figures" / f"ablation_{name}.svg").exists()


def test_recorded_chunks_do_not_matter(ablations: ModuleType) -> None:
    runs = recorded("ablation_chunks")["runs"]
    for batch in ablations.BATCHES:
        baseline = ablations.spread(runs, f"fp32 batch {batch}")[0]
        for chunk in ablations.CHUNKS:
            assert abs(ablations.spread(runs, f"chunk {chunk} batch {batch}")[0] - baseline) < 0.5


def test_recorded_updates_stall_to_nearest(ablations: ModuleType) -> None:
    runs = recorded("ablation_update")["runs"]
    for rate in ablations.RATES:
        fp32, sr, rne = (ablations.spread(runs, f"{way} lr {rate}")[0] for way in ("fp32", "sr(16)", "rne"))
        assert abs(sr - fp32) < 2
        assert sr - rne > 1.5 if rate <= 0.00125 else abs(sr - rne) < 1


def test_recorded_gradients_vanish_in_plain_fp8(ablations: ModuleType) -> None:
    runs = recorded("ablation_scales")["runs"]
    for exponent in ablations.SCALES:
        _, worst, best = ablations.spread(runs, f"fp8 scale {exponent}")
        assert best < 12 if exponent <= -8 else worst > 97
        squeezed = runs[f"s2fp8 scale {exponent} seed 0"]
        assert squeezed["tests"] == runs["s2fp8 scale 0 seed 0"]["tests"] and ablations.final(squeezed) > 97


def test_recorded_gradients_of_the_transformer_need_their_range(ablations: ModuleType) -> None:
    runs = recorded("ablation_gradients")["runs"]
    baseline = ablations.final(runs["fp32"])
    near = {name for name, run in runs.items() if ablations.final(run) < baseline + 0.1}
    assert near == {
        "fp32",
        *(f"1.4.3 bias {bias}" for bias in (16, 20, 24)),
        *(f"1.5.2 bias {bias}" for bias in (20, 24, 28, 32, 36, 40)),
    }
    assert all(ablations.final(runs[f"1.4.3 bias {bias}"]) > baseline + 1.5 for bias in (8, 12, 28, 32))


def test_recorded_sums_need_chunks_and_random_bits_where_they_are_narrow(ablations: ModuleType) -> None:
    runs = recorded("ablation_bits")["runs"]
    baseline = ablations.spread(runs, "fp32")[0]
    for way in ("rne", *(f"sr({count})" for count in ablations.BITS)):
        behind = baseline - ablations.spread(runs, f"1-6-5 {way}")[0]
        assert 0.5 < behind < 1 if way == "sr(2)" else abs(behind) < 0.5, way
    runs = recorded("ablation_width")["runs"]
    for kept in ablations.WIDTHS:
        plain, chunked, few, many = (ablations.spread(runs, f"{way} 1-6-{kept}") for way in ablations.WAYS)
        if kept > 2:
            assert min(each[1] for each in (plain, chunked, few, many)) > 95
        else:
            assert plain[1] < 15 and plain[2] < chunked[1] - 1 and chunked[1] > 96 and many[1] > few[2] + 2


def test_the_recorded_step_meets_its_goals() -> None:
    record = recorded("training_step")
    rows = {row["step"]: row["ms"] for row in record["rows"]}
    assert record["batch"] == 64 and not record["absent"]
    assert rows["wang2018"] <= 8 * rows["fp32"]
    assert 20 * rows["wang2018"] <= rows["qtorch"]
    for ratio in record["ratios"].values():
        assert ratio["of_best"] >= ratio["goal"] and ratio["of_rounds"] >= ratio["goal"]
