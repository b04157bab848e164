"""Cycle-level simulation: workloads, lowering to matrix products, the machine's time, traffic and energy."""

from quaver.sim.cycle import Stepped, Streams, step_sequence
from quaver.sim.energy import Energy, mac_energy
from quaver.sim.event import Cycles
from quaver.sim.layers import Conv2d, Linear, MatMul
from quaver.sim.load import Loaded, load_workload
from quaver.sim.lowering import Gemm
from quaver.sim.network import Layer, Workload
from quaver.sim.scalesim_run import scalesim_of
from quaver.sim.simulate import Simulation, TaskResult, run, simulate
from quaver.sim.step import Request, Step, Task
from quaver.sim.stepped_gemm import SteppedGemm, step_gemm
from quaver.sim.stepped_simulation import SteppedSimulation, step_products
from quaver.sim.technology import TABLES
from quaver.sim.timing import accelerator_cycles, gemm_cycles, utilization
from quaver.sim.traffic import Traffic
from quaver.sim.vector_layers import KINDS, Embedding, Vector
from quaver.sim.workloads import WORKLOADS, workload_named

__all__ = [
    "KINDS",
    "TABLES",
    "WORKLOADS",
    "Conv2d",
    "Cycles",
    "Embedding",
    "Energy",
    "Gemm",
    "Layer",
    "Linear",
    "Loaded",
    "MatMul",
    "Request",
    "Simulation",
    "Step",
    "Stepped",
    "SteppedGemm",
    "SteppedSimulation",
    "Streams",
    "Task",
    "TaskResult",
    "Traffic",
    "Vector",
    "Workload",
    "accelerator_cycles",
    "gemm_cycles",
    "load_workload",
    "mac_energy",
    "run",
    "scalesim_of",
    "simulate",
    "step_gemm",
    "step_products",
    "step_sequence",
    "utilization",
    "workload_named",
]
