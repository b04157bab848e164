"""The array in Amaranth's own simulator: its latency is the one that the machine states, and it computes."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator

from quaver.golden import Accumulator, Machine, encode, gemm
from quaver.golden.catalog import E4M3, FP32
from quaver.hw.array import Array

BASE = Machine(rows=2, columns=2, chunk=2, mac_depth=2, accumulator_depth=4, outer=Accumulator(format=FP32))
MACHINES = [
    replace(BASE, mac_depth=1),
    replace(BASE, columns=3),
    replace(BASE, chunk=1, mac_depth=5),
    replace(BASE, rows=1, columns=1, chunk=1, mac_depth=4),
    replace(BASE, chunk=4, mac_depth=3),
    replace(BASE, rows=3, columns=1, chunk=1, mac_depth=7),
]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: f"{m.rows}x{m.columns}-chunk{m.chunk}-depth{m.mac_depth}")
def test_one_tile(machine: Machine) -> None:
    """Weights one column per beat, then one beat of sums each `latency` after its beat of activations."""
    rng = np.random.default_rng(machine.mac_depth)
    a = encode(rng.normal(size=(3, machine.rows)), E4M3).astype(int)
    b = encode(rng.normal(size=(machine.rows, machine.columns)), E4M3).astype(int)
    array, sums, times = Array(machine), [], {"weights": [], "activations": [], "sums": []}

    async def send(context, name: str, beats: list[dict[str, object]]) -> None:
        port, cycle = getattr(array, name), 0
        for beat in beats:
            context.set(port.payload, beat)
            context.set(port.valid, 1)
            accepted = False
            while not accepted:
                *_, accepted = await context.tick().sample(port.ready)
                if accepted:
                    times[name].append(cycle)
                cycle += 1
        context.set(port.valid, 0)

    async def weights(context) -> None:
        columns = [{"codes": column.tolist(), "format": 0, "depth": machine.rows} for column in b.T]
        await send(context, "weights", columns)

    async def activations(context) -> None:
        tile = {"format": 0, "first": 1, "last": 1}
        rows = [{"codes": row.tolist(), "start": int(i == 0), **tile} for i, row in enumerate(a)]
        await send(context, "activations", rows)

    async def receive(context) -> None:
        context.set(array.sums.ready, 1)
        for cycle in range(200):
            *_, valid, payload = await context.tick().sample(array.sums.valid, array.sums.payload)
            if valid:
                times["sums"].append(cycle)
                sums.append([payload[j] for j in range(machine.columns)])

    simulator = Simulator(array)
    simulator.add_clock(1e-8)
    for bench in (weights, activations, receive):
        simulator.add_testbench(bench)
    simulator.run()
    start = machine.load_cycles
    assert times["weights"] == list(range(machine.load_cycles))
    assert times["activations"] == [start, start + 1, start + 2]
    assert times["sums"] == [start + machine.latency + row for row in range(3)]
    np.testing.assert_array_equal(sums, gemm(a, b, machine.arithmetic()))
