"""`quaver synth`: the area of a part of a machine."""

from collections.abc import Hashable
from typing import Any

from amaranth.lib import wiring

from quaver.golden import Machine
from quaver.golden.errors import check_choice
from quaver.hw.decoder import Decoder
from quaver.hw.design import Design
from quaver.synth.shell import MacShell
from quaver.synth.yosys import cell_counts

UNITS = ("mac",)
TARGETS = ("ecp5",)


def check_request(*, unit: str, target: str) -> None:
    """Raise ValueError unless there is such a unit and such a target."""
    check_choice("unit", unit, UNITS)
    check_choice("target", target, TARGETS)


def synthesize(machine: Machine, *, unit: str = "mac", target: str = "ecp5") -> dict[str, Any]:
    """Synthesise `unit` of `machine` for `target` without DSP blocks.

    Returns
    -------
    `machine`, `unit`, `target`, the cells `lut4`, `ccu2c` and `ff` of the unit, `lut4_equivalent` (LUT4 + 2 x CCU2C: a
    CCU2C is a pair of LUT4 with a carry chain), and `decoder`, the same counts for one operand decoder, of which the
    array has two per row.

    Raises
    ------
    ValueError
        If there is no such unit or target.
    YosysError
        If the synthesis fails.
    """
    check_request(unit=unit, target=target)
    return {
        "machine": machine.name,
        "unit": unit,
        "target": target,
        **_area(MacShell, machine),
        "decoder": _area(Decoder, machine.a_formats),
    }


def _area(component_class: type[wiring.Component], *args: Hashable) -> dict[str, int]:
    """Cells of one component on ECP5."""
    design = Design()
    top = design.add(component_class, *args)
    cells = cell_counts(design.verilog(), [f"synth_ecp5 -nodsp -top {top}"])
    lut4, ccu2c, ff = (cells.get(cell, 0) for cell in ("LUT4", "CCU2C", "TRELLIS_FF"))
    return {"lut4": lut4, "ccu2c": ccu2c, "ff": ff, "lut4_equivalent": lut4 + 2 * ccu2c}
