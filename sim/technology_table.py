"""What a table of energies holds, and what each published figure stands for in a machine."""

from collections.abc import Mapping
from dataclasses import dataclass

from quaver.golden.errors import check_choice, check_range

KIB = 1024


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One published energy."""

    picojoules: float
    """Energy of one operation."""
    bits: int
    """Width of the operation: of the number, or of the memory access."""
    source: str
    """Publication and, after a colon, what it states."""
    note: str
    """What this figure stands for here, and why."""

    @property
    def per_byte(self) -> float:
        """Picojoules of one byte of the access."""
        return self.picojoules * 8 / self.bits


@dataclass(frozen=True, kw_only=True)
class Leakage:
    """Static power, spent whether or not anything is computed."""

    watts: float
    """Power of one `unit`."""
    unit: str
    """What leaks: a `byte` of SRAM, or a `cell` of logic: a full adder, a flip-flop, or as much of anything else."""
    source: str
    """Publication or data and, after a colon, what it states."""
    note: str
    """Temperature, corner and transistors it holds for, as far as known, and how far others are from it."""


@dataclass(frozen=True, kw_only=True)
class EnergyTable:
    """The figures of one technology."""

    operations: Mapping[str, Entry]
    """Arithmetic, by the names of `OPERATIONS`."""
    sram: tuple[tuple[int, Entry], ...]
    """Accesses to memories of (capacity in bytes, energy), the smallest first; reads and writes cost the same."""
    dram: Mapping[str, Entry]
    """Accesses to main memory by its kind: a technology of its own, so that any kind goes with any chip."""
    scratchpad: int = 32 * KIB
    """Capacity in bytes of a bank of the operand scratchpads."""
    leakage_sram: Leakage | None
    """Static power per byte of SRAM; None where no figure is known."""
    leakage_logic: Leakage
    """Static power per cell of logic."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All energies of the chip: of its arithmetic and its memories."""
        return (*self.operations.values(), *(entry for _, entry in self.sram))

    @property
    def multiply(self) -> Entry:
        """Product of two operands of a MAC."""
        return self.operations["int8 multiply"]

    @property
    def add_fixed(self) -> Entry:
        """Addition in fixed point, of whatever width: its energy grows with it."""
        return self.operations["int32 add"]

    def adder(self, bits: int) -> Entry:
        """The addition that stands for one on sums of `bits` bits: the wider one for all above 16.

        Raises
        ------
        ValueError
            If `bits` is below 1.
        """
        check_range("bits", bits, 1, 1 << 16)
        return self.operations["fp16 add" if bits <= 16 else "fp32 add"]

    def vector(self, bits: int) -> Entry:
        """The operation that stands for every one of a vector unit on numbers of `bits` bits.

        Raises
        ------
        ValueError
            If `bits` is not in 1..32.
        """
        check_range("bits", bits, 1, 32)
        return self.operations["fp16 multiply" if bits <= 16 else "fp32 multiply"]

    def sram_access(self, capacity: int) -> Entry:
        """The smallest memory of at least `capacity` bytes, or the largest there is: larger ones are banks of that.

        Raises
        ------
        ValueError
            If `capacity` is below 1.
        """
        check_range("capacity", capacity, 1, 1 << 48)
        fitting = [entry for size, entry in self.sram if size >= capacity]
        return fitting[0] if fitting else self.sram[-1][1]

    def dram_access(self, kind: str) -> Entry:
        """An access to main memory of this kind.

        Raises
        ------
        ValueError
            If there is no figure for it.
        """
        check_choice("dram", kind, self.dram)
        return self.dram[kind]


OPERATIONS: dict[str, tuple[int, str, str]] = {
    "int8 add": (8, "8-bit integer add", "beside the 32-bit one, for its energy per bit; stands for nothing itself"),
    "int32 add": (
        32,
        "32-bit integer add",
        "for exact sums, in proportion to the register's width; the shift that aligns a product to it has no "
        "published figure and is not counted, so this is a lower bound",
    ),
    "fp16 add": (
        16,
        "16-bit floating-point add",
        "assumed for every accumulator of at most 16 bits, whatever its exponent field and rounding",
    ),
    "fp32 add": (32, "32-bit floating-point add", "assumed for every accumulator of more than 16 bits"),
    "int8 multiply": (
        8,
        "8-bit integer multiply",
        "FP8 has no published figure; operands have at most 8 significant bits, so this is an upper bound",
    ),
    "fp16 multiply": (
        16,
        "16-bit floating-point multiply",
        "assumed for every operation of a vector unit on numbers of at most 16 bits: an upper bound for additions and "
        "comparisons; a table that is looked up is assumed to be small",
    ),
    "fp32 multiply": (
        32,
        "32-bit floating-point multiply",
        "assumed for every operation of a vector unit on wider numbers, as on those of 16 bits",
    ),
    "bf16 add": (16, "bfloat16 add", "how much less than the 16-bit one 8 significant bits need; stands for nothing"),
    "bf16 multiply": (16, "bfloat16 multiply", "how much less than the 16-bit one 8 significant bits need, likewise"),
}
"""Width, words and role of the arithmetic that tables have; not every table has all of it."""


def operations(publication: str, picojoules: Mapping[str, float]) -> dict[str, Entry]:
    """Entries of the arithmetic that `publication` states."""
    entries = {}
    for name, energy in picojoules.items():
        bits, words, note = OPERATIONS[name]
        entries[name] = Entry(picojoules=energy, bits=bits, source=f"{publication}: {words}", note=note)
    return entries


def memories(publication: str, picojoules: Mapping[int, float]) -> tuple[tuple[int, Entry], ...]:
    """Entries of the memories that `publication` states, by their KiB: 64 bits per access."""
    notes = [f"a bank of up to {kib} KiB, and 64 bits of a wider one" for kib in picojoules]
    notes[-1] += "; of larger memories only one such bank is active, and the way to it is not counted"
    return tuple(
        (kib * KIB, Entry(picojoules=energy, bits=64, source=f"{publication}: {kib} KB memory, 64 bits", note=note))
        for (kib, energy), note in zip(picojoules.items(), notes, strict=True)
    )


def multiplier_cells(a_bits: int, b_bits: int) -> int:
    """Cells of an array that multiplies significands of these widths: a full adder per pair of bits."""
    return a_bits * b_bits


FLOAT_ADDER_CELLS = 2.148941e-2 / 2.380803e-3
"""Cells per bit of a floating-point adder: its leakage over that of an integer adder of its width.

Aladdin (ISCA 2014; common/power_func.h of its sources), mW at 40 nm and 2 ns per stage: 32-bit floating-point adder of
three stages over 32-bit integer adder.  9.0; the same at 3 ns is 8.5, at 1 ns 23.6.
"""


def adder_cells(bits: int) -> float:
    """Cells of a pipelined floating-point adder of `bits` bits, registers included."""
    return FLOAT_ADDER_CELLS * bits
