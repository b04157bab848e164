"""Mini-batches: every example once per epoch, an order that seed and epoch decide, and a state to go on from."""

import json
import re
from collections import Counter

import numpy as np
import pytest
import torch

from quaver.train.batches import Batches
from quaver.train.data_set import DataSet, Split


def images(count: int = 23) -> DataSet:
    """Images that say what number they are."""
    inputs = torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    split = Split(inputs, torch.arange(count))
    return DataSet(name="some", source="none", kind="images", train=split, test=split, classes=count)


def interactions(users: int = 7, items: int = 11) -> DataSet:
    """Users who met some of the items, the last of them all but one."""
    met = [(user, item) for user in range(users) for item in range(items) if item % (user + 2) == 0]
    met += [(users - 1, item) for item in range(1, items - 2)]
    test = torch.zeros(1, 2, 2, dtype=torch.int64)
    train = Split(torch.tensor(met), torch.ones(len(met)))
    return DataSet(
        name="met",
        source="none",
        kind="interactions",
        train=train,
        test=Split(test, torch.tensor([[1.0, 0.0]])),
        classes=items,
        users=users,
    )


def numbers(batch: Split) -> list[list[object]]:
    return [tensor.flatten().tolist() for tensor in batch]


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [5, 5, 5, 5, 3]), (True, [5, 5, 5, 5])])
def test_every_example_once_per_epoch(drop_last: bool, sizes: list[int]) -> None:
    data = images()
    batches = Batches(data, 5, seed=1, drop_last=drop_last)
    assert batches.per_epoch == len(sizes)
    orders = []
    for epoch in range(3):
        assert (batches.epoch, batches.position) == (epoch, 0)
        drawn = [batches.draw() for _ in sizes]
        assert [len(batch.inputs) for batch in drawn] == sizes
        for inputs, targets in drawn:
            assert torch.equal(inputs, data.train.inputs[targets])
        orders.append([number for batch in drawn for number in batch.targets.tolist()])
        assert len(set(orders[-1])) == sum(sizes)
        # The order is what it is said to be.
        assert orders[-1] == np.random.default_rng([1, epoch]).permutation(23)[: sum(sizes)].tolist()
    assert len({tuple(order) for order in orders}) == 3


def test_seeds() -> None:
    first, again, other = (Batches(images(), 23, seed=seed).draw().targets.tolist() for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("data", [images(), interactions()])
def test_it_goes_on_from_anywhere(data: DataSet) -> None:
    """From the plain state of any batch of two epochs, with all the batches that follow."""
    batches = Batches(data, 6, seed=3)
    states, drawn = [], []
    for _ in range(2 * batches.per_epoch):
        states.append(json.loads(json.dumps(batches.to_dict())))
        drawn.append(numbers(batches.draw()))
    assert states[1] == {"seed": 3, "epoch": 0, "position": 1}
    assert states[batches.per_epoch] == {"seed": 3, "epoch": 1, "position": 0}
    for done, state in enumerate(states):
        resumed = Batches(data, 6, seed=0)
        resumed.draw()
        resumed.restore(state)
        assert resumed.to_dict() == state
        assert [numbers(resumed.draw()) for _ in drawn[done:]] == drawn[done:]


def test_negatives() -> None:
    """To each pair that met, so many of its user with items that it never met, others in each epoch."""
    data = interactions()
    met = Counter(tuple(pair) for pair in data.train.inputs.tolist())
    batches = Batches(data, 10, seed=5, negatives=3)
    assert batches.per_epoch == -(-4 * len(data.train.inputs) // 10)
    epochs = []
    for _ in range(40):
        drawn = [batches.draw() for _ in range(batches.per_epoch)]
        inputs, targets = (torch.cat(tensors) for tensors in zip(*drawn, strict=True))
        assert (inputs.dtype, targets.dtype) == (torch.int64, torch.float32)
        positive = Counter(tuple(pair) for pair in inputs[targets == 1].tolist())
        negative = Counter(tuple(pair) for pair in inputs[targets == 0].tolist())
        assert positive == met
        assert not negative.keys() & met.keys()
        users = Counter(user for user, _ in met.elements())
        assert Counter(user for user, _ in negative.elements()) == {user: 3 * count for user, count in users.items()}
        epochs.append(negative)
    assert epochs[0] != epochs[1]
    # Any pair that did not meet is drawn some time.
    every = {(user, item) for user in range(data.users) for item in range(data.classes)}
    assert set().union(*epochs) == every - met.keys()


def test_positives_alone() -> None:
    data = interactions()
    batch = Batches(data, len(data.train.inputs), seed=5, negatives=0).draw()
    assert Counter(map(tuple, batch.inputs.tolist())) == Counter(map(tuple, data.train.inputs.tolist()))
    assert batch.targets.tolist() == [1] * len(data.train.inputs)


def test_mistakes() -> None:
    def complaint(data: DataSet, size: int, **given: int) -> str:
        with pytest.raises(ValueError) as caught:
            Batches(data, size, **{"seed": 0} | given)  # type: ignore[arg-type]
        return str(caught.value)

    assert complaint(images(), 0) == "batch must be an integer in 1..23, not 0"
    assert complaint(images(), 24) == "batch must be an integer in 1..23, not 24"
    assert complaint(images(), 5, seed=-1) == "seed must be an integer in 0..4294967295, not -1"
    assert complaint(interactions(), 5, negatives=1025) == "negatives must be an integer in 0..1024, not 1025"
    everything = torch.tensor([(0, item) for item in range(2)])
    full = interactions(users=1, items=2)
    full = DataSet(
        name="full",
        source="none",
        kind="interactions",
        train=Split(everything, torch.ones(2)),
        test=full.test,
        classes=2,
        users=1,
    )
    assert complaint(full, 1) == "full: a user met all 2 items, so that none can be drawn"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "batches must have seed, epoch and position, not none of them"),
        ({"seed": 0, "epoch": 0}, "batches must have seed, epoch and position, not seed, epoch"),
        ({"seed": -1, "epoch": 0, "position": 0}, "seed of batches must be an integer in 0..4294967295, not -1"),
        ({"seed": 0, "epoch": "1", "position": 0}, "epoch of batches must be an integer in 0..4294967296, not '1'"),
        ({"seed": 0, "epoch": 0, "position": 5}, "position of batches must be an integer in 0..4, not 5"),
    ],
)
def test_no_states(state: dict[str, int], message: str) -> None:
    batches = Batches(images(), 5, seed=0)
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        batches.restore(state)
