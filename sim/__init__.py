"""Cycle-level simulation: workloads, lowering to matrix products, the machine's time, traffic and energy."""

from quaver.sim.cycle import Stepped, Streams, step_sequence
from quaver.sim.energy import TABLES, Energy, mac_energy
from quaver.sim.layers import Conv2d, Linear
from quaver.sim.lowering import Gemm, forward
from quaver.sim.simulate import LayerResult, Simulation, check_request, simulate
from quaver.sim.timing import accelerator_cycles, gemm_cycles, utilization
from quaver.sim.traffic import Traffic, traffic
from quaver.sim.workloads import WORKLOADS, Workload, workload_named

__all__ = [
    "TABLES",
    "WORKLOADS",
    "Conv2d",
    "Energy",
    "Gemm",
    "LayerResult",
    "Linear",
    "Simulation",
    "Stepped",
    "Streams",
    "Traffic",
    "Workload",
    "accelerator_cycles",
    "check_request",
    "forward",
    "gemm_cycles",
    "mac_energy",
    "simulate",
    "step_sequence",
    "traffic",
    "utilization",
    "workload_named",
]
