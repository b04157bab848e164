"""Trainings that a bench asks for: some at a time, recorded as they end, and not repeated where they are recorded."""

import json
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from timing import note, started, versions

from quaver.golden import Recipe, engine, recipe_named
from quaver.train import DataSet, Run, Settings, Training, load_data, one_thread


class Experiment(NamedTuple):
    """A training."""

    name: str
    """What it is in the record."""
    settings: Settings
    recipe: Recipe | None = None
    """A variant of the recipe that the settings name."""

    @property
    def digest(self) -> str:
        """Of all that decides its result, but the code."""
        asked = repr((self.settings, self.recipe or recipe_named(self.settings.recipe)))
        return sha256(asked.encode()).hexdigest()[:16]


@lru_cache(maxsize=4)
def _data(name: str) -> DataSet:
    return load_data(name)


def train(experiment: Experiment) -> dict[str, Any]:
    """What came of a training, on one thread, without what its settings say."""
    with one_thread(), engine.using(threads=1):
        began = time.perf_counter()
        result = Run(Training(experiment.settings, _data(experiment.settings.data), experiment.recipe)).go()
        kept = ("metric", "steps", "skipped", "diverged", "loss_scale", "tests", "sums", "parameters", "source")
        return {"digest": experiment.digest, "seconds": round(time.perf_counter() - began, 1)} | {
            key: result[key] for key in kept
        }


def run_all(script: str, experiments: Iterable[Experiment], output: Path, jobs: int) -> dict[str, Any]:
    """Run those that `output` does not have yet, writing it after each; returns the record, in the order asked for."""
    asked = {experiment.name: experiment for experiment in experiments}
    record: dict[str, Any] = started(script) | {
        "versions": versions("torch"),
        "engine": engine.kernels()[-1] if engine.available() else None,
        "runs": {},
    }
    if output.exists():
        before = json.loads(output.read_text(encoding="utf-8"))
        runs = before["runs"].items()
        record["runs"] = {name: run for name, run in runs if name in asked and run["digest"] == asked[name].digest}
    missing = [experiment for name, experiment in asked.items() if name not in record["runs"]]
    note(f"{len(asked)} trainings, {len(missing)} of them to do")
    with ProcessPoolExecutor(jobs) as pool:
        under_way = {pool.submit(train, experiment): experiment for experiment in missing}
        for done in as_completed(under_way):
            name, run = under_way[done].name, done.result()
            record["runs"][name] = run
            record["runs"] = {n: record["runs"][n] for n in asked if n in record["runs"]}
            staged = output.with_suffix(".partial")
            staged.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            staged.replace(output)
            last = run["tests"][-1][run["metric"]] if run["tests"] else None
            note(f"{len(record['runs'])}/{len(asked)} {name}: {run['diverged'] or last} in {run['seconds']} s")
    return record


def final(run: dict[str, Any]) -> float | None:
    """The metric after the last epoch; None of a training that diverged."""
    if run["diverged"] is not None or not run["tests"]:
        return None
    return float(run["tests"][-1][run["metric"]])
