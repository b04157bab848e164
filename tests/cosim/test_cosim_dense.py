"""The steady state is dense in the RTL too: what the closed form promises for large GEMMs, the Verilog keeps."""

from collections.abc import Iterator

import numpy as np
import pytest

from quaver.cosim.array_runs import GemmCase, run_model, run_rtl
from quaver.cosim.cases import operand
from quaver.cosim.simulator import Model
from quaver.golden import PRESETS
from quaver.hw.array import Array

EDGE = PRESETS["edge"]


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with Model.of(Array, EDGE) as built:
        yield built


@pytest.mark.parametrize(("shape", "overhead"), [((1024, 64, 64), 1.03), ((64, 512, 64), 1.06)])
def test_edge_is_dense(model: Model, shape: tuple[int, int, int], overhead: float) -> None:
    assert EDGE.mac_depth == 4
    rng = np.random.default_rng(4)
    m, k, n = shape
    a_format, b_format = EDGE.a_formats[0], EDGE.b_formats[1]
    case = GemmCase(operand(rng, a_format, (m, k)), operand(rng, b_format, (k, n)), a_format, b_format)
    (got,), (expected,) = run_rtl(model, EDGE, [case]), run_model(EDGE, [case])
    print(f"{shape}: {got.cycles} cycles")
    assert got.cycles == expected.cycles
    assert got.cycles <= overhead * m * k * n / (EDGE.rows * EDGE.columns)
    np.testing.assert_array_equal(got.y, expected.y)
