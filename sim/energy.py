"""Energy per operation, with the source of every figure, and the energy of a GEMM made of them.

A first account, for comparing machines: arithmetic, on-chip memories and DRAM.  Registers, wires, clock tree, control
and leakage are not in it.
"""

from dataclasses import dataclass

from quaver.golden import Machine
from quaver.golden.machine_checks import Technology
from quaver.sim.lowering import Gemm
from quaver.sim.traffic import Traffic

_HOROWITZ = "Horowitz, ISSCC 2014, 45 nm"
_KIB = 1024


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One published figure."""

    picojoules: float
    """Energy of one operation."""
    bits: int
    """Width of the operation: of the number, or of the memory access."""
    source: str
    """Publication and what it measured."""
    note: str
    """What this figure stands for here, and why."""

    @property
    def per_byte(self) -> float:
        """Energy of one byte of the access."""
        return self.picojoules * 8 / self.bits


@dataclass(frozen=True, kw_only=True)
class EnergyTable:
    """The figures of one technology."""

    multiply: Entry
    """Product of two significands."""
    add_16: Entry
    """Addition of sums of at most 16 bits."""
    add_32: Entry
    """Addition of wider sums."""
    add_fixed: Entry
    """Addition in fixed point, of whatever width: its energy grows with it."""
    sram: tuple[tuple[int, Entry], ...]
    """Accesses to memories of (capacity in bytes, energy), the smallest first."""
    scratchpad: int
    """Capacity in bytes of a bank of the operand scratchpads."""
    dram: Entry
    """Access to DRAM."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All figures of the table."""
        return (self.multiply, self.add_16, self.add_32, self.add_fixed, *(entry for _, entry in self.sram), self.dram)

    def adder(self, bits: int) -> Entry:
        """The addition that stands for one on sums of `bits` bits."""
        return self.add_16 if bits <= self.add_16.bits else self.add_32

    def sram_access(self, capacity: int) -> Entry:
        """The smallest memory of at least `capacity` bytes, or the largest there is."""
        fitting = [entry for size, entry in self.sram if size >= capacity]
        return fitting[0] if fitting else self.sram[-1][1]


TABLES: dict[Technology, EnergyTable] = {
    "45nm": EnergyTable(
        multiply=Entry(
            picojoules=0.2,
            bits=8,
            source=f"{_HOROWITZ}: 8-bit integer multiply",
            note="FP8 has no published figure; operands have at most 8 significant bits, so this is an upper bound",
        ),
        add_16=Entry(
            picojoules=0.4,
            bits=16,
            source=f"{_HOROWITZ}: 16-bit floating-point add",
            note="assumed for every accumulator of at most 16 bits, whatever its exponent field and rounding",
        ),
        add_32=Entry(
            picojoules=0.9,
            bits=32,
            source=f"{_HOROWITZ}: 32-bit floating-point add",
            note="assumed for every accumulator of more than 16 bits",
        ),
        add_fixed=Entry(
            picojoules=0.1,
            bits=32,
            source=f"{_HOROWITZ}: 32-bit integer add",
            note="for exact sums, in proportion to the register's width; the shift that aligns a product to it has no "
            "published figure and is not counted, so this is a lower bound",
        ),
        sram=(
            (8 * _KIB, Entry(picojoules=10, bits=64, source=f"{_HOROWITZ}: 8 KB memory, 64 bits", note="a small bank")),
            (32 * _KIB, Entry(picojoules=20, bits=64, source=f"{_HOROWITZ}: 32 KB memory, 64 bits", note="a bank")),
            (
                1024 * _KIB,
                Entry(
                    picojoules=100,
                    bits=64,
                    source=f"{_HOROWITZ}: 1 MB memory, 64 bits",
                    note="also for larger banks: a lower bound there",
                ),
            ),
        ),
        scratchpad=32 * _KIB,
        dram=Entry(
            picojoules=1300,
            bits=64,
            source=f"{_HOROWITZ}: DRAM, 64 bits, 1300 to 2600 pJ",
            note="the low end",
        ),
    ),
}
"""The tables that there are, one per technology a machine can name."""


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Picojoules by where they are spent."""

    mac: float
    """Multipliers and adders."""
    sram: float
    """Operand scratchpads, output stream and accumulator memories."""
    dram: float
    """Main memory."""

    @property
    def total(self) -> float:
        return self.mac + self.sram + self.dram

    def __add__(self, other: "Energy") -> "Energy":
        return Energy(mac=self.mac + other.mac, sram=self.sram + other.sram, dram=self.dram + other.dram)


def accumulator_bytes(machine: Machine) -> int:
    """Capacity of the memories below one column: the sums of an M block's rows, and the output buffer."""
    outer = machine.outer.format.bits
    inner = machine.inner_code.bits if machine.passes_per_chunk > 1 else 0
    return -(-(machine.block_rows * (outer + inner) + machine.output_depth * outer) // 8)


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


def gemm_energy(machine: Machine, gemm: Gemm, moved: Traffic) -> Energy:
    """Energy of all groups of `gemm` on `machine`, which moves the bytes `moved` for it.

    1. Arithmetic: `mac_energy` per useful multiply-accumulate, and `outer_energy` per chunk sum;
       the products with padding's zeros that fill up a tile cost nothing.
    2. Traffic: the bytes of `quaver.sim.traffic.traffic`, under the assumptions stated there.
    3. What streams into or out of the array is read from or written to scratchpads in banks of
       `EnergyTable.scratchpad` bytes, 64 bits wide, as many side by side as a beat needs.  The description of a
       machine gives no capacity yet; the bank's is the middle one of the published three.
    4. Running sums are in the memories of a column, `accumulator_bytes` in all; the entry is that of the next larger
       published capacity.  A byte of a narrow access costs what one of a 64-bit access does.
    5. DRAM costs its low end per byte, and its traffic passes no further memory.
    """
    table = TABLES[machine.technology]
    chunk_sums = gemm.groups * gemm.m * gemm.n * -(-gemm.k // machine.chunk)
    scratchpad, accumulator = table.sram_access(table.scratchpad), table.sram_access(accumulator_bytes(machine))
    return Energy(
        mac=gemm.macs * mac_energy(machine) + chunk_sums * outer_energy(machine),
        sram=moved.streams * scratchpad.per_byte + moved.accumulators * accumulator.per_byte,
        dram=moved.dram * table.dram.per_byte,
    )
