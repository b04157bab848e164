"""The order in which products are added up, and whose words round their sums and their operands: by the definition."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from quaver.golden import PRESETS, Accumulator, LaneWords, Machine, Recipe, encode, engine, sr, to_float
from quaver.golden.array_words import ArrayWords
from quaver.golden.catalog import BF16, E4M3, E5M2
from quaver.golden.recipe import FP32_SUMS, Cast
from quaver.train.functional import conv2d, linear, matmul
from tests.train.draws import (
    CHUNKED,
    STOCHASTIC,
    Convolution,
    Record,
    codes,
    convolutions,
    normal,
    reference,
    same_bits,
    site,
)

# ------------------------------------------------------------------------------------------- order and rounding of sums


Product = Callable[[NDArray, NDArray, str, str], NDArray[np.float64]]
"""Product of matrices of codes that are cast as the given fields of a recipe say."""


def by_definition(recipe: Recipe) -> Product:
    return lambda a, b, left, right: reference(a, b, recipe, getattr(recipe, left), getattr(recipe, right))


def matrices(geometry: Convolution, x: NDArray, w: NDArray, dy: NDArray) -> tuple[list[NDArray], list[NDArray]]:
    """Operands (groups, M, K) and (groups, K, N) of the forward product and of the weight gradient, by `F.unfold`."""
    groups = geometry.groups
    options = {"dilation": geometry.dilation, "padding": geometry.padding, "stride": geometry.stride}
    columns = F.unfold(torch.from_numpy(x.astype(np.float32)), geometry.kernel, **options).numpy().astype(x.dtype)
    taken = columns.reshape(len(x), groups, -1, columns.shape[-1]).transpose(1, 0, 3, 2)
    taken = taken.reshape(groups, -1, taken.shape[-1])
    filters = w.reshape(groups, geometry.outputs // groups, -1)
    errors = dy.reshape(len(x), groups, geometry.outputs // groups, -1).transpose(1, 2, 0, 3)
    errors = errors.reshape(groups, geometry.outputs // groups, -1)
    return [taken, filters.swapaxes(1, 2)], [errors, taken]


def input_gradient(geometry: Convolution, w: NDArray, dy: NDArray, product: Product) -> NDArray[np.float64]:
    """The gradient of the input, place by place, each a sum over (output channel, tap row, tap column).

    Places that the same taps meet, a stride apart, are rows of one product.
    """
    dx = np.zeros(geometry.input_shape)
    groups, each = geometry.groups, geometry.channels // geometry.groups
    filters, errors = w.reshape(groups, -1, *w.shape[1:]), dy.reshape(len(dy), groups, -1, *dy.shape[2:])
    height, width = dy.shape[2:]

    def met(axis: int, place: int) -> list[tuple[int, int]]:
        """Taps of a place, and the outputs that they lead to, which may be outside."""
        stride, padding, dilation = geometry.stride[axis], geometry.padding[axis], geometry.dilation[axis]
        pairs = [(tap, divmod(place + padding - tap * dilation, stride)) for tap in range(geometry.kernel[axis])]
        return [(tap, output) for tap, (output, rest) in pairs if rest == 0]

    for first in np.ndindex(*geometry.stride):
        places = [
            (n, y, x)
            for n in range(len(dy))
            for y in range(first[0], geometry.size[0], geometry.stride[0])
            for x in range(first[1], geometry.size[1], geometry.stride[1])
        ]
        taps = [(t, u) for t, _ in met(0, first[0]) for u, _ in met(1, first[1])]
        if not places or not taps:
            continue
        a = [
            [
                [
                    channel[i, j] if 0 <= i < height and 0 <= j < width else 0
                    for channel in errors[n, g]
                    for _, i in met(0, y)
                    for _, j in met(1, x)
                ]
                for n, y, x in places
            ]
            for g in range(groups)
        ]
        b = [[channel[:, t, u] for channel in filters[g] for t, u in taps] for g in range(groups)]
        parts = product(np.array(a), np.array(b), "error", "weight")
        for g in range(groups):
            for (n, y, x), part in zip(places, parts[g], strict=True):
                dx[n, g * each : (g + 1) * each, y, x] = part
    return dx


@pytest.mark.parametrize("inner", [Accumulator(), FP32_SUMS], ids=str)
def test_convolutions_add_up_in_the_order_of_memory(inner: Accumulator) -> None:
    """Chunks of 8 products by channel, tap row and tap column; of weights by image, row and column."""
    recipe = replace(CHUNKED, inner=inner)
    rng = np.random.default_rng(7)
    rounded = numbers = 0
    for geometry in convolutions(seed=8, count=24):
        x, w = normal(rng, *geometry.input_shape).requires_grad_(), normal(rng, *geometry.weight_shape).requires_grad_()
        y = conv2d(x, w, None, site(recipe), **geometry.options)
        dy = normal(rng, *y.shape)
        y.backward(dy)
        x_codes, w_codes, dy_codes = codes(x, recipe.activation), codes(w, recipe.weight), codes(dy, recipe.error)
        (a, b), (errors, taken) = matrices(geometry, x_codes, w_codes, dy_codes)

        forward = reference(a, b, recipe, recipe.activation, recipe.weight)
        shape = geometry.groups, len(x), *y.shape[2:], geometry.outputs // geometry.groups
        assert same_bits(y, forward.reshape(shape).transpose(1, 0, 4, 2, 3).reshape(y.shape))
        weight = reference(errors, taken, recipe, recipe.error, recipe.activation)
        assert same_bits(w.grad, weight.reshape(w.shape))
        assert same_bits(x.grad, input_gradient(geometry, w_codes, dy_codes, by_definition(recipe)))

        exact = F.conv2d(
            torch.from_numpy(to_float(x_codes, E4M3)), torch.from_numpy(to_float(w_codes, E4M3)), **geometry.options
        )
        rounded += int((exact != y).sum())
        numbers += y.numel() + w.numel() + x.numel()
    assert numbers > 5000
    assert rounded > 200


def test_linear_maps_add_up_in_order() -> None:
    rng = np.random.default_rng(9)
    x, w = normal(rng, 3, 5, 45).requires_grad_(), normal(rng, 6, 45).requires_grad_()
    bias = normal(rng, 6).requires_grad_()
    y = linear(x, w, bias, site(CHUNKED))
    dy = normal(rng, *y.shape)
    y.backward(dy)
    a, b, e = (codes(t, c) for t, c in ((x, CHUNKED.activation), (w, CHUNKED.weight), (dy, CHUNKED.error)))
    a, e = a.reshape(-1, 45), e.reshape(-1, 6)
    forward = reference(a, b.T, CHUNKED, CHUNKED.activation, CHUNKED.weight).reshape(3, 5, 6)
    assert same_bits(y, forward.astype(np.float32) + bias.detach().numpy())
    assert same_bits(w.grad, reference(e.T, a, CHUNKED, CHUNKED.error, CHUNKED.activation))
    assert same_bits(x.grad, reference(e, b, CHUNKED, CHUNKED.error, CHUNKED.weight).reshape(3, 5, 45))
    torch.testing.assert_close(bias.grad, dy.sum((0, 1)))  # of the error as it came, not as it was cast


def test_products_of_activations_add_up_in_order() -> None:
    recipe = replace(CHUNKED, weight=Cast(format=BF16))
    rng = np.random.default_rng(10)
    a, b = normal(rng, 2, 1, 9, 21).requires_grad_(), normal(rng, 3, 21, 4).requires_grad_()
    y = matmul(a, b, site(recipe))
    dy = normal(rng, *y.shape)
    y.backward(dy)
    left, right, e = (codes(t, c) for t, c in ((a, recipe.activation), (b, recipe.activation), (dy, recipe.error)))
    assert same_bits(y, reference(left, right, recipe, recipe.activation, recipe.activation))
    da = reference(e, right.swapaxes(-2, -1), recipe, recipe.error, recipe.activation)
    db = reference(e.swapaxes(-2, -1), left, recipe, recipe.error, recipe.activation).swapaxes(-2, -1)
    # What was broadcast is summed by the vector unit, as autograd does it.
    assert same_bits(a.grad, torch.from_numpy(da.astype(np.float32)).sum(1, keepdim=True))
    assert same_bits(b.grad, torch.from_numpy(db.astype(np.float32)).sum(0))


# ------------------------------------------------------------------------------------------------------ words of sums


SMALL = Machine(
    rows=8,
    columns=4,
    chunk=4,
    accumulator_depth=16,
    inner=Accumulator(rounding=sr(8)),
    outer=Accumulator(format=BF16, rounding=sr(9)),
    seed=77,
)


@pytest.mark.parametrize(
    "machine",
    [None, SMALL, replace(SMALL, dataflow="os", mac_depth=2), replace(SMALL, dataflow="is")],
    ids=["reference", "ws", "os", "is"],
)
def test_words_are_dealt_in_order_of_execution(machine: Machine | None) -> None:
    """Layer 1, layer 2; then backwards, of each layer the gradient of its weights first: two steps of a network."""
    recipe = replace(CHUNKED, inner=Accumulator(rounding=sr(5)), outer=Accumulator(rounding=sr(6)))
    geometry = Convolution(2, 4, 4, 2, (5, 6), (3, 2), (2, 3), (1, 0), (1, 1))
    rng = np.random.default_rng(11)
    w1, w2 = normal(rng, *geometry.weight_shape).requires_grad_(), normal(rng, 3, 24).requires_grad_()
    here = site(recipe, machine=machine, seed=4)
    if machine is None:
        law, like = ArrayWords.reference(recipe.arithmetic(E4M3, E4M3, seed=4)), recipe
    else:
        law, like = ArrayWords.of(machine), replace(recipe, inner=machine.inner, outer=machine.outer, chunk=4)

    def product(a: NDArray, b: NDArray, left: str, right: str) -> NDArray[np.float64]:
        """The next one."""
        nonlocal law
        y = reference(a, b, like, getattr(recipe, left), getattr(recipe, right), law)
        law = law.after(*a.shape[-2:], b.shape[-1], times=len(y) if y.ndim == 3 else 1)
        return y

    def wide(values: NDArray) -> NDArray[np.float32]:
        return to_float(encode(values, recipe.wide, saturate=True), recipe.wide).astype(np.float32)

    changed = 0
    for _ in range(2):
        x, dy = normal(rng, *geometry.input_shape).requires_grad_(), normal(rng, 2, 3)
        hidden = conv2d(x, w1, None, here, **geometry.options)
        hidden.retain_grad()
        y = linear(hidden.flatten(1), w2, None, here)
        w1.grad = w2.grad = None
        y.backward(dy)

        a1, b1 = codes(x, recipe.activation), codes(w1, recipe.weight)
        a2, b2, e2 = codes(hidden.flatten(1), recipe.activation), codes(w2, recipe.weight), codes(dy, recipe.error)
        e1 = codes(hidden.grad, recipe.error)
        (a, b), (errors, taken) = matrices(geometry, a1, b1, e1)
        want = wide(product(a, b, "activation", "weight"))
        want = want.reshape(2, 2, *hidden.shape[2:], 2).transpose(1, 0, 4, 2, 3).reshape(hidden.shape)
        assert same_bits(hidden, want)
        assert same_bits(y, wide(product(a2, b2.T, "activation", "weight")))
        assert same_bits(w2.grad, wide(product(e2.T, a2, "error", "activation")))
        assert same_bits(hidden.grad.flatten(1), wide(product(e2, b2, "error", "weight")))
        assert same_bits(w1.grad, wide(product(errors, taken, "error", "activation")).reshape(w1.shape))
        assert same_bits(x.grad, wide(input_gradient(geometry, b1, e1, product)))
        assert here.processor.issued == law.issued

        nearest = replace(recipe, inner=Accumulator(), outer=Accumulator())
        changed += int((conv2d(x, w1, None, site(nearest), **geometry.options) != hidden).sum())
    assert changed > 20


def test_a_recorder_is_told_what_was_issued_before() -> None:
    """Of every product: operands, sums, and where the generators of the array stood."""
    recipe = replace(CHUNKED, outer=Accumulator(rounding=sr(6)))
    here, seen = site(recipe, machine=PRESETS["edge"]), Record()
    here.processor.recorder = seen
    rng = np.random.default_rng(12)
    x, w = normal(rng, 2, 3, 4, 5).requires_grad_(), normal(rng, 4, 3, 2, 3).requires_grad_()
    conv2d(x, w, None, here, stride=(2, 1)).square().sum().backward()
    assert [product.phase for product in seen] == ["forward", "weight_gradient", "data_gradient", "data_gradient"]
    law = ArrayWords.of(PRESETS["edge"])
    like = replace(recipe, inner=PRESETS["edge"].inner, outer=PRESETS["edge"].outer, chunk=PRESETS["edge"].chunk)
    for place, _, a, b, y, issued in seen:
        assert place == "here"
        assert issued == law.issued
        left, right = Cast(format=a.format), Cast(format=b.format)
        assert same_bits(to_float(y, like.outer.format), reference(a.codes, b.codes, like, left, right, law))
        law = law.after(*a.codes.shape[-2:], b.codes.shape[-1], times=len(y))
    assert here.processor.issued == law.issued
    assert law.issued.beats > 0


def test_casts_draw_words_in_order() -> None:
    """Activations and weights of layer 1, of layer 2; the error and the gradient of layer 2, then of layer 1."""
    recipe = replace(STOCHASTIC, inner=Accumulator(), outer=Accumulator())
    rng = np.random.default_rng(13)
    w1, w2 = normal(rng, 7, 9).requires_grad_(), normal(rng, 3, 7).requires_grad_()
    here = site(recipe, seed=6)
    law = LaneWords(lanes=16, seed=6)
    moved = 0

    def cast(tensor: Tensor, how: Cast) -> NDArray:
        """The next one."""
        nonlocal law, moved
        values = tensor.detach().numpy()
        with engine.using("numpy"):
            result = encode(values, how.format, how.rounding, words=law, saturate=True)
        law = law.after(values.size)
        moved += int((result != codes(tensor, how)).sum())
        return result

    product = by_definition(recipe)
    for _ in range(2):
        x, dy = normal(rng, 5, 9).requires_grad_(), normal(rng, 5, 3)
        hidden = linear(x, w1, None, here)
        hidden.retain_grad()
        y = linear(hidden, w2, None, here)
        w1.grad = w2.grad = None
        y.backward(dy)

        a1, b1 = cast(x, recipe.activation), cast(w1, recipe.weight)
        assert same_bits(hidden, product(a1, b1.T, "activation", "weight"))
        a2, b2 = cast(hidden, recipe.activation), cast(w2, recipe.weight)
        assert same_bits(y, product(a2, b2.T, "activation", "weight"))
        e2 = cast(dy, recipe.error)
        g2 = cast(torch.from_numpy(product(e2.T, a2, "error", "activation")), recipe.gradient)
        assert same_bits(w2.grad, to_float(g2, E5M2))
        assert same_bits(hidden.grad, product(e2, b2, "error", "weight"))
        e1 = cast(hidden.grad, recipe.error)
        g1 = cast(torch.from_numpy(product(e1.T, a1, "error", "activation")), recipe.gradient)
        assert same_bits(w1.grad, to_float(g1, E5M2))
        assert same_bits(x.grad, product(e1, b1, "error", "weight"))
    assert here.processor.cast_words == law
    assert moved > 50


@pytest.mark.parametrize("kind", ["convolution", "product"])
def test_operands_are_cast_from_left_to_right(kind: str) -> None:
    """Input before weights, the left one of two activations before the right one; then the error."""
    recipe = replace(STOCHASTIC, inner=Accumulator(), outer=Accumulator(), activation=STOCHASTIC.weight)
    here, seen, rng = site(recipe, seed=8), Record(), np.random.default_rng(14)
    here.processor.recorder = seen
    if kind == "product":
        left, right = normal(rng, 2, 3, 9).requires_grad_(), normal(rng, 2, 9, 5).requires_grad_()
        y = matmul(left, right, here)
    else:
        left, right = normal(rng, 2, 3, 4, 4).requires_grad_(), normal(rng, 5, 3, 1, 1).requires_grad_()
        y = conv2d(left, right, None, here)
    dy = normal(rng, *y.shape)
    y.backward(dy)
    law, want, moved = LaneWords(lanes=16, seed=8), [], 0
    for tensor, how in ((left, recipe.activation), (right, recipe.weight), (dy, recipe.error)):
        want.append(encode(tensor.detach().numpy(), how.format, how.rounding, words=law, saturate=True))
        law = law.after(tensor.numel())
        moved += int((want[-1] != codes(tensor, how)).sum())
    a, b, error = seen[0].a.codes, seen[0].b.codes, seen[-1].a.codes
    assert seen[-1].phase == "data_gradient"
    if kind == "product":
        want[2] = want[2].swapaxes(-2, -1)  # the right one's gradient is the last product
    else:  # of one tap, so that places lie as they are
        want = [w.transpose(0, 2, 3, 1).reshape(1, -1, w.shape[1]) for w in want]
        want[1] = want[1].swapaxes(-2, -1)
    for got, codes_wanted in zip((a, b, error), want, strict=True):
        np.testing.assert_array_equal(got, codes_wanted)
    assert moved > 20
