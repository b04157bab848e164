"""The fast bench against golden and simulator, on every dataflow; and the ways of the generators."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from quaver.cosim import flow
from quaver.cosim.array_runs import GemmCase, run_model
from quaver.cosim.flow import FlowingArray
from quaver.cosim.positions import between
from quaver.cosim.simulator import SimulatorError
from quaver.golden import Accumulator, ArrayWords, Issued, Machine, gemm, issued_by, sr
from quaver.golden.catalog import BF16, DLFLOAT16, E4M3, E5M2, FP16
from tests.cosim.conftest import OS, WS

PASSES = Machine(
    name="passes",
    dataflow="is",
    rows=2,
    columns=3,
    chunk=6,
    mac_depth=3,
    a_formats=(E4M3,),
    b_formats=(E5M2, BF16, E4M3),
    inner=Accumulator(format=DLFLOAT16, rounding=sr(7)),
    outer=Accumulator(format=FP16, rounding=sr(4)),
    accumulator_depth=8,
    seed=5,
)
MACHINES = [WS, OS, PASSES]
SHAPES = [(1, 1, 1), (19, 7, 5), (4, 23, 9), (3, 2, 1)]


@pytest.fixture(scope="module", params=MACHINES, ids=[machine.name for machine in MACHINES])
def array(request: pytest.FixtureRequest) -> Iterator[FlowingArray]:
    with FlowingArray(request.param) as running:
        yield running


def test_bits_and_cycles(array: FlowingArray, make_case: Callable[..., GemmCase]) -> None:
    """Without reset the generators go on, with it they start again."""
    rng, machine = np.random.default_rng(3), array.machine
    cases = [make_case(rng, machine, shape, choice=i, reset=i == 0) for i, shape in enumerate(SHAPES)]
    expected = run_model(machine, cases)
    for _ in range(2):
        array.reset()
        for case, run in zip(cases, expected, strict=True):
            got = array.gemm(case.a, case.b, case.a_format, case.b_format)
            np.testing.assert_array_equal(got.y, run.y)
            assert got.cycles == run.cycles


def test_zeros_bring_generators_to_any_place(array: FlowingArray, make_case: Callable[..., GemmCase]) -> None:
    machine, at = array.machine, Issued()
    rng = np.random.default_rng(8)
    array.reset()
    for index in range(5):
        shapes = rng.integers(1, [60, 30, 20], (3, 3)).tolist()
        skipped = [issued_by(machine, *shape) for shape in shapes]
        place = Issued(at.beats + sum(i.beats for i in skipped), at.sums + sum(i.sums for i in skipped))
        for shape, times in between(machine, at, place):
            array.pass_over(*shape, times)
        case = make_case(rng, machine, (9, 11, 5), choice=index)
        words = ArrayWords.of(machine, place)
        y = gemm(case.a, case.b, machine.arithmetic(case.a_format, case.b_format), words=words)
        np.testing.assert_array_equal(array.gemm(case.a, case.b, case.a_format, case.b_format).y, y)
        at = words.after(9, 11, 5).issued


def test_parts_of_a_gemm_are_one_stream(
    array: FlowingArray, make_case: Callable[..., GemmCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little is sent at a time, no cycle is lost."""
    monkeypatch.setattr("quaver.cosim.tiles.PART", 1)
    case = make_case(np.random.default_rng(4), array.machine, (9, 25, 7))
    array.reset()
    got, (run,) = array.gemm(case.a, case.b, case.a_format, case.b_format), run_model(array.machine, [case])
    np.testing.assert_array_equal(got.y, run.y)
    assert got.cycles == run.cycles


@pytest.mark.parametrize(
    ("more", "words"),
    [(1, "GEMM 1 hangs with 1 beats of sums to come"), (-1, "GEMM 1 gave 1 beats of sums too many")],
)
def test_wrong_numbers_of_beats(monkeypatch: pytest.MonkeyPatch, more: int, words: str) -> None:
    """What goes wrong in the bench is told, and again when it is asked once more."""
    expected = flow.sum_beats
    one = np.zeros((1, 1), np.int64)
    with FlowingArray(WS) as array:
        array.gemm(one, one, E4M3, E4M3)
        monkeypatch.setattr(flow, "sum_beats", lambda *shape: expected(*shape) + more)
        for _ in range(2):
            with pytest.raises(SimulatorError, match=f"^bench_flow failed with status 1\n{words}$"):
                array.gemm(one, one, E4M3, E4M3)


def test_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (tmp_path / "c++").write_text("#!/bin/sh\necho no space left\nexit 3\n", encoding="utf-8")
    (tmp_path / "c++").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with pytest.raises(SimulatorError, match=r"^Verilator did not build quaver_array: c\+\+ failed\nno space left$"):
        FlowingArray(WS)
    assert list(scratch.iterdir()) == []


WAYS = [
    Machine(dataflow=dataflow, rows=rows, columns=3, chunk=chunk, mac_depth=2, accumulator_depth=5)
    for dataflow, rows, chunk in (("ws", 4, 2), ("ws", 2, 6), ("is", 3, 9), ("is", 4, 4), ("os", 3, 7), ("os", 1, 1))
]


@pytest.mark.parametrize("machine", WAYS, ids=lambda machine: f"{machine.dataflow}-{machine.rows}-{machine.chunk}")
def test_ways_that_gemms_have_gone(machine: Machine) -> None:
    """Whatever GEMMs issue, zeros do, in one output tile at a time."""
    rng = np.random.default_rng(machine.chunk)
    for _ in range(200):
        start = Issued(*rng.integers(0, 1000, 2).tolist())
        stop = start
        for shape in rng.integers(1, [40, 40, 20], (rng.integers(0, 4), 3)).tolist():
            stop = Issued(*(had + more for had, more in zip(stop, issued_by(machine, *shape), strict=True)))
        reached = start
        zeros = between(machine, start, stop)
        assert len(zeros) <= 4
        for (m, k, n), times in zeros:
            assert (
                times > 0
                and (m <= machine.block_rows or machine.dataflow == "is")
                and k <= max(machine.chunk, machine.rows)
            )
            more = issued_by(machine, m, k, n)
            reached = Issued(reached.beats + times * more.beats, reached.sums + times * more.sums)
        assert reached == stop


@pytest.mark.parametrize(
    ("machine", "start", "stop"),
    [
        (WAYS[0], (0, 0), (5, 4)),
        (WAYS[0], (3, 3), (2, 2)),
        (WAYS[1], (0, 0), (4, 1)),
        (WAYS[1], (0, 0), (3, 0)),
        (WAYS[1], (0, 0), (1, 2)),
        (WAYS[4], (0, 0), (3, 6)),
        (WAYS[4], (0, 0), (2, 5)),
    ],
)
def test_ways_that_no_gemm_goes(machine: Machine, start: tuple[int, int], stop: tuple[int, int]) -> None:
    message = f"issued must be what GEMMs on machine can issue after {list(start)}, not {list(stop)}"
    with pytest.raises(ValueError) as caught:
        between(machine, Issued(*start), Issued(*stop))
    assert str(caught.value) == message
