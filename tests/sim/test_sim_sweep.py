"""Sweeps: rows, resumption after SIGKILL, a Dask cluster, Pareto fronts, tilings that machines share."""

import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import LocalCluster

from quaver.golden import PRESETS, RECIPES, Machine
from quaver.golden.errors import ToolError
from quaver.sim import simulate, tiling
from quaver.sim.energy import on_chip_bytes
from quaver.sim.lowering import forward, tensors_of
from quaver.sim.pareto import front
from quaver.sim.space import Space
from quaver.sim.sweep import CHUNK, Swept, sweep
from quaver.sim.sweep_file import COLUMNS, MEASURES, Row, SweepFile
from quaver.sim.workloads import workload_named

SMALL = """
workloads = ["lenet5", "ncf"]
batch = [1, 4]
base = "edge"
[machine]
rows = [8, 16, 48]
dataflow = ["ws", "os"]
memory.buffer_kib = [1, 64, 512]
memory.dram_gb_per_s = [1, 100]
"""
POINTS = 4 * 36
LOGGED = """
import os, sys, time
from pathlib import Path
import quaver.sim.sweep as running
from quaver.sim.space import Space
from quaver.sim.sweep_file import SweepFile

space, file, log = map(Path, sys.argv[1:])
original = running.compute

def compute(points):
    rows = original(points)
    with log.open("a") as lines:
        lines.write("".join(f"{point.key} {os.getpid()}\\n" for point in points))
    time.sleep(0.1)  # there must be a middle to be killed in
    return rows

if __name__ == "__main__":
    running.compute = compute
    with SweepFile(file) as opened:
        running.sweep(Space.load(space), opened, jobs=2)
"""


def space_of(folder: Path, text: str = SMALL) -> Space:
    path = folder / "space.toml"
    path.write_text(text, encoding="utf-8")
    return Space.load(path)


def swept(space: Space, path: Path, **options: object) -> tuple[Row, ...]:
    with SweepFile(path) as file:
        return sweep(space, file, **({"jobs": 1} | options)).rows  # type: ignore[arg-type]


def keys_in(path: Path) -> list[str]:
    database = sqlite3.connect(path)
    try:
        return [key for (key,) in database.execute("SELECT key FROM points")]
    except sqlite3.OperationalError:  # the child has not made the table yet
        return []
    finally:
        database.close()


def test_rows_are_the_simulations(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    rows = swept(space, tmp_path / "a.sqlite")
    assert len(rows) == POINTS
    compared = 0
    for row in rows:
        assert list(row) == [*COLUMNS, *space.varied]
        table = json.loads(str(row["machine"]))
        assert [row[axis] for axis in space.varied[:2]] == [table["rows"], table["dataflow"]]
        memory = table["memory"]
        assert [row[axis] for axis in space.varied[2:]] == [memory["buffer_kib"], memory["dram_gb_per_s"]]
        if row["error"] is not None:
            assert {row[column] for column in MEASURES} == {None}
            continue
        machine = Machine.from_dict(table)
        result = simulate(str(row["workload"]), machine, batch=row["batch"], recipe="hybrid")  # type: ignore[arg-type]
        total = result.to_dict()["total"]
        assert isinstance(total, dict)
        for column in ("cycles", "time_s", "macs", "utilization", "gemm_utilization", "energy_pj"):
            assert row[column] == total[column]
        assert row["dram_read_bytes"] == total["traffic_bytes"]["dram_reads"]
        assert row["dram_write_bytes"] == total["traffic_bytes"]["dram_writes"]
        assert {cause: row[f"cycles_{cause}"] for cause in total["causes"]} == total["causes"]
        assert row["array_macs"] == machine.rows * machine.columns
        assert row["buffer_kib"] == machine.memory.buffer_kib
        assert row["onchip_kib"] == on_chip_bytes(machine) / 1024
        compared += 1
    assert compared > POINTS // 4


def test_points_without_result_say_why(tmp_path: Path) -> None:
    rows = swept(space_of(tmp_path), tmp_path / "a.sqlite")
    chunk = "chunk must divide rows = 48 or be a multiple of it, not 64"
    assert {row["error"] for row in rows if row["rows"] == 48 and row["dataflow"] == "ws"} == {chunk}
    small = {str(row["error"]) for row in rows if row["buffer_kib"] is None and row["memory.buffer_kib"] == 1}
    assert any(error.startswith("memory.buffer_kib must be at least ") for error in small)
    assert not any(row["error"] for row in rows if row["rows"] == 8 and row["memory.buffer_kib"] == 512)
    text = 'workloads = "lenet5"\nrecipe = ["hybrid", "bf16"]\nbase = "edge"'
    hybrid, bf16 = swept(space_of(tmp_path, text), tmp_path / "b.sqlite")
    assert hybrid["error"] is None
    assert str(bf16["error"]).startswith("a_formats of edge must have bf16 for recipe bf16, not ")


def test_more_room_or_bandwidth_is_never_slower(tmp_path: Path) -> None:
    text = 'workloads = "resnet18"\n[machine]\nmemory.buffer_kib = [256, 1024, 4096]\nmemory.dram_gb_per_s = [10, 100]'
    rows = swept(space_of(tmp_path, text), tmp_path / "a.sqlite")
    cycles = np.array([row["cycles"] for row in rows]).reshape(3, 2)
    assert (np.diff(cycles, axis=1) < 0).all()
    traffic = np.array([float(row["dram_read_bytes"] or 0) for row in rows]).reshape(3, 2)
    assert (traffic[:, 0] == traffic[:, 1]).all()
    assert (np.diff(traffic[:, 0]) <= 0).all()


def test_changed_space_adds(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with SweepFile(path) as file:
        first = sweep(space_of(tmp_path), file, jobs=1)
        wider = space_of(tmp_path, SMALL.replace("[8, 16, 48]", "[8, 16, 32]") + "vector_lanes = [16, 64]\n")
        told: list[tuple[int, int]] = []
        second = sweep(wider, file, jobs=1, progress=lambda *now: told.append(now))
        again = sweep(wider, file, jobs=1)
    assert first.computed == len(first.rows) == POINTS
    kept = 2 * POINTS // 3 // 2 * 2  # rows 8 and 16, with the 64 lanes that they had
    assert told[0] == (kept, 2 * POINTS)
    assert told[-1] == (2 * POINTS, 2 * POINTS)
    assert (len(second.rows), second.computed, again.computed) == (2 * POINTS, 2 * POINTS - kept, 0)
    assert again.rows == second.rows == swept(wider, tmp_path / "b.sqlite")
    assert len(keys_in(path)) == len(set(keys_in(path))) == 2 * POINTS + POINTS // 3


def test_rows_stay_as_they_are(tmp_path: Path) -> None:
    """As where two sweeps of one space run at once: a row that is there already is left alone, the others come."""
    rows = swept(space_of(tmp_path), tmp_path / "a.sqlite")
    with SweepFile(tmp_path / "b.sqlite") as file:
        file.add(rows[:2])
        file.add([row | {"cycles": 1} for row in rows])
        found = file.rows({str(row["key"]): None for row in rows}, [])
    assert len(found) == POINTS
    assert [row["cycles"] for row in found] == [*(row["cycles"] for row in rows[:2]), *[1] * (POINTS - 2)]


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for has no command line any more."""
    command = Path(f"/proc/{pid}/cmdline")
    try:
        return not command.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_for(condition: object, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "time is up"
        time.sleep(0.01)


def test_killed_and_run_again(tmp_path: Path) -> None:
    """SIGKILL twice in the middle, then to the end: what is in the file was computed once, and nothing else is."""
    space = space_of(tmp_path)
    script, file = tmp_path / "logged.py", tmp_path / "killed.sqlite"
    script.write_text(LOGGED, encoding="utf-8")
    expected = swept(space, tmp_path / "whole.sqlite")
    logs: list[list[str]] = []
    before: set[str] = set()
    for run, until in enumerate((20, 70, None)):
        log = tmp_path / f"{run}.log"
        command = [sys.executable, str(script), str(tmp_path / "space.toml"), str(file), str(log)]
        child = subprocess.Popen(command)
        try:
            if until is not None:
                wait_for(lambda enough=until: len(keys_in(file)) >= enough)
                child.kill()
            assert child.wait(300) == (0 if until is None else -signal.SIGKILL)
        finally:
            child.kill()
            child.wait()
        lines = [line.split() for line in log.read_text(encoding="utf-8").splitlines()]
        for pid in {int(pid) for _, pid in lines}:
            wait_for(lambda pid=pid: gone(pid))
        logs.append([key for key, _ in lines])
        written = keys_in(file)
        assert len(written) == len(set(written))
        assert len(logs[-1]) == len(set(logs[-1])), "computed twice in one run"
        assert not before & set(logs[-1]), "computed again although it was in the file"
        assert before < set(written) <= before | set(logs[-1]), "lost, or written without being computed"
        if until is not None:
            assert until <= len(written) < POINTS
            assert len(set(logs[-1]) - set(written)) <= 4 * CHUNK
        before = set(written)
    assert before == {row["key"] for row in expected}
    assert len(before) == POINTS
    with SweepFile(file) as opened:
        assert sweep(space, opened, jobs=1) == Swept(rows=expected, computed=0)


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as running:
        yield running


def test_dask_cluster_gives_the_same_rows(tmp_path: Path, cluster: LocalCluster) -> None:
    space = space_of(tmp_path)
    file = tmp_path / "dask.sqlite"
    rows = swept(space, file, dask=cluster.scheduler_address)
    assert len(rows) == POINTS
    assert rows == swept(space, tmp_path / "own.sqlite")
    assert len(keys_in(file)) == POINTS


def test_no_cluster(tmp_path: Path) -> None:
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "100ms"}),
        pytest.raises(ToolError, match=r"^dask: no scheduler answers at 'tcp://127\.0\.0\.1:1': "),
    ):
        swept(space_of(tmp_path), tmp_path / "a.sqlite", dask="tcp://127.0.0.1:1")


def test_processes_give_the_same_rows(tmp_path: Path) -> None:
    space = space_of(tmp_path)
    assert swept(space, tmp_path / "two.sqlite", jobs=2) == swept(space, tmp_path / "one.sqlite")


def test_files_of_others(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    path.write_text("this is no database, but long enough to be looked at as one" * 9, encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.sqlite: no file of a sweep: file is not a database$"):
        SweepFile(path)
    other = sqlite3.connect(tmp_path / "b.sqlite")
    other.execute("CREATE TABLE points (key TEXT, workload TEXT)")
    other.close()
    with pytest.raises(ValueError, match=r"b\.sqlite: no file of this version's sweeps: its table points lacks pass, "):
        SweepFile(tmp_path / "b.sqlite")
    with pytest.raises(ValueError, match=r"c\.sqlite: no file of a sweep: unable to open database file$"):
        SweepFile(tmp_path / "none" / "c.sqlite")


@pytest.mark.parametrize("columns", [("a",), ("a", "b"), ("b", "a"), ("a", "b", "c")])
def test_front_against_all_pairs(columns: tuple[str, ...]) -> None:
    rng = random.Random(5)
    compared = 0
    for _ in range(60):
        rows: list[Row] = [
            {"key": str(i), "error": None if rng.random() < 0.9 else "x", **{c: rng.randint(0, 6) for c in "abc"}}
            for i in range(rng.randint(1, 40))
        ]
        points = [(row, tuple(row[c] for c in columns)) for row in rows if row["error"] is None]
        best = [
            (row, values)
            for row, values in points
            if not any(o != values and all(a <= b for a, b in zip(o, values, strict=True)) for _, o in points)  # type: ignore[operator]
        ]
        found = front(rows, columns)
        assert [row[columns[0]] for row, _ in found] == sorted(row[columns[0]] for row, _ in found)  # type: ignore[type-var]
        assert {tuple(row[c] for c in columns) for row, _ in found} == {values for _, values in best}
        assert sum(count for _, count in found) == len(best)
        for row, _ in found:
            same = [r for r, values in points if values == tuple(row[c] for c in columns)]
            assert row is same[0]
        compared += len(found)
    assert compared >= 60


def test_machines_share_tilings_that_depend_on_nothing_else() -> None:
    """The ways to cut a product are those of the machine itself, all its fields looked at."""
    rng = random.Random(11)
    layers = [layer for layer in workload_named("resnet18").layers if hasattr(layer, "in_channels")]
    tensors = tensors_of(RECIPES["hybrid"], edge=False, wide=True)
    compared = 0
    for _ in range(30):
        machine = replace(
            rng.choice(list(PRESETS.values())),
            dataflow=rng.choice(["ws", "os", "is"]),
            clock_mhz=rng.choice([10.0, 2000.0]),
            update_lanes=rng.choice([0, 7]),
        )
        memory = replace(
            machine.memory, buffer_kib=rng.choice([1, 9000]), double_buffered=rng.random() < 0.5, dram_latency_ns=7.0
        )
        machine = replace(machine, memory=replace(memory, dram_burst_bytes=rng.choice([1, 64])))
        gemm = forward(rng.choice(layers), 2, tensors)  # type: ignore[arg-type]
        own, shared = (tiling._Search(each, gemm).ways() for each in (machine, tiling._array_of(machine)))
        for mine, theirs in zip(own, shared, strict=True):
            for field in ("x_sweep", "y_sweep", "first", "buffer", "reads", "writes", "work"):
                np.testing.assert_array_equal(getattr(mine, field), getattr(theirs, field))
                compared += len(getattr(mine, field))
    assert compared > 1000
