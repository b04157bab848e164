"""The benches that train: they run, go on where they were, and ask each question once; what they draw is the record."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

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


def test_the_recorded_step_meets_its_goals() -> None:
    record = json.loads((ROOT / "bench" / "results" / "training_step.json").read_text(encoding="utf-8"))
    rows = {row["step"]: row["ms"] for row in record["rows"]}
    assert record["batch"] == 64 and not record["absent"]
    assert rows["wang2018"] <= 8 * rows["fp32"]
    assert 20 * rows["wang2018"] <= rows["qtorch"]
    for ratio in record["ratios"].values():
        assert ratio["of_best"] >= ratio["goal"] and ratio["of_rounds"] >= ratio["goal"]
