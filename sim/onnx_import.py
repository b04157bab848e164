"""ONNX files: their graphs, with the shapes that ONNX's own inference finds; the package `onnx` is an extra."""

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quaver.golden.errors import check_range
from quaver.sim.import_fusion import fused
from quaver.sim.import_graph import Graph, Operator
from quaver.sim.import_products import PRODUCTS
from quaver.sim.import_vectors import FREE, VECTORS
from quaver.sim.imported import BATCH_MAX, Imported, assemble, shared_batch
from quaver.sim.onnx_shapes import LARGEST, shapes_of

if TYPE_CHECKING:
    import onnx

_OWN_DOMAINS = ("", "ai.onnx")


def load_onnx(path: Path, *, sizes: Mapping[str, int] | None = None, batch: int | None = None) -> Imported:
    """Read a network from an ONNX file, without the data of its weights, which may be missing.

    The first axis of the file's inputs is the batch.  If the file leaves it open it is one; otherwise all shapes are
    divided by it.

    Parameters
    ----------
    path
        The file.
    sizes
        Sizes of the dimensions that the file names and leaves open, such as a sequence's length, by their names.
    batch
        Inputs that the file's shapes are for, if the first axis does not say so: 1 for one sequence whose first axis
        is its time.

    Raises
    ------
    ValueError
        For what is no ONNX model, a dimension without a size, and a shape that is missing, does not fit or cannot be
        divided by the batch; the message begins with the file and the node.
    ModuleNotFoundError
        If `onnx` is not installed.
    """
    from onnx.inliner import inline_local_functions

    if batch is not None:
        check_range("batch", batch, 1, BATCH_MAX)
    model = _loaded(path)
    batch = _close_dimensions(path, model.graph, dict(sizes or {}), batch)
    model = inline_local_functions(model)
    nodes = tuple(_operators(model.graph.node))
    try:
        shapes = shapes_of(model)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    stored = [*model.graph.initializer, *(tensor.values for tensor in model.graph.sparse_initializer)]
    graph = Graph(
        operators=nodes,
        shapes=shapes,
        stored=frozenset(tensor.name for tensor in stored),
        results=frozenset(value.name for value in model.graph.output),
    )
    rules = PRODUCTS | VECTORS
    return assemble(fused(graph), rules, free=FREE, batch=batch, name=path.stem, source=str(path))


def _loaded(path: Path) -> "onnx.ModelProto":
    import onnx
    from google.protobuf import message, text_format

    try:
        model = onnx.load(path, load_external_data=False)
    except (message.DecodeError, text_format.ParseError):
        raise ValueError(f"{path} is no ONNX model") from None
    if not model.graph.node:
        raise ValueError(f"{path} is no ONNX model: it has no operators")
    for tensor in model.graph.initializer:
        if prod(tensor.dims) > LARGEST:
            tensor.ClearField("raw_data")  # which inference would copy, again and again
    return model


def _close_dimensions(path: Path, graph: "onnx.GraphProto", sizes: dict[str, int], batch: int | None) -> int:
    """Give the open dimensions of all that the file describes their sizes; returns the batch."""
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    for name, size in sizes.items():
        check_range(f"size of dimension {name}", size, 1, BATCH_MAX)
    first_axes = set()
    for value in inputs:
        if not value.type.tensor_type.HasField("shape"):
            raise ValueError(f"{path}: input {value.name!r} must be a tensor with a shape")
        dimensions = value.type.tensor_type.shape.dim
        for axis, dimension in enumerate(dimensions):
            if dimension.HasField("dim_value") or dimension.dim_param in sizes:
                continue
            if axis > 0:
                shown = repr(dimension.dim_param) if dimension.dim_param else f"number {axis}"
                raise ValueError(f"{path}: dimension {shown} of input {value.name!r} has no size; it must be given")
            if dimension.dim_param:
                sizes[dimension.dim_param] = 1
            dimension.dim_value = 1
        if dimensions:
            first_axes.add(sizes.get(dimensions[0].dim_param, dimensions[0].dim_value))
    for value in (*graph.input, *graph.value_info, *graph.output):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param in sizes:
                dimension.dim_value = sizes[dimension.dim_param]
    if batch is not None:
        return batch
    return shared_batch(str(path), first_axes)


def _operators(nodes: "Iterable[onnx.NodeProto]") -> Iterator[Operator]:
    for node in nodes:
        own = node.domain in _OWN_DOMAINS
        yield Operator(
            type=node.op_type if own else f"{node.domain}.{node.op_type}",
            name=node.name,
            inputs=tuple(node.input),
            outputs=tuple(node.output),
            attributes={attribute.name: _value(attribute) for attribute in node.attribute},
        )


def _value(attribute: "onnx.AttributeProto") -> Any:
    """An integer, float, text or a list of them; None for graphs and tensors, which no rule looks into."""
    import onnx

    kinds = onnx.AttributeProto
    match attribute.type:
        case kinds.INT | kinds.FLOAT | kinds.INTS | kinds.FLOATS:
            return onnx.helper.get_attribute_value(attribute)
        case kinds.STRING:
            return attribute.s.decode()
    return None
