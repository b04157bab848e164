"""Data sets by what a user calls them, and what a data set may be."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from quaver.train.data import DATA, DataSet, Split, load_data

OWN = """
import torch
from quaver.train.data import DataSet, Split

def letters():
    split = Split(torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.int64))
    return DataSet(name="letters", source="none", kind="text", train=split, test=split, classes=2, vocabulary="ab")

def number():
    return 1

def fails():
    raise RuntimeError("of the user's own")

constant = 1
"""


def images(**given: Any) -> DataSet:
    split = Split(torch.zeros(4, 1, 2, 2), torch.tensor([0, 1, 2, 0]))
    fields: dict[str, Any] = {"name": "some", "source": "none", "kind": "images", "train": split, "test": split}
    return DataSet(**fields | {"classes": 3} | given)


def text(**given: Any) -> DataSet:
    split = Split(torch.zeros(4, 5, dtype=torch.int64), torch.ones(4, 5, dtype=torch.int64))
    return images(**{"kind": "text", "train": split, "test": split} | given)


def interactions(**given: Any) -> DataSet:
    train = Split(torch.tensor([(0, 2), (1, 0)]), torch.ones(2))
    test = Split(torch.tensor([[(0, 1), (0, 0)], [(1, 1), (1, 2)]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    return images(**{"kind": "interactions", "train": train, "test": test, "users": 2} | given)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of a user's own."""
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "own_data.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "own_needy.py").write_text("import no_such_package", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("own")
def test_a_function() -> None:
    data = load_data("own_package.own_data:letters")
    assert (data.name, data.vocabulary) == ("letters", "ab")
    with pytest.raises(RuntimeError, match=r"^of the user's own$"):
        load_data("own_package.own_data:fails")
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        load_data("own_needy:letters")


NOTHING = f"data must be one of {', '.join(DATA)}, a folder of images, an .npz file or package.module:function, not "


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cifar", f"{NOTHING}'cifar'"),
        ("no/such/folder", f"{NOTHING}'no/such/folder'"),
        ("module:", f"{NOTHING}'module:'"),
        ("1module:function", f"{NOTHING}'1module:function'"),
        ("own_module:letters", "own_module:letters: there is no module own_module"),
        ("own_package.own:letters", "own_package.own:letters: there is no module own_package.own"),
        ("own_package.own_data:numbers", "own_package.own_data:numbers: own_package.own_data has no function numbers"),
        (
            "own_package.own_data:constant",
            "own_package.own_data:constant: own_package.own_data has no function constant",
        ),
        ("own_package.own_data:number", "own_package.own_data:number: it must return a DataSet, not int"),
    ],
)
def test_mistakes(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load_data(name)


def test_names_of_the_built_in_ones() -> None:
    assert list(DATA) == ["digits", "mnist", "mnist5k", "fashion-mnist", "stdlib-text", "stdlib-names"]
    assert load_data("digits").name == "digits"


def test_a_digest_tells_data_apart() -> None:
    same = [images().digest(), images(name="other").digest()]
    test = Split(torch.zeros(3, 1, 2, 2), torch.tensor([0, 1, 2]))
    wider = Split(torch.zeros(4, 1, 1, 4), torch.tensor([0, 1, 2, 0]))
    others = [images(test=test).digest(), images(train=test).digest(), images(test=wider).digest(), text().digest()]
    assert len(set(same)) == 1
    assert len({*same, *others}) == 5


FLOATS = torch.zeros(4, 1, 2, 2)
LABELS = torch.tensor([0, 1, 2, 0])
PAIRS = torch.tensor([(0, 2), (1, 0)])


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (images, {"kind": "sounds"}, "kind must be one of images, text, interactions, not 'sounds'"),
        (images, {"classes": 0}, "classes must be an integer in 1..2147483648, not 0"),
        (
            images,
            {"train": Split(FLOATS.double(), LABELS)},
            "inputs of train must be float32 with 4 axes, not float64 with 4",
        ),
        (
            images,
            {"test": Split(FLOATS[:, 0], LABELS)},
            "inputs of test must be float32 with 4 axes, not float32 with 3",
        ),
        (images, {"test": Split(FLOATS, LABELS.int())}, "targets of test must be int64 with 1 axes, not int32 with 1"),
        (images, {"train": Split(FLOATS[1:], LABELS)}, "targets of train must be (3,), not (4,)"),
        (images, {"train": Split(FLOATS[4:], LABELS[4:])}, "train must not be empty"),
        (images, {"classes": 2}, "targets of train must be an integer in 0..1, not 2"),
        (images, {"test": Split(FLOATS, LABELS - 1)}, "targets of test must be an integer in 0..2, not -1"),
        (images, {"test": Split(FLOATS / 0, LABELS)}, "inputs of test must be finite"),
        (text, {"train": Split(LABELS[None], LABELS[None, 1:])}, "targets of train must be (1, 4), not (1, 3)"),
        (text, {"train": Split(LABELS[None] + 1, LABELS[None])}, "inputs of train must be an integer in 0..2, not 3"),
        (text, {"test": Split(LABELS[None], LABELS[None] + 1)}, "targets of test must be an integer in 0..2, not 3"),
        (interactions, {"users": 0}, "users must be an integer in 1..2147483648, not 0"),
        (interactions, {"users": 1}, "users of train must be an integer in 0..0, not 1"),
        (interactions, {"classes": 2}, "items of train must be an integer in 0..1, not 2"),
        (interactions, {"train": Split(PAIRS, torch.tensor([1.0, 0.0]))}, "targets of train must be 1"),
        (
            interactions,
            {"train": Split(PAIRS.repeat(1, 2), torch.ones(2))},
            "inputs of train must be pairs, not of 4 numbers",
        ),
        (
            interactions,
            {"test": Split(PAIRS, torch.ones(2))},
            "inputs of test must be int64 with 3 axes, not int64 with 2",
        ),
        (
            interactions,
            {"test": Split(PAIRS[None], torch.tensor([[0.0, 1.0]]))},
            "targets of test must be 1 for the first candidate of each user and 0 for the others",
        ),
    ],
)
def test_what_no_data_set_is(make: Callable[..., DataSet], given: dict[str, Any], message: str) -> None:
    make()
    with pytest.raises(ValueError, match=f"^some: {re.escape(message)}$"):
        make(**given)
