"""Layers one after another, each on what the one before wrote: what the built-in networks are put together with."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Self

from quaver.sim.layers import Conv2d, Linear, MatMul
from quaver.sim.network import Layer
from quaver.sim.vector_layers import Embedding, Vector


@dataclass(kw_only=True)
class Chain(ABC):
    """What has been put together so far, and the shape of the tensor that the last layer writes per input."""

    layers: list[Layer] = field(default_factory=list)
    """In the order in which they run; a fork appends to the list of the chain that it left."""

    @property
    @abstractmethod
    def elements(self) -> int:
        """Elements of the last layer's tensor."""

    def fork(self) -> Self:
        """A second path from here, such as a shortcut's: it goes on from the same shape into the same list."""
        return replace(self)

    def vector(self, name: str, kind: str, *, beside: int = 0, parameters: int = 0) -> None:
        """A layer that keeps the shape; `beside` are the elements that it reads of tensors further up."""
        elements = self.elements
        self.layers.append(
            Vector(name=name, kind=kind, outputs=elements, inputs=elements + beside, parameters=parameters)
        )

    def add(self, name: str, *, beside: int | None = None) -> None:
        """The sum with another tensor, of the same shape unless `beside` says that fewer elements are read of it."""
        self.vector(name, "add", beside=self.elements if beside is None else beside)

    def loss(self, name: str = "loss") -> None:
        """The cross entropy of a softmax, which it includes."""
        self.vector(name, "cross_entropy")


@dataclass(kw_only=True)
class ImageChain(Chain):
    """A chain on square images."""

    channels: int
    """Of the last layer's output."""
    side: int
    """Height and width, likewise; 1 of vectors."""

    @property
    def elements(self) -> int:
        """Elements of the image."""
        return self.channels * self.side**2

    def conv(
        self,
        name: str,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        """A convolution with square filters; half a kernel of padding unless `padding` says otherwise."""
        padding = kernel // 2 if padding is None else padding
        layer = Conv2d(
            name=name,
            in_channels=self.channels,
            out_channels=channels,
            size=(self.side, self.side),
            kernel=(kernel, kernel),
            stride=(stride, stride),
            padding=(padding, padding),
            groups=groups,
            bias=bias,
        )
        self.layers.append(layer)
        self.channels, self.side = channels, layer.output_size[0]

    def batch_norm(self, name: str) -> None:
        """A batch normalisation, with a scale and a shift per channel."""
        self.vector(name, "batch_norm", parameters=2 * self.channels)

    def conv_norm(
        self, name: str, channels: int, kernel: int, activation: str, *, stride: int = 1, groups: int = 1
    ) -> None:
        """torchvision's Conv2dNormActivation, whose parts are numbered: convolution, batch norm, activation."""
        self.conv(f"{name}.0", channels, kernel, stride=stride, groups=groups)
        self.batch_norm(f"{name}.1")
        self.vector(f"{name}.2", activation)

    def pool(self, name: str, kind: str, kernel: int, *, stride: int, padding: int = 0) -> None:
        """A pooling by square windows; padding is no candidate for a maximum."""
        inputs = self.elements
        self.side = (self.side + 2 * padding - kernel) // stride + 1
        self.layers.append(Vector(name=name, kind=kind, outputs=self.elements, inputs=inputs, window=kernel**2))

    def global_pool(self, name: str) -> None:
        """The average of each channel."""
        self.pool(name, "avg_pool", self.side, stride=1)

    def linear(self, name: str, features: int) -> None:
        """A fully connected layer, with biases, on the whole image."""
        self.layers.append(Linear(name=name, in_features=self.elements, out_features=features))
        self.channels, self.side = features, 1


@dataclass(kw_only=True)
class TokenChain(Chain):
    """A chain on sequences."""

    rows: int
    """Tokens, or time steps."""
    width: int
    """Elements of each."""

    @property
    def elements(self) -> int:
        """Elements of the sequence."""
        return self.rows * self.width

    def embedding(self, name: str, entries: int) -> None:
        """A table of `entries` rows, one of which is looked up for each token."""
        self.layers.append(Embedding(name=name, entries=entries, width=self.width, rows=self.rows))

    def linear(self, name: str, features: int, *, bias: bool = True, tied: bool = False, serial: bool = False) -> None:
        """A fully connected layer on each token."""
        self.layers.append(
            Linear(
                name=name,
                in_features=self.width,
                out_features=features,
                rows=self.rows,
                bias=bias,
                tied=tied,
                serial=serial,
            )
        )
        self.width = features

    def layer_norm(self, name: str) -> None:
        """A layer normalisation, with a scale and a shift per column."""
        self.vector(name, "layer_norm", parameters=2 * self.width)

    def attention(self, name: str, *, width: int, heads: int, keys: int, dropout: bool) -> None:
        """What scaled dot-product attention does with its queries, keys and values, `width` / `heads` wide each.

        Vaswani et al., Attention Is All You Need, NeurIPS 2017, equation 1.  A mask only names scores that the softmax
        leaves out: all of them are computed, a causal attention's too, as PyTorch's products do.
        """
        depth = width // heads
        self.layers.append(MatMul(name=f"{name}.scores", m=self.rows, k=depth, n=keys, count=heads))
        scores = replace(self, width=heads * keys)
        scores.vector(f"{name}.scale", "scale")
        scores.vector(f"{name}.softmax", "softmax")
        if dropout:
            scores.vector(f"{name}.dropout", "dropout")
        self.layers.append(MatMul(name=f"{name}.context", m=self.rows, k=keys, n=depth, count=heads))
        self.width = width

    def close_residual(self, dense: str, dropout: str, add: str, width: int) -> None:
        """The end of a residual branch: a fully connected layer, dropout, and the sum with what the branch left."""
        self.linear(dense, width)
        self.vector(dropout, "dropout")
        self.add(add)
