"""Layers against PyTorch's own: exact on integers, and as close as their operands are otherwise."""

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from quaver.golden import RECIPES, Recipe, engine
from quaver.train import layers
from quaver.train.convert import convert
from quaver.train.optim import optimizer_for
from quaver.train.products import MatMul
from tests.train.draws import CLOSE, INTEGERS, STOCHASTIC, Net, integers, normal, steps


class Wrapped(nn.Module):
    """A model of one layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Tensor, **options: object) -> Tensor | tuple[Tensor, Tensor | None]:
        return self.layer(*inputs, **options)


def pair(layer: nn.Module, recipe: Recipe, *, whole: bool = False) -> tuple[nn.Module, nn.Module]:
    """The layer as it is, in float64 where `whole` numbers make it exact, and converted."""
    if whole:
        rng = np.random.default_rng(1)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(integers(rng, *parameter.shape, most=2))
    theirs = copy.deepcopy(layer)
    return theirs.double() if whole else theirs, convert(Wrapped(layer), recipe)


def run(
    model: nn.Module, inputs: tuple[Tensor, ...], dy: Tensor, dtype: torch.dtype = torch.float32, **options: object
) -> dict[str, Tensor]:
    """Output, and gradients of all inputs and parameters."""
    leaves = [x.detach().clone().to(dtype).requires_grad_() for x in inputs]
    y = model(*leaves, **options)
    y, shown = y if isinstance(y, tuple) else (y, None)
    y.backward(dy.to(dtype))
    found = {"y": y.detach()} | {f"input {i}": leaf.grad for i, leaf in enumerate(leaves)}
    if shown is not None:
        found["shown"] = shown.detach()
    return found | {name.removeprefix("layer."): p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (lambda: nn.Linear(9, 4), [(3, 9)]),
        (lambda: nn.Linear(9, 4, bias=False), [(2, 5, 9)]),
        (lambda: nn.Conv2d(4, 6, (3, 2), stride=(1, 2), padding=(2, 0), dilation=(1, 2), groups=2), [(2, 4, 6, 7)]),
        (lambda: nn.Conv2d(3, 2, 1, bias=False), [(2, 3, 4, 4)]),
        (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4), [(1, 4, 5, 5)]),
        (MatMul, [(2, 3, 4, 5), (3, 5, 6)]),
    ],
)
def test_layers_of_integers_are_exact(layer: Callable[[], nn.Module], shapes: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(2)
    theirs, ours = pair(layer(), INTEGERS, whole=True)
    assert type(ours.layer).__module__ == layers.__name__
    inputs = tuple(integers(rng, *shape) for shape in shapes)
    dy = integers(rng, *theirs(*(x.double() for x in inputs)).shape)
    want, got = run(theirs, inputs, dy, torch.float64), run(ours, inputs, dy)
    assert list(want) == list(got)
    for name, exact in want.items():
        assert torch.equal(got[name].double(), exact), name
        assert exact.any()


# ----------------------------------------------------------------------------------------------------------- attention

BATCH, QUERIES, KEYS, WIDTH, HEADS = 3, 5, 4, 8, 2
DEAD = -torch.inf


def mask_of(kind: str, batched: bool) -> dict[str, Tensor | bool]:
    """Masks as `nn.MultiheadAttention` takes them; no query is left without a key."""
    generator = torch.Generator().manual_seed(3)
    every = (BATCH * HEADS if batched else HEADS, QUERIES, KEYS)
    keys = (BATCH, KEYS) if batched else (KEYS,)

    def boolean(*shape: int) -> Tensor:
        drawn = torch.rand(shape, generator=generator) < 0.4
        drawn[..., 1] = False
        return drawn

    def added(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).masked_fill(boolean(*shape), DEAD)

    causal = torch.triu(torch.full((QUERIES, KEYS), DEAD), 1)
    return {
        "none": {},
        "boolean": {"attn_mask": boolean(QUERIES, KEYS)},
        "added": {"attn_mask": added(QUERIES, KEYS)},
        "boolean of every head": {"attn_mask": boolean(*every)},
        "added of every head": {"attn_mask": added(*every)},
        "padding": {"key_padding_mask": boolean(*keys)},
        "added padding": {"key_padding_mask": added(*keys)},
        "both": {"attn_mask": boolean(QUERIES, KEYS), "key_padding_mask": boolean(*keys)},
        "both of every head": {"attn_mask": added(*every), "key_padding_mask": added(*keys)},
        "causal": {"attn_mask": causal, "is_causal": True},
    }[kind]


def sequences(rng: np.random.Generator, draw: Callable[..., Tensor], first: bool, batched: bool) -> tuple[Tensor, ...]:
    """Queries, keys and values."""
    for_all = [(BATCH, n, WIDTH) if first else (n, BATCH, WIDTH) for n in (QUERIES, KEYS, KEYS)]
    return tuple(draw(rng, *(shape if batched else (n, WIDTH)))
                 for shape, n in zip(for_all, (QUERIES, KEYS, KEYS), strict=True))  # fmt: skip


@pytest.mark.parametrize("batched", [True, False], ids=["batch", "one"])
@pytest.mark.parametrize("first", [True, False], ids=["batch_first", "batch_second"])
@pytest.mark.parametrize(
    "kind",
    [
        *("none", "boolean", "added", "boolean of every head", "added of every head", "padding", "added padding"),
        *("both", "both of every head", "causal"),
    ],
)
def test_attention_is_pytorchs(kind: str, first: bool, batched: bool) -> None:
    """Outputs, weights and gradients."""
    rng = np.random.default_rng(4)
    torch.manual_seed(5)
    theirs, ours = pair(nn.MultiheadAttention(WIDTH, HEADS, batch_first=first), CLOSE)
    with torch.no_grad():
        ours.layer.in_proj_bias.copy_(normal(rng, 3 * WIDTH))
        theirs.in_proj_bias.copy_(ours.layer.in_proj_bias)
    inputs = sequences(rng, normal, first, batched)
    dy = normal(rng, *inputs[0].shape)
    compared = 0
    for options in ({"average_attn_weights": False}, {}, {"need_weights": False}):
        options |= mask_of(kind, batched)
        theirs.zero_grad(), ours.zero_grad()
        want, got = run(theirs, inputs, dy, **options), run(ours, inputs, dy, **options)
        assert list(want) == list(got)
        for name, tensor in want.items():
            torch.testing.assert_close(got[name], tensor, rtol=1e-4, atol=2e-6, msg=lambda text, n=name: f"{n}: {text}")
            compared += tensor.any().item()
    assert compared >= 20  # of 3 * 8 + 2: a query with one key alone has no gradient


@pytest.mark.parametrize("bias", [True, False])
def test_attention_of_integers_is_exact(bias: bool) -> None:
    """Each query sees one key: its softmax is 1, and halves are as exact as integers."""
    rng = np.random.default_rng(6)
    theirs, ours = pair(nn.MultiheadAttention(WIDTH, HEADS, bias=bias, batch_first=True), INTEGERS, whole=True)
    inputs = sequences(rng, integers, True, True)
    mask = torch.full((QUERIES, KEYS), True)
    mask[range(QUERIES), rng.integers(0, KEYS, QUERIES)] = False
    dy = integers(rng, *inputs[0].shape)
    want = run(theirs, inputs, dy, torch.float64, attn_mask=mask)
    got = run(ours, inputs, dy, attn_mask=mask)
    assert list(want) == list(got)
    for name, exact in want.items():
        assert torch.equal(got[name].double(), exact), name
    assert want["y"].any() and want["input 2"].any() and want["in_proj_weight"].any()
    assert torch.equal(want["shown"], (~mask).double().expand(BATCH, QUERIES, KEYS))


def test_attention_in_bf16_is_close() -> None:
    """Eight significant bits of every operand."""
    rng = np.random.default_rng(7)
    torch.manual_seed(8)
    theirs, ours = pair(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), RECIPES["bf16"])
    inputs = sequences(rng, normal, True, True)
    dy = normal(rng, *inputs[0].shape)
    want, got = run(theirs, inputs, dy), run(ours, inputs, dy)
    for name, tensor in want.items():
        scale = tensor.abs().max()
        torch.testing.assert_close(got[name] / scale, tensor / scale, rtol=0, atol=0.02)
    assert not torch.equal(got["y"], want["y"])


def test_dropout_is_pytorchs() -> None:
    """The same random numbers where weights are shown; none in evaluation."""
    rng = np.random.default_rng(9)
    theirs, ours = pair(nn.MultiheadAttention(WIDTH, HEADS, dropout=0.5, batch_first=True), CLOSE)
    inputs = sequences(rng, normal, True, True)
    for training in (True, False):
        seen = []
        for model in (theirs, ours):
            model.train(training)
            torch.manual_seed(10)
            seen.append(model(*inputs, average_attn_weights=False))
        for got, want in zip(seen[1], seen[0], strict=True):
            torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)
        dropped = (seen[1][1] == 0).float().mean().item()
        assert (0.3 < dropped < 0.7) if training else dropped == 0


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True, but self.use_nested_tensor is False")
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("bare", [True, False], ids=["no_grad", "grad"])
def test_pytorchs_transformer_runs_on_converted_layers(norm_first: bool, bare: bool) -> None:
    """In evaluation, too, where PyTorch would take a path of its own past the layers."""
    torch.manual_seed(11)
    model = nn.Transformer(8, 2, 2, 1, 16, dropout=0.0, batch_first=True, norm_first=norm_first).eval()
    assert model.encoder.use_nested_tensor != norm_first
    theirs, rough, ours = copy.deepcopy(model), convert(copy.deepcopy(model), INTEGERS), convert(model, CLOSE)
    theirs.encoder.use_nested_tensor = False  # PyTorch warns of it
    rng = np.random.default_rng(12)
    source, target = normal(rng, 3, 5, 8), normal(rng, 3, 4, 8)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2, [False] * 4 + [True]])
    causal = nn.Transformer.generate_square_subsequent_mask(4)
    options = {"src_key_padding_mask": padding, "memory_key_padding_mask": padding}
    with torch.set_grad_enabled(not bare):
        want = theirs(source, target, tgt_mask=causal.isinf(), **options)
        got, bf16 = (m(source, target, tgt_mask=causal.isinf(), **options) for m in (ours, rough))
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(bf16, want, rtol=0, atol=0.1)
        assert not torch.equal(bf16, want)
        # The encoder alone, with and without padded keys.
        for mask in (None, padding):
            first, second = (m.encoder(source, src_key_padding_mask=mask) for m in (rough, theirs))
            here = torch.ones_like(padding) if mask is None else ~mask
            assert (first != second)[here].float().mean() > 0.9
            torch.testing.assert_close(first[here], second[here], rtol=0, atol=0.1)


# ---------------------------------------------------------------------------------------------------------------- bits


def test_bits_do_not_depend_on_threads() -> None:
    """Losses, weights and words after three steps."""

    def trained(**choice: object) -> tuple[list[float], dict[str, object]]:
        with engine.using(**choice):
            model = convert(Net(), STOCHASTIC, seed=2)
            losses = steps(model, optimizer_for(STOCHASTIC, model.parameters(), lr=0.05, seed=2), 3)
        return losses, model.state_dict()

    losses, state = trained(threads=1)
    more_losses, more_state = trained(threads=2)
    assert losses == more_losses
    assert list(state) == list(more_state)
    for name, value in state.items():
        assert torch.equal(value, more_state[name]) if isinstance(value, Tensor) else value == more_state[name]
    assert state["processor._extra_state"]["sums"] > 0
    plain = convert(Net(), replace(STOCHASTIC, inner=INTEGERS.inner), seed=2)
    assert steps(plain, optimizer_for(STOCHASTIC, plain.parameters(), lr=0.05, seed=2), 3) != losses


def test_large_products_are_the_same_on_two_threads() -> None:
    """Large enough for the engine to share them out."""
    rng = np.random.default_rng(13)
    x, dy = normal(rng, 8, 16, 14, 14), normal(rng, 8, 24, 14, 14)
    results = []
    for threads in (1, 2):
        with engine.using(threads=threads):
            torch.manual_seed(14)
            model = convert(Wrapped(nn.Conv2d(16, 24, 3, padding=1)), STOCHASTIC)
            results.append(run(model, (x,), dy))
    for name, tensor in results[0].items():
        assert torch.equal(tensor, results[1][name])
        assert tensor.any()
