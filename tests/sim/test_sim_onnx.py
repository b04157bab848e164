"""Operators of ONNX that become products and tables, where their weights come from, and the batch."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from quaver.sim.layers import Conv2d, Linear, MatMul
from quaver.sim.network import Layer
from quaver.sim.onnx_import import load_onnx
from quaver.sim.vector_layers import Embedding, Vector
from tests.sim.onnx_models import imported, model, node

X = {"x": [1, 8, 12, 10]}


def layers(tmp_path: Path, *parts: Any, **arguments: Any) -> tuple[Layer, ...]:
    """The layers of a model all of whose operators are known."""
    found = imported(tmp_path, *parts, **arguments)
    assert not found.unknown
    return found.workload.layers


def conv(**changes: Any) -> Conv2d:
    plain: dict[str, Any] = {"name": "c", "in_channels": 8, "out_channels": 6, "size": (12, 10), "kernel": (3, 3)}
    return Conv2d(**(plain | changes))


CONVOLUTIONS = {
    "plain": ({}, {}),
    "symmetric": ({"pads": [1, 2, 1, 2], "strides": [2, 1]}, {"padding": (1, 2), "stride": (2, 1)}),
    "asymmetric": ({"pads": [0, 1, 2, 1]}, {"padding": (0, 1), "end_padding": (2, 1)}),
    "dilated": ({"dilations": [2, 3]}, {"dilation": (2, 3)}),
    "valid": ({"auto_pad": "VALID"}, {}),
    "upper": ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"stride": (2, 2), "end_padding": (1, 1)}),
    "lower": (
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        {"stride": (2, 2), "padding": (1, 1), "end_padding": (0, 0)},
    ),
    "grouped": ({"group": 2}, {"groups": 2}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_convolutions(tmp_path: Path, case: str) -> None:
    attributes, changes = CONVOLUTIONS[case]
    weights = {"c.weight": [6, 8 // attributes.get("group", 1), 3, 3]}
    parts = [node("Conv", ["x", "c.weight"], ["y"], **attributes)], X, weights
    (layer,) = layers(tmp_path, *parts)
    assert layer == conv(**changes)
    # ONNX's own inference knows the output.
    shape = onnx.shape_inference.infer_shapes(model(*parts)).graph.output[0].type.tensor_type.shape
    assert layer.output_size == tuple(dimension.dim_value for dimension in shape.dim[2:])


def test_convolution_along_one_axis_and_its_bias(tmp_path: Path) -> None:
    nodes = [node("Conv", ["x", "w", "b"], ["y"], name="c", kernel_shape=[5], strides=[2], pads=[2, 2])]
    (layer,) = layers(tmp_path, nodes, {"x": [1, 8, 40]}, {"w": [6, 8, 5], "b": [6]})
    assert layer == conv(size=(1, 40), kernel=(1, 5), stride=(1, 2), padding=(0, 2), bias=True)
    assert layer.output_size == (1, 20)


def test_padding_at_the_end_alone() -> None:
    padded = conv(end_padding=(2, 0), stride=(2, 2))
    assert padded.output_size == (6, 4)
    assert padded.read_size == (12, 9)
    with pytest.raises(ValueError, match=r"c: width of end_padding must be an integer in 0\.\.16777216, not -1"):
        conv(end_padding=(0, -1))
    with pytest.raises(ValueError, match=r"height of the dilated kernel .* padded input, 2, by 1"):
        conv(size=(1, 10), end_padding=(1, 0))


def test_products_with_weights(tmp_path: Path) -> None:
    """A bias may be the third input, or a sum that follows; the matrix may come transposed, or on the left."""
    nodes = [
        node("Gemm", ["x", "a.weight", "a.bias"], ["h"], transB=1),
        node("MatMul", ["h", "b.weight"], ["i"]),
        node("Add", ["b.bias", "i"], ["j"]),
        node("MatMul", ["j", "c.weight"], ["k"]),
        node("Transpose", ["d.weight"], ["t"], perm=[1, 0]),
        node("MatMul", ["t", "k"], ["y"]),
    ]
    weights = {"a.weight": [16, 8], "a.bias": [16], "b.weight": [16, 4], "b.bias": [4], "c.weight": [4, 3]}
    found = imported(tmp_path, nodes, {"x": [12, 8]}, weights | {"d.weight": [12, 7]}, batch=1)
    assert found.workload.layers == (
        Linear(name="a", in_features=8, out_features=16, rows=12),
        Linear(name="b", in_features=16, out_features=4, rows=12),
        Linear(name="c", in_features=4, out_features=3, rows=12, bias=False),
        Linear(name="d", in_features=12, out_features=7, rows=3, bias=False),
    )
    assert found.free == {"Transpose": 1}


def test_products_of_computed_tensors(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", ["x"], ["t"], perm=[0, 1, 3, 2]),
        node("MatMul", ["x", "t"], ["s"]),
        node("Gemm", ["p", "p", "p"], ["z"], transA=1),
        node("Relu", ["s"], ["y"]),
    ]
    first, second, third, _ = layers(tmp_path, nodes, {"x": [1, 4, 5, 6], "p": [1, 3]}, {}, ("y", "z"))
    assert first == MatMul(name="MatMul1", m=5, k=6, n=5, count=4)
    assert second == MatMul(name="Gemm1", m=3, k=1, n=3)
    assert third == Vector(name="Gemm1.add", kind="add", outputs=9, inputs=18)


def test_a_column_is_no_bias_of_the_rows(tmp_path: Path) -> None:
    """After a matrix on the left, what is added along its columns stays a layer of its own."""
    nodes = [node("MatMul", ["w", "x"], ["h"], name="a"), node("Add", ["h", "b"], ["y"], name="b")]
    first, second = layers(tmp_path, nodes, {"x": [1, 8, 5]}, {"w": [6, 8], "b": [5]})
    assert first == Linear(name="a", in_features=8, out_features=6, rows=5, bias=False)
    assert second == Vector(name="b", kind="bias", outputs=30, inputs=30, parameters=5)


def test_a_batch_among_the_rows(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "z"], ["y"], name="p")]
    assert layers(tmp_path, nodes, {"x": [6, 8], "z": [8, 5]}, batch=2) == (MatMul(name="p", m=3, k=8, n=5),)


def test_a_matrix_for_each_group(tmp_path: Path) -> None:
    nodes = [node("MatMul", ["x", "w"], ["y"])]
    (layer,) = layers(tmp_path, nodes, {"x": [1, 4, 5, 6]}, {"w": [4, 6, 7]})
    assert isinstance(layer, Conv2d)
    assert (layer.groups, layer.in_channels, layer.out_channels, layer.output_size) == (4, 24, 28, (1, 5))
    assert layer.macs == 4 * 5 * 6 * 7
    assert layer.parameters == 4 * 6 * 7


def test_quantized_products(tmp_path: Path) -> None:
    """Weights are found behind their dequantization, and where operators on integers have them."""
    scale, zero = np.array(0.5, np.float32), np.array(0, np.uint8)
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("DequantizeLinear", ["w", "s", "z"], ["dw"]),
        node("Conv", ["d", "dw"], ["h"], name="c"),
        node("QuantizeLinear", ["h", "s", "z"], ["hq"]),
        node("QLinearConv", ["hq", "s", "z", "v", "s", "z", "s", "z", "b"], ["i"], name="q"),
        node("ConvInteger", ["i", "u"], ["y"], name="i"),
    ]
    weights = {"w": np.zeros((6, 8, 3, 3), np.uint8), "v": np.zeros((5, 6, 1, 1), np.uint8), "s": scale, "z": zero}
    weights |= {"b": np.zeros(5, np.int32), "u": np.zeros((4, 5, 1, 1), np.uint8)}
    kinds = [
        Vector(name=name, kind="scale", outputs=960, inputs=960) for name in ("QuantizeLinear1", "DequantizeLinear1")
    ]
    found = layers(tmp_path, nodes, X, weights)
    assert found[:3] == (*kinds, conv())
    assert found[3] == Vector(name="QuantizeLinear2", kind="scale", outputs=480, inputs=480)
    assert found[4] == conv(name="q", in_channels=6, out_channels=5, size=(10, 8), kernel=(1, 1), bias=True)
    assert found[5] == conv(name="i", in_channels=5, out_channels=4, size=(10, 8), kernel=(1, 1))


def test_weights_that_nodes_write(tmp_path: Path) -> None:
    shape = helper.make_tensor("shape", onnx.TensorProto.INT64, [2], [8, 5])
    nodes = [
        node("Constant", [], ["w"], value=onnx.numpy_helper.from_array(np.zeros((6, 8), np.float32))),
        node("Gemm", ["x", "w"], ["h"], name="a", transB=1),
        node("Constant", [], ["shape"], value=shape),
        node("ConstantOfShape", ["shape"], ["v"]),
        node("Identity", ["v"], ["u"]),
        node("MatMul", ["x", "u"], ["z"], name="b"),
        node("Relu", ["h"], ["y"]),
    ]
    found = imported(tmp_path, nodes, {"x": [1, 8]}, {}, ("y", "z"))
    assert found.workload.layers[:2] == (
        Linear(name="a", in_features=8, out_features=6, bias=False),
        Linear(name="b", in_features=8, out_features=5, bias=False),
    )
    assert found.free == {"Constant": 2, "ConstantOfShape": 1, "Identity": 1}


def test_shared_weights_count_once(tmp_path: Path) -> None:
    """The table before is the matrix after; a module that runs twice; equal vectors, though, are not shared ones."""
    nodes = [
        node("Gather", ["e", "ids"], ["x"], name="embed"),
        node("Gather", ["e", "ids"], ["x2"], name="again"),
        node("MatMul", ["x", "w"], ["m"], name="first"),
        node("Add", ["m", "b"], ["h"]),
        node("MatMul", ["h", "w"], ["m2"], name="second"),
        node("Add", ["m2", "b"], ["h2"]),
        node("LayerNormalization", ["h2", "s", "s"], ["h3"], name="n"),
        node("Add", ["h3", "x2"], ["h4"], name="add"),
        node("Transpose", ["e"], ["t"], perm=[1, 0]),
        node("MatMul", ["h4", "t"], ["y"], name="head"),
    ]
    weights = {"e": [100, 8], "w": [8, 8], "b": [8], "s": [8]}
    found = imported(tmp_path, nodes, {"ids": [1, 5]}, weights).workload
    assert found.layers == (
        Embedding(name="embed", entries=100, width=8, rows=5),
        Embedding(name="again", entries=100, width=8, rows=5, tied=True),
        Linear(name="first", in_features=8, out_features=8, rows=5),
        Linear(name="second", in_features=8, out_features=8, rows=5, bias=False, tied=True),
        Vector(name="n", kind="layer_norm", outputs=40, parameters=16),
        Vector(name="add", kind="add", outputs=40, inputs=80),
        Linear(name="head", in_features=8, out_features=100, rows=5, bias=False, tied=True),
    )
    assert found.parameters == 800 + 64 + 8 + 16


def test_picking_columns_is_no_embedding(tmp_path: Path) -> None:
    nodes = [node("Gather", ["w", "ids"], ["h"], axis=1), node("Relu", ["h"], ["y"], name="r")]
    assert layers(tmp_path, nodes, {"ids": [1, 5]}, {"w": [6, 8]}) == (
        Vector(name="r", kind="relu", outputs=30, inputs=30),
    )


def test_filters_that_run_twice(tmp_path: Path) -> None:
    nodes = [
        node("Conv", ["x", "w", "b"], ["h"], pads=[1, 1, 1, 1]),
        node("Conv", ["h", "w", "b"], ["y"], pads=[1, 1, 1, 1]),
    ]
    first, second = layers(tmp_path, nodes, X, {"w": [8, 8, 3, 3], "b": [8]})
    assert (first.name, second.name) == ("w", "w#2")
    assert (first.parameters, second.parameters) == (576 + 8, 0)


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize(("type_", "gates", "cell"), [("LSTM", 4, "lstm_cell"), ("GRU", 3, "gru_cell")])
def test_recurrent_layers(tmp_path: Path, type_: str, gates: int, cell: str, directions: int) -> None:
    direction = "forward" if directions == 1 else "bidirectional"
    nodes = [node(type_, ["x", "w", "r", "b"], ["y"], name="l", hidden_size=5, direction=direction)]
    weights = {"w": [directions, gates * 5, 6], "r": [directions, gates * 5, 5], "b": [directions, 2 * gates * 5]}
    found = imported(tmp_path, nodes, {"x": [7, 1, 6]}, weights, batch=1).workload
    assert len(found.layers) == 3 * directions
    assert found.layers[:3] == (
        Linear(name="l.ih", in_features=6, out_features=gates * 5, rows=7),
        Linear(name="l.hh", in_features=5, out_features=gates * 5, rows=7, serial=True),
        Vector(name="l.cell", kind=cell, outputs=35, inputs=2 * 7 * gates * 5),
    )
    assert [layer.name for layer in found.layers[3:]] == ["l.ih_reverse", "l.hh_reverse", "l.cell_reverse"][
        : 3 * directions - 3
    ]
    assert found.parameters == directions * gates * 5 * (6 + 5 + 2)


def test_attention(tmp_path: Path) -> None:
    """As four axes, and as three with the numbers of heads; here with 2 heads of keys for 4 of queries."""
    four = [node("Attention", ["q", "k", "v"], ["y"], name="a")]
    shapes = {"q": [1, 4, 7, 6], "k": [1, 2, 9, 6], "v": [1, 2, 9, 5]}
    expected = (
        MatMul(name="a.scores", m=7, k=6, n=9, count=4),
        Vector(name="a.scale", kind="scale", outputs=252),
        Vector(name="a.softmax", kind="softmax", outputs=252),
        MatMul(name="a.context", m=7, k=9, n=5, count=4),
    )
    assert layers(tmp_path, four, shapes) == expected
    three = [node("Attention", ["q", "k", "v"], ["y"], name="a", q_num_heads=4, kv_num_heads=2)]
    assert layers(tmp_path, three, {"q": [1, 7, 24], "k": [1, 9, 12], "v": [1, 9, 10]}) == expected
    past = [node("Attention", ["q", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"], name="a")]
    shapes |= {name: [*shapes[name][:2], 4, shapes[name][3]] for name in ("k", "v")}
    shapes |= {f"p{name}": [*shapes[name][:2], 5, shapes[name][3]] for name in ("k", "v")}
    assert layers(tmp_path, past, shapes) == expected


def test_layers_are_per_input(tmp_path: Path) -> None:
    """Whether the file leaves the batch open, names it, or has one of its own."""
    nodes = [
        node("MatMul", ["x", "w"], ["h"], name="a"),
        node("Transpose", ["h"], ["t"], perm=[0, 2, 1]),
        node("MatMul", ["t", "h"], ["s"], name="s"),
        node("Relu", ["s"], ["y"], name="r"),
    ]
    expected = (
        Linear(name="a", in_features=8, out_features=6, rows=5, bias=False),
        MatMul(name="s", m=6, k=5, n=6),
        Vector(name="r", kind="relu", outputs=36, inputs=36),
    )
    for first in (1, "N", None, 12):
        assert layers(tmp_path, nodes, {"x": [first, 5, 8]}, {"w": [8, 6]}) == expected
    assert layers(tmp_path, nodes, {"x": ["N", "T", 8]}, {"w": [8, 6]}, sizes={"N": 3, "T": 5}) == expected
    (whole, *_) = layers(tmp_path, nodes, {"x": [12, 5, 8]}, {"w": [8, 6]}, batch=1)
    assert whole == Linear(name="a", in_features=8, out_features=6, rows=60, bias=False)


def test_shapes_that_are_computed(tmp_path: Path) -> None:
    """ONNX's inference does not divide, and so does not know the middle tensor's shape."""
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "last"], ["n"]),
        node("Div", ["n", "two"], ["half"]),
        node("Concat", ["batch", "half", "minus"], ["target"], axis=0),
        node("Reshape", ["x", "target"], ["h"]),
        node("MatMul", ["h", "w"], ["y"], name="a"),
    ]
    weights: dict[str, Any] = {
        name: np.array([value]) for name, value in (("last", 1), ("two", 2), ("minus", -1), ("batch", 1))
    }
    parts = nodes, {"x": ["N", 8]}, weights | {"w": [2, 3]}
    found = imported(tmp_path, *parts)
    assert found.workload.layers == (Linear(name="a", in_features=2, out_features=3, rows=4, bias=False),)
    assert found.free == {"Concat": 1, "Div": 1, "Gather": 1, "Reshape": 1, "Shape": 1}


def test_functions_of_the_model_are_its_operators(tmp_path: Path) -> None:
    one = model([node("Twice", ["x"], ["y"], domain="mine")], {"x": [1, 8]})
    body = [node("Relu", ["a"], ["b"]), node("Tanh", ["b"], ["c"])]
    one.functions.append(helper.make_function("mine", "Twice", ["a"], ["c"], body, [helper.make_opsetid("", 24)]))
    onnx.save(one, tmp_path / "f.onnx")
    assert [layer.kind for layer in load_onnx(tmp_path / "f.onnx").workload.layers] == ["relu", "tanh"]


def test_weights_in_a_file_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    one = model([node("MatMul", ["x", "w"], ["y"])], {"x": [1, 512]}, {"w": [512, 300]})
    onnx.save(one, path, save_as_external_data=True, location="large.data")
    (tmp_path / "large.data").unlink()
    assert load_onnx(path).workload.parameters == 512 * 300
    assert load_onnx(path).workload.name == "large"
