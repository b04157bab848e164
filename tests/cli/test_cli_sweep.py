"""`quaver sweep` as programs and people see it."""

import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import dask
import pytest
from PIL import Image

from quaver.cli.main import main
from quaver.cli.sweep_report import SHOWN, groups_of, sweep_report
from quaver.sim.pareto import front
from quaver.sim.space import Space
from quaver.sim.sweep import sweep
from quaver.sim.sweep_file import MEASURES, Row, SweepFile

RUN = "import sys; from quaver.cli.main import main; sys.exit(main())"
SPACE = """
workloads = ["lenet5", "ncf"]
base = "edge"
[machine]
rows = [8, 16, 32, 48]
memory.buffer_kib = [1, 256, 1024]
"""
LONG = """
workloads = "resnet50"
[machine]
rows = { from = 8, to = 256, step = 8 }
chunk = 8
columns = { from = 8, to = 256, step = 8 }
"""
Quaver = Callable[..., tuple[int, str, str]]


@pytest.fixture
def quaver(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Quaver:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["quaver", "sweep", *map(str, arguments)])
        status = main()
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.toml"
    path.write_text(SPACE, encoding="utf-8")
    return path


def rows_of(path: Path) -> tuple[Row, ...]:
    with SweepFile(path.with_suffix(".again")) as file:
        return sweep(Space.load(path), file, jobs=1).rows


def test_json(quaver: Quaver, space: Path) -> None:
    status, out, err = quaver(space, "--jobs", 1, "--json")
    assert (status, err) == (0, "")
    answer = json.loads(out)
    assert list(answer) == ["space", "file", "computed", "points", "errors", "columns", "fronts"]
    assert (answer["space"], answer["file"]) == (str(space), str(space.with_suffix(".sqlite")))
    assert (answer["computed"], answer["points"], answer["columns"]) == (24, 24, ["time_s", "energy_pj"])
    rows = rows_of(space)
    assert sum(answer["errors"].values()) == sum(row["error"] is not None for row in rows) > 0
    assert [f["workload"] for f in answer["fronts"]] == ["lenet5", "ncf"]
    for found, group in zip(answer["fronts"], groups_of(rows), strict=True):
        assert [found[key] for key in ("workload", "pass", "batch", "recipe", "points")] == [*group.asked, 12]
        expected = front(group.rows, ["time_s", "energy_pj"])
        assert [(m["key"], m["time_s"], m["equal"]) for m in found["machines"]] == [
            (row["key"], row["time_s"], count) for row, count in expected
        ]
        assert len(expected) >= 1
        for machine in found["machines"]:
            assert machine["rows"] == machine["machine"]["rows"]
            assert set(MEASURES) < set(machine)
    assert json.loads(quaver(space, "--jobs", 1, "--json")[1]) == answer | {"computed": 0}


def test_table(quaver: Quaver, space: Path) -> None:
    status, out, err = quaver(space, "--jobs", 1, "--pareto", "cycles, onchip_kib", "-o", space.with_name("b.db"))
    assert (status, err) == (0, "")
    lines = [line.rstrip() for line in out.splitlines()]
    rows = rows_of(space)
    for group in groups_of(rows):
        best = front(group.rows, ["cycles", "onchip_kib"])
        title = f"{group.title}: {len(best)} of 12 machines are the best by cycles and memory on chip"
        at = lines.index(title)
        under = next(index for index, line in enumerate(lines) if index > at and line.startswith("──"))
        for (row, _), line in zip(best, lines[under + 1 : under + 1 + len(best)], strict=True):
            numbers = (row[key] for key in ("rows", "memory.buffer_kib", "cycles", "onchip_kib"))
            others = (f"{100 * float(row['utilization'] or 0):.1f}", f"{row['array_macs']:,}")
            assert line.split() == [*(f"{number:,.0f}" for number in numbers), *others]
    missing = sum(row["error"] is not None for row in rows)
    assert f"{missing} of 24 points have no result:" in lines
    assert "       6  chunk must divide rows = 48 or be a multiple of it, not 64" in lines
    assert lines[-1] == f"24 points in {space.with_name('b.db')}, 24 of them new"
    assert not space.with_suffix(".sqlite").exists()


def test_long_lists_of_reasons_end() -> None:
    rows: list[Row] = [
        {"workload": "w", "pass": "p", "batch": 1, "recipe": "r", "error": f"reason {min(i, 7)}"} for i in range(10)
    ]
    shown = [part for part in sweep_report(rows, [], ["cycles"]) if isinstance(part, str)]
    assert shown[0] == "w, p pass, batch 1, recipe r: 0 of 10 machines are the best by cycles\n"
    assert shown[1:4] == ["10 of 10 points have no result:", "       3  reason 7", "       1  reason 0"]
    assert shown[-2:] == ["       3  3 other reasons", ""]


def test_every_column_is_shown_with_a_name() -> None:
    assert set(SHOWN) == set(MEASURES)
    assert SHOWN["time_s"].cell(0.0015) == "1.5"
    assert SHOWN["time_s"].label == "time, ms"
    assert SHOWN["energy_pj"].cell(2.5e6) == "2.5"
    assert SHOWN["utilization"].cell(0.25) == "25.0"
    assert SHOWN["cycles"].cell(1234567) == "1,234,567"
    assert SHOWN["cycles"].label == "cycles"


def test_csv(quaver: Quaver, space: Path) -> None:
    path = space.with_suffix(".csv")
    assert quaver(space, "--jobs", 1, "--csv", path)[::2] == (0, "")
    with path.open(encoding="utf-8", newline="") as text:
        found = list(csv.DictReader(text))
    expected = [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows_of(space)]
    assert found == expected
    assert len(found) == 24


def test_plots(quaver: Quaver, space: Path) -> None:
    for suffix in (".png", ".svg", ".html"):
        assert quaver(space, "--jobs", 1, "--plot", space.with_suffix(suffix))[::2] == (0, "")
    with Image.open(space.with_suffix(".png")) as picture:
        assert picture.format == "PNG"
        colors = picture.convert("RGB").getcolors(1 << 20)
        assert colors is not None
        assert {(31, 119, 180), (255, 127, 14)} <= {color for _, color in colors}, "a line for each workload"
    drawing = space.with_suffix(".svg").read_text(encoding="utf-8")
    page = space.with_suffix(".html").read_text(encoding="utf-8")
    for text in ("time, ms", "lenet5, forward pass, batch 1, recipe hybrid", "ncf, forward pass, batch 1"):
        assert text in drawing
        assert text in page
    assert "energy, µJ" in drawing
    assert "rows = 16" in page
    assert not re.search(r"<(script|link)[^>]*(src|href)=", page), "nothing is fetched"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--pareto", "time"], "pareto must be one of cycles, time_s, .*, onchip_kib, not 'time'"),
        (["--jobs", "0"], "jobs must be an integer in 1..1024, not 0"),
        (["--plot", "a.pdf"], r"plot must be a file \.png, \.svg, \.html, not 'a\.pdf'"),
        (["--plot", "a.png", "--pareto", "cycles"], "pareto must name two columns for a plot, not 'cycles'"),
        (["--csv", "none/a.csv"], "none/a.csv: there is no such folder"),
        (["-o", "none/a.sqlite"], "none/a.sqlite: no file of a sweep: unable to open database file"),
    ],
)
def test_mistakes(quaver: Quaver, space: Path, arguments: list[str], line: str) -> None:
    status, out, err = quaver(space, *arguments)
    assert (status, out) == (2, "")
    assert re.fullmatch(f"quaver: error: {line}\n", err)


def test_mistakes_in_the_space(quaver: Quaver, space: Path) -> None:
    space.write_text('workloads = "lenet5"\n[machine]\nrows = ["a"]\n', encoding="utf-8")
    line = f"quaver: error: {space}: machine.rows must be an integer, not 'a'\n"
    assert quaver(space) == (2, "", line)
    space.write_text('workloads = "lenet5"\nwhere = "rows < 0"\n', encoding="utf-8")
    assert quaver(space) == (2, "", f"quaver: error: {space}: where leaves no machine\n")


def test_no_cluster_is_no_mistake_of_the_user(quaver: Quaver, space: Path) -> None:
    with dask.config.set({"distributed.comm.timeouts.connect": "100ms"}):
        status, out, err = quaver(space, "--dask", "tcp://127.0.0.1:1")
    assert (status, out) == (1, "")
    assert err.startswith("quaver: error: dask: no scheduler answers at 'tcp://127.0.0.1:1': ")


def test_interrupt(tmp_path: Path) -> None:
    """Ctrl-C goes to the whole group: the file is good, nothing but a line is said, and no worker stays."""
    space, file = tmp_path / "long.toml", tmp_path / "long.sqlite"
    space.write_text(LONG, encoding="utf-8")
    # Whoever runs the tests in the background may have had interrupts ignored, which is inherited.
    heard = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {RUN}"
    command = [sys.executable, "-c", heard, "sweep", str(space), "--jobs", "2"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + 300
    try:
        while not count(file):
            assert time.monotonic() < end
            time.sleep(0.05)
        os.killpg(child.pid, signal.SIGINT)
        out, err = child.communicate(timeout=300)
    finally:
        child.kill()
        child.communicate()
    assert (child.returncode, out) == (130, "")
    written = count(file)
    assert err == f"quaver: interrupted; {written:,} points are in {file}, and not computed again\n"
    assert 0 < written < 1024
    while members(child.pid):
        assert time.monotonic() < end + 300
        time.sleep(0.05)
    database = sqlite3.connect(file)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()


def members(group: int) -> list[int]:
    """Processes of a group, those left out that have ended and that nobody has waited for."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _, its_group, *_ = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(folder.name))
    return found


def count(file: Path) -> int:
    if not file.exists():
        return 0
    database = sqlite3.connect(file)
    try:
        return database.execute("SELECT count(*) FROM points").fetchone()[0]
    except sqlite3.OperationalError:  # the table is not there yet
        return 0
    finally:
        database.close()


def test_bar_on_a_terminal_alone(space: Path) -> None:
    reader, writer = os.openpty()
    command = [sys.executable, "-c", RUN, "sweep", str(space), "--jobs", "1", "--json"]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=writer, env=environment, timeout=60)
    os.close(writer)
    seen = os.read(reader, 1 << 16).decode()
    os.close(reader)
    assert result.returncode == 0
    assert "24/24" in seen
    assert json.loads(result.stdout)["points"] == 24
