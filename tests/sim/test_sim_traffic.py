"""Traffic against a walk over the commands of a tiling that moves one code at a time."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import PRESETS, Accumulator, Machine, format_named
from quaver.golden.catalog import FP16
from quaver.golden.errors import Unsuitable
from quaver.sim.layers import Linear
from quaver.sim.lowering import Gemm
from quaver.sim.step import UpdateWork
from quaver.sim.tiling import Schedule, schedule
from quaver.sim.traffic import Traffic, gemm_traffic, vector_traffic
from quaver.sim.vector_work import VectorWork
from tests.sim.draws import layers, machines, products


def commands(machine: Machine, gemm: Gemm, plan: Schedule) -> Iterator[tuple[int, int, int]]:
    """Rows of each command, the step that it is in, and its first row there."""
    x_sizes = [size for size, count in plan.x.sizes for _ in range(count)]
    y_sizes = [size for size, count in plan.y.sizes for _ in range(count)]
    for step, (x, y) in enumerate([(x, y) for _ in range(gemm.groups) for x in x_sizes for y in y_sizes]):
        for row in range(0, x, machine.block_rows):
            for _ in range(0, y, machine.columns):
                yield min(machine.block_rows, x - row), step, row


def walk(machine: Machine, gemm: Gemm, plan: Schedule) -> Counter[str]:
    """Bits that are moved: beats are counted one by one, running sums by what a column still has to keep."""
    bits: Counter[str] = Counter()
    x, y = (gemm.b, gemm.a) if machine.dataflow == "is" else (gemm.a, gemm.b)
    inner_bits, outer_bits, k = machine.inner_code.bits, machine.outer.format.bits, gemm.k
    loaded = None  # the block that the scratchpad holds
    for rows, step, row in commands(machine, gemm, plan):
        beats = machine.interleave * k if machine.dataflow == "os" else rows * -(-k // machine.rows)
        if loaded != (step, row) or beats > machine.scratchpad_depth:
            bits["filled"] += beats * machine.rows * x.bits
        loaded = step, row
        bits["streamed"] += beats * machine.rows * x.bits
        bits["results"] += rows * machine.columns * gemm.out_bits
        if machine.dataflow == "os":
            bits["held"] += k * machine.columns * y.bits
            chunks = -(-k // machine.chunk)
            bits["sums"] += machine.block_rows * machine.columns * (chunks - 1) * outer_bits
            continue
        for start in range(0, k, machine.rows):
            bits["held"] += machine.rows * machine.columns * y.bits
            end = min(start + machine.rows, k)
            if end == k:
                continue
            # What a later pass goes on from: a chunk's sum that is not complete, and the outer sum if there is one.
            kept = inner_bits if end % machine.chunk else 0
            complete = end // machine.chunk * machine.chunk
            fresh = complete > start - start % machine.rows and complete > 0
            kept += outer_bits if fresh and not end % machine.chunk else 0
            bits["sums"] += rows * machine.columns * kept
    return bits


def packed(bits: int) -> int:
    return -(-bits // 8)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(machines(), layers(), st.integers(1, 3), st.sampled_from(["e6m5", "fp16", "fp32"]))
def test_equals_walk(machine: Machine, layer: object, batch: int, inner: str) -> None:
    machine = replace(machine, inner=Accumulator(format=format_named(inner)))
    compared = 0
    for gemm in products(layer, batch):  # type: ignore[arg-type]
        try:
            plan = schedule(machine, gemm)
        except Unsuitable:
            continue
        bits = walk(machine, gemm, plan)
        assert gemm_traffic(machine, gemm, plan) == Traffic(
            streamed=packed(bits["streamed"]),
            held=packed(bits["held"]),
            results=packed(bits["results"]),
            sum_reads=packed(bits["sums"]),
            sum_writes=packed(bits["sums"]),
            scratchpad_writes=packed(bits["filled"]),
            dram_reads=plan.reads,
            dram_writes=plan.writes,
        )
        compared += 1
    assert compared or machine.memory.buffer_kib < 64


def test_hand_count() -> None:
    """Linear 8 -> 4 over 3 inputs on 4 x 4, 1-6-9 sums: two tiles, the second adds to the first one's 3 x 4 sums."""
    gemm = products(Linear(name="fc", in_features=8, out_features=4, bias=False), 3)[0]
    tiny = PRESETS["tiny"]
    moved = gemm_traffic(tiny, gemm, schedule(tiny, gemm))
    assert moved == Traffic(
        streamed=2 * 3 * 4,
        held=2 * 16,
        results=3 * 4 * 2,
        sum_reads=3 * 4 * 2,
        sum_writes=3 * 4 * 2,
        scratchpad_writes=2 * 3 * 4,
        dram_reads=32 + 32,  # 24 bytes of inputs in two bursts of 16, 32 of weights
        dram_writes=32,  # 24 bytes of results
    )
    assert (moved.accumulators, moved.scratchpads, moved.dram) == (48, 24 + 24 + 64, 96)
    assert moved.buffer == 24 + 32 + 24 + 96


@pytest.mark.parametrize("depth", [16, 32])
def test_weights_come_again_for_every_block(depth: int) -> None:
    machine = replace(PRESETS["tiny"], accumulator_depth=depth)
    gemm = products(Linear(name="fc", in_features=4, out_features=4, bias=False), 64)[0]
    plan = schedule(machine, gemm)
    blocks = sum(count * -(-size // depth) for size, count in plan.x.sizes)
    assert gemm_traffic(machine, gemm, plan).held == blocks * 16


def test_other_units_pass_the_buffer() -> None:
    for work in (
        VectorWork(operations=1, reads=30, writes=12, bits=16),
        UpdateWork(parameters=3, reads=30, writes=12, master=FP16),
    ):
        moved = vector_traffic(work)
        assert moved == Traffic(vector_reads=30, vector_writes=12, dram_reads=30, dram_writes=12)
        assert moved.buffer == 2 * 42
