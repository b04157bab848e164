"""PyTorch's modules: the graphs that `torch.export` makes of them, with example inputs; `torch` is an extra."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from quaver.golden.errors import check_range
from quaver.sim.import_fusion import fused
from quaver.sim.import_graph import Graph, Operator, Shape
from quaver.sim.import_products import PRODUCTS
from quaver.sim.import_vectors import FREE, VECTORS
from quaver.sim.imported import BATCH_MAX, Imported, assemble, shared_batch
from quaver.sim.torch_operators import TRANSLATIONS, Call

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram
    from torch.fx import Node


def load_module(
    module: "torch.nn.Module",
    example_inputs: tuple[Any, ...],
    *,
    name: str = "",
    example_keywords: Mapping[str, Any] | None = None,
    batch: int | None = None,
) -> Imported:
    """Read a network from a module, whose layers are named as its parts are.

    Parameters
    ----------
    module
        The module, in training mode if its dropout is to be a layer; its weights' values do not matter.
    example_inputs
        Arguments of its forward pass, whose shapes the layers get; the first axis of each tensor is the batch, and all
        shapes are divided by it.
    name
        Name of the workload, by default that of the module's class.
    example_keywords
        Arguments of its forward pass by name, likewise.
    batch
        Inputs that the shapes are for, if the first axis does not say so: 1 for one sequence whose first axis is time.

    Raises
    ------
    ValueError
        If PyTorch cannot export the module, or a shape does not fit or cannot be divided by the batch; the message
        begins with the name and the part.
    ModuleNotFoundError
        If `torch` is not installed.
    """
    import torch

    name = name or type(module).__name__
    if batch is not None:
        check_range("batch", batch, 1, BATCH_MAX)
    try:
        program = torch.export.export(module, example_inputs, dict(example_keywords or {}))
    except Exception as error:  # whatever the module itself raises comes out of it, too
        reason, _, _ = str(error).strip().partition("\n")
        raise ValueError(f"{name}: torch.export fails: {reason}") from error
    program = _decomposed(program)
    graph, first_axes = _graph_of(program, module)
    return assemble(
        fused(graph),
        PRODUCTS | VECTORS,
        free=FREE,
        batch=shared_batch(name, first_axes) if batch is None else batch,
        name=name,
        source=name,
    )


def _decomposed(program: "ExportedProgram") -> "ExportedProgram":
    """The program with the operators that have no translation taken apart, as far as PyTorch knows how."""
    import torch

    unknown = {node.target for node in program.graph.nodes if node.op == "call_function" and not _known(node)}
    table = {key: value for key, value in torch.export.default_decompositions().items() if key in unknown}
    return program.run_decompositions(table) if table else program


def _known(node: "Node") -> bool:
    return not hasattr(node.target, "_schema") or _target(node) in TRANSLATIONS


def _target(node: "Node") -> str:
    """Name of an operator without its overload, and without the underscore of one that works in place."""
    target: Any = node.target
    if not hasattr(target, "_schema"):
        return str(target)
    space, _, name = target._schema.name.partition("::")
    return name.rstrip("_") if space == "aten" else f"{space}.{name}"


def _graph_of(program: "ExportedProgram", module: "torch.nn.Module") -> tuple[Graph, list[int]]:
    """The program's graph, and the first axes of the tensors that it is called with."""
    signature = program.graph_signature
    learnt = dict(signature.inputs_to_parameters)
    constants = learnt | signature.inputs_to_buffers | signature.inputs_to_lifted_tensor_constants
    shapes: dict[str, Shape] = {}
    operators: list[Operator] = []
    first_axes = []
    for node in program.graph.nodes:
        results = _results(node)
        shapes |= {_tensor(node, constants, place): shape for place, shape in results.items()}
        if node.op == "placeholder" and node.name not in constants:
            first_axes += [shape[0] for shape in results.values() if shape]
        # Operators without tensors are arithmetic on shapes, or assertions.
        if node.op == "call_function" and results and not _is_element(node):
            operators += _operators(node, module, constants, shapes)
    outputs = {_tensor(node, constants) for node in program.graph.output_node().all_input_nodes}
    graph = Graph(
        operators=tuple(operators),
        shapes=shapes,
        stored=frozenset(constants.values()),
        fixed=frozenset(constants.values()) - frozenset(learnt.values()),
        results=frozenset(outputs),
    )
    return graph, first_axes


def _results(node: "Node") -> dict[int | None, Shape]:
    """Shapes of the tensors that a node writes, by their places if it writes several."""
    import torch

    value = node.meta.get("val")
    several = value if isinstance(value, (tuple, list)) else ()
    tensors = dict(enumerate(several)) if several else {None: value}
    return {place: tuple(map(int, one.shape)) for place, one in tensors.items() if isinstance(one, torch.Tensor)}


def _is_element(node: "Node") -> bool:
    """Whether a node only picks one of the tensors that another writes."""
    import operator

    return node.target is operator.getitem


def _tensor(node: "Node", constants: Mapping[str, str], place: int | None = None) -> str:
    """Name of a tensor: of the module's for those that come with it, otherwise the node's, and its place there."""
    if place is None and _is_element(node):
        source, place = node.args
        return _tensor(source, constants, place)
    return constants.get(node.name, node.name) if place is None else f"{node.name}:{place}"


def _operators(
    node: "Node", module: "torch.nn.Module", constants: Mapping[str, str], shapes: dict[str, Shape]
) -> Iterator[Operator]:
    import torch

    tensors: list[str] = []

    def named(value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            name = _tensor(value, constants)
            tensors.append(name)
            return name
        return [named(one) for one in value] if isinstance(value, (list, tuple)) else value

    target = _target(node)
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        arguments = {str(place): named(value) for place, value in enumerate(node.args)}
    else:
        given = dict(zip((argument.name for argument in schema.arguments), node.args, strict=False)) | node.kwargs
        arguments = {a.name: named(given.get(a.name, a.default_value)) for a in schema.arguments}
    weights = [name for name in tensors if name in constants.values()]
    call = Call(
        target=target,
        name=_layer_name(node, module, weights),
        arguments=arguments,
        tensors=tuple(name for name in tensors if name in shapes),
        outputs=tuple(_tensor(node, constants, place) for place in _results(node)),
        shapes=shapes,
    )
    if target in TRANSLATIONS:
        yield from TRANSLATIONS[target](call)
    else:
        yield call.operator(target)


def _layer_name(node: "Node", module: "torch.nn.Module", weights: list[str]) -> str:
    """The module's part that calls an operator, if it has no parts itself; otherwise its weight, or the operator."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    if path and not any(module.get_submodule(path).children()):
        return path
    if weights:
        return weights[0].removesuffix(".weight")
    return f"{path}.{_target(node)}".lstrip(".")
