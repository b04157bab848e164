"""The energy of a GEMM against sums by hand."""

from dataclasses import replace

import pytest

from quaver.golden import PRESETS, Accumulator, ExactSum, format_named
from quaver.golden.catalog import E4M3
from quaver.sim.energy import Energy, accumulator_bytes, gemm_energy, mac_energy, outer_energy
from quaver.sim.layers import Linear
from quaver.sim.lowering import Gemm, forward
from quaver.sim.traffic import Traffic

TINY = PRESETS["tiny"]
NOTHING = Traffic(
    weights=0, activations=0, outputs=0, accumulator_reads=0, accumulator_writes=0, dram_reads=0, dram_writes=0
)


def with_sums(name: str) -> Accumulator:
    return Accumulator(format=format_named(name))


@pytest.mark.parametrize(
    ("name", "picojoules"), [("e6m5", 0.6), ("dlfloat16", 0.6), ("bf16", 0.6), ("e8m13", 1.1), ("fp32", 1.1)]
)
def test_mac_by_the_width_of_its_sum(name: str, picojoules: float) -> None:
    assert mac_energy(replace(TINY, inner=with_sums(name))) == pytest.approx(picojoules)


def test_exact_sums() -> None:
    """Registers of 39 and 67 bits (chunk 4): 0.1 pJ per 32 bits; the outer adder is as wide as they are."""
    narrow = replace(TINY, inner=ExactSum(), a_formats=(E4M3,), b_formats=(E4M3,))
    wide = replace(TINY, inner=ExactSum())
    assert mac_energy(narrow) == pytest.approx(0.2 + 0.1 * 39 / 32)
    assert mac_energy(wide) == pytest.approx(0.2 + 0.1 * 67 / 32)
    assert [outer_energy(machine) for machine in (TINY, narrow, wide)] == [0.4, 0.9, 0.9]
    assert accumulator_bytes(narrow) == (16 + narrow.output_depth) * 2
    long = replace(narrow, chunk=8)
    assert accumulator_bytes(long) == 16 * (16 + 40 + 3) // 8 + 16 * 2, "a number and three flags"


def test_capacity_of_an_accumulator_memory() -> None:
    """16 rows of 16-bit sums and 16 beats of output; sums of unfinished chunks where a chunk takes several passes."""
    assert TINY.output_depth == 16
    assert accumulator_bytes(TINY) == (16 + 16) * 2
    assert accumulator_bytes(replace(TINY, chunk=8, inner=with_sums("fp32"))) == 16 * (2 + 4) + 16 * 2
    slots = replace(TINY, dataflow="os")
    assert (slots.block_rows, slots.output_depth) == (8, 32)
    assert accumulator_bytes(slots) == (8 + 32) * 2


def test_adders_of_both_levels() -> None:
    """M = 3, K = 10, N = 2 in chunks of 4: 60 MACs, and 3 chunk sums per output."""
    gemm = Gemm(name="g", m=3, k=10, n=2, input_elements=30, weight_elements=20, output_elements=6)
    energy = gemm_energy(replace(TINY, outer=with_sums("fp32")), gemm, NOTHING)
    assert (energy.sram, energy.dram) == (0, 0)
    assert energy.mac == pytest.approx(60 * 0.6 + 18 * 0.9)


def test_memories() -> None:
    gemm = forward(Linear(name="fc", in_features=8, out_features=4), 3)
    streams = replace(NOTHING, weights=8, activations=16, outputs=24)
    assert gemm_energy(TINY, gemm, streams).sram == 6 * 20
    accumulators = replace(NOTHING, accumulator_reads=8, accumulator_writes=16)
    assert gemm_energy(TINY, gemm, accumulators).sram == 3 * 10
    deep = replace(TINY, accumulator_depth=65536)
    assert gemm_energy(deep, gemm, accumulators).sram == 3 * 100
    assert gemm_energy(TINY, gemm, replace(NOTHING, dram_reads=8, dram_writes=16)).dram == 3 * 1300


def test_sum_of_energies() -> None:
    energy = Energy(mac=1, sram=2, dram=3) + Energy(mac=10, sram=20, dram=30)
    assert energy == Energy(mac=11, sram=22, dram=33)
    assert energy.total == 66
