"""The file of a sweep: an SQLite database with one table, `points`, a row per simulation.

The columns are `COLUMNS`, and one for each machine key that was ever an axis, under its dotted name: SQLite computes it
from the column `machine`, so that all rows have it.  Any SQLite reads the file, while a sweep writes it, too.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from types import TracebackType

from quaver.golden import Machine
from quaver.sim.energy import on_chip_bytes
from quaver.sim.event import Cycles
from quaver.sim.simulate import Simulation
from quaver.sim.space import Point

Row = dict[str, str | int | float | None]
"""A point and its result, by column."""

_POINT = {"workload": "TEXT", "pass": "TEXT", "batch": "INTEGER", "recipe": "TEXT", "machine": "TEXT"}
MEASURES = {
    "cycles": "INTEGER",
    "time_s": "REAL",
    "macs": "INTEGER",
    "utilization": "REAL",
    "gemm_utilization": "REAL",
    "energy_pj": "REAL",
    "dram_read_bytes": "INTEGER",
    "dram_write_bytes": "INTEGER",
    **{f"cycles_{cause.name}": "INTEGER" for cause in fields(Cycles)},
    "array_macs": "INTEGER",
    "buffer_kib": "INTEGER",
    "onchip_kib": "REAL",
}
"""Columns of numbers, with SQLite's types.  `time_s` in seconds, `energy_pj` in picojoules, `cycles_*` the causes of
the cycles; as measures of area `array_macs`, the MACs of the array, `buffer_kib`, and `onchip_kib`, the buffer with all
memories of the array.  All are null where there is an `error`."""
COLUMNS = {"key": "TEXT PRIMARY KEY", **_POINT, "error": "TEXT", **MEASURES}
"""All columns but those of axes, with their types."""


def described(point: Point) -> Row:
    """The columns that say which point it is."""
    return {
        "key": point.key,
        "workload": point.workload.name,
        "pass": point.request.pass_,
        "batch": point.request.batch,
        "recipe": point.recipe.name,
        "machine": json.dumps(point.table),
    }


def measured(simulation: Simulation, machine: Machine) -> Row:
    """The columns of numbers."""
    return {
        "cycles": simulation.cycles,
        "time_s": simulation.time,
        "macs": simulation.macs,
        "utilization": simulation.utilization,
        "gemm_utilization": simulation.gemm_utilization,
        "energy_pj": simulation.energy.total,
        "dram_read_bytes": simulation.traffic.dram_reads,
        "dram_write_bytes": simulation.traffic.dram_writes,
        **{f"cycles_{cause}": cycles for cause, cycles in simulation.causes.to_dict().items()},
        "array_macs": machine.rows * machine.columns,
        "buffer_kib": machine.memory.buffer_kib,
        "onchip_kib": on_chip_bytes(machine) / 1024,
    }


class SweepFile:
    """Opened for reading and writing, made if there is none; for use in a `with` statement.

    Raises
    ------
    ValueError
        If it cannot be opened or is no file of a sweep.
    """

    def __init__(self, path: Path) -> None:
        columns = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
        try:
            self._database = sqlite3.connect(path, timeout=60)
            # With a write-ahead log a transaction is there as a whole or not at all, whenever this process ends, and
            # there are readers meanwhile.  NORMAL: of a machine without power, the last transactions may be missing.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(f"CREATE TABLE IF NOT EXISTS points ({columns})")
            found = self._columns()
        except sqlite3.Error as error:
            raise ValueError(f"{path}: no file of a sweep: {error}") from error
        if missing := [name for name in COLUMNS if name not in found]:
            self._database.close()
            raise ValueError(f"{path}: no file of this version's sweeps: its table points lacks {', '.join(missing)}")

    def __enter__(self) -> "SweepFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._database.close()

    def _columns(self) -> set[str]:
        # What table_info leaves out are generated columns.
        return {name for _, name, *_ in self._database.execute("PRAGMA table_xinfo(points)")}

    def add_axes(self, keys: Iterable[str]) -> None:
        """Give every row a column for each of these keys of a machine."""
        found = self._columns()
        for key in keys:
            if key not in found:
                path = f"$.{key}"
                self._database.execute(f"ALTER TABLE points ADD COLUMN \"{key}\" AS (json_extract(machine, '{path}'))")

    def keys(self) -> set[str]:
        """Keys of all rows."""
        return {key for (key,) in self._database.execute("SELECT key FROM points")}

    def add(self, rows: Collection[Row]) -> None:
        """Write rows in one transaction; a key that is there already stays as it is."""
        names = list(COLUMNS)
        places = ", ".join("?" * len(names))
        with self._database:
            self._database.executemany(
                f"INSERT OR IGNORE INTO points ({', '.join(map(_quoted, names))}) VALUES ({places})",
                [[row.get(name) for name in names] for row in rows],
            )

    def rows(self, keys: Mapping[str, object], axes: Collection[str]) -> list[Row]:
        """The rows of `keys`, in their order, with the columns of `axes` behind the others."""
        names = [*COLUMNS, *axes]
        found = {}
        for values in self._database.execute(f"SELECT {', '.join(map(_quoted, names))} FROM points"):
            if values[0] in keys:
                found[values[0]] = dict(zip(names, values, strict=True))
        return [found[key] for key in keys]


def _quoted(name: str) -> str:
    return f'"{name}"'
