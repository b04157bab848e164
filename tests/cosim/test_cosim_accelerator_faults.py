"""Faults in the parts around the array: random sequences of commands must find each, where it is and nowhere else."""

from collections.abc import Callable

import numpy as np
import pytest

from quaver.cosim.command_cases import sequence_cases
from quaver.cosim.sequences import check_sequences
from quaver.cosim.simulator import Model
from quaver.cosim.verify import SEQUENCES
from quaver.golden import Machine
from quaver.golden.catalog import E4M3
from quaver.hw.accelerator import Accelerator

MACHINE = Machine(
    name="small",
    rows=2,
    columns=2,
    chunk=2,
    mac_depth=1,
    accumulator_depth=4,
    a_formats=(E4M3,),
    b_formats=(E4M3,),
    output_formats=(E4M3,),
    scratchpad_depth=9,
    queue_depth=4,
    update_lanes=1,
)
"""A scratchpad whose ring does not end where its address does."""
NAMES = ("results", "updates", "reports", "states at the end", "sequence cycles")
FAULTS = {
    # The columns of a tile are read along the diagonals of the memories, but not turned back.
    "rotation": ("tile_buffer", r"\? column : (\\\$like)", r"? 1'b0 : \1", {"results"}, {"updates", "sequence cycles"}),
    # Behind its last slot the ring of the moving operand goes on with its second one.
    "wrap": ("feeder", r"(following \} = \w+ \?) 5'h00 :", r"\1 5'h01 :", {"results"}, {"updates", "sequence cycles"}),
    # Sums are divided by the power of two.
    "scale": (
        "output_lane",
        r"\+ (\$signed\(scale\))",
        r"- \1",
        {"results"},
        {"updates", "sequence cycles"},
    ),
    # The statistics go on from one report to the next.
    "totals": (
        "output_unit",
        r"= reports\[\d+\] \? 256'h0+ : (\{[^;]*\});",
        r"= \1;",
        {"reports"},
        {"results", "updates", "states at the end", "sequence cycles"},
    ),
    # Commands complete with their last beat of operands, before their results have left.
    "completions": ("sequencer", r"= \| drained_count;", "= (| drained_count) | fed;", {"states at the end"}, set()),
    # A tile's columns wait for the whole of it: no bit is wrong.
    "patience": (
        "tile_buffer",
        r"= \w+ > column;",
        "= 1'b0;",
        {"sequence cycles"},
        {"results", "updates", "reports", "states at the end"},
    ),
    # The update's momentum is its rate.
    "scalars": (
        "update_engine",
        r"\.momentum\(orders__payload\[55:40\]\)",
        ".momentum(orders__payload[71:56])",
        {"updates"},
        {"results", "reports", "sequence cycles"},
    ),
}
"""Module, pattern and its replacement; the checks that must find the fault, and those that it must not touch."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(faulty: Callable[..., Model], fault: str) -> None:
    module, pattern, replacement, found, untouched = FAULTS[fault]
    cases = sequence_cases(np.random.default_rng(0), MACHINE, SEQUENCES)
    with faulty(Accelerator, MACHINE, f"quaver_{module}", pattern, replacement) as model:
        checks = {check.name: check for check in check_sequences(model, MACHINE, cases, 0)}
    assert tuple(checks) == NAMES
    assert all(check.compared > 0 for check in checks.values())
    wrong = {name for name, check in checks.items() if check.mismatches}
    assert found <= wrong
    assert not untouched & wrong
    for name in wrong:
        first = checks[name].first
        assert first is not None and first.startswith(f"{name}: sequence ") and ": expected " in first


def test_there_are_enough_of_them() -> None:
    assert len(FAULTS) >= 5
    assert len({module for module, *_ in FAULTS.values()}) >= 5
    assert {name for _, _, _, found, _ in FAULTS.values() for name in found} == set(NAMES)
