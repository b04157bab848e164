import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from quaver.cosim.array_runs import GemmCase
from quaver.cosim.cases import operand
from quaver.cosim.simulator import Model
from quaver.cosim.verify import Check
from quaver.golden import Accumulator, Machine, sr
from quaver.golden.catalog import E6M5, FP16
from quaver.hw.accelerator import Accelerator
from quaver.hw.design import Design

WS = Machine(
    name="ws",
    rows=2,
    columns=2,
    chunk=2,
    mac_depth=2,
    inner=Accumulator(format=E6M5, rounding=sr(6)),
    outer=Accumulator(format=FP16, rounding=sr(5)),
    accumulator_depth=8,
    update_lanes=1,
    update=Accumulator(format=FP16, rounding=sr(9)),
    scratchpad_depth=8,
    queue_depth=4,
    seed=77,
)
OS = Machine(
    name="os",
    dataflow="os",
    rows=2,
    columns=2,
    chunk=3,
    mac_depth=2,
    inner=Accumulator(format=E6M5, rounding=sr(7)),
    output_random_bits=0,
    scratchpad_depth=8,
    seed=77,
)
SMALL = [WS, OS]
"""Machines whose accelerators are put through what goes wrong."""


def plant(verilog: str, module: str, old: str, new: str) -> str:
    """`verilog` with one fault: in `module`, the one place that matches the pattern `old` becomes `new`."""
    start = verilog.index(f"\nmodule {module}(")
    end = verilog.index("\nendmodule", start)
    body, count = re.subn(old, new, verilog[start:end])
    assert count == 1, f"{old!r} matches {count} times in {module}"
    assert body != verilog[start:end]
    return verilog[:start] + body + verilog[end:]


@pytest.fixture
def faulty() -> Callable[..., Model]:
    """Maker of models whose Verilog has a fault: component class, machine, then the arguments of `plant`."""

    def make(component: type, machine: Machine, module: str, old: str, new: str) -> Model:
        design = Design()
        top = design.add(component, machine)
        return Model(plant(design.verilog(), module, old, new), top)

    return make


@pytest.fixture(scope="session")
def make_case() -> Callable[..., GemmCase]:
    """Maker of a GEMM of given shape on a machine, its formats the first ones unless told."""

    def make(
        rng: np.random.Generator, machine: Machine, shape: tuple[int, int, int], *, choice: int = 0, **streams: object
    ) -> GemmCase:
        m, k, n = shape
        a_format = machine.a_formats[choice % len(machine.a_formats)]
        b_format = machine.b_formats[choice // 2 % len(machine.b_formats)]
        a, b = operand(rng, a_format, (m, k)), operand(rng, b_format, (k, n))
        return GemmCase(a, b, a_format, b_format, **streams)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def agree() -> Callable[..., None]:
    """Assertion on the checks of GEMMs: nothing differs, and all was compared, cycles where nothing disturbs them."""

    def check(checks: list[Check], cases: list[GemmCase]) -> None:
        assert [check.first for check in checks] == [None, None]
        assert [check.mismatches for check in checks] == [0, 0]
        outputs = sum(case.shape[0] * case.shape[2] for case in cases)
        assert [check.compared for check in checks] == [outputs, sum(case.flows for case in cases)]

    return check


@pytest.fixture(scope="session", params=SMALL, ids=[machine.name for machine in SMALL])
def built(request: pytest.FixtureRequest) -> Iterator[tuple[Machine, Model]]:
    """A small machine and the model of its accelerator."""
    with Model.of(Accelerator, request.param) as model:
        yield request.param, model
