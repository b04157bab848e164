"""ResNets for 224 x 224 images: layers and names are those of torchvision, of which a block's only
rectifier is used after each convolution: `layer1.0.relu.1`, `layer1.0.relu.2`.

A stage's first block halves the image, in its 3 x 3 convolution (a bottleneck's "v1.5", where the paper has it in the
1 x 1 convolution before), and a 1 x 1 convolution brings the shortcut to the same shape.
"""

from quaver.sim.chain import ImageChain
from quaver.sim.network import Workload

SOURCE = "He et al., Deep Residual Learning for Image Recognition, CVPR 2016, table 1, as in torchvision"
WIDTHS = (64, 128, 256, 512)
"""Channels of the 3 x 3 convolutions of the four stages."""


def resnet18() -> Workload:
    """Two basic blocks in each stage."""
    return _resnet("resnet18", (2, 2, 2, 2), bottleneck=False)


def resnet34() -> Workload:
    """3, 4, 6 and 3 basic blocks."""
    return _resnet("resnet34", (3, 4, 6, 3), bottleneck=False)


def resnet50() -> Workload:
    """3, 4, 6 and 3 bottlenecks."""
    return _resnet("resnet50", (3, 4, 6, 3), bottleneck=True)


def _resnet(name: str, blocks: tuple[int, ...], *, bottleneck: bool) -> Workload:
    chain = ImageChain(channels=3, side=224)
    chain.conv("conv1", WIDTHS[0], 7, stride=2)
    chain.batch_norm("bn1")
    chain.vector("relu", "relu")
    chain.pool("maxpool", "max_pool", 3, stride=2, padding=1)
    for stage, (width, count) in enumerate(zip(WIDTHS, blocks, strict=True)):
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            _block(chain, f"layer{stage + 1}.{block}", width, stride, bottleneck=bottleneck)
    chain.global_pool("avgpool")
    chain.linear("fc", 1000)
    chain.loss()
    return Workload(name=name, source=SOURCE, layers=tuple(chain.layers))


def _block(chain: ImageChain, name: str, width: int, stride: int, *, bottleneck: bool) -> None:
    shortcut = chain.fork()
    convs: tuple[tuple[int, int, int], ...]
    if bottleneck:
        convs = (width, 1, 1), (width, 3, stride), (4 * width, 1, 1)
    else:
        convs = (width, 3, stride), (width, 3, 1)
    for index, (channels, kernel, step) in enumerate(convs, start=1):
        chain.conv(f"{name}.conv{index}", channels, kernel, stride=step)
        chain.batch_norm(f"{name}.bn{index}")
        if index < len(convs):
            chain.vector(f"{name}.relu.{index}", "relu")
    if (shortcut.channels, shortcut.side) != (chain.channels, chain.side):
        shortcut.conv(f"{name}.downsample.0", chain.channels, 1, stride=stride)
        shortcut.batch_norm(f"{name}.downsample.1")
    chain.add(f"{name}.add")
    chain.vector(f"{name}.relu.{len(convs)}", "relu")
