"""The time of a product with its DRAM, step by step in closed form, and where every cycle of it goes.

A step computes a panel of x with a panel of y.  While it does, DRAM delivers what the next step needs and takes what
the step before made, so that a step takes the longer of the two.  Steps that are alike are counted, not walked through.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from quaver.golden import Machine
from quaver.sim.array_time import (
    drain_cycles,
    fill_cycles,
    last_block,
    panel_time,
    saved_at_the_end,
    saved_at_the_start,
)
from quaver.sim.lowering import Gemm
from quaver.sim.tally import Tally
from quaver.sim.tiling import Schedule


@dataclass(frozen=True, kw_only=True)
class Cycles(Tally):
    """Cycles by what they were spent on; the total is their sum."""

    macs: int = 0
    """Those that the multiply-accumulates would take if all of the array's MACs were busy."""
    edges: int = 0
    """Beats in which part of the array had nothing to do: tiles that do not fill it."""
    weights: int = 0
    """The array waited for a tile of the operand that stays in it."""
    sums: int = 0
    """The array waited for sums to come back, or to get out."""
    fill: int = 0
    """The way of the first operands into the array, and of the last results out of it."""
    vector: int = 0
    """The vector unit worked."""
    update: int = 0
    """The update unit worked."""
    dram_bandwidth: int = 0
    """Everything waited for bytes from or to DRAM."""
    dram_latency: int = 0
    """Everything waited for the first bytes from DRAM."""

    @property
    def total(self) -> int:
        """All cycles."""
        return sum(self.to_dict().values())

    @property
    def gemm(self) -> int:
        """Those in which the array is in use or waited for."""
        return self.macs + self.edges + self.weights + self.sums + self.fill


def dram_cycles(machine: Machine, bytes_: float) -> int:
    """Cycles in which DRAM moves `bytes_` at its full bandwidth, rounded up."""
    return ceil(bytes_ * machine.clock_mhz * 1e6 / (machine.memory.dram_gb_per_s * 1e9))


def latency_cycles(machine: Machine) -> int:
    """Cycles from a first request to its data, rounded up."""
    return ceil(machine.memory.dram_latency_ns * machine.clock_mhz / 1000)


@dataclass
class _Steps:
    """Steps that are alike, added up."""

    machine: Machine
    array: NDArray
    """Cycles in which the array takes beats, waits for weights, waits for sums."""
    stalls: int = 0
    """Cycles in which the array waits for DRAM."""

    def add(self, count: int, time: NDArray, bytes_: float, saved: int = 0) -> None:
        """`count` steps, in each of which DRAM moves `bytes_`; `saved` cycles of the array's waiting fall away."""
        if count:
            self.array += count * time
            moving = dram_cycles(self.machine, bytes_)
            overlapped = int(time.sum()) - saved if self.machine.memory.double_buffered else 0
            self.stalls += count * max(0, moving - overlapped)


def gemm_cycles_by_cause(machine: Machine, gemm: Gemm, plan: Schedule) -> Cycles:
    """Cycles of all groups of `gemm`, from its first request to DRAM to the last byte that is written there.

    With DRAM out of the way these are the cycles of the commands that `plan` stands for, as `quaver.sim.sequence`
    counts them: an idle array is filled once, all groups' commands follow each other, and the array is drained once;
    groups that need each other's results (`Gemm.serial`) fill and drain it each.
    """
    last_rows = last_block(machine, plan.x.sizes[-1][0])
    late, early = saved_at_the_end(machine, last_rows), saved_at_the_start(machine, gemm.k)
    runs = gemm.groups if gemm.serial else 1
    steps = _Steps(machine, np.zeros(3, np.int64))
    loads, store = _Loads(machine, gemm, plan), plan.writes / (gemm.groups * plan.x.count * plan.y.count)
    outer, inner = (plan.x, plan.y) if plan.outer == "x" else (plan.y, plan.x)
    times = _step_times(machine, gemm, plan)
    for o, (_, outers) in enumerate(outer.sizes):
        for i, (_, inners) in enumerate(inner.sizes):
            time, last = times[o][i], i == len(inner.sizes) - 1
            steps.add(gemm.groups * outers * (inners - last), time, loads.inner + store)
            if last:
                final = o == len(outer.sizes) - 1
                steps.add(gemm.groups * (outers - final), time, loads.outer + store)
    saved = late + early
    steps.add(gemm.groups - 1, times[-1][-1], loads.group + store, saved if gemm.serial else 0)
    steps.add(1, times[-1][-1], loads.rest, saved)
    beats, weights, sums = map(int, steps.array)
    useful = -(-gemm.macs // (machine.rows * machine.columns))
    return Cycles(
        macs=useful,
        edges=beats - useful,
        weights=weights - runs * late,
        sums=sums - runs * early,
        fill=runs * (fill_cycles(machine) + drain_cycles(machine, last_rows)),
        dram_bandwidth=steps.stalls + dram_cycles(machine, plan.first) + dram_cycles(machine, store),
        dram_latency=latency_cycles(machine),
    )


class _Loads:
    """Bytes that are fetched for the next step, by what the next step is.  Panels of an operand are taken as equal."""

    def __init__(self, machine: Machine, gemm: Gemm, plan: Schedule) -> None:
        panels = {"x": plan.x_sweep / plan.x.count, "y": plan.y_sweep / plan.y.count}
        counts = {"x": plan.x.count, "y": plan.y.count}
        outer, inner = ("x", "y") if plan.outer == "x" else ("y", "x")
        shared = "" if not gemm.serial else "x" if machine.dataflow == "is" else "y"
        self.inner = panels[inner] + (panels[outer] if outer in plan.streamed else 0)
        """The next panel of the inner operand."""
        again = counts[inner] > 1 or inner in plan.streamed
        self.outer = panels[outer] + (panels[inner] if again else 0)
        """The next panel of the outer operand, with the first one of the inner."""
        kept = {name for name in shared if counts[name] == 1 and name not in plan.streamed}
        self.group = sum(panel for name, panel in panels.items() if name not in kept)
        """The first panels of the next group."""
        self.rest = max(0.0, panels["x"] + panels["y"] - plan.first)
        """What of the first step is read while it is computed."""


def _step_times(machine: Machine, gemm: Gemm, plan: Schedule) -> list[list[NDArray]]:
    """Cycles of a step (beats, waiting for weights, waiting for sums), by size of the outer and of the inner panel."""
    rows = np.array([size for size, _ in plan.x.sizes])
    time = panel_time(machine, rows, gemm.k)
    by_rows = np.stack([time.beats, time.weights, time.sums], axis=-1)
    tiles = [-(-size // machine.columns) for size, _ in plan.y.sizes]
    if plan.outer == "x":
        return [[by_rows[x] * count for count in tiles] for x in range(len(rows))]
    return [[by_rows[x] * count for x in range(len(rows))] for count in tiles]
