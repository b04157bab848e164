"""The generated parts of docs/simulator.md."""

from collections.abc import Callable
from dataclasses import replace

from docs.page_parts import ROOT, block, field_texts, recorded, table, terms
from quaver.golden import PRESETS, RECIPES, Cast, Format, Recipe
from quaver.sim import TABLES, WORKLOADS, Cycles, accelerator_cycles, simulate, workload_named
from quaver.sim.scalesim import scalesim_cycles
from quaver.sim.scalesim_csv import read_topology
from quaver.sim.technology import DRAM


def workloads() -> str:
    """The built-in networks, with the counts that tests hold to their sources."""
    rows = []
    for name in WORKLOADS:
        network = workload_named(name)
        rows.append([f"`{name}`", f"{network.parameters:,}", f"{network.macs:,}", network.source])
    return table(["workload", "parameters", "MACs", "source"], rows)


def recipes() -> str:
    """What each recipe keeps in which format."""
    fields = ("weight", "activation", "error", "edge", "image", "wide", "gradient", "master", "velocity")
    rows = [
        [f"`{recipe.name}`", *(_format_of(getattr(recipe, field)) for field in fields), recipe.source]
        for recipe in RECIPES.values()
    ]
    return table(["recipe", *(f"`{field}`" for field in fields), "source"], rows) + "\n\n" + terms(Recipe, fields)


def _format_of(tensor: Cast | Format | None) -> str:
    return "" if tensor is None else str(tensor.format if isinstance(tensor, Cast) else tensor)


def causes() -> str:
    """What cycles are spent on, with an example."""
    texts, step = field_texts(Cycles), simulate("resnet50", PRESETS["cloud"], pass_="training", batch=32)
    rows = [
        [f"`{name}`", texts[name], f"{cycles:,}", f"{100 * cycles / step.cycles:.1f} %"]
        for name, cycles in step.causes.to_dict().items()
    ]
    rows.append(["all", "", f"{step.cycles:,}", ""])
    return table(["cause", "the cycles in which", "ResNet-50, training step, batch 32, `cloud`", ""], rows)


def energies() -> str:
    """The figures of each technology, and what they stand for."""
    rows = []
    for operation in dict.fromkeys(name for technology in TABLES.values() for name in technology.operations):
        entries = [technology.operations.get(operation) for technology in TABLES.values()]
        note = next(entry.note for entry in entries if entry)
        rows.append([operation, *(f"{entry.picojoules:g}" if entry else "" for entry in entries), note])
    for index, (capacity, entry) in enumerate(next(iter(TABLES.values())).sram):
        each = [f"{technology.sram[index][1].picojoules:g}" for technology in TABLES.values()]
        rows.append([f"SRAM of {capacity >> 10} KiB, {entry.bits} bits", *each, entry.note])
    for kind, entry in DRAM.items():
        rows.append([f"DRAM `{kind}`, {entry.bits} bits", *[f"{entry.picojoules:g}"] * len(TABLES), entry.note])
    for what in ("leakage_sram", "leakage_logic"):
        found = [getattr(technology, what) for technology in TABLES.values()]
        unit = next(leak.unit for leak in found if leak)
        watts = [f"{leak.watts * 1e9:.2g} nW" if leak else "not known" for leak in found]
        rows.append([f"leakage per {unit}", *watts, "; ".join(leak.source for leak in found if leak)])
    head = ["pJ", *(f"`{name}`" for name in TABLES), "stands for"]
    sources = dict.fromkeys(e.source.partition(":")[0] for t in TABLES.values() for e in (*t.entries, *DRAM.values()))
    return table(head, rows) + f"\n\nSources: {'; '.join(sources)}; of leakage as stated in its rows."


def beside_scalesim() -> str:
    """SCALE-Sim's ResNet-18 by its formulas and on machines of ours, the array alone."""
    topology = read_topology(ROOT / "tests" / "sim" / "data" / "scalesim" / "Resnet18.csv")
    rows = []
    for preset, side in (("cloud", 32), ("cloud", 128)):
        for dataflow in ("ws", "os", "is"):
            machine = replace(PRESETS[preset], rows=side, columns=side, dataflow=dataflow)
            theirs = sum(scalesim_cycles(dataflow, side, side, row.m, row.k, row.n) for row in topology)
            ours = sum(accelerator_cycles(machine, row.m, row.k, row.n) for row in topology)
            rows.append([f"{side} x {side}", dataflow, f"{theirs:,}", f"{ours:,}", f"{theirs / ours:.2f}"])
    return table(["array", "dataflow", "SCALE-Sim, cycles", "ours, cycles", "ratio"], rows)


def sweep_speed() -> str:
    """Machines per second of a sweep."""
    record = recorded("sweep")
    swept = next(row for row in record["sweeps"] if row["sweep"] == "example")
    peer = record["peer"]
    ours = (
        f"{swept['machines']:,} machines for ResNet-50's forward pass took {swept['s']:.0f} s on {swept['jobs']} "
        f"processors that had other work, {swept['cpu_ms_per_machine']:.0f} ms of processor time each."
    )
    theirs = (
        f"SCALE-Sim 3.0.0 took {peer['scalesim_cpu_s']:.0f} s of processor time for one machine and "
        f"{peer['workload']}, {peer['array']}; ours {peer['quaver_cpu_s'] * 1000:.0f} ms, for another model"
    )
    return f"{ours} {theirs} (`{record['command']}`, {record['date'][:10]})."


def speed() -> str:
    """Seconds and memory of the simulator."""
    record = recorded("simulate")
    rows = [
        [row["contestant"], *(str(row[key]) for key in ("wall_s", "processor_s", "peak_mib"))] for row in record["rows"]
    ]
    machine = record["machine"]
    note = f"`{record['command']}`, {record['date'][:10]}; {machine['cpu']}, {machine['cores']} processors."
    return table(["fresh process", "wall, s", "processor, s", "peak, MiB"], rows) + "\n\n" + note


PARTS: dict[str, Callable[[], str]] = {
    "workloads": workloads,
    "recipes": recipes,
    "causes": causes,
    "energies": energies,
    "scalesim": beside_scalesim,
    "space": lambda: block("toml", (ROOT / "examples" / "sweep_resnet50.toml").read_text(encoding="utf-8")),
    "sweep": sweep_speed,
    "speed": speed,
}
