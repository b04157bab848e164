"""Static power: of the cells of a standard-cell library, and of SRAM as CACTI models it at 45 nm.

A library states it per cell and state of its pins, in its own unit, at its own corner; what counts here is the value
for the cell as a whole, the mean of its states.  `--cacti` is the folder of a CACTI 7 that has been built, with its
`tech_params`.  It is asked for a plain single-port memory, 64 bits wide, of the least cycle time, for each kind of
transistor of the ITRS that it knows: high performance (hp), low operating power (lop), low standby power (lstp).
The record was made with the sources of CACTI 7.0 that hwcomponents-cacti 1.0.40 on PyPI contains, `make opt`.
"""

import gzip
import re
import subprocess
import tempfile
from itertools import product
from pathlib import Path

from timing import Record, note, started, tabulate, write
from timing import parser as options

CELLS = ("FAx1", "DFFHQNx1", "NAND2xp5")
"""Beginnings of the names of the cells looked for: those of ASAP7."""
UNITS = {"1pW": 1e-12, "1nW": 1e-9, "1uW": 1e-6, "1mW": 1e-3}
SIZES = (8 << 10, 32 << 10, 1 << 20)
TRANSISTORS = (("hp", "hp"), ("lop", "lop"), ("lstp", "lop"), ("lstp", "lstp"))
"""Of the cells, and of what is around them."""
KELVIN = (300, 350)
SETTINGS = {
    "-size (bytes)": "{size}",
    "-block size (bytes)": "8",
    "-associativity": "1",
    "-UCA bank count": "1",
    "-technology (u)": "0.045",
    "-Data array cell type": '- "itrs-{cells}"',
    "-Data array peripheral type": '- "itrs-{periphery}"',
    "-Tag array cell type": '- "itrs-{cells}"',
    "-Tag array peripheral type": '- "itrs-{periphery}"',
    "-output/input bus width": "64",
    "-operating temperature (K)": "{kelvin}",
    "-cache type": '"ram"',
    "-Core count": "1",
    "-Add ECC": '- "false"',
    "-Print level (DETAILED, CONCISE)": '- "CONCISE"',
}
"""What differs from CACTI's own cache.cfg."""


def library_leakage(path: Path) -> list[Record]:
    """Watts of each of `CELLS` that the library `path`, compressed or not, has."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    unit = UNITS[found(r'leakage_power_unit : "(\w+)"', text)]
    name, volt, celsius = (
        found(pattern, text)
        for pattern in (r"library \((\w+)\)", r"nom_voltage : ([\d.]+)", r"nom_temperature : ([\d.-]+)")
    )
    corner = {"library": name, "volt": float(volt), "celsius": float(celsius)}
    rows: list[Record] = []
    for cell, body in re.findall(r"\n  cell \((\w+)\) \{(.*?)\n  \}", text, re.DOTALL):
        if cell.startswith(tuple(f"{wanted}_" for wanted in CELLS)):
            power = found(r"leakage_power \(\) \{\s*value : ([\d.e+-]+);\s*related_pg_pin : VDD;", body)
            rows.append(corner | {"cell": cell, "watts": float(f"{float(power) * unit:.6g}")})
    return rows


def sram_leakage(folder: Path, size: int, cells: str, periphery: str, kelvin: int) -> Record:
    """What the CACTI in `folder` says of one memory of `size` bytes."""
    default = (folder / "cache.cfg").read_text(encoding="utf-8").splitlines()
    kept = [line for line in default if line.startswith("-") and not line.startswith(tuple(SETTINGS))]
    chosen = {"size": size, "cells": cells, "periphery": periphery, "kelvin": kelvin}
    with tempfile.TemporaryDirectory(prefix="quaver-") as scratch:
        configuration = Path(scratch, "memory.cfg")
        lines = [*(f"{key} {value.format(**chosen)}" for key, value in SETTINGS.items()), *kept]
        configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
        command = [str(folder / "cacti"), "-infile", str(configuration)]
        log = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    subthreshold, gate = (
        float(found(rf"Total {what} power of a bank[^:]*: ([\d.e+-]+)", log)) for what in ("leakage", "gate leakage")
    )
    return chosen | {
        "read_pj": 1e3 * float(found(r"Total dynamic read energy per access \(nJ\): ([\d.e+-]+)", log)),
        "write_pj": 1e3 * float(found(r"Total dynamic write energy per access \(nJ\): ([\d.e+-]+)", log)),
        "subthreshold_mw": subthreshold,
        "gate_mw": gate,
        "watts_per_byte": float(f"{(subthreshold + gate) / 1e3 / size:.4g}"),
    }


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if not match:
        raise SystemExit(f"nothing like {pattern!r} in the library or in what CACTI printed")
    return match[1]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("liberty", nargs="*", type=Path, help="libraries of standard cells, .lib or .lib.gz")
    parser.add_argument("--cacti", type=Path, help="the folder of a CACTI that has been built")
    arguments = parser.parse_args()
    record = started(__file__)
    record["cells"] = [row for path in arguments.liberty for row in library_leakage(path)]
    if arguments.cacti:
        cacti = arguments.cacti.resolve()
        memories = product(SIZES, TRANSISTORS, KELVIN)
        record["sram"] = [sram_leakage(cacti, size, *transistors, kelvin) for size, transistors, kelvin in memories]
    write(record, arguments.output)
    for rows in (record["cells"], record.get("sram")):
        if rows:
            tabulate("leakage", rows)
        else:
            note("not asked for: cells of a library, or SRAM")


if __name__ == "__main__":
    main()
