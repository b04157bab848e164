"""A workload on a machine: cycles, utilisation and energy, layer by layer."""

from dataclasses import dataclass
from functools import reduce
from operator import add

from quaver.golden import Machine
from quaver.golden.errors import check_choice, check_range
from quaver.sim.energy import Energy, gemm_energy
from quaver.sim.lowering import BATCH_MAX, Gemm, forward
from quaver.sim.network import Workload
from quaver.sim.timing import accelerator_cycles, utilization
from quaver.sim.traffic import Traffic, traffic
from quaver.sim.workloads import workload_named

PASSES = ("forward",)
"""The passes that can be simulated."""


@dataclass(frozen=True, kw_only=True)
class LayerResult:
    """One layer on the machine, over all its groups, which run one after the other."""

    gemm: Gemm
    """The multiplication that the layer became."""
    cycles: int
    """From its first beat of operands in to its last beat of results out."""
    utilization: float
    """Useful multiply-accumulates per MAC and cycle."""
    traffic: Traffic
    """Bytes moved."""
    energy: Energy
    """Picojoules spent."""

    def to_dict(self) -> dict[str, object]:
        """The layer as the command line's JSON has it."""
        return {
            "name": self.gemm.name,
            "m": self.gemm.m,
            "k": self.gemm.k,
            "n": self.gemm.n,
            "macs": self.gemm.macs,
            "cycles": self.cycles,
            "utilization": self.utilization,
            "energy_pj": self.energy.total,
        }


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Layers in the order in which they run, each after the last beat of the one before."""

    workload: str
    """Name of the workload."""
    machine: Machine
    """What it ran on."""
    pass_: str
    """One of `PASSES`."""
    batch: int
    """Inputs that are processed together."""
    layers: tuple[LayerResult, ...]
    """At least one."""

    @property
    def cycles(self) -> int:
        return sum(layer.cycles for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.gemm.macs for layer in self.layers)

    @property
    def utilization(self) -> float:
        return utilization(self.machine, self.macs, self.cycles)

    @property
    def energy(self) -> Energy:
        return reduce(add, (layer.energy for layer in self.layers))

    @property
    def time(self) -> float:
        """Seconds at the machine's clock."""
        return self.cycles / (self.machine.clock_mhz * 1e6)

    def to_dict(self) -> dict[str, object]:
        """The simulation as the command line's JSON has it."""
        return {
            "workload": self.workload,
            "machine": self.machine.name,
            "pass": self.pass_,
            "batch": self.batch,
            "layers": [layer.to_dict() for layer in self.layers],
            "total": {
                "cycles": self.cycles,
                "macs": self.macs,
                "utilization": self.utilization,
                "energy_pj": self.energy.total,
                "time_s": self.time,
            },
        }


def simulate(
    workload: str | Workload, machine: Machine, *, pass_: str = "forward", batch: int = 1, layer: str | None = None
) -> Simulation:
    """Simulate a built-in workload by its name, or any other, on `machine`; `layer` picks one layer by its name.

    Raises
    ------
    ValueError
        For an unknown workload, pass or layer, and for a batch outside 1..65536.
    """
    if isinstance(workload, str):
        workload = workload_named(workload)
    check_request(workload, pass_=pass_, batch=batch, layer=layer)
    layers = workload.layers if layer is None else (workload.layer_named(layer),)
    results = tuple(_run(machine, forward(one, batch)) for one in layers)
    return Simulation(workload=workload.name, machine=machine, pass_=pass_, batch=batch, layers=results)


def check_request(workload: Workload, *, pass_: str, batch: int, layer: str | None) -> None:
    """Raise the ValueErrors that `simulate` raises for these arguments."""
    check_choice("pass", pass_, PASSES)
    check_range("batch", batch, 1, BATCH_MAX)
    if layer is not None:
        workload.layer_named(layer)


def _run(machine: Machine, gemm: Gemm) -> LayerResult:
    cycles = gemm.groups * accelerator_cycles(machine, gemm.m, gemm.k, gemm.n)
    moved = traffic(machine, gemm)
    return LayerResult(
        gemm=gemm,
        cycles=cycles,
        utilization=utilization(machine, gemm.macs, cycles),
        traffic=moved,
        energy=gemm_energy(machine, gemm, moved),
    )
