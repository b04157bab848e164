"""Shapes of layers, against PyTorch's output rule, and the catalogue of networks; their counts have their own tests."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quaver.sim.layers import Conv2d, Linear
from quaver.sim.network import Workload
from quaver.sim.workloads import workload_named


def conv(**changes: Any) -> Conv2d:
    plain = {"name": "c", "in_channels": 4, "out_channels": 6, "size": (9, 8), "kernel": (3, 3)}
    return Conv2d(**(plain | changes))


def test_resnet18_layers() -> None:
    layers = {layer.name: layer for layer in workload_named("resnet18").layers}
    assert [name for name in layers if "downsample.0" in name] == [f"layer{s}.0.downsample.0" for s in (2, 3, 4)]
    sizes = {name: layer.output_size for name, layer in layers.items() if isinstance(layer, Conv2d)}
    assert sizes["conv1"] == (112, 112)
    for stage, side in enumerate((56, 28, 14, 7), start=1):
        assert {size for name, size in sizes.items() if name.startswith(f"layer{stage}.")} == {(side, side)}
    assert layers["fc"] == Linear(name="fc", in_features=512, out_features=1000)
    assert layers["layer2.0.downsample.0"] == Conv2d(
        name="layer2.0.downsample.0",
        in_channels=64,
        out_channels=128,
        size=(56, 56),
        kernel=(1, 1),
        stride=(2, 2),
    )


@given(st.data())
def test_outputs_are_the_positions_that_fit(data: st.DataObject) -> None:
    """An output exists for each stride at which the whole dilated filter lies in the padded input."""
    size, kernel, stride = (data.draw(st.integers(1, high)) for high in (20, 4, 4))
    padding, dilation = data.draw(st.integers(0, 3)), data.draw(st.integers(1, 3))
    taps = [tap * dilation for tap in range(kernel)]
    starts = [s for s in range(0, size + 2 * padding, stride) if s + taps[-1] < size + 2 * padding]
    arguments = {name: (value, 1) for name, value in (("size", size), ("kernel", kernel), ("stride", stride))}
    arguments |= {"padding": (padding, 0), "dilation": (dilation, 1)}
    if not starts:
        with pytest.raises(ValueError, match="height of the dilated kernel"):
            conv(**arguments)
        return
    layer = conv(**arguments)
    assert layer.output_size == (len(starts), 1)
    read = {s + tap - padding for s in starts for tap in taps} & set(range(size))
    assert layer.read_size == (len(read), 1)
    assert layer.macs == 4 * 6 * kernel * len(starts)


def test_groups_divide_the_weights() -> None:
    assert conv(groups=2).weights == conv().weights // 2
    assert conv(in_channels=6, groups=6).weights == 6 * 9
    assert conv(bias=True).parameters == conv().weights + 6
    assert Linear(name="l", in_features=3, out_features=5, bias=False).parameters == 15


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_channels": 0}, "c: in_channels must be an integer in 1..16777216, not 0"),
        ({"stride": (1, 0)}, "c: width of stride must be an integer in 1..16777216, not 0"),
        ({"padding": (-1, 0)}, "c: height of padding must be an integer in 0..16777216, not -1"),
        ({"groups": 4}, "c: groups must divide in_channels = 4 and out_channels = 6, not 4"),
        (
            {"kernel": (3, 5), "dilation": (1, 3)},
            "c: width of the dilated kernel must not exceed that of the padded input, 8, by 5",
        ),
    ],
)
def test_mistakes_in_a_convolution(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        conv(**changes)


def test_mistakes_in_a_workload() -> None:
    with pytest.raises(ValueError, match=r"^w: layers must have different names, not 'c' twice$"):
        Workload(name="w", layers=(conv(), conv()))
    with pytest.raises(ValueError, match=r"^w: number of layers must be an integer in 1\.\.1048576, not 0$"):
        Workload(name="w", layers=())


def test_unknown_names() -> None:
    names = "lenet5, alexnet, vgg16, resnet18, resnet34, resnet50, resnet20, resnet32, resnet8_mnist, resnet20_mnist, "
    names += "mobilenet_v2, efficientnet_b0, bert_base, bert_large, transformer_base, transformer_big, gnmt, ncf, "
    names += "ncf_small, gpt2_small, char_transformer"
    with pytest.raises(ValueError, match=f"^workload must be one of {names}, not 'resnet19'$"):
        workload_named("resnet19")
    workload = Workload(name="w", layers=(conv(), conv(name="d")))
    assert workload.layer_named("d").name == "d"
    with pytest.raises(ValueError, match=r"^layer of w must be one of c, d, not 'e'$"):
        workload.layer_named("e")
