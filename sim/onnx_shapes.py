"""Shapes of the tensors of an ONNX model, from its inputs': by ONNX's own inference, helped where it stops."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quaver.sim.import_graph import Shape

if TYPE_CHECKING:
    import onnx

_ARITHMETIC = """
    Abs Add And Cast CastLike Ceil Concat ConstantOfShape Div Equal Expand Floor Gather Greater GreaterOrEqual Identity
    Less LessOrEqual Max Min Mod Mul Neg Not Or Range ReduceMax ReduceMin ReduceProd ReduceSum Reshape Slice Split
    Squeeze Sub Transpose Unsqueeze Where
    """
_FOLDED = frozenset(_ARITHMETIC.split())
"""Operators that shapes are computed with."""
_KEEPING = frozenset({"GroupNormalization"})
"""Operators whose results have the shape of their first input, which the inference leaves out."""
LARGEST = 64
"""Elements of a tensor, at most, that is taken for a part of a shape."""
_ROUNDS = 16
"""Times, at most, that a shape is found by arithmetic on shapes that were found before."""


def shapes_of(model: "onnx.ModelProto") -> dict[str, Shape]:
    """Shapes of all tensors, as far as they can be known without running the network; changes `model`.

    Raises
    ------
    ValueError
        If operators and shapes contradict each other, with the inference's own words.
    """
    import onnx

    shapes: dict[str, Shape] = {}
    for _ in range(_ROUNDS):
        try:
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
            raise ValueError(" ".join(str(error).split())) from None
        known = len(shapes)
        shapes = _stated(model.graph)
        names = {name for node in model.graph.node for name in node.output if name}
        if names <= shapes.keys() or len(shapes) == known:
            break
        _fold(model, shapes)
    return shapes


def _stated(graph: "onnx.GraphProto") -> dict[str, Shape]:
    """The shapes that a graph states, those with an open dimension left out."""
    shapes: dict[str, Shape] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dimensions = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dimensions):
            shapes[value.name] = tuple(dimension.dim_value for dimension in dimensions)
    shapes |= {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    shapes |= {tensor.values.name: tuple(tensor.dims) for tensor in graph.sparse_initializer}
    return shapes


def _fold(model: "onnx.ModelProto", shapes: dict[str, Shape]) -> None:
    """Do what ONNX's inference leaves out: replace arithmetic on known shapes by its results, and state more shapes."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    opsets = {entry.domain: entry.version for entry in model.opset_import}
    values: dict[str, NDArray] = {}
    for tensor in model.graph.initializer:
        if _small(shapes[tensor.name]) and tensor.data_location != onnx.TensorProto.EXTERNAL:
            values[tensor.name] = onnx.numpy_helper.to_array(tensor)
    for node in model.graph.node:
        results: Any = ()
        if node.op_type in _KEEPING and node.output[0] not in shapes and node.input[0] in shapes:
            known = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, shapes[node.input[0]])
            model.graph.value_info.add(name=node.output[0], type=known)
        if node.op_type == "Shape" and node.input[0] in shapes:
            bounds = {attribute.name: attribute.i for attribute in node.attribute}
            whole = np.array(shapes[node.input[0]], np.int64)
            results = [whole[bounds.get("start", 0) : bounds.get("end")]]
        elif node.op_type == "Constant" or (
            node.op_type in _FOLDED
            and not node.domain
            and all(name in values for name in node.input if name)
            and all(_small(shapes.get(name, ())) for name in node.output)
        ):
            feeds = {name: values[name] for name in node.input if name}
            results = ReferenceEvaluator(node, opsets=opsets).run(None, feeds)
        results = [np.asarray(result) for result in results]
        if results and all(_small(result.shape) for result in results):
            values |= dict(zip(node.output, results, strict=True))
            if len(results) == 1 and node.op_type != "Constant":
                constant = onnx.numpy_helper.from_array(results[0])
                node.CopyFrom(onnx.helper.make_node("Constant", [], node.output, node.name, value=constant))


def _small(shape: Shape) -> bool:
    return int(np.prod(shape)) <= LARGEST
