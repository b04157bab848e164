"""Whole networks as other tools wrote them: ResNet-50 layer by layer, and the light models that come with ONNX."""

from dataclasses import fields
from math import prod
from pathlib import Path
from typing import Any

import onnx
import pytest

from quaver.sim.layers import Conv2d
from quaver.sim.network import Layer
from quaver.sim.onnx_import import load_onnx
from quaver.sim.vector_layers import Vector
from quaver.sim.workloads import workload_named

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
"""Networks that Caffe and Caffe2 had, whose weights nodes write."""
PYTORCH = Path(__file__).parent / "data/resnet50.textproto"
"""Written by bench/export_resnet50.py; its batch is open, and its weights are said to be in another file."""


def described(layer: Layer) -> tuple[str, dict[str, Any]]:
    """All that a layer is, but for its name."""
    values = {field.name: getattr(layer, field.name) for field in fields(layer) if field.name != "name"}
    return type(layer).__name__, values | ({"inputs": layer.reads} if isinstance(layer, Vector) else {})


@pytest.mark.parametrize("path", [PYTORCH, LIGHT / "light_resnet50.onnx"], ids=["pytorch", "caffe2"])
def test_resnet50_is_the_built_in_one(path: Path) -> None:
    """All layers, with their sizes and parameters, but for the loss, which Caffe2's file has a softmax for."""
    found, built_in = load_onnx(path), workload_named("resnet50")
    layers = [layer for layer in found.workload.layers if not (isinstance(layer, Vector) and layer.kind == "softmax")]
    assert built_in.layers[-1].name == "loss"
    expected = built_in.layers[:-1]
    assert len(layers) == len(expected) == 174
    for layer, other in zip(layers, expected, strict=True):
        assert described(layer) == described(other), (layer.name, other.name)
    assert found.workload.macs == built_in.macs
    assert found.workload.parameters == built_in.parameters
    assert not found.unknown


def test_strides_are_in_the_large_convolutions() -> None:
    """What makes ResNet-50 v1.5 of the paper's, which has them in the 1 x 1 convolutions before."""
    strided = [
        layer
        for layer in load_onnx(PYTORCH).workload.layers
        if isinstance(layer, Conv2d) and layer.stride == (2, 2) and layer.in_channels > 3
    ]
    assert [layer.kernel for layer in strided] == [(3, 3), (1, 1)] * 3


PUBLISHED = {
    # Parameters and GMACs of the same networks in torchvision's documentation; those of AlexNet and GoogLeNet as Caffe
    # published them, the former with groups, neither with auxiliary classifiers.
    "vgg19": (143_667_240, 19.632),
    "squeezenet": (1_235_496, 0.349),
    "resnet50": (25_557_032, 4.089),
    "bvlc_alexnet": (60_965_224, None),
    "inception_v1": (6_998_552, None),
    # Caffe scales and shifts once more after each of the batch normalisations, which have 83 648 parameters.
    "densenet121": (7_978_856 + 83_648, 2.834),
}
UNKNOWN = {"bvlc_alexnet": {"LRN": 2}, "inception_v1": {"LRN": 2}, "zfnet512": {"LRN": 2}}


@pytest.mark.parametrize("name", sorted(path.stem.removeprefix("light_") for path in LIGHT.glob("*.onnx")))
def test_light_models(name: str) -> None:
    path = LIGHT / f"light_{name}.onnx"
    found = load_onnx(path)
    assert {kind: len(nodes) for kind, nodes in found.unknown.items()} == UNKNOWN.get(name, {})
    assert found.workload.macs == macs_of(onnx.load(path)) > 10**8
    if name in PUBLISHED:
        parameters, giga_macs = PUBLISHED[name]
        assert found.workload.parameters == parameters
        assert giga_macs is None or round(found.workload.macs / 1e9, 3) == giga_macs


def test_light_models_are_there() -> None:
    assert {f"light_{name}.onnx" for name in PUBLISHED} <= {path.name for path in LIGHT.iterdir()}


def macs_of(model: onnx.ModelProto) -> int:
    """Multiply-accumulates from the shapes that ONNX's inference gives results: each element times products in it."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    values = (*graph.value_info, *graph.output, *graph.input)
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += prod(shapes[node.output[0]]) * prod(shapes[node.input[1]][1:])
        elif node.op_type == "Gemm":
            transposed = next((a.i for a in node.attribute if a.name == "transB"), 0)
            total += prod(shapes[node.output[0]]) * shapes[node.input[1]][1 if transposed else 0]
        assert node.op_type != "MatMul"
    return total
