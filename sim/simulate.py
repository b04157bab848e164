"""A workload on a machine: cycles and their causes, traffic and energy, task by task."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from quaver.golden import Machine, Recipe, recipe_named
from quaver.sim.energy import Energy, leakage_energy, task_energy
from quaver.sim.event import Cycles, dram_cycles, gemm_cycles_by_cause, latency_cycles
from quaver.sim.lowering import Gemm
from quaver.sim.network import Workload
from quaver.sim.step import Request, Step, Task, UpdateWork
from quaver.sim.tiling import schedule
from quaver.sim.timing import utilization
from quaver.sim.traffic import Traffic, gemm_traffic, vector_traffic
from quaver.sim.vector_work import VectorWork
from quaver.sim.workloads import workload_named

DEFAULT_RECIPE = "hybrid"


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """One task on the machine, all of its repetitions."""

    task: Task
    """What was done."""
    unit: str
    """What did it: `array`, `vector` or `update`."""
    start: int
    """Cycle in which it begins."""
    causes: Cycles
    """Its cycles, by what they were spent on."""
    traffic: Traffic
    """Bytes moved."""
    energy: Energy
    """Picojoules spent."""

    @property
    def cycles(self) -> int:
        """From its first request to DRAM to its last byte written there."""
        return self.causes.total

    @property
    def macs(self) -> int:
        """Multiply-accumulates; those of padding's zeros count."""
        work = self.task.work
        return 0 if isinstance(work, UpdateWork) else work.macs * self.task.repeats

    def to_dict(self, machine: Machine) -> dict[str, object]:
        """The task as the command line's JSON has it."""
        work = self.task.work
        shape = {key: getattr(work, key) if isinstance(work, Gemm) else None for key in ("m", "k", "n", "groups")}
        return {
            "name": self.task.name,
            "pass": self.task.phase,
            "unit": self.unit,
            **shape,
            "repeats": self.task.repeats,
            "macs": self.macs,
            "start": self.start,
            "cycles": self.cycles,
            "utilization": utilization(machine, self.macs, self.cycles) if isinstance(work, Gemm) else None,
            "causes": self.causes.to_dict(),
            "traffic_bytes": self.traffic.to_dict(),
            "energy_pj": self.energy.total,
            "energy_by_component_pj": self.energy.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Tasks in the order in which they run, each after the one before."""

    workload: str
    """Name of the workload."""
    machine: Machine
    """What it ran on."""
    recipe: Recipe
    """Formats of its tensors."""
    request: Request
    """What was asked."""
    tasks: tuple[TaskResult, ...]
    """At least one."""
    kept_bytes: int
    """Bytes of activations that are kept for the backward pass at most."""

    @cached_property
    def causes(self) -> Cycles:
        """All cycles, by what they were spent on."""
        return sum((task.causes for task in self.tasks), Cycles())

    @cached_property
    def traffic(self) -> Traffic:
        """All bytes moved."""
        return sum((task.traffic for task in self.tasks), Traffic())

    @cached_property
    def energy(self) -> Energy:
        """All energy spent."""
        return sum((task.energy for task in self.tasks), Energy())

    @property
    def cycles(self) -> int:
        """All cycles."""
        return self.causes.total

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates of all units."""
        return sum(task.macs for task in self.tasks)

    @property
    def utilization(self) -> float:
        """Useful multiply-accumulates of the array per MAC and cycle of the whole time, 0 to 1."""
        return utilization(self.machine, self._array_macs, self.cycles)

    @property
    def gemm_utilization(self) -> float:
        """The same per cycle of the products on the array, their waiting for DRAM included; 0 without one."""
        cycles = sum(task.cycles for task in self._products)
        return utilization(self.machine, self._array_macs, cycles) if cycles else 0.0

    @property
    def time(self) -> float:
        """Seconds at the machine's clock."""
        return self.cycles / (self.machine.clock_mhz * 1e6)

    @cached_property
    def _products(self) -> list[TaskResult]:
        return [task for task in self.tasks if task.unit == "array"]

    @cached_property
    def _array_macs(self) -> int:
        return sum(task.macs for task in self._products)

    @property
    def teraflops_per_watt(self) -> float:
        """10^12 operations per joule, a multiply-accumulate being two."""
        return 2 * self.macs / self.energy.total if self.energy.total else 0.0

    def to_dict(self) -> dict[str, object]:
        """The simulation as the command line's JSON has it."""
        return {
            "workload": self.workload,
            "machine": self.machine.name,
            "recipe": self.recipe.name,
            "pass": self.request.pass_,
            "batch": self.request.batch,
            "accumulate": self.request.accumulate,
            "recompute": self.request.recompute,
            "layers": [task.to_dict(self.machine) for task in self.tasks],
            "total": {
                "cycles": self.cycles,
                "macs": self.macs,
                "utilization": self.utilization,
                "gemm_utilization": self.gemm_utilization,
                "causes": self.causes.to_dict(),
                "traffic_bytes": self.traffic.to_dict(),
                "activations_kept_bytes": self.kept_bytes,
                "energy_pj": self.energy.total,
                "energy_by_component_pj": self.energy.to_dict(),
                "pj_per_mac": self.energy.total / self.macs if self.macs else None,
                "teraflops_per_watt": self.teraflops_per_watt,
                "time_s": self.time,
            },
        }


def simulate(
    workload: str | Workload,
    machine: Machine,
    *,
    pass_: str = "forward",
    batch: int = 1,
    layer: str | None = None,
    recipe: str | Recipe = DEFAULT_RECIPE,
    accumulate: int = 1,
    recompute: bool = False,
) -> Simulation:
    """Simulate a built-in workload by its name, or any other, on `machine`; `layer` picks the tasks of one layer.

    Raises
    ------
    ValueError
        For an unknown workload, pass, recipe or layer, and for numbers out of their ranges.
    Unsuitable
        For a recipe whose formats the machine lacks, and for a buffer that is too small for any tiling.
    """
    network = workload_named(workload) if isinstance(workload, str) else workload
    request = Request(pass_=pass_, batch=batch, accumulate=accumulate, recompute=recompute)
    if layer is not None:
        network.layer_named(layer)
    return run(Step(network, machine, recipe_named(recipe) if isinstance(recipe, str) else recipe, request), layer)


def run(step: Step, layer: str | None = None) -> Simulation:
    """Simulate a step, or those of its tasks that `layer` has a part in.

    Raises
    ------
    Unsuitable
        As `simulate`.
    """
    tasks = [task for task in step.tasks() if layer is None or layer in task.layers]
    return Simulation(
        workload=step.workload.name,
        machine=step.machine,
        recipe=step.recipe,
        request=step.request,
        tasks=tuple(_run(step.machine, tasks)),
        kept_bytes=step.kept_bytes(),
    )


def _run(machine: Machine, tasks: list[Task]) -> Iterator[TaskResult]:
    """Run the tasks; what is the same is computed once."""
    known: dict[object, TaskResult] = {}
    start = 0
    for task in tasks:
        key = (task.work, task.repeats)
        if key not in known:
            known[key] = _one(machine, task)
        result = replace(known[key], task=task, start=start)
        start += result.cycles
        yield result


def _one(machine: Machine, task: Task) -> TaskResult:
    runs: dict[type, Callable[..., tuple[str, Cycles, Traffic]]] = {
        Gemm: _product,
        VectorWork: _vector,
        UpdateWork: _update,
    }
    unit, causes, moved = runs[type(task.work)](machine, task.work)
    spent = task_energy(machine, task.work, moved, unit) + leakage_energy(machine, causes.total)
    times = task.repeats
    return TaskResult(
        task=task, unit=unit, start=0, causes=causes.times(times), traffic=moved.times(times), energy=spent.times(times)
    )


def _product(machine: Machine, gemm: Gemm) -> tuple[str, Cycles, Traffic]:
    plan = schedule(machine, gemm)
    return "array", gemm_cycles_by_cause(machine, gemm, plan), gemm_traffic(machine, gemm, plan)


def _vector(machine: Machine, work: VectorWork) -> tuple[str, Cycles, Traffic]:
    """Lanes work while DRAM delivers and takes; the longer of the two counts."""
    busy = -(-work.operations // machine.vector_lanes)
    causes = Cycles(vector=busy, dram_bandwidth=_stall(machine, work, busy), dram_latency=latency_cycles(machine))
    return "vector", causes, vector_traffic(work)


def _update(machine: Machine, work: UpdateWork) -> tuple[str, Cycles, Traffic]:
    """On the update unit, if there is one and master weights are in its format, else on the vector unit."""
    if machine.update_lanes and machine.update.format == work.master:
        busy = -(-work.parameters // machine.update_lanes) + machine.update_latency
        unit, causes = "update", Cycles(update=busy)
    else:
        busy = -(-work.operations // machine.vector_lanes)
        unit, causes = "vector", Cycles(vector=busy)
    stalls = Cycles(dram_bandwidth=_stall(machine, work, busy), dram_latency=latency_cycles(machine))
    return unit, causes + stalls, vector_traffic(work)


def _stall(machine: Machine, work: VectorWork | UpdateWork, busy: int) -> int:
    return max(0, dram_cycles(machine, work.reads + work.writes) - busy)
