"""Random machines x random GEMMs, each from reset: the stepped machine, the closed form and the RTL are the same.

Cycles and result bits; and the RTL's counters of waits are the stepped machine's.
"""

from dataclasses import asdict
from itertools import islice
from typing import NamedTuple

import numpy as np
import pytest

from quaver.cosim.accelerator_runs import Play, Work
from quaver.cosim.cases import operand
from quaver.cosim.simulator import Model
from quaver.golden import RNE, Accumulator, ExactSum, Machine, array_words, gemm, output, sr
from quaver.golden.catalog import BF16, DLFLOAT16, E4M3, E5M2, E6M5, FP16
from quaver.host import beats
from quaver.hw.accelerator import Accelerator
from quaver.sim.sequence import sequence_cycles
from quaver.sim.stepped_gemm import Part, assembled, gemm_parts, step_gemm
from quaver.sim.timing import accelerator_cycles

SEED = 20
MACHINES, GEMMS = 12, 25
DATAFLOWS = ("ws", "os", "is")


def drawn_machine(index: int) -> Machine:
    """A small machine: dataflows, kinds of sums, and chunks that are parts or multiples of the rows take turns."""
    rng, dataflow = np.random.default_rng([SEED, index]), DATAFLOWS[index % 3]
    part, whole = [(2, 4), (1, 3), (1, 2)][int(rng.integers(3))], int(rng.integers(1, 4))
    rows = part[1] if index // 3 % 2 else int(rng.integers(1, 5))
    chunk = part[0] if index // 3 % 2 else rows * whole
    formats = [DLFLOAT16, E6M5, FP16]

    def rounded(stochastic: bool) -> Accumulator:
        fmt = formats[int(rng.integers(len(formats)))]
        return Accumulator(format=fmt, rounding=sr(int(rng.integers(1, 13))) if stochastic else RNE)

    return Machine(
        name=f"{index}-{dataflow}",
        dataflow=dataflow,  # type: ignore[arg-type]
        rows=rows,
        columns=int(rng.integers(1, 5)),
        chunk=int(rng.integers(1, 8)) if dataflow == "os" else chunk,
        mac_depth=1 + index * 3 % 7,
        inner=ExactSum() if index // 3 == 3 else rounded(index // 3 > 0),
        outer=rounded(bool(index % 2)),
        a_formats=(E4M3, E5M2),
        b_formats=(E5M2,),
        output_formats=(E4M3, BF16),
        output_random_bits=0,
        accumulator_depth=int(rng.integers(2, 10)),
        scratchpad_depth=16,
        queue_depth=16,
        seed=int(rng.integers(1 << 32)),
    )


MACHINES_DRAWN = [drawn_machine(index) for index in range(MACHINES)]


class Draw(NamedTuple):
    """A GEMM, its commands, and where its number of packets of results and its counters are in the log."""

    a: np.ndarray
    b: np.ndarray
    choices: dict[str, int]
    """Formats of the operands and of the results."""
    parts: list[Part]
    packets: int
    counters: int


def draw(play: Play, machine: Machine, rng: np.random.Generator) -> Draw:
    """Play a random GEMM from reset, its operands offered and its commands queued before it starts."""
    # At most nine blocks, which the queue holds; sums of several chunks, and of a part of one.
    sides = machine.block_rows, machine.columns
    down, across = (int(rng.integers(1, min(16, 3 * side) + 1)) for side in sides)
    m, n = (across, down) if machine.dataflow == "is" else (down, across)
    k = int(rng.integers(1, 3 * max(machine.chunk, machine.block_products) + 3))
    choices = {"a_format": int(rng.integers(2)), "target": int(rng.integers(3))}
    a, b = operand(rng, machine.a_formats[choices["a_format"]], (m, k)), operand(rng, machine.b_formats[0], (k, n))
    parts = gemm_parts(machine, a, b, **choices)  # type: ignore[arg-type]
    play.do("reset")
    play.do("hold", True)
    play.do("clear")
    for part in parts:
        play.send_operands(Work(*part.work))
    for part in parts:
        play.issue(part.block.command)
    play.do("hold", False)
    play.do("idle")
    return Draw(a, b, choices, parts, play.do("take", "results"), play.do("counters"))


def expected(machine: Machine, case: Draw) -> np.ndarray:
    """What golden makes of a GEMM."""
    a_format, target = machine.a_formats[case.choices["a_format"]], machine.result_formats[case.choices["target"]]
    (m, k), n = case.a.shape, case.b.shape[1]
    y = gemm(case.a, case.b, machine.arithmetic(a_format), words=array_words(machine, m, k, n))
    return output(y, machine.outer.format, target, RNE).codes


@pytest.mark.parametrize("machine", MACHINES_DRAWN, ids=[machine.name for machine in MACHINES_DRAWN])
def test_three_ways_to_the_same_number(machine: Machine) -> None:
    print(f"seed {SEED}")
    rng, play = np.random.default_rng([SEED, machine.seed]), Play(machine)
    cases = [draw(play, machine, rng) for _ in range(GEMMS)]
    with Model.of(Accelerator, machine) as model:
        log, packets, _ = play.run(model, seed=SEED)

    port = machine.exchanged if machine.dataflow == "is" else machine
    remaining, agreed, bits = iter(packets), 0, 0
    for case in cases:
        (m, k), n = case.a.shape, case.b.shape[1]
        commands = [part.block.command for part in case.parts]
        stepped = step_gemm(machine, case.a, case.b, **case.choices)  # type: ignore[arg-type]
        counters = log[case.counters]
        assert log[case.packets] == len(commands), (m, k, n)
        assert counters["busy"] == stepped.stepped.cycles, (m, k, n)
        assert counters["busy"] == sequence_cycles(port, commands), (m, k, n)
        assert counters["busy"] == accelerator_cycles(machine, m, k, n), (m, k, n)
        assert {f"wait_{cause}": cycles for cause, cycles in asdict(stepped.stepped.waits).items()}.items() <= (
            counters.items()
        ), (m, k, n)

        blocks = [
            beats.results(port, command, packet)
            for command, packet in zip(commands, islice(remaining, len(commands)), strict=True)
        ]
        product = expected(machine, case)
        np.testing.assert_array_equal(assembled(machine, case.parts, blocks), product)
        np.testing.assert_array_equal(stepped.codes, product)
        agreed, bits = agreed + 1, bits + product.size
    assert next(remaining, None) is None
    assert agreed == GEMMS and bits > 10 * GEMMS


def test_there_are_300_draws_of_all_kinds() -> None:
    assert len(MACHINES_DRAWN) * GEMMS >= 300
    assert {machine.dataflow for machine in MACHINES_DRAWN} == set(DATAFLOWS)
    assert {machine.mac_depth for machine in MACHINES_DRAWN} == set(range(1, 8))
    for kind in ("segments", "passes_per_chunk"):
        assert sum(getattr(machine, kind) > 1 for machine in MACHINES_DRAWN) >= 2, kind
    for machines in (
        [machine for machine in MACHINES_DRAWN if machine.exact_register],
        [machine for machine in MACHINES_DRAWN if machine.inner_rounding.stochastic],
        [machine for machine in MACHINES_DRAWN if machine.inner_rounding == RNE],
    ):
        assert {machine.dataflow for machine in machines} == set(DATAFLOWS)
