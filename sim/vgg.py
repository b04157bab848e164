"""VGG-16: layers and names are those of torchvision.

Its adaptive pooling to 7 x 7 pixels leaves an image of 7 x 7 pixels as it is, and is no layer here.
"""

from itertools import count

from quaver.sim.chain import ImageChain
from quaver.sim.network import Workload

SOURCE = "Simonyan and Zisserman, Very Deep Convolutional Networks, ICLR 2015, table 1, column D, as in torchvision"
STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of the five stages, each followed by a pooling."""


def vgg16() -> Workload:
    """13 convolutions and 3 fully connected layers."""
    chain = ImageChain(channels=3, side=224)
    names = (f"features.{index}" for index in count())
    for channels, convs in STAGES:
        for _ in range(convs):
            chain.conv(next(names), channels, 3, bias=True)
            chain.vector(next(names), "relu")
        chain.pool(next(names), "max_pool", 2, stride=2)
    for index in (0, 3):
        chain.linear(f"classifier.{index}", 4096)
        chain.vector(f"classifier.{index + 1}", "relu")
        chain.vector(f"classifier.{index + 2}", "dropout")
    chain.linear("classifier.6", 1000)
    chain.loss()
    return Workload(name="vgg16", source=SOURCE, layers=tuple(chain.layers))
