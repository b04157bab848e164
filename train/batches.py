"""Mini-batches, shuffled anew in each epoch, and a state to resume from."""

from collections.abc import Mapping
from math import ceil

import numpy as np
import torch

from quaver.golden.errors import check_range
from quaver.train.data_set import DataSet, Split

SEED_MAX = (1 << 32) - 1
EPOCHS_MAX = 1 << 32


class Batches:
    """Mini-batches of the examples that a data set trains with, epoch after epoch, without end.

    The batches of an epoch are a function of the data, the seed and the epoch alone.  Of interactions an epoch has,
    besides the pairs that met, pairs that did not, with the target 0: to each of the former some of its user with items
    drawn anew (He et al., Neural Collaborative Filtering, WWW 2017, section 4.1).

    Parameters
    ----------
    data
        The data set.
    size
        Examples of a batch, at most those of an epoch.
    seed
        Seed of all epochs, 0 to 2^32 - 1.
    drop_last
        Whether the last batch of an epoch is left out if it is smaller than the others.
    negatives
        Of interactions, pairs that did not meet for each that did, 0 to 1024.

    Raises
    ------
    ValueError
        If an argument is out of range, or a user met all items, so that there is no pair to draw.
    """

    def __init__(self, data: DataSet, size: int, *, seed: int, drop_last: bool = False, negatives: int = 4) -> None:
        check_range("seed", seed, 0, SEED_MAX)
        check_range("negatives", negatives, 0, 1 << 10)
        self._data, self._size, self._seed = data, size, seed
        self._negatives = negatives if data.kind == "interactions" else 0
        if self._negatives:
            met = torch.unique(data.train.inputs, dim=0)
            if int(met[:, 0].bincount().max()) == data.classes:
                raise ValueError(f"{data.name}: a user met all {data.classes} items, so that none can be drawn")
            self._met = self._keys(met.numpy())
        examples = len(data.train.inputs) * (1 + self._negatives)
        check_range("batch", size, 1, examples)
        self.per_epoch = examples // size if drop_last else ceil(examples / size)
        """Batches of an epoch."""
        self.epoch = 0
        """Epochs that are over."""
        self.position = 0
        """Batches that the epoch has had, less than `per_epoch`."""
        self._shuffled: Split | None = None

    def draw(self) -> Split:
        """The next batch."""
        if self._shuffled is None:
            self._shuffled = self._shuffle()
        start = self.position * self._size
        batch = Split(*(tensor[start : start + self._size] for tensor in self._shuffled))
        self.position += 1
        if self.position == self.per_epoch:
            self.epoch, self.position, self._shuffled = self.epoch + 1, 0, None
        return batch

    def _shuffle(self) -> Split:
        """All examples of the epoch, in its order."""
        generator = np.random.default_rng([self._seed, self.epoch])
        inputs, targets = self._data.train
        if self._negatives:
            others = torch.from_numpy(self._others(generator))
            inputs, targets = torch.cat([inputs, others]), torch.cat([targets, torch.zeros(len(others))])
        order = torch.from_numpy(generator.permutation(len(inputs)))
        return Split(inputs[order], targets[order])

    def _others(self, generator: np.random.Generator) -> np.ndarray:
        """Pairs that did not meet."""
        pairs = self._data.train.inputs.numpy().repeat(self._negatives, axis=0)
        wrong = np.arange(len(pairs))
        while len(wrong):
            pairs[wrong, 1] = generator.integers(self._data.classes, size=len(wrong))
            wrong = wrong[np.isin(self._keys(pairs[wrong]), self._met)]
        return pairs

    def _keys(self, pairs: np.ndarray) -> np.ndarray:
        """A number for each pair."""
        return pairs[:, 0] * self._data.classes + pairs[:, 1]

    def to_dict(self) -> dict[str, int]:
        """Seed, epoch and position: where the next batch is from."""
        return {"seed": self._seed, "epoch": self.epoch, "position": self.position}

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on where `to_dict` was called, of an object made with the same arguments, of whose seed it may differ.

        Raises
        ------
        ValueError
            If it is no such state.
        """
        if set(state) != {"seed", "epoch", "position"}:
            raise ValueError(f"batches must have seed, epoch and position, not {', '.join(state) or 'none of them'}")
        check_range("seed of batches", state["seed"], 0, SEED_MAX)
        check_range("epoch of batches", state["epoch"], 0, EPOCHS_MAX)
        check_range("position of batches", state["position"], 0, self.per_epoch - 1)
        self._seed, self.epoch, self.position = state["seed"], state["epoch"], state["position"]
        self._shuffled = None
