"""What `quaver sweep` prints: for each thing that was asked, the machines that nothing beats."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich.table import Table

from quaver.cli.console import plain_table
from quaver.sim.pareto import front
from quaver.sim.sweep_file import MEASURES, Row

_REASONS = 5
"""Reasons for missing results that are shown, the most frequent ones."""


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How a column of numbers is shown to people."""

    name: str
    """What it is."""
    unit: str = ""
    """Its unit; empty for a number of things."""
    scale: float = 1.0
    """What one of it is in the column."""
    form: str = ",.0f"
    """Format of a cell."""

    def cell(self, value: object) -> str:
        """A value with its digits, without its unit."""
        return format(value / self.scale, self.form) if isinstance(value, int | float) else "-"

    @property
    def label(self) -> str:
        """Name and unit, as on the axis of a plot."""
        return f"{self.name}, {self.unit}" if self.unit else self.name


SHOWN: dict[str, Shown] = {
    **{name: Shown(name=name.replace("_", " ")) for name in MEASURES},
    "time_s": Shown(name="time", unit="ms", scale=1e-3, form=",.4g"),
    "utilization": Shown(name="utilisation", unit="%", scale=0.01, form=".1f"),
    "gemm_utilization": Shown(name="utilisation in products", unit="%", scale=0.01, form=".1f"),
    "energy_pj": Shown(name="energy", unit="µJ", scale=1e6, form=",.1f"),
    "dram_read_bytes": Shown(name="read from DRAM", unit="MB", scale=1e6, form=",.1f"),
    "dram_write_bytes": Shown(name="written to DRAM", unit="MB", scale=1e6, form=",.1f"),
    "array_macs": Shown(name="MACs of the array"),
    "buffer_kib": Shown(name="buffer", unit="KiB"),
    "onchip_kib": Shown(name="memory on chip", unit="KiB"),
}
"""All columns of numbers."""
BESIDE = ("utilization", "array_macs", "onchip_kib")
"""Columns that a table has beside those of the front."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The machines for one thing that was asked."""

    asked: tuple[object, ...]
    """Workload, pass, batch, recipe."""
    rows: list[Row] = field(default_factory=list)
    """A row per machine."""

    @property
    def title(self) -> str:
        """What was asked, in words."""
        workload, pass_, batch, recipe = self.asked
        return f"{workload}, {pass_} pass, batch {batch}, recipe {recipe}"


def groups_of(rows: Sequence[Row]) -> list[Group]:
    """Rows by what was asked: machines are compared with each other for one thing."""
    groups: dict[tuple[object, ...], Group] = {}
    for row in rows:
        asked = tuple(row[key] for key in ("workload", "pass", "batch", "recipe"))
        groups.setdefault(asked, Group(asked=asked)).rows.append(row)
    return list(groups.values())


def sweep_report(rows: Sequence[Row], axes: Sequence[str], columns: Sequence[str]) -> Iterator[str | Table]:
    """The front of each group, and why points have no result."""
    for group in groups_of(rows):
        best = front(group.rows, columns)
        by = " and ".join(SHOWN[column].name for column in columns)
        yield f"{group.title}: {len(best)} of {len(group.rows):,} machines are the best by {by}\n"
        if best:
            yield _table(best, axes, columns)
            yield ""
    yield from _missing(rows)


def _table(best: Sequence[tuple[Row, int]], axes: Sequence[str], columns: Sequence[str]) -> Table:
    table = plain_table()
    for axis in axes:
        table.add_column(axis.replace(".", "\n"), justify="right")
    shown = [*columns, *(column for column in BESIDE if column not in columns)]
    for column in shown:
        table.add_column(f"{SHOWN[column].name}\n{SHOWN[column].unit}".rstrip(), justify="right")
    alike = any(count > 1 for _, count in best)
    if alike:
        table.add_column("equal\nmachines", justify="right")
    for row, count in best:
        cells = [*(_axis_cell(row[axis]) for axis in axes), *(SHOWN[column].cell(row[column]) for column in shown)]
        table.add_row(*cells, *([str(count)] if alike else []))
    return table


def _axis_cell(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _missing(rows: Sequence[Row]) -> Iterator[str]:
    reasons = Counter(str(row["error"]) for row in rows if row["error"] is not None)
    if not reasons:
        return
    yield f"{reasons.total():,} of {len(rows):,} points have no result:"
    for reason, count in reasons.most_common(_REASONS):
        yield f"{count:8,}  {reason}"
    if len(reasons) > _REASONS:
        others = sum(count for _, count in reasons.most_common()[_REASONS:])
        yield f"{others:8,}  {len(reasons) - _REASONS} other reasons"
    yield ""


def sweep_dict(rows: Sequence[Row], columns: Sequence[str]) -> dict[str, object]:
    """The same as JSON has it, every column of every machine on a front included."""
    fronts = []
    for group in groups_of(rows):
        machines = [_plain(row) | {"equal": count} for row, count in front(group.rows, columns)]
        asked = dict(zip(("workload", "pass", "batch", "recipe"), group.asked, strict=True))
        fronts.append(asked | {"points": len(group.rows), "machines": machines})
    errors = Counter(row["error"] for row in rows if row["error"] is not None)
    return {"points": len(rows), "errors": dict(errors.most_common()), "columns": list(columns), "fronts": fronts}


def _plain(row: Row) -> dict[str, object]:
    """A row with its machine as a table, and without the text of an error that it has not."""
    return {key: value for key, value in row.items() if key != "error"} | {"machine": json.loads(str(row["machine"]))}


def sweep_csv(rows: Sequence[Mapping[str, object]]) -> str:
    """All rows, with a header."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
