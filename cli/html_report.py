"""A simulation as one page with charts that can be looked into, whole in one file: nothing is fetched from anywhere.

The page's parts are beside this module in `page`; its figures are those of the command line's JSON.
"""

import json
from collections.abc import Iterator, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from plotly.offline import get_plotlyjs

from quaver.cli.console import seconds
from quaver.cli.simulation_report import CAUSES, COMPONENTS
from quaver.cli.whole_file import write_whole
from quaver.golden import Machine
from quaver.sim import Simulation

PASSES = {
    "forward": "forward",
    "recompute": "recomputed forward",
    "data_gradient": "data gradient",
    "weight_gradient": "weight gradient",
    "update": "update",
}
"""What a task can be part of, in words."""
TRAFFIC = {
    "dram_reads": "DRAM, read",
    "dram_writes": "DRAM, written",
    "scratchpad_writes": "scratchpad, written",
    "streamed": "into the array, streamed",
    "held": "into the array, held",
    "sum_reads": "sums, read",
    "sum_writes": "sums, written",
    "results": "results",
    "vector_reads": "vector or update unit, read",
    "vector_writes": "vector or update unit, written",
}
"""The bytes of `quaver.sim.Traffic`, in words."""
_DATAFLOWS = {"ws": "weight-stationary", "is": "input-stationary", "os": "output-stationary"}
_SCRIPTS = ("figures.js", "charts.js", "layers.js", "panel.js", "start.js")
"""In the order in which they need each other."""


def write_html(simulation: Simulation, path: Path) -> None:
    """Write the page of `simulation` to `path`, all of it or nothing.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    write_whole(path, page(simulation))


def page(simulation: Simulation) -> str:
    """The page: HTML with its styles, its scripts and its figures in it."""
    parts = files("quaver.cli") / "page"
    template = Template((parts / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(f"{simulation.workload} on {simulation.machine.name}"),
        asked=_facts(_asked(simulation)),
        machine=_facts(_machine(simulation.machine)),
        totals=_facts(_totals(simulation)),
        style=(parts / "page.css").read_text(encoding="utf-8"),
        plotly=get_plotlyjs(),
        script="\n".join((parts / name).read_text(encoding="utf-8") for name in _SCRIPTS),
        figures=_embedded(_figures(simulation)),
    )


def _figures(simulation: Simulation) -> dict[str, object]:
    """The command line's JSON, the layers of each task, and the machine and the words that the charts need."""
    machine, table = simulation.machine, simulation.to_dict()
    table["layers"] = [task.to_dict(machine) | {"layers": task.task.layers} for task in simulation.tasks]
    return {
        **table,
        "peak": machine.rows * machine.columns,
        "clock_mhz": machine.clock_mhz,
        "dram_bytes_per_cycle": machine.memory.dram_gb_per_s * 1e3 / machine.clock_mhz,
        "words": {"causes": CAUSES, "components": COMPONENTS, "passes": PASSES, "traffic": TRAFFIC},
    }


def _embedded(value: object) -> str:
    """JSON for a script element: without a `<` no name can end it."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _facts(facts: Mapping[str, str]) -> str:
    """Pairs of a description list; what a user named is escaped."""
    return "\n".join(f"<div><dt>{escape(term)}</dt><dd>{escape(fact)}</dd></div>" for term, fact in facts.items())


def _asked(simulation: Simulation) -> dict[str, str]:
    request = simulation.request
    asked = {"pass": request.pass_, "batch": f"{request.batch:,}", "recipe": simulation.recipe.name}
    if request.accumulate > 1:
        asked["micro-batches per update"] = f"{request.accumulate:,}"
    if request.recompute:
        asked["activations"] = "recomputed"
    return asked


def _machine(machine: Machine) -> dict[str, str]:
    memory = machine.memory
    double = "double buffered" if memory.double_buffered else "single buffered"
    dram = f"{memory.dram}, {memory.dram_gb_per_s:,g} GB/s, {memory.dram_latency_ns:,g} ns"
    return {
        "array": f"{machine.rows} x {machine.columns} MACs, {_DATAFLOWS[machine.dataflow]}",
        "clock": f"{machine.clock_mhz:,g} MHz",
        "technology": machine.technology.replace("nm", " nm"),
        "buffer": f"{memory.buffer_kib:,} KiB, {double}",
        "DRAM": dram,
        "vector unit": f"{machine.vector_lanes:,} lanes",
        "update unit": f"{machine.update_lanes:,} lanes" if machine.update_lanes else "none",
    }


def _totals(simulation: Simulation) -> dict[str, str]:
    return {key: fact for key, fact in _all_totals(simulation) if fact}


def _all_totals(simulation: Simulation) -> Iterator[tuple[str, str]]:
    """Totals; those that mean nothing here are empty."""
    energy, macs = simulation.energy.total, simulation.macs
    yield "cycles", f"{simulation.cycles:,}"
    yield "time", seconds(simulation.time)
    yield "utilisation", f"{simulation.utilization:.1%}"
    yield "in cycles of products", f"{simulation.gemm_utilization:.1%}"
    yield "MACs", _scaled(macs, "")
    yield "energy", _scaled(energy * 1e-12, "J")
    yield "energy per MAC", f"{energy / macs:.3g} pJ" if macs else ""
    yield "TFLOPS per watt", f"{simulation.teraflops_per_watt:.3g}" if macs else ""
    yield "DRAM, read", _scaled(simulation.traffic.dram_reads, "B")
    yield "DRAM, written", _scaled(simulation.traffic.dram_writes, "B")
    yield "activations kept", _scaled(simulation.kept_bytes, "B") if simulation.request.training else ""


def _scaled(value: float, unit: str) -> str:
    """Four digits with the prefix that leaves one to three of them before the point."""
    for prefix, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1.0), ("m", 1e-3), ("µ", 1e-6)):
        if value >= scale:
            return f"{value / scale:.4g} {prefix}{unit}"
    return f"{value * 1e9:.4g} n{unit}"
