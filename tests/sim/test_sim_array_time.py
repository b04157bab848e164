"""What the array's cycles are spent on, against the stepped machine, which counts them one by one."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import Machine
from quaver.sim.array_time import (
    command_time,
    drain_cycles,
    fill_cycles,
    last_block,
    panel_time,
    saved_at_the_end,
    saved_at_the_start,
)
from quaver.sim.stepped_gemm import step_gemm
from tests.sim.draws import machines

SMALL = st.integers(1, 14)


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(machines(), SMALL, SMALL, SMALL)
def test_causes_are_those_of_the_stepped_machine(machine: Machine, m: int, k: int, n: int) -> None:
    stepped = step_gemm(machine, np.full((m, k), 0x38), np.full((k, n), 0x38)).stepped
    x, y = (n, m) if machine.dataflow == "is" else (m, n)
    time = panel_time(machine, x, k).times(-(-y // machine.columns))
    last = last_block(machine, x)
    assert len(stepped.entered) == time.beats
    assert stepped.waits.results == 0
    # The first weights are waited for, too, and those of a next command are not.
    weights = time.weights - saved_at_the_end(machine, last) + machine.load_cycles
    sums = time.sums - saved_at_the_start(machine, k)
    assert stepped.waits.sums == sums
    assert stepped.waits.a + stepped.waits.b == weights + machine.input_latency
    assert stepped.cycles == fill_cycles(machine) + time.beats + weights - machine.load_cycles + sums + drain_cycles(
        machine, last
    )


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(machines(), st.lists(st.integers(0, 100), min_size=1, max_size=6), st.integers(1, 200))
def test_arrays_are_as_numbers(machine: Machine, rows: list[int], k: int) -> None:
    together = panel_time(machine, np.array(rows), k)
    for index, each in enumerate(rows):
        alone = panel_time(machine, each, k)
        assert (together.beats[index], together.weights[index], together.sums[index]) == (
            alone.beats,
            alone.weights,
            alone.sums,
        )
        assert together.total[index] == alone.total
    assert command_time(machine, 0, k).total == 0
