"""The tables that commands print."""

from collections.abc import Iterable, Mapping
from math import frexp
from typing import Any

from rich.table import Table

from quaver.cli.console import plain_table
from quaver.golden import Format


def format_dict(fmt: Format) -> dict[str, object]:
    """A format as JSON has it; a code that the format lacks is null, Inf and -0 are given by their codes too."""
    return {
        "name": fmt.name,
        "exponent_bits": fmt.exponent_bits,
        "mantissa_bits": fmt.mantissa_bits,
        "bias": fmt.bias,
        "specials": fmt.specials,
        "subnormals": fmt.subnormals,
        "max_finite": fmt.max_finite,
        "min_normal": fmt.min_normal,
        "min_positive": fmt.min_positive,
        "inf": fmt.inf_code if fmt.has_inf else None,
        "nan": fmt.nan_code,
        "negative_zero": fmt.sign_mask if fmt.has_negative_zero else None,
        "source": fmt.source,
    }


def formats_report(formats: Iterable[Format]) -> tuple[str, Table, str]:
    """Layouts, ranges and special codes; below them the sources."""
    table = plain_table()
    table.add_column("format")
    for heading in ("layout", "bias", "max\nfinite", "min\nnormal", "min\npositive", "+Inf", "NaN", "-0"):
        table.add_column(heading, justify="right")
    sources = ["", "Sources"]
    for fmt in formats:
        values = format_dict(fmt)
        digits = -(-fmt.bits // 4)
        table.add_row(
            fmt.name,
            f"1-{fmt.exponent_bits}-{fmt.mantissa_bits}",
            str(fmt.bias),
            *map(number, (fmt.max_finite, fmt.min_normal, fmt.min_positive)),
            *("-" if values[key] is None else f"{values[key]:0{digits}x}" for key in ("inf", "nan", "negative_zero")),
        )
        sources.append(f"{fmt.name:<15}{fmt.source}")
    return "Layouts: sign, exponent, mantissa bits; codes in hexadecimal\n", table, "\n".join(sources)


def number(value: float) -> str:
    """A positive number: as a power of two where it is a small one, else with six digits."""
    fraction, exponent = frexp(value)
    return f"2^{exponent - 1}" if fraction == 0.5 and value < 1 else f"{value:.6g}"


def checks_report(report: Mapping[str, Any], against: str) -> tuple[str, Table, str]:
    """What was compared, and whether it was equal."""
    table = plain_table()
    table.add_column("check")
    table.add_column("compared", justify="right")
    table.add_column("mismatches", justify="right")
    for check in report["checks"]:
        table.add_row(str(check["name"]), f"{check['compared']:,}", f"{check['mismatches']:,}")
    title = f"RTL of {report['machine']} against {against}\n"
    return title, table, "\npassed" if report["passed"] else "\nfailed"


def area_report(area: Mapping[str, object], decoder: Mapping[str, object]) -> tuple[str, Table]:
    """Cells of the unit, and of one of the decoders that feed it."""
    table = plain_table()
    table.add_column("part")
    for heading in ("LUT4", "CCU2C", "FF", "LUT4 + 2 CCU2C"):
        table.add_column(heading, justify="right")
    unit_cells = (area["lut4"], area["ccu2c"], area["ff"], area["lut4_equivalent"])
    table.add_row(str(area["unit"]), *map(str, unit_cells))
    table.add_row("one decoder", *map(str, (decoder["lut4"], decoder["ccu2c"], decoder["ff"])), "")
    return f"{area['unit']} of {area['machine']} on {area['target']}\n", table
