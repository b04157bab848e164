"""Optimizers against the golden steps called by hand, and against PyTorch's own where all is FP32."""

import copy
import io
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from quaver.golden import RECIPES, RNE, Adam, Format, LaneWords, Recipe, Sgd, encode, sr, to_float
from quaver.golden.catalog import BF16, DLFLOAT16, FP16, FP32, HFP8_143
from quaver.golden.lfsr import UPDATE_GENERATORS
from quaver.train.optim import RoundedAdam, RoundedSGD, optimizer_for
from tests.train.draws import CHUNKED, normal

SHAPES = [(3, 5), (7,), (2, 3, 2, 2), (1,)]
"""Of the parameters: the first two are one group, the others another."""


def parameters_of(fmt: Format, seed: int = 1) -> list[torch.nn.Parameter]:
    """Parameters of numbers of `fmt`."""
    rng = np.random.default_rng(seed)
    values = (to_float(encode(rng.standard_normal(shape), fmt), fmt) for shape in SHAPES)
    return [torch.nn.Parameter(torch.from_numpy(v.astype(np.float32))) for v in values]


def gradients(count: int) -> Iterator[list[Tensor | None]]:
    """Of `count` steps; the second parameter has none in the second."""
    rng = np.random.default_rng(2)
    for index in range(count):
        drawn: list[Tensor | None] = [normal(rng, *shape) for shape in SHAPES]
        if index == 1:
            drawn[1] = None
        yield drawn


def step(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter], drawn: list[Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, drawn, strict=True):
        parameter.grad = gradient
    optimizer.step()


def assert_codes(tensor: Tensor, codes: NDArray, fmt: Format) -> None:
    np.testing.assert_array_equal(tensor.detach().numpy(), to_float(codes, fmt).astype(np.float32))


# ----------------------------------------------------------------------------------------------------------------- SGD


@pytest.mark.parametrize(
    "sgd",
    [
        Sgd(lr=9.0, momentum=0.3, seed=3),
        Sgd(lr=9.0, format=FP32, rounding=RNE),
        Sgd(lr=9.0, format=HFP8_143, rounding=sr(9), scalar=BF16, lanes=5, overflow="saturate", seed=4),
    ],
    ids=lambda sgd: sgd.format.name,
)
def test_sgd_is_its_golden_steps(sgd: Sgd) -> None:
    """Tensor after tensor, group after group, with a scheduler and a parameter that sits out."""
    fmt, parameters = sgd.format, parameters_of(sgd.format)
    groups = [
        {"params": parameters[:2], "lr": 0.25, "momentum": 0.9},
        {"params": parameters[2:], "weight_decay": 0.125, "nesterov": True},
    ]
    optimizer = RoundedSGD(groups, sgd, lr=0.5, momentum=0.5)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, gamma=0.5)
    settings = [{"lr": 0.25, "momentum": 0.9, "weight_decay": 0.0, "nesterov": False}] * 2
    settings += [{"lr": 0.5, "momentum": 0.5, "weight_decay": 0.125, "nesterov": True}] * 2

    codes = [encode(p.detach().numpy(), fmt) for p in parameters]
    velocity = [np.zeros_like(c) for c in codes]
    words = LaneWords(lanes=sgd.lanes, generators=UPDATE_GENERATORS, seed=sgd.seed)
    for index, drawn in enumerate(gradients(5)):
        step(optimizer, parameters, drawn)
        scheduler.step()
        for i, gradient in enumerate(drawn):
            if gradient is not None:
                by_hand = replace(sgd, **settings[i] | {"lr": settings[i]["lr"] * 0.5 ** (index // 2)})
                codes[i], velocity[i], words = by_hand.step(codes[i], velocity[i], gradient.numpy(), words)
            assert_codes(parameters[i], codes[i], fmt)
            if index:
                assert_codes(optimizer.state[parameters[i]]["velocity"], velocity[i], fmt)
        assert optimizer.words == words
    assert words.issued == 5 * sum(-(-int(np.prod(s)) // sgd.lanes) for s in SHAPES) - -(-7 // sgd.lanes)
    assert all((c != encode(p.detach().numpy(), fmt)).any() for c, p in zip(codes, parameters_of(fmt), strict=True))


@pytest.mark.parametrize("nesterov", [False, True])
def test_fp32_sgd_is_pytorchs_but_for_roundings(nesterov: bool) -> None:
    mine, theirs = parameters_of(FP32), parameters_of(FP32)
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "nesterov": nesterov}
    ours = RoundedSGD(mine, Sgd(lr=1.0, format=FP32, rounding=RNE), **options)
    pytorch = torch.optim.SGD(theirs, **options)
    for drawn in gradients(20):
        step(ours, mine, drawn)
        step(pytorch, theirs, drawn)
    start = parameters_of(FP32)
    for a, b, s in zip(mine, theirs, start, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
        assert (a - s).abs().max() > 0.1


# ---------------------------------------------------------------------------------------------------------------- Adam


@pytest.mark.parametrize(
    "adam",
    [
        Adam(format=DLFLOAT16, moments=FP32, rounding=sr(16), seed=5),
        Adam(format=FP16, rounding=sr(7), decoupled=False, lanes=3),
        Adam(format=FP32),
    ],
    ids=lambda adam: adam.format.name,
)
def test_adam_is_its_golden_steps(adam: Adam) -> None:
    """A parameter that sits out has done one step less."""
    fmt, moments, parameters = adam.format, adam.moments or adam.format, parameters_of(adam.format)
    groups = [
        {"params": parameters[:2], "betas": (0.5, 0.75)},
        {"params": parameters[2:], "lr": 0.125, "eps": 1e-3, "weight_decay": 0.25},
    ]
    optimizer = RoundedAdam(groups, adam, lr=0.25)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda n: 1 / (1 + n), lambda n: 1.0])
    settings = [{"beta1": 0.5, "beta2": 0.75, "eps": 1e-8, "weight_decay": 0.0}] * 2
    settings += [{"beta1": 0.9, "beta2": 0.999, "eps": 1e-3, "weight_decay": 0.25}] * 2

    codes = [encode(p.detach().numpy(), fmt) for p in parameters]
    mean, square = ([np.zeros(c.shape, moments.dtype) for c in codes] for _ in range(2))
    words = LaneWords(lanes=adam.lanes, generators=UPDATE_GENERATORS, seed=adam.seed)
    done = [0] * 4
    for index, drawn in enumerate(gradients(4)):
        step(optimizer, parameters, drawn)
        scheduler.step()
        for i, gradient in enumerate(drawn):
            if gradient is not None:
                done[i] += 1
                by_hand = replace(adam, lr=0.25 / (1 + index) if i < 2 else 0.125, **settings[i])
                codes[i], mean[i], square[i], words = by_hand.step(
                    codes[i], mean[i], square[i], gradient.numpy(), words, t=done[i]
                )
            state = optimizer.state[parameters[i]]
            assert_codes(parameters[i], codes[i], fmt)
            assert_codes(state["mean"], mean[i], moments)
            assert_codes(state["square"], square[i], moments)
            assert state["step"] == done[i]
        assert optimizer.words == words
    assert done == [4, 3, 4, 4]


def test_fp32_adam_is_pytorchs_but_for_roundings() -> None:
    for decoupled, kind in ((True, torch.optim.AdamW), (False, torch.optim.Adam)):
        mine, theirs = parameters_of(FP32), parameters_of(FP32)
        options = {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}
        ours, pytorch = RoundedAdam(mine, Adam(decoupled=decoupled), **options), kind(theirs, **options)
        for drawn in gradients(20):
            step(ours, mine, drawn)
            step(pytorch, theirs, drawn)
        for a, b, s in zip(mine, theirs, parameters_of(FP32), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
            assert (a - s).abs().max() > 0.1


# --------------------------------------------------------------------------------------------------------- both of them


@pytest.mark.parametrize("kind", ["sgd", "adam"])
@pytest.mark.parametrize("name", ["hybrid", "mellempudi2019", "gallus2018", "s2fp8"])
def test_what_is_trained_stays_in_the_master_format(kind: str, name: str) -> None:
    recipe = RECIPES[name]
    fmt, parameters = recipe.master, parameters_of(recipe.master)
    optimizer = optimizer_for(recipe, parameters, kind=kind, lr=0.01, weight_decay=1e-3)
    for drawn in gradients(3):
        step(optimizer, parameters, drawn)
    compared = 0
    for parameter, start in zip(parameters, parameters_of(fmt), strict=True):
        values = parameter.detach().numpy()
        np.testing.assert_array_equal(to_float(encode(values, fmt), fmt), values)
        compared += int((parameter != start).sum())
    assert compared > 20


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_parameters_may_lie_anyhow(kind: str) -> None:
    """A transposed parameter is updated in the order of its places, as its copy is."""
    results = []
    for lie in (lambda t: t, lambda t: t.T.contiguous().T):
        for recipe in (CHUNKED, RECIPES["s2fp8"]):
            rng = np.random.default_rng(3)
            start = torch.from_numpy(rng.integers(-8, 9, (6, 4)).astype(np.float32) / 8)
            parameter = torch.nn.Parameter(lie(start.clone()))
            optimizer = optimizer_for(replace(recipe, update=sr(12)), [parameter], kind=kind, lr=0.01)
            for _ in range(3):
                parameter.grad = lie(normal(rng, 6, 4))
                optimizer.step()
            assert not torch.equal(parameter, start)
            results.append(parameter.detach().clone().contiguous())
    assert torch.equal(results[0], results[2]) and torch.equal(results[1], results[3])


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_states_go_on_with_the_same_words(kind: str) -> None:
    """From a file, before the first step and after the third."""
    recipe, drawn = RECIPES["hybrid"], list(gradients(6))
    whole = parameters_of(recipe.master)
    optimizer = optimizer_for(recipe, whole, kind=kind, lr=0.05, seed=6)
    file = io.BytesIO()
    for index in range(6):
        if index in (0, 3):
            file.seek(0)
            torch.save([optimizer.state_dict(), [p.detach() for p in whole]], file)
            file.seek(0)
            state, values = torch.load(file, weights_only=True)
            assert state["words"] == optimizer.words.issued
            assert (state["words"] > 0) == (index > 0)
            rest = [torch.nn.Parameter(value) for value in values]
            other = optimizer_for(recipe, rest, kind=kind, lr=0.7, seed=6)
            before = copy.deepcopy(state)
            other.load_state_dict(state)
            assert list(state) == list(before)
            assert other.param_groups[0]["lr"] == 0.05
        step(optimizer, whole, drawn[index])
        step(other, rest, drawn[index])
        assert all(torch.equal(a, b) for a, b in zip(whole, rest, strict=True))
        assert other.words == optimizer.words


@pytest.mark.parametrize("recipe", [r for r in RECIPES.values() if not r.host], ids=str)
def test_optimizers_of_recipes(recipe: Recipe) -> None:
    """Weights and velocity in the master format, rounded as the recipe's update is; Adam's moments in FP32."""
    parameters = parameters_of(recipe.master)
    options = {"lr": 0.125, "weight_decay": 0.5, "seed": 9}
    ours = optimizer_for(recipe, parameters, momentum=0.25, **options)
    assert type(ours) is RoundedSGD
    overflow = "saturate" if recipe.error.saturate else "special"
    scalar = recipe.master if recipe.master.bits > 8 else recipe.wide
    assert ours.sgd == Sgd(
        lr=0.125, momentum=0.25, weight_decay=0.5, format=recipe.master, rounding=recipe.update, overflow=overflow,
        scalar=scalar, seed=9,
    )  # fmt: skip
    assert ours.defaults == {"lr": 0.125, "momentum": 0.25, "weight_decay": 0.5, "nesterov": False}
    adam = optimizer_for(recipe, parameters, kind="adam", **options)
    assert type(adam) is RoundedAdam
    assert adam.adam == Adam(
        lr=0.125, weight_decay=0.5, format=recipe.master, moments=FP32, rounding=recipe.update, overflow=overflow,
        seed=9,
    )  # fmt: skip
    assert optimizer_for(recipe, parameters, lr=0.1).defaults["momentum"] == 0.9
    assert recipe.velocity == recipe.master


@pytest.mark.parametrize("recipe", [r for r in RECIPES.values() if r.host], ids=str)
def test_the_hosts_optimizers_are_pytorchs(recipe: Recipe) -> None:
    parameters = parameters_of(FP32)
    sgd = optimizer_for(recipe, parameters, lr=0.1, momentum=0.5, weight_decay=0.25)
    assert type(sgd) is torch.optim.SGD
    assert [sgd.defaults[key] for key in ("lr", "momentum", "weight_decay", "nesterov")] == [0.1, 0.5, 0.25, False]
    adam = optimizer_for(recipe, parameters, kind="adam", lr=0.1, weight_decay=0.25)
    assert type(adam) is torch.optim.AdamW
    assert [adam.defaults[key] for key in ("lr", "weight_decay", "eps")] == [0.1, 0.25, 1e-8]


def test_a_learning_rate_below_an_8_bit_format_is_not_lost() -> None:
    """1/32768 is no number of 1-4-3: it is held as 16 bits hold it."""
    parameter = torch.nn.Parameter(torch.full((4000,), 1.0))
    optimizer = optimizer_for(RECIPES["gallus2018"], [parameter], lr=2.0**-15, momentum=0.0)
    parameter.grad = torch.full((4000,), 16.0)
    optimizer.step()
    moved = (parameter != 1).float().mean().item()  # by an ulp below 1, 1/16, with probability 2^-11 / 2^-4
    assert 0.003 < moved < 0.015


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda p: optimizer_for(CHUNKED, p, kind="lion", lr=0.1),
            "optimizer must be one of sgd, adam, not 'lion'",
        ),
        (lambda p: optimizer_for(CHUNKED, p, lr=-0.1), "lr must be a finite number of at least 0, not -0.1"),
        (lambda p: optimizer_for(CHUNKED, p, lr=0.1, momentum=1.0), "momentum must be at least 0 and below 1, not 1.0"),
        (
            lambda p: optimizer_for(CHUNKED, p, lr=0.1, weight_decay=-1),
            "weight_decay must be a finite number of at least 0, not -1.0",
        ),
        (lambda p: optimizer_for(CHUNKED, p, lr=0.1, seed=-1), "seed must be an integer in 0..4294967295, not -1"),
        (
            lambda p: optimizer_for(CHUNKED, p, kind="adam", lr=-0.1),
            "lr must be a finite number of at least 0, not -0.1",
        ),
        (
            lambda p: optimizer_for(replace(CHUNKED, velocity=FP32), p, lr=0.1),
            "velocity of chunked must be its master's dlfloat16, not fp32",
        ),
        (lambda p: RoundedAdam(p, Adam(), betas=(0.9, 1.0)), "beta2 must be at least 0 and below 1, not 1.0"),
        (lambda p: RoundedAdam(p, Adam(), eps=0.0), "eps must be a finite number above 0, not 0.0"),
        (lambda p: optimizer_for(CHUNKED, p, lr=0.1).step(lambda: 1.0), "closure must be None"),
        (lambda p: optimizer_for(CHUNKED, p, kind="adam", lr=0.1).step(lambda: 1.0), "closure must be None"),
    ],
)
def test_bad_values_are_refused(call: Callable[[list[torch.nn.Parameter]], object], text: str) -> None:
    with pytest.raises(ValueError) as error:
        call(parameters_of(DLFLOAT16))
    assert str(error.value) == text
