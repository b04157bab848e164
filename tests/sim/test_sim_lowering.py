"""Lowering: the products of matrices, in integers, are the layers' outputs and gradients as loops define them."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from quaver.golden import RECIPES
from quaver.golden.catalog import BF16, E4M3, E4M3FNUZ, E5M2, E5M2_WANG, E5M2FNUZ, FP16, FP32, HFP8_143
from quaver.sim.layers import Conv2d, Linear, MatMul, Multiplying
from quaver.sim.lowering import Gemm, Tensors, data_gradient, forward, tensors_of, weight_gradient
from quaver.sim.operands import Operand, Patches, PatchesByTap, Plain
from quaver.sim.workloads import workload_named

DRAWS = settings(max_examples=60, deadline=None, database=None, derandomize=True)
HYBRID = tensors_of(RECIPES["hybrid"], edge=False, wide=True)
Integers = NDArray[np.int64]


def integers(rng: np.random.Generator, *shape: int) -> Integers:
    return rng.integers(-9, 10, shape)


@st.composite
def convolutions(draw: st.DrawFn) -> Conv2d:
    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    groups, kernel, dilation = draw(st.integers(1, 2)), pair(1, 3), pair(1, 2)
    padding, end_padding = pair(0, 2), pair(0, 2)
    ends = zip(kernel, dilation, padding, end_padding, strict=True)
    reach = [(k - 1) * d + 1 - before - after for k, d, before, after in ends]
    return Conv2d(
        name="c",
        in_channels=groups * draw(st.integers(1, 2)),
        out_channels=groups * draw(st.integers(1, 2)),
        size=(max(1, reach[0]) + draw(st.integers(0, 3)), max(1, reach[1]) + draw(st.integers(0, 3))),
        kernel=kernel,
        stride=pair(1, 3),
        padding=padding,
        end_padding=end_padding,
        dilation=dilation,
        groups=groups,
    )


def terms(layer: Conv2d, batch: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """Indices into output, input and filters of each product that is none of padding's: y += x * w."""
    per_in, per_out = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    height, width = layer.output_size
    for image, filter_, channel in product(range(batch), range(layer.out_channels), range(per_in)):
        seen = filter_ // per_out * per_in + channel
        for i, j, down, across in product(range(height), range(width), *map(range, layer.kernel)):
            row = i * layer.stride[0] + down * layer.dilation[0] - layer.padding[0]
            column = j * layer.stride[1] + across * layer.dilation[1] - layer.padding[1]
            if 0 <= row < layer.size[0] and 0 <= column < layer.size[1]:
                yield (image, i, j, filter_), (image, row, column, seen), (filter_, down, across, channel)


def patches(operand: Patches | PatchesByTap, tensor: Integers) -> Integers:
    """One group's positions by rows of taps by columns of taps by channels, as the axes say; zeros for padding."""
    rows, columns = operand.rows, operand.columns
    assert tensor.shape == (operand.images, rows.size, columns.size, operand.channels)
    matrix = np.zeros(
        (operand.images, rows.positions, columns.positions, rows.taps, columns.taps, operand.channels), int
    )
    for i, j, down, across in product(*map(range, matrix.shape[1:5])):
        row, column = i * rows.step + rows.offsets[down], j * columns.step + columns.offsets[across]
        if 0 <= row < rows.size and 0 <= column < columns.size:
            matrix[:, i, j, down, across] = tensor[:, row, column]
    return matrix.reshape(-1, *matrix.shape[3:])


def matrix(operand: Operand, tensor: Integers) -> Integers:
    """Outer indices by products of a tensor that lies in DRAM as it is, its last axis innermost."""
    assert isinstance(operand, Plain)
    shape = (operand.outer, operand.k) if operand.inner == "k" else (operand.k, operand.outer)
    assert tensor.size == operand.outer * operand.k and tensor.shape[-1] == shape[1]
    return tensor.reshape(shape) if operand.inner == "k" else tensor.reshape(shape).T


def part(tensor: Integers, groups: int, group: int, axis: int = -1) -> Integers:
    return np.split(tensor, groups, axis)[group]


def check_shape(gemm: Gemm, left: Integers, right: Integers) -> None:
    """Of the matrices (M, K) and (K, N), and of the product of their transposes."""
    assert (gemm.m, gemm.k) == left.shape == (gemm.a.outer, gemm.a.k)
    assert (gemm.k, gemm.n) == right.shape == (gemm.b.k, gemm.b.outer)
    assert gemm.macs == gemm.groups * left.shape[0] * right.size
    other = gemm.exchanged
    assert ((other.m, other.k), (other.k, other.n)) == (right.T.shape, left.T.shape)
    assert (other.a, other.b, other.a_format, other.b_format) == (gemm.b, gemm.a, gemm.b_format, gemm.a_format)
    assert (other.macs, other.result_bytes, other.groups) == (gemm.macs, gemm.result_bytes, gemm.groups)
    assert other.exchanged == gemm


def check_forward(layer: Conv2d, x: Integers, w: Integers, y: Integers) -> None:
    gemm = forward(layer, len(x), HYBRID)
    assert isinstance(gemm.a, Patches) and gemm.groups == layer.groups and not gemm.serial
    for group in range(layer.groups):
        left = patches(gemm.a, part(x, layer.groups, group)).reshape(gemm.m, -1)
        right = part(w, layer.groups, group, 0).reshape(-1, gemm.k).T
        check_shape(gemm, left, right)
        np.testing.assert_array_equal(left @ right, part(y, layer.groups, group).reshape(gemm.m, gemm.n))
    assert gemm.macs == layer.macs * len(x)


def seen_by(layer: Conv2d, side: int) -> list[tuple[int, list[int]]]:
    """Phases of the strides along an axis, each with the taps that see it; those that none sees are left out."""
    stride, padding, dilation = layer.stride[side], layer.padding[side], layer.dilation[side]
    found = []
    for phase in range(min(stride, layer.size[side])):
        taps = [tap for tap in range(layer.kernel[side]) if (phase - tap * dilation + padding) % stride == 0]
        found.append((phase, taps))
    return [(phase, taps) for phase, taps in found if taps]


def tap_of(layer: Conv2d, side: int, phase: int, offset: int) -> int:
    """The tap that joins place `phase` of the input with position `offset` of the output."""
    tap, apart = divmod(phase + layer.padding[side] - offset * layer.stride[side], layer.dilation[side])
    assert apart == 0
    return tap


def check_data_gradient(layer: Conv2d, w: Integers, dy: Integers, dx: Integers) -> None:
    found, filled = np.zeros_like(dx), np.zeros(layer.size, bool)
    phases, macs = list(product(seen_by(layer, 0), seen_by(layer, 1))), 0
    gemms = list(data_gradient(layer, len(dx), HYBRID))
    for ((top, downs), (first, acrosses)), gemm in zip(phases, gemms, strict=True):
        assert isinstance(gemm.a, Patches) and gemm.groups == layer.groups
        taps = [tap_of(layer, 0, top, offset) for offset in gemm.a.rows.offsets]
        other = [tap_of(layer, 1, first, offset) for offset in gemm.a.columns.offsets]
        assert (sorted(taps), sorted(other)) == (downs, acrosses)
        places = np.s_[top :: layer.stride[0], first :: layer.stride[1]]
        for group in range(layer.groups):
            left = patches(gemm.a, part(dy, layer.groups, group)).reshape(gemm.m, -1)
            filters = part(w, layer.groups, group, 0)[:, taps][:, :, other]  # filters, rows, columns, channels
            right = filters.transpose(1, 2, 0, 3).reshape(gemm.k, -1)
            check_shape(gemm, left, right)
            block = part(found, layer.groups, group)[:, *places]
            block[:] = (left @ right).reshape(block.shape)
        assert not filled[places].any()
        filled[places] = True
        macs += gemm.macs
    np.testing.assert_array_equal(found, dx)
    assert not dx[:, ~filled].any()
    assert macs == len(dx) * gradient_macs(layer)


def gradient_macs(layer: Conv2d) -> int:
    """Pairs of a place of the input and a tap that some position, if only one beyond the output, joins with it."""
    pairs = 0
    for row, column, down, across in product(*map(range, layer.size), *map(range, layer.kernel)):
        i = row + layer.padding[0] - down * layer.dilation[0]
        j = column + layer.padding[1] - across * layer.dilation[1]
        pairs += i % layer.stride[0] == 0 and j % layer.stride[1] == 0
    return pairs * layer.in_channels * layer.out_channels // layer.groups


def check_weight_gradient(layer: Conv2d, x: Integers, dy: Integers, dw: Integers) -> None:
    gemm = weight_gradient(layer, len(x), HYBRID)
    assert isinstance(gemm.b, PatchesByTap) and gemm.groups == layer.groups
    for group in range(layer.groups):
        left = part(dy, layer.groups, group).reshape(gemm.k, -1).T
        positions = patches(gemm.b, part(x, layer.groups, group))
        right = np.moveaxis(positions, -1, 1).reshape(gemm.k, -1)  # columns: channels by taps
        check_shape(gemm, left, right)
        expected = np.moveaxis(part(dw, layer.groups, group, 0), -1, 1).reshape(gemm.m, gemm.n)
        np.testing.assert_array_equal(left @ right, expected)
        np.testing.assert_array_equal(right.T @ left.T, expected.T)
    assert gemm.macs == layer.macs * len(x)


@DRAWS
@given(convolutions(), st.integers(1, 2), st.integers(0, 99))
@example(
    Conv2d(name="c", in_channels=2, out_channels=2, size=(5, 6), kernel=(3, 3), stride=(2, 2), padding=(1, 1)), 2, 0
)
@example(Conv2d(name="c", in_channels=1, out_channels=2, size=(5, 6), kernel=(1, 1), stride=(2, 3)), 1, 0)
def test_convolution(layer: Conv2d, batch: int, seed: int) -> None:
    rng, (height, width) = np.random.default_rng(seed), layer.output_size
    x = integers(rng, batch, *layer.size, layer.in_channels)
    w = integers(rng, layer.out_channels, *layer.kernel, layer.in_channels // layer.groups)
    dy = integers(rng, batch, height, width, layer.out_channels)
    y, dx, dw = np.zeros_like(dy), np.zeros_like(x), np.zeros_like(w)
    read = set()
    for result, input_, weight in terms(layer, batch):
        y[result] += x[input_] * w[weight]
        dx[input_] += dy[result] * w[weight]
        dw[weight] += dy[result] * x[input_]
        read.add(input_)
    check_forward(layer, x, w, y)
    check_data_gradient(layer, w, dy, dx)
    check_weight_gradient(layer, x, dy, dw)
    gemm, gradient = forward(layer, batch, HYBRID), weight_gradient(layer, batch, HYBRID)
    assert gemm.groups * gemm.a.unique == gradient.groups * gradient.b.unique == len(read)
    assert gemm.groups * gemm.b.unique == layer.weights == gradient.groups * gradient.m * gradient.n
    assert gradient.groups * gradient.a.unique == gemm.groups * gemm.m * gemm.n == y.size
    assert gemm.unique_bytes == len(read) + w.size  # E4M3 both
    assert gemm.result_bytes == 2 * y.size and gradient.result_bytes == 2 * dw.size


def test_gradient_of_a_convolution_that_keeps_the_size_has_the_forward_pass_s_macs() -> None:
    compared = 0
    for kernel, stride, groups in product((1, 3, 5), (1, 2, 3), (1, 4)):
        layer = Conv2d(
            name="c",
            in_channels=8,
            out_channels=4,
            size=(6, 12),
            kernel=(kernel, kernel),
            stride=(stride, stride),
            padding=(kernel // 2, kernel // 2),
            groups=groups,
        )
        assert layer.output_size == (6 // stride, 12 // stride)
        assert sum(gemm.macs for gemm in data_gradient(layer, 3, HYBRID)) == 3 * layer.macs
        compared += 1
    assert compared == 18


@DRAWS
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.booleans(), st.integers(1, 3), st.integers(0, 99))
def test_linear(inputs: int, outputs: int, rows: int, serial: bool, batch: int, seed: int) -> None:
    layer = Linear(name="l", in_features=inputs, out_features=outputs, rows=rows, serial=serial)
    rng = np.random.default_rng(seed)
    x, w, dy = (integers(rng, *shape) for shape in ((rows, batch, inputs), (outputs, inputs), (rows, batch, outputs)))
    y, dx, dw = np.zeros_like(dy), np.zeros_like(x), np.zeros_like(w)
    for row, image, i, o in product(range(rows), range(batch), range(inputs), range(outputs)):
        y[row, image, o] += w[o, i] * x[row, image, i]
        dx[row, image, i] += w[o, i] * dy[row, image, o]
        dw[o, i] += dy[row, image, o] * x[row, image, i]
    gemm, (gradient,) = forward(layer, batch, HYBRID), data_gradient(layer, batch, HYBRID)
    for product_, given_, expected in ((gemm, x, y), (gradient, dy, dx)):
        assert product_.serial is serial and product_.groups == (rows if serial else 1)
        for group, into in zip(np.split(given_, product_.groups), np.split(expected, product_.groups), strict=True):
            left, right = matrix(product_.a, group), matrix(product_.b, w).T
            check_shape(product_, left, right)
            np.testing.assert_array_equal(left @ right, into.reshape(product_.m, product_.n))
        assert product_.macs == layer.macs * batch
        assert product_.unique_bytes == given_.size + w.size  # 8 bits both; groups share the weights
    update = weight_gradient(layer, batch, HYBRID)
    assert update.groups == 1 and not update.serial
    left, right = matrix(update.a, dy), matrix(update.b, x).T
    check_shape(update, left, right)
    np.testing.assert_array_equal(left @ right, dw)
    assert update.macs == layer.macs * batch
    assert (gemm.result_bytes, gradient.result_bytes, update.result_bytes) == (2 * y.size, dx.size, 2 * dw.size)


@DRAWS
@given(
    st.integers(1, 5), st.integers(1, 5), st.integers(1, 5), st.integers(1, 2), st.integers(1, 2), st.integers(0, 99)
)
def test_product_of_two_tensors(m: int, k: int, n: int, count: int, batch: int, seed: int) -> None:
    layer = MatMul(name="m", m=m, k=k, n=n, count=count)
    rng = np.random.default_rng(seed)
    a, b, dy = integers(rng, m, k), integers(rng, n, k), integers(rng, m, n)  # both operands lie along the products
    y, da, db = np.zeros_like(dy), np.zeros_like(a), np.zeros_like(b)
    for i, j, p in product(range(m), range(n), range(k)):
        y[i, j] += a[i, p] * b[j, p]
        da[i, p] += dy[i, j] * b[j, p]
        db[j, p] += dy[i, j] * a[i, p]
    gemms = (forward(layer, batch, HYBRID), *data_gradient(layer, batch, HYBRID))
    for gemm, left, right, expected in zip(gemms, (a, dy, dy), (b, b, a), (y, da, db), strict=True):
        check_shape(gemm, matrix(gemm.a, left), matrix(gemm.b, right).T)
        np.testing.assert_array_equal(matrix(gemm.a, left) @ matrix(gemm.b, right).T, expected)
        assert gemm.groups == count * batch and not gemm.serial
        assert gemm.macs == layer.macs * batch
        assert gemm.unique_bytes == count * batch * (left.size + right.size)
        assert gemm.result_bytes == count * batch * expected.size * (2 if gemm is gemms[0] else 1)


LAYERS: tuple[Multiplying, ...] = (
    Conv2d(name="c", in_channels=4, out_channels=4, size=(8, 8), kernel=(3, 3), stride=(2, 2), padding=(1, 1)),
    Linear(name="l", in_features=4, out_features=5),
    MatMul(name="m", m=2, k=3, n=4),
)
# Formats of weights, activations and errors, then at an edge of the network; bits of results, of gradients of
# activations and of gradients of weights, then at an edge.
EXPECTED = {
    "hybrid": ((E4M3, E4M3, E5M2), (E4M3, E4M3, E5M2), (16, 8, 16), (16, 8, 16)),
    "micikevicius2022": ((E4M3, E4M3, E5M2), (E4M3, E4M3, E5M2), (16, 8, 16), (16, 8, 16)),
    "mellempudi2019": ((E5M2, E5M2, E5M2), (BF16, BF16, BF16), (16, 8, 8), (16, 16, 8)),
    "wang2018": ((E5M2_WANG,) * 3, (BF16, BF16, BF16), (16, 8, 8), (16, 16, 8)),
    "hfp8": ((HFP8_143, HFP8_143, E5M2_WANG), (BF16, BF16, BF16), (16, 8, 16), (16, 16, 16)),
    "s2fp8": ((BF16, BF16, BF16), (BF16, BF16, BF16), (32, 8, 8), (32, 8, 8)),  # decoded
    "noune2022": ((E4M3FNUZ, E4M3FNUZ, E5M2FNUZ), (E4M3FNUZ, E4M3FNUZ, E5M2FNUZ), (16, 8, 8), (16, 8, 8)),
    "gallus2018": ((HFP8_143, E4M3, E5M2), (HFP8_143, E4M3, E5M2), (16, 8, 8), (16, 8, 8)),
    "bf16": ((BF16, BF16, BF16), (BF16, BF16, BF16), (16, 16, 16), (16, 16, 16)),
    "fp16": ((FP16, FP16, FP16), (FP16, FP16, FP16), (16, 16, 16), (16, 16, 16)),
} | dict.fromkeys(  # what is done after training is not simulated
    ("fp32", "afp", "micikevicius2022_ptq"), ((FP32, FP32, FP32), (FP32, FP32, FP32), (32, 32, 32), (32, 32, 32))
)


def ports(layer: Multiplying, tensors: Tensors, bits: int | None = None) -> list[tuple]:
    """Formats of both ports and bits of the results, of each pass; operands have the formats' bits, or `bits`."""
    gemms = [forward(layer, 2, tensors), *data_gradient(layer, 2, tensors)]
    if not isinstance(layer, MatMul):
        gemms.append(weight_gradient(layer, 2, tensors))
    for gemm in gemms:
        assert (gemm.a.bits, gemm.b.bits) == (bits or gemm.a_format.bits, bits or gemm.b_format.bits)
        assert gemm.name == layer.name
    return [(gemm.a_format, gemm.b_format, gemm.out_bits) for gemm in gemms]


@pytest.mark.parametrize("edge", [False, True])
@pytest.mark.parametrize("recipe", RECIPES)
def test_formats_of_the_ports(recipe: str, edge: bool) -> None:
    (w, x, dy), (out, error, gradient) = EXPECTED[recipe][edge], EXPECTED[recipe][2 + edge]
    tensors = tensors_of(RECIPES[recipe], edge=edge, wide=True)
    codes = 8 if recipe == "s2fp8" else None
    convolution, linear, products = (ports(layer, tensors, codes) for layer in LAYERS)
    assert convolution == [(x, w, out), *4 * [(dy, w, error)], (dy, x, gradient)]
    assert linear == [(x, w, out), (dy, w, error), (dy, x, gradient)]
    assert products == [(x, x, out), (dy, x, error), (dy, x, error)]
    narrow = tensors_of(RECIPES[recipe], edge=edge, wide=False)
    assert [bits for _, _, bits in ports(LAYERS[1], narrow, codes)] == [codes or x.bits, error, gradient]


def test_an_image_of_its_own() -> None:
    tensors = [tensors_of(RECIPES["noune2022"], edge=True, wide=True, image=image) for image in (False, True)]
    assert [t.activation.format for t in tensors] == [E4M3FNUZ, BF16]
    assert tensors[0].weight == tensors[1].weight


def test_resnet18_shapes() -> None:
    layers = {layer.name: layer for layer in workload_named("resnet18").layers if isinstance(layer, Conv2d | Linear)}

    def shapes(name: str) -> list[tuple[int, int, int]]:
        layer = layers[name]
        gemms = (forward(layer, 1, HYBRID), *data_gradient(layer, 1, HYBRID), weight_gradient(layer, 1, HYBRID))
        return [(gemm.m, gemm.k, gemm.n) for gemm in gemms]

    assert shapes("conv1")[0] == (12544, 147, 64)
    assert shapes("layer1.1.conv2") == [(3136, 576, 64), (3136, 576, 64), (64, 3136, 576)]
    assert shapes("layer4.0.downsample.0") == [(49, 256, 512), (49, 512, 256), (512, 49, 256)]
    assert shapes("layer2.0.conv1") == [
        (784, 576, 128),
        *((784, taps * 128, 64) for taps in (1, 2, 2, 4)),
        (128, 784, 576),
    ]
    assert shapes("fc") == [(1, 512, 1000), (1, 1000, 512), (1000, 1, 512)]


@pytest.mark.parametrize("batch", [0, 65537, True, 1.0])
def test_batch_out_of_range(batch: object) -> None:
    with pytest.raises(ValueError, match=rf"^batch must be an integer in 1\.\.65536, not {batch}$"):
        forward(Linear(name="fc", in_features=1, out_features=1), batch, HYBRID)  # type: ignore[arg-type]
