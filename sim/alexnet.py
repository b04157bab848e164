"""AlexNet, in the form for one device: layers and names are those of torchvision.

Its adaptive pooling to 6 x 6 pixels leaves an image of 6 x 6 pixels as it is, and is no layer here.
"""

from itertools import count

from quaver.sim.chain import ImageChain
from quaver.sim.network import Workload

SOURCE = (
    "Krizhevsky, One weird trick for parallelizing convolutional neural networks, arXiv:1404.5997, as in torchvision"
)


def alexnet() -> Workload:
    """5 convolutions and 3 fully connected layers."""
    chain = ImageChain(channels=3, side=224)
    names = (f"features.{index}" for index in count())

    def conv(channels: int, kernel: int, *, stride: int = 1, padding: int | None = None) -> None:
        chain.conv(next(names), channels, kernel, stride=stride, padding=padding, bias=True)
        chain.vector(next(names), "relu")

    def pool() -> None:
        chain.pool(next(names), "max_pool", 3, stride=2)

    conv(64, 11, stride=4, padding=2)
    pool()
    conv(192, 5)
    pool()
    conv(384, 3)
    conv(256, 3)
    conv(256, 3)
    pool()
    for index in (0, 3):
        chain.vector(f"classifier.{index}", "dropout")
        chain.linear(f"classifier.{index + 1}", 4096)
        chain.vector(f"classifier.{index + 2}", "relu")
    chain.linear("classifier.6", 1000)
    chain.loss()
    return Workload(name="alexnet", source=SOURCE, layers=tuple(chain.layers))
