"""The time of products with DRAM: a walk over every step, the accelerator's own time, bounds that no machine beats."""

from collections.abc import Iterator
from dataclasses import replace
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import PRESETS, Machine, Matmul
from quaver.golden.errors import Unsuitable
from quaver.sim.event import Cycles, dram_cycles, gemm_cycles_by_cause, latency_cycles
from quaver.sim.layers import Linear
from quaver.sim.lowering import Gemm
from quaver.sim.sequence import sequence_cycles
from quaver.sim.tiling import Schedule, schedule
from quaver.sim.timing import accelerator_cycles
from tests.sim.draws import layers, machines, products

CASES = {"deadline": None, "derandomize": True, "database": None}


def with_dram(machine: Machine, **changes: object) -> Machine:
    return replace(machine, memory=replace(machine.memory, **changes))  # type: ignore[arg-type]


def panels(plan: Schedule) -> Iterator[tuple[int, int]]:
    """Sizes of the panels of x and y, step by step."""
    x_sizes = [size for size, count in plan.x.sizes for _ in range(count)]
    y_sizes = [size for size, count in plan.y.sizes for _ in range(count)]
    if plan.outer == "x":
        yield from ((x, y) for x in x_sizes for y in y_sizes)
    else:
        yield from ((x, y) for y in y_sizes for x in x_sizes)


def commands(machine: Machine, gemm: Gemm, x: int, y: int) -> Iterator[Matmul]:
    """The accelerator's commands of one step."""
    tiles = -(-gemm.k // machine.block_products)
    depth = gemm.k - (tiles - 1) * machine.block_products
    for column in range(0, y, machine.columns):
        for row in range(0, x, machine.block_rows):
            rows, columns = min(machine.block_rows, x - row), min(machine.columns, y - column)
            yield Matmul(rows=rows, columns=columns, tiles=tiles, depth=depth)


def drawn(machine: Machine, layer: object, batch: int) -> Iterator[tuple[Gemm, Schedule]]:
    for gemm in products(layer, batch):  # type: ignore[arg-type]
        try:
            yield gemm, schedule(machine, gemm)
        except Unsuitable:
            continue


@settings(max_examples=200, **CASES)
@given(machines(), layers(), st.integers(1, 4))
def test_without_dram_it_is_the_time_of_the_commands(machine: Machine, layer: object, batch: int) -> None:
    """`sequence_cycles` is held to the RTL; the closed form here must be the same for the commands of the tiling."""
    fast = with_dram(machine, dram_gb_per_s=1e15, dram_latency_ns=0)
    port = machine.exchanged if machine.dataflow == "is" else machine
    for gemm, plan in drawn(machine, layer, batch):
        found = gemm_cycles_by_cause(fast, gemm, plan)
        # All bytes of the first step and of the last results take one cycle each at any finite bandwidth.
        assert found.dram_bandwidth == (2 if machine.memory.double_buffered else found.dram_bandwidth)
        work = [c for x, y in panels(plan) for c in commands(machine, gemm, x, y)]
        if gemm.serial:
            expected = gemm.groups * sequence_cycles(port, work)
        else:
            expected = sequence_cycles(port, work * gemm.groups)
        assert found.gemm == expected
        assert found.edges >= 0 and found.weights >= 0 and found.sums >= 0


def walked(machine: Machine, gemm: Gemm, plan: Schedule) -> int:
    """Cycles of a product whose groups do not wait for each other: of each step the longer of array and DRAM time.

    A step's array time is what its commands add to a long sequence of them.
    """
    port = machine.exchanged if machine.dataflow == "is" else machine
    order = list(panels(plan)) * gemm.groups
    each = {}
    for x, y in set(order):
        work = list(commands(machine, gemm, x, y))
        each[x, y] = sequence_cycles(port, work * 3) - sequence_cycles(port, work * 2)
    x_bytes, y_bytes = plan.x_sweep / plan.x.count, plan.y_sweep / plan.y.count
    store = plan.writes / len(order)
    per_group = len(order) // gemm.groups
    x_of = [i // plan.y.count if plan.outer == "x" else i % plan.x.count for i in range(per_group)] * gemm.groups
    y_of = [i % plan.y.count if plan.outer == "x" else i // plan.x.count for i in range(per_group)] * gemm.groups
    lead = sequence_cycles(port, [c for x, y in order for c in commands(machine, gemm, x, y)]) - sum(
        each[step] for step in order
    )
    cycles = latency_cycles(machine) + dram_cycles(machine, plan.first) + dram_cycles(machine, store)
    for i, step in enumerate(order):
        last = i == len(order) - 1
        bytes_ = max(0.0, x_bytes + y_bytes - plan.first) if last else store
        if not last:
            new_group = (i + 1) % per_group == 0
            if new_group or "x" in plan.streamed or x_of[i + 1] != x_of[i]:
                bytes_ += x_bytes
            if new_group or "y" in plan.streamed or y_of[i + 1] != y_of[i]:
                bytes_ += y_bytes
        array = each[step]
        moving = dram_cycles(machine, bytes_)
        if last:  # what it saves is in `lead`, which may make it the shorter of the two
            saved = each[step] - (sequence_cycles(port, list(commands(machine, gemm, *step))) - _ends(machine, step))
            array -= saved
            cycles += saved
        cycles += max(array, moving) if machine.memory.double_buffered else array + moving
    return cycles + lead


def _ends(machine: Machine, step: tuple[int, int]) -> int:
    """Cycles of a sequence before its first beat enters and after its last one has: they are no part of a step."""
    rows = (step[0] - 1) % machine.block_rows + 1
    fill = machine.input_latency + machine.load_cycles
    return fill + machine.latency + machine.output_latency + (rows - 1 if machine.dataflow == "os" else 0)


@settings(max_examples=150, **CASES)
@given(machines(), layers(), st.integers(1, 3))
def test_with_dram_it_is_a_walk_over_the_steps(machine: Machine, layer: object, batch: int) -> None:
    compared = 0
    for gemm, plan in drawn(machine, layer, batch):
        if not gemm.serial:
            assert gemm_cycles_by_cause(machine, gemm, plan).total == walked(machine, gemm, plan)
            compared += 1
    assert compared or machine.memory.buffer_kib < 64 or getattr(layer, "serial", False)


@settings(max_examples=100, **CASES)
@given(machines(), layers(), st.integers(1, 4))
def test_no_machine_beats_its_macs_or_its_bandwidth(machine: Machine, layer: object, batch: int) -> None:
    for gemm, plan in drawn(machine, layer, batch):
        found = gemm_cycles_by_cause(machine, gemm, plan)
        assert found.macs == -(-gemm.macs // (machine.rows * machine.columns))
        assert plan.reads >= gemm.unique_bytes
        assert plan.writes >= gemm.result_bytes
        assert (
            found.total
            >= (plan.reads + plan.writes) * machine.clock_mhz * 1e6 / (machine.memory.dram_gb_per_s * 1e9) - 1e-6
        )
        assert found.total == sum(found.to_dict().values())


@settings(max_examples=100, **CASES)
@given(machines(), layers(), st.integers(1, 4))
def test_more_bandwidth_never_means_more_cycles(machine: Machine, layer: object, batch: int) -> None:
    for gemm, plan in drawn(machine, layer, batch):
        rates = (0.01, 0.05, 0.2, 0.21, 1.0, 7.0, 100.0, 1e9)
        times = [gemm_cycles_by_cause(with_dram(machine, dram_gb_per_s=rate), gemm, plan).total for rate in rates]
        assert times == sorted(times, reverse=True)
        assert {schedule(with_dram(machine, dram_gb_per_s=rate), gemm) for rate in rates} == {plan}


def test_hand_count() -> None:
    """`tiny` at 50 MHz: 0.4 GB/s are 8 bytes a cycle, 100 ns are 5 cycles.

    16 x 8 by 8 x 4: the weights stay, 4 rows at a time pass.  32 + 4 x 8 bytes come first in 8 cycles; 4 columns of
    weights, 4 x 2 x 4 beats, and the ways in and out; a step's 8 cycles hide 32 bytes in and 32 out; the last 4 x 4
    results of 16 bits leave in 4 cycles.
    """
    gemm = products(Linear(name="fc", in_features=8, out_features=4, rows=16, bias=False), 1)[0]
    tiny = PRESETS["tiny"]
    plan = schedule(tiny, gemm)
    assert (plan.x.size, plan.x.count, plan.y.count) == (4, 4, 1)
    found = gemm_cycles_by_cause(tiny, gemm, plan)
    ends = tiny.input_latency + 4 + tiny.latency + tiny.output_latency
    assert found == Cycles(macs=32, fill=ends, dram_bandwidth=8 + 4, dram_latency=5)
    assert found.total == accelerator_cycles(tiny, 16, 8, 4) + 17
    slower = with_dram(tiny, dram_gb_per_s=0.04)
    # A tenth: 80 cycles for what comes first, three steps of 80 instead of 8, 40 for what leaves last.
    assert gemm_cycles_by_cause(slower, gemm, schedule(slower, gemm)).dram_bandwidth == 80 + 3 * 72 + 40


def test_recurrent_weights_are_read_once_if_they_fit() -> None:
    """8 steps of 4 x 16 by 16 x 16: 256 bytes of weights, 64 bytes of state a step."""
    layer = Linear(name="lstm", in_features=16, out_features=16, rows=8, serial=True, bias=False)
    gemm, tiny = products(layer, 4)[0], PRESETS["tiny"]
    assert (gemm.groups, gemm.m, gemm.serial) == (8, 4, True)
    plan = schedule(tiny, gemm)
    assert (plan.reads, plan.writes) == (256 + 8 * 64, 8 * 4 * 16 * 2)
    found = gemm_cycles_by_cause(tiny, gemm, plan)
    assert found.gemm == 8 * accelerator_cycles(tiny, 4, 16, 16), "each step waits for the one before"


@pytest.mark.parametrize("bytes_", [0, 1, 7, 8, 9, 1000.5])
def test_dram_cycles(bytes_: float) -> None:
    assert dram_cycles(PRESETS["tiny"], bytes_) == ceil(bytes_ / 8)
