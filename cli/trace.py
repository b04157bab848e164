"""The time line of a simulation as a trace, for ui.perfetto.dev and chrome://tracing.

The format is the JSON of Google's "Trace Event Format": one process, a thread per unit of the machine and one for DRAM,
a complete event (`X`) per task, counters (`C`) that change where a task begins.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from quaver.cli.whole_file import write_whole
from quaver.sim import Simulation, TaskResult, utilization

_PROCESS = 1
_THREADS = {"array": 1, "vector": 2, "update": 3, "DRAM": 4}
"""In the order in which they are shown."""

Event = dict[str, object]


def write_trace(simulation: Simulation, path: Path) -> None:
    """Write the trace of `simulation` to `path`, all of it or nothing.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    write_whole(path, json.dumps(trace(simulation), separators=(",", ":")) + "\n")


def trace(simulation: Simulation) -> dict[str, object]:
    """The trace: times in microseconds at the machine's clock, in whole nanoseconds."""
    request = simulation.request
    return {
        "displayTimeUnit": "ns",
        "otherData": {
            "workload": simulation.workload,
            "machine": simulation.machine.name,
            "recipe": simulation.recipe.name,
            "pass": request.pass_,
            "batch": request.batch,
            "cycles": simulation.cycles,
        },
        "traceEvents": [*_names(simulation), *_events(simulation)],
    }


def _names(simulation: Simulation) -> Iterator[Event]:
    machine = simulation.machine
    process = f"{simulation.workload} on {machine.name}, {machine.clock_mhz:,g} MHz"
    yield {"ph": "M", "pid": _PROCESS, "name": "process_name", "args": {"name": process}}
    for name, thread in _THREADS.items():
        where = {"ph": "M", "pid": _PROCESS, "tid": thread}
        yield {**where, "name": "thread_name", "args": {"name": name}}
        yield {**where, "name": "thread_sort_index", "args": {"sort_index": thread}}


def _events(simulation: Simulation) -> Iterator[Event]:
    for task in simulation.tasks:
        yield from _task(simulation, task)
    end = {"ts": _microseconds(simulation, simulation.tasks[-1].start + simulation.tasks[-1].cycles)}
    yield _counter("DRAM bytes per us", end, {"read": 0.0, "written": 0.0})
    yield _counter("array utilization, percent", end, {"utilization": 0.0})


def _task(simulation: Simulation, result: TaskResult) -> Iterator[Event]:
    """A task on its unit; what it moves to and from DRAM, at times unknown, takes as long; values of the counters."""
    table = result.to_dict(simulation.machine)
    table["layers"] = list(result.task.layers)
    name = table.pop("name")
    moved, microseconds = result.traffic, result.cycles / simulation.machine.clock_mhz
    begin, end = (_microseconds(simulation, cycle) for cycle in (result.start, result.start + result.cycles))
    title = name if result.task.repeats == 1 else f"{name} x {result.task.repeats}, one after the other"
    # Events of a thread must not overlap, so that the end is rounded, not the duration.
    when = {"ts": begin, "dur": round(end - begin, 3)}
    event = {"ph": "X", "pid": _PROCESS, "name": title, "cat": result.task.phase, **when}
    yield {**event, "tid": _THREADS[result.unit], "args": {k: v for k, v in table.items() if v is not None}}
    rates = {"read": moved.dram_reads / microseconds, "written": moved.dram_writes / microseconds}
    if moved.dram:
        bytes_ = {"bytes_read": moved.dram_reads, "bytes_written": moved.dram_writes}
        yield {**event, "tid": _THREADS["DRAM"], "args": {**bytes_, "bytes_per_us": sum(rates.values())}}
    yield _counter("DRAM bytes per us", {"ts": begin}, rates)
    used = utilization(simulation.machine, result.macs, result.cycles) if result.unit == "array" else 0.0
    yield _counter("array utilization, percent", {"ts": begin}, {"utilization": 100 * used})


def _counter(name: str, when: Mapping[str, object], values: dict[str, float]) -> Event:
    return {"ph": "C", "pid": _PROCESS, "name": name, **when, "args": values}


def _microseconds(simulation: Simulation, cycle: int) -> float:
    return round(cycle * 1000 / simulation.machine.clock_mhz) / 1000
