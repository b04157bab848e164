"""The accelerator behind its AXI ports: random sequences of commands against golden's bits and sim's cycles."""

from collections.abc import Iterator

import numpy as np
import pytest

from quaver.cosim.command_cases import command_sequence
from quaver.cosim.sequences import SequenceCase, check_sequences
from quaver.cosim.simulator import Model
from quaver.golden import RNE, Accumulator, ExactSum, Machine, Matmul, Reseed, sr
from quaver.golden.catalog import BF16, DLFLOAT16, E4M3, E5M2, E6M5, FP16, FP32, HFP8_153
from quaver.golden.commands import Update
from quaver.hw.accelerator import Accelerator

SEQUENCES = 63
"""Sequences per machine, every second one with idle cycles and back-pressure on every channel."""
COMMANDS = 8
"""Most commands of a sequence."""


def kept(fmt, rounding=RNE):
    return Accumulator(format=fmt, rounding=rounding)


def machine(rows, columns, chunk, mac_depth, **fields):
    defaults = {"accumulator_depth": 16, "scratchpad_depth": 32, "queue_depth": 8, "seed": rows * columns}
    name = f"{fields.get('dataflow', 'ws')}-{rows}x{columns}-chunk{chunk}-depth{mac_depth}"
    return Machine(name=name, rows=rows, columns=columns, chunk=chunk, mac_depth=mac_depth, **(defaults | fields))


MACHINES = [
    machine(4, 4, 4, 2, update_lanes=3),
    machine(6, 3, 3, 1, inner=kept(FP16, sr(8)), outer=kept(FP32, sr(12)), accumulator_depth=5, output_formats=(BF16,)),
    machine(3, 5, 9, 3, inner=kept(E6M5), outer=kept(FP16), scratchpad_depth=8, queue_depth=16),
    machine(2, 1, 2, 4, a_formats=(E5M2, E4M3, HFP8_153), outer=kept(DLFLOAT16, sr(7)), output_formats=(), seed=5),
    machine(4, 3, 5, 4, dataflow="os", inner=kept(DLFLOAT16, sr(9)), outer=kept(FP32), output_random_bits=0),
    machine(2, 3, 1, 2, dataflow="os", outer=kept(FP16, sr(4)), update_lanes=2, update=kept(FP16)),
    machine(4, 2, 2, 5, dataflow="is", b_formats=(E4M3,), a_formats=(E5M2, BF16), inner=kept(FP32)),
    machine(
        3, 4, 3, 2, s2fp8=True, a_formats=(E5M2, BF16), b_formats=(BF16,), outer=kept(FP32), output_formats=(E5M2,)
    ),
    machine(4, 4, 8, 3, inner=ExactSum(), outer=kept(FP32), a_formats=(E4M3,), b_formats=(E4M3,)),
]


@pytest.fixture(scope="module", params=MACHINES, ids=[m.name for m in MACHINES])
def described(request) -> Machine:
    return request.param


@pytest.fixture(scope="module")
def model(described) -> Iterator[Model]:
    with Model.of(Accelerator, described) as built:
        yield built


def test_random_sequences(described, model):
    seed = int(described.digest[:8], 16)
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    cases = []
    for index in range(SEQUENCES):
        length = int(rng.integers(1, min(COMMANDS, described.queue_depth) + 1))
        slow = index % 2 == 1
        hesitation = tuple(rng.choice([0.0, 0.3, 0.8], 4).tolist()) if slow else (0.0,) * 4
        work = command_sequence(rng, described, length, others=slow)
        cases.append(SequenceCase(work, hesitation, reset=bool(rng.random() < 0.5) or not slow))
    checks = check_sequences(model, described, cases, seed)
    assert [check.first for check in checks] == [None] * len(checks)
    compared = {check.name: check.compared for check in checks}
    commands = [work.command for case in cases for work in case.work]
    matmuls = [command for command in commands if isinstance(command, Matmul)]
    assert compared["sequence cycles"] == sum(case.flows for case in cases) > SEQUENCES // 2
    assert compared["results"] == sum(c.rows * c.columns for c in matmuls if c.last and not c.empty) > 1000
    assert compared["reports"] == 7 * sum(c.report and not c.empty for c in matmuls) > 0
    assert compared["states at the end"] == 5 * len(cases)
    updates = sum(command.beats for command in commands if isinstance(command, Update))
    assert compared["updates"] >= 2 * updates * described.update_lanes
    assert updates > 0 or not described.update_lanes
    kinds = {
        "reseed": any(isinstance(c, Reseed) for c in commands),
        "chain": any(not c.first for c in matmuls),
        "keep": any(c.keep for c in matmuls),
        "empty": any(c.empty for c in matmuls),
        "transposed": any(c.transposed for c in matmuls) or described.dataflow == "os",
        "squeezed": any(c.squeeze and (c.a_power or c.b_power) for c in matmuls) or not described.s2fp8,
        "stochastic": any(c.stochastic for c in matmuls) or not described.output_random_bits,
    }
    assert all(kinds.values()), kinds


def test_there_are_enough_of_them():
    assert len(MACHINES) >= 8 and len(MACHINES) * SEQUENCES >= 500
    assert {m.dataflow for m in MACHINES} == {"ws", "os", "is"}
