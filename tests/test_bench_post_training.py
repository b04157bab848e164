"""The bench of post-training quantisation: it runs, on a network of a checkpoint, and its record hangs together."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from quaver.train.checkpoint import save_checkpoint
from quaver.train.data import load_data
from quaver.train.models import build_model
from quaver.train.tasks import task_of

ROOT = Path(__file__).parents[1]
COUNT = 50
"""Inputs for the test and for calibration."""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "bench/post_training.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("bench")
    state = build_model("lenet5", load_data("digits"), seed=3).state_dict() | {"conv1._extra_state": {}}
    training = {"settings": {"model": "lenet5", "data": "digits"}, "model": state}
    save_checkpoint(folder / "checkpoint.pt", {"training": training})
    counts = ["--test", str(COUNT), "--calibration", str(COUNT)]
    done = run(str(folder / "checkpoint.pt"), *counts, "-o", str(folder / "record.json"))
    assert not done.returncode, done.stderr
    return json.loads((folder / "record.json").read_text(encoding="utf-8"))


def test_the_float32_network_is_the_checkpoints(record):
    data = load_data("digits")
    split = type(data.test)(*(tensor[:COUNT] for tensor in data.test))
    found = task_of("images").evaluate(build_model("lenet5", data, seed=3), split, COUNT)
    first = record["rows"][0]
    assert (first["method"], record["model"], record["data"]) == ("float32", "lenet5", data.name)
    assert first["loss"] == pytest.approx(found["loss"], abs=1e-5)
    assert first["accuracy"] == found["accuracy"]


def test_rows_hang_together(record):
    rows = {(row["method"], row["variant"]): row for row in record["rows"]}
    assert len(rows) == len(record["rows"]) == 1 + 10 + 9
    exact = rows["float32", ""]["loss"]
    losses = [row["loss"] for row in rows.values()]
    assert len(set(losses)) > 15
    assert max(abs(loss / exact - 1) for loss in losses) < 0.02
    for bits in range(3, 9):
        assert rows["AFP", f"{bits} bits"]["bits"] == bits
    assert 3 < rows["AFP", "3 to 8 bits"]["bits"] < 8
    weights = [name for name, role, _ in record["calibration"]["operands"] if role == "weight"]
    assert [f"{name}.weight" for name in weights] == list(rows["AFP", "3 to 8 bits"]["layers"])


def test_a_state_dict_needs_names(tmp_path):
    torch.save(build_model("lenet5", load_data("digits"), seed=3).state_dict(), tmp_path / "weights.pt")
    done = run(str(tmp_path / "weights.pt"))
    assert done.returncode == 1
    assert "--model and --data are needed" in done.stderr
