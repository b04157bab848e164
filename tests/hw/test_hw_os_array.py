"""The output-stationary array in Amaranth's own simulator: its latency is the one stated, it says why it waits."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator

from quaver.golden import Accumulator, Machine, encode, gemm
from quaver.golden.catalog import E4M3, FP32
from quaver.hw.os_array import OutputStationaryArray

BASE = Machine(rows=2, columns=2, chunk=3, mac_depth=2, dataflow="os", outer=Accumulator(format=FP32))
MACHINES = [
    replace(BASE, mac_depth=1),
    replace(BASE, columns=3),
    replace(BASE, chunk=1, mac_depth=5),
    replace(BASE, rows=1, columns=1, chunk=2, mac_depth=7),
    replace(BASE, rows=3, columns=1, chunk=4, mac_depth=3),
]


def play(
    machine: Machine, a: np.ndarray, b: np.ndarray, *, weights_from: int = 0, ready_from: int = 0, pause: int = 0
) -> tuple[dict[str, list[int]], list[list[int]], list[str]]:
    """One tile: cycles of every stream's transfers, the sums, and for each cycle why the array waits.

    Weights come, the sink is ready from the cycles told; activations pause for some cycles before the second k step.
    """
    array, slots, products = OutputStationaryArray(machine), machine.interleave, len(b)
    times: dict[str, list[int]] = {"weights": [], "activations": [], "sums": []}
    sums: list[list[int]] = []
    waits: list[str] = []

    async def send(context, name: str, beats: list[dict[str, object]], start: int, gap_at: int = 0) -> None:
        port, cycle = getattr(array, name), 0
        for index, beat in enumerate(beats):
            idle = start * (index == 0) + pause * (index == gap_at > 0)
            context.set(port.valid, 0)
            for _ in range(idle):
                await context.tick()
            cycle += idle
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
        await send(context, "weights", [{"codes": row.tolist(), "format": 0} for row in b], weights_from)

    async def activations(context) -> None:
        beats = [
            {
                "codes": [int(a[row * slots + slot, k]) for row in range(machine.rows)],
                "rows": machine.block_rows,
                "first": int(k == 0),
                "last": int(k == products - 1),
            }
            for k in range(products)
            for slot in range(slots)
        ]
        await send(context, "activations", beats, 0, gap_at=slots)

    async def receive(context) -> None:
        for cycle in range(250):
            context.set(array.sums.ready, int(cycle >= ready_from))
            sampled = context.tick().sample(array.sums.valid, array.sums.payload, array.waiting)
            *_, valid, payload, waiting = await sampled
            waits.extend([name for name in ("operand", "sums", "results") if getattr(waiting, name)] or ["nothing"])
            if valid and cycle >= ready_from:
                times["sums"].append(cycle)
                sums.append([payload[j] for j in range(machine.columns)])

    simulator = Simulator(array)
    simulator.add_clock(1e-8)
    for bench in (weights, activations, receive):
        simulator.add_testbench(bench)
    simulator.run()
    return times, sums, waits


def operands(machine: Machine, products: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(machine.mac_depth)
    a = encode(rng.normal(size=(machine.block_rows, products)), E4M3).astype(int)
    return a, encode(rng.normal(size=(products, machine.columns)), E4M3).astype(int)


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: f"{m.rows}x{m.columns}-chunk{m.chunk}-depth{m.mac_depth}")
def test_one_chunk(machine: Machine) -> None:
    """A beat per cycle, weights with the last slot of each k step, and the sums `latency` after the last beat."""
    a, b = operands(machine, machine.chunk)
    times, sums, waits = play(machine, a, b)
    last = machine.chunk * machine.interleave - 1
    assert times["activations"] == list(range(last + 1))
    assert times["weights"] == list(range(machine.interleave - 1, last + 1, machine.interleave))
    assert times["sums"] == [last + machine.latency + row for row in range(machine.block_rows)]
    assert set(waits) == {"nothing"}
    np.testing.assert_array_equal(sums, gemm(a, b, machine.arithmetic()))


def test_the_next_chunk_waits_for_the_way_out() -> None:
    """Chunks of one product end `drain_steps` apart."""
    machine = replace(BASE, rows=3, chunk=1, mac_depth=3)
    a, b = operands(machine, 4)
    times, sums, waits = play(machine, a, b)
    assert machine.drain_steps == 3
    starts = [9 * step for step in range(4)]
    assert times["activations"] == [start + slot for start in starts for slot in range(3)]
    assert waits.count("sums") == 3 * 6
    assert set(waits) == {"nothing", "sums"}
    np.testing.assert_array_equal(sums, gemm(a, b, machine.arithmetic()))


def test_an_array_at_rest_waits_for_weights_alone() -> None:
    machine = replace(BASE, mac_depth=4)
    a, b = operands(machine, 3)
    times, sums, waits = play(machine, a, b, weights_from=5)
    assert times["activations"] == list(range(5, 5 + 12))
    assert waits[:5] == ["operand"] * 5
    assert set(waits[5:]) == {"nothing"}
    np.testing.assert_array_equal(sums, gemm(a, b, machine.arithmetic()))


@pytest.mark.parametrize("pause", [1, 3, 4, 5])
def test_in_an_open_chunk_a_beat_waits_for_its_turn(pause: int) -> None:
    """Slot 0's turn comes every 4 cycles."""
    machine = replace(BASE, mac_depth=4)
    a, b = operands(machine, 3)
    times, sums, waits = play(machine, a, b, pause=pause)
    second = 4 + -(-pause // 4) * 4
    assert times["activations"] == [*range(4), *range(second, second + 8)]
    assert waits.count("sums") == second - 4 - pause
    assert set(waits) <= {"nothing", "sums"}
    np.testing.assert_array_equal(sums, gemm(a, b, machine.arithmetic()))


def test_results_wait_for_the_sink() -> None:
    machine = replace(BASE, columns=1)
    a, b = operands(machine, 3)
    times, sums, _ = play(machine, a, b, ready_from=100)
    assert times["sums"] == [100 + row for row in range(machine.block_rows)]
    np.testing.assert_array_equal(sums, gemm(a, b, machine.arithmetic()))
