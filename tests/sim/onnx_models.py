"""ONNX models for the tests of their import, from a few words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, save

from quaver.sim.imported import Imported
from quaver.sim.onnx_import import load_onnx

OPSET = 24
node = helper.make_node


def model(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Sequence[int | str | None]],
    weights: Mapping[str, Sequence[int] | np.ndarray] | None = None,
    results: Sequence[str] = ("y",),
) -> ModelProto:
    """A model whose weights are given by their shapes or values; those without a shape of their own are results."""
    stored = [
        numpy_helper.from_array(value if isinstance(value, np.ndarray) else np.zeros(value, np.float32), name)
        for name, value in (weights or {}).items()
    ]
    given = [
        helper.make_tensor_value_info(name, TensorProto.INT64 if name == "ids" else TensorProto.FLOAT, shape)
        for name, shape in inputs.items()
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for name in results]
    graph = helper.make_graph(nodes, "g", given, outputs, initializer=stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("mine", 1)])


def imported(folder: Path, *parts: Any, **arguments: Any) -> Imported:
    """What `load_onnx`, with these arguments, makes of such a model."""
    path = folder / "m.onnx"
    save(model(*parts), path)
    return load_onnx(path, **arguments)
