"""Tilings: what a walk over the steps has to fetch, what a larger buffer may never do, what does not fit."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import PRESETS, Machine
from quaver.golden.errors import Unsuitable
from quaver.sim.layers import Conv2d, Linear
from quaver.sim.lowering import Gemm
from quaver.sim.tiling import Schedule, schedule
from tests.sim.draws import layers, machines, products

CASES = {"deadline": None, "derandomize": True, "database": None}


def steps(plan: Schedule) -> Iterator[tuple[int, int]]:
    """Indices of the panels of x and y, in the order of the steps."""
    for outer in range(plan.x.count if plan.outer == "x" else plan.y.count):
        for inner in range(plan.y.count if plan.outer == "x" else plan.x.count):
            yield (outer, inner) if plan.outer == "x" else (inner, outer)


def fetched(plan: Schedule) -> int:
    """Bytes that a walk fetches: a panel that the step before had is there, a slab never is."""
    total = 0.0
    before: tuple[int | None, int | None] = None, None
    for x, y in steps(plan):
        if "x" in plan.streamed or before[0] != x:
            total += plan.x_sweep / plan.x.count
        if "y" in plan.streamed or before[1] != y:
            total += plan.y_sweep / plan.y.count
        before = x, y
    return round(total)


def widened(machine: Machine, kib: int) -> Machine:
    return replace(machine, memory=replace(machine.memory, buffer_kib=kib))


@settings(max_examples=150, **CASES)
@given(machines(), layers(), st.integers(1, 4))
def test_a_walk_fetches_what_the_tiling_says(machine: Machine, layer: object, batch: int) -> None:
    compared = 0
    for gemm in products(layer, batch):  # type: ignore[arg-type]
        try:
            plan = schedule(machine, gemm)
        except Unsuitable:
            continue
        x, y = (gemm.b, gemm.a) if machine.dataflow == "is" else (gemm.a, gemm.b)
        kept = (plan.x if machine.dataflow == "is" else plan.y).count == 1 and gemm.serial
        shared = 0 if not kept else plan.x_sweep if machine.dataflow == "is" else plan.y_sweep
        if not kept or not plan.streamed:
            assert gemm.groups * fetched(plan) - (gemm.groups - 1) * shared == plan.reads
        assert sum(size * count for size, count in plan.x.sizes) == x.outer
        assert sum(size * count for size, count in plan.y.sizes) == y.outer
        assert plan.x_sweep * 8 >= x.unique * x.bits
        assert plan.y_sweep * 8 >= y.unique * y.bits
        assert plan.writes >= gemm.result_bytes
        assert plan.buffer <= machine.memory.buffer_kib << 10
        assert ("x" in plan.streamed) <= (plan.x.size <= machine.block_rows), (
            "slabs have no more rows than accumulators"
        )
        assert ("y" in plan.streamed) <= (plan.y.size <= machine.columns)
        compared += 1
    assert compared or machine.memory.buffer_kib < 64


@settings(max_examples=60, **CASES)
@given(machines(kib=(64,)), layers(), st.integers(1, 4))
def test_more_buffer_never_means_more_traffic(machine: Machine, layer: object, batch: int) -> None:
    for gemm in products(layer, batch):  # type: ignore[arg-type]
        before: int | None = None
        for kib in (1, 2, 3, 4, 6, 8, 16, 64, 1024):
            try:
                plan = schedule(widened(machine, kib), gemm)
            except Unsuitable:
                assert before is None, "what fits a buffer fits a larger one"
                continue
            assert before is None or plan.reads + plan.writes <= before
            before = plan.reads + plan.writes
        assert before is not None
        once = plan.y_sweep if machine.dataflow == "is" else plan.x_sweep
        assert plan.reads == gemm.groups * once + (plan.x_sweep + plan.y_sweep - once) * (
            1 if gemm.serial else gemm.groups
        )


@pytest.mark.parametrize("buffer", [256, 512, 1024, 2048, 8192, 24576])
@pytest.mark.parametrize("phase", [0, 1, 2], ids=["forward", "data", "weights"])
def test_a_layer_of_resnet_never_reads_more_with_more_room(buffer: int, phase: int) -> None:
    """Between two sizes of real machines, too."""
    conv = Conv2d(
        name="c", in_channels=256, out_channels=512, size=(28, 28), kernel=(3, 3), stride=(2, 2), padding=(1, 1)
    )
    gemm = products(conv, 32)[phase]
    small, large = (schedule(widened(PRESETS["cloud"], kib), gemm) for kib in (buffer, buffer + 512))
    assert large.reads + large.writes <= small.reads + small.writes


def linear(rows: int, k: int, n: int) -> Gemm:
    return products(Linear(name="fc", in_features=k, out_features=n, bias=False, rows=rows), 1)[0]


def test_hand_counts() -> None:
    """`tiny`, 16 rows a block, bytes as codes: 64 x 64 by 64 x 64 is 4 KiB and 4 KiB."""
    tiny = PRESETS["tiny"]
    gemm = linear(64, 64, 64)
    whole = schedule(widened(tiny, 16), gemm)
    assert (whole.reads, whole.writes, whole.streamed) == (4096 + 4096, 64 * 64 * 2, "")
    # Room for one operand and little more: the other one passes once, panel by panel.
    tight = schedule(widened(tiny, 8), gemm)
    assert (tight.reads, tight.streamed) == (4096 + 4096, "")
    # Room for neither: panels of 8 columns with 512 bytes each, twice, and of 4 rows with 256 bytes each, twice; 4 x 4
    # results with 2 bytes each, twice.  So the left operand passes once for each of 8 panels of the right one.
    least = schedule(widened(tiny, 2), gemm)
    assert (least.outer, least.streamed, least.x.size, least.y.size) == ("y", "", 4, 8)
    assert least.buffer == 2 * 512 + 2 * 256 + 2 * 32
    assert least.reads == 4096 + 8 * 4096


def test_what_does_not_fit() -> None:
    message = "memory.buffer_kib must be at least 3 for fc on 8 x 8 MACs, not 1"
    with pytest.raises(Unsuitable, match=f"^{re.escape(message)}$"):
        schedule(widened(PRESETS["ecp5"], 1), linear(64, 64, 64))
    assert schedule(widened(PRESETS["ecp5"], 3), linear(64, 64, 64)).buffer <= 3 << 10
