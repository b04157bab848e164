"""Cycle-level simulation: workloads, lowering to matrix products, the machine's time, traffic and energy."""

from quaver.sim.cycle import Stepped, Streams, step_sequence
from quaver.sim.energy import TABLES, Energy, mac_energy
from quaver.sim.layers import Conv2d, Linear, MatMul
from quaver.sim.lowering import Gemm, forward
from quaver.sim.network import Layer, Workload
from quaver.sim.simulate import LayerResult, Simulation, check_request, simulate
from quaver.sim.timing import accelerator_cycles, gemm_cycles, utilization
from quaver.sim.traffic import Traffic, traffic
from quaver.sim.vector_layers import KINDS, Embedding, Vector
from quaver.sim.workloads import WORKLOADS, workload_named

__all__ = [
    "KINDS",
    "TABLES",
    "WORKLOADS",
    "Conv2d",
    "Embedding",
    "Energy",
    "Gemm",
    "Layer",
    "LayerResult",
    "Linear",
    "MatMul",
    "Simulation",
    "Stepped",
    "Streams",
    "Traffic",
    "Vector",
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
