"""A training, step by step: it can be stopped after any of them, and goes on with the same bits."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from quaver.golden import Recipe, recipe_named
from quaver.golden.loss_scaling import LossScaling, loss_scaling
from quaver.golden.trace import TraceHead
from quaver.train.batches import Batches
from quaver.train.convert import convert, processor_of
from quaver.train.data import DataSet
from quaver.train.models import build_model
from quaver.train.optim import optimizer_for
from quaver.train.processor import Diverged
from quaver.train.settings import Settings
from quaver.train.tasks import task_of
from quaver.train.trace import TraceWriter

SKIPS_MAX = 100
"""Steps in a row whose gradients are not finite after which a training counts as diverged."""
EVALUATION_BATCH = 500


class Training:
    """Model, optimizer, data and loss scale of one training.

    Parameters
    ----------
    settings:
        What to do.
    data:
        What `settings.data` names.
    recipe:
        Another recipe than the one that `settings` name: a variant of it.

    Raises
    ------
    ValueError
        If the model does not fit the data, or the machine lacks a format of the recipe.
    """

    def __init__(self, settings: Settings, data: DataSet, recipe: Recipe | None = None) -> None:
        self.settings, self.data = settings, data
        self.recipe = recipe or recipe_named(settings.recipe)
        self.task = task_of(data.kind)
        model = build_model(settings.model, data, seed=settings.seed)
        self.model: nn.Module = convert(model, self.recipe, machine=settings.machine, seed=settings.seed)
        self.processor = processor_of(self.model)
        self.optimizer = optimizer_for(
            self.recipe,
            self.model.parameters(),
            kind=settings.optimizer,
            lr=settings.lr,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
            seed=settings.seed,
        )
        self.scaling: LossScaling = self.recipe.loss_scaling
        self.batches = Batches(data, settings.batch, seed=settings.seed, drop_last=True)
        self.trace: TraceWriter | None = None
        self.step = 0
        """Steps done."""
        self.skipped = 0
        """Those of them whose gradients were not finite: weights stayed."""
        self.counted = 0
        """Steps since `mean_loss` was asked last."""
        self._skips, self._loss = 0, 0.0

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        steps = self.settings.epochs * self.batches.per_epoch
        return steps if self.settings.steps is None else min(steps, self.settings.steps)

    @property
    def done(self) -> bool:
        return self.step >= self.steps

    @property
    def to_be_tested(self) -> bool:
        """Whether an epoch is over, or the training."""
        return self.step > 0 and (self.done or self.step % self.batches.per_epoch == 0)

    def record_with(self, trace: TraceWriter) -> None:
        """Write the products of the steps to come to a trace."""
        self.trace = self.processor.recorder = trace

    @property
    def trace_head(self) -> TraceHead:
        """What a trace says of this training; ValueError for recipes of the host, which compute nothing bit by bit."""
        if self.recipe.host:
            raise ValueError(f"trace must be left out with recipe {self.recipe.name}: its products are the host's")
        computed, operand = self.processor.recipe, self.recipe.weight.operand
        return TraceHead(
            recipe=self.recipe.name,
            model=self.settings.model,
            machine=self.settings.machine,
            arithmetic=computed.arithmetic(operand, operand, self.processor.seed),
        )

    def advance(self) -> float:
        """One step; returns its loss.

        Raises
        ------
        Diverged
            If the loss is not finite, or gradients were not for too long.
        """
        inputs, targets = self.batches.draw()
        self.model.train()
        if self.trace is not None:
            self.trace.step = self.step
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr_at(self.step, self.steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.task.loss(self.model(inputs), targets)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise Diverged(f"loss is {value} in step {self.step}")
        (loss * self.scaling.scale).backward()
        amax = self._unscale()
        if math.isfinite(amax):
            self.optimizer.step()
            self._skips = 0
        else:
            self.skipped += 1
            self._skips += 1
            if self._skips > SKIPS_MAX:
                raise Diverged(f"gradients were not finite in {self._skips} steps in a row, until step {self.step}")
        self.scaling = self.scaling.updated(amax)
        self.step += 1
        self._loss += value
        self.counted += 1
        return value

    def _unscale(self) -> float:
        """Divide the gradients by the loss scale; returns their largest magnitude, NaN where one is none."""
        amax, scale = 0.0, self.scaling.scale
        for parameter in self.model.parameters():
            if parameter.grad is None:
                continue
            if scale != 1:
                parameter.grad /= scale
            low, high = torch.aminmax(parameter.grad)
            if not (math.isfinite(low) and math.isfinite(high)):
                return math.nan if math.isnan(low) else math.inf
            amax = max(amax, -float(low), float(high))
        return amax

    def mean_loss(self) -> float:
        """Mean loss of the steps since this was asked last."""
        mean = self._loss / max(1, self.counted)
        self._loss, self.counted = 0.0, 0
        return mean

    def evaluate(self, model: nn.Module | None = None) -> dict[str, float]:
        """Numbers of the network as it is, or of another one, on the test data; training is not affected."""
        with self.processor.aside():
            return self.task.evaluate(model or self.model, self.data.test, EVALUATION_BATCH)

    @cached_property
    def _content(self) -> dict[str, str]:
        """What the names of a recipe and of data stand for, which may change from version to version."""
        recipe = replace(self.recipe, source="", choices="")
        return {"content of recipe": repr(recipe), "content of data": self.data.digest()}

    def state(self) -> dict[str, Any]:
        """All that the next step depends on: tensors and plain data."""
        return {
            "settings": self.settings.to_dict(),
            "content": self._content,
            "step": self.step,
            "skipped": self.skipped,
            "skips": self._skips,
            "loss": self._loss,
            "counted": self.counted,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaling": self.scaling.to_dict(),
            "batches": self.batches.to_dict(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was called.

        Raises
        ------
        ValueError
            If it is of a training with other settings, another variant of the recipe or other data.
        """
        mine, began = self.settings.to_dict() | self._content, state["settings"] | state["content"]
        other = [key for key in mine if began.get(key) != mine[key]]
        if other:
            raise ValueError(f"{', '.join(other)} must be what the training began with")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaling = loss_scaling(state["scaling"])
        self.batches.restore(state["batches"])
        self.step, self.skipped, self._skips = state["step"], state["skipped"], state["skips"]
        self._loss, self.counted = state["loss"], state["counted"]


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread, so that no sum of its own depends on how many there are; the engine's never does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
