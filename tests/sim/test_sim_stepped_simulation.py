"""Whole steps on the stepped machine: cycles of the closed form, bits of the golden model."""

from dataclasses import replace

import numpy as np
import pytest

from quaver.golden import PRESETS, RECIPES
from quaver.golden.errors import Unsuitable
from quaver.sim import stepped_simulation
from quaver.sim.layers import Conv2d, Linear
from quaver.sim.network import Workload
from quaver.sim.step import Request, Step
from quaver.sim.stepped_simulation import step_products
from quaver.sim.workloads import workload_named

TINY = PRESETS["tiny"]
NETWORK = Workload(
    name="net",
    layers=(
        Conv2d(name="conv", in_channels=2, out_channels=5, size=(6, 5), kernel=(3, 3), stride=(2, 1), padding=(1, 0)),
        Linear(name="fc", in_features=45, out_features=7),
    ),
)


def step(network: Workload = NETWORK, **changes: object) -> Step:
    machine = replace(TINY, **changes)  # type: ignore[arg-type]
    return Step(network, machine, RECIPES["hybrid"], Request(pass_="training", batch=2))


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_a_training_step(dataflow: str) -> None:
    found = step_products(step(dataflow=dataflow), seed=3)
    assert [(p.name, p.phase) for p in found.products] == [
        ("conv", "forward"),
        ("fc", "forward"),
        ("fc", "weight_gradient"),
        ("fc", "data_gradient"),
        ("conv", "weight_gradient"),
    ]
    assert found.agrees
    assert all(p.results == p.m * p.n > 0 and p.wrong == 0 and p.cycles == p.closed_form for p in found.products)
    assert found.to_dict()["agrees"] is True
    assert [p.name for p in step_products(step(dataflow=dataflow), "fc").products] == ["fc"] * 3


def test_a_difference_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = stepped_simulation._expected

    def wrong(*arguments: object) -> np.ndarray:
        codes = real(*arguments).copy()  # type: ignore[arg-type]
        codes[0, 0] ^= 1
        return codes

    monkeypatch.setattr(stepped_simulation, "_expected", wrong)
    found = step_products(step())
    assert not found.agrees
    assert {p.wrong for p in found.products} == {1}
    monkeypatch.undo()
    monkeypatch.setattr(stepped_simulation, "accelerator_cycles", lambda *_: 1)
    assert not step_products(step()).agrees


def test_large_products_are_refused() -> None:
    message = (
        r"^fidelity must be event where a product takes more than 131072 cycles on 4 x 4 MACs, as conv1 with \d{8}$"
    )
    with pytest.raises(Unsuitable, match=message):
        step_products(step(workload_named("resnet18")))
