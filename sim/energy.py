"""The energy of a task, made of the figures of a technology: what happens, times what it costs, per component.

What is in it and what is not, assumption by assumption, is in docs/simulator.md.
"""

from dataclasses import dataclass
from functools import lru_cache

from quaver.golden import Machine
from quaver.sim.lowering import Gemm
from quaver.sim.step import UpdateWork
from quaver.sim.tally import Tally
from quaver.sim.technology import TABLES
from quaver.sim.technology_table import adder_cells, multiplier_cells
from quaver.sim.traffic import Traffic
from quaver.sim.vector_work import VectorWork


@dataclass(frozen=True, kw_only=True)
class Energy(Tally):
    """Picojoules by where they are spent."""

    mac: float = 0.0
    """Multipliers and adders of the array."""
    accumulator: float = 0.0
    """Adders of chunk sums and the memories of running sums."""
    scratchpad: float = 0.0
    """Memories of operands beside the array."""
    buffer: float = 0.0
    """The buffer between DRAM and the units."""
    dram: float = 0.0
    """Main memory."""
    vector: float = 0.0
    """Lanes of the vector unit."""
    update: float = 0.0
    """Lanes of the update unit."""
    leakage: float = 0.0
    """Static power of logic and memories, while the task runs."""

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.to_dict().values())


def accumulator_bytes(machine: Machine) -> int:
    """Capacity of the memories below one column: the sums of an M block's rows, and the output buffer."""
    outer = machine.outer.format.bits
    inner = machine.inner_code.bits if machine.passes_per_chunk > 1 else 0
    return -(-(machine.block_rows * (outer + inner) + machine.output_depth * outer) // 8)


def scratchpad_bytes(machine: Machine) -> int:
    """Capacity of the scratchpad of the operand that streams, for the widest of its formats."""
    return -(-machine.scratchpad_depth * machine.rows * max(fmt.bits for fmt in machine.moving_formats) // 8)


def tile_buffer_bytes(machine: Machine) -> int:
    """Capacity of the two banks of the tile buffer, or with `os` of as many beats."""
    width = machine.columns * max(fmt.bits for fmt in machine.stationary_formats)
    return -(-2 * machine.block_products * width // 8)


def on_chip_bytes(machine: Machine) -> int:
    """Capacity of all memories of the machine: the buffer, those of the operands and those below the columns."""
    operands = scratchpad_bytes(machine) + tile_buffer_bytes(machine)
    return (machine.memory.buffer_kib << 10) + operands + machine.columns * accumulator_bytes(machine)


def mac_energy(machine: Machine) -> float:
    """Picojoules of one multiply-accumulate: a product and its addition to the inner sum."""
    table, register = TABLES[machine.technology], machine.exact_register
    if register is not None:
        return table.multiply.picojoules + table.add_fixed.picojoules * register.width / table.add_fixed.bits
    return table.multiply.picojoules + table.adder(machine.inner_code.bits).picojoules


def outer_energy(machine: Machine) -> float:
    """Picojoules of an addition of a chunk's sum: of the outer format, or of the width of an exact chunk's sum."""
    width = 0 if machine.exact_register is None else machine.exact_register.width
    return TABLES[machine.technology].adder(max(machine.outer.format.bits, width)).picojoules


def task_energy(machine: Machine, work: Gemm | VectorWork | UpdateWork, moved: Traffic, unit: str) -> Energy:
    """What a task on `unit` (`array`, `vector` or `update`) costs beside leakage, if it moves the bytes `moved`.

    A byte of a narrow access costs what one of a 64-bit access to the same memory does; products with padding's zeros
    that fill up a tile cost nothing.
    """
    table = TABLES[machine.technology]

    def access(bytes_: int, capacity: int) -> float:
        return bytes_ * table.sram_access(capacity).per_byte

    arithmetic: dict[str, float] = {}
    if isinstance(work, Gemm):
        chunk_sums = work.groups * work.m * work.n * -(-work.k // machine.chunk)
        accumulators = access(moved.accumulators, accumulator_bytes(machine))
        arithmetic["mac"] = work.macs * mac_energy(machine)
        arithmetic["accumulator"] = chunk_sums * outer_energy(machine) + accumulators
    else:
        arithmetic[unit] = work.operations * table.vector(work.bits).picojoules
    pads = access(moved.scratchpad_writes + moved.streamed, scratchpad_bytes(machine))
    return Energy(
        **arithmetic,
        scratchpad=pads + access(2 * moved.held, tile_buffer_bytes(machine)),
        buffer=access(moved.buffer, machine.memory.buffer_kib << 10),
        dram=moved.dram * table.dram_access(machine.memory.dram).per_byte,
    )


@lru_cache(maxsize=256)
def leakage_watts(machine: Machine) -> float:
    """Static power of the machine: its adders, multipliers and memories; those of no known figure count nothing."""
    table = TABLES[machine.technology]
    a, b = (max(fmt.precision for fmt in formats) for formats in (machine.a_formats, machine.b_formats))
    outer, master = machine.outer.format, machine.update.format
    cells = machine.rows * machine.columns * (multiplier_cells(a, b) + adder_cells(machine.inner_code.bits))
    cells += machine.columns * machine.segments * adder_cells(outer.bits)
    lane = multiplier_cells(outer.precision, outer.precision) + adder_cells(outer.bits)
    axpy = multiplier_cells(master.precision, master.precision) + adder_cells(master.bits)
    cells += machine.vector_lanes * lane + 3 * machine.update_lanes * axpy
    sram = 0.0 if table.leakage_sram is None else table.leakage_sram.watts
    return cells * table.leakage_logic.watts + on_chip_bytes(machine) * sram


def leakage_energy(machine: Machine, cycles: int) -> Energy:
    """Static power times the time of `cycles`."""
    return Energy(leakage=leakage_watts(machine) * cycles / (machine.clock_mhz * 1e6) * 1e12)
