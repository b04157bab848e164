"""The networks that `quaver train` knows, of PyTorch's modules alone.

Each has the multiplying layers of one of the simulator's workloads, in the same order and, on data of the same sizes,
of the same shapes; names of layers are the same, too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from quaver.golden.errors import check_choice, check_range
from quaver.train.data_set import DataSet
from quaver.train.models_images import CifarResNet, LeNet5
from quaver.train.models_interactions import NeuMf
from quaver.train.models_text import CharTransformer

CONTEXT = 64
"""Tokens that the language model can see, at most."""
SEED_MAX = (1 << 63) - 1
"""Largest seed: what a signed word of 64 bits holds."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """How a network is built for given data."""

    kind: str
    """Kind of data that it learns from: images, text or interactions."""
    workload: str
    """The workload of `quaver simulate` that has the same layers."""
    build: Callable[[DataSet], nn.Module]
    """Makes the network for data of that kind, in training mode; ValueError where their sizes are none of its own."""


def _lenet5(data: DataSet) -> nn.Module:
    image, own = (" x ".join(map(str, sizes)) for sizes in (data.train.inputs.shape[1:], LeNet5.IMAGE))
    if image != own:
        raise ValueError(f"model lenet5 takes images of {own}, not those of {data.name}, {image}")
    return LeNet5(classes=data.classes)


def _resnet(blocks: int) -> Callable[[DataSet], nn.Module]:
    return lambda data: CifarResNet(blocks, channels=data.train.inputs.shape[1], classes=data.classes)


def _transformer(data: DataSet) -> nn.Module:
    tokens = data.train.inputs.shape[1]
    if tokens > CONTEXT:
        raise ValueError(f"model transformer takes at most {CONTEXT} tokens, not the {tokens} of {data.name}")
    return CharTransformer(vocabulary=data.classes, context=CONTEXT)


def _ncf(data: DataSet) -> nn.Module:
    return NeuMf(users=data.users, items=data.classes)


MODELS: dict[str, Model] = {
    "lenet5": Model(kind="images", workload="lenet5", build=_lenet5),
    "resnet8": Model(kind="images", workload="resnet8_mnist", build=_resnet(1)),
    "resnet20": Model(kind="images", workload="resnet20_mnist", build=_resnet(3)),
    "transformer": Model(kind="text", workload="char_transformer", build=_transformer),
    "ncf": Model(kind="interactions", workload="ncf_small", build=_ncf),
}
"""By name.  Workloads are for grey images of 28 x 28, 10 classes, for 64 of 96 characters, and for MovieLens 100K."""


def build_model(name: str, data: DataSet, *, seed: int) -> nn.Module:
    """Build a network for `data`, on the CPU; the same seed gives the same parameters.

    PyTorch's own random numbers go on as if nothing had been drawn.

    Raises
    ------
    ValueError
        If there is no such model, or it does not learn what the data are, or their sizes are none of its own.
    """
    check_choice("model", name, MODELS)
    check_range("seed", seed, 0, SEED_MAX)
    check_choice(f"model for the {data.kind} of {data.name}", name, [n for n in MODELS if MODELS[n].kind == data.kind])
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone: torch.manual_seed would seed other devices', too
        return MODELS[name].build(data)
