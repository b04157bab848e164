"""The steady state is dense in the RTL too: what the closed form promises for large GEMMs, the Verilog keeps."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from quaver.cosim.array_runs import GemmCase, run_model, run_rtl
from quaver.cosim.cases import operand
from quaver.cosim.simulator import Model
from quaver.golden import PRESETS, Machine
from quaver.hw.array import array_class
from quaver.sim import utilization

EDGE = PRESETS["edge"]


@pytest.fixture(scope="module", params=["ws", "os"])
def edge(request: pytest.FixtureRequest) -> Machine:
    return replace(EDGE, dataflow=request.param)


@pytest.fixture(scope="module")
def model(edge: Machine) -> Iterator[Model]:
    with Model.of(array_class(edge), edge) as built:
        yield built


@pytest.mark.parametrize(("shape", "least"), [((64, 512, 64), 0.94), ((1024, 512, 64), 0.97)], ids=str)
def test_edge_is_dense(edge: Machine, model: Model, shape: tuple[int, int, int], least: float) -> None:
    assert (edge.rows, edge.columns, edge.chunk, edge.mac_depth) == (16, 16, 64, 4)
    rng = np.random.default_rng(4)
    m, k, n = shape
    a_format, b_format = edge.a_formats[0], edge.b_formats[1]
    case = GemmCase(operand(rng, a_format, (m, k)), operand(rng, b_format, (k, n)), a_format, b_format)
    (got,), (expected,) = run_rtl(model, edge, [case]), run_model(edge, [case])
    used = utilization(edge, m * k * n, got.cycles)
    print(f"{edge.dataflow} {shape}: {got.cycles} cycles, {used:.1%} of the multipliers' time")
    assert got.cycles == expected.cycles
    assert used >= least
    np.testing.assert_array_equal(got.y, expected.y)
