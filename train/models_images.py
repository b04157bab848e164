"""Networks that classify images; names of their parts are those of the simulator's workloads."""

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional


class LeNet5(nn.Module):
    """LeNet-5 with the layers of PyTorch's tutorial network, on padded images of 1 x 28 x 28.

    After LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE 86(11), 1998, figure 2.
    """

    IMAGE = (1, 28, 28)
    """Channels, height and width that its layers are made for."""

    def __init__(self, *, classes: int = 10) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.pool1, self.pool2 = nn.MaxPool2d(2), nn.MaxPool2d(2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, classes)
        self.relu1, self.relu2, self.relu3, self.relu4 = (nn.ReLU() for _ in range(4))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 1, 28, 28) becomes (N, classes)."""
        maps = self.pool1(self.relu1(self.conv1(images)))
        maps = self.pool2(self.relu2(self.conv2(maps)))
        return self.fc3(self.relu4(self.fc2(self.relu3(self.fc1(maps.flatten(1))))))


class CifarBlock(nn.Module):
    """Two convolutions beside a shortcut without parameters (option A): pixels left out, channels of zeros added."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.stride, self.missing = width // before, width - before
        self.conv1 = nn.Conv2d(before, width, 3, stride=self.stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1, self.bn2, self.relu = nn.BatchNorm2d(width), nn.BatchNorm2d(width), nn.ReLU()

    def forward(self, maps: Tensor) -> Tensor:
        """(N, before, H, W) becomes (N, width, H / stride, W / stride), halves rounded up."""
        shortcut = functional.pad(maps[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(maps))))) + shortcut)


class CifarResNet(nn.Module):
    """A ResNet of 6 n + 2 layers with n = `blocks`, on images of any size, its filters as in He et al. 2015.

    After He et al., Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2, initialised as there: normal,
    of variance 2 / fan-in (He et al., Delving Deep into Rectifiers, ICCV 2015, equation 10).
    """

    def __init__(self, blocks: int, *, channels: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(16), nn.ReLU()
        for stage, (before, width) in enumerate(pairwise((16, 16, 32, 64)), start=1):
            self.add_module(f"layer{stage}", nn.Sequential(*_blocks(before, width, blocks)))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(64, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(N, channels, H, W) becomes (N, classes)."""
        maps = self.relu(self.bn1(self.conv1(images)))
        return self.fc(self.avgpool(self.layer3(self.layer2(self.layer1(maps)))).flatten(1))


def _blocks(before: int, width: int, count: int) -> Iterator[CifarBlock]:
    yield CifarBlock(before, width)
    yield from (CifarBlock(width, width) for _ in range(count - 1))
