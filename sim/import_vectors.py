"""What operators that do not multiply matrices become: vector layers, or nothing; names of operators are ONNX's."""

from collections.abc import Iterator
from math import prod

from quaver.sim.import_graph import Operator
from quaver.sim.imported import Assembly, Rule, Unmapped
from quaver.sim.network import Layer
from quaver.sim.vector_layers import Vector

_FREE = """
    Cast CastLike Concat Constant ConstantOfShape DepthToSpace Expand EyeLike Flatten GatherElements GatherND Identity
    Pad Range Reshape Shape Size Slice SpaceToDepth Split Squeeze Tile Transpose Unsqueeze
    """
FREE = frozenset(_FREE.split())
"""Operators that rename, move or copy elements."""

_KINDS = {
    "add": "Add Sub Sum",
    "avg_pool": "AveragePool GlobalAveragePool ReduceMean",
    "batch_norm": "BatchNormalization",
    "div": "Div",
    "dropout": "Dropout",
    "elementwise": """
        Abs And BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Cos Equal Erf Exp Floor Greater GreaterOrEqual
        IsInf IsNaN Less LessOrEqual Log Max Min Mod Not Or Pow Reciprocal Round Sign Sin Sqrt Where Xor
        """,
    "elu": "Celu Elu Selu",
    "gelu": "Gelu",
    "group_norm": "GroupNormalization InstanceNormalization",
    "hard_sigmoid": "HardSigmoid",
    "hard_swish": "HardSwish",
    "layer_norm": "LayerNormalization",
    "leaky_relu": "LeakyRelu PRelu",
    "max_pool": "GlobalMaxPool MaxPool",
    "mul": "Mul",
    "reduce": "ArgMax ArgMin CumSum ReduceMax ReduceMin ReduceProd ReduceSum",
    "relu": "Relu",
    "relu6": "Clip",
    "rms_norm": "RMSNormalization",
    "scale": "DequantizeLinear Neg QuantizeLinear",
    "sigmoid": "Sigmoid",
    "silu": "Swish",
    "softmax": "LogSoftmax Softmax",
    "tanh": "Tanh",
}
"""Operators by the kind of vector layer that they are."""
_KIND_OF = {operator: kind for kind, operators in _KINDS.items() for operator in operators.split()}


def _elementwise(assembly: Assembly, operator: Operator) -> Iterator[Layer]:
    """What reads its computed inputs once, element by element or row by row, and constants that are learnt beside them.

    With a constant, a sum is a bias and a product a scaling, by one number or by many that are learnt.
    """
    kind, computed = _KIND_OF[operator.type], assembly.graph.computed(operator)
    parameters = sum(assembly.learnt(name) for name in operator.inputs if name)
    several = any(assembly.graph.elements(name) > 1 for name in operator.inputs if assembly.is_constant(name))
    if len(computed) == 1 and kind == "add":
        kind = "bias"
    elif len(computed) == 1 and (kind == "mul" or (kind == "div" and computed[0] == operator.inputs[0])):
        kind = "mul" if several else "scale"
    yield Vector(
        name=assembly.name(operator),
        kind=kind,
        outputs=assembly.elements(operator.outputs[0]),
        inputs=sum(map(assembly.elements, computed)),
        window=max(1, len(computed) - 1) if kind == "add" else 1,
        parameters=parameters,
    )


def _normalization(assembly: Assembly, operator: Operator) -> Iterator[Layer]:
    """A normalisation, with scales and shifts as its second and third input."""
    yield Vector(
        name=assembly.name(operator),
        kind=_KIND_OF[operator.type],
        outputs=assembly.elements(operator.outputs[0]),
        parameters=sum(assembly.learnt(name) for name in operator.inputs[1:3]),
    )


def _pooling(assembly: Assembly, operator: Operator) -> Iterator[Layer]:
    """A window of `kernel_shape`, or of all places or elements that go into a result."""
    inputs, outputs = (assembly.elements(name) for name in (operator.inputs[0], operator.outputs[0]))
    yield Vector(
        name=assembly.name(operator),
        kind=_KIND_OF[operator.type],
        outputs=outputs,
        inputs=inputs,
        window=prod(operator.attributes.get("kernel_shape", (max(1, inputs // outputs),))),
    )


def _resize(assembly: Assembly, operator: Operator) -> Iterator[Layer]:
    """Repeating pixels costs nothing; other ways to get more or fewer of them are no layers."""
    if operator.attributes.get("mode", "nearest") != "nearest":
        raise Unmapped(f"of mode {operator.attributes['mode']}")
    yield from ()


VECTORS: dict[str, Rule] = dict.fromkeys(_KIND_OF, _elementwise)
"""Rules by the type of the operator."""
VECTORS |= {name: _normalization for name in _KIND_OF if name.endswith("Normalization")}
VECTORS |= {name: _pooling for name in _KIND_OF if "Pool" in name or _KIND_OF[name] == "reduce" or name == "ReduceMean"}
VECTORS |= {"Resize": _resize, "Upsample": _resize}
