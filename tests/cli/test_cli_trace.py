"""The trace against the simulation it shows, and against the rules of the trace event format.

The format: "Trace Event Format" (Google), sections Complete, Counter and Metadata Events; what Perfetto reads of it:
perfetto.dev/docs/getting-started/other-formats.
"""

import json
from collections import defaultdict
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from quaver.cli.trace import trace, write_trace
from quaver.golden import PRESETS
from quaver.sim import Simulation, simulate

THREADS = {"array": 1, "vector": 2, "update": 3, "DRAM": 4}
ODD_CLOCK = replace(PRESETS["edge"], clock_mhz=733.3)
CASES = {
    "forward": simulate("resnet18", PRESETS["cloud"]),
    "training": simulate("lenet5", PRESETS["tiny"], pass_="training", batch=3),
    "micro-batches": simulate("lenet5", ODD_CLOCK, pass_="training", accumulate=5, recompute=True),
}


@pytest.fixture(params=CASES)
def simulation(request: pytest.FixtureRequest) -> Simulation:
    return CASES[request.param]


def events(simulation: Simulation, phase: str) -> list[dict[str, Any]]:
    """Events of one phase, as a reader of the file sees them."""
    read = json.loads(json.dumps(trace(simulation), allow_nan=False))
    return [event for event in read["traceEvents"] if event["ph"] == phase]


def nanoseconds(microseconds: float) -> int:
    """As Perfetto reads a time."""
    return round(microseconds * 1000)


def test_every_event_has_what_the_format_asks_for(simulation: Simulation) -> None:
    table = json.loads(json.dumps(trace(simulation)))
    assert table["displayTimeUnit"] in ("ms", "ns")
    assert table["otherData"]["workload"] == simulation.workload
    assert len(table["traceEvents"]) > 3 * len(simulation.tasks)
    for event in table["traceEvents"]:
        assert event["ph"] in ("X", "C", "M")
        assert isinstance(event["name"], str) and event["name"]
        assert event["pid"] == 1
        assert isinstance(event["args"], dict) and event["args"]
        if event["ph"] != "M":
            assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0 and event["tid"] in THREADS.values() and isinstance(event["cat"], str)
        if event["ph"] == "C":
            assert all(isinstance(value, int | float) for value in event["args"].values())


def test_units_and_dram_are_named(simulation: Simulation) -> None:
    metadata = events(simulation, "M")
    names = {event["args"]["name"]: event["tid"] for event in metadata if event["name"] == "thread_name"}
    assert names == THREADS
    (process,) = [event["args"]["name"] for event in metadata if event["name"] == "process_name"]
    assert process.startswith(f"{simulation.workload} on {simulation.machine.name}")
    order = {event["tid"]: event["args"]["sort_index"] for event in metadata if event["name"] == "thread_sort_index"}
    assert sorted(order, key=order.__getitem__) == list(THREADS.values())


def test_events_of_a_thread_do_not_overlap(simulation: Simulation) -> None:
    """Nor do they leave gaps where a task begins when the one before ends."""
    threads = defaultdict(list)
    for event in events(simulation, "X"):
        begin = nanoseconds(event["ts"])
        threads[event["tid"]].append((begin, begin + nanoseconds(event["dur"])))
    assert set(threads) >= {1, 2, 4}
    for spans in threads.values():
        assert spans == sorted(spans)
        assert all(before[1] <= after[0] for before, after in pairwise(spans))
    units = sorted(span for thread, spans in threads.items() if thread != 4 for span in spans)
    assert len(units) == len(simulation.tasks)
    assert all(before[1] == after[0] for before, after in pairwise(units))


def test_the_whole_lasts_as_long_as_the_simulation(simulation: Simulation) -> None:
    complete = events(simulation, "X")
    begin = min(nanoseconds(event["ts"]) for event in complete)
    end = max(nanoseconds(event["ts"]) + nanoseconds(event["dur"]) for event in complete)
    assert begin == 0
    exact = Fraction(simulation.cycles) * 1000 / Fraction(simulation.machine.clock_mhz)
    assert abs(end - exact) <= Fraction(1, 2)
    assert end == pytest.approx(simulation.time * 1e9, abs=0.51)


def test_a_task_tells_its_figures(simulation: Simulation) -> None:
    on_units = [event for event in events(simulation, "X") if event["tid"] != THREADS["DRAM"]]
    assert len(on_units) == len(simulation.tasks)
    for event, task in zip(on_units, simulation.tasks, strict=True):
        figures, args = task.to_dict(simulation.machine), event["args"]
        assert event["tid"] == THREADS[task.unit]
        assert event["cat"] == args["pass"] == task.task.phase
        assert args["layers"] == list(task.task.layers)
        for key in ("cycles", "macs", "causes", "traffic_bytes", "energy_pj", "energy_by_component_pj", "repeats"):
            assert args[key] == figures[key], key
        shape = {key: args[key] for key in ("m", "k", "n", "groups") if key in args}
        assert shape == {key: figures[key] for key in ("m", "k", "n", "groups") if figures[key] is not None}
        assert nanoseconds(event["dur"]) == pytest.approx(task.cycles * 1000 / simulation.machine.clock_mhz, abs=1)


def test_repeated_tasks_say_so() -> None:
    simulation = CASES["micro-batches"]
    on_units = [event for event in events(simulation, "X") if event["tid"] != THREADS["DRAM"]]
    repeats = [task.task.repeats for task in simulation.tasks]
    assert set(repeats) >= {1, 5}
    for event, task in zip(on_units, simulation.tasks, strict=True):
        times = task.task.repeats
        assert event["name"] == task.task.name + (f" x {times}, one after the other" if times > 1 else "")


def test_dram_moves_all_bytes(simulation: Simulation) -> None:
    moved = [event for event in events(simulation, "X") if event["tid"] == THREADS["DRAM"]]
    assert len(moved) == sum(task.traffic.dram > 0 for task in simulation.tasks)
    assert sum(event["args"]["bytes_read"] for event in moved) == simulation.traffic.dram_reads > 0
    assert sum(event["args"]["bytes_written"] for event in moved) == simulation.traffic.dram_writes > 0


def test_areas_under_the_counters_are_the_totals(simulation: Simulation) -> None:
    tracks = defaultdict(list)
    for event in events(simulation, "C"):
        for series, value in event["args"].items():
            tracks[event["name"], series].append((event["ts"], value))
    areas = {}
    for track, values in tracks.items():
        assert len(values) == len(simulation.tasks) + 1
        assert values[-1][1] == 0
        areas[track] = sum(value * (after - at) for (at, value), (after, _) in pairwise(values))
    # Times are in whole nanoseconds, of which a task is some hundreds.
    assert areas["DRAM bytes per us", "read"] == pytest.approx(simulation.traffic.dram_reads, rel=1e-2)
    assert areas["DRAM bytes per us", "written"] == pytest.approx(simulation.traffic.dram_writes, rel=1e-2)
    whole = 100 * simulation.utilization * simulation.time * 1e6
    assert areas["array utilization, percent", "utilization"] == pytest.approx(whole, rel=1e-2)


def test_file(tmp_path: Path, simulation: Simulation) -> None:
    write_trace(simulation, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == trace(simulation)
    with pytest.raises(FileNotFoundError) as caught:
        write_trace(simulation, tmp_path / "missing" / "a.json")
    assert caught.value.filename == str(tmp_path / "missing" / "a.json")
