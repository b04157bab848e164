"""Random machines and layers for the simulator's tests."""

from hypothesis import strategies as st

from quaver.golden import RECIPES, Machine, Memory
from quaver.sim.layers import Conv2d, Linear, MatMul
from quaver.sim.lowering import Gemm, data_gradient, forward, tensors_of, weight_gradient

RECIPE = RECIPES["hybrid"]


@st.composite
def machines(draw: st.DrawFn, *, kib: tuple[int, ...] = (2, 4, 8, 64)) -> Machine:
    """Small machines of every dataflow, with buffers that hold nearly nothing or everything."""
    rows = draw(st.integers(1, 8))
    dividing = [d for d in range(1, rows + 1) if rows % d == 0]
    return Machine(
        rows=rows,
        columns=draw(st.integers(1, 8)),
        dataflow=draw(st.sampled_from(["ws", "os", "is"])),
        chunk=draw(st.sampled_from([*dividing, 2 * rows, 3 * rows])),
        mac_depth=draw(st.integers(1, 7)),
        accumulator_depth=draw(st.integers(2, 20)),
        scratchpad_depth=draw(st.integers(8, 64)),
        vector_lanes=draw(st.integers(1, 8)),
        update_lanes=draw(st.sampled_from([0, 2])),
        memory=Memory(
            buffer_kib=draw(st.sampled_from(kib)),
            double_buffered=draw(st.booleans()),
            dram_gb_per_s=draw(st.sampled_from([0.05, 0.3, 2.0, 12.8])),
            dram_latency_ns=draw(st.sampled_from([0, 100.0])),
            dram_burst_bytes=draw(st.sampled_from([1, 16, 64])),
        ),
    )


@st.composite
def layers(draw: st.DrawFn) -> Conv2d | Linear | MatMul:
    """Small layers of every kind."""

    def pair(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    kind = draw(st.sampled_from(["conv", "conv", "linear", "matmul"]))
    if kind == "linear":
        return Linear(
            name="l",
            in_features=draw(st.integers(1, 60)),
            out_features=draw(st.integers(1, 60)),
            rows=draw(st.integers(1, 4)),
            serial=draw(st.booleans()),
        )
    if kind == "matmul":
        m, k, n = (draw(st.integers(1, 24)) for _ in range(3))
        return MatMul(name="m", m=m, k=k, n=n, count=draw(st.integers(1, 3)))
    groups = draw(st.integers(1, 3))
    return Conv2d(
        name="c",
        in_channels=groups * draw(st.integers(1, 6)),
        out_channels=groups * draw(st.integers(1, 6)),
        size=pair(5, 12),
        kernel=pair(1, 3),
        stride=pair(1, 3),
        padding=pair(0, 2),
        dilation=pair(1, 2),
        groups=groups,
    )


def products(layer: Conv2d | Linear | MatMul, batch: int) -> list[Gemm]:
    """All products of a training step of one layer."""
    tensors = tensors_of(RECIPE, edge=False, wide=True)
    backward = [] if isinstance(layer, MatMul) else [weight_gradient(layer, batch, tensors)]
    return [forward(layer, batch, tensors), *data_gradient(layer, batch, tensors), *backward]
