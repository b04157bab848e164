"""What `quaver simulate` prints: a table of layers, then where the cycles and the energy went."""

from collections.abc import Iterable, Iterator

from rich.table import Table

from quaver.cli.console import plain_table, seconds
from quaver.sim import TABLES, Gemm, Simulation, SteppedSimulation, TaskResult
from quaver.sim.scalesim import ScaleSimulation

CAUSES = {
    "macs": "multiply-accumulates",
    "edges": "tiles that do not fill the array",
    "weights": "waiting for weights",
    "sums": "waiting for sums",
    "fill": "filling and draining the array",
    "vector": "vector unit",
    "update": "update unit",
    "dram_bandwidth": "waiting for DRAM, bandwidth",
    "dram_latency": "waiting for DRAM, latency",
}
"""The causes of `quaver.sim.Cycles`, in words."""
COMPONENTS = {
    "mac": "MACs",
    "accumulator": "accumulators",
    "scratchpad": "scratchpads",
    "buffer": "buffer",
    "dram": "DRAM",
    "vector": "vector unit",
    "update": "update unit",
    "leakage": "leakage",
}
"""The components of `quaver.sim.Energy`, in words."""


def simulation_report(simulation: Simulation) -> tuple[str, Table, str]:
    """Layers and their total; below them utilisation, time and energy, each by its parts."""
    machine, request = simulation.machine, simulation.request
    where = f"{simulation.workload} on {machine.name} ({machine.rows} x {machine.columns})"
    what = f"{where}, {request.pass_ if request.training else 'forward'} pass, batch {request.batch}"
    extra = [f"{request.accumulate} micro-batches"] * (request.accumulate > 1) + ["recomputing"] * request.recompute
    title = ", ".join([what, *extra, f"recipe {simulation.recipe.name}"]) + "\n"
    table = _by_layer(simulation) if request.training else _by_product(simulation)
    return title, table, "\n".join(("", *_below(simulation)))


def _by_product(simulation: Simulation) -> Table:
    """A row for each product on the array, one for all that the vector unit does."""
    table = _table(("M", "K", "N"), simulation)
    for task in simulation.tasks:
        if isinstance(gemm := task.task.work, Gemm):
            name = task.task.name if gemm.groups == 1 else f"{task.task.name} x {gemm.groups}"
            table.add_row(name, *map(str, (gemm.m, gemm.k, gemm.n)), *_figures(simulation, [task]))
    _add_others(table, simulation, 3)
    return table


def _by_layer(simulation: Simulation) -> Table:
    """A row for each layer that has products on the array, with the share of its passes, one for all else."""
    table = _table(("forward\n%", "d. grad.\n%", "w. grad.\n%"), simulation)
    layers: dict[str, list[TaskResult]] = {}
    for task in simulation.tasks:
        if task.unit == "array":
            layers.setdefault(task.task.name, []).append(task)
    for name, tasks in layers.items():
        cycles = sum(task.cycles for task in tasks)
        shares = [sum(t.cycles for t in tasks if t.task.phase in passes) / cycles for passes in _PASSES]
        table.add_row(name, *map(_percent, shares), *_figures(simulation, tasks))
    _add_others(table, simulation, 3)
    return table


_PASSES = (("forward", "recompute"), ("data_gradient",), ("weight_gradient",))


def _table(headings: Iterable[str], simulation: Simulation) -> Table:
    table = plain_table()
    table.add_column("layer", footer="total")
    for heading in headings:
        table.add_column(heading, justify="right")
    footers = _figures(simulation, simulation.tasks)
    for heading, footer in zip(("MACs\n10⁶", "cycles", "util.\n%", "DRAM\n%", "energy\nµJ"), footers, strict=True):
        table.add_column(heading, footer=footer, justify="right")
    table.show_footer = True
    return table


def _figures(simulation: Simulation, tasks: Iterable[TaskResult]) -> tuple[str, ...]:
    """MACs, cycles, utilisation of the array, share of cycles that DRAM is waited for, energy."""
    tasks = list(tasks)
    cycles = sum(task.cycles for task in tasks)
    macs = sum(task.macs for task in tasks)
    on_array = sum(task.macs for task in tasks if task.unit == "array")
    peak = simulation.machine.rows * simulation.machine.columns
    waiting = sum(task.causes.dram_bandwidth + task.causes.dram_latency for task in tasks)
    energy = sum(task.energy.total for task in tasks)
    return (
        _millions(macs),
        f"{cycles:,}",
        _percent(on_array / (cycles * peak)) if on_array else "-",
        _percent(waiting / cycles),
        _millions(energy),
    )


def _add_others(table: Table, simulation: Simulation, blanks: int) -> None:
    for unit in ("vector", "update"):
        tasks = [task for task in simulation.tasks if task.unit == unit]
        if tasks:
            table.add_row(f"{unit} unit, {len(tasks)} tasks", *[""] * blanks, *_figures(simulation, tasks))


def _below(simulation: Simulation) -> Iterator[str]:
    machine, total, moved = simulation.machine, simulation.energy, simulation.traffic
    yield f"time      {seconds(simulation.time)} at {machine.clock_mhz:g} MHz"
    yield f"array     {_percent(simulation.gemm_utilization)} % utilised in the cycles of products, " + (
        f"{_percent(simulation.utilization)} % of all"
    )
    yield from _shares("cycles", CAUSES, simulation.causes.to_dict(), simulation.cycles, "{:,}")
    memory = machine.memory
    yield f"DRAM      {_bytes(moved.dram_reads)} read, {_bytes(moved.dram_writes)} written, at " + (
        f"{memory.dram_gb_per_s:g} GB/s; buffer {_bytes(memory.buffer_kib << 10)}"
    )
    if simulation.request.training:
        yield f"kept      {_bytes(simulation.kept_bytes)} of activations for the backward pass"
    if simulation.macs:
        each = f"{total.total / simulation.macs:.3g} pJ per MAC, {simulation.teraflops_per_watt:.3g} TFLOPS/W"
        yield f"energy    {_millions(total.total)} µJ, {each}"
    yield from _shares("", COMPONENTS, {k: v / 1e6 for k, v in total.to_dict().items()}, total.total / 1e6, "{:,.1f}")
    table = TABLES[machine.technology]
    sources = dict.fromkeys(entry.source.partition(":")[0] for entry in (*table.entries, table.dram[memory.dram]))
    yield f"figures   {'; '.join(sources)}"
    if table.leakage_sram is None:
        yield "          leakage of memories is not known and not in it"


def scalesim_report(simulation: ScaleSimulation) -> tuple[str, Table, str]:
    """Layers and their total by SCALE-Sim's formulas."""
    where = f"{simulation.workload} on {simulation.rows} x {simulation.columns} MACs, {simulation.dataflow}"
    title = f"{where}, {simulation.pass_} pass, batch {simulation.batch}, SCALE-Sim's formulas\n"
    table = _plain(("M", "K", "N", "MACs\n10⁶", "folds", "cycles", "util.\n%"))
    for layer in simulation.layers:
        shape = map(str, (layer.m, layer.k, layer.n))
        figures = (_millions(layer.macs), f"{layer.folds:,}", f"{layer.cycles:,}", _percent(layer.utilization))
        table.add_row(layer.name if layer.groups == 1 else f"{layer.name} x {layer.groups}", *shape, *figures)
    total = f"{simulation.cycles:,} cycles, {_percent(simulation.utilization)} % utilised"
    return title, table, f"\ntotal     {total}; what SCALE-Sim leaves out is in docs/simulator.md"


def stepped_report(simulation: SteppedSimulation) -> tuple[str, Table, str]:
    """Products that were stepped, beside the closed form."""
    machine = simulation.machine
    title = f"{simulation.workload} on {machine.name} ({machine.rows} x {machine.columns}), stepped cycle by cycle\n"
    heads = ("M", "K", "N", "cycles", "closed\nform", "util.\n%", "a", "b", "sums", "results", "compared", "wrong")
    table = _plain(heads)
    for product in simulation.products:
        waits = product.waits
        shape = (product.m, product.k, product.n)
        cycles = (f"{product.cycles:,}", f"{product.closed_form:,}", _percent(product.utilization))
        waited = (waits.a, waits.b, waits.sums, waits.results)
        compared = (f"{product.results:,}", f"{product.wrong:,}")
        table.add_row(product.name, *map(str, shape), *cycles, *map(str, waited), *compared)
    verdict = "agrees with" if simulation.agrees else "DIFFERS from"
    return title, table, f"\n{verdict} the closed form's cycles and the golden model's bits"


def _plain(headings: Iterable[str]) -> Table:
    table = plain_table()
    table.add_column("layer")
    for heading in headings:
        table.add_column(heading, justify="right")
    return table


def _shares(
    head: str, words: dict[str, str], parts: dict[str, int] | dict[str, float], total: float, form: str
) -> Iterator[str]:
    """Lines of those parts that are not 0, with their share of the total."""
    shown = [(words[name], form.format(part), part / total) for name, part in parts.items() if part]
    width = max(len(number) for _, number, _ in shown)
    name = max(len(words) for words, _, _ in shown)
    for row, (text, number, share) in enumerate(shown):
        yield f"{head if row == 0 else '':<10}{text:<{name}}  {number:>{width}}  {_percent(share):>5} %"


def _bytes(count: int) -> str:
    """Bytes with the unit that leaves 1 to 4 digits before the point."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= scale:
            return f"{count / scale:,.4g} {unit}"
    return f"{count} B"


def _millions(value: float) -> str:
    return f"{value / 1e6:,.1f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
