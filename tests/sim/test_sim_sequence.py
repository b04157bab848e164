"""The closed form of the whole accelerator against the walk over its commands, and hand counts of both."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import PRESETS, Machine, plan
from quaver.golden.catalog import BF16, E5M2
from quaver.sim.sequence import sequence_cycles
from quaver.sim.timing import accelerator_cycles, gemm_cycles

TINY = PRESETS["tiny"]


def walk(machine: Machine, m: int, k: int, n: int, *, transposed: bool = False) -> int:
    """Cycles of the commands that the product becomes, tile by tile."""
    if machine.dataflow == "is":
        m, n = n, m
    return sequence_cycles(machine, [block.command for block in plan(machine, m, k, n, transposed=transposed)])


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    rows = draw(st.one_of(st.just(1), st.integers(1, 24)))
    divisors = [d for d in range(1, rows + 1) if rows % d == 0]
    chunk = draw(st.one_of(st.sampled_from(divisors), st.integers(1, 4).map(lambda f: f * rows)))
    dataflow = draw(st.sampled_from(["ws", "os", "is"]))
    squeezing = {"s2fp8": True, "a_formats": (E5M2, BF16), "b_formats": (E5M2, BF16)}
    return Machine(
        rows=rows,
        columns=draw(st.one_of(st.just(1), st.integers(1, 24))),
        dataflow=dataflow,
        chunk=draw(st.integers(1, 40)) if dataflow == "os" else chunk,
        mac_depth=draw(st.integers(1, 7)),
        accumulator_depth=draw(st.integers(2, 64)),
        scratchpad_depth=draw(st.sampled_from([8, 64])),
        **(squeezing if draw(st.booleans()) else {}),
    )


@settings(max_examples=400, deadline=None)
@given(machines(), st.integers(1, 200), st.integers(1, 100), st.integers(1, 100))
def test_equals_walk(machine: Machine, m: int, k: int, n: int) -> None:
    assert accelerator_cycles(machine, m, k, n) == walk(machine, m, k, n)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1000, 1), (5000, 129, 257), (300, 512, 512)])
def test_presets_equal_walk(preset: str, shape: tuple[int, int, int]) -> None:
    machine = PRESETS[preset]
    assert accelerator_cycles(machine, *shape) == walk(machine, *shape)


def test_hand_count() -> None:
    """One tile of one beat on 4 x 4: through two buffers, 4 columns and a row into the array, out through the unit."""
    assert (TINY.input_latency, TINY.output_latency) == (2, 4)
    assert accelerator_cycles(TINY, 1, 4, 4) == 2 + 4 + 1 + TINY.latency + 4
    assert gemm_cycles(TINY, 1, 4, 4) == 4 + 1 + TINY.latency


def test_rows_of_a_transposed_tile_must_all_be_there() -> None:
    """The first of 4 columns needs the last of 4 rows: 3 cycles later; a tile of one row is no later."""
    assert walk(TINY, 5, 4, 4, transposed=True) == accelerator_cycles(TINY, 5, 4, 4) + 3
    assert walk(TINY, 5, 1, 4, transposed=True) == accelerator_cycles(TINY, 5, 1, 4)


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("shape", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_empty_shapes_are_refused(shape: tuple[int, int, int], dataflow: str) -> None:
    field = "mkn"[shape.index(0)]
    message = rf"{field} must be an integer in 1\.\.{1 << 48}, not 0"
    with pytest.raises(ValueError, match=f"^{message}$"):
        accelerator_cycles(replace(TINY, dataflow=dataflow), *shape)
