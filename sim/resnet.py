"""ResNets for 224 x 224 images, from the architecture that torchvision publishes: layers and names are its own.

He et al., Deep Residual Learning for Image Recognition, CVPR 2016, table 1; a stage's first block halves the image in
its first 3 x 3 convolution, and a 1 x 1 convolution brings the shortcut to the same shape.
"""

from collections.abc import Iterator

from quaver.sim.layers import Conv2d, Linear
from quaver.sim.network import Layer

IMAGE = 224
CLASSES = 1000
WIDTHS = (64, 128, 256, 512)
"""Channels of the four stages."""


def resnet18_layers() -> tuple[Layer, ...]:
    """ResNet-18: two basic blocks in each stage, 20 convolutions and the classifier."""
    return tuple(_basic_resnet(blocks=(2, 2, 2, 2)))


def _basic_resnet(blocks: tuple[int, int, int, int]) -> Iterator[Layer]:
    yield Conv2d(
        name="conv1",
        in_channels=3,
        out_channels=WIDTHS[0],
        size=(IMAGE, IMAGE),
        kernel=(7, 7),
        stride=(2, 2),
        padding=(3, 3),
    )
    # A 3 x 3 maximum of stride 2 follows.
    channels, size = WIDTHS[0], IMAGE // 4
    for stage, (width, count) in enumerate(zip(WIDTHS, blocks, strict=True)):
        for block in range(count):
            stride = 2 if stage > 0 and block == 0 else 1
            yield from _basic_block(f"layer{stage + 1}.{block}", channels, width, size, stride)
            channels, size = width, size // stride
    yield Linear(name="fc", in_features=channels, out_features=CLASSES)


def _basic_block(name: str, channels: int, width: int, size: int, stride: int) -> Iterator[Layer]:
    def conv(part: str, cin: int, side: int, kernel: int, step: int) -> Conv2d:
        return Conv2d(
            name=f"{name}.{part}",
            in_channels=cin,
            out_channels=width,
            size=(side, side),
            kernel=(kernel, kernel),
            stride=(step, step),
            padding=(kernel // 2, kernel // 2),
        )

    yield conv("conv1", channels, size, 3, stride)
    yield conv("conv2", width, size // stride, 3, 1)
    if stride != 1 or channels != width:
        yield conv("downsample.0", channels, size, 1, stride)
