"""Whole GEMMs on arrays of many machines: every bit against the golden model, every cycle against the closed form."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from quaver.cosim.array_runs import GemmCase, run_model, run_rtl, run_together
from quaver.cosim.cases import gemm_cases
from quaver.cosim.simulator import Model
from quaver.cosim.verify import check_gemms
from quaver.golden import (
    RHA,
    RNE,
    RTZ,
    Accumulator,
    Format,
    Machine,
    Rounding,
    array_words,
    gemm,
    sr,
)
from quaver.golden.catalog import BF16, DLFLOAT16, E4M3, E4M3FNUZ, E5M2, E5M2FNUZ, E6M5, E6M5_SUB, FP16, FP32, HFP8_153
from quaver.hw.array import Array

RANDOM = 20
"""GEMMs of random shape per machine, every second one with idle cycles and back-pressure."""
CaseMaker = Callable[..., GemmCase]
Agree = Callable[..., None]


def kept(fmt: Format, rounding: Rounding = RNE) -> Accumulator:
    return Accumulator(format=fmt, rounding=rounding)


def machine(rows: int, columns: int, chunk: int, mac_depth: int, **fields: object) -> Machine:
    defaults = {"accumulator_depth": 16, "seed": rows * columns}
    name = f"{rows}x{columns}-chunk{chunk}-depth{mac_depth}"
    return Machine(
        name=name,
        rows=rows,
        columns=columns,
        chunk=chunk,
        mac_depth=mac_depth,
        **(defaults | fields),  # type: ignore[arg-type]
    )


MACHINES = [
    machine(4, 4, 4, 2),
    machine(6, 3, 3, 1, inner=kept(FP16, sr(8)), outer=kept(FP32, sr(12)), accumulator_depth=5),
    machine(6, 2, 2, 7, outer=kept(FP32)),
    machine(4, 2, 8, 4, inner=kept(DLFLOAT16, sr(10)), outer=kept(DLFLOAT16, sr(7))),
    machine(3, 5, 9, 3, inner=kept(E6M5), outer=kept(FP16), accumulator_depth=64),
    machine(1, 4, 1, 5, inner=kept(BF16), outer=kept(BF16, sr(16)), accumulator_depth=2),
    machine(1, 3, 3, 6, inner=kept(E6M5_SUB, sr(1)), outer=kept(E6M5), accumulator_depth=16),
    machine(5, 1, 5, 7, inner=kept(FP32), accumulator_depth=2),
    machine(4, 1, 12, 1, inner=kept(FP32, sr(16)), outer=kept(E6M5_SUB, sr(3)), accumulator_depth=5),
    machine(8, 3, 4, 4, a_formats=(E4M3,), b_formats=(E5M2,), inner=kept(FP16, RTZ), outer=kept(FP16, RHA)),
    machine(1, 1, 1, 3, a_formats=(E5M2FNUZ, E4M3FNUZ), b_formats=(BF16,), outer=kept(FP32), accumulator_depth=3),
    machine(2, 6, 2, 6, a_formats=(E5M2, E4M3, HFP8_153), inner=kept(E6M5, sr(5)), accumulator_depth=1024),
]


@pytest.fixture(scope="module", params=MACHINES, ids=[m.name for m in MACHINES])
def described(request: pytest.FixtureRequest) -> Machine:
    return request.param


@pytest.fixture(scope="module")
def model(described: Machine) -> Iterator[Model]:
    with Model.of(Array, described) as built:
        yield built


def seed_for(described: Machine) -> int:
    seed = int(described.digest[:8], 16)
    print(f"seed {seed}")
    return seed


def test_random_shapes(described: Machine, model: Model, agree: Agree) -> None:
    seed = seed_for(described)
    cases = gemm_cases(np.random.default_rng(seed), described, RANDOM)
    assert sum(case.flows for case in cases) == RANDOM // 2
    agree(check_gemms(model, described, cases, seed), cases)


def test_shapes_at_the_edges_of_tiles(described: Machine, model: Model, make_case: CaseMaker, agree: Agree) -> None:
    """Undisturbed: cycles of every one count.  Without reset: the generators' words run on from GEMM to GEMM."""
    rng = np.random.default_rng(seed_for(described))
    rows, columns, depth = described.rows, described.columns, min(described.accumulator_depth, 24)
    shapes = [
        (1, 1, 1),
        (1, 3 * rows, 3 * columns),
        (2, 2 * described.chunk, columns),
        (described.round_trip, 3 * rows + 1, columns),
        (described.round_trip - 1, 3 * rows, columns + 1),
        (depth, rows, 2 * columns),
        (depth + 1, 2 * rows, columns),
        (2 * depth, described.chunk + 1, 1),
    ]
    cases = [make_case(rng, described, shape, choice=i, reset=i == 0) for i, shape in enumerate(shapes)]
    agree(check_gemms(model, described, cases, 0), cases)


SLOW = [(0.9, 0.0, 0.0), (0.0, 0.9, 0.0), (0.0, 0.0, 0.95), (0.8, 0.1, 0.8)]
"""Weights that starve the array, activations that do, a sink that fills its buffer to the brim, and a bit of each."""


def test_slow_streams(described: Machine, model: Model, make_case: CaseMaker, agree: Agree) -> None:
    seed = seed_for(described)
    rng = np.random.default_rng(seed)
    shapes = [(3, 2 * described.rows, 2 * described.columns), (40, described.rows + 1, described.columns)]
    cases = [
        make_case(
            rng,
            described,
            shape,
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


def test_machines_differ_as_they_should() -> None:
    assert len(MACHINES) * RANDOM >= 200
    assert {m.mac_depth for m in MACHINES} == set(range(1, 8))
    assert {m.segments for m in MACHINES} >= {1, 2, 3}
    assert {m.passes_per_chunk for m in MACHINES} >= {1, 2, 3}
    assert {m.accumulator_depth for m in MACHINES} >= {2, 5, 16}
    assert {(m.inner.rounding.stochastic, m.outer.rounding.stochastic) for m in MACHINES} == {
        (a, b) for a in (False, True) for b in (False, True)
    }
    assert {m.inner.format for m in MACHINES} == {DLFLOAT16, FP16, BF16, FP32, E6M5, E6M5_SUB}


# Chunk 8 on arrays from a quarter of a chunk to two chunks high.
SHAPES = [(2, 3, 1), (2, 1, 4), (4, 2, 7), (8, 3, 5), (16, 2, 3)]


def test_bits_do_not_depend_on_the_array(make_case: CaseMaker) -> None:
    """ARITHMETIC: machines that share formats, rounding and chunk give the same result, whatever their shape."""
    machines = [machine(r, c, 8, d, outer=kept(FP16), accumulator_depth=9) for r, c, d in SHAPES]
    rng = np.random.default_rng(8)
    cases = [
        make_case(rng, machines[0], shape, choice=i) for i, shape in enumerate([(7, 40, 5), (11, 27, 3), (1, 8, 4)])
    ]
    expected = [gemm(c.a, c.b, machines[0].arithmetic(c.a_format, c.b_format)) for c in cases]
    for described in machines:
        for case, y in zip(cases, expected, strict=True):
            words = array_words(described, *case.shape)
            arithmetic = described.arithmetic(case.a_format, case.b_format)
            np.testing.assert_array_equal(gemm(case.a, case.b, arithmetic, words=words), y)
        with Model.of(Array, described) as built:
            for run, y in zip(run_rtl(built, described, cases), expected, strict=True):
                np.testing.assert_array_equal(run.y, y)
