"""What a training is asked to do: ranges, usual values, learning rates, and plain data of it."""

import json
from dataclasses import fields, replace
from math import inf, nan
from typing import Any

import pytest

from quaver.golden import PRESETS, RECIPES
from quaver.train.batches import Batches
from quaver.train.data import DATA, load_data
from quaver.train.models import MODELS
from quaver.train.optim import OPTIMIZERS
from quaver.train.settings import USUAL, Settings


def rates(settings: Settings, steps: int) -> list[float]:
    return [settings.lr_at(step, steps) for step in range(steps)]


def test_a_cosine() -> None:
    settings = Settings(recipe="fp32", lr=0.1)
    assert rates(settings, 4) == pytest.approx([0.1, 0.08535533905932738, 0.05, 0.014644660940672627], rel=1e-15)
    assert settings.lr_at(0, 1) == 0.1


def test_a_constant() -> None:
    assert rates(Settings(recipe="fp32", lr=0.1, schedule="constant"), 3) == [0.1] * 3


def test_a_warm_up() -> None:
    """It ends below the learning rate, whose schedule begins with the step after it."""
    settings = Settings(recipe="fp32", lr=0.5, warmup=4)
    assert rates(settings, 8) == pytest.approx(
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.42677669529663687, 0.25, 0.07322330470336312], rel=1e-15
    )
    assert rates(replace(settings, schedule="constant"), 6) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.5], rel=1e-15)
    for steps in (2, 4):  # no more than it lasts
        assert rates(settings, steps) == pytest.approx([0.1, 0.2, 0.3, 0.4][:steps], rel=1e-15)


@pytest.mark.parametrize("model", MODELS)
def test_usual_settings(model: str) -> None:
    settings = Settings.usual("hybrid", model)
    assert (settings.recipe, settings.model, settings.machine, settings.seed) == ("hybrid", model, None, 0)
    assert settings.data in DATA
    assert {key: getattr(settings, key) for key in USUAL[model]} == USUAL[model]
    given = Settings.usual("fp32", model, lr=0.25, epochs=None, machine=PRESETS["edge"])
    assert given == replace(settings, recipe="fp32", lr=0.25, machine=PRESETS["edge"])


def test_usual_warm_ups_are_short() -> None:
    """At most a tenth of a training."""
    data = load_data("digits")
    models = [model for model in MODELS if USUAL[model]["data"] == "digits"]
    assert len(models) == 3
    for settings in (Settings.usual("fp32", model) for model in models):
        steps = settings.epochs * Batches(data, settings.batch, seed=0, drop_last=True).per_epoch
        assert 10 * settings.warmup <= steps


def test_usual_settings_are_of_all_models() -> None:
    assert set(USUAL) == set(MODELS)
    assert Settings.usual("hybrid", Settings.model) == Settings(recipe="hybrid")


def test_plain_data() -> None:
    for settings in (
        Settings.usual("hybrid", "resnet8", machine=PRESETS["tiny"], lr=1 / 3, schedule="constant"),
        Settings(recipe="fp32"),
    ):
        table = settings.to_dict()
        assert list(table) == [f.name for f in fields(Settings)]
        assert Settings.from_dict(json.loads(json.dumps(table))) == settings


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"recipe": "fp7"}, f"recipe must be one of {', '.join(RECIPES)}, not 'fp7'"),
        ({"model": "vgg"}, f"model must be one of {', '.join(MODELS)}, not 'vgg'"),
        ({"epochs": 0}, "epochs must be an integer in 1..100000, not 0"),
        ({"epochs": 100_001}, "epochs must be an integer in 1..100000, not 100001"),
        ({"epochs": 2.0}, "epochs must be an integer in 1..100000, not 2.0"),
        ({"steps": 0}, f"steps must be an integer in 1..{1 << 40}, not 0"),
        ({"batch": 0}, "batch must be an integer in 1..65536, not 0"),
        ({"batch": 65537}, "batch must be an integer in 1..65536, not 65537"),
        ({"optimizer": "lars"}, f"optimizer must be one of {', '.join(OPTIMIZERS)}, not 'lars'"),
        ({"lr": 0.0}, "lr must be a finite number above 0, not 0.0"),
        ({"lr": -0.1}, "lr must be a finite number above 0, not -0.1"),
        ({"lr": nan}, "lr must be a finite number above 0, not nan"),
        ({"lr": inf}, "lr must be a finite number above 0, not inf"),
        ({"lr": 1e39}, "lr must be at most 1152921504606846976, not 1e+39"),
        ({"momentum": 1.0}, "momentum must be at least 0 and below 1, not 1.0"),
        ({"momentum": -0.1}, "momentum must be at least 0 and below 1, not -0.1"),
        ({"momentum": nan}, "momentum must be at least 0 and below 1, not nan"),
        ({"weight_decay": -1e-9}, "weight_decay must be a finite number of at least 0, not -1e-09"),
        ({"weight_decay": 1e39}, "weight_decay must be at most 1152921504606846976, not 1e+39"),
        ({"weight_decay": inf}, "weight_decay must be a finite number of at least 0, not inf"),
        ({"schedule": "step"}, "schedule must be one of cosine, constant, not 'step'"),
        ({"warmup": -1}, f"warmup must be an integer in 0..{1 << 40}, not -1"),
        ({"seed": 1 << 32}, f"seed must be an integer in 0..{(1 << 32) - 1}, not {1 << 32}"),
        ({"seed": -1}, f"seed must be an integer in 0..{(1 << 32) - 1}, not -1"),
        ({"machine": "tiny"}, "machine must be an object or null, not 'tiny'"),
        (
            {"momentun": 0.5},
            f"key of settings must be one of {', '.join(f.name for f in fields(Settings))}, not 'momentun'",
        ),
    ],
    ids=str,
)
def test_mistakes(changed: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError) as caught:
        Settings.from_dict(Settings(recipe="hybrid").to_dict() | changed)
    assert str(caught.value) == line


def test_what_is_no_number() -> None:
    for field in ("lr", "momentum", "weight_decay"):
        with pytest.raises(TypeError) as caught:
            Settings.from_dict({"recipe": "hybrid", field: "0.1"})
        assert str(caught.value) == f"{field} must be a real number, not '0.1'"
