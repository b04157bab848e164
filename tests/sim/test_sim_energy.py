"""The energy of tasks and of idle time against sums by hand."""

from dataclasses import replace
from typing import get_args

import pytest

from quaver.golden import PRESETS, Accumulator, ExactSum, Machine, format_named
from quaver.golden.catalog import E4M3, FP16
from quaver.golden.memory import Dram
from quaver.sim.energy import (
    Energy,
    accumulator_bytes,
    leakage_energy,
    leakage_watts,
    mac_energy,
    outer_energy,
    scratchpad_bytes,
    task_energy,
    tile_buffer_bytes,
)
from quaver.sim.lowering import Gemm
from quaver.sim.operands import Plain
from quaver.sim.step import UpdateWork
from quaver.sim.technology import TABLES
from quaver.sim.technology_table import FLOAT_ADDER_CELLS
from quaver.sim.traffic import Traffic
from quaver.sim.vector_work import VectorWork

TINY = PRESETS["tiny"]
GEMM = Gemm(
    name="g",
    a=Plain(outer=3, k=10, bits=8, inner="k"),
    b=Plain(outer=2, k=10, bits=8, inner="k"),
    a_format=E4M3,
    b_format=E4M3,
    out_bits=16,
)
"""M = 3, K = 10, N = 2: 60 MACs, and in chunks of 4 three chunk sums per result."""


def with_sums(name: str) -> Accumulator:
    return Accumulator(format=format_named(name))


def vector(bits: int) -> VectorWork:
    return VectorWork(operations=100, reads=0, writes=0, bits=bits)


@pytest.mark.parametrize(
    ("name", "picojoules"), [("e6m5", 0.6), ("dlfloat16", 0.6), ("bf16", 0.6), ("e8m13", 1.1), ("fp32", 1.1)]
)
def test_mac_by_the_width_of_its_sum(name: str, picojoules: float) -> None:
    assert mac_energy(replace(TINY, inner=with_sums(name))) == pytest.approx(picojoules)


def test_another_technology() -> None:
    """7 nm: 0.07 + 0.16 pJ for a MAC, 0.34 for an operation of a vector unit on 16 bits."""
    small = replace(TINY, technology="7nm")
    assert (mac_energy(small), outer_energy(small)) == (pytest.approx(0.23), 0.16)
    assert task_energy(small, vector(16), Traffic(), "vector") == Energy(vector=pytest.approx(100 * 0.34))


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
    energy = task_energy(replace(TINY, outer=with_sums("fp32")), GEMM, Traffic(), "array")
    assert energy == Energy(mac=pytest.approx(60 * 0.6), accumulator=pytest.approx(18 * 0.9))
    grouped = task_energy(TINY, replace(GEMM, groups=5), Traffic(), "array")
    assert (grouped.mac, grouped.accumulator) == (pytest.approx(300 * 0.6), pytest.approx(90 * 0.4))


def test_lanes() -> None:
    """45 nm: 1.1 pJ per operation on 16 bits and 3.7 on 32; an update is six operations per parameter."""
    assert task_energy(TINY, vector(16), Traffic(), "vector") == Energy(vector=pytest.approx(110))
    assert task_energy(TINY, vector(32), Traffic(), "vector") == Energy(vector=pytest.approx(370))
    update = UpdateWork(parameters=7, reads=0, writes=0, master=FP16)
    assert task_energy(TINY, update, Traffic(), "update") == Energy(update=pytest.approx(42 * 1.1))


def spent(machine: Machine, **moved: int) -> dict[str, float]:
    """What moving bytes costs, beside arithmetic, by component: those of a task that computes nothing."""
    idle = VectorWork(operations=0, reads=0, writes=0, bits=16)
    return {
        name: energy
        for name, energy in task_energy(machine, idle, Traffic(**moved), "vector").to_dict().items()
        if energy
    }


def test_memories() -> None:
    """tiny, 45 nm: 1.25 pJ a byte of its scratchpads, of 8 KiB at most, and 2.5 of its buffer of 16 KiB; DDR 162.5."""
    assert max(scratchpad_bytes(TINY), tile_buffer_bytes(TINY)) <= 8 << 10
    assert spent(TINY, scratchpad_writes=8, streamed=16) == {"scratchpad": 24 * 1.25, "buffer": 8 * 2.5}
    assert spent(TINY, held=8) == {"scratchpad": 2 * 8 * 1.25, "buffer": 8 * 2.5}, "written and read"
    assert spent(TINY, results=8, vector_reads=16, vector_writes=24) == {"buffer": 48 * 2.5}
    assert spent(TINY, dram_reads=8, dram_writes=16) == {"buffer": 24 * 2.5, "dram": 24 * 162.5}


def test_larger_memories_cost_more() -> None:
    deep = replace(TINY, scratchpad_depth=65536)
    assert scratchpad_bytes(deep) == 65536 * 4 * 8 // 8
    assert spent(deep, streamed=8) == {"scratchpad": 100}
    large = replace(TINY, memory=replace(TINY.memory, buffer_kib=1 << 14))
    assert spent(large, results=8) == {"buffer": 100}, "a bank of 1 MiB"
    sums = Traffic(sum_reads=8, sum_writes=16)
    per_access = [
        (task_energy(machine, GEMM, sums, "array").total - task_energy(machine, GEMM, Traffic(), "array").total) / 3
        for machine in (TINY, replace(TINY, accumulator_depth=65536))
    ]
    assert per_access == [pytest.approx(10), pytest.approx(100)]


@pytest.mark.parametrize("kind", get_args(Dram))
def test_every_kind_of_dram_has_its_energy(kind: Dram) -> None:
    machine = replace(TINY, memory=replace(TINY.memory, dram=kind))
    assert spent(machine, dram_reads=8)["dram"] == {"ddr": 1300, "hbm2": 250, "gddr6": 350}[kind]
    assert set(TABLES["45nm"].dram) == set(get_args(Dram))


def test_capacities_beside_the_array() -> None:
    """A scratchpad of 4 rows of 8-bit codes, and two tiles of 4 x 4 codes; `os`: of 4 codes per product."""
    assert scratchpad_bytes(TINY) == TINY.scratchpad_depth * 4
    assert tile_buffer_bytes(TINY) == 2 * 16
    assert tile_buffer_bytes(replace(TINY, dataflow="os")) == 2 * 4


def test_leakage_of_logic() -> None:
    """Without figures for SRAM: only the cells count, those of a MAC once per row and column."""
    small = replace(TINY, technology="7nm", update_lanes=0)
    cell = TABLES["7nm"].leakage_logic.watts
    precision = max(fmt.precision for fmt in TINY.a_formats)
    mac = precision**2 + FLOAT_ADDER_CELLS * TINY.inner_code.bits
    columns = 4 * (1 * FLOAT_ADDER_CELLS * 16)
    lane = TINY.outer.format.precision**2 + FLOAT_ADDER_CELLS * 16
    assert (TINY.segments, TINY.vector_lanes, TINY.outer.format.bits) == (1, 4, 16)
    assert leakage_watts(small) == pytest.approx(cell * (16 * mac + columns + 4 * lane))
    master = small.update.format
    axpy = master.precision**2 + FLOAT_ADDER_CELLS * master.bits
    updating = leakage_watts(replace(small, update_lanes=5)) - leakage_watts(small)
    assert updating == pytest.approx(cell * 15 * axpy), "three AXPYs per lane"
    assert leakage_watts(replace(small, rows=8)) - leakage_watts(small) == pytest.approx(cell * (16 * mac + columns))


def test_leakage_of_memories_and_its_time() -> None:
    large = replace(TINY, memory=replace(TINY.memory, buffer_kib=TINY.memory.buffer_kib + 1))
    more = leakage_watts(large) - leakage_watts(TINY)
    assert more == pytest.approx(1024 * 1.863e-8)
    assert leakage_energy(TINY, 50) == Energy(leakage=pytest.approx(leakage_watts(TINY) * 1e6)), (
        "a microsecond at 50 MHz"
    )
    assert TINY.clock_mhz == 50


def test_sum_of_energies() -> None:
    energy = Energy(mac=1, accumulator=2, dram=3) + Energy(mac=10, scratchpad=20, dram=30)
    assert energy == Energy(mac=11, accumulator=2, scratchpad=20, dram=33)
    assert energy.total == sum(energy.to_dict().values()) == 66
    assert energy.times(3) == Energy(mac=33, accumulator=6, scratchpad=60, dram=99)
