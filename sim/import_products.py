"""What operators that multiply, look rows up or recur become; each rule's operator is ONNX's of that name."""

from collections.abc import Iterator, Sequence
from math import prod

from quaver.sim.import_graph import Operator
from quaver.sim.imported import Assembly, Rule, Unmapped
from quaver.sim.layers import Conv2d, Linear, MatMul, Pair
from quaver.sim.network import Layer
from quaver.sim.vector_layers import Embedding, Vector


def _convolution(assembly: Assembly, operator: Operator, weight: int = 1, bias: int = 2) -> Iterator[Layer]:
    """Along one or two axes; one axis is the width of an image that is one pixel high."""
    graph, filters = assembly.graph, operator.input(weight)
    if not assembly.is_constant(filters):
        raise Unmapped("with computed filters")
    batch, channels, *size = graph.shape(operator.inputs[0])
    out_channels, _, *kernel = graph.shape(filters)
    if len(kernel) not in (1, 2):
        raise Unmapped(f"along {len(kernel)} axes")
    assembly.per_input(batch)
    strides = operator.attributes.get("strides", [1] * len(kernel))
    dilations = operator.attributes.get("dilations", [1] * len(kernel))
    begins, ends = _pads(operator, size, kernel, strides, dilations)
    tied = not assembly.first_use(filters)
    yield Conv2d(
        name=assembly.name(operator),
        in_channels=channels,
        out_channels=out_channels,
        size=_pair(size, 1),
        kernel=_pair(kernel, 1),
        stride=_pair(strides, 1),
        padding=_pair(begins, 0),
        end_padding=None if begins == ends else _pair(ends, 0),
        dilation=_pair(dilations, 1),
        groups=operator.attributes.get("group", 1),
        tied=tied,
        bias=assembly.bias(operator.input(bias), out_channels, tied=tied),
    )


def _pair(axes: Sequence[int], missing: int) -> Pair:
    """What holds along height and width, `missing` along the height if there is one axis only."""
    height, width = axes if len(axes) == 2 else (missing, *axes)
    return height, width


def _pads(
    operator: Operator, size: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Zeros at the beginning and at the end of each axis, by ONNX's definition of `auto_pad`."""
    rule = operator.attributes.get("auto_pad", "NOTSET")
    if rule in ("NOTSET", "VALID"):
        given = operator.attributes.get("pads", []) if rule == "NOTSET" else []
        pads = list(given) or [0] * 2 * len(kernel)
        return pads[: len(kernel)], pads[len(kernel) :]
    totals = [
        max(0, (-(-extent // stride) - 1) * stride + (taps - 1) * dilation + 1 - extent)
        for extent, taps, stride, dilation in zip(size, kernel, strides, dilations, strict=True)
    ]
    less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return (less, more) if rule == "SAME_UPPER" else (more, less)


def _quantized_convolution(assembly: Assembly, operator: Operator) -> Iterator[Layer]:
    return _convolution(assembly, operator, weight=3, bias=8)


def _product(assembly: Assembly, operator: Operator, left: int = 0, right: int = 1, bias: int = 2) -> Iterator[Layer]:
    """A fully connected layer where one operand is constant, otherwise products of computed ones.

    Several constant matrices become a convolution by 1 x 1 filters with as many groups.
    """
    a, b = operator.inputs[left], operator.inputs[right]
    rows, columns = list(assembly.graph.shape(a)), list(assembly.graph.shape(b))
    rows, columns = rows if len(rows) > 1 else [1, *rows], columns if len(columns) > 1 else [*columns, 1]
    if operator.attributes.get("transA"):
        rows[-2:] = rows[:-3:-1]
    if operator.attributes.get("transB"):
        columns[-2:] = columns[:-3:-1]
    (m, k), n = rows[-2:], columns[-1]
    if columns[-2] != k:
        raise ValueError(f"a matrix of {columns[-2]} rows cannot follow one of {k} columns")
    name, results = assembly.name(operator), assembly.graph.elements(operator.outputs[0])
    weight = next((tensor for tensor in (b, a) if assembly.is_constant(tensor)), None)
    added = operator.input(bias)
    if weight is None:
        count = results // (m * n)
        if count % assembly.batch and m % assembly.batch == 0:  # the batch is among the rows
            m //= assembly.batch
        else:
            count = assembly.per_input(count)
        yield MatMul(name=name, m=m, k=k, n=n, count=count)
    else:
        outputs, matrices = (n, prod(columns[:-2])) if weight == b else (m, prod(rows[:-2]))
        positions = assembly.per_input(results // (outputs * matrices))
        tied = not assembly.first_use(weight)
        if matrices == 1:
            yield Linear(
                name=name,
                in_features=k,
                out_features=outputs,
                rows=positions,
                tied=tied,
                bias=assembly.bias(added, outputs, tied=tied),
            )
        else:
            yield Conv2d(
                name=name,
                in_channels=k * matrices,
                out_channels=outputs * matrices,
                size=(1, positions),
                kernel=(1, 1),
                groups=matrices,
                tied=tied,
            )
    if added and not assembly.is_constant(added):
        elements = assembly.per_input(results)
        yield Vector(name=assembly.unique(f"{name}.add"), kind="add", outputs=elements, inputs=2 * elements)


def _quantized_product(assembly: Assembly, operator: Operator) -> Iterator[Layer]:
    return _product(assembly, operator, left=0, right=3, bias=len(operator.inputs))


def _integer_product(assembly: Assembly, operator: Operator) -> Iterator[Layer]:
    """Its third and fourth inputs are zero points."""
    return _product(assembly, operator, bias=len(operator.inputs))


def _integer_convolution(assembly: Assembly, operator: Operator) -> Iterator[Layer]:
    return _convolution(assembly, operator, bias=len(operator.inputs))


def _attention(assembly: Assembly, operator: Operator) -> Iterator[Layer]:
    """Scores, their scaling and softmax, and the weighted sum of the values; a mask costs nothing.

    Queries, keys and values are (batch, heads, tokens, width), or (batch, tokens, heads * width) with the numbers of
    heads as attributes; keys and values of earlier tokens come as inputs 4 and 5.
    """
    graph = assembly.graph
    query, key, value = (graph.shape(name) for name in operator.inputs[:3])
    past = graph.shape(operator.inputs[4])[2] if operator.input(4) else 0
    heads = operator.attributes.get("q_num_heads")
    if heads and len(query) == 3:
        depth = query[-1] // heads
        width = value[-1] // operator.attributes["kv_num_heads"]
        count = query[0] * heads
    else:
        depth, width, count = query[-1], value[-1], prod(query[:-2])
    m, keys, count = query[-2], key[-2] + past, assembly.per_input(count)
    name, scores = assembly.name(operator), count * m * keys
    yield MatMul(name=assembly.unique(f"{name}.scores"), m=m, k=depth, n=keys, count=count)
    for part in ("scale", "softmax", *(["dropout"] if operator.attributes.get("dropout") else [])):
        yield Vector(name=assembly.unique(f"{name}.{part}"), kind=part, outputs=scores)
    yield MatMul(name=assembly.unique(f"{name}.context"), m=m, k=keys, n=width, count=count)


_CELLS = {"LSTM": "lstm_cell", "GRU": "gru_cell"}


def _recurrent(assembly: Assembly, operator: Operator) -> Iterator[Layer]:
    """Per direction the product with the inputs of all time steps, the one with the states, and the cells.

    Inputs are X, of (steps, batch, features) or of (batch, steps, features), W, R and B; with an axis for directions as
    in ONNX, or for one direction as in PyTorch, where B is the first of two parts.
    """
    weight, states = operator.inputs[1:3]
    if not (assembly.is_constant(weight) and assembly.is_constant(states)):
        raise Unmapped("with computed weights")
    steps = assembly.per_input(prod(assembly.graph.shape(operator.inputs[0])[:2]))
    *several, gates, features = assembly.graph.shape(weight)
    directions, parts = (several[0], 2) if several else (1, 1)
    hidden = assembly.graph.shape(states)[-1]
    name = assembly.name(operator)
    tied = not assembly.first_use(weight)
    bias = assembly.bias(operator.input(3), directions * parts * gates, tied=tied)
    for suffix in ("", "_reverse")[:directions]:
        products = {"ih": features, "hh": hidden}
        for part, inputs in products.items():
            yield Linear(
                name=assembly.unique(f"{name}.{part}{suffix}"),
                in_features=inputs,
                out_features=gates,
                rows=steps,
                serial=part == "hh",
                bias=bias,
                tied=tied,
            )
        yield Vector(
            name=assembly.unique(f"{name}.cell{suffix}"),
            kind=_CELLS[operator.type],
            outputs=steps * hidden,
            inputs=len(products) * steps * gates,
        )


def _gather(assembly: Assembly, operator: Operator) -> Iterator[Layer]:
    """Rows of a constant table are an embedding; picking among computed elements or single numbers costs nothing."""
    table, indices = operator.inputs[:2]
    if not assembly.is_constant(table) or operator.attributes.get("axis", 0) != 0:
        return
    shape = assembly.graph.shape(table)
    if len(shape) == 2:
        yield Embedding(
            name=assembly.name(operator),
            entries=shape[0],
            width=shape[1],
            rows=assembly.elements(indices),
            tied=not assembly.first_use(table),
        )


PRODUCTS: dict[str, Rule] = {
    "Attention": _attention,
    "Conv": _convolution,
    "ConvInteger": _integer_convolution,
    "GRU": _recurrent,
    "Gather": _gather,
    "Gemm": _product,
    "LSTM": _recurrent,
    "MatMul": _product,
    "MatMulInteger": _integer_product,
    "QLinearConv": _quantized_convolution,
    "QLinearMatMul": _quantized_product,
}
"""Rules by the type of the operator."""
