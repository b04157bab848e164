"""What a training is asked to do: all that decides its bits, as plain data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import cos, pi
from typing import Any, Literal, Self, get_args

from quaver.golden import RECIPES, Machine
from quaver.golden.errors import check_choice, check_range
from quaver.golden.scalars import check_fraction, check_not_negative, check_positive
from quaver.train.models import MODELS
from quaver.train.optim import OPTIMIZERS

Schedule = Literal["cosine", "constant"]
_IMAGES: dict[str, Any] = {"data": "digits", "optimizer": "sgd", "momentum": 0.9}
USUAL: dict[str, dict[str, Any]] = {
    "lenet5": _IMAGES | {"lr": 0.02, "epochs": 10, "batch": 64},
    "resnet8": _IMAGES | {"lr": 0.1, "epochs": 10, "batch": 128, "weight_decay": 1e-4, "warmup": 10},
    "resnet20": _IMAGES | {"lr": 0.1, "epochs": 10, "batch": 128, "weight_decay": 1e-4, "warmup": 10},
    "transformer": {"data": "stdlib-text", "optimizer": "adam", "lr": 2e-3, "epochs": 1, "batch": 16, "warmup": 100},
    "ncf": {"data": "stdlib-names", "optimizer": "adam", "lr": 1e-3, "epochs": 10, "batch": 256},
}
"""Settings of each model where nothing else is asked for; not the publications', whose data are other ones."""
STEPS_MAX = 1 << 40
RATE_MAX = 2.0**60
"""Of learning rate and decay: their product, which PyTorch multiplies weights with, is in float32's range."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A training, but for its data.

    Raises
    ------
    TypeError, ValueError
        If a field is out of its range; the message names the field and what is allowed.
    """

    recipe: str
    """Name of the recipe."""
    model: str = "lenet5"
    """Name of the network."""
    data: str = "digits"
    """Name of the data, folder, or function that makes them."""
    machine: Machine | None = None
    """Whose array computes the products; absent: the recipe's own sums."""
    epochs: int = 10
    """Times that all training data are seen, 1 to 100000."""
    steps: int | None = None
    """Steps after which the training ends, if that is sooner."""
    batch: int = 64
    """Inputs per step, 1 to 65536."""
    optimizer: str = "sgd"
    """`sgd`, with momentum, or `adam`, with decoupled decay."""
    lr: float = 0.02
    """Learning rate at its largest, above 0, at most 2^60."""
    momentum: float = 0.9
    """Of `sgd`, at least 0 and below 1."""
    weight_decay: float = 0.0
    """At least 0, at most 2^60."""
    schedule: Schedule = "cosine"
    """`cosine`: the learning rate falls to 0 in half a wave (Loshchilov and Hutter 2017); or `constant`."""
    warmup: int = 0
    """Steps in which the learning rate rises linearly, from 0."""
    seed: int = 0
    """Of initial weights, batches and random words, 0 to 2^32 - 1."""

    def __post_init__(self) -> None:
        check_choice("recipe", self.recipe, RECIPES)
        check_choice("model", self.model, MODELS)
        check_range("epochs", self.epochs, 1, 100_000)
        if self.steps is not None:
            check_range("steps", self.steps, 1, STEPS_MAX)
        check_range("batch", self.batch, 1, 1 << 16)
        check_choice("optimizer", self.optimizer, OPTIMIZERS)
        check_positive("lr", self.lr)
        check_fraction("momentum", self.momentum)
        check_not_negative("weight_decay", self.weight_decay)
        for field in ("lr", "weight_decay"):
            if getattr(self, field) > RATE_MAX:
                raise ValueError(f"{field} must be at most {RATE_MAX:.0f}, not {getattr(self, field)}")
        check_choice("schedule", self.schedule, get_args(Schedule))
        check_range("warmup", self.warmup, 0, STEPS_MAX)
        check_range("seed", self.seed, 0, (1 << 32) - 1)

    @classmethod
    def usual(cls, recipe: str, model: str, **given: object) -> Self:
        """The model's usual settings, but for those that are `given` and not None; errors as of the class."""
        check_choice("model", model, MODELS)
        chosen = {key: value for key, value in given.items() if value is not None}
        return cls(recipe=recipe, model=model, **(USUAL[model] | chosen))

    def lr_at(self, step: int, steps: int) -> float:
        """Learning rate of step `step`, from 0, of `steps`."""
        if step < self.warmup:
            return self.lr * (step + 1) / (self.warmup + 1)
        if self.schedule == "constant":
            return self.lr
        done = (step - self.warmup) / max(1, steps - self.warmup)
        return self.lr * (1 + cos(pi * done)) / 2

    def to_dict(self) -> dict[str, object]:
        """Plain data, which `from_dict` reads."""
        return asdict(self) | {"machine": None if self.machine is None else self.machine.to_dict()}

    @classmethod
    def from_dict(cls, table: Mapping[str, object]) -> Self:
        """What `to_dict` made.

        Raises
        ------
        TypeError, ValueError
            For an unknown key or a bad value.
        """
        for key in table:
            check_choice("key of settings", key, [f.name for f in fields(cls)])
        described = table.get("machine")
        if not (described is None or isinstance(described, Mapping)):
            raise ValueError(f"machine must be an object or null, not {described!r}")
        machine = None if described is None else Machine.from_dict(described)
        return cls(**(dict(table) | {"machine": machine}))  # type: ignore[arg-type]
