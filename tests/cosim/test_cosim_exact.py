"""Machines with exact inner sums in Verilog: parts in bulk, whole GEMMs in bits and cycles, and a planted fault."""

import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from quaver.cosim.array_runs import GemmCase, run_model
from quaver.cosim.cases import add_products, gemm_cases, join_chunks, mac_cases, outer_cases
from quaver.cosim.exact_cases import fields
from quaver.cosim.lanes import Lanes
from quaver.cosim.simulator import Model
from quaver.cosim.verify import check_gemms, check_macs, check_outer
from quaver.golden import RHA, RNE, RTZ, Accumulator, ExactSum, Format, Machine, Rounding, decode, sr
from quaver.golden.catalog import (
    BF16,
    DLFLOAT16,
    E4M3,
    E4M3FNUZ,
    E5M2,
    E5M2FNUZ,
    E6M5,
    E6M5_SUB,
    E6M9,
    FP16,
    FP32,
    HFP8_143,
)
from quaver.hw.array import array_class

CASES = 16_384
RANDOM = 12
"""GEMMs of random shape per machine, every second one with idle cycles and back-pressure."""
CaseMaker = Callable[..., GemmCase]
Agree = Callable[..., None]


def exact(
    rows: int, columns: int, chunk: int, mac_depth: int, fmt: Format, rounding: Rounding = RNE, **fields: object
) -> Machine:
    dataflow = fields.get("dataflow", "ws")
    defaults = {"accumulator_depth": 16, "seed": rows * columns, "outer": Accumulator(format=fmt, rounding=rounding)}
    return Machine(
        name=f"{dataflow}-{rows}x{columns}-chunk{chunk}-depth{mac_depth}-{fmt}-{rounding}",
        rows=rows,
        columns=columns,
        chunk=chunk,
        mac_depth=mac_depth,
        inner=ExactSum(),
        **(defaults | fields),  # type: ignore[arg-type]
    )


NARROW: dict[str, object] = {"a_formats": (E4M3,), "b_formats": (E4M3,)}
"""A register of 36 bits and what a chunk needs."""
PARTS = [
    exact(4, 1, 4, 1, DLFLOAT16, sr(11), **NARROW),
    exact(4, 1, 64, 2, FP16, RHA, a_formats=(E4M3,), b_formats=(E5M2,)),
    exact(4, 1, 1, 3, E6M5, a_formats=(HFP8_143, E4M3FNUZ), b_formats=(E5M2FNUZ,)),
    exact(4, 1, 64, 4, E6M5_SUB, sr(16), sr_adder="eager"),
    exact(4, 1, 4, 5, FP32, sr(16), sr_adder="eager", **NARROW),
    exact(4, 1, 1024, 6, BF16, RTZ),
    exact(4, 1, 64, 7, E6M9, outer=Accumulator(format=E6M9, overflow="saturate")),
]
ARRAYS = [
    exact(4, 4, 4, 2, DLFLOAT16, **NARROW),
    exact(6, 3, 3, 4, FP32, sr(12), accumulator_depth=5),
    exact(6, 2, 2, 7, FP16, RTZ, a_formats=(E4M3,), b_formats=(E5M2,)),
    exact(4, 2, 8, 3, E6M5, sr(5), sr_adder="eager"),
    exact(3, 5, 9, 1, BF16, RHA, accumulator_depth=64, **NARROW),
    exact(2, 3, 4, 5, E6M5_SUB, sr(9), dataflow="is", a_formats=(E5M2,)),
    exact(3, 2, 5, 6, DLFLOAT16, sr(16), dataflow="os"),
]


def name_of(machine: Machine) -> str:
    return machine.name


def seed_for(machine: Machine) -> int:
    seed = int(machine.digest[:8], 16)
    print(f"seed {seed}")
    return seed


# --------------------------------------------------------------------------------------------------------------- parts


@pytest.mark.parametrize("machine", PARTS, ids=name_of)
def test_parts(machine: Machine) -> None:
    rng = np.random.default_rng(seed_for(machine))
    with Model.of(Lanes, machine) as model:
        checks = [
            check_macs(model, machine, mac_cases(rng, machine, CASES)),
            check_outer(model, machine, outer_cases(rng, machine, CASES)),
        ]
    assert [(check.first, check.mismatches, check.compared) for check in checks] == [(None, 0, CASES)] * 2
    assert checks[0].name == "mac exact"


@pytest.mark.parametrize("machine", PARTS, ids=name_of)
def test_cases_reach_the_corners(machine: Machine) -> None:
    """Nothing is proved by stimuli that avoid the hard cases."""
    rng, register = np.random.default_rng(seed_for(machine)), machine.exact_register
    assert register is not None
    drawn = mac_cases(rng, machine, CASES)
    first = (drawn["a_format"] == 0) & (drawn["b_format"] == 0)
    drawn = {name: codes[first] for name, codes in drawn.items()}
    before = fields(register, drawn["sum"])
    after = fields(register, add_products(drawn, machine.a_formats[0], machine.b_formats[0], machine))
    special, finite = after.up | after.down, ~(before.up | before.down)
    seen = {
        "NaN": after.up & after.down,
        "Inf": after.up ^ after.down,
        "-0 stays": after.identity,
        "-0 goes": before.identity & ~after.identity,
        "cancelled": finite & ~special & (before.number != 0) & (after.number == 0),
        "sign turned": finite & ~special & (before.number * after.number < 0),
    }

    drawn = outer_cases(rng, machine, CASES)
    chunk, fmt = fields(register, drawn["chunk"]), machine.outer.format
    codes = join_chunks(drawn["outer_sum"], drawn["chunk"], machine, machine.outer, drawn.get("outer_word"))
    old, new = decode(drawn["outer_sum"], fmt), decode(codes, fmt)
    finite = ~(old.nan | old.inf | chunk.up | chunk.down)
    zero = (new.significand == 0) & ~new.nan & ~new.inf
    seen |= {
        "outer NaN": new.nan,
        "outer sum cancelled": finite & (old.significand != 0) & zero,
        "outer sign turned": finite & ~zero & (old.sign != new.sign) & (old.significand != 0),
        "chunk of -0": finite & chunk.identity,
        "chunk of few ones": finite & np.array([n.bit_count() == 2 for n in chunk.number]),
    }
    counts = {what: int(np.count_nonzero(where)) for what, where in seen.items()}
    assert min(counts.values()) >= CASES / 4096, counts


def test_machines_differ_as_they_should() -> None:
    assert {m.mac_depth for m in PARTS} == {m.mac_depth for m in ARRAYS} == set(range(1, 8))
    assert {m.outer.format for m in PARTS} == {DLFLOAT16, FP16, E6M5, E6M5_SUB, FP32, BF16, E6M9}
    for machines in (PARTS, ARRAYS):
        assert {m.outer.rounding.mode for m in machines} == {"rne", "rha", "rtz", "sr"}
    assert {m.segments for m in ARRAYS} == {1, 2, 3}
    assert {m.passes_per_chunk for m in ARRAYS} == {1, 2, 3}
    assert {m.dataflow for m in ARRAYS} == {"ws", "is", "os"}


# -------------------------------------------------------------------------------------------------------------- arrays


@pytest.fixture(scope="module", params=ARRAYS, ids=name_of)
def machine(request: pytest.FixtureRequest) -> Machine:
    return request.param


@pytest.fixture(scope="module")
def model(machine: Machine) -> Iterator[Model]:
    with Model.of(array_class(machine), machine) as built:
        yield built


def test_random_shapes(machine: Machine, model: Model, agree: Agree) -> None:
    seed = seed_for(machine)
    cases = gemm_cases(np.random.default_rng(seed), machine, RANDOM)
    assert sum(case.flows for case in cases) == RANDOM // 2
    agree(check_gemms(model, machine, cases, seed), cases)


def test_slow_streams(machine: Machine, model: Model, make_case: CaseMaker, agree: Agree) -> None:
    """Weights that starve the array, activations that do, a full output buffer; and a GEMM in between that flows."""
    seed = seed_for(machine)
    rng, shape = np.random.default_rng(seed), (9, 3 * machine.rows + 1, 2 * machine.columns)
    slow = [(0.9, 0.0, 0.0), (0.0, 0.9, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.95), (0.7, 0.2, 0.7)]
    cases = [
        make_case(
            rng, machine, shape, choice=i, reset=i == 0, weights_idle=weights, activations_idle=activations, stall=stall
        )
        for i, (weights, activations, stall) in enumerate(slow)
    ]
    agree(check_gemms(model, machine, cases, seed), cases)


def test_any_codes(machine: Machine, model: Model, agree: Agree) -> None:
    """Operands of any codes: chunks with infinities and NaNs among finite ones."""
    rng = np.random.default_rng(seed_for(machine))
    a_format, b_format, n = machine.a_formats[-1], machine.b_formats[-1], machine.columns + 1
    cases = [
        GemmCase(
            rng.integers(0, 1 << a_format.bits, (30, k)),
            rng.integers(0, 1 << b_format.bits, (k, n)),
            a_format,
            b_format,
            reset=k == 1,
        )
        for k in (1, 2, machine.chunk, machine.rows + machine.chunk)
    ]
    agree(check_gemms(model, machine, cases, 0), cases)
    results = [decode(run.y, machine.outer.format) for run in run_model(machine, cases)]
    special = np.concatenate([(y.nan | y.inf).reshape(-1) for y in results])
    assert special.any() and not special.all()


# -------------------------------------------------------------------------------------------------------------- faults


def test_a_lost_identity_is_found(faulty: Callable[..., Model]) -> None:
    """A sum that forgets whether all its products were -0."""
    with faulty(Lanes, PARTS[0], "quaver_exact_adder", r"(result <=) ([^;]+);", r"\1 (\2) & ~(50'd1 << 41);") as model:
        cases = mac_cases(np.random.default_rng(1), PARTS[0], 4096)
        check = check_macs(model, PARTS[0], cases)
    assert (check.name, check.compared) == ("mac exact", 4096)
    assert check.mismatches > 4
    assert check.first is not None and re.fullmatch(
        r"mac exact: (\w+ = 0x[0-9a-f]+(, |: )){5}expected 0x20000000000, got 0x0", check.first
    )
