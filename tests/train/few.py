"""Few data, small networks and exact comparisons, for trainings that take no time."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from quaver.train.data_set import DataSet, Split
from quaver.train.models import Model
from quaver.train.settings import Settings


def images() -> DataSet:
    """48 grey images of 28 x 28, which `lenet5` takes: a pattern per class, and noise."""
    return _images("few images", size=28, train=48)


def little() -> DataSet:
    """40 of 8 x 8, which `TINY` takes."""
    return _images("little images", size=8, train=40)


def more() -> DataSet:
    """As many as keep a process busy for a while."""
    return _images("more images", size=28, train=2000)


def tokens() -> DataSet:
    """12 sequences of 8 tokens."""
    sequences = torch.from_numpy(np.random.default_rng(1).integers(20, size=(20, 9)))
    parts = (Split(part[:, :-1], part[:, 1:]) for part in (sequences[:12], sequences[12:]))
    return DataSet(name="few tokens", source="drawn", kind="text", train=next(parts), test=next(parts), classes=20)


def pairs() -> DataSet:
    """8 users of 24 items, each of whom met 4."""
    rng = np.random.default_rng(2)
    ranks = np.stack([rng.permutation(24) for _ in range(8)])
    users = np.arange(8)[:, None]
    met, candidates = (
        torch.from_numpy(np.stack(np.broadcast_arrays(users, chosen), axis=-1))
        for chosen in (ranks[:, :3], ranks[:, 3:])
    )
    first = torch.zeros(candidates.shape[:2])
    first[:, 0] = 1
    train = Split(met.flatten(0, 1), torch.ones(24))
    test = Split(candidates, first)
    return DataSet(name="few pairs", source="drawn", kind="interactions", train=train, test=test, classes=24, users=8)


def _images(name: str, *, size: int, train: int) -> DataSet:
    rng = np.random.default_rng(0)
    labels = np.arange(train + 20) % 10
    patterns = rng.standard_normal((10, 1, size, size))
    inputs = torch.from_numpy((patterns[labels] + 0.5 * rng.standard_normal((len(labels), 1, size, size))).astype("f4"))
    targets = torch.from_numpy(labels)
    parts = (Split(inputs[some], targets[some]) for some in (slice(train), slice(train, None)))
    return DataSet(name=name, source="drawn", kind="images", train=next(parts), test=next(parts), classes=10)


class _Tiny(nn.Module):
    """What a convolutional network has: first, inner and last layers, and statistics that no gradient changes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3, stride=2, bias=False), nn.Conv2d(4, 8, 3)
        self.bn, self.fc = nn.BatchNorm2d(4), nn.Linear(8, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.conv2(self.bn(self.conv1(images)).relu()).flatten(1).relu())


TINY = Model(kind="images", workload="none", build=lambda _: _Tiny())


def tiny(recipe: str, **given: object) -> Settings:
    """A training of `TINY` on `little`, where it is known as `tiny`: 5 steps an epoch, 2 epochs."""
    settings = {"model": "tiny", "data": "tests.train.few:little", "batch": 8, "epochs": 2, "lr": 0.05, "seed": 3}
    return Settings(recipe=recipe, **(settings | given))  # type: ignore[arg-type]


def same_state(a: object, b: object, where: str = "state") -> int:
    """The number of tensors in two states, which must be equal to the last bit."""
    assert type(a) is type(b), f"{where}: {type(a)} and {type(b)}"
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        assert (a.dtype, a.shape) == (b.dtype, b.shape), where
        assert a.numpy().tobytes() == b.numpy().tobytes(), f"{where}: {a} and {b}"
        return 1
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        assert list(a) == list(b), where
        return sum(same_state(a[key], b[key], f"{where}.{key}") for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        assert len(a) == len(b), where
        return sum(same_state(*pair, f"{where}[{i}]") for i, pair in enumerate(zip(a, b, strict=True)))
    assert a == b, f"{where}: {a} and {b}"
    return 0
