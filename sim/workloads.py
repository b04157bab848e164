"""The built-in workloads."""

from collections.abc import Callable

from quaver.golden.errors import check_choice
from quaver.sim.alexnet import alexnet
from quaver.sim.bert import bert_base, bert_large
from quaver.sim.char_transformer import char_transformer
from quaver.sim.efficientnet import efficientnet_b0
from quaver.sim.gnmt import gnmt
from quaver.sim.gpt2 import gpt2_small
from quaver.sim.lenet import lenet5
from quaver.sim.mobilenet import mobilenet_v2
from quaver.sim.ncf import ncf, ncf_small
from quaver.sim.network import Workload
from quaver.sim.resnet import resnet18, resnet34, resnet50
from quaver.sim.resnet_cifar import resnet8_mnist, resnet20, resnet20_mnist, resnet32
from quaver.sim.transformer import transformer_base, transformer_big
from quaver.sim.vgg import vgg16

WORKLOADS: dict[str, Callable[[], Workload]] = {
    builder.__name__: builder
    for builder in (
        lenet5,
        alexnet,
        vgg16,
        resnet18,
        resnet34,
        resnet50,
        resnet20,
        resnet32,
        resnet8_mnist,
        resnet20_mnist,
        mobilenet_v2,
        efficientnet_b0,
        bert_base,
        bert_large,
        transformer_base,
        transformer_big,
        gnmt,
        ncf,
        ncf_small,
        gpt2_small,
        char_transformer,
    )
}
"""Builders of the built-in workloads, by name: nothing is built before it is asked for."""


def workload_named(name: str) -> Workload:
    """Build a built-in workload; ValueError lists the names there are."""
    check_choice("workload", name, WORKLOADS)
    return WORKLOADS[name]()
