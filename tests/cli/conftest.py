"""What tests of several commands share."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from quaver.cli.main import main


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `quaver train`; gives its exit status and what it wrote.

    It knows one model more, `tiny`, whose trainings of 10 steps take no time.
    """
    from quaver.train.models import MODELS
    from quaver.train.settings import USUAL
    from tests.train.few import TINY

    usual = {"data": "tests.train.few:little", "lr": 0.05, "epochs": 2, "batch": 8}
    monkeypatch.setitem(MODELS, "tiny", TINY)
    monkeypatch.setitem(USUAL, "tiny", usual)

    def run(*arguments: object) -> tuple[int, str, str]:
        with monkeypatch.context() as called:
            called.setattr(sys, "argv", ["quaver", "train", *map(str, arguments)])
            status = main()
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of its own, in which a test runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
