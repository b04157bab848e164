"""Units and numbers of the reports."""

import pytest

from quaver.cli.console import plain_table, progress, seconds, show
from quaver.cli.report import number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0002185, "218.5 µs"),
        (0.0025, "2.5 ms"),
        (1.0, "1 s"),
        (12345.6, "12,346 s"),
        (3e-7, "300 ns"),
        (0.9999, "999.9 ms"),
    ],
)
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(57344.0, "57344"), (2.0**-149, "2^-149"), (0.875, "0.875"), (0.5, "2^-1"), (1.0, "1")]
)
def test_number(value: float, text: str) -> None:
    assert number(value) == text


def test_nothing_is_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    table = plain_table()
    table.add_column("heading")
    table.add_row("x" * 100)
    show("[title]", table, "y " * 100)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[title]"
    assert "x" * 100 in lines
    assert "y " * 100 in lines


def test_progress_is_silent_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("verifying") as tell:
        tell("products")
    assert capsys.readouterr() == ("", "")
