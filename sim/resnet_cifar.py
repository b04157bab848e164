"""ResNets of 6 n + 2 layers with weights, made for CIFAR-10's 3 x 32 x 32 images; names are those of torchvision's.

The shortcuts have no parameters (option A): where the image is halved and the channels are doubled, every other pixel
of every other row is added to half of the channels.
"""

from quaver.sim.chain import ImageChain
from quaver.sim.network import Workload

SOURCE = "He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2, shortcuts of option A"
WIDTHS = (16, 32, 64)
"""Channels of the three stages."""


def resnet20() -> Workload:
    """Three blocks in each stage."""
    return _resnet("resnet20", 3)


def resnet32() -> Workload:
    """Five blocks in each stage."""
    return _resnet("resnet32", 5)


def resnet8_mnist() -> Workload:
    """One block in each stage, on images of MNIST's size: 1 x 28 x 28.  `quaver.train` trains it as `resnet8`."""
    return _resnet("resnet8_mnist", 1, channels=1, side=28)


def resnet20_mnist() -> Workload:
    """Three blocks in each stage, likewise, as `resnet20`."""
    return _resnet("resnet20_mnist", 3, channels=1, side=28)


def _resnet(name: str, blocks: int, *, channels: int = 3, side: int = 32) -> Workload:
    """`blocks` in each stage, on images of `channels` x `side` x `side`."""
    chain = ImageChain(channels=channels, side=side)
    _conv(chain, "conv1", "bn1", WIDTHS[0], 1)
    chain.vector("relu", "relu")
    for stage, width in enumerate(WIDTHS):
        for block in range(blocks):
            halves = stage > 0 and block == 0
            part = f"layer{stage + 1}.{block}"
            _conv(chain, f"{part}.conv1", f"{part}.bn1", width, 2 if halves else 1)
            chain.vector(f"{part}.relu.1", "relu")
            _conv(chain, f"{part}.conv2", f"{part}.bn2", width, 1)
            chain.add(f"{part}.add", beside=chain.elements // 2 if halves else None)
            chain.vector(f"{part}.relu.2", "relu")
    chain.global_pool("avgpool")
    chain.linear("fc", 10)
    chain.loss()
    source = SOURCE if side == 32 else f"{SOURCE}, for {channels} x {side} x {side}"
    return Workload(name=name, source=source, layers=tuple(chain.layers))


def _conv(chain: ImageChain, conv: str, norm: str, width: int, stride: int) -> None:
    chain.conv(conv, width, 3, stride=stride)
    chain.batch_norm(norm)
