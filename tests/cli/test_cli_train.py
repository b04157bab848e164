"""`quaver train` as programs and people see it."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from quaver.cosim.trace import Trace
from quaver.golden import PRESETS, RECIPES, engine
from quaver.train import Training
from quaver.train.settings import Settings
from tests.train.few import same_state
from tests.train.folders import content, records_in, timeless, training_in

Train = Callable[..., tuple[int, str, str]]


def test_json(train: Train) -> None:
    status, out, err = train("hybrid", "--model", "tiny", "--machine", "tiny", "--json")
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert {key: value for key, value in result.items() if key not in ("tests", "seconds")} == {
        "recipe": "hybrid",
        "model": "tiny",
        "data": "tests.train.few:little",
        "machine": "tiny",
        "epochs": 2,
        "batch": 8,
        "optimizer": "sgd",
        "lr": 0.05,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "schedule": "cosine",
        "warmup": 0,
        "seed": 0,
        "sums": "dlfloat16 rne, chunks of 4",
        "source": "drawn",
        "parameters": 430,
        "metric": "accuracy",
        "steps": 10,
        "skipped": 0,
        "loss_scale": 1.0,
        "diverged": None,
        "quantised": None,
    }
    assert [set(test) for test in result["tests"]] == [{"loss", "accuracy"}] * 2
    assert result["seconds"] > 0


def test_options_are_settings(train: Train) -> None:
    given = {
        "model": "tiny",
        "data": "tests.train.few:little",
        "epochs": 1,
        "batch": 20,
        "optimizer": "adam",
        "lr": 0.25,
        "momentum": 0.5,
        "weight_decay": 0.125,
        "schedule": "constant",
        "warmup": 1,
        "seed": 7,
    }
    options = [part for key, value in given.items() for part in (f"--{key.replace('_', '-')}", value)]
    status, out, _ = train("fp32", *options, "--json")
    result = json.loads(out)
    assert status == 0
    assert {key: result[key] for key in given} == given
    assert result["machine"] is None


def test_steps(train: Train, here: Path) -> None:
    """What they end is tested, too; more of them than there are change nothing."""
    status, out, _ = train("fp32", "--model", "tiny", "--steps", 7, "--json", "-o", "run")
    result = json.loads(out)
    assert (status, result["steps"], len(result["tests"])) == (0, 7, 2)
    assert [(r["event"], r.get("epoch"), r.get("step")) for r in records_in(here / "run")] == [
        *(("steps", None, 5), ("epoch", 1, 5), ("steps", None, 7), ("epoch", 2, 7), ("end", None, None)),
    ]
    assert records_in(here / "run")[2]["lr"] == Settings.usual("fp32", "tiny").lr_at(6, 7)
    assert json.loads(train("fp32", "--model", "tiny", "--steps", 11, "--json")[1])["steps"] == 10


def test_a_machine_that_is_fitted(train: Train) -> None:
    command = ("wang2018", "--model", "tiny", "--machine", "tiny", "--epochs", 1, "--json")
    assert train(*command)[0] == 2
    status, out, _ = train(*command, "--fit")
    assert (status, json.loads(out)["sums"]) == (0, RECIPES["wang2018"].sums)


def test_table(train: Train) -> None:
    status, out, err = train("hybrid", "--model", "tiny", "--machine", "tiny")
    assert (status, err) == (0, "")
    shown = [line.rstrip() for line in out.splitlines()]
    assert shown[:3] == [
        "tiny on tests.train.few:little, recipe hybrid on tiny, 2 epochs, batch 8, sgd with learning rate 0.05, seed 0",
        "drawn",
        "sums: dlfloat16 rne, chunks of 4",
    ]
    tests = json.loads(train("hybrid", "--model", "tiny", "--machine", "tiny", "--json")[1])["tests"]
    assert shown[3].split() == ["epoch", "loss", "accuracy,", "%"]
    assert [line.split() for line in shown[5:7]] == [
        [str(epoch), f"{test['loss']:.4f}", f"{test['accuracy']:.2f}"] for epoch, test in enumerate(tests, start=1)
    ]
    assert shown[7].startswith("430 parameters, 10 steps in ")
    assert shown[7].endswith(" s")
    assert len(shown) == 8


def test_other_tables(train: Train) -> None:
    fp32 = train("fp32", "--model", "tiny")[1].splitlines()
    assert "recipe fp32 on the host, " in fp32[0]
    assert not any(line.startswith("sums: ") for line in fp32)
    assert "recipe bf16 on the recipe's arithmetic, " in train("bf16", "--model", "tiny", "--epochs", 1)[1]
    fp16 = train("fp16", "--model", "tiny", "--epochs", 1)[1].splitlines()
    assert fp16[-1].endswith(" s; loss scale 4096 at the end")
    afp = train("afp", "--model", "tiny", "--epochs", 1)[1].splitlines()
    assert afp[-2].startswith("after AFP: accuracy, % ")
    assert " bits per weight: conv1.weight afp_" in afp[-2]
    ptq = train("micikevicius2022_ptq", "--model", "tiny", "--epochs", 1)[1].splitlines()
    assert ptq[-2].endswith(", 8.00 bits per weight")


@pytest.mark.parametrize(
    ("model", "data", "heads"),
    [
        ("ncf", "pairs", ["epoch", "loss", "hit", "rate", "at", "10", "NDCG", "at", "10"]),
        ("transformer", "tokens", ["epoch", "loss", "perplexity", "bits", "per", "character"]),
    ],
)
def test_other_data(train: Train, here: Path, model: str, data: str, heads: list[str]) -> None:
    command = ("hybrid", "--model", model, "--data", f"tests.train.few:{data}", "--epochs", 1, "--batch", 12)
    status, out, _ = train(*command, "--plot", "p.svg")
    assert status == 0
    shown = out.splitlines()
    assert shown[3].split() == heads
    numbers = [float(cell) for cell in shown[5].split()]
    assert len(numbers) == 4
    title = {"ncf": "hit rate at 10", "transformer": "bits per character"}[model]
    assert title in (here / "p.svg").read_text(encoding="utf-8")


def test_divergence(train: Train) -> None:
    command = ("fp32", "--model", "tiny", "--lr", 2.0**60)
    status, out, err = train(*command, "--json")
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert result["diverged"].startswith("loss is ")
    assert result["tests"] == []
    assert 1 <= result["steps"] <= 2
    status, out, err = train(*command)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == f"diverged: {result['diverged']}"
    lost = train(*command, "--batch", 40, "--epochs", 1)[1].splitlines()
    assert lost[-3].split()[:3] == ["1", "not", "finite"]
    assert lost[-1] == "diverged: loss on the test data is not finite after the last step"


def test_pictures(train: Train, here: Path) -> None:
    assert train("hybrid", "--model", "tiny", "--plot", "a.png", "-o", "run")[::2] == (0, "")
    assert train("--resume", "run", "--plot", "a.svg")[::2] == (0, "")
    with Image.open("a.png") as picture:
        assert picture.format == "PNG"
        colors = picture.convert("RGB").getcolors(1 << 20)
        assert colors is not None
        assert {(31, 119, 180), (255, 127, 14)} <= {color for _, color in colors}
    drawing = Path("a.svg").read_text(encoding="utf-8")
    assert drawing.startswith("<?xml")
    for text in (
        "tiny on tests.train.few:little, recipe hybrid",
        "step",
        "loss, nats",
        "training",
        "test",
        "epoch",
        "accuracy, %",
    ):
        assert f"<!-- {text} -->" in drawing


def test_a_picture_of_what_diverged(train: Train, here: Path) -> None:
    command = ("fp32", "--model", "tiny", "--lr", 2.0**60, "--plot", "a.png")
    assert train(*command)[::2] == (0, "")
    assert train(*command, "--batch", 40)[::2] == (0, "")
    assert (here / "a.png").stat().st_size > 1000


def test_names_are_no_formulas(train: Train, here: Path) -> None:
    """A folder may be called `$\\frac$`, which Matplotlib would read as a wrong one."""
    (here / "$\\frac$").mkdir()
    pixels = np.random.default_rng(0).integers(256, size=(16, 28, 28), dtype=np.uint8)
    labels = np.arange(16) % 10
    np.savez("$\\frac$/a.npz", x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    command = ("fp32", "--data", "$\\frac$", "--batch", 8, "--epochs", 1, "--plot", "a.svg")
    assert train(*command)[::2] == (0, "")
    assert "lenet5 on $\\frac$" in (here / "a.svg").read_text(encoding="utf-8")


def test_bar_on_a_terminal_alone(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    with os.fdopen(writer, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        status, out, _ = train("fp32", "--model", "tiny", "--json")
        monkeypatch.undo()
    seen = os.read(reader, 1 << 16).decode()
    os.close(reader)
    assert status == 0
    assert "10/10" in seen
    test = json.loads(out)["tests"][-1]
    assert "fp32 tiny: loss " in seen
    assert f", accuracy {test['accuracy']:.2f}" in seen


def test_threads_change_no_bit(train: Train, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advance, chosen = Training.advance, []

    def looked_at(training: Training) -> float:
        chosen.append(engine.start()[2])
        return advance(training)

    monkeypatch.setattr(Training, "advance", looked_at)
    for threads in (1, 2):
        assert (
            train(
                "hybrid",
                "--data",
                "tests.train.few:images",
                "--batch",
                24,
                "--epochs",
                1,
                "--threads",
                threads,
                "-o",
                threads,
            )[0]
            == 0
        )
    assert chosen == [1, 1, 2, 2]
    assert same_state(training_in(here / "1"), training_in(here / "2")) >= 20
    assert timeless(records_in(here / "1")) == timeless(records_in(here / "2"))


def test_trace(train: Train, here: Path) -> None:
    command = ("hybrid", "--model", "tiny", "--machine", "tiny")
    traced = train(*command, "--trace", "t", "--trace-products", 30, "-o", "traced", "--json")
    plain = train(*command, "-o", "plain", "--json")
    assert traced[0] == plain[0] == 0
    assert timeless(json.loads(traced[1])) == timeless(json.loads(plain[1]))
    assert same_state(training_in(here / "traced"), training_in(here / "plain")) >= 16
    trace = Trace.read(here / "t")
    assert len(trace.entries) == 30
    assert (trace.head.recipe, trace.head.model, trace.head.machine) == ("hybrid", "tiny", PRESETS["tiny"])
    assert len({entry.layer for entry in trace.entries}) == 3
    for entry in trace.entries:
        a, b, y = trace.codes(entry)
        assert (a.shape[0], b.shape[0], *y.shape[1:]) == (entry.groups, entry.groups, entry.m, entry.n)
    assert train("hybrid", "--model", "tiny", "--trace", "u")[0] == 0
    assert len(Trace.read(here / "u").entries) == 80 < 100, "all there are: no evaluation is among them"


def test_a_trace_beside_another(train: Train, here: Path) -> None:
    """Nothing is left of a command that was refused, so that the next one is not."""
    command = ("hybrid", "--model", "tiny", "--trace", "t", "--epochs", 1)
    assert train(*command)[0] == 0
    before = content(here / "t")
    again = train(*command, "-o", "run")
    assert again == (2, "", "quaver: error: t must not hold a trace already\n")
    assert content(here / "t") == before
    assert train("hybrid", "--model", "tiny", "--trace", "u", "--epochs", 1, "-o", "run")[0] == 0
    occupied = train("hybrid", "--model", "tiny", "--trace", "v", "-o", "run")
    assert occupied == (2, "", "quaver: error: run: holds a training already; it can be resumed\n")
    assert not (here / "v").exists()
