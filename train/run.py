"""A training that leaves records, and goes on from where its process was stopped or killed."""

import json
import os
import time
from collections.abc import Callable, Mapping
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, Self

from quaver.train.checkpoint import load_checkpoint, save_checkpoint
from quaver.train.data import DataSet
from quaver.train.post_training import quantised
from quaver.train.processor import Diverged
from quaver.train.settings import Settings
from quaver.train.training import Training

METRICS = "metrics.jsonl"
CHECKPOINT = "checkpoint.pt"
RECORD_STEPS = 50
"""Steps between two records of the loss."""
SAVE_SECONDS = 30.0
"""Time between two checkpoints, besides that at the end of every epoch."""


class Interrupted(Exception):
    """A run was asked to stop; if it has a folder, its checkpoint is of the last step done."""


class Progress(NamedTuple):
    """What a run says of itself after every step."""

    step: int
    """Steps done."""
    steps: int
    """Steps of the whole training."""
    loss: float
    """Loss of the last one."""
    tested: Mapping[str, float | None]
    """Numbers of the last evaluation; empty before the first."""


class Run:
    """A training beside its records.

    Each record is an object with an `event`: `steps` (mean loss since the last such record), `epoch` (numbers on the
    test data), `quantised` (the same of a network whose weights were quantised after training, and how), `end`.  All
    numbers but `seconds` are the same in a run that was resumed; those that are not finite are None.

    Parameters
    ----------
    training:
        At its beginning; `begin` and `resume` make the runs that have a folder.
    save_seconds:
        Time between two checkpoints, besides that at the end of every epoch.
    """

    def __init__(self, training: Training, *, save_seconds: float = SAVE_SECONDS) -> None:
        self.training, self.save_seconds = training, save_seconds
        self.folder: Path | None = None
        """Where `metrics.jsonl` and `checkpoint.pt` are kept; None: nowhere."""
        self.records: list[dict[str, Any]] = []
        """What was recorded."""
        self._length = 0
        self._started = self._saved = time.monotonic()

    @classmethod
    def begin(cls, training: Training, folder: Path | None, *, save_seconds: float = SAVE_SECONDS) -> Self:
        """A new run; its checkpoint is there once it goes.

        Raises
        ------
        OSError
            If the folder cannot be made.
        ValueError
            If it holds a run already.
        """
        run = cls(training, save_seconds=save_seconds)
        run.folder = folder
        if folder is not None:
            if (folder / CHECKPOINT).exists():
                raise ValueError(f"{folder}: holds a training already; it can be resumed")
            metrics = folder / METRICS
            if metrics.exists() and metrics.stat().st_size:
                raise ValueError(f"{metrics}: is there already, without a checkpoint")
            folder.mkdir(parents=True, exist_ok=True)
            metrics.touch()
        return run

    @classmethod
    def resume(
        cls, folder: Path, data_of: Callable[[Settings], DataSet], *, save_seconds: float = SAVE_SECONDS
    ) -> Self:
        """The run of a folder, as its last checkpoint has it; later records are dropped once it goes.

        Raises
        ------
        OSError
            If the folder cannot be read.
        ValueError
            If it holds no run, a damaged one, or one whose recipe or data are no longer what they were.
        """
        if not (folder / CHECKPOINT).is_file():
            raise ValueError(f"{folder}: holds no training to resume")
        state = load_checkpoint(folder / CHECKPOINT)
        settings = Settings.from_dict(state["training"]["settings"])
        training = Training(settings, data_of(settings))
        training.restore(state["training"])
        run = cls(training, save_seconds=save_seconds)
        run.folder, run._length = folder, state["length"]
        run.records += _read(folder / METRICS, run._length)
        run._started -= state["seconds"]
        return run

    def go(
        self,
        tell: Callable[[Progress], None] = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        """Train to the end; returns what came of it.

        Parameters
        ----------
        tell:
            Called after every step.
        stop:
            Asked after every step whether to stop.

        Raises
        ------
        Interrupted
            If `stop` said so.
        OSError
            If the folder cannot be written.
        """
        training, tested = self.training, self._last_test()
        if not self.ended:
            if self.folder is not None:
                os.truncate(self.folder / METRICS, self._length)
            self._save()
            try:
                while not training.done:
                    loss = training.advance()
                    if training.step % RECORD_STEPS == 0 or training.to_be_tested:
                        self._record(self._steps_record())
                    if training.to_be_tested:
                        tested = _finite(training.evaluate())
                        self._record(self._epoch_record(tested))
                        self._save()
                    tell(Progress(training.step, training.steps, loss, tested))
                    if stop():
                        self._save()
                        raise Interrupted
                    if time.monotonic() - self._saved > self.save_seconds:
                        self._save()
                if tested["loss"] is None:
                    raise Diverged("loss on the test data is not finite after the last step")
                if training.recipe.post_training != "none":
                    self._record(self._quantised_record())
                self._record(self._end_record(None))
            except Diverged as reason:
                if training.counted:
                    self._record(self._steps_record())
                self._record(self._end_record(str(reason)))
            self._save()
        return self.result()

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do."""
        return any(record["event"] == "end" for record in self.records)

    def result(self) -> dict[str, Any]:
        """Settings, tests of all epochs and what else there is to know, as plain data."""
        training = self.training
        settings = training.settings.to_dict()
        machine = training.settings.machine
        end = next((record for record in self.records if record["event"] == "end"), {"diverged": None})
        return settings | {
            "machine": None if machine is None else machine.name,
            "sums": None if training.recipe.host else training.processor.recipe.sums,
            "source": training.data.source,
            "parameters": sum(parameter.numel() for parameter in training.model.parameters()),
            "metric": training.task.metric,
            "steps": training.step,
            "skipped": training.skipped,
            "loss_scale": training.scaling.scale,
            "diverged": end["diverged"],
            "tests": [record["test"] for record in self.records if record["event"] == "epoch"],
            "quantised": next((_without_event(r) for r in self.records if r["event"] == "quantised"), None),
            "seconds": round(sum(record.get("seconds", 0.0) for record in self.records), 3),
        }

    def _last_test(self) -> dict[str, float | None]:
        return next((r["test"] for r in reversed(self.records) if r["event"] == "epoch"), {})

    def _steps_record(self) -> dict[str, Any]:
        training = self.training
        return {
            "event": "steps",
            "step": training.step,
            "loss": training.mean_loss(),
            "lr": training.optimizer.param_groups[0]["lr"],
            "loss_scale": training.scaling.scale,
            "skipped": training.skipped,
        }

    def _epoch_record(self, tested: dict[str, float | None]) -> dict[str, Any]:
        training = self.training
        epoch = -(-training.step // training.batches.per_epoch)
        return {"event": "epoch", "epoch": epoch, "step": training.step, "test": tested, "seconds": self._lap()}

    def _quantised_record(self) -> dict[str, Any]:
        training = self.training
        try:
            model, found = quantised(training.recipe, training.model, training.data)
        except ValueError as error:  # weights or activations are not finite, or too large for any format
            raise Diverged(f"the trained network cannot be quantised: {error}") from error
        return {"event": "quantised", "test": _finite(training.evaluate(model))} | found

    def _end_record(self, diverged: str | None) -> dict[str, Any]:
        return {"event": "end", "diverged": diverged, "seconds": self._lap()}

    def _lap(self) -> float:
        """Time since this was asked last, that of processes before this one included."""
        now = time.monotonic()
        seconds, self._started = now - self._started, now
        return round(seconds, 3)

    def _record(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        if self.folder is not None:
            line = (json.dumps(record, allow_nan=False) + "\n").encode()
            with (self.folder / METRICS).open("ab") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
            self._length += len(line)

    def _save(self) -> None:
        if self.folder is not None:
            seconds = time.monotonic() - self._started
            state = {"training": self.training.state(), "length": self._length, "seconds": seconds}
            save_checkpoint(self.folder / CHECKPOINT, state)
        self._saved = time.monotonic()


def _read(path: Path, length: int) -> list[dict[str, Any]]:
    """Records in the first `length` bytes of a file; ValueError if it is shorter, or they are none."""
    content = path.read_bytes()
    if len(content) < length:
        raise ValueError(f"{path}: must have the {length} bytes that the checkpoint knows of, not {len(content)}")
    try:
        records = [json.loads(line) for line in content[:length].splitlines()]
    except ValueError as error:
        raise ValueError(f"{path}: damaged: {error}") from error
    return records


def _finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers as JSON can have them."""
    return {name: number if isfinite(number) else None for name, number in numbers.items()}


def _without_event(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "event"}
