"""EfficientNet-B0 for 224 x 224 images: layers and names are those of torchvision."""

from quaver.sim.chain import ImageChain
from quaver.sim.network import Workload

SOURCE = "Tan and Le, EfficientNet: Rethinking Model Scaling for CNNs, ICML 2019, table 1, as in torchvision"
STAGES = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)
"""Expansion, kernel, channels, blocks and stride of the first block."""


def efficientnet_b0() -> Workload:
    """16 mobile inverted bottlenecks with squeeze and excitation between two convolutions."""
    chain = ImageChain(channels=3, side=224)
    chain.conv_norm("features.0", 32, 3, "silu", stride=2)
    for stage, (expansion, kernel, channels, blocks, stride) in enumerate(STAGES, start=1):
        for block in range(blocks):
            step = stride if block == 0 else 1
            _inverted_bottleneck(chain, f"features.{stage}.{block}", expansion, kernel, channels, step)
    chain.conv_norm(f"features.{len(STAGES) + 1}", 1280, 1, "silu")
    chain.global_pool("avgpool")
    chain.vector("classifier.0", "dropout")
    chain.linear("classifier.1", 1000)
    chain.loss()
    return Workload(name="efficientnet_b0", source=SOURCE, layers=tuple(chain.layers))


def _inverted_bottleneck(chain: ImageChain, name: str, expansion: int, kernel: int, channels: int, stride: int) -> None:
    before, hidden, part = chain.channels, expansion * chain.channels, 0
    if expansion > 1:
        chain.conv_norm(f"{name}.block.{part}", hidden, 1, "silu")
        part += 1
    chain.conv_norm(f"{name}.block.{part}", hidden, kernel, "silu", stride=stride, groups=hidden)
    _squeeze_excitation(chain, f"{name}.block.{part + 1}", before // 4)
    chain.conv(f"{name}.block.{part + 2}.0", channels, 1)
    chain.batch_norm(f"{name}.block.{part + 2}.1")
    if stride == 1 and channels == before:
        # A whole branch is dropped, of some images: a multiplication by the image's factor.
        chain.vector(f"{name}.stochastic_depth", "dropout")
        chain.add(f"{name}.add")


def _squeeze_excitation(chain: ImageChain, name: str, squeezed: int) -> None:
    """A factor for each channel, computed from the averages of all: two convolutions of 1 x 1 pixels."""
    factors = chain.fork()
    factors.global_pool(f"{name}.avgpool")
    factors.conv(f"{name}.fc1", squeezed, 1, bias=True)
    factors.vector(f"{name}.activation", "silu")
    factors.conv(f"{name}.fc2", chain.channels, 1, bias=True)
    factors.vector(f"{name}.scale_activation", "sigmoid")
    chain.vector(f"{name}.mul", "mul", beside=factors.elements)
