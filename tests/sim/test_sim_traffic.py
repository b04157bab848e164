"""Traffic against a walk over the loop nest that moves one code at a time."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import PRESETS, Accumulator, Machine, format_named
from quaver.sim.layers import Linear
from quaver.sim.lowering import Gemm, forward
from quaver.sim.traffic import Traffic, traffic


def walk(machine: Machine, m: int, k: int, n: int) -> Counter[str]:
    """Bits moved by one GEMM: beats are counted one by one, running sums by what a column still has to keep."""
    if machine.dataflow == "os":
        return walk_steps(machine, m, k, n)
    if machine.dataflow == "is":
        bits = walk(machine.exchanged, n, k, m)
        bits["weights"], bits["activations"] = bits["activations"], bits["weights"]
        return bits
    bits: Counter[str] = Counter()
    arithmetic = machine.arithmetic()
    inner_bits, outer_bits = machine.inner.format.bits, machine.outer.format.bits
    for m_start in range(0, m, machine.accumulator_depth):
        block = range(m_start, min(m, m_start + machine.accumulator_depth))
        for _ in range(0, n, machine.columns):
            for k_start in range(0, k, machine.rows):
                bits["weights"] += machine.rows * machine.columns * arithmetic.b.bits
                k_end = k_start + machine.rows
                for _ in block:
                    bits["activations"] += machine.rows * arithmetic.a.bits
                    for _ in range(machine.columns):
                        if k_start % machine.chunk:
                            bits["reads"] += inner_bits
                        finished = k_end >= k
                        if k_end % machine.chunk and not finished:
                            bits["writes"] += inner_bits
                            continue
                        if k_end > max(machine.chunk, machine.rows):
                            first_chunk = (min(k_end, k) - 1) // machine.chunk == 0
                            bits["reads"] += 0 if first_chunk else outer_bits
                        bits["outputs" if finished else "writes"] += outer_bits
    return bits


def walk_steps(machine: Machine, m: int, k: int, n: int) -> Counter[str]:
    """The same of an output-stationary array, product by product."""
    bits: Counter[str] = Counter()
    arithmetic, outer_bits = machine.arithmetic(), machine.outer.format.bits
    height = machine.rows * machine.mac_depth
    for m_start in range(0, m, height):
        for _ in range(0, n, machine.columns):
            for product in range(1, k + 1):
                bits["weights"] += machine.columns * arithmetic.b.bits
                bits["activations"] += height * arithmetic.a.bits
                if product % machine.chunk and product < k:
                    continue
                if product > machine.chunk:
                    bits["reads"] += height * machine.columns * outer_bits
                if product < k:
                    bits["writes"] += height * machine.columns * outer_bits
            bits["outputs"] += min(height, m - m_start) * machine.columns * outer_bits
    return bits


@st.composite
def cases(draw: st.DrawFn) -> tuple[Machine, int, int, int]:
    rows = draw(st.integers(1, 6))
    chunk = draw(st.sampled_from([d for d in range(1, rows + 1) if rows % d == 0] + [2 * rows, 3 * rows]))
    formats = ["e6m5", "fp16", "e8m13", "fp32"]
    dataflow = draw(st.sampled_from(["ws", "os", "is"]))
    machine = Machine(
        rows=rows,
        columns=draw(st.integers(1, 4)),
        dataflow=dataflow,
        chunk=draw(st.integers(1, 9)) if dataflow == "os" else chunk,
        mac_depth=draw(st.integers(1, 7)),
        b_formats=(format_named(draw(st.sampled_from(["e5m2", "bf16"]))),),
        inner=Accumulator(format=format_named(draw(st.sampled_from(formats)))),
        outer=Accumulator(format=format_named(draw(st.sampled_from(formats)))),
        accumulator_depth=draw(st.integers(2, 9)),
    )
    m, k, n = (draw(st.integers(1, high)) for high in (20, 30, 10))
    return machine, m, k, n


def packed(bits: int) -> int:
    return -(-bits // 8)


@settings(max_examples=300, deadline=None)
@given(cases(), st.integers(1, 3))
def test_equals_walk(case: tuple[Machine, int, int, int], groups: int) -> None:
    machine, m, k, n = case
    gemm = Gemm(name="g", m=m, k=k, n=n, groups=groups, input_elements=5, weight_elements=7, output_elements=3)
    bits = walk(machine, m, k, n)
    assert traffic(machine, gemm) == Traffic(
        weights=packed(groups * bits["weights"]),
        activations=packed(groups * bits["activations"]),
        outputs=packed(groups * bits["outputs"]),
        accumulator_reads=packed(groups * bits["reads"]),
        accumulator_writes=packed(groups * bits["writes"]),
        dram_reads=5 + 7 * machine.b_formats[0].bits // 8,
        dram_writes=packed(3 * machine.outer.format.bits),
    )


def test_hand_count() -> None:
    """Linear 8 -> 4 over 3 inputs on 4 x 4, 1-6-9 sums: two tiles, the second adds to the first one's 3 x 4 sums."""
    moved = traffic(PRESETS["tiny"], forward(Linear(name="fc", in_features=8, out_features=4), 3))
    assert moved == Traffic(
        weights=2 * 16,
        activations=2 * 3 * 4,
        outputs=3 * 4 * 2,
        accumulator_reads=3 * 4 * 2,
        accumulator_writes=3 * 4 * 2,
        dram_reads=3 * 8 + 8 * 4,
        dram_writes=3 * 4 * 2,
    )
    assert (moved.streams, moved.accumulators, moved.dram) == (80, 48, 80)


@pytest.mark.parametrize("depth", [16, 32])
def test_weights_come_again_for_every_block(depth: int) -> None:
    machine = replace(PRESETS["tiny"], accumulator_depth=depth)
    gemm = forward(Linear(name="fc", in_features=4, out_features=4), 64)
    assert traffic(machine, gemm).weights == 64 // depth * 16
