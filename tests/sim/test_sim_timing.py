"""The closed form against a walk over the tiles, and the density that the array's overlap buys."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import PRESETS, Machine
from quaver.sim.array_time import panel_time
from quaver.sim.timing import gemm_cycles, utilization


def walk(machine: Machine, m: int, k: int, n: int) -> tuple[int, int]:
    """Cycles and activation beats of the loop nest, tile by tile as the contract states them."""
    if machine.dataflow == "os":
        return walk_steps(machine, m, k, n)
    if machine.dataflow == "is":
        m, n = n, m
    tiles = []
    for m_start in range(0, m, machine.accumulator_depth):
        size = min(machine.accumulator_depth, m - m_start)
        for _ in range(0, n, machine.columns):
            for k_start in range(0, k, machine.rows):
                tiles.append((size, k_start > 0))
    start = machine.load_cycles
    for (size, _), (_, continues) in pairwise(tiles):
        floor = machine.round_trip if continues else 0
        start += max(size, machine.load_cycles, floor)
    last_size = tiles[-1][0]
    last_beat = start + last_size - 1
    last_output = last_beat + machine.latency
    return last_output + 1, sum(size for size, _ in tiles)


def walk_steps(machine: Machine, m: int, k: int, n: int) -> tuple[int, int]:
    """The same of an output-stationary array, k step by k step; rows of a PE's MAC take turns."""
    turns = machine.mac_depth
    apart = machine.rows * turns  # sums of a chunk, which leave one per cycle and column
    apart = max(apart, -(-machine.round_trip // turns) * turns)
    now, steps, last_close, rows = 0, 0, None, 0
    for m_start in range(0, m, machine.rows * turns):
        rows = min(machine.rows * turns, m - m_start)
        for _ in range(0, n, machine.columns):
            for step in range(1, k + 1):
                if step % machine.chunk == 0 or step == k:
                    now = now if last_close is None else max(now, last_close + apart)
                    last_close = now
                now += turns
                steps += 1
    return now + machine.latency + rows - 1, steps * turns


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    rows = draw(st.integers(1, 24))
    divisors = [d for d in range(1, rows + 1) if rows % d == 0]
    chunk = draw(st.one_of(st.sampled_from(divisors), st.integers(1, 4).map(lambda f: f * rows)))
    dataflow = draw(st.sampled_from(["ws", "os", "is"]))
    return Machine(
        rows=rows,
        columns=draw(st.integers(1, 24)),
        dataflow=dataflow,
        chunk=draw(st.integers(1, 40)) if dataflow == "os" else chunk,
        mac_depth=draw(st.integers(1, 7)),
        accumulator_depth=draw(st.integers(2, 64)),
    )


@settings(max_examples=500, deadline=None)
@given(machines(), st.integers(1, 300), st.integers(1, 120), st.integers(1, 120))
def test_equals_walk(machine: Machine, m: int, k: int, n: int) -> None:
    cycles, beats = walk(machine, m, k, n)
    assert gemm_cycles(machine, m, k, n) == cycles
    streamed, held = (n, m) if machine.dataflow == "is" else (m, n)
    assert panel_time(machine, streamed, k).beats * -(-held // machine.columns) == beats


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1000, 1), (5000, 129, 257), (2048, 512, 512)])
def test_presets_equal_walk(preset: str, shape: tuple[int, int, int]) -> None:
    machine = PRESETS[preset]
    assert gemm_cycles(machine, *shape) == walk(machine, *shape)[0]


def test_hand_count_of_the_output_stationary_array() -> None:
    """2 x 3, two sums per PE, chunks of 2: K = 5 takes steps to 0, 1, 2, 3, 4; chunks end at 1, 3 and, 2 later, 5."""
    machine = Machine(rows=2, columns=3, chunk=2, mac_depth=2, dataflow="os")
    assert (machine.interleave, machine.drain_steps) == (2, 2)
    # Decoded, 2 registers of the MAC, one turn to row 0's way out, 2 rows; outer adder, 2 more columns, buffer, output.
    assert machine.latency == 1 + 2 + 1 + 2 + 1 + 2 + 2 == 11
    assert gemm_cycles(machine, 4, 5, 3) == 6 * 2 + 11 + 4 - 1
    assert gemm_cycles(machine, 3, 4, 3) == 4 * 2 + 11 + 3 - 1


def test_input_stationary_is_weight_stationary_of_the_transposes() -> None:
    machine = replace(PRESETS["tiny"], dataflow="is")
    assert gemm_cycles(machine, 7, 30, 50) == gemm_cycles(PRESETS["tiny"], 50, 30, 7)
    assert gemm_cycles(machine, 50, 30, 7) != gemm_cycles(PRESETS["tiny"], 50, 30, 7)


def test_hand_count() -> None:
    """One tile of one beat on 4 x 4: 4 beats of weights, one of activations, then the latency."""
    machine = PRESETS["tiny"]
    assert gemm_cycles(machine, 1, 4, 4) == 4 + 1 + machine.latency


def test_one_more_row_costs_one_cycle_per_tile() -> None:
    machine = PRESETS["edge"]
    tiles = 4 * 4
    m = max(machine.round_trip, machine.load_cycles)
    assert gemm_cycles(machine, m + 1, 64, 64) - gemm_cycles(machine, m, 64, 64) == tiles


@pytest.mark.parametrize(
    ("preset", "shape", "bound"),
    [
        ("edge", (1024, 64, 64), 1.03),
        ("edge", (64, 512, 64), 1.06),
        ("cloud", (256, 4096, 1024), 1.03),
        ("cloud", (256, 1024, 4096), 1.03),
    ],
)
def test_steady_state_is_dense(preset: str, shape: tuple[int, int, int], bound: float) -> None:
    machine = replace(PRESETS[preset], mac_depth=4)
    m, k, n = shape
    ideal, rest = divmod(m * k * n, machine.rows * machine.columns)
    assert rest == 0
    cycles = gemm_cycles(machine, m, k, n)
    assert ideal < cycles <= bound * ideal
    assert utilization(machine, m * k * n, cycles) == ideal / cycles


def test_ideal_cycles_of_the_bounds() -> None:
    assert 1024 * 64 * 64 // 16**2 == 16384
    assert 64 * 512 * 64 // 16**2 == 8192


@pytest.mark.parametrize("dataflow", ["ws", "os"])
def test_large_gemms_are_dense(dataflow: str) -> None:
    machine = replace(PRESETS["edge"], dataflow=dataflow, mac_depth=4)
    m, k, n = 1024, 512, 64
    assert utilization(machine, m * k * n, gemm_cycles(machine, m, k, n)) >= 0.97


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("shape", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_empty_shapes_are_refused(shape: tuple[int, int, int], dataflow: str) -> None:
    field = "mkn"[shape.index(0)]
    message = rf"{field} must be an integer in 1\.\.{1 << 48}, not 0"
    with pytest.raises(ValueError, match=f"^{message}$"):
        gemm_cycles(replace(PRESETS["tiny"], dataflow=dataflow), *shape)


def test_time_does_not_depend_on_size() -> None:
    """A GEMM of 10^12 tiles is answered at once."""
    assert re.fullmatch(r"\d{15,}", str(gemm_cycles(PRESETS["tiny"], 1 << 20, 1 << 22, 1 << 22)))
