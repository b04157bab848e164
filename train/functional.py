"""Linear maps, convolutions and products of activations whose three products run on a processor, as autograd has them.

All take and give float32 tensors of the CPU.  Biases, and their gradients, are the vector unit's: float32.
"""

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from quaver.train.processor import Operand, Values
from quaver.train.site import Site
from quaver.train.unfolding import Line, unfold

Pair = tuple[int, int]


def linear(x: Tensor, weight: Tensor, bias: Tensor | None, site: Site) -> Tensor:
    """x @ weight.T + bias of x (..., K) and weight (N, K)."""
    y = _Linear.apply(x, weight, site)
    return y if bias is None else y + bias


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    site: Site,
    *,
    stride: Pair = (1, 1),
    padding: Pair = (0, 0),
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Tensor:
    """The convolution (cross-correlation) of x (N, C, H, W) with weight (O, C / groups, kernel rows, kernel columns).

    Products are added up channel by channel, the taps of a channel row by row, as a weight lies in memory.

    Raises
    ------
    ValueError
        If x has other dimensions, the kernel does not fit, or channels do not divide by groups.
    """
    if x.dim() != 4:
        raise ValueError(f"x must have 4 dimensions, not {x.dim()}")
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ValueError(f"channels of x {tuple(x.shape)} and weight {tuple(weight.shape)} do not fit groups {groups}")
    lines = tuple(
        Line(size=size, kernel=kernel, stride=s, padding=p, dilation=d)
        for size, kernel, s, p, d in zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
    )
    y = _Conv2d.apply(x, weight, site, lines, groups)
    return y if bias is None else y + bias[:, None, None]


def matmul(a: Tensor, b: Tensor, site: Site) -> Tensor:
    """a @ b of activations (..., M, K) and (..., K, N); leading dimensions broadcast."""
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return _MatMul.apply(a.expand(*batch, *a.shape[-2:]), b.expand(*batch, *b.shape[-2:]), site)


def bmm(a: Tensor, b: Tensor, site: Site) -> Tensor:
    """a @ b of activations (B, M, K) and (B, K, N); ValueError for other dimensions."""
    if a.dim() != 3 or b.dim() != 3:
        raise ValueError(f"a and b must have 3 dimensions, not {a.dim()} and {b.dim()}")
    return matmul(a, b, site)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, site: Site) -> Tensor:  # type: ignore[no-untyped-def]
        a, b = site.operand("activation", x), site.operand("weight", weight)
        a = a._replace(codes=a.codes.reshape(-1, x.shape[-1]))
        ctx.site, ctx.a, ctx.b, ctx.shape = site, a, b, x.shape
        y = site.product("forward", a, b.transposed)
        return torch.from_numpy(y).reshape(*x.shape[:-1], weight.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        site: Site = ctx.site
        error = site.operand("error", dy)
        error = error._replace(codes=error.codes.reshape(-1, dy.shape[-1]))
        dx = dw = None
        if ctx.needs_input_grad[1]:
            dw = torch.from_numpy(site.gradient(site.product("weight_gradient", error.transposed, ctx.a)))
        if ctx.needs_input_grad[0]:
            dx = torch.from_numpy(site.product("data_gradient", error, ctx.b)).reshape(ctx.shape)
        return dx, dw, None


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, x: Tensor, weight: Tensor, site: Site, lines: tuple[Line, Line], groups: int
    ) -> Tensor:
        a, b = site.operand("activation", x), site.operand("weight", weight)
        a = a._replace(codes=unfold(a.codes, lines[0].forward, lines[1].forward, groups))
        ctx.site, ctx.a, ctx.b, ctx.lines, ctx.groups = site, a, b, lines, groups
        filters = b._replace(codes=b.codes.reshape(groups, len(weight) // groups, -1))
        y = site.product("forward", a, filters.transposed)
        return _as_images(y, x.shape[0], *(line.positions for line in lines))

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        site: Site = ctx.site
        error = site.operand("error", dy)
        dx = dw = None
        if ctx.needs_input_grad[1]:
            outputs = error.codes.swapaxes(0, 1).reshape(ctx.groups, dy.shape[1] // ctx.groups, -1)
            y = site.product("weight_gradient", error._replace(codes=outputs), ctx.a)
            dw = torch.from_numpy(site.gradient(y.reshape(ctx.b.codes.shape)))
        if ctx.needs_input_grad[0]:
            dx = _input_gradient(site, error, ctx.b, ctx.lines, ctx.groups)
        return dx, dw, None, None, None


def _input_gradient(site: Site, error: Operand, weight: Operand, lines: tuple[Line, Line], groups: int) -> Tensor:
    """The gradient of a convolution's input: products of one stride's phase after the other."""
    images, outputs, channels = len(error.codes), len(weight.codes), weight.codes.shape[1]
    down, across = lines
    dx = np.zeros((images, down.size, across.size, groups * channels), np.float32)
    for rows in down.backward():
        for columns in across.backward():
            taps = weight.codes[:, :, rows.taps, columns.taps]
            filters = taps.reshape(groups, outputs // groups, channels, -1).swapaxes(1, 2)
            a = error._replace(codes=unfold(error.codes, rows.axis, columns.axis, groups))
            b = weight._replace(codes=filters.reshape(groups, channels, -1))
            y = site.product("data_gradient", a, b.transposed)
            part = dx[:, rows.phase :: down.stride, columns.phase :: across.stride]
            part[...] = _by_place(y, images, rows.axis.positions, columns.axis.positions)
    return torch.from_numpy(dx).permute(0, 3, 1, 2)


class _MatMul(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, site: Site) -> Tensor:  # type: ignore[no-untyped-def]
        left, right = site.operand("activation", a), site.operand("other", b)
        ctx.site, ctx.left, ctx.right = site, left, right
        return torch.from_numpy(site.product("forward", left, right))

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[no-untyped-def]
        site: Site = ctx.site
        error = site.operand("error", dy)
        da = db = None
        if ctx.needs_input_grad[0]:
            da = torch.from_numpy(site.product("data_gradient", error, ctx.right.transposed))
        if ctx.needs_input_grad[1]:
            db = torch.from_numpy(site.product("data_gradient", error.transposed, ctx.left)).transpose(-2, -1)
        return da, db, None


def _by_place(y: Values, images: int, height: int, width: int) -> Values:
    """Products (groups, places, channels of a group) as (images, height, width, channels)."""
    groups, _, each = y.shape
    by_image = y.reshape(groups, images, height, width, each).transpose(1, 2, 3, 0, 4)
    return by_image.reshape(images, height, width, groups * each)


def _as_images(y: Values, images: int, height: int, width: int) -> Tensor:
    """The same as a tensor (images, channels, height, width), whose channels lie side by side."""
    return torch.from_numpy(_by_place(y, images, height, width)).permute(0, 3, 1, 2)
