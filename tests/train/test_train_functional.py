"""Products and their gradients: on small integers as exact as PyTorch's float64."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from quaver.train.functional import bmm, conv2d, linear, matmul
from quaver.train.site import Site
from tests.train.draws import (
    CHUNKED,
    INTEGERS,
    STOCHASTIC,
    Convolution,
    Record,
    convolutions,
    integers,
    site,
)


def gradients(function: Callable[..., Tensor], tensors: list[Tensor], dy: Tensor) -> list[Tensor]:
    """The result and the gradients of all tensors."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    y = function(*leaves)
    y.backward(dy.to(y.dtype))
    return [y.detach(), *(leaf.grad for leaf in leaves)]


def assert_exact(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], tensors: list[Tensor], dy: Tensor) -> int:
    """Compare with float64; returns the number of numbers that are not zero."""
    got, want = gradients(ours, tensors, dy), gradients(theirs, [tensor.double() for tensor in tensors], dy)
    for mine, exact in zip(got, want, strict=True):
        assert mine.dtype == torch.float32
        assert exact.abs().max() < 1 << 24
        assert mine.shape == exact.shape
        assert torch.equal(mine.double(), exact)
    return sum(int(exact.count_nonzero()) for exact in want)


def test_convolutions_of_integers_are_exact() -> None:
    rng = np.random.default_rng(1)
    numbers = depthwise = phaseless = 0
    for index, geometry in enumerate(convolutions(seed=6, count=240)):
        tensors = [integers(rng, *geometry.input_shape), integers(rng, *geometry.weight_shape)]
        if index % 2:
            tensors.append(integers(rng, geometry.outputs))

        def theirs(*operands: Tensor, geometry: Convolution = geometry) -> Tensor:
            return F.conv2d(*operands, **geometry.options)

        def ours(x: Tensor, w: Tensor, bias: Tensor | None = None, geometry: Convolution = geometry) -> Tensor:
            return conv2d(x, w, bias, site(INTEGERS), **geometry.options)

        dy = integers(rng, *theirs(*tensors).shape)
        numbers += assert_exact(ours, theirs, tensors, dy)
        depthwise += geometry.channels == geometry.groups > 1
        phaseless += any(s > k for s, k in zip(geometry.stride, geometry.kernel, strict=True))
    assert numbers > 20_000
    assert depthwise > 40
    assert phaseless > 40


def test_linear_maps_of_integers_are_exact() -> None:
    rng = np.random.default_rng(2)
    numbers = 0
    for index in range(60):
        m, k, n = (int(size) for size in rng.integers(1, 40, 3))
        lead = [(), (m,), (2, m), (2, 1, 3)][index % 4]
        tensors = [integers(rng, *lead, k), integers(rng, n, k)] + [integers(rng, n)] * (index % 3 != 0)

        def ours(x: Tensor, w: Tensor, bias: Tensor | None = None) -> Tensor:
            return linear(x, w, bias, site(INTEGERS))

        numbers += assert_exact(ours, F.linear, tensors, integers(rng, *lead, n))
    assert numbers > 10_000


def test_products_of_integers_are_exact() -> None:
    rng = np.random.default_rng(3)
    numbers = broadcast = 0
    batches = [((), ()), ((3,), (3,)), ((3,), ()), ((), (2, 3)), ((2, 1), (3,)), ((2, 1, 2), (1, 3, 1)), ((1,), (4,))]
    for index in range(70):
        left, right = batches[index % len(batches)]
        m, k, n = (int(size) for size in rng.integers(1, 20, 3))
        a, b = integers(rng, *left, m, k), integers(rng, *right, k, n)
        dy = integers(rng, *torch.broadcast_shapes(left, right), m, n)
        numbers += assert_exact(lambda a, b: matmul(a, b, site(INTEGERS)), torch.matmul, [a, b], dy)
        if len(left) == len(right) == 1 and left == right:
            numbers += assert_exact(lambda a, b: bmm(a, b, site(INTEGERS)), torch.bmm, [a, b], dy)
        broadcast += left != right
    assert numbers > 20_000
    assert broadcast == 50


def test_tensors_may_lie_anyhow() -> None:
    """Transposed operands, channels last, and a gradient that is one number for all."""
    rng = np.random.default_rng(4)
    x, w = integers(rng, 2, 5, 4, 6).permute(0, 3, 1, 2), integers(rng, 3, 3, 4, 6).permute(0, 3, 1, 2)
    one = torch.ones(()).expand(F.conv2d(x, w).shape)
    assert_exact(lambda x, w: conv2d(x, w, None, site(INTEGERS)), F.conv2d, [x, w], one)
    a, b = integers(rng, 3, 7, 5).transpose(1, 2), integers(rng, 4, 7).T
    assert_exact(lambda a, b: matmul(a, b, site(INTEGERS)), torch.matmul, [a, b], torch.ones(()).expand(3, 5, 4))
    assert_exact(lambda a, b: linear(a, b.T, None, site(INTEGERS)), torch.matmul, [a, b], torch.ones(3, 5, 4))


def test_what_needs_no_gradient_is_not_multiplied() -> None:
    rng = np.random.default_rng(5)
    x, w, a, b = integers(rng, 2, 3, 4, 4), integers(rng, 2, 3, 2, 2), integers(rng, 4, 4), integers(rng, 4, 4)
    calls: list[tuple[Callable[[Site], Tensor], list[str]]] = []
    for wants, phases in (((True, False), ["data_gradient"]), ((False, True), ["weight_gradient"])):
        left, right = (t.clone().requires_grad_(want) for t, want in zip((x, w), wants, strict=True))
        calls.append((lambda here, x=left, w=right: conv2d(x, w, None, here), phases))
        left, right = (t.clone().requires_grad_(want) for t, want in zip((a, b), wants, strict=True))
        calls.append((lambda here, x=left, w=right: linear(x, w, None, here), phases))
        calls.append((lambda here, x=left, w=right: matmul(x, w, here), ["data_gradient"]))
    for call, phases in calls:
        here, seen = site(INTEGERS), Record()
        here.processor.recorder = seen
        call(here).sum().backward()
        assert [product.phase for product in seen] == ["forward", *phases]


def test_an_empty_batch() -> None:
    for recipe in (INTEGERS, STOCHASTIC):
        x, w = torch.zeros(0, 3, 6, 5, requires_grad=True), torch.ones(4, 3, 2, 2, requires_grad=True)
        y = conv2d(x, w, torch.ones(4), site(recipe), stride=(2, 1))
        assert y.shape == (0, 4, 3, 4)
        y.sum().backward()
        assert x.grad.shape == x.shape and torch.equal(w.grad, torch.zeros_like(w))
        a, b = torch.zeros(0, 3, requires_grad=True), torch.ones(2, 3, requires_grad=True)
        linear(a, b, None, site(recipe)).sum().backward()
        assert a.grad.shape == a.shape and torch.equal(b.grad, torch.zeros_like(b))
        assert matmul(torch.ones(0, 2, 3), torch.ones(3, 2), site(recipe)).shape == (0, 2, 2)


def test_gradients_have_no_gradients() -> None:
    """PyTorch says so, instead of taking them for constants."""
    x, w = torch.ones(1, 1, 3, 3, requires_grad=True), torch.ones(1, 1, 2, 2, requires_grad=True)
    for y in (
        conv2d(x, w, None, site(INTEGERS)),
        linear(x, torch.ones(2, 3), None, site(INTEGERS)),
        matmul(x, x, site(INTEGERS)),
    ):
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            dx.sum().backward()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda here: conv2d(torch.zeros(1, 4, 5, 5), torch.zeros(2, 3, 3, 3), None, here),
            "channels of x (1, 4, 5, 5) and weight (2, 3, 3, 3) do not fit groups 1",
        ),
        (
            lambda here: conv2d(torch.zeros(1, 6, 5, 5), torch.zeros(3, 3, 3, 3), None, here, groups=2),
            "channels of x (1, 6, 5, 5) and weight (3, 3, 3, 3) do not fit groups 2",
        ),
        (
            lambda here: conv2d(torch.zeros(3, 5, 5), torch.zeros(2, 3, 3, 3), None, here),
            "x must have 4 dimensions, not 3",
        ),
        (
            lambda here: conv2d(torch.zeros(1, 3, 2, 5), torch.zeros(2, 3, 3, 3), None, here),
            "kernel must fit into 2 places, padding included",
        ),
        (
            lambda here: bmm(torch.zeros(2, 3), torch.zeros(1, 3, 2), here),
            "a and b must have 3 dimensions, not 2 and 3",
        ),
        (
            lambda here: linear(torch.zeros(2, 4), torch.zeros(2, 3), None, here),
            "a and b must be of shapes (..., M, K) and (..., K, N), not (2, 4) and (3, 2)",
        ),
    ],
)
def test_shapes_that_do_not_fit(call: Callable[[Site], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call(site(CHUNKED))
