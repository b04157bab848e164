"""A training step by step: stopped anywhere it goes on with the same bits, and evaluation leaves no trace in it."""

import math
import re
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from quaver.cosim.trace import Trace
from quaver.golden import PRESETS, Accumulator, Machine, Recipe, engine, gemm, recipe_named, sr
from quaver.golden.loss_scaling import BackOff, ConstantScale, RisingFloor
from quaver.golden.trace import PHASES
from quaver.train.batches import Batches
from quaver.train.checkpoint import load_checkpoint, save_checkpoint
from quaver.train.data_set import Split
from quaver.train.models import MODELS, build_model
from quaver.train.processor import Diverged
from quaver.train.settings import Settings
from quaver.train.trace import TraceWriter
from quaver.train.training import SKIPS_MAX, Training, one_thread
from tests.train.few import TINY, images, little, same_state, tiny

FLOORS = RisingFloor(scale=2.0**8, interval=3, maximum=2.0**20, floors=((0, 2.0**8), (4, 2.0**10), (7, 2.0**13)))
RISING = replace(recipe_named("mellempudi2019"), loss_scaling=FLOORS)
"""Mellempudi et al.'s recipe, whose floors rise after 4 and 7 steps."""
STOCHASTIC = replace(
    PRESETS["tiny"], inner=Accumulator(rounding=sr(8)), outer=Accumulator(rounding=sr(8)), seed=5, rows=8, columns=8
)
CASES: list[tuple[str, Recipe | None, dict[str, Any]]] = [
    *((recipe, None, {}) for recipe in ("hybrid", "wang2018", "fp32", "fp16", "s2fp8")),
    *((recipe, None, {"optimizer": "adam", "lr": 0.003}) for recipe in ("hybrid", "wang2018", "fp32", "fp16")),
    ("mellempudi2019", RISING, {}),
    ("mellempudi2019", RISING, {"optimizer": "adam", "lr": 0.003}),
    ("hybrid", None, {"machine": STOCHASTIC, "warmup": 3, "weight_decay": 0.01}),
]


@pytest.fixture(autouse=True)
def tiny_is_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "tiny", TINY)


def training(recipe: str, variant: Recipe | None = None, **given: Any) -> Training:
    return Training(tiny(recipe, **given), little(), variant)


def finished(one: Training) -> Training:
    while not one.done:
        one.advance()
    return one


@pytest.mark.parametrize(
    ("recipe", "variant", "given"), CASES, ids=[f"{case[0]} {', '.join(case[2])}" for case in CASES]
)
def test_resume(tmp_path: Path, recipe: str, variant: Recipe | None, given: dict[str, Any]) -> None:
    """After the first step, in the middle of an epoch and at its end."""
    whole = training(recipe, variant, **given)
    assert (whole.steps, whole.batches.per_epoch) == (10, 5)
    losses = []
    while not whole.done:
        losses.append(whole.advance())
        save_checkpoint(tmp_path / f"{whole.step}.pt", whole.state())
    for stopped in (1, 3, 5, 8):
        torch.manual_seed(stopped)  # nothing depends on PyTorch's own generator
        resumed = training(recipe, variant, **given)
        resumed.restore(load_checkpoint(tmp_path / f"{stopped}.pt"))
        assert (resumed.step, resumed.to_be_tested, resumed.done) == (stopped, stopped == 5, False)
        assert [resumed.advance() for _ in range(stopped, 10)] == losses[stopped:]
        assert same_state(resumed.state(), whole.state()) >= 16
        assert resumed.mean_loss() == whole.state()["loss"] / 10


def test_what_resuming_has_to_bring_back() -> None:
    """Or `test_resume` would prove little: histories, generators of all kinds, a loss scale that changes."""
    hybrid = finished(training("hybrid", optimizer="adam")).state()
    histories = hybrid["model"]["conv2._extra_state"]
    assert set(histories) == {"activation", "error"}
    assert [len(history["values"]) for history in histories.values()] == [10, 10]
    assert hybrid["optimizer"]["words"] > 0
    assert [state["step"] for state in hybrid["optimizer"]["state"].values()] == [10] * 7
    rising = training("mellempudi2019", RISING)
    scales = []
    while not rising.done:
        rising.advance()
        scales.append(rising.scaling.scale)
    assert scales == [2.0**8] * 2 + [2.0**9] + [2.0**10] * 2 + [2.0**11] + [2.0**13] * 2 + [2.0**14] * 2
    assert rising.state()["model"]["processor._extra_state"]["casts"] > 0
    drawn = finished(training("hybrid", machine=STOCHASTIC)).state()["model"]["processor._extra_state"]
    assert drawn["beats"] > 0
    assert drawn["sums"] > 0
    running = hybrid["model"]["bn.running_mean"]
    assert not torch.equal(running, torch.zeros_like(running))


def test_evaluation_leaves_no_trace() -> None:
    for recipe, variant in (("hybrid", None), ("mellempudi2019", RISING), ("s2fp8", None), ("fp32", None)):
        never, always = training(recipe, variant), training(recipe, variant)
        first = always.evaluate()
        assert always.evaluate() == first
        assert set(first) == {"loss", "accuracy"}
        while not never.done:
            assert always.advance() == never.advance()
            always.evaluate()
        assert same_state(always.state(), never.state()) >= 16
        assert always.evaluate()["loss"] < first["loss"]
    machine = {"machine": STOCHASTIC}
    never, always = training("hybrid", **machine), training("hybrid", **machine)
    always.evaluate()
    assert finished(always).evaluate() == finished(never).evaluate()
    assert same_state(always.state(), never.state()) >= 16


def test_threads_change_no_bit() -> None:
    """Neither the engine's nor PyTorch's, of which a run has one."""
    settings = Settings.usual("mellempudi2019", "lenet5", data="few", batch=16, epochs=1)
    states = []
    for threads in (1, 2):
        with engine.using(threads=threads):
            states.append(finished(Training(settings, images())).state())
    assert same_state(*states) >= 20


def test_one_thread() -> None:
    torch.set_num_threads(2)
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_seeds() -> None:
    one, same, other = (finished(training("hybrid", seed=seed)).state() for seed in (1, 1, 2))
    assert same_state(one, same) >= 16
    with pytest.raises(AssertionError):
        same_state(one["model"], other["model"])


def test_a_step_is_that_of_pytorch() -> None:
    """In float32: the batch's mean loss, the step's learning rate, and a loss scale that is divided out again."""
    variant = replace(recipe_named("fp32"), loss_scaling=ConstantScale(scale=2.0**20))
    given = {"warmup": 2, "momentum": 0.5, "weight_decay": 0.01}
    one, data = training("fp32", variant, **given), little()
    model, batches = build_model("tiny", data, seed=3), Batches(data, 8, seed=3, drop_last=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, momentum=0.5, weight_decay=0.01)
    losses = []
    for step in range(7):
        images, targets = batches.draw()
        loss = torch.nn.functional.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = one.settings.lr_at(step, 10)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert [one.advance() for _ in range(7)] == losses
    assert one.mean_loss() == pytest.approx(sum(losses) / 7, rel=1e-15)
    assert (one.mean_loss(), one.counted) == (0.0, 0)
    for name, value in model.state_dict().items():
        assert same_state(one.model.state_dict()[name], value) == 1


def test_steps_without_finite_gradients_are_skipped() -> None:
    """The loss scale backs off until the gradients fit; meanwhile weights and momentum stay as they are."""
    one = training("fp16", replace(recipe_named("fp16"), loss_scaling=BackOff(scale=2.0**24)))
    before = deepcopy([one.model.state_dict()["fc.weight"], one.optimizer.state_dict()])
    skipped = 0
    while not one.skipped < skipped:
        scale = one.scaling.scale
        one.advance()
        if one.skipped == skipped:
            break
        skipped += 1
        assert one.scaling.scale == scale / 2
        after = [one.model.state_dict()["fc.weight"], one.optimizer.state_dict()]
        before[1]["param_groups"][0]["lr"] = after[1]["param_groups"][0]["lr"]
        assert same_state(after, before) == 1
    assert 3 < one.skipped < 9
    assert one.scaling.scale == 2.0 ** (24 - one.skipped)
    with pytest.raises(AssertionError):
        same_state(one.model.state_dict()["fc.weight"], before[0])
    assert finished(one).skipped == skipped


OVERFLOWING = replace(recipe_named("fp32"), loss_scaling=ConstantScale(scale=1e39))


def test_skips_have_an_end(tmp_path: Path) -> None:
    one = training("fp32", OVERFLOWING, epochs=30)
    for step in range(SKIPS_MAX):
        if step == 60:
            save_checkpoint(tmp_path / "c.pt", one.state())
        one.advance()
    resumed = training("fp32", OVERFLOWING, epochs=30)
    resumed.restore(load_checkpoint(tmp_path / "c.pt"))
    for _ in range(40):
        resumed.advance()
    for each in (one, resumed):
        assert (each.step, each.skipped) == (100, 100)
        with pytest.raises(Diverged) as caught:
            each.advance()
        assert str(caught.value) == "gradients were not finite in 101 steps in a row, until step 100"


@dataclass(frozen=True)
class Bursts:
    """A loss scale that overflows in 100 of 101 steps."""

    step: int = 0

    @property
    def scale(self) -> float:
        return 1.0 if self.step % 101 == 100 else 1e39

    def updated(self, amax: float) -> "Bursts":
        assert math.isfinite(amax) == (self.scale == 1.0)
        return Bursts(self.step + 1)

    def to_dict(self) -> dict[str, object]:
        raise NotImplementedError


def test_a_clean_step_ends_a_row_of_skips() -> None:
    one = finished(training("fp32", replace(recipe_named("fp32"), loss_scaling=Bursts()), epochs=50))
    assert (one.step, one.skipped) == (250, 248)


@pytest.mark.parametrize(
    ("recipe", "given", "line"),
    [
        ("fp32", {"lr": 2.0**60}, r"loss is (nan|inf) in step [12]"),
        ("bf16", {"lr": 2.0**60}, r"loss is (nan|inf) in step [12]"),
        ("wang2018", {"lr": 1e9}, r"loss is (nan|inf) in step [12]"),
        ("s2fp8", {"lr": 2.0**60, "weight_decay": 2.0**60}, r"a tensor to squeeze is not finite: .+"),
    ],
)
def test_divergence(recipe: str, given: dict[str, Any], line: str) -> None:
    one = training(recipe, **given)
    with pytest.raises(Diverged) as caught:
        finished(one)
    assert re.fullmatch(line, str(caught.value))
    assert 1 <= one.step <= 2


def test_a_training_goes_on_as_it_began(tmp_path: Path) -> None:
    """Not with other settings, another variant of its recipe or other data of the same name."""
    one = training("hybrid")
    one.advance()
    save_checkpoint(tmp_path / "c.pt", one.state())
    state = load_checkpoint(tmp_path / "c.pt")
    data = little()
    changed = replace(data, test=Split(data.test.inputs, data.test.targets.roll(1)))
    coarser = replace(recipe_named("hybrid"), chunk=32)
    reworded = replace(recipe_named("hybrid"), source="in other words", choices="")
    for other, line in (
        (training("hybrid", lr=0.06, seed=4), "lr, seed must be what the training began with"),
        (training("hybrid", machine=PRESETS["edge"]), "machine must be what the training began with"),
        (training("hybrid", coarser), "content of recipe must be what the training began with"),
        (Training(tiny("hybrid"), changed), "content of data must be what the training began with"),
    ):
        before = deepcopy(other.state())
        with pytest.raises(ValueError) as caught:
            other.restore(state)
        assert str(caught.value) == line
        assert same_state(other.state(), before) >= 10
    training("hybrid", reworded).restore(state)


@pytest.mark.parametrize("machine", [None, STOCHASTIC])
def test_trace(tmp_path: Path, machine: Machine | None) -> None:
    """Products in their order, those of evaluations left out, with words and codes that give the sums again."""
    plain, traced = training("hybrid", machine=machine), training("hybrid", machine=machine)
    traced.record_with(TraceWriter(tmp_path / "t", traced.trace_head, limit=20))
    for _ in range(3):
        assert traced.advance() == plain.advance()
        traced.evaluate()
    assert same_state(traced.state(), plain.state()) >= 16
    trace = Trace.read(tmp_path / "t")
    assert (trace.head.recipe, trace.head.model, trace.head.machine) == ("hybrid", "tiny", machine)
    assert [entry.step for entry in trace.entries] == [0] * 8 + [1] * 8 + [2] * 4
    forward, weights, data = (PHASES[i] for i in (0, 2, 1))
    assert {(entry.layer, entry.phase) for entry in trace.entries[:8]} == {
        *((layer, phase) for layer in ("conv1", "conv2", "fc") for phase in (forward, weights)),
        *((layer, data) for layer in ("conv2", "fc")),
    }
    for entry in trace.entries:
        a, b, y = trace.codes(entry)
        words = replace(trace.head.law, issued=entry.issued)
        np.testing.assert_array_equal(gemm(a, b, entry.arithmetic(trace.head), words=words), y)


def test_what_cannot_be_traced() -> None:
    with pytest.raises(ValueError) as caught:
        _ = training("fp32").trace_head
    assert str(caught.value) == "trace must be left out with recipe fp32: its products are the host's"


@pytest.mark.parametrize(
    ("recipe", "given", "line"),
    [
        (
            "wang2018",
            {"machine": PRESETS["tiny"]},
            "a_formats of tiny must have bf16 for recipe wang2018, not e4m3, e5m2",
        ),
        (
            "fp32",
            {"machine": PRESETS["tiny"]},
            "recipe fp32 must run without a machine: its products are the host's",
        ),
        ("hybrid", {"batch": 41}, "batch must be an integer in 1..40, not 41"),
        (
            "hybrid",
            {"model": "lenet5"},
            "model lenet5 takes images of 1 x 28 x 28, not those of little images, 1 x 8 x 8",
        ),
        (
            "hybrid",
            {"lr": 1e10},
            "lr must be within 8573157376.0, the largest number of dlfloat16, not 10000000000.0",
        ),
        (
            "hybrid",
            {"model": "ncf"},
            "model for the images of little images must be one of lenet5, resnet8, resnet20, tiny, not 'ncf'",
        ),
    ],
)
def test_what_does_not_fit(recipe: str, given: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError) as caught:
        training(recipe, **given)
    assert str(caught.value) == line
