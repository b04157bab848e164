"""GEMMs on the RTL: the same question that `golden.gemm` and `sim.gemm_cycles` answer, put to the Verilog."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quaver.cosim.simulator import Model
from quaver.cosim.tiles import Beats, assemble, beats, sum_beats
from quaver.golden import Format, Issued, Machine, array_words, gemm, issued_by
from quaver.sim import gemm_cycles


class GemmCase(NamedTuple):
    """A GEMM to run: operand codes, their formats, and how the streams behave."""

    a: NDArray
    b: NDArray
    a_format: Format
    b_format: Format
    weights_idle: float = 0.0
    """Probability that the source of weights idles, in each cycle before it offers a beat."""
    activations_idle: float = 0.0
    """The same of the source of activations."""
    stall: float = 0.0
    """Probability that the sink is not ready in a cycle."""
    reset: bool = True
    """Whether the machine is reset first, and with it every random generator."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """M, K, N."""
        return (*self.a.shape, self.b.shape[1])

    @property
    def flows(self) -> bool:
        """Whether all streams are always ready, so that the cycles are those of the contract."""
        return self.weights_idle == self.activations_idle == self.stall == 0


class GemmRun(NamedTuple):
    """What came of it."""

    y: NDArray
    """Codes of shape (M, N)."""
    cycles: int
    """From the edge that accepts the first beat to the edge of the last beat of sums, both included."""


def run_rtl(model: Model, machine: Machine, cases: Sequence[GemmCase], seed: int = 0) -> list[GemmRun]:
    """Run `cases` one after the other on a model of `machine`'s array."""
    weights, activations, sums = _streams(machine, cases)
    record = model.run(
        "bench_streams",
        {
            "weights": np.concatenate(weights),
            "activations": np.concatenate(activations),
            "weight_beats": [len(w) for w in weights],
            "activation_beats": [len(a) for a in activations],
            "sum_beats": sums,
            "weights_idle": [c.weights_idle for c in cases],
            "activations_idle": [c.activations_idle for c in cases],
            "stall": [c.stall for c in cases],
            "reset": [c.reset for c in cases],
            "afterwards": patience(machine),
            "seed": seed,
        },
    )
    parts = np.split(record["sums"], np.cumsum(sums)[:-1])
    return [
        GemmRun(assemble(machine, part, *case.shape), int(cycles))
        for case, part, cycles in zip(cases, parts, record["cycles"], strict=True)
    ]


def run_together(
    model: Model, machine: Machine, cases: Sequence[GemmCase], *, stall: float = 0.0, seed: int = 0
) -> tuple[list[NDArray], int]:
    """Run `cases` without a gap, as one stream of beats; returns all their codes, and the cycles of all together."""
    weights, activations, sums = _streams(machine, cases)
    job = {
        **{"weights": np.concatenate(weights), "weight_beats": [sum(map(len, weights))], "weights_idle": [0.0]},
        **{"activations": np.concatenate(activations), "activation_beats": [sum(map(len, activations))]},
        **{"activations_idle": [0.0], "sum_beats": [sum(sums)], "stall": [stall], "reset": [True]},
        **{"afterwards": patience(machine), "seed": seed},
    }
    record = model.run("bench_streams", job)
    parts = np.split(record["sums"], np.cumsum(sums)[:-1])
    results = [assemble(machine, part, *case.shape) for case, part in zip(cases, parts, strict=True)]
    return results, int(record["cycles"][0])


def _streams(machine: Machine, cases: Sequence[GemmCase]) -> tuple[list[Beats], list[Beats], list[int]]:
    """Beats of weights, beats of activations and number of beats of sums of each case."""
    streams = [
        beats(machine, c.a, c.b, machine.a_formats.index(c.a_format), machine.b_formats.index(c.b_format))
        for c in cases
    ]
    sums = [sum_beats(machine, c.shape[0], c.shape[2]) for c in cases]
    return [weights for weights, _ in streams], [activations for _, activations in streams], sums


def patience(machine: Machine) -> int:
    """Cycles behind the last beat of sums in which any that should not come would have come."""
    return machine.latency + machine.columns + machine.rows * machine.interleave


def run_model(machine: Machine, cases: Sequence[GemmCase]) -> list[GemmRun]:
    """The same from the golden model's bits and the simulator's cycles."""
    runs, issued = [], Issued()
    for case in cases:
        issued = Issued() if case.reset else issued
        words = array_words(machine, *case.shape, issued)
        y = gemm(case.a, case.b, machine.arithmetic(case.a_format, case.b_format), words=words)
        runs.append(GemmRun(y.astype(np.int64), gemm_cycles(machine, *case.shape)))
        issued = Issued(*(had + more for had, more in zip(issued, issued_by(machine, *case.shape), strict=True)))
    return runs
