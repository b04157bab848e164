"""Energy and leakage of two technologies, with the source of every figure.

Both tables are rough.  Those for 45 nm are at 0.9 V and have one or two digits; those for 7 nm are their authors'
estimates, not measurements of a chip.  Neither has FP8, nor a clock tree, registers, wires or control.  Leakage spans
orders of magnitude between temperatures and kinds of transistors: its figures say which machine leaks more, not how
much.
"""

from quaver.golden.machine_checks import Technology
from quaver.sim.technology_table import EnergyTable, Entry, Leakage, memories, operations

__all__ = ["DRAM", "TABLES", "EnergyTable", "Entry", "Leakage"]

_HOROWITZ = "Horowitz, ISSCC 2014, 45 nm"
_JOUPPI = "Jouppi et al., ISCA 2021, table 2, 7 nm"

DRAM: dict[str, Entry] = {
    "ddr": Entry(
        picojoules=1300,
        bits=64,
        source=f"{_HOROWITZ}: DRAM, 64 bits, 1300 to 2600 pJ",
        note="the low end; Jouppi et al. state 1300 pJ for DDR3 and DDR4, too",
    ),
    "hbm2": Entry(
        picojoules=250,
        bits=64,
        source=f"{_JOUPPI}: HBM2, 64 bits, 250 to 450 pJ",
        note="the low end; O'Connor et al., MICRO 2017, state 3.92 pJ per bit, which is 251",
    ),
    "gddr6": Entry(picojoules=350, bits=64, source=f"{_JOUPPI}: GDDR6, 64 bits, 350 to 480 pJ", note="the low end"),
}
"""Main memories.  LPDDR is not among them: no publication was found that states its whole access."""

TABLES: dict[Technology, EnergyTable] = {
    "45nm": EnergyTable(
        operations=operations(
            _HOROWITZ,
            {
                "int8 add": 0.03,
                "int32 add": 0.1,
                "fp16 add": 0.4,
                "fp32 add": 0.9,
                "int8 multiply": 0.2,
                "fp16 multiply": 1.1,
                "fp32 multiply": 3.7,
            },
        ),
        sram=memories(_HOROWITZ, {8: 10, 32: 20, 1024: 100}),
        dram=DRAM,
        leakage_sram=Leakage(
            watts=1.863e-8,
            unit="byte",
            source="CACTI 7, 45 nm: 32 KiB, 64 bits wide, lstp cells and lop periphery, 350 K, by bench/leakage.py",
            note="memory cells of low leakage, as dense memories have, and 77 degrees; 1 MiB in one piece has half of "
            "it per byte, 8 KiB an eighth more; hp transistors throughout leak 55 times as much, lstp a hundredth",
        ),
        leakage_logic=Leakage(
            watts=2.249908e-6 / 32,
            unit="cell",
            source="Aladdin, ISCA 2014, 40 nm: 32-bit integer adder at 1 ns, common/power_func.h of its sources",
            note="normalised by its authors to a commercial 40 nm process, temperature and corner not "
            "stated, not corrected to 45 nm; their flip-flop has 74 nW, their 32-bit multiplier 76 nW per pair of bits",
        ),
    ),
    "7nm": EnergyTable(
        operations=operations(
            _JOUPPI,
            {
                "int8 add": 0.007,
                "int32 add": 0.03,
                "bf16 add": 0.11,
                "fp16 add": 0.16,
                "fp32 add": 0.38,
                "int8 multiply": 0.07,
                "bf16 multiply": 0.21,
                "fp16 multiply": 0.34,
                "fp32 multiply": 1.31,
            },
        ),
        sram=memories(_JOUPPI, {8: 7.5, 32: 8.5, 1024: 14}),
        dram=DRAM,
        leakage_sram=None,
        leakage_logic=Leakage(
            watts=3.03415e-10,
            unit="cell",
            source="ASAP7, RVT, ff, 0.7 V, 25 degrees: full adder FAx1, mean of its states, by bench/leakage.py",
            note="a predictive library, no silicon; cold, and with the regular threshold only: a lower bound for a "
            "chip at work, whose fast paths leak more; a flip-flop has half of it (0.77 V, 0 degrees)",
        ),
    ),
}
"""The tables that there are, one per technology a machine can name."""
