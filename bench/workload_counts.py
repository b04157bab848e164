"""Parameters and multiply-accumulates of the networks of `quaver simulate`, module by module, by PyTorch.

Writes tests/sim/data/reference_counts.json, which the tests hold the built-in workloads to; nothing here knows of them.
torchvision and Hugging Face's transformers build the networks that they have, without weights; the others are modules
of PyTorch's, written after the publications: those that `quaver.train` trains, and one beside this file.  Needs torch,
torchvision and transformers, builds for the CPU will do:

    pip install torch==2.14.1 torchvision==0.29.1 transformers==5.24.0
"""

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
import transformers
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry
from workload_modules import Gnmt

from quaver.train.models_images import CifarResNet, LeNet5
from quaver.train.models_interactions import NeuMf
from quaver.train.models_text import CharTransformer

ROOT = Path(__file__).parents[1]
OUTPUT = ROOT / "tests/sim/data/reference_counts.json"
COUNTED = (
    "Per input.  modules: own parameters (each shared one once, by the first module that has no parts), MACs "
    "(half of torch.utils.flop_counter's operations, products of the module's own forward), and, of modules without "
    "parts, MACs or a table, elements of the input and of the output.  published: a count in print."
)
BY_HAND = {"mv", "dot", "vdot", "mkldnn_rnn_layer"}
"""Multiplying operations that PyTorch's counter does not know."""


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A network, what it is run on, and where it is from."""

    build: Callable[[], nn.Module]
    run: Callable[[Any], object]
    """Runs one input through the network."""
    source: str
    published: tuple[int, str] | None = None
    """Parameters, and who says so."""


class Counter(TorchDispatchMode):
    """Counts the operations of each of a network's modules."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.running = [""]
        self.operations: dict[str, int] = defaultdict(int)
        self.elements: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for name, module in network.named_modules():
            module.register_forward_pre_hook(lambda *_, name=name: self.running.append(name))
            module.register_forward_hook(lambda *call, name=name: self._leave(name, *call))

    def _leave(self, name: str, module: nn.Module, inputs: tuple, output: object) -> None:
        assert self.running.pop() == name
        idle = isinstance(module, nn.AdaptiveAvgPool2d) and inputs[0].shape == output.shape
        if (
            not idle
            and not [*module.children()]
            and not isinstance(module, nn.Embedding)
            and isinstance(output, Tensor)
        ):
            read, written = self.elements[name]
            self.elements[name] = read + inputs[0].numel(), written + output.numel()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        """Run one operation and count it for the innermost module that is running."""
        output = function(*args, **(kwargs or {}))
        operation = function.overloadpacket
        if operation.__name__ in BY_HAND:
            raise NotImplementedError(f"{operation} is not counted")
        if operation in flop_registry:
            self.operations[self.running[-1]] += flop_registry[operation](*args, **(kwargs or {}), out_val=output)
        return output


def own_parameters(network: nn.Module) -> dict[str, int]:
    """Learnt elements by the module that has them."""
    seen: set[int] = set()
    own = {}
    for name, module in sorted(network.named_modules(), key=lambda named: bool([*named[1].children()])):
        fresh = [p for p in module.parameters(recurse=False) if p.requires_grad and id(p) not in seen]
        seen |= {id(p) for p in fresh}
        own[name] = sum(p.numel() for p in fresh)
    assert sum(own.values()) == sum(p.numel() for p in network.parameters() if p.requires_grad)
    return own


def count(reference: Reference) -> dict[str, object]:
    """The record of one network."""
    network = reference.build().eval()
    parameters, counter = own_parameters(network), Counter(network)
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False), FlopCounterMode(display=False) as total, counter:
        reference.run(network)
    assert sum(counter.operations.values()) == total.get_total_flops()
    modules = {}
    for name, _ in network.named_modules():
        macs, odd = divmod(counter.operations[name], 2)
        assert not odd
        read, written = (0, 0) if macs else counter.elements[name]
        if any(numbers := (parameters[name], macs, read, written)):
            modules[name] = numbers
    record = {"source": reference.source}
    if reference.published:
        record["published"] = {"parameters": reference.published[0], "by": reference.published[1]}
    record["parameters"] = sum(parameters.values())
    record["macs"] = total.get_total_flops() // 2
    return record | {"modules": modules}


def vision(name: str) -> Reference:
    """A network of torchvision's, on an image of 224 x 224 pixels."""
    weights = torchvision.models.get_model_weights(name)
    return Reference(
        build=torchvision.models.get_model_builder(name),
        run=lambda network: network(torch.zeros(1, 3, 224, 224)),
        source=f"torchvision.models.{name}",
        published=(weights["IMAGENET1K_V1"].meta["num_params"], f"torchvision, {weights.__name__}.IMAGENET1K_V1"),
    )


def tokens(count: int) -> Tensor:
    """A sequence."""
    return torch.ones(1, count, dtype=torch.long)


def bert(layers: int, width: int, heads: int, published: tuple[int, str] | None = None) -> Reference:
    """BERT on 512 tokens, of which 76 are predicted."""
    config = transformers.BertConfig(
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        attn_implementation="eager",
    )

    def run(network: Any) -> None:
        encoded = network.bert(tokens(512))
        network.cls(encoded.last_hidden_state[:, :76], encoded.pooler_output)

    return Reference(
        build=lambda: transformers.BertForPreTraining(config),
        run=run,
        source="transformers.BertForPreTraining, eager attention, 512 tokens, masked language model on 76 of them",
        published=published,
    )


def marian(width: int, heads: int) -> Reference:
    """The Transformer of Vaswani et al. from 64 to 64 tokens."""
    config = transformers.MarianConfig(
        vocab_size=37000,
        d_model=width,
        encoder_attention_heads=heads,
        decoder_attention_heads=heads,
        encoder_layers=6,
        decoder_layers=6,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        activation_function="relu",
        scale_embedding=True,
        pad_token_id=0,
        decoder_start_token_id=0,
        eos_token_id=0,
        attn_implementation="eager",
    )
    return Reference(
        build=lambda: transformers.MarianMTModel(config),
        run=lambda network: network(input_ids=tokens(64), decoder_input_ids=tokens(64), use_cache=False),
        source="transformers.MarianMTModel with the sizes of Vaswani et al., table 3, 37000 tokens, eager attention",
    )


def gpt2() -> Reference:
    """GPT-2 on 1024 tokens; the configuration's defaults are its sizes."""
    config = transformers.GPT2Config(attn_implementation="eager")
    return Reference(
        build=lambda: transformers.GPT2LMHeadModel(config),
        run=lambda network: network(tokens(1024), use_cache=False),
        source="transformers.GPT2LMHeadModel, eager attention, 1024 tokens",
        published=(124439808, "karpathy/llm.c, README"),
    )


def cifar(blocks: int, channels: int = 3, side: int = 32) -> Reference:
    """A ResNet for small images."""
    return Reference(
        build=lambda: CifarResNet(blocks, channels=channels),
        run=lambda network: network(torch.zeros(1, channels, side, side)),
        source="own torch module after He et al., CVPR 2016, section 4.2, shortcuts of option A",
    )


REFERENCES = {
    "lenet5": Reference(
        build=LeNet5,
        run=lambda network: network(torch.zeros(1, 1, 28, 28)),
        source="own torch module after LeCun et al., Proc. IEEE 1998, and PyTorch's tutorial Neural Networks",
    ),
    **{
        name: vision(name)
        for name in ("alexnet", "vgg16", "resnet18", "resnet34", "resnet50", "mobilenet_v2", "efficientnet_b0")
    },
    "resnet20": cifar(3),
    "resnet32": cifar(5),
    "resnet8_mnist": cifar(1, channels=1, side=28),
    "resnet20_mnist": cifar(3, channels=1, side=28),
    "bert_base": bert(
        12, 768, 12, (110106428, "huggingface.js, parse-safetensors.spec.ts, of the checkpoint bert-base-uncased")
    ),
    "bert_large": bert(24, 1024, 16),
    "transformer_base": marian(512, 8),
    "transformer_big": marian(1024, 16),
    "gnmt": Reference(
        build=Gnmt,
        run=lambda network: network(tokens(50), tokens(50)),
        source="own torch module after mlcommons/training, rnn_translator/pytorch, 4 + 4 layers, 50 to 50 tokens",
        published=(160671297, "NVIDIA's MLPerf Training GNMT, test of its distributed optimizer"),
    ),
    "ncf": Reference(
        build=lambda: NeuMf(users=138493, items=26744, factors=64, perceptron=(256, 256, 128, 64)),
        run=lambda network: network(tokens(2)),
        source="own torch module after mlcommons/training v0.5, recommendation/pytorch, MovieLens 20M",
    ),
    "ncf_small": Reference(
        build=lambda: NeuMf(users=943, items=1682),
        run=lambda network: network(tokens(2)),
        source="own torch module after He et al., WWW 2017, section 4.1, MovieLens 100K",
    ),
    "gpt2_small": gpt2(),
    "char_transformer": Reference(
        build=lambda: CharTransformer(vocabulary=96),
        run=lambda network: network(tokens(64)),
        source="own torch module after Radford et al., OpenAI 2019, 64 of 96 characters",
    ),
}


def lines(record: dict) -> str:
    """The record as JSON, a line for each module."""
    text = json.dumps(record, indent=1)
    return re.sub(r"\[\s+(\d+),\s+(\d+),\s+(\d+),\s+(\d+)\s+\]", r"[\1, \2, \3, \4]", text) + "\n"


def main() -> None:
    """Count all networks, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    networks = {}
    for name, reference in REFERENCES.items():
        networks[name] = count(reference)
        print(f"{name:18} {networks[name]['parameters']:12,} parameters {networks[name]['macs']:16,} MACs", flush=True)
    record = {
        "command": "python bench/workload_counts.py",
        "packages": {package.__name__: package.__version__ for package in (torch, torchvision, transformers)},
        "counted": COUNTED,
        "networks": networks,
    }
    arguments.output.write_text(lines(record), encoding="utf-8")


if __name__ == "__main__":
    main()
