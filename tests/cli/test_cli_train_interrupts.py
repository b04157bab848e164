"""`quaver train` interrupted and killed: what is in its folder goes on with the same bits."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from quaver.train import Training
from tests.train.few import same_state
from tests.train.folders import content, records_in, timeless, training_in

ROOT = Path(__file__).parents[2]
# Whoever runs the tests in the background may have had interrupts ignored, which is inherited.
RUN = (
    "import signal, sys; from quaver.cli.main import main\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main())"
)
Train = Callable[..., tuple[int, str, str]]
Interrupting = Callable[..., None]


def child(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, "train", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    )


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def lines(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.fixture
def interrupting(monkeypatch: pytest.MonkeyPatch) -> Interrupting:
    """Makes so many interrupts come in the middle of a step."""

    def install(step: int, times: int = 1) -> None:
        advance = Training.advance

        def interrupted(training: Training) -> float:
            if training.step == step:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
            return advance(training)

        monkeypatch.setattr(Training, "advance", interrupted)

    return install


@pytest.fixture
def heard() -> Iterator[None]:
    """Interrupts are heard, also where whoever runs the tests has them ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_interrupt(train: Train, here: Path, heard: None, interrupting: Interrupting) -> None:
    """The step is finished, the line says how to go on, and what comes of it is what would have come."""
    command = ("hybrid", "--model", "tiny", "--json")
    status, whole, _ = train(*command, "-o", "whole")
    assert status == 0
    interrupting(6)
    line = "quaver: interrupted after 7 steps; go on with: quaver train --resume 'a run'\n"
    assert train(*command, "-o", "a run") == (130, "", line)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert training_in(here / "a run")["step"] == 7
    status, out, err = train("--resume", "a run", "--json")
    assert (status, err) == (0, "")
    assert timeless(json.loads(out)) == timeless(json.loads(whole))
    assert timeless(records_in(here / "a run")) == timeless(records_in(here / "whole"))
    assert same_state(training_in(here / "a run"), training_in(here / "whole")) >= 16
    assert train(*command) == (130, "", "quaver: interrupted after 7 steps\n")


def test_a_folder_that_is_read_only(
    train: Train, here: Path, heard: None, interrupting: Interrupting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would have to be written is a line at once; a run that has ended is only read."""
    command = ("hybrid", "--model", "tiny", "--json")
    _, ended, _ = train(*command, "-o", "ended")
    interrupting(6)
    assert train(*command, "-o", "run")[0] == 130

    def refuse(path: Path, _: object) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr("quaver.train.run.save_checkpoint", refuse)
    before = content(here / "run")
    line = "quaver: error: run/checkpoint.pt: cannot be written: Read-only file system\n"
    assert train("--resume", "run") == (2, "", line)
    assert content(here / "run") == before
    assert train("--resume", "ended", "--json") == (0, ended, "")


def test_two_interrupts(train: Train, here: Path, heard: None, interrupting: Interrupting) -> None:
    """The second one is not waited for: the last checkpoint is what there is."""
    interrupting(6, times=2)
    assert train("hybrid", "--model", "tiny", "-o", "run") == (130, "", "")
    assert training_in(here / "run")["step"] == 5
    assert set(content(here / "run")) == {"metrics.jsonl", "checkpoint.pt"}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupts_that_are_ignored_stay_so(train: Train, heard: None, interrupting: Interrupting) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupting(6)
    assert train("fp32", "--model", "tiny")[::2] == (0, "")
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_interrupt_from_a_terminal(tmp_path: Path) -> None:
    """Ctrl-C goes to the whole group."""
    folder = tmp_path / "run"
    process = child("fp32", "--data", "tests.train.few:more", "--epochs", 1000, "-o", folder)
    try:
        until(lambda: lines(folder) > 0, process)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, out) == (130, "")
    steps = training_in(folder)["step"]
    assert steps >= 1
    assert err == f"quaver: interrupted after {steps:,} steps; go on with: quaver train --resume {folder}\n"
    assert set(content(folder)) == {"metrics.jsonl", "checkpoint.pt"}


def test_kill(train: Train, tmp_path: Path) -> None:
    """A process that is killed twice, at any moment, ends with the bits of one that was not."""
    folder, random = tmp_path / "killed", Random()
    command = ("hybrid", "--data", "tests.train.few:images", "--batch", 24, "--epochs", 24)
    at = sorted(random.sample(range(4, 30), 2))
    for count, arguments in zip(at, ([*command, "-o", folder], ["--resume", folder]), strict=True):
        process = child(*arguments)
        try:
            until(lambda count=count: lines(folder) >= count, process)
            time.sleep(random.uniform(0, 0.1))
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert 2 <= training_in(folder)["step"] < 48
    status, out, err = train("--resume", folder, "--json")
    assert (status, err) == (0, "")
    status, whole, _ = train(*command, "-o", tmp_path / "whole", "--json")
    assert status == 0
    assert timeless(json.loads(out)) == timeless(json.loads(whole))
    assert timeless(records_in(folder)) == timeless(records_in(tmp_path / "whole"))
    assert len(records_in(folder)) == 2 * 24 + 1
    assert same_state(training_in(folder), training_in(tmp_path / "whole"), f"killed at {at}") >= 20
