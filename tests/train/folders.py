"""What trainings leave in their folders, as tests compare it."""

import json
from pathlib import Path
from typing import Any

from quaver.train.checkpoint import load_checkpoint
from quaver.train.run import CHECKPOINT, METRICS


def content(folder: Path) -> dict[str, bytes]:
    """All files."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def records_in(folder: Path) -> list[dict[str, Any]]:
    """What was recorded."""
    return [json.loads(line) for line in (folder / METRICS).read_text(encoding="utf-8").splitlines()]


def training_in(folder: Path) -> dict[str, Any]:
    """The training that the checkpoint has."""
    return load_checkpoint(folder / CHECKPOINT)["training"]


def timeless(value: Any) -> Any:
    """Records or a result, as JSON gives them back, without times."""
    plain = json.loads(json.dumps(value, allow_nan=False))
    if isinstance(plain, dict):
        return {key: timeless(each) for key, each in plain.items() if key != "seconds"}
    return [timeless(each) for each in plain] if isinstance(plain, list) else plain
