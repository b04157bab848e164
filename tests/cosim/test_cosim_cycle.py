"""The stepped machine against the RTL: bits, busy cycles, and every cycle in which the array waited, by its cause."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from quaver.cosim.accelerator_runs import Play, Work
from quaver.cosim.command_cases import command_sequence
from quaver.cosim.simulator import Model
from quaver.golden import Accumulator, Machine, Matmul, sr
from quaver.golden.catalog import DLFLOAT16, E4M3, E5M2, FP16
from quaver.host import beats
from quaver.hw.accelerator import Accelerator
from quaver.sim import Stepped, step_sequence

SEQUENCES = 30
"""Per machine, all of them flowing."""
MACHINES = [
    Machine(
        name="segments",
        rows=4,
        columns=2,
        chunk=2,
        mac_depth=2,
        inner=Accumulator(format=DLFLOAT16, rounding=sr(6)),
        outer=Accumulator(format=FP16, rounding=sr(5)),
        a_formats=(E4M3,),
        b_formats=(E4M3,),
        output_formats=(E4M3,),
        accumulator_depth=16,
        scratchpad_depth=16,
        queue_depth=8,
    ),
    Machine(
        name="passes",
        dataflow="is",
        rows=2,
        columns=2,
        chunk=4,
        mac_depth=5,
        a_formats=(E4M3,),
        b_formats=(E5M2, E4M3),
        output_formats=(),
        output_random_bits=0,
        accumulator_depth=16,
        scratchpad_depth=16,
        queue_depth=8,
    ),
    Machine(
        name="turns",
        dataflow="os",
        rows=3,
        columns=2,
        chunk=4,
        mac_depth=3,
        inner=Accumulator(format=DLFLOAT16, rounding=sr(7)),
        outer=Accumulator(format=FP16, rounding=sr(4)),
        a_formats=(E4M3,),
        b_formats=(E5M2, E4M3),
        output_formats=(E4M3,),
        scratchpad_depth=16,
        queue_depth=8,
    ),
]


class Flow(NamedTuple):
    """A sequence, and where its number of packets of results and its counters are in the log."""

    work: list[tuple[Matmul, np.ndarray | None, np.ndarray | None]]
    packets: int
    counters: int


def flow(play: Play, machine: Machine, rng: np.random.Generator) -> Flow:
    """Play a random sequence from reset, its operands offered and its commands queued before it starts."""
    drawn = command_sequence(rng, machine, int(rng.integers(1, 6)), others=False)
    work = [(replace(w.command, report=False), w.a, w.b) for w in drawn if isinstance(w.command, Matmul)]
    play.do("reset")
    play.do("hold", True)
    play.do("clear")
    for each in work:
        play.send_operands(Work(*each))
    for command, _, _ in work:
        play.issue(command)
    play.do("hold", False)
    play.do("idle")
    return Flow(work, play.do("take", "results"), play.do("counters"))


def counted(stepped: Stepped) -> dict[str, int]:
    """What the stepped machine says that the RTL's counters read."""
    return {
        "busy": stepped.cycles,
        "macs": stepped.macs,
        "beats": len(stepped.entered),
        "wait_a": stepped.waits.a,
        "wait_b": stepped.waits.b,
        "wait_sums": stepped.waits.sums,
        "wait_results": stepped.waits.results,
    }


@pytest.mark.parametrize("machine", MACHINES, ids=[machine.name for machine in MACHINES])
def test_stepped_machine_is_the_rtl(machine: Machine) -> None:
    seed = int(machine.digest[:8], 16)
    print(f"seed {seed}")
    rng, play = np.random.default_rng(seed), Play(machine)
    flows = [flow(play, machine, rng) for _ in range(SEQUENCES)]
    with Model.of(Accelerator, machine) as model:
        log, packets, _ = play.run(model, seed=seed)

    port = machine.exchanged if machine.dataflow == "is" else machine
    remaining = iter(packets)
    results, waits = 0, dict.fromkeys(("wait_a", "wait_b", "wait_sums", "wait_results"), 0)
    for work, packets_at, counters_at in flows:
        stepped = step_sequence(machine, work)
        assert log[packets_at] == sum(codes is not None for codes in stepped.results)
        read = {name: value for name, value in log[counters_at].items() if name != "cycles"}
        assert read == counted(stepped), work
        waits = {name: total + read[name] for name, total in waits.items()}
        for (command, _, _), codes in zip(work, stepped.results, strict=True):
            if codes is not None:
                np.testing.assert_array_equal(beats.results(port, command, next(remaining)), codes)
                results += codes.size
    assert next(remaining, None) is None
    assert results > 300
    assert waits["wait_a"] > 0 and waits["wait_sums"] > 0
    assert (waits["wait_b"] > 0) == (machine.dataflow != "os"), "a row of b is there before its beats, a tile is not"
    assert waits["wait_results"] == 0, "the output buffer never limits a machine whose beats leave as they come"
