"""Operators of ONNX that become vector layers, one by one and put together again; what runs on nothing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import NodeProto

from quaver.sim.import_products import PRODUCTS
from quaver.sim.import_vectors import FREE, VECTORS
from quaver.sim.vector_layers import Vector
from tests.sim.onnx_models import imported, node

X = {"x": [1, 8, 12, 10]}
SIZE = 8 * 12 * 10


def vectors(tmp_path: Path, *parts: Any) -> tuple[Vector, ...]:
    """The layers of a model all of whose operators are known."""
    found = imported(tmp_path, *parts)
    assert not found.unknown
    assert all(isinstance(layer, Vector) for layer in found.workload.layers)
    return found.workload.layers


UNARY = {
    "relu": ("Relu",),
    "relu6": ("Clip",),
    "sigmoid": ("Sigmoid",),
    "tanh": ("Tanh",),
    "gelu": ("Gelu",),
    "silu": ("Swish",),
    "hard_sigmoid": ("HardSigmoid",),
    "hard_swish": ("HardSwish",),
    "leaky_relu": ("LeakyRelu",),
    "elu": ("Celu", "Elu", "Selu"),
    "softmax": ("LogSoftmax", "Softmax"),
    "dropout": ("Dropout",),
    "scale": ("Neg",),
    "elementwise": ("Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "Log", "Reciprocal", "Round", "Sign", "Sin", "Sqrt"),
}


@pytest.mark.parametrize(("kind", "type_"), [(kind, type_) for kind, types in UNARY.items() for type_ in types])
def test_one_tensor_becomes_another(tmp_path: Path, kind: str, type_: str) -> None:
    found = vectors(tmp_path, [node(type_, ["x"], ["y"])], X)
    assert found == (Vector(name=f"{type_}1", kind=kind, outputs=SIZE, inputs=SIZE),)


C, ONE, ROW = [8, 1, 1], [], [10]
BINARY: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "sum": ("Add", ["x", "z"], {"kind": "add", "inputs": 2 * SIZE}),
    "sum with a row": ("Add", ["x", "row"], {"kind": "add", "inputs": SIZE + 10}),
    "bias": ("Add", ["x", "c"], {"kind": "bias", "parameters": 8}),
    "bias before": ("Add", ["c", "x"], {"kind": "bias", "parameters": 8}),
    "one for all": ("Add", ["x", "one"], {"kind": "bias"}),
    "difference": ("Sub", ["x", "z"], {"kind": "add", "inputs": 2 * SIZE}),
    "sum of three": ("Sum", ["x", "z", "z"], {"kind": "add", "inputs": 3 * SIZE, "window": 2}),
    "product": ("Mul", ["x", "z"], {"kind": "mul", "inputs": 2 * SIZE}),
    "scales": ("Mul", ["x", "c"], {"kind": "mul", "parameters": 8}),
    "scale": ("Mul", ["x", "one"], {"kind": "scale"}),
    "quotient": ("Div", ["x", "z"], {"kind": "div", "inputs": 2 * SIZE}),
    "divided by one": ("Div", ["x", "one"], {"kind": "scale"}),
    "one divided by": ("Div", ["one", "x"], {"kind": "div"}),
    "power": ("Pow", ["x", "one"], {"kind": "elementwise"}),
    "maximum": ("Max", ["x", "z"], {"kind": "elementwise", "inputs": 2 * SIZE}),
    "comparison": ("Less", ["x", "z"], {"kind": "elementwise", "inputs": 2 * SIZE}),
    "slopes": ("PRelu", ["x", "c"], {"kind": "leaky_relu", "parameters": 8}),
}


@pytest.mark.parametrize("case", BINARY)
def test_tensors_become_one(tmp_path: Path, case: str) -> None:
    type_, inputs, changes = BINARY[case]
    computed = {"x": X["x"], "z": X["x"], "row": [1, 10]}
    weights = {"c": C, "one": ONE}
    (layer,) = vectors(tmp_path, [node(type_, inputs, ["y"], name="v")], computed, weights)
    assert layer == Vector(**({"name": "v", "outputs": SIZE, "inputs": SIZE} | changes))


NORMS = {
    "BatchNormalization": ("batch_norm", ["s", "b", "m", "v"], {}, 16),
    "InstanceNormalization": ("group_norm", ["s", "b"], {}, 16),
    "GroupNormalization": ("group_norm", ["s", "b"], {"num_groups": 2}, 16),
    "LayerNormalization": ("layer_norm", ["s10", "b10"], {}, 20),
    "RMSNormalization": ("rms_norm", ["s10"], {}, 10),
}


@pytest.mark.parametrize("type_", NORMS)
def test_normalisations(tmp_path: Path, type_: str) -> None:
    kind, weights, attributes, parameters = NORMS[type_]
    nodes = [node(type_, ["x", *weights], ["y"], name="n", **attributes)]
    (layer,) = vectors(tmp_path, nodes, X, {name: [10 if "10" in name else 8] for name in weights})
    assert layer == Vector(name="n", kind=kind, outputs=SIZE, parameters=parameters)


POOLS = {
    "MaxPool": ("max_pool", {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 0]}, 8 * 6 * 5, 6),
    "AveragePool": ("avg_pool", {"kernel_shape": [3, 2]}, 8 * 10 * 9, 6),
    "GlobalAveragePool": ("avg_pool", {}, 8, 120),
    "GlobalMaxPool": ("max_pool", {}, 8, 120),
    "ReduceMean": ("avg_pool", {"keepdims": 0}, 8 * 12, 10),
    "ReduceSum": ("reduce", {"keepdims": 0}, 8 * 12, 10),
    "ReduceMax": ("reduce", {}, 8 * 12, 10),
}


@pytest.mark.parametrize("type_", POOLS)
def test_poolings(tmp_path: Path, type_: str) -> None:
    kind, attributes, outputs, window = POOLS[type_]
    axes = ["axes"] if type_.startswith("Reduce") else []
    (layer,) = vectors(
        tmp_path, [node(type_, ["x", *axes], ["y"], name="p", **attributes)], X, {"axes": np.array([-1])}
    )
    assert layer == Vector(name="p", kind=kind, outputs=outputs, inputs=SIZE, window=window)


def elementary(*steps: tuple[str, Sequence[str]]) -> list[NodeProto]:
    """Operators that write `t1`, `t2` and so on, the last one `y`."""
    names = [*(f"t{index}" for index in range(1, len(steps))), "y"]
    return [node(type_, inputs, [name], name=f"n.{name}") for (type_, inputs), name in zip(steps, names, strict=True)]


_NORM = (
    ("ReduceMean", ["x", "axes"]),
    ("Sub", ["x", "t1"]),
    ("Pow", ["t2", "c"]),
    ("ReduceMean", ["t3", "axes"]),
    ("Add", ["t4", "c"]),
    ("Sqrt", ["t5"]),
)
FUSED: dict[str, tuple[list[NodeProto], str, int]] = {
    "silu": (elementary(("Sigmoid", ["x"]), ("Mul", ["x", "t1"])), "silu", 0),
    "GELU by a sigmoid": (elementary(("Mul", ["x", "c"]), ("Sigmoid", ["t1"]), ("Mul", ["x", "t2"])), "silu", 0),
    "hard swish": (elementary(("HardSigmoid", ["x"]), ("Mul", ["t1", "x"])), "hard_swish", 0),
    "hard swish by a clip": (
        elementary(("Add", ["x", "c"]), ("Clip", ["t1", "c", "c"]), ("Mul", ["x", "t2"]), ("Div", ["t3", "c"])),
        "hard_swish",
        0,
    ),
    "GELU by erf": (
        elementary(
            ("Div", ["x", "c"]), ("Erf", ["t1"]), ("Add", ["t2", "c"]), ("Mul", ["x", "t3"]), ("Mul", ["t4", "c"])
        ),
        "gelu",
        0,
    ),
    "GELU by erf, halved first": (
        elementary(
            ("Mul", ["x", "c"]), ("Div", ["x", "c"]), ("Erf", ["t2"]), ("Add", ["t3", "c"]), ("Mul", ["t1", "t4"])
        ),
        "gelu",
        0,
    ),
    "GELU by tanh": (
        elementary(
            ("Pow", ["x", "c"]),
            ("Mul", ["t1", "c"]),
            ("Add", ["x", "t2"]),
            ("Mul", ["t3", "c"]),
            ("Tanh", ["t4"]),
            ("Add", ["t5", "c"]),
            ("Mul", ["x", "c"]),
            ("Mul", ["t6", "t7"]),
        ),
        "gelu",
        0,
    ),
    "layer norm": (
        elementary(*_NORM, ("Div", ["t2", "t6"]), ("Mul", ["t7", "s"]), ("Add", ["b", "t8"])),
        "layer_norm",
        20,
    ),
    "layer norm alone": (elementary(*_NORM, ("Div", ["t2", "t6"])), "layer_norm", 0),
    "layer norm by a reciprocal": (
        elementary(*_NORM, ("Reciprocal", ["t6"]), ("Mul", ["t2", "t7"]), ("Mul", ["t8", "s"])),
        "layer_norm",
        10,
    ),
    "RMS norm": (
        elementary(
            ("Mul", ["x", "x"]),
            ("ReduceMean", ["t1", "axes"]),
            ("Add", ["t2", "c"]),
            ("Sqrt", ["t3"]),
            ("Div", ["x", "t4"]),
            ("Mul", ["s", "t5"]),
        ),
        "rms_norm",
        10,
    ),
}  # fmt: skip
WEIGHTS: dict[str, Any] = {"c": ONE, "s": ROW, "b": ROW, "axes": np.array([-1])}


@pytest.mark.parametrize("case", FUSED)
def test_what_was_taken_apart_is_put_together(tmp_path: Path, case: str) -> None:
    nodes, kind, parameters = FUSED[case]
    found = imported(tmp_path, [*nodes, node("Relu", ["y"], ["z"])], X, WEIGHTS, ("z",))
    layer, last = found.workload.layers
    assert isinstance(layer, Vector)
    assert (layer.kind, layer.outputs, layer.parameters, layer.name) == (kind, SIZE, parameters, "n.t1")
    assert isinstance(last, Vector)
    assert last.kind == "relu"
    assert not found.free


@pytest.mark.parametrize("case", FUSED)
def test_parts_that_leave_the_network_stay_apart(tmp_path: Path, case: str) -> None:
    nodes, kind, _ = FUSED[case]
    first, *others = imported(tmp_path, nodes, X, WEIGHTS, ("y", "t1")).workload.layers
    assert isinstance(first, Vector)
    assert first.name == "n.t1"
    assert first.kind != kind
    assert others


def test_means_over_other_axes_are_no_layer_norm(tmp_path: Path) -> None:
    nodes = FUSED["layer norm alone"][0]
    found = imported(tmp_path, nodes, X, WEIGHTS | {"axes": np.array([1])}).workload
    assert len(found.layers) == len(nodes)


def test_a_scaled_sigmoid_is_no_silu(tmp_path: Path) -> None:
    nodes = elementary(("Mul", ["x", "c"]), ("Sigmoid", ["t1"]))
    assert [layer.kind for layer in vectors(tmp_path, nodes, X, WEIGHTS)] == ["scale", "sigmoid"]


def test_what_costs_nothing_is_listed(tmp_path: Path) -> None:
    nodes = [
        node("Reshape", ["x", "shape"], ["a"]),
        node("Transpose", ["a"], ["b"], perm=[0, 2, 1]),
        node("Flatten", ["b"], ["c"]),
        node("Unsqueeze", ["c", "axes"], ["d"]),
        node("Squeeze", ["d", "axes"], ["e"]),
        node("Identity", ["e"], ["f"]),
        node("Concat", ["f", "f"], ["g"], axis=1),
        node("Gather", ["g", "ids"], ["h"], axis=1),
        node("Shape", ["x"], ["s"]),
        node("Cast", ["s"], ["t"], to=1),
        node("Sqrt", ["t"], ["u"]),
        node("Relu", ["h"], ["y"]),
    ]
    weights = {"shape": np.array([1, 8, 120]), "axes": np.array([-1])}
    found = imported(tmp_path, nodes, X | {"ids": [1, 7]}, weights, ("y", "u"))
    assert [layer.name for layer in found.workload.layers] == ["Relu1"]
    counted = "Cast Concat Flatten Gather Identity Reshape Shape Sqrt Squeeze Transpose Unsqueeze"
    assert found.free == dict.fromkeys(counted.split(), 1)


def test_tables_do_not_overlap() -> None:
    assert not FREE & (VECTORS.keys() | PRODUCTS.keys())
    assert not VECTORS.keys() & PRODUCTS.keys()
    assert len(VECTORS) > 60
