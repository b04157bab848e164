"""The stepped machine against golden's bits and the closed form's cycles, and hand counts of it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.cosim.command_cases import command_sequence
from quaver.golden import PRESETS, RNE, Accelerator, Accumulator, ExactSum, Machine, Matmul, sr
from quaver.golden.accelerator import beats
from quaver.golden.catalog import BF16, DLFLOAT16, E4M3, E5M2, E6M5, FP16, FP32
from quaver.sim import Stepped, Streams, step_sequence
from quaver.sim.sequence import sequence_cycles

DRAWS = 160
"""Machines with a sequence each; every second one is stepped again with streams that hesitate."""
HESITANT = 80
TINY, ECP5 = PRESETS["tiny"], PRESETS["ecp5"]
TURNING = replace(TINY, dataflow="os")
"""Two sums per PE, eight rows per tile; chunks end four k steps, that is, eight cycles apart."""

Work = list[tuple[Matmul, Any, Any]]


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    rows, dataflow = draw(st.integers(1, 6)), draw(st.sampled_from(["ws", "ws", "is", "os", "os"]))
    divisors = [d for d in range(1, rows + 1) if rows % d == 0]
    chunk = st.one_of(st.sampled_from(divisors), st.integers(1, 4).map(lambda f: f * rows))
    rounding = st.one_of(st.just(RNE), st.integers(1, 12).map(sr))
    sums = st.builds(Accumulator, format=st.sampled_from([DLFLOAT16, E6M5, FP16, FP32]), rounding=rounding)
    kind = draw(st.sampled_from(["float", "float", "exact", "s2fp8"]))
    squeezing = {"s2fp8": True, "a_formats": (E5M2, BF16), "b_formats": (BF16,)}
    return Machine(
        rows=rows,
        columns=draw(st.integers(1, 5)),
        dataflow=dataflow,
        chunk=draw(st.integers(1, 9) if dataflow == "os" else chunk),
        mac_depth=draw(st.integers(1, 7)),
        inner=ExactSum() if kind == "exact" else draw(sums),
        outer=draw(sums),
        accumulator_depth=draw(st.integers(2, 9)),
        scratchpad_depth=draw(st.integers(8, 20)),
        output_formats=draw(st.sampled_from([(), (E4M3, BF16)])),
        output_random_bits=draw(st.sampled_from([0, 7])),
        seed=draw(st.integers(0, (1 << 32) - 1)),
        **(squeezing if kind == "s2fp8" else {}),
    )


def sequence(machine: Machine, seed: int, length: int) -> Work:
    """Random multiplications, rare commands often."""
    work = command_sequence(np.random.default_rng(seed), machine, length, others=False)
    return [(step.command, step.a, step.b) for step in work if isinstance(step.command, Matmul)]


def hesitant(seed: int) -> Streams:
    """Streams that hesitate, each with a probability of its own."""

    def behaviour(stream: int) -> Callable[[int], bool]:
        rng = np.random.default_rng([seed, stream])
        moves = rng.random(1 << 14) >= rng.choice([0.0, 0.3, 0.8, 0.95])
        return lambda cycle: bool(moves[cycle % len(moves)])

    return Streams(a=behaviour(0), b=behaviour(1), results=behaviour(2))


def compared(machine: Machine, work: Work, stepped: Stepped) -> int:
    """Results that are equal to golden's; all of them must be."""
    golden = Accelerator(machine)
    count = 0
    for (command, a, b), result in zip(work, stepped.results, strict=True):
        expected = golden.run(command, a, b).codes
        assert (result is None) == (expected is None)
        if expected is not None:
            np.testing.assert_array_equal(result, expected)
            count += expected.size
    return count


def check_conservation(machine: Machine, work: Work, stepped: Stepped) -> None:
    """As many beats come and go as the commands ask for, each stream's in different cycles; none is lost or doubled."""
    commands = [command for command, _, _ in work if not command.empty]
    port = machine.exchanged if machine.dataflow == "is" else machine
    asked = [beats(port, command) for command in commands]
    sent = [size for size, (_, a, _) in zip(asked, [w for w in work if not w[0].empty], strict=True) if a is not None]
    tiles = [
        (port.block_products, command.depth)
        if command.transposed or port.dataflow == "os"
        else (command.columns, command.columns)
        for command in commands
    ]
    assert len(stepped.a_beats) == sum(sent)
    assert len(stepped.entered) == sum(asked)
    assert len(stepped.b_beats) == sum(
        (command.tiles - 1) * full + last for command, (full, last) in zip(commands, tiles, strict=True)
    )
    assert len(stepped.result_beats) == sum(command.rows for command in commands if command.last)
    for cycles in (stepped.a_beats, stepped.b_beats, stepped.entered, stepped.result_beats):
        assert all(before < after for before, after in pairwise(cycles))
    products = [(command.tiles - 1) * port.block_products + command.depth for command in commands]
    macs = sum(k * command.rows * command.columns for k, command in zip(products, commands, strict=True))
    assert stepped.macs == macs


def test_random_sequences() -> None:
    seen: list[tuple[Machine, Work, int]] = []

    @settings(max_examples=DRAWS, deadline=None, database=None, derandomize=True)
    @given(machines(), st.integers(0, 1 << 32), st.integers(1, 4))
    def draw(machine: Machine, seed: int, length: int) -> None:
        work = sequence(machine, seed, length)
        port = machine.exchanged if machine.dataflow == "is" else machine
        flowing = step_sequence(machine, work)
        count = compared(machine, work, flowing)
        assert flowing.cycles == sequence_cycles(port, [command for command, _, _ in work])
        check_conservation(machine, work, flowing)
        if len(seen) % (DRAWS // HESITANT) == 0:
            stream = hesitant(seed)
            slow = step_sequence(machine, work, stream)
            assert compared(machine, work, slow) == count
            check_conservation(machine, work, slow)
            assert slow.cycles >= flowing.cycles
            for cycles, moves in (
                (slow.a_beats, stream.a),
                (slow.b_beats, stream.b),
                (slow.result_beats, stream.results),
            ):
                assert all(map(moves, cycles))
        seen.append((machine, work, count))

    draw()
    drawn = [machine for machine, _, _ in seen]
    assert len(seen) >= 150
    assert sum(count for _, _, count in seen) > 1000
    assert min(Counter(machine.dataflow for machine in drawn)[dataflow] for dataflow in ("ws", "is", "os")) > 20
    assert {machine.interleave for machine in drawn if machine.dataflow == "os"} == set(range(1, 8))
    assert any(machine.segments > 1 for machine in drawn)
    assert any(machine.passes_per_chunk > 1 for machine in drawn)
    assert any(machine.exact_register for machine in drawn)
    assert any(machine.s2fp8 for machine in drawn)
    assert any(machine.inner_rounding.stochastic for machine in drawn)
    assert any(machine.outer.rounding.stochastic for machine in drawn)
    commands = [command for _, work, _ in seen for command, _, _ in work]
    for field in ("keep", "transposed", "stochastic", "empty"):
        assert any(getattr(command, field) for command in commands), field
    assert not all(command.first for command in commands)


def ones(machine: Machine, rows: int, tiles: int, **members: object) -> tuple[Matmul, Any, Any]:
    """A command with operands of small numbers."""
    depth = machine.block_products
    products = tiles * depth
    command = Matmul(rows=rows, columns=machine.columns, tiles=tiles, depth=depth, **members)  # type: ignore[arg-type]
    one = 0x38  # E4M3
    return command, np.full((rows, products), one), np.full((products, machine.columns), one)


def test_hand_count() -> None:
    """The block that the accelerator's page shows, 2 x 4 x 4 on `tiny`: each output is 1 + 1 + 1 + 1 = 4."""
    stepped = step_sequence(TINY, [ones(TINY, 2, 1)])
    assert stepped.b_beats == [0, 1, 2, 3]
    assert stepped.a_beats == [0, 1]
    assert stepped.entered == [6, 7]
    assert stepped.result_beats == [23, 24]
    assert stepped.cycles == 25
    assert stepped.macs == 2 * 4 * 4
    # The first beat is in the scratchpad for two cycles, then waits for four columns.
    assert asdict(stepped.waits) == {"a": 2, "b": 4, "sums": 0, "results": 0}
    assert stepped.results[0] is not None
    assert stepped.results[0].tolist() == [[0x4200] * 4] * 2  # 2^2 in 1-6-9: exponent field 31 + 2


def test_a_single_row_waits_for_its_sums() -> None:
    """`ecp5`: 8 columns are loaded by cycle 10, the next 8 by cycle 18; the sum is back 42 cycles after cycle 10."""
    stepped = step_sequence(ECP5, [ones(ECP5, 1, 2)])
    assert stepped.entered == [10, 52]
    assert asdict(stepped.waits) == {"a": 2, "b": 8 + 7, "sums": 52 - 18, "results": 0}


def test_hand_count_where_sums_stay() -> None:
    """The same block with `os`: four k steps of two beats; 8 cycles to the foot, 1 through the adder, 5 to the sums."""
    stepped = step_sequence(TURNING, [ones(TURNING, 2, 4)])
    assert stepped.b_beats == [0, 1, 2, 3]
    assert stepped.a_beats == list(range(8))
    assert stepped.entered == list(range(2, 10))
    assert stepped.result_beats == [9 + 14 + 4, 28]
    assert stepped.macs == 2 * 4 * 4
    assert asdict(stepped.waits) == {"a": 2, "b": 0, "sums": 0, "results": 0}
    assert stepped.results[0] is not None
    assert stepped.results[0].tolist() == [[0x4200] * 4] * 2


def test_short_chunks_wait_for_their_way_out() -> None:
    """A chunk of one product is complete with its first k step; the next one is a drain later."""
    machine = replace(TURNING, chunk=1)
    stepped = step_sequence(machine, [ones(machine, 8, 3)])
    assert stepped.entered == [2, 3, 10, 11, 18, 19]
    assert asdict(stepped.waits) == {"a": 2, "b": 0, "sums": 2 * 6, "results": 0}


def test_a_late_beat_waits_for_its_turn() -> None:
    """The third beat comes a cycle late, in its neighbour's turn; between chunks it would enter at once."""
    late = Streams(a=lambda cycle: cycle != 2)
    stepped = step_sequence(TURNING, [ones(TURNING, 8, 2)], late)
    assert (stepped.a_beats, stepped.entered) == ([0, 1, 3, 4], [2, 3, 6, 7])
    assert asdict(stepped.waits) == {"a": 3, "b": 0, "sums": 1, "results": 0}
    late = Streams(a=lambda cycle: cycle < 2 or cycle >= 31)
    stepped = step_sequence(TURNING, [ones(TURNING, 8, 1), ones(TURNING, 8, 1)], late)
    assert (stepped.a_beats, stepped.entered) == ([0, 1, 31, 32], [2, 3, 33, 34])


def test_an_empty_command_may_make_the_next_one_late() -> None:
    """The second tile of one row could be asked for in cycle 1, but its command leaves the queue in cycle 2."""
    machine = replace(TINY, columns=1)
    row = Matmul(rows=1, columns=1, tiles=1, depth=1, transposed=True), np.array([[0x38]]), np.array([[0x38]])
    empty = Matmul(rows=1, columns=0, tiles=1, depth=1), None, None
    at_once, late = step_sequence(machine, [row, row]), step_sequence(machine, [row, empty, row])
    assert (at_once.b_beats, late.b_beats) == ([0, 1], [0, 2])
    assert (at_once.entered, late.entered) == ([3, 4], [3, 5])


def test_results_that_are_not_taken_fill_the_buffers() -> None:
    """Then the beats of last K tiles wait, and nothing is lost."""
    work = [ones(TINY, 16, 1) for _ in range(4)]
    late = step_sequence(TINY, work, Streams(results=lambda cycle: cycle >= 200))
    held = TINY.output_depth + 1 + TINY.output_latency  # the buffer, what it shows, and the output unit
    assert sum(cycle < 200 for cycle in late.entered) == held
    assert late.result_beats == list(range(200, 264))
    assert late.waits.results > 100
    assert compared(TINY, work, late) == 4 * 16 * 4


def test_a_tile_waits_for_room_for_all_its_rows() -> None:
    """Four tiles of eight rows fill the buffer's 32 slots; five beats leave it, and the fifth tile needs eight."""
    work = [ones(TURNING, 8, 4) for _ in range(6)]
    late = step_sequence(TURNING, work, Streams(results=lambda cycle: cycle >= 200))
    assert TURNING.output_depth == 32
    assert sum(cycle < 200 for cycle in late.entered) == 4 * 8 + 3 * 2  # all but its last k step
    assert late.result_beats[0] == 200
    assert late.waits.results == late.waits.sums > 80  # its turn is every second cycle
    assert compared(TURNING, work, late) == 6 * 8 * 4


def test_an_operand_that_does_not_come_is_waited_for() -> None:
    work = [ones(TINY, 3, 1)]
    late = step_sequence(TINY, work, Streams(a=lambda cycle: cycle >= 50))
    assert (late.a_beats, late.entered) == ([50, 51, 52], [52, 53, 54])
    assert asdict(late.waits) == {"a": 52, "b": 0, "sums": 0, "results": 0}
    late = step_sequence(TINY, work, Streams(b=lambda cycle: cycle >= 50))
    assert (late.b_beats, late.entered) == ([50, 51, 52, 53], [56, 57, 58])
    assert asdict(late.waits) == {"a": 2, "b": 54, "sums": 0, "results": 0}


def test_rows_that_come_before_their_beats_fill_the_queue() -> None:
    """With `os`; a row that comes later is there in the next cycle, and the array has waited since cycle 2."""
    work = [ones(TURNING, 8, 20)]
    late = step_sequence(TURNING, work, Streams(a=lambda cycle: cycle >= 50))
    assert [cycle for cycle in late.b_beats if cycle < 50] == list(range(TURNING.queue_depth))
    assert asdict(late.waits) == {"a": 52, "b": 0, "sums": 0, "results": 0}
    late = step_sequence(TURNING, work, Streams(b=lambda cycle: cycle >= 50))
    assert late.entered[0] == 51
    assert asdict(late.waits) == {"a": 2, "b": 51 - 2, "sums": 0, "results": 0}


WRONG = [
    ("foot_cycle", 1),
    ("foot_cycle", -1),
    ("store_cycle", 1),
    ("store_cycle", -1),
    ("round_trip", -1),
    ("load_cycles", -1),
    ("product_latency", 1),
    ("adder_latency", 1),
    ("outer_latency", 1),
    ("chunk_latency", 1),
]


WRONG_TURNING = [
    ("foot_cycle", 1),
    ("foot_cycle", -1),
    ("store_cycle", 1),
    ("store_cycle", -1),
    ("drain_steps", -1),
    ("interleave", 1),
    ("product_latency", 1),
    ("adder_latency", 1),
    ("outer_latency", 1),
    ("chunk_latency", 1),
]


def check_wrong_latency(machine: Machine, latency: str, change: int, rows: tuple[int, ...]) -> None:
    """`machine` steps commands of so many rows right, and wrong once a latency is another one."""
    rng, depth = np.random.default_rng(7), machine.block_products
    shape = {"columns": 2, "tiles": 5, "depth": depth}
    work = [
        (Matmul(rows=m, **shape), rng.integers(1, 0x60, (m, 5 * depth)), rng.integers(1, 0x60, (5 * depth, 2)))
        for m in rows
    ]
    assert compared(machine, work, step_sequence(machine, work)) == 2 * sum(rows)
    for name in dict.fromkeys(name for name, _ in WRONG + WRONG_TURNING):  # each is derived before one is changed
        getattr(machine, name)
    machine.__dict__[latency] += change
    right = replace(machine)
    with pytest.raises((ValueError, AssertionError)):
        compared(right, work, step_sequence(machine, work, limit=2000))


@pytest.mark.parametrize("chunk", [2, 8], ids=["segments", "passes"])
@pytest.mark.parametrize(("latency", "change"), WRONG, ids=[f"{name}{change:+}" for name, change in WRONG])
def test_a_wrong_latency_is_a_wrong_bit(latency: str, change: int, chunk: int) -> None:
    machine = Machine(rows=4, columns=2, chunk=chunk, mac_depth=3, accumulator_depth=8)
    check_wrong_latency(machine, latency, change, (1, 2, 8))


@pytest.mark.parametrize("chunk", [1, 4])
@pytest.mark.parametrize(("latency", "change"), WRONG_TURNING, ids=[f"{n}{change:+}" for n, change in WRONG_TURNING])
def test_a_wrong_latency_is_a_wrong_bit_where_sums_stay(latency: str, change: int, chunk: int) -> None:
    machine = Machine(dataflow="os", rows=3, columns=2, chunk=chunk, mac_depth=3)
    check_wrong_latency(machine, latency, change, (1, 4, 9))


def test_what_cannot_be_stepped_is_refused() -> None:
    work = [ones(TINY, 2, 1)]
    with pytest.raises(ValueError, match=r"^the sequence must end within 24 cycles$"):
        step_sequence(TINY, work, limit=24)
    command, a, b = work[0]
    with pytest.raises(ValueError, match=r"^a must be of shape \(2, 4\), not \(1, 4\)$"):
        step_sequence(TINY, [(command, a[:1], b)])
    with pytest.raises(ValueError, match=r"^b must be of shape \(4, 4\), not \(4, 3\)$"):
        step_sequence(TINY, [(command, a, b[:, :3])])


def test_nothing_to_do_takes_no_time() -> None:
    empty = Matmul(rows=0, columns=1, tiles=1, depth=1)
    stepped = step_sequence(TINY, [(empty, None, None)])
    assert (stepped.results, stepped.cycles, stepped.macs) == ([None], 0, 0)
