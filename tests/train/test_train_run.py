"""Runs and their folders: killed after any step they end with the same bits, and nothing of a folder is ever lost."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quaver.golden import RECIPES
from quaver.train.checkpoint import load_checkpoint, save_checkpoint
from quaver.train.data_set import DataSet, Split
from quaver.train.models import MODELS
from quaver.train.run import CHECKPOINT, METRICS, Interrupted, Progress, Run
from quaver.train.settings import Settings
from quaver.train.training import Training
from tests.train.few import TINY, little, same_state, tiny
from tests.train.folders import content, records_in, timeless, training_in

DATA = little()
ADAM = {"optimizer": "adam", "lr": 0.003}
RESUMED: list[tuple[str, dict[str, Any], float]] = [
    ("hybrid", {"epochs": 3}, inf),
    ("hybrid", ADAM, 0.0),
    ("mellempudi2019", {}, inf),
    ("wang2018", ADAM, inf),
    ("fp32", ADAM, inf),
    ("fp32", {"steps": 9}, 0.0),
    ("fp16", {}, inf),
    ("afp", {}, inf),
    ("micikevicius2022_ptq", {}, 0.0),
]
"""Recipes, settings and times between checkpoints: all but those at the ends of epochs, or one after each step."""


@pytest.fixture(autouse=True)
def tiny_is_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny", TINY)


def data_of(settings: Settings) -> DataSet:
    assert settings.data == "tests.train.few:little"
    return DATA


def begun(folder: Path | None, recipe: str = "fp32", save_seconds: float = inf, **given: Any) -> Run:
    return Run.begin(Training(tiny(recipe, **given), DATA), folder, save_seconds=save_seconds)


def resumed(folder: Path, save_seconds: float = inf) -> Run:
    return Run.resume(folder, data_of, save_seconds=save_seconds)


def message(call: Callable[[], object]) -> str:
    with pytest.raises(ValueError) as caught:
        call()
    return str(caught.value)


def test_records(tmp_path: Path) -> None:
    seen: list[Progress] = []
    run = begun(tmp_path / "new" / "run")
    result = run.go(seen.append)
    assert run.records == records_in(tmp_path / "new" / "run")
    assert [(record["event"], record.get("step")) for record in run.records] == [
        ("steps", 5),
        ("epoch", 5),
        ("steps", 10),
        ("epoch", 10),
        ("end", None),
    ]
    steps, epoch = run.records[:2]
    assert list(steps) == ["event", "step", "loss", "lr", "loss_scale", "skipped"]
    assert steps["loss"] == pytest.approx(sum(progress.loss for progress in seen[:5]) / 5, rel=1e-15)
    assert (steps["lr"], steps["loss_scale"], steps["skipped"]) == (run.training.settings.lr_at(4, 10), 1.0, 0)
    assert list(epoch) == ["event", "epoch", "step", "test", "seconds"]
    assert set(epoch["test"]) == {"loss", "accuracy"}
    assert run.records[3]["test"] == run.training.evaluate()
    assert [(progress.step, progress.steps) for progress in seen] == [(step, 10) for step in range(1, 11)]
    assert [progress.tested for progress in seen] == [{}] * 4 + [epoch["test"]] * 5 + [run.records[3]["test"]]
    assert result == run.result()
    assert run.ended


def test_a_long_epoch_is_recorded_meanwhile() -> None:
    run = Run(Training(tiny("fp32", batch=1, epochs=2), DATA))
    run.go()
    steps = [record["step"] for record in run.records if record["event"] == "steps"]
    assert steps == [40, 50, 80]


def test_result(tmp_path: Path) -> None:
    run = begun(tmp_path, "hybrid")
    result = run.go()
    settings = run.training.settings.to_dict() | {"steps": 10}
    assert {key: result[key] for key in settings} == settings
    assert {key: value for key, value in result.items() if key not in settings} == {
        "sums": RECIPES["hybrid"].sums,
        "source": "drawn",
        "parameters": 430,
        "metric": "accuracy",
        "skipped": 0,
        "loss_scale": 1.0,
        "diverged": None,
        "tests": [record["test"] for record in run.records if record["event"] == "epoch"],
        "quantised": None,
        "seconds": result["seconds"],
    }
    assert Run(Training(tiny("fp32"), DATA)).result()["sums"] is None


@pytest.mark.parametrize(("recipe", "given", "save_seconds"), RESUMED)
def test_killed(tmp_path: Path, recipe: str, given: dict[str, Any], save_seconds: float) -> None:
    """What a killed process leaves is what it has written so far: here, a record and a checkpoint that are cut off."""
    folder = tmp_path / "whole"
    left: dict[int, Path] = {}

    def keep(progress: Progress) -> None:
        if progress.step in (1, 4, 5, 8, progress.steps):
            left[progress.step] = shutil.copytree(folder, tmp_path / str(progress.step))
            with (left[progress.step] / METRICS).open("a", encoding="utf-8") as file:
                file.write('{"event": "ste')
            (left[progress.step] / f".{CHECKPOINT}").write_bytes(b"begun")

    run = begun(folder, recipe, save_seconds, **given)
    result = run.go(keep)
    assert len(left) == 5
    for step, copy in left.items():
        again = resumed(copy)
        before = 5 * (step // 5) if save_seconds else step - 1
        assert again.training.step == (step if step in (5, 10, run.training.steps) else before)
        assert timeless(again.go()) == timeless(result)
        assert timeless(records_in(copy)) == timeless(run.records) == timeless(again.records)
        assert same_state(training_in(copy), training_in(folder)) >= 16
        assert set(content(copy)) == {METRICS, CHECKPOINT}


@pytest.mark.parametrize("recipe", ["hybrid", "fp16"])
def test_stopped_after_every_step(tmp_path: Path, recipe: str) -> None:
    """Before the first record, in the middle of an epoch, at its end, and after the last step."""
    whole = begun(tmp_path / "whole", recipe)
    result = whole.go()
    stopped = begun(tmp_path / "stopped", recipe)
    for step in range(1, 11):
        with pytest.raises(Interrupted):
            stopped.go(stop=lambda: True)
        assert stopped.training.step == step
        stopped = resumed(tmp_path / "stopped")
        assert stopped.training.step == step
    assert not stopped.ended
    assert timeless(stopped.go()) == timeless(result)
    assert timeless(records_in(tmp_path / "stopped")) == timeless(whole.records)
    assert same_state(training_in(tmp_path / "stopped"), training_in(tmp_path / "whole")) >= 16


def test_an_ended_run_is_read_only(tmp_path: Path) -> None:
    run = begun(tmp_path)
    result = run.go()
    before = content(tmp_path)
    again = resumed(tmp_path)
    assert again.ended
    told: list[Progress] = []
    assert again.go(told.append, lambda: True) == result
    assert told == []
    assert again.records == run.records
    assert content(tmp_path) == before


def test_a_folder_has_one_run(tmp_path: Path) -> None:
    begun(tmp_path).go()
    before = content(tmp_path)
    assert message(lambda: begun(tmp_path)) == f"{tmp_path}: holds a training already; it can be resumed"
    assert content(tmp_path) == before
    (tmp_path / CHECKPOINT).unlink()
    assert message(lambda: begun(tmp_path)) == f"{tmp_path / METRICS}: is there already, without a checkpoint"
    assert message(lambda: resumed(tmp_path)) == f"{tmp_path}: holds no training to resume"
    assert content(tmp_path) == {METRICS: before[METRICS]}


def test_killed_before_it_went(tmp_path: Path) -> None:
    """Nothing is lost, so that it may begin again."""
    begun(tmp_path)
    assert content(tmp_path) == {METRICS: b""}
    assert message(lambda: resumed(tmp_path)) == f"{tmp_path}: holds no training to resume"
    assert begun(tmp_path).go()["steps"] == 10


def test_nothing_to_resume(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        assert message(lambda folder=folder: resumed(folder)) == f"{folder}: holds no training to resume"


def test_damages(tmp_path: Path) -> None:
    """Each is told, and nothing is changed."""
    run = begun(tmp_path)
    with pytest.raises(Interrupted):
        run.go(stop=lambda: run.training.step == 7)
    good = content(tmp_path)
    lines, checkpoint, metrics = good[METRICS], tmp_path / CHECKPOINT, tmp_path / METRICS
    place = good[CHECKPOINT].index(run.training.model.state_dict()["fc.weight"].numpy().tobytes())
    for path, damaged, line in (
        (checkpoint, good[CHECKPOINT][:-100], f"{checkpoint}: no whole checkpoint of quaver train"),
        (checkpoint, b"", f"{checkpoint}: no whole checkpoint of quaver train"),
        (
            checkpoint,
            good[CHECKPOINT][:place] + b"!!!!" + good[CHECKPOINT][place + 4 :],
            f"{checkpoint}: no whole checkpoint of quaver train",
        ),
        (
            metrics,
            lines[:-1],
            f"{metrics}: must have the {len(lines)} bytes that the checkpoint knows of, not {len(lines) - 1}",
        ),
        (metrics, b"", f"{metrics}: must have the {len(lines)} bytes that the checkpoint knows of, not 0"),
        (metrics, b"x" * len(lines), f"{metrics}: damaged: Expecting value: line 1 column 1 (char 0)"),
    ):
        path.write_bytes(damaged)
        assert message(lambda: resumed(tmp_path)) == line
        assert content(tmp_path) == good | {path.name: damaged}
        path.write_bytes(good[path.name])
    metrics.unlink()
    with pytest.raises(FileNotFoundError):
        resumed(tmp_path)
    metrics.write_bytes(lines)
    assert resumed(tmp_path).go()["steps"] == 10


def test_a_changed_world(tmp_path: Path) -> None:
    """Data or a recipe that are no longer what they were."""
    run = begun(tmp_path)
    with pytest.raises(Interrupted):
        run.go(stop=lambda: True)
    before = content(tmp_path)
    other = replace(DATA, train=Split(DATA.train.inputs + 1, DATA.train.targets))
    changed = message(lambda: Run.resume(tmp_path, lambda _: other))
    assert changed == "content of data must be what the training began with"
    assert content(tmp_path) == before
    state = load_checkpoint(tmp_path / CHECKPOINT)
    state["training"]["settings"]["recipe"] = "fp64"
    save_checkpoint(tmp_path / CHECKPOINT, state)
    assert message(lambda: resumed(tmp_path)) == f"recipe must be one of {', '.join(RECIPES)}, not 'fp64'"


def test_what_diverged(tmp_path: Path) -> None:
    """The losses before it are recorded; it stays at its end."""
    run = begun(tmp_path, lr=2.0**60)
    result = run.go()
    steps, end = run.records
    assert (steps["event"], steps["step"]) == ("steps", run.training.step)
    assert 1 <= result["steps"] <= 2
    assert end["event"] == "end"
    assert result["diverged"] == end["diverged"]
    assert result["diverged"].startswith("loss is ")
    assert result["tests"] == []
    again = resumed(tmp_path)
    assert again.ended
    assert again.go() == result
    assert records_in(tmp_path) == run.records


def test_divergence_after_a_kill(tmp_path: Path) -> None:
    """Weights that become ten times as large in every step overflow in the second epoch, both times."""

    def keep(progress: Progress) -> None:
        if progress.step == 6:
            shutil.copytree(tmp_path / "whole", tmp_path / "copy")

    growing = {"weight_decay": 200.0, "schedule": "constant", "momentum": 0.0, "epochs": 4}
    whole = begun(tmp_path / "whole", **growing)
    result = whole.go(keep)
    assert result["diverged"] is not None
    assert 6 < result["steps"] < 10
    again = resumed(tmp_path / "copy")
    assert again.training.step == 5
    assert timeless(again.go()) == timeless(result)
    assert timeless(again.records) == timeless(whole.records)
    assert same_state(training_in(tmp_path / "copy"), training_in(tmp_path / "whole")) >= 10


def test_numbers_that_are_not_finite(tmp_path: Path) -> None:
    """One step ruins the network; its own loss was finite."""
    for recipe in ("fp32", "micikevicius2022_ptq"):
        run = begun(tmp_path / recipe, recipe, lr=2.0**60, batch=40, epochs=1)
        result = run.go()
        assert result["diverged"] == "loss on the test data is not finite after the last step"
        assert result["tests"] == [{"loss": None, "accuracy": run.training.evaluate()["accuracy"]}]
        assert (result["steps"], result["quantised"]) == (1, None)
        assert resumed(tmp_path / recipe).go() == result


def test_divergence_in_an_evaluation() -> None:
    """S2FP8 takes no statistics of what is not finite."""
    run = begun(None, "s2fp8", lr=2.0**60, weight_decay=2.0**60, batch=40, epochs=1)
    result = run.go()
    assert result["diverged"].startswith("a tensor to squeeze is not finite: ")
    assert (result["tests"], result["steps"]) == ([], 1)
    assert [record["event"] for record in run.records] == ["steps", "end"]


def test_what_cannot_be_quantised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("weights of fc are too large")

    monkeypatch.setattr("quaver.train.run.quantised", fail)
    result = begun(None, "afp").go()
    assert result["quantised"] is None
    assert result["diverged"] == "the trained network cannot be quantised: weights of fc are too large"
    assert len(result["tests"]) == 2


def test_quantised(tmp_path: Path) -> None:
    for recipe, method in (("afp", "afp"), ("micikevicius2022_ptq", "ptq")):
        run = begun(tmp_path / recipe, recipe)
        result = run.go()
        assert [record["event"] for record in run.records][-2:] == ["quantised", "end"]
        assert result["quantised"]["method"] == method
        assert set(result["quantised"]["test"]) == {"loss", "accuracy"}
        assert 3 <= result["quantised"]["average_bits"] <= 8
        assert timeless(resumed(tmp_path / recipe).go()) == timeless(result)


class Clock:
    """Seconds that pass only when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("quaver.train.run.time", SimpleNamespace(monotonic=lambda: self.now))

    def tick(self, _: Progress | None = None) -> None:
        self.now += 1


def test_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of all processes, but not what was lost with them or passed between them."""
    clock = Clock(monkeypatch)
    run = begun(tmp_path)
    with pytest.raises(Interrupted):
        run.go(clock.tick, lambda: run.training.step == 3)
    clock.now += 1000
    result = resumed(tmp_path).go(clock.tick)
    assert [record["seconds"] for record in records_in(tmp_path) if "seconds" in record] == [4.0, 5.0, 1.0]
    assert result["seconds"] == 10.0
    assert resumed(tmp_path).go()["seconds"] == 10.0


def test_time_between_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, saved = Clock(monkeypatch), []

    def look(progress: Progress) -> None:
        saved.append(training_in(tmp_path)["step"])
        clock.tick()

    begun(tmp_path, save_seconds=1.5).go(look)
    assert saved == [0, 0, 2, 2, 5, 5, 6, 6, 8, 10]
    assert training_in(tmp_path)["step"] == 10


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told which file could not be written, and the run goes on from its last checkpoint."""
    whole = begun(tmp_path / "whole").go()
    run = begun(tmp_path / "run")

    def full(path: Path, state: dict[str, Any]) -> None:
        if state["training"]["step"] == 5:
            raise OSError(28, "No space left on device", str(path))
        save_checkpoint(path, state)

    monkeypatch.setattr("quaver.train.run.save_checkpoint", full)
    with pytest.raises(OSError, match="No space left on device"):
        run.go()
    monkeypatch.undo()
    monkeypatch.setitem(MODELS, "tiny", TINY)
    again = resumed(tmp_path / "run")
    assert again.training.step == 0
    assert timeless(again.go()) == timeless(whole)
    assert timeless(records_in(tmp_path / "run")) == timeless(records_in(tmp_path / "whole"))


def test_without_a_folder() -> None:
    run = begun(None)
    with pytest.raises(Interrupted):
        run.go(stop=lambda: run.training.step == 2)
    assert run.folder is None
    assert run.go()["steps"] == 10
    assert run.training.done
