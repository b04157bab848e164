"""The products of a training step are those that the simulator counts: layer by layer, in its order and formats."""

from math import prod
from typing import NamedTuple

import pytest
import torch

from quaver.golden import PRESETS, RECIPES, Format, fitted, misfits, recipe_named
from quaver.golden.fitting import PLACES
from quaver.sim import Request, Step, simulate, workload_named
from quaver.sim.lowering import Gemm
from quaver.train import MODELS, DataSet, Settings, Split, Training, one_thread

BATCH = 3


class Product(NamedTuple):
    place: str
    phase: str
    shape: tuple[int, int, int]
    groups: int
    a: Format
    b: Format

    @property
    def exchanged(self) -> "Product":
        m, k, n = self.shape
        return self._replace(shape=(n, k, m), a=self.b, b=self.a)


class Seen:
    """A recorder that keeps what the products are."""

    def __init__(self) -> None:
        self.products: list[Product] = []

    def record(self, place, phase, a, b, y, issued) -> None:
        shape = (*a.codes.shape[-2:], b.codes.shape[-1])
        self.products.append(Product(place, phase, shape, prod(y.shape[:-2]), a.format, b.format))


def data(kind: str) -> DataSet:
    draw = torch.Generator().manual_seed(0)
    if kind == "images":
        split = Split(torch.randn(BATCH, 1, 28, 28, generator=draw), torch.arange(BATCH))
        return DataSet(name="noise", source="noise", kind=kind, train=split, test=split, classes=10)
    if kind == "text":
        tokens = torch.randint(96, (BATCH, 65), generator=draw)
        split = Split(tokens[:, :-1], tokens[:, 1:])
        return DataSet(name="noise", source="noise", kind=kind, train=split, test=split, classes=96)
    pairs = Split(torch.tensor([[0, 1], [1, 2], [2, 3]]), torch.ones(3))
    test = Split(torch.tensor([[[0, 1], [0, 2]]]), torch.tensor([[1.0, 0.0]]))
    return DataSet(name="noise", source="noise", kind=kind, train=pairs, test=test, classes=9, users=3)


def trained(model: str, recipe: str) -> list[Product]:
    training = Training(Settings.usual(recipe, model, batch=BATCH), data(MODELS[model].kind))
    training.processor.recorder = seen = Seen()
    with one_thread():
        training.advance()
    return seen.products


def simulated(model: str, recipe: str) -> list[Product]:
    machine = fitted(recipe_named(recipe), PRESETS["edge"])
    request = Request(pass_="training", batch=BATCH)
    step = Step(workload_named(MODELS[model].workload), machine, recipe_named(recipe), request)
    works = [(task, task.work) for task in step.tasks() if isinstance(task.work, Gemm)]
    return [
        Product(task.layers[0], task.phase, (work.m, work.k, work.n), work.groups, work.a_format, work.b_format)
        for task, work in works
    ]


@pytest.mark.parametrize("recipe", ["hybrid", "wang2018", "noune2022"])
@pytest.mark.parametrize("model", MODELS)
def test_the_same_products(model: str, recipe: str) -> None:
    ours, theirs = trained(model, recipe), simulated(model, recipe)
    assert len(ours) == len(theirs) > 10
    swapped = 0
    for mine, other in zip(ours, theirs, strict=True):
        if mine != other:  # a weight gradient may be computed as it stands or transposed
            assert (mine.exchanged, mine.phase) == (other, "weight_gradient")
            swapped += 1
    assert swapped < len(ours) / 2


@pytest.mark.parametrize("recipe", [recipe.name for recipe in RECIPES.values() if not recipe.host])
def test_a_fitted_machine_trains_and_is_simulated(recipe: str) -> None:
    machine = fitted(RECIPES[recipe], PRESETS["edge"])
    assert not [reason for place in PLACES for reason in misfits(RECIPES[recipe], machine, place)]
    assert simulate("lenet5", machine, pass_="training", batch=BATCH, recipe=recipe).cycles > 0
    with one_thread():
        alone = Training(Settings.usual(recipe, "lenet5", batch=BATCH), data("images"))
        placed = Training(Settings.usual(recipe, "lenet5", batch=BATCH, machine=machine), data("images"))
        alone.advance()
        placed.advance()
    pairs = list(zip(alone.model.parameters(), placed.model.parameters(), strict=True))
    assert len(pairs) == 10
    for mine, other in pairs:
        assert torch.equal(mine, other)  # no sum is rounded stochastically


def test_what_does_not_fit_is_told() -> None:
    tiny, edge, wang = PRESETS["tiny"], PRESETS["edge"], RECIPES["wang2018"]
    assert list(misfits(RECIPES["hybrid"], edge, "inner")) == []
    assert list(misfits(RECIPES["hybrid"], tiny, "first")) == ["chunk is 4, not 64"]
    assert list(misfits(wang, edge, "inner")) == ["a_formats lack e5m2_wang", "b_formats lack e5m2_wang"]
    assert list(misfits(wang, edge, "last")) == ["a_formats lack bf16", "b_formats lack bf16"]
    assert list(misfits(RECIPES["s2fp8"], edge, "inner"))[2:] == [
        "s2fp8 is false",
        "inner is dlfloat16 rne, not fp32 rne",
        "outer is dlfloat16 rne, not fp32 rne",
    ]
    assert list(misfits(RECIPES["fp32"], edge, "inner")) == ["products are the host's"]
    with pytest.raises(ValueError) as error:
        fitted(RECIPES["fp16"], edge)
    assert str(error.value) == "recipe must be one whose products an array computes, not fp16"
