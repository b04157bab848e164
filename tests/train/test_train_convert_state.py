"""States of converted models and their optimizers, which go on with the same bits."""

import copy
import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from quaver.golden import PRESETS, RECIPES, Machine, Recipe
from quaver.golden.catalog import E4M3, E5M2
from quaver.golden.recipe import Amax, Cast
from quaver.train.convert import convert, processor_of
from quaver.train.optim import optimizer_for
from tests.train.draws import CHUNKED, STOCHASTIC, Net, normal, steps


def saved(*states: dict[str, Any]) -> list[dict[str, Any]]:
    """As they come back from a file."""
    file = io.BytesIO()
    torch.save(list(states), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_same(got: Any, want: Any) -> int:
    """Compare states to the last bit; returns the number of tensors."""
    if isinstance(want, Tensor):
        assert torch.equal(got.view(torch.int32), want.view(torch.int32)) if want.is_floating_point() else got == want
        return 1
    if isinstance(want, dict):
        assert list(got) == list(want)
        return sum(assert_same(got[key], value) for key, value in want.items())
    if isinstance(want, list | tuple):
        assert len(got) == len(want)
        return sum(assert_same(x, y) for x, y in zip(got, want, strict=True))
    assert got == want
    return 0


HISTORIES = replace(
    STOCHASTIC,
    name="histories",
    weight=Cast(format=E4M3, scaling=Amax(history=2)),
    activation=Cast(format=E4M3, rounding=STOCHASTIC.activation.rounding, scaling=Amax(history=3)),
    error=Cast(format=E5M2, scaling=Amax(history=5, margin=1)),
)

STOCHASTIC_MACHINE = Machine(rows=8, columns=4, chunk=8, inner=STOCHASTIC.inner, outer=STOCHASTIC.outer, seed=3)


@pytest.mark.parametrize(
    ("recipe", "machine", "kind"),
    [
        *((recipe, None, "sgd") for recipe in RECIPES.values() if recipe.post_training == "none"),
        *((RECIPES[name], None, "adam") for name in ("hybrid", "s2fp8", "gallus2018", "fp32")),
        (STOCHASTIC, None, "adam"),
        (HISTORIES, None, "sgd"),
        (RECIPES["hybrid"], PRESETS["edge"], "sgd"),
        (HISTORIES, STOCHASTIC_MACHINE, "adam"),
    ],
    ids=lambda given: getattr(given, "name", str(given)),
)
def test_a_training_goes_on_with_the_same_bits(recipe: Recipe, machine: Machine | None, kind: str) -> None:
    """Six steps are three, a file, another model and another optimizer, and three."""

    def begun() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = convert(Net(), recipe, machine=machine, seed=7)
        return model, optimizer_for(recipe, model.parameters(), kind=kind, lr=0.01, weight_decay=1e-3, seed=8)

    model, optimizer = begun()
    losses = steps(model, optimizer, 3)
    states = saved(model.state_dict(), optimizer.state_dict())
    losses += steps(model, optimizer, 3, first=3)
    assert len(set(losses)) == 6 and all(np.isfinite(losses))

    again, others = begun()
    steps(again, others, 1, first=9)
    again.load_state_dict(states[0])
    others.load_state_dict(states[1])
    assert steps(again, others, 3, first=3) == losses[3:]
    assert assert_same(again.state_dict(), model.state_dict()) == 13
    assert assert_same(others.state_dict(), optimizer.state_dict()) >= 10

    stand, cast = model.state_dict()["processor._extra_state"], recipe.activation
    assert (stand["casts"] > 0) == cast.rounding.stochastic
    assert (stand["sums"] > 0) == (machine is not None or "sr" in str(recipe.outer))
    histories = model.state_dict().get("head._extra_state", {})
    length = cast.scaling.history if isinstance(cast.scaling, Amax) else 0
    assert len(histories.get("activation", {"values": []})["values"]) == min(6, length)


def test_an_evaluation_leaves_no_trace() -> None:
    """Before the first step and between steps: no state and no later bit tells of it."""
    recipe = replace(HISTORIES, inner=CHUNKED.inner)

    def trained(evaluate: bool) -> tuple[list[float], dict[str, Any]]:
        model = convert(Net(), recipe)
        optimizer = optimizer_for(recipe, model.parameters(), lr=0.05)
        losses = []
        for index in range(3):
            if evaluate:
                before = copy.deepcopy(model.state_dict())
                model.eval()
                with torch.no_grad(), processor_of(model).aside():
                    first, second = (model(100 * normal(np.random.default_rng(1), 2, 2, 7, 7)) for _ in range(2))
                model.train()
                assert first.isfinite().all() and first.any()
                assert not torch.equal(first, second)  # words go on within an evaluation
                assert assert_same(model.state_dict(), before) == 13
            losses += steps(model, optimizer, 1, first=index)
        return losses, model.state_dict()

    (losses, state), (others, other_state) = trained(True), trained(False)
    assert losses == others
    assert_same(state, other_state)


@pytest.mark.parametrize(
    ("name", "state", "text"),
    [
        ("head", {"momentum": {}}, "history must be one of weight, activation, other, error, not 'momentum'"),
        ("head", {"error": {"kind": "AmaxHistory", "length": 4, "rule": "max"}}, "values of AmaxHistory is missing"),
        ("head", {"error": {"kind": "BackOff"}}, "kind must be one of AmaxHistory, not 'BackOff'"),
    ],
)
def test_states_that_are_none(name: str, state: dict[str, Any], text: str) -> None:
    model = convert(Net(), HISTORIES)
    states = model.state_dict() | {f"{name}._extra_state": state}
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        model.load_state_dict(states)
