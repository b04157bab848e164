"""Workloads by name, and how SCALE-Sim's model runs them."""

import re
from pathlib import Path

import pytest

from quaver.golden import PRESETS, RECIPES
from quaver.sim.layers import Conv2d, Linear
from quaver.sim.load import Loaded, load_workload
from quaver.sim.scalesim import scalesim_cycles
from quaver.sim.scalesim_run import scalesim_of
from quaver.sim.step import Request, Step
from quaver.sim.workloads import WORKLOADS

TOPOLOGY = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"


def step(loaded: Loaded, **request: object) -> Step:
    asked = Request(**request)  # type: ignore[arg-type]
    return Step(loaded.workload, PRESETS["cloud"], RECIPES["hybrid"], asked, on_array=True)


def test_a_built_in_one() -> None:
    loaded = load_workload("resnet18")
    assert (loaded.workload.name, loaded.topology, loaded.imported) == ("resnet18", (), None)


def test_a_topology(tmp_path: Path) -> None:
    path = tmp_path / "net.csv"
    path.write_text(TOPOLOGY + "c1, 8, 8, 3, 3, 4, 6, 2,\nc2, 3, 3, 3, 3, 6, 10, 1,\n", encoding="utf-8")
    loaded = load_workload(str(path))
    assert loaded.workload.name == "net"
    assert [type(layer) for layer in loaded.workload.layers] == [Conv2d, Conv2d]
    # SCALE-Sim rounds the number of outputs up: ceil((8 - 3 + 2) / 2) = 4 a side where a convolution has 3.
    assert loaded.workload.layers[0].output_size == (3, 3)  # type: ignore[union-attr]
    simulation = scalesim_of(step(loaded, batch=2), loaded)
    assert [layer.m for layer in simulation.layers] == [2 * 16, 2 * 1]
    assert simulation.layers[0].cycles == scalesim_cycles("ws", 128, 128, 32, 36, 6)
    assert [layer.name for layer in scalesim_of(step(loaded), loaded, "c2").layers] == ["c2"]


def test_products_of_a_step() -> None:
    """Depthwise convolutions and all passes: everything is on the array there."""
    loaded = load_workload("mobilenet_v2")
    forward = scalesim_of(step(loaded), loaded)
    assert forward.macs == loaded.workload.macs
    training = scalesim_of(step(loaded, pass_="training", accumulate=2), loaded)
    first = loaded.workload.layers[0]
    assert isinstance(first, Conv2d)
    assert training.macs == 2 * (3 * forward.macs - first.macs)
    dense = load_workload("ncf")
    assert all(isinstance(layer, Linear) for layer in dense.workload.layers if layer.macs)


@pytest.mark.parametrize(
    ("name", "sizes", "message"),
    [
        ("vgg", None, f"workload must be one of {', '.join(WORKLOADS)}, an .onnx or a .csv file, not 'vgg'"),
        ("none.csv", None, "none.csv: there is no such file"),
        ("none.onnx", None, "none.onnx: there is no such file"),
        ("resnet18", {"n": 1}, "size must be left out where the workload is no .onnx file"),
    ],
)
def test_mistakes(name: str, sizes: dict[str, int] | None, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load_workload(name, sizes)
