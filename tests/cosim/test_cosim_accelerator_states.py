# amaranth: UnusedElaboratable=no
"""The accelerator's states: resets at any moment, commands without work, interrupts, counters, seeds, reports."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from quaver.cosim.accelerator_runs import Work
from quaver.cosim.command_cases import block, command_sequence, update
from quaver.cosim.expectations import Expectations, Found
from quaver.cosim.simulator import SimulatorError
from quaver.golden import Matmul, Reseed
from quaver.golden.accelerator import beats
from quaver.host.registers import STATUS_BITS
from quaver.hw.core import REPORTS, generator_groups
from quaver.hw.seeder import Seeder
from quaver.sim.sequence import sequence_cycles


def passed(found: Found, at_least: int) -> None:
    """Assert that nothing differs from what is expected, and that so much was compared."""
    assert found.differences == []
    assert found.compared >= at_least


def test_a_machine_without_operands_hangs_and_the_bench_says_so(built):
    machine, model = built
    story = Expectations(machine)
    work = block(np.random.default_rng(6), machine)
    story.play.issue(work.command)
    story.do("idle")
    with pytest.raises(SimulatorError, match="the machine hangs"):
        story.run(model, timeout=300)


def test_commands_that_have_nothing_to_do(built):
    machine, model = built
    rng, story = np.random.default_rng(10), Expectations(machine)
    whole = {"rows": 1, "columns": 1, "tiles": 1, "depth": 1}
    empties = [
        Work(Matmul(**(whole | {name: 0}), **flags))
        for name in ("rows", "columns", "tiles")
        for flags in ({}, {"last": False}, {"first": False}, {"report": True, "keep": True})
    ]
    if machine.update_lanes:
        empties.append(update(rng, machine, 0))
    for empty in empties:
        story.take(empty)
        story.settle()
    for empty in empties:
        story.take(block(rng, machine, depth=machine.block_products, last=False, keep=True))
        story.take(empty)
        story.take(block(rng, machine, first=False)._replace(a=None))
        story.take(empty)
        story.follow(rng)
    passed(story.run(model), 18 * len(empties))
    assert len(empties) >= 12


def test_interrupts(built):
    machine, model = built
    rng, story = np.random.default_rng(11), Expectations(machine)
    wrong = replace(block(rng, machine).command, depth=0)
    for enabled in (
        [],
        ["malformed"],
        ["done"],
        ["malformed", "done"],
        [name for name in STATUS_BITS if name != "malformed"],
    ):
        story.do("enable", *enabled)
        story.expect(0, "irq")
        story.refuse(wrong, "malformed")
        story.expect(int("malformed" in enabled), "irq")
        story.take(block(rng, machine, stochastic=False, scale=-100))
        story.do("idle")
        story.expect(int(bool(story.status & set(enabled))), "irq")
        story.do("clear_status", "malformed")
        story.status.remove("malformed")
        story.expect(sorted(story.status), "status")
        story.expect(int(bool(story.status & set(enabled))), "irq")
        story.do("clear_status", *story.status)
        story.expect([], "status")
        story.expect(0, "irq")
        story.status.clear()
        story.settle()
    passed(story.run(model), 60)


def test_counters(built):
    machine, model = built
    rng, story = np.random.default_rng(12), Expectations(machine)
    sequence = [block(rng, machine, rows=rows, tiles=2) for rows in (1, 3, 2)]
    story.do("hold", True)
    for work in sequence:
        story.take(work)
    story.do("clear")
    story.do("hold", False)
    story.do("idle")
    counters = story.do("counters")
    story.settle()
    # 40 is a multiple of `interleave`: with `os`, the array goes on when it is the turn of the sum.
    # The clock's own counter against the bench's time, and one kind of waiting at a time, shorter and longer.
    clock = [story.do(name) for _ in range(2) for name in ("now", "counters")]
    waits = {name: [starved(story, rng, name, cycles) for cycles in (200, 240)] for name in ("a", "b", "results")}
    story.do("clear")
    cleared = story.do("counters")
    found = story.run(model)
    passed(found, 60)
    commands = [work.command for work in sequence]
    log = found.log
    assert log[counters]["busy"] == sequence_cycles(machine, commands) > 0
    assert log[counters]["macs"] == sum(
        work.a.size * command.columns for work, command in zip(sequence, commands, strict=True)
    )
    assert log[counters]["beats"] == sum(beats(machine, command) for command in commands)
    assert log[clock[3]]["cycles"] - log[clock[1]]["cycles"] == log[clock[2]] - log[clock[0]] > 20
    # With `os`, a beat that waits for room misses its turn, and waits for the sum to come round again.
    both = {"results", "sums"} if machine.dataflow == "os" else {"results"}
    for name, places in waits.items():
        short, long = ({kind: log[place][f"wait_{kind}"] for kind in ("a", "b", "sums", "results")} for place in places)
        kinds = both if name == "results" else {name}
        assert sum(long[kind] - short[kind] for kind in kinds) == 40 and short[name] > 100
        assert all(long[kind] == short[kind] for kind in long.keys() - kinds)
    assert log[cleared]["cycles"] < 100
    assert {name: count for name, count in log[cleared].items() if name != "cycles"} == dict.fromkeys(
        ("busy", "macs", "beats", "wait_a", "wait_b", "wait_sums", "wait_results"), 0
    )


def starved(story: Expectations, rng, name: str, cycles: int) -> int:
    """The counters after commands that had to wait for a stream; returns their place in the log."""
    story.do("clear")
    story.do("pause", name, True)
    # More results than the machine has room for, but no more commands.
    for _ in range(2 * story.machine.queue_depth - 1 if name == "results" else 1):
        story.take(block(rng, story.machine, rows=story.machine.block_rows))
    story.do("cycles", cycles)
    story.do("pause", name, False)
    story.do("idle")
    place = story.do("counters")
    story.settle()
    return place


def test_reseeding_takes_its_time_and_gives_its_words(built):
    machine, model = built
    rng, story = np.random.default_rng(13), Expectations(machine)
    empty = Matmul(rows=0, columns=0, tiles=0, depth=0)
    story.do("enable", "done")
    places = []
    for seed in (0, 1, 0xDEADBEEF, 0xFFFFFFFF):
        pair = []
        for command in (empty, Reseed(seed=seed)):
            kind = type(command).__name__.lower()
            pair.append(story.do("interrupted", kind, **asdict(command)))
            story.execute(Work(command))
            story.settle()
        places.append(pair)
        story.follow(rng, 3)
        if seed == 1:
            story.do("reset")
            story.start_anew()
            story.do("enable", "done")
            story.follow(rng, 2)
    found = story.run(model)
    passed(found, 80)
    cycles = Seeder(generator_groups(machine)).cycles
    # Both are written, queued and at the head of the queue alike.
    times = {tuple(found.log[place] for place in pair) for pair in places}
    assert times == {(3, 2 + cycles)}


def test_reports_that_nobody_reads(built):
    machine, model = built
    rng, story = np.random.default_rng(14), Expectations(machine)
    story.do("hesitate", 0.0, 0.0, 0.0, 0.0)
    for _ in range(2):
        for _ in range(REPORTS + 2):
            story.take(block(rng, machine, report=True))
        story.do("cycles", 300)
        story.expect(story.completed - 2, "completed")
        story.settle()
    story.follow(rng, 3)
    passed(story.run(model), 50)


def test_a_reset_at_any_moment(built):
    machine, model = built
    rng, story = np.random.default_rng(15), Expectations(machine)
    hows = ["port", "stopped", "flushed"] * 20
    for number, how in enumerate(hows):
        slow = (0.0, 0.0, 0.0, 0.0) if number % 2 else tuple(rng.choice([0.0, 0.3, 0.7], 4).tolist())
        story.do("hesitate", *slow)
        # For some of them the operands do not come, or no command for the operands.
        for work in command_sequence(rng, machine, int(rng.integers(1, 5))):
            if rng.random() < 0.9:
                story.play.send_operands(work)
            if rng.random() < 0.9:
                story.play.issue(work.command, patient=False)
        story.do("cycles", int(rng.integers(0, 100)))
        if how == "port":
            story.do("reset")
            story.expect(0, "read", "INTERRUPT")
            story.expect(0, "read", "COMMAND_ROWS")
        elif how == "stopped":
            story.do("halt", True)
            story.do("restart")
            story.do("halt", False)
        else:
            story.do("restart", True)
            story.do("sent")
            story.expect(8, "read", "CONTROL")
            story.do("halt", True)
            story.do("halt", False)
            story.do("flush", False)
        story.expect(machine.queue_depth, "read", "ACTIVITY")
        story.start_anew()
        story.do("clear")
        story.follow(rng, 3)
    passed(story.run(model, seed=15), 9 * len(hows))


def test_what_a_reset_by_command_keeps(built):
    machine, model = built
    story = Expectations(machine)
    rng = np.random.default_rng(16)
    story.do("enable", "done")
    story.refuse(replace(block(rng, machine).command, depth=0), "malformed")
    story.do("restart")
    story.expect(["malformed"], "status")
    story.expect(1, "read", "INTERRUPT")
    story.expect(3, "read", "COMMAND_ROWS")
    story.settle()
    passed(story.run(model), 8)
