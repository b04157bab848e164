"""Parameters, MACs and elements of every built-in network, module by module, against torchvision and Hugging Face.

`data/reference_counts.json` says who counted what; `bench/workload_counts.py` made it.
"""

import json
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from quaver.sim import WORKLOADS, Linear, MatMul, Vector, Workload, workload_named

RECORD = json.loads((Path(__file__).parent / "data/reference_counts.json").read_text(encoding="utf-8"))
REFERENCES = RECORD["networks"]


def module_of(layer: str, modules: dict[str, list[int]]) -> str:
    """The innermost of the reference's modules that a layer's name lies in; "" for none."""
    while layer and layer not in modules:
        layer = layer.rpartition(".")[0]
    return layer


def by_module(workload: Workload, modules: dict[str, list[int]]) -> dict[str, list[int]]:
    """Parameters, MACs, and elements that vector layers read and write."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for layer in workload.layers:
        moved = (layer.reads, layer.outputs) if isinstance(layer, Vector) else (0, 0)
        numbers = zip(sums[module_of(layer.name, modules)], (layer.parameters, layer.macs, *moved), strict=True)
        sums[module_of(layer.name, modules)] = [a + b for a, b in numbers]
    return sums


def test_every_network_has_a_reference() -> None:
    assert sorted(WORKLOADS) == sorted(REFERENCES)
    assert len(WORKLOADS) == 21
    assert {"torch", "torchvision", "transformers"} == set(RECORD["packages"])


@pytest.mark.parametrize("name", WORKLOADS)
def test_totals(name: str) -> None:
    workload, reference = workload_named(name), REFERENCES[name]
    assert workload.name == name
    assert workload.source
    assert (workload.parameters, workload.macs) == (reference["parameters"], reference["macs"])


def test_totals_in_print() -> None:
    printed = {name: REFERENCES[name]["published"] for name in REFERENCES if "published" in REFERENCES[name]}
    assert len(printed) == 10
    for name, count in printed.items():
        assert workload_named(name).parameters == count["parameters"], count["by"]


@pytest.mark.parametrize("name", WORKLOADS)
def test_modules(name: str) -> None:
    """Each module's parameters and MACs are the reference's, and so is what it reads and writes where that is told."""
    modules = REFERENCES[name]["modules"]
    ours = by_module(workload_named(name), modules)
    assert ours.pop("", [0, 0])[:2] == [0, 0]  # what is no module of the reference's, such as sums
    assert ours.keys() == modules.keys()
    assert {module: numbers[:2] for module, numbers in ours.items()} == {m: n[:2] for m, n in modules.items()}
    told = [module for module, numbers in modules.items() if numbers[3]]
    assert told or name == "gnmt"  # whose reference has no modules but those that multiply
    assert {module: ours[module][2:] for module in told} == {module: modules[module][2:] for module in told}


KINDS_OF = {
    "lenet5": {"relu": 4, "max_pool": 2},
    "alexnet": {"relu": 7, "max_pool": 3, "dropout": 2},
    "vgg16": {"relu": 15, "max_pool": 5, "dropout": 2},
    "resnet18": {"batch_norm": 20, "relu": 17, "add": 8, "max_pool": 1, "avg_pool": 1},
    "resnet34": {"batch_norm": 36, "relu": 33, "add": 16, "max_pool": 1, "avg_pool": 1},
    "resnet50": {"batch_norm": 53, "relu": 49, "add": 16, "max_pool": 1, "avg_pool": 1},
    "resnet20": {"batch_norm": 19, "relu": 19, "add": 9, "avg_pool": 1},
    "resnet32": {"batch_norm": 31, "relu": 31, "add": 15, "avg_pool": 1},
    "resnet8_mnist": {"batch_norm": 7, "relu": 7, "add": 3, "avg_pool": 1},
    "resnet20_mnist": {"batch_norm": 19, "relu": 19, "add": 9, "avg_pool": 1},
    "mobilenet_v2": {"batch_norm": 52, "relu6": 35, "add": 10, "avg_pool": 1, "dropout": 1},
    "efficientnet_b0": {
        "batch_norm": 49,
        "silu": 49,
        "sigmoid": 16,
        "mul": 16,
        "add": 9,
        "avg_pool": 17,
        "dropout": 10,
    },
    "bert_base": {"layer_norm": 26, "gelu": 13, "softmax": 12, "scale": 12, "add": 26, "dropout": 37, "tanh": 1},
    "bert_large": {"layer_norm": 50, "gelu": 25, "softmax": 24, "scale": 24, "add": 50, "dropout": 73, "tanh": 1},
    "transformer_base": {"layer_norm": 30, "relu": 12, "softmax": 18, "scale": 19, "add": 31, "dropout": 31},
    "transformer_big": {"layer_norm": 30, "relu": 12, "softmax": 18, "scale": 19, "add": 31, "dropout": 31},
    "gnmt": {"lstm_cell": 9, "dropout": 7, "add": 5, "bias": 1, "tanh": 1, "scale": 1, "softmax": 1},
    "ncf": {"mul": 1, "relu": 3},
    "ncf_small": {"mul": 1, "relu": 3},
    "gpt2_small": {"layer_norm": 25, "gelu": 12, "softmax": 12, "scale": 12, "add": 25, "dropout": 37},
    "char_transformer": {"layer_norm": 5, "gelu": 2, "softmax": 2, "scale": 2, "add": 5},
}
"""Vector layers of each kind, the losses apart, as the publications' figures and tables let one count them."""


@pytest.mark.parametrize("name", WORKLOADS)
def test_kinds_of_vector_layers(name: str) -> None:
    layers = workload_named(name).layers
    kinds = Counter(layer.kind for layer in layers if isinstance(layer, Vector))
    assert kinds.pop("cross_entropy") == (2 if name.startswith("bert") else 1)
    assert kinds == KINDS_OF[name]


@pytest.mark.parametrize("name", WORKLOADS)
def test_losses_follow_the_layers_that_they_judge(name: str) -> None:
    layers = workload_named(name).layers
    pairs = [
        (layer, before)
        for before, layer in pairwise(layers)
        if isinstance(layer, Vector) and layer.kind == "cross_entropy"
    ]
    assert pairs
    for loss, before in pairs:
        assert isinstance(before, Linear)
        assert loss.outputs == loss.reads == before.rows * before.out_features


@pytest.mark.parametrize(
    ("network", "layer", "kind", "reads", "outputs"),
    [
        ("resnet18", "layer2.0.add", "add", 2 * 128 * 28**2, 128 * 28**2),
        ("resnet50", "layer1.0.add", "add", 2 * 256 * 56**2, 256 * 56**2),
        ("resnet20", "layer1.0.add", "add", 2 * 16 * 32**2, 16 * 32**2),
        ("resnet20", "layer2.0.add", "add", (32 + 16) * 16**2, 32 * 16**2),
        ("resnet8_mnist", "layer3.0.add", "add", (64 + 32) * 7**2, 64 * 7**2),
        ("mobilenet_v2", "features.3.add", "add", 2 * 24 * 56**2, 24 * 56**2),
        ("efficientnet_b0", "features.2.0.block.2.mul", "mul", 96 * (56**2 + 1), 96 * 56**2),
        ("efficientnet_b0", "features.2.1.stochastic_depth", "dropout", 24 * 56**2, 24 * 56**2),
        ("bert_base", "bert.encoder.layer.0.attention.self.softmax", "softmax", 12 * 512**2, 12 * 512**2),
        ("bert_base", "bert.encoder.layer.0.attention.self.dropout", "dropout", 12 * 512**2, 12 * 512**2),
        ("bert_large", "bert.encoder.layer.23.output.add", "add", 2 * 512 * 1024, 512 * 1024),
        ("transformer_base", "model.shared.scale", "scale", 128 * 512, 128 * 512),
        ("transformer_base", "model.decoder.layers.5.encoder_attn.softmax", "softmax", 8 * 64**2, 8 * 64**2),
        ("transformer_big", "model.encoder.layers.0.self_attn_add", "add", 2 * 64 * 1024, 64 * 1024),
        ("gpt2_small", "transformer.h.11.attn.scale", "scale", 12 * 1024**2, 12 * 1024**2),
        ("gnmt", "encoder.dropout.1", "dropout", 50 * 2048, 50 * 2048),
        ("gnmt", "encoder.rnn_layers.0.cell_reverse", "lstm_cell", 8 * 50 * 1024, 50 * 1024),
        ("gnmt", "decoder.rnn_layers.2.cell", "lstm_cell", 8 * 50 * 1024, 50 * 1024),
        ("gnmt", "decoder.att_rnn.attn.add", "add", 2 * 50 * 1024, 50 * 50 * 1024),
        ("gnmt", "decoder.att_rnn.attn.softmax", "softmax", 50 * 50, 50 * 50),
        ("ncf", "mf_mul", "mul", 2 * 64, 64),
        ("ncf_small", "mf_mul", "mul", 2 * 16, 16),
        ("char_transformer", "blocks.1.attention.softmax", "softmax", 4 * 64**2, 4 * 64**2),
        ("char_transformer", "blocks.0.add_1", "add", 2 * 64 * 64, 64 * 64),
    ],
)
def test_layers_that_are_no_modules(network: str, layer: str, kind: str, reads: int, outputs: int) -> None:
    found = workload_named(network).layer_named(layer)
    assert isinstance(found, Vector)
    assert (found.kind, found.reads, found.outputs) == (kind, reads, outputs)


@pytest.mark.parametrize(
    ("network", "layer", "window"),
    [
        ("lenet5", "pool1", 2**2),
        ("alexnet", "features.2", 3**2),
        ("vgg16", "features.4", 2**2),
        ("resnet18", "maxpool", 3**2),
        ("resnet18", "avgpool", 7**2),
        ("resnet20", "avgpool", 8**2),
        ("resnet8_mnist", "avgpool", 7**2),
        ("mobilenet_v2", "avgpool", 7**2),
        ("efficientnet_b0", "features.1.0.block.1.avgpool", 112**2),
        ("efficientnet_b0", "avgpool", 7**2),
    ],
)
def test_windows_of_poolings(network: str, layer: str, window: int) -> None:
    found = workload_named(network).layer_named(layer)
    assert isinstance(found, Vector)
    assert found.window == window


def test_heads_of_attentions() -> None:
    """MACs are the same for any number of heads, but not the products."""
    heads = {
        "bert_base": 12,
        "bert_large": 16,
        "transformer_base": 8,
        "transformer_big": 16,
        "gpt2_small": 12,
        "char_transformer": 4,
        "gnmt": 1,
    }
    counts = {
        name: {layer.count for layer in workload_named(name).layers if isinstance(layer, MatMul)} for name in heads
    }
    assert counts == {name: {count} for name, count in heads.items()}


def test_order_of_a_block_with_a_shortcut() -> None:
    names = [layer.name for layer in workload_named("resnet50").layers if layer.name.startswith("layer2.0.")]
    parts = "conv1 bn1 relu.1 conv2 bn2 relu.2 conv3 bn3 downsample.0 downsample.1 add relu.3"
    assert names == [f"layer2.0.{part}" for part in parts.split()]


def test_recurrent_products_alone_are_serial() -> None:
    serial = [layer for layer in workload_named("gnmt").layers if isinstance(layer, Linear) and layer.serial]
    assert len(serial) == 9
    for layer in serial:
        assert ".hh_l0" in layer.name
        assert (layer.in_features, layer.out_features, layer.rows) == (1024, 4096, 50)
    others = [layer for name in WORKLOADS if name != "gnmt" for layer in workload_named(name).layers]
    assert not [layer for layer in others if isinstance(layer, Linear) and layer.serial]


def test_matrices_shared_with_a_table() -> None:
    tied = {
        (name, layer.name)
        for name in WORKLOADS
        for layer in workload_named(name).layers
        if isinstance(layer, Linear) and layer.tied
    }
    berts = {(f"bert_{size}", "cls.predictions.decoder") for size in ("base", "large")}
    assert tied == berts | {(name, "lm_head") for name in ("transformer_base", "transformer_big", "gpt2_small")}
