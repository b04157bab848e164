"""A training that leaves records, and goes on from where its process was stopped or killed."""

import json
import os
import time
from collections.abc import Callable, Mapping
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
    tested: Mapping[str, float]
    """Numbers of the last evaluation; empty before the first."""


class Run:
    """A training beside its records.

    Each record is an object with an `event`: `steps` (mean loss since the last such record), `epoch` (numbers on the
    test data), `quantised` (the same of a network whose weights were quantised after
    training, and how), `end`.  All numbers but `seconds` are the same in a run that was resumed.

    Parameters
    ----------
    training:
        At its beginning, or restored from a checkpoint.
    folder:
        Where `metrics.jsonl` and `checkpoint.pt` are kept; absent: nowhere.
    records:
        What was recorded up to the checkpoint.
    """

    def __init__(
        self, training: Training, folder: Path | None = None, records: tuple[dict[str, Any], ...] = ()
    ) -> None:
        self.training, self.folder = training, folder
        self.records = list(records)
        self._started = self._saved = time.monotonic()

    @classmethod
    def begin(cls, training: Training, folder: Path | None) -> Self:
        """A new run; ValueError if the folder holds one already, OSError if it cannot be made."""
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for name in (METRICS, CHECKPOINT):
                if (folder / name).exists():
                    raise ValueError(f"{folder}: holds a training already; it can be resumed")
            (folder / METRICS).touch()
            run = cls(training, folder)
            run._save()
            return run
        return cls(training)

    @classmethod
    def resume(cls, folder: Path, data_of: Callable[[Settings], DataSet]) -> Self:
        """The run of a folder, as its last checkpoint has it; later records are dropped.

        Raises
        ------
        OSError
            If the folder cannot be read.
        ValueError
            If it holds no run, or a damaged one.
        """
        if not (folder / CHECKPOINT).is_file():
            raise ValueError(f"{folder}: holds no training to resume")
        state = load_checkpoint(folder / CHECKPOINT)
        settings = Settings.from_dict(state["training"]["settings"])
        training = Training(settings, data_of(settings))
        training.restore(state["training"])
        path, length = folder / METRICS, state["length"]
        text = path.read_bytes()
        if len(text) < length:
            raise ValueError(f"{path}: must have the {length} bytes that the checkpoint knows of, not {len(text)}")
        os.truncate(path, length)
        return cls(training, folder, tuple(json.loads(line) for line in text[:length].splitlines()))

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
        """
        training, tested = self.training, self._last_test()
        if not self.ended:
            try:
                while not training.done:
                    loss = training.advance()
                    if training.step % RECORD_STEPS == 0 or training.at_epoch_end:
                        self._record(self._steps_record())
                    if training.at_epoch_end:
                        tested = training.evaluate()
                        self._record(self._epoch_record(tested))
                        self._save()
                    tell(Progress(training.step, training.steps, loss, tested))
                    if stop():
                        self._save()
                        raise Interrupted
                    if time.monotonic() - self._saved > SAVE_SECONDS:
                        self._save()
                if training.recipe.post_training != "none":
                    self._record(self._quantised_record())
                self._record({"event": "end", "diverged": None})
            except Diverged as reason:
                self._record({"event": "end", "diverged": str(reason)})
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

    def _last_test(self) -> dict[str, float]:
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

    def _epoch_record(self, tested: dict[str, float]) -> dict[str, Any]:
        training, now = self.training, time.monotonic()
        seconds, self._started = now - self._started, now
        epoch = training.step // training.batches.per_epoch
        return {"event": "epoch", "epoch": epoch, "step": training.step, "test": tested, "seconds": round(seconds, 3)}

    def _quantised_record(self) -> dict[str, Any]:
        training = self.training
        model, found = quantised(training.recipe, training.model, training.data)
        return {"event": "quantised", "test": training.evaluate(model)} | found

    def _record(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        if self.folder is not None:
            with (self.folder / METRICS).open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
                file.flush()
                os.fsync(file.fileno())

    def _save(self) -> None:
        if self.folder is not None:
            length = (self.folder / METRICS).stat().st_size
            save_checkpoint(self.folder / CHECKPOINT, {"training": self.training.state(), "length": length})
        self._saved = time.monotonic()


def _without_event(record: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "event"}
