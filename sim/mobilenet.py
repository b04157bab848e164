"""MobileNetV2 for 224 x 224 images: layers and names are those of torchvision."""

from quaver.sim.chain import ImageChain
from quaver.sim.network import Workload

SOURCE = "Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018, table 2, as in torchvision"
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks and stride of the first block."""


def mobilenet_v2() -> Workload:
    """17 inverted residuals between two convolutions."""
    chain = ImageChain(channels=3, side=224)
    chain.conv_norm("features.0", 32, 3, "relu6", stride=2)
    index = 1
    for expansion, channels, blocks, stride in STAGES:
        for block in range(blocks):
            _inverted_residual(chain, f"features.{index}", expansion, channels, stride if block == 0 else 1)
            index += 1
    chain.conv_norm(f"features.{index}", 1280, 1, "relu6")
    chain.global_pool("avgpool")
    chain.vector("classifier.0", "dropout")
    chain.linear("classifier.1", 1000)
    chain.loss()
    return Workload(name="mobilenet_v2", source=SOURCE, layers=tuple(chain.layers))


def _inverted_residual(chain: ImageChain, name: str, expansion: int, channels: int, stride: int) -> None:
    before, hidden, part = chain.channels, expansion * chain.channels, 0
    if expansion > 1:
        chain.conv_norm(f"{name}.conv.{part}", hidden, 1, "relu6")
        part += 1
    chain.conv_norm(f"{name}.conv.{part}", hidden, 3, "relu6", stride=stride, groups=hidden)
    chain.conv(f"{name}.conv.{part + 1}", channels, 1)
    chain.batch_norm(f"{name}.conv.{part + 2}")
    if stride == 1 and channels == before:
        chain.add(f"{name}.add")
