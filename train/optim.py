"""Optimizers whose every sum is rounded as the recipe's update unit rounds it.

Weights and what an optimizer remembers are float32 tensors that hold numbers of the master format, so that models and
checkpoints stay PyTorch's own.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from quaver.golden import Adam, Format, LaneWords, Recipe, Sgd, encode
from quaver.golden.catalog import FP32
from quaver.golden.errors import check_choice
from quaver.train.processor import Values, decoded

Parameters = Iterable[Tensor] | Iterable[dict[str, Any]]


class _Rounded(torch.optim.Optimizer):
    """Base: tensors are updated one after the other, by lanes whose generators go on from one to the next."""

    def __init__(self, parameters: Parameters, defaults: dict[str, Any], words: LaneWords) -> None:
        super().__init__(parameters, defaults)
        self.words = words

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        """Update every parameter that has a gradient; ValueError if a `closure` is given, which cannot be re-run."""
        if closure is not None:
            raise ValueError("closure must be None")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's, and in `words` the items that each lane's generators have served."""
        return super().state_dict() | {"words": self.words.issued}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` was called."""
        table = dict(state_dict)
        self.words = replace(self.words, issued=table.pop("words"))
        super().load_state_dict(table)


class RoundedSGD(_Rounded):
    """`quaver.golden.Sgd` on all parameters.

    Parameters
    ----------
    lr, momentum, weight_decay, nesterov:
        As there; each group may have its own, and a scheduler may change them.
    sgd:
        Formats, rounding, lanes and seed; its other fields are not used.
    """

    def __init__(
        self,
        parameters: Parameters,
        sgd: Sgd,
        *,
        lr: float,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        defaults: dict[str, Any] = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        self.sgd = replace(sgd, **defaults)
        super().__init__(parameters, defaults, sgd.words)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        settings = {key: group[key] for key in ("lr", "momentum", "weight_decay", "nesterov")}
        if any(getattr(self.sgd, key) != value for key, value in settings.items()):
            self.sgd = replace(self.sgd, **settings)
        fmt, state = self.sgd.format, self.state[parameter]
        if "velocity" not in state:
            state["velocity"] = torch.zeros_like(parameter)
        weights, velocity = _codes(parameter, fmt), _codes(state["velocity"], fmt)
        done = self.sgd.step(weights, velocity, parameter.grad.numpy(), self.words)
        parameter.copy_(_tensor(done.weights, fmt))
        state["velocity"].copy_(_tensor(done.velocity, fmt))
        self.words = done.words


class RoundedAdam(_Rounded):
    """`quaver.golden.Adam` on all parameters.

    Parameters
    ----------
    lr, betas, eps, weight_decay:
        As there.
    adam:
        Formats, rounding, whether decay is decoupled, lanes and seed; its other fields are not used.
    """

    def __init__(
        self,
        parameters: Parameters,
        adam: Adam,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        self.adam = replace(adam, **_fields(defaults))
        super().__init__(parameters, defaults, adam.words)

    def _update(self, parameter: Tensor, group: dict[str, Any]) -> None:
        settings = _fields(group)
        if any(getattr(self.adam, key) != value for key, value in settings.items()):
            self.adam = replace(self.adam, **settings)
        fmt, moments, state = self.adam.format, self.adam.moments or self.adam.format, self.state[parameter]
        if "step" not in state:
            state |= {"step": 0, "mean": torch.zeros_like(parameter), "square": torch.zeros_like(parameter)}
        state["step"] += 1
        done = self.adam.step(
            _codes(parameter, fmt),
            _codes(state["mean"], moments),
            _codes(state["square"], moments),
            parameter.grad.numpy(),
            self.words,
            t=state["step"],
        )
        parameter.copy_(_tensor(done.weights, fmt))
        state["mean"].copy_(_tensor(done.mean, moments))
        state["square"].copy_(_tensor(done.square, moments))
        self.words = done.words


def _fields(group: dict[str, Any]) -> dict[str, Any]:
    """Settings of a group as fields of `Adam`."""
    beta1, beta2 = group["betas"]
    return {key: group[key] for key in ("lr", "eps", "weight_decay")} | {"beta1": beta1, "beta2": beta2}


OPTIMIZERS = ("sgd", "adam")


def optimizer_for(
    recipe: Recipe,
    parameters: Parameters,
    *,
    kind: str = "sgd",
    lr: float,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    seed: int = 0,
) -> torch.optim.Optimizer:
    """The optimizer of a recipe: its formats and rounding; for the host's recipes PyTorch's own.

    Saturates where the recipe's errors do; learning rate and the like are of the wide format where the master format is
    narrower.  Adam is Kingma and Ba's, its decay decoupled; in the master format but for its moments, which are FP32: a
    mean square has twice the exponents of a gradient.

    Raises
    ------
    ValueError
        For an unknown kind, numbers out of their ranges and momentum in another format than master weights, as an
        update unit keeps both in one; with the field's name.
    """
    check_choice("optimizer", kind, OPTIMIZERS)
    if recipe.host:
        if kind == "adam":
            return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)
        return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)
    overflow = "saturate" if recipe.error.saturate else "special"
    common: dict[str, Any] = {"rounding": recipe.update, "overflow": overflow, "seed": seed}
    if kind == "adam":
        adam = Adam(format=recipe.master, moments=FP32, **common)
        return RoundedAdam(parameters, adam, lr=lr, weight_decay=weight_decay)
    if recipe.velocity != recipe.master:
        raise ValueError(f"velocity of {recipe.name} must be its master's {recipe.master}, not {recipe.velocity}")
    scalar = recipe.master if recipe.master.bits >= recipe.wide.bits else recipe.wide
    sgd = Sgd(lr=lr, format=recipe.master, scalar=scalar, **common)
    return RoundedSGD(parameters, sgd, lr=lr, momentum=momentum, weight_decay=weight_decay)


def _codes(tensor: Tensor, fmt: Format) -> Any:
    values: Values = tensor.detach().numpy()
    return values.view("uint32") if fmt.bits == 32 else encode(values, fmt)


def _tensor(codes: Any, fmt: Format) -> Tensor:
    return torch.from_numpy(decoded(codes, fmt))
