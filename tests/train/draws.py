"""What the tests of training on the golden arithmetic draw and compare."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from quaver.golden import Accumulator, Cast, Format, Machine, Recipe, encode, engine, gemm, sr, to_float
from quaver.golden.array_words import ArrayWords
from quaver.golden.catalog import BF16, DLFLOAT16, E4M3, E5M2, FP32
from quaver.golden.recipe import FP32_SUMS
from quaver.train.processor import Operand, Processor
from quaver.train.products import MatMul
from quaver.train.site import Casts, Site

INTEGERS = Recipe(
    name="integers",
    source="none: what is computed of small integers is exact",
    weight=Cast(format=BF16),
    activation=Cast(format=BF16),
    error=Cast(format=BF16),
    inner=FP32_SUMS,
    outer=FP32_SUMS,
    chunk=16,
    wide=FP32,
    gradient=Cast(format=FP32),
    master=FP32,
    velocity=FP32,
)
CHUNKED = Recipe(
    name="chunked",
    source="none: sums whose order shows in their bits",
    weight=Cast(format=E4M3),
    activation=Cast(format=E4M3),
    error=Cast(format=E5M2),
    chunk=8,
    wide=DLFLOAT16,
    gradient=Cast(format=DLFLOAT16),
    master=DLFLOAT16,
    velocity=DLFLOAT16,
)
STOCHASTIC = Recipe(
    name="stochastic",
    source="none: every sum and every cast draws words",
    weight=Cast(format=E4M3, rounding=sr(5)),
    activation=Cast(format=E4M3, rounding=sr(6)),
    error=Cast(format=E5M2, rounding=sr(7)),
    inner=Accumulator(rounding=sr(8)),
    outer=Accumulator(rounding=sr(9)),
    chunk=8,
    wide=DLFLOAT16,
    gradient=Cast(format=E5M2, rounding=sr(4)),
    master=DLFLOAT16,
    velocity=DLFLOAT16,
    update=sr(10),
)


def site(recipe: Recipe, *, machine: Machine | None = None, seed: int = 0) -> Site:
    """A place on a processor of its own."""
    return Site(Processor(recipe, machine=machine, seed=seed), "here", Casts.of(recipe))


def integers(rng: np.random.Generator, *shape: int, most: int = 4) -> Tensor:
    """Whole numbers in -most .. most."""
    return torch.from_numpy(rng.integers(-most, most + 1, shape).astype(np.float32))


def normal(rng: np.random.Generator, *shape: int) -> Tensor:
    """Normally distributed numbers."""
    return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))


class Convolution(NamedTuple):
    """Sizes of a convolution."""

    images: int
    channels: int
    outputs: int
    groups: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.images, self.channels, *self.size

    @property
    def weight_shape(self) -> tuple[int, ...]:
        return self.outputs, self.channels // self.groups, *self.kernel

    @property
    def options(self) -> dict[str, object]:
        """Arguments of `torch.nn.functional.conv2d`."""
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}


def convolutions(seed: int, count: int) -> Iterator[Convolution]:
    """Convolutions of all kinds: strides beyond the kernel, paddings beyond the input, groups of one channel."""
    rng = np.random.default_rng(seed)

    def pair(low: int, high: int) -> tuple[int, int]:
        return int(rng.integers(low, high + 1)), int(rng.integers(low, high + 1))

    done = 0
    while done < count:
        groups, each, out = int(rng.integers(1, 4)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
        if rng.random() < 0.2:
            groups, each, out = int(rng.integers(2, 6)), 1, int(rng.integers(1, 3))
        size, kernel, stride, padding, dilation = pair(1, 9), pair(1, 4), pair(1, 5), pair(0, 3), pair(1, 3)
        reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
        if all(s + 2 * p >= r for s, p, r in zip(size, padding, reach, strict=True)):
            yield Convolution(
                int(rng.integers(1, 4)), groups * each, groups * out, groups, size, kernel, stride, padding, dilation
            )
            done += 1


def reference(
    a: NDArray, b: NDArray, recipe: Recipe, a_cast: Cast, b_cast: Cast, words: ArrayWords | None = None
) -> NDArray[np.float64]:
    """Values of the product of two matrices of codes, by the definition."""
    with engine.using("numpy"):
        y = gemm(a, b, recipe.arithmetic(a_cast.format, b_cast.format), words=words)
    return to_float(y, recipe.outer.format)


def codes(tensor: Tensor, cast: Cast) -> NDArray:
    """A tensor cast without a scale, to nearest."""
    return encode(tensor.detach().numpy(), cast.format, saturate=True)


def same_bits(got: Tensor | NDArray, want: Tensor | NDArray) -> bool:
    """Whether two tensors are equal to the sign of their zeros; NaN equals NaN."""
    x, y = (np.asarray(v.detach() if isinstance(v, Tensor) else v, np.float64) for v in (got, want))
    return x.shape == y.shape and np.array_equal(x, y, equal_nan=True) and np.array_equal(np.signbit(x), np.signbit(y))


class Seen(NamedTuple):
    """A product as a recorder is told of it."""

    place: str
    phase: str
    a: Operand
    b: Operand
    y: NDArray
    issued: tuple[int, int]


class Record(list[Seen]):
    """All products, in their order."""

    def record(self, *call: object) -> None:
        self.append(Seen(*call))  # type: ignore[arg-type]


NEAR = Format(name="e8m22", exponent_bits=8, mantissa_bits=22, bias=127)
CLOSE = Recipe(
    name="close",
    source="none: float32 but for a bit of every operand, on the host",
    weight=Cast(format=NEAR),
    activation=Cast(format=NEAR),
    error=Cast(format=NEAR),
    wide=FP32,
    gradient=Cast(format=FP32),
    master=FP32,
    velocity=FP32,
    host=True,
)


class Net(nn.Module):
    """A layer of every kind: 2 channels of 7 x 7 become 5 classes."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.features = nn.Sequential(
                nn.Conv2d(2, 8, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(8), nn.ReLU()
            )
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
            self.product = MatMul()
            self.head = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.features(x).flatten(2).transpose(1, 2)
        mixed, _ = self.attention(tokens, tokens, tokens)
        return self.head(self.product(mixed.transpose(1, 2), tokens).flatten(1))


def steps(
    model: nn.Module, optimizer: torch.optim.Optimizer, count: int, first: int = 0, size: tuple[int, ...] = (2, 7, 7)
) -> list[float]:
    """Losses of training steps `first` .. `first + count`, each on a batch of its own."""
    losses = []
    for index in range(first, first + count):
        rng = np.random.default_rng(index)
        x, targets = normal(rng, 4, *size), torch.from_numpy(rng.integers(0, 5, 4))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses
