"""Lowering against an unrolling that is done on indices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.sim.layers import Conv2d, Linear
from quaver.sim.lowering import forward
from quaver.sim.workloads import workload_named


def unrolled(layer: Conv2d, group: int) -> np.ndarray:
    """Rows: output positions; entries: index of the input element that is multiplied, or -1 in the padding."""
    cin = layer.in_channels // layer.groups
    tensor = np.arange(layer.in_channels * layer.size[0] * layer.size[1]).reshape(layer.in_channels, *layer.size)
    (top, left), part = layer.padding, tensor[group * cin : (group + 1) * cin]
    padded = np.pad(part, ((0, 0), (top, top), (left, left)), constant_values=-1)
    reach = [d * (k - 1) + 1 for d, k in zip(layer.dilation, layer.kernel, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(1, 2))
    windows = windows[:, :: layer.stride[0], :: layer.stride[1], :: layer.dilation[0], :: layer.dilation[1]]
    return windows.transpose(1, 2, 0, 3, 4).reshape(windows.shape[1] * windows.shape[2], -1)


@st.composite
def convolutions(draw: st.DrawFn) -> Conv2d:
    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    groups = draw(st.integers(1, 3))
    return Conv2d(
        name="c",
        in_channels=groups * draw(st.integers(1, 3)),
        out_channels=groups * draw(st.integers(1, 3)),
        size=pair(5, 10),
        kernel=pair(1, 3),
        stride=pair(1, 4),
        padding=pair(0, 2),
        dilation=pair(1, 2),
        groups=groups,
    )


@settings(deadline=None)
@given(convolutions(), st.integers(1, 5))
def test_forward_of_a_convolution(layer: Conv2d, batch: int) -> None:
    gemm = forward(layer, batch)
    matrices = [unrolled(layer, group) for group in range(layer.groups)]
    assert gemm.groups == len(matrices)
    assert {(batch * len(matrix), matrix.shape[1]) for matrix in matrices} == {(gemm.m, gemm.k)}
    assert gemm.n * gemm.groups == layer.out_channels
    assert gemm.input_elements == batch * len(set(np.concatenate(matrices).flat) - {-1})
    assert gemm.weight_elements == gemm.groups * gemm.k * gemm.n == layer.weights
    assert gemm.output_elements == gemm.groups * gemm.m * gemm.n
    assert gemm.macs == batch * layer.macs


def test_forward_of_a_linear_layer() -> None:
    gemm = forward(Linear(name="fc", in_features=512, out_features=1000), 8)
    assert (gemm.m, gemm.k, gemm.n, gemm.groups) == (8, 512, 1000, 1)
    assert (gemm.input_elements, gemm.weight_elements, gemm.output_elements) == (8 * 512, 512_000, 8000)


def test_resnet18_shapes() -> None:
    shapes = {g.name: (g.m, g.k, g.n) for g in (forward(layer, 1) for layer in workload_named("resnet18").layers)}
    assert shapes["conv1"] == (12544, 147, 64)
    assert shapes["layer1.1.conv2"] == (3136, 576, 64)
    assert shapes["layer4.0.downsample.0"] == (49, 256, 512)
    assert shapes["fc"] == (1, 512, 1000)


@pytest.mark.parametrize("batch", [0, 65537, True, 1.0])
def test_batch_out_of_range(batch: object) -> None:
    with pytest.raises(ValueError, match=rf"^batch must be an integer in 1\.\.65536, not {batch}$"):
        forward(Linear(name="fc", in_features=1, out_features=1), batch)  # type: ignore[arg-type]
