"""Output- and input-stationary arrays: every bit against the golden model, every cycle against the closed form."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from quaver.cli.main import main
from quaver.cosim.array_runs import GemmCase, run_model, run_rtl, run_together
from quaver.cosim.cases import gemm_cases
from quaver.cosim.simulator import Model, SimulatorError
from quaver.cosim.verify import GEMMS, check_gemms
from quaver.golden import RHA, RNE, RTZ, Accumulator, ExactSum, Format, Machine, Rounding, gemm, sr
from quaver.golden.catalog import BF16, DLFLOAT16, E4M3, E4M3FNUZ, E5M2, E5M2FNUZ, E6M5, E6M5_SUB, FP16, FP32, HFP8_153
from quaver.hw.array import array_class
from quaver.sim import gemm_cycles

RANDOM = 20
"""GEMMs of random shape per machine, every second one with idle cycles and back-pressure."""
CaseMaker = Callable[..., GemmCase]
Agree = Callable[..., None]


def kept(fmt: Format, rounding: Rounding = RNE) -> Accumulator:
    return Accumulator(format=fmt, rounding=rounding)


def machine(dataflow: str, rows: int, columns: int, chunk: int, mac_depth: int, **fields: object) -> Machine:
    return Machine(
        name=f"{dataflow}-{rows}x{columns}-chunk{chunk}-depth{mac_depth}",
        dataflow=dataflow,  # type: ignore[arg-type]
        rows=rows,
        columns=columns,
        chunk=chunk,
        mac_depth=mac_depth,
        seed=rows * columns,
        **fields,  # type: ignore[arg-type]
    )


MACHINES = [
    machine("os", 4, 4, 4, 2),
    machine("os", 6, 3, 4, 4, inner=kept(FP16, sr(8)), outer=kept(FP32, sr(12))),
    machine("os", 3, 2, 1, 7, inner=kept(FP32), outer=kept(FP16, RHA)),
    machine("os", 1, 4, 5, 1, inner=kept(BF16), outer=kept(BF16, sr(16))),
    machine("os", 5, 1, 7, 3, a_formats=(E5M2, E4M3, HFP8_153), inner=kept(E6M5, sr(5))),
    machine("os", 1, 1, 3, 7, a_formats=(E5M2FNUZ, E4M3FNUZ), b_formats=(BF16,), outer=kept(FP32)),
    machine("os", 1, 1, 1, 1, inner=kept(E6M5_SUB, sr(1)), outer=kept(E6M5)),
    machine("os", 2, 6, 16, 6, inner=kept(DLFLOAT16, sr(10)), outer=kept(DLFLOAT16, sr(7)), sr_adder="eager"),
    machine("os", 3, 4, 6, 5, inner=ExactSum(), outer=kept(FP16, sr(9))),
    machine("os", 7, 2, 13, 5, a_formats=(E4M3,), b_formats=(E5M2,), inner=kept(FP16, RTZ)),
    machine(
        "is", 4, 2, 8, 4, a_formats=(E4M3,), inner=kept(FP16, sr(8)), outer=kept(FP32, sr(12)), accumulator_depth=5
    ),
    machine("is", 6, 3, 2, 3, b_formats=(E5M2, E4M3, HFP8_153), inner=kept(DLFLOAT16, sr(9)), accumulator_depth=16),
]


@pytest.fixture(scope="module", params=MACHINES, ids=[m.name for m in MACHINES])
def described(request: pytest.FixtureRequest) -> Machine:
    return request.param


@pytest.fixture(scope="module")
def model(described: Machine) -> Iterator[Model]:
    with Model.of(array_class(described), described) as built:
        yield built


def seed_for(described: Machine) -> int:
    seed = int(described.digest[:8], 16)
    print(f"seed {seed}")
    return seed


def turned(described: Machine, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """A shape told as rows that stream, products, columns that are held: as M, K, N."""
    return shape[::-1] if described.dataflow == "is" else shape


def test_random_shapes(described: Machine, model: Model, agree: Agree) -> None:
    seed = seed_for(described)
    cases = gemm_cases(np.random.default_rng(seed), described, RANDOM)
    assert sum(case.flows for case in cases) == RANDOM // 2
    agree(check_gemms(model, described, cases, seed), cases)


def test_shapes_at_the_edges_of_tiles(described: Machine, model: Model, make_case: CaseMaker, agree: Agree) -> None:
    """Undisturbed: cycles of every one count.  Without reset: the generators' words run on from GEMM to GEMM."""
    rng = np.random.default_rng(seed_for(described))
    block, columns, chunk, drain = (
        described.block_rows,
        described.columns,
        described.chunk,
        described.drain_steps if described.dataflow == "os" else described.rows,
    )
    shapes = [
        (1, 1, 1),
        (block, 1, columns),
        (3 * block, 1, 3 * columns),
        (1, 2 * chunk, 3 * columns),
        (block + 1, chunk, columns + 1),
        (block, chunk + 1, 2 * columns),
        (2 * block - 1, 3 * chunk - 1, columns),
        (2 * block, drain, columns),
        (block, 2 * drain + 1, 1),
        (2 * block, 2 * chunk + drain - 1, 2 * columns),
    ]
    cases = [
        make_case(rng, described, turned(described, shape), choice=i, reset=i == 0) for i, shape in enumerate(shapes)
    ]
    agree(check_gemms(model, described, cases, 0), cases)


SLOW = [(0.9, 0.0, 0.0), (0.0, 0.9, 0.0), (0.0, 0.0, 0.95), (0.8, 0.1, 0.8)]
"""Weights that starve the array, activations that do, a sink that fills its buffer to the brim, and a bit of each."""


def test_slow_streams(described: Machine, model: Model, make_case: CaseMaker, agree: Agree) -> None:
    seed = seed_for(described)
    rng = np.random.default_rng(seed)
    chunk, columns = min(described.chunk, described.rows + 1), described.columns
    shapes = [(3, 2 * chunk + 1, 2 * columns), (3 * described.block_rows, 1, 2 * columns)]
    cases = [
        make_case(
            rng,
            described,
            turned(described, shape),
            choice=i,
            reset=i == 0,
            weights_idle=weights,
            activations_idle=activations,
            stall=stall,
        )
        for weights, activations, stall in SLOW
        for i, shape in enumerate(shapes)
    ]
    agree(check_gemms(model, described, cases, seed), cases)


def test_back_to_back(described: Machine, model: Model, make_case: CaseMaker) -> None:
    """GEMMs of changing formats follow each other without a gap, as one stream of beats."""
    rng = np.random.default_rng(seed_for(described))
    shapes = rng.integers(1, [13, 2 * described.rows + 1, 2 * described.columns + 1], (8, 3)).tolist()
    cases = [make_case(rng, described, shape, choice=i, reset=i == 0) for i, shape in enumerate(shapes)]
    results, _ = run_together(model, described, cases, stall=0.3, seed=1)
    for y, expected in zip(results, run_model(described, cases), strict=True):
        np.testing.assert_array_equal(y, expected.y)


def test_the_next_gemm_costs_what_the_next_tiles_do(described: Machine, model: Model, make_case: CaseMaker) -> None:
    """Two GEMMs as one stream take as long as one that has the tiles of both."""
    rng = np.random.default_rng(seed_for(described))
    m, k, n = described.block_rows, 2 * described.chunk + 1, described.columns
    cases = [make_case(rng, described, turned(described, (m, k, n))) for _ in range(3)]
    _, cycles = run_together(model, described, cases)
    assert cycles == gemm_cycles(described, *turned(described, (m, k, 3 * n)))


def test_machines_differ_as_they_should() -> None:
    slotted = [m for m in MACHINES if m.dataflow == "os"]
    assert len(MACHINES) * RANDOM >= 200
    assert {m.mac_depth for m in slotted} == set(range(1, 8))
    assert {(m.chunk > m.rows) - (m.chunk < m.rows) for m in slotted} == {-1, 0, 1}
    assert any(m.chunk % m.rows and m.rows % m.chunk for m in slotted)
    assert any(m.drain_steps > m.rows for m in slotted), "the outer sum's round trip counts"
    assert {(m.rows > 1, m.columns > 1) for m in slotted} == {(a, b) for a in (False, True) for b in (False, True)}
    assert {(m.inner_rounding.stochastic, m.outer.rounding.stochastic) for m in slotted} == {
        (a, b) for a in (False, True) for b in (False, True)
    }
    assert any(m.inner == ExactSum() for m in slotted)
    exchanged = [m for m in MACHINES if m.dataflow == "is"]
    assert len(exchanged) >= 2 and all(m.a_formats != m.b_formats for m in exchanged)


def test_bits_do_not_depend_on_the_dataflow(make_case: CaseMaker) -> None:
    """ARITHMETIC: machines that share formats, rounding and chunk give the same result, whatever their dataflow."""
    base = Machine(rows=4, columns=3, chunk=8, mac_depth=3, outer=kept(FP16), accumulator_depth=9)
    machines = [base, replace(base, dataflow="os"), replace(base, dataflow="is"), replace(base, dataflow="os", rows=3)]
    rng = np.random.default_rng(8)
    shapes = [(7, 40, 5), (29, 27, 7), (1, 8, 4)]
    cases = [make_case(rng, base, shape, choice=i) for i, shape in enumerate(shapes)]
    expected = [gemm(c.a, c.b, base.arithmetic(c.a_format, c.b_format)) for c in cases]
    compared = 0
    for described in machines:
        with Model.of(array_class(described), described) as built:
            for run, y in zip(run_rtl(built, described, cases), expected, strict=True):
                np.testing.assert_array_equal(run.y, y)
                compared += y.size
    assert compared == len(machines) * sum(m * n for m, _, n in shapes)


SMALL = Machine(name="small", dataflow="os", rows=3, columns=2, chunk=2, mac_depth=2, inner=kept(DLFLOAT16, sr(8)))
"""Short chunks, which wait for each other."""
FRESH = ("quaver_output_stationary_element", r"(assign mac__sum) = [^;]+;", r"\1 = ring;")
"""A chunk goes on from the sum of the one before."""
STEP = ("quaver_output_stationary_row", r"\.step\([^)]+\)", ".step(1'h1)")
"""Idle cycles are dealt words."""
LATE = (
    "quaver_output_stationary_array",
    r"assign (\w+) = patience - 1'h1;",
    r"reg [1:0] late = 0; always @(posedge clk) late <= late + 1; assign \1 = patience - late[1];",
)
"""A chunk waits too long for the one before: no bit is wrong."""
EARLY = ("quaver_output_stationary_array", r"= ! patience;", "= patience <= 1;")
"""A chunk's sums leave before those of the one before are out, which are lost."""


@pytest.mark.parametrize(
    ("fault", "bits_differ"), [(FRESH, True), (STEP, True), (LATE, False)], ids=["fresh", "step", "late"]
)
def test_faults_are_found(faulty: Callable[..., Model], fault: tuple[str, str, str], bits_differ: bool) -> None:
    cases = gemm_cases(np.random.default_rng(3), SMALL, 20)
    with faulty(array_class(SMALL), SMALL, *fault) as model:
        bits, cycles = check_gemms(model, SMALL, cases, 3)
    assert bits.compared == sum(case.shape[0] * case.shape[2] for case in cases)
    assert cycles.compared == 10
    assert bool(bits.mismatches) == bits_differ
    assert bool(cycles.mismatches) != bits_differ


def test_lost_sums_are_missed(faulty: Callable[..., Model]) -> None:
    cases = gemm_cases(np.random.default_rng(3), SMALL, 20)
    with (
        faulty(array_class(SMALL), SMALL, *EARLY) as model,
        pytest.raises(SimulatorError, match=r"GEMM \d+ hangs with \d+ beats of sums to come"),
    ):
        check_gemms(model, SMALL, cases, 3)


@pytest.mark.parametrize("dataflow", ["os", "is"])
def test_the_command_verifies_every_dataflow(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, dataflow: str
) -> None:
    path = tmp_path / f"{dataflow}.toml"
    sizes = "rows = 2\ncolumns = 2\nchunk = 4\nmac_depth = 2\naccumulator_depth = 4\n"
    path.write_text(f'dataflow = "{dataflow}"\n{sizes}a_formats = ["e4m3"]\nb_formats = ["e5m2"]\n')
    monkeypatch.setattr(sys, "argv", ["quaver", "verify", "--machine", str(path), "--cases", "100", "--json"])
    status = main()
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (status, err) == (0, "")
    assert (report["machine"], report["passed"]) == (dataflow, True)
    compared = {check["name"]: check["compared"] for check in report["checks"]}
    assert next(iter(compared)) == "product e4m3 x e5m2"
    assert compared["gemm bits"] > 500 and compared["gemm cycles"] == GEMMS // 2
