"""PyTorch's operators in ONNX's terms: what `torch.export` calls each of them, and what becomes of its arguments."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from quaver.sim.import_graph import Operator, Shape

_TYPES = {
    "Abs": "abs",
    "Add": "add",
    "And": "bitwise_and logical_and",
    "ArgMax": "argmax",
    "BatchNormalization": """
        _native_batch_norm_legit _native_batch_norm_legit_functional _native_batch_norm_legit_no_training batch_norm
        """,
    "Cast": "_to_copy to type_as",
    "Clip": "clamp clamp_max clamp_min hardtanh relu6",
    "Concat": "cat stack",
    "ConstantOfShape": "empty full full_like new_ones new_zeros ones ones_like scalar_tensor zeros zeros_like",
    "Cos": "cos",
    "CumSum": "cumsum",
    "Div": "div",
    "Elu": "celu elu selu",
    "Equal": "eq ne",
    "Erf": "erf",
    "Exp": "exp",
    "Expand": "broadcast_to expand expand_as",
    "Flatten": "flatten",
    "Gather": "embedding",
    "GatherElements": "gather index_select",
    "GatherND": "index",
    "Gelu": "gelu",
    "GlobalAveragePool": "adaptive_avg_pool1d adaptive_avg_pool2d",
    "GlobalMaxPool": "adaptive_max_pool1d adaptive_max_pool2d",
    "Greater": "ge gt",
    "GroupNormalization": "group_norm",
    "HardSigmoid": "hardsigmoid",
    "HardSwish": "hardswish",
    "Identity": "alias clone contiguous detach detach_ lift_fresh_copy",
    "InstanceNormalization": "instance_norm",
    "LayerNormalization": "layer_norm native_layer_norm",
    "LeakyRelu": "leaky_relu prelu",
    "Less": "le lt",
    "Log": "log",
    "LogSoftmax": "_log_softmax log_softmax",
    "MatMul": "bmm matmul mm",
    "Max": "maximum",
    "Min": "minimum",
    "Mul": "mul",
    "Neg": "neg",
    "Not": "bitwise_not logical_not",
    "Or": "bitwise_or logical_or",
    "Pad": "constant_pad_nd pad",
    "Pow": "pow square",
    "RMSNormalization": "rms_norm",
    "Range": "arange",
    "Reciprocal": "reciprocal",
    "ReduceMax": "amax",
    "ReduceMean": "mean",
    "ReduceMin": "amin",
    "ReduceSum": "sum",
    "Relu": "relu",
    "Reshape": "_unsafe_view reshape unflatten view",
    "Sigmoid": "sigmoid",
    "Sin": "sin",
    "Slice": "narrow select slice",
    "Softmax": "_safe_softmax _softmax softmax",
    "SpaceToDepth": "pixel_unshuffle",
    "DepthToSpace": "pixel_shuffle",
    "Split": "chunk split split_with_sizes unbind",
    "Sqrt": "rsqrt sqrt",
    "Squeeze": "squeeze",
    "Sub": "rsub sub",
    "Swish": "silu",
    "Tanh": "tanh",
    "Tile": "repeat roll tile",
    "Transpose": "mT numpy_T permute t transpose",
    "Unsqueeze": "unsqueeze",
    "Where": "masked_fill where",
}
"""Operators whose tensors come in ONNX's order and that need no attributes, by ONNX's type."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of an operator in an exported graph."""

    target: str
    """Name of the operator, without its overload, and without the underscore of one that works in place."""
    name: str
    """What its layers are called."""
    arguments: Mapping[str, Any]
    """By their names in the operator's schema, defaults included; tensors are their names."""
    tensors: tuple[str, ...]
    """Names of the tensors among the arguments, in order."""
    outputs: tuple[str, ...]
    """Names of the tensors that it writes."""
    shapes: dict[str, Shape]
    """Of all tensors so far; what an operator has inside is added."""

    def operator(self, type_: str, inputs: Sequence[str | None] | None = None, **attributes: Any) -> Operator:
        """The call as ONNX's operator."""
        given = self.tensors if inputs is None else tuple(name or "" for name in inputs)
        return Operator(type=type_, name=self.name, inputs=given, outputs=self.outputs, attributes=attributes)


Translation = Callable[[Call], Iterator[Operator]]
"""Makes operators of a call."""


def _simple(type_: str) -> Translation:
    def translate(call: Call) -> Iterator[Operator]:
        yield call.operator(type_)

    return translate


def _axes(value: int | Sequence[int], count: int) -> list[int]:
    """One number for all axes, or one for each."""
    values = [value] if isinstance(value, int) else list(value)
    return values * count if len(values) == 1 else values


def _convolution(call: Call) -> Iterator[Operator]:
    arguments = call.arguments
    count = len(call.shapes[arguments["weight"]]) - 2
    padding = arguments["padding"]
    named = {"same": "SAME_UPPER", "valid": "VALID"}
    pads = {"auto_pad": named[padding]} if isinstance(padding, str) else {"pads": _axes(padding, count) * 2}
    yield call.operator(
        "ConvTranspose" if arguments.get("transposed") else "Conv",
        [arguments["input"], arguments["weight"], arguments["bias"]],
        strides=_axes(arguments["stride"], count),
        dilations=_axes(arguments["dilation"], count),
        group=arguments["groups"],
        **pads,
    )


def _linear(call: Call) -> Iterator[Operator]:
    yield call.operator("Gemm", transB=1)


def _addmm(call: Call) -> Iterator[Operator]:
    yield call.operator("Gemm", [call.arguments[name] for name in ("mat1", "mat2", "self")])


def _pooling(call: Call) -> Iterator[Operator]:
    kind, _, axes = call.target.removesuffix("_with_indices").partition("_pool")
    kernel = _axes(call.arguments["kernel_size"], int(axes[0]))
    yield call.operator("MaxPool" if kind == "max" else "AveragePool", kernel_shape=kernel)


def _dropout(call: Call) -> Iterator[Operator]:
    """A layer, if the module was exported in training mode and ever drops anything."""
    yield call.operator("Dropout" if call.arguments["p"] and call.arguments["train"] else "Identity")


def _attention(call: Call) -> Iterator[Operator]:
    inputs = [call.arguments[name] for name in ("query", "key", "value")]
    together = call.operator("Attention", inputs, dropout=call.arguments["dropout_p"])
    yield replace(together, name=call.name.removesuffix(f".{call.target}"))


def _upsampling(call: Call) -> Iterator[Operator]:
    mode = call.target.removeprefix("upsample_").removesuffix("1d").removesuffix("2d")
    yield call.operator("Resize", mode=mode)


def _recurrent(call: Call) -> Iterator[Operator]:
    """An operator for each layer and direction, and the dropout between layers."""
    arguments, type_ = call.arguments, call.target.upper()
    weights, layers = list(arguments["params"]), arguments["num_layers"]
    suffixes = ("", "_reverse") if arguments["bidirectional"] else ("",)
    each = len(weights) // (layers * len(suffixes))
    if each not in (2, 4):  # matrices, and biases
        yield call.operator(f"{type_} with projections")
        return
    inputs = arguments["input"]
    steps = call.shapes[inputs][:2]
    for layer in range(layers):
        results = []
        for suffix in suffixes:
            matrices, weights = weights[:each], weights[each:]
            name = f"{call.name}.l{layer}{suffix}"
            results.append(f"{name}.output")
            yield Operator(type=type_, name=name, inputs=(inputs, *matrices), outputs=(results[-1],))
        inputs = f"{call.name}.l{layer}"
        call.shapes[inputs] = (*steps, len(suffixes) * call.shapes[matrices[1]][1])
        last = layer == layers - 1
        yield Operator(type="Concat", inputs=tuple(results), outputs=call.outputs if last else (inputs,))
        if arguments["dropout"] and not last:
            dropped = f"{inputs}.dropped"
            call.shapes[dropped] = call.shapes[inputs]
            yield Operator(type="Dropout", name=f"{call.name}.dropout{layer}", inputs=(inputs,), outputs=(dropped,))
            inputs = dropped


TRANSLATIONS: dict[str, Translation] = {
    target: _simple(type_) for type_, targets in _TYPES.items() for target in targets.split()
}
"""Translations by the operator's name."""
TRANSLATIONS |= dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution"), _convolution)
TRANSLATIONS |= dict.fromkeys(
    ("avg_pool1d", "avg_pool2d", "max_pool1d", "max_pool2d", "max_pool2d_with_indices"), _pooling
)
TRANSLATIONS |= dict.fromkeys(("dropout", "native_dropout"), _dropout)
TRANSLATIONS |= dict.fromkeys(("upsample_nearest1d", "upsample_nearest2d", "upsample_bilinear2d"), _upsampling)
TRANSLATIONS |= {"gru": _recurrent, "lstm": _recurrent}
TRANSLATIONS |= {"addmm": _addmm, "linear": _linear, "scaled_dot_product_attention": _attention}
