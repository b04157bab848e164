"""LeNet-5 for MNIST's 28 x 28 images, as it is commonly trained.

The images are padded to 32 x 32, as in the paper.  Where the paper has squashed sums of learnt averages, a partly
connected second convolution and Gaussian outputs, this is PyTorch's tutorial network of the same shape: rectifiers,
maxima, full connections and a softmax.
"""

from quaver.sim.chain import ImageChain
from quaver.sim.network import Workload

SOURCE = (
    "LeCun et al., Gradient-based learning applied to document recognition, Proc. IEEE 86(11), 1998, figure 2, "
    "with the layers of PyTorch's tutorial Neural Networks"
)


def lenet5() -> Workload:
    """2 convolutions and 3 fully connected layers."""
    chain = ImageChain(channels=1, side=28)
    for index, (channels, padding) in enumerate(((6, 2), (16, 0)), start=1):
        chain.conv(f"conv{index}", channels, 5, padding=padding, bias=True)
        chain.vector(f"relu{index}", "relu")
        chain.pool(f"pool{index}", "max_pool", 2, stride=2)
    for index, features in enumerate((120, 84), start=1):
        chain.linear(f"fc{index}", features)
        chain.vector(f"relu{index + 2}", "relu")
    chain.linear("fc3", 10)
    chain.loss()
    return Workload(name="lenet5", source=SOURCE, layers=tuple(chain.layers))
