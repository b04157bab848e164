"""What the benches share: interleaved timing, rivals that may be absent, and the record of a run.

The machine may be shared and its clock may move: contestants take turns, each one's best turn counts, and what is
stated is the ratio of two of them.
"""

import argparse
import json
import os
import platform
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module, metadata
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.table import Table

Record = dict[str, Any]


@dataclass
class Timed:
    """Seconds of each turn of one contestant."""

    turns: list[float]

    @property
    def best(self) -> float:
        return min(self.turns)


def interleaved(contestants: dict[str, Callable[[], object]], rounds: int, patience: float = 10.0) -> dict[str, Timed]:
    """Let the contestants take `rounds` turns, one after the other, after a first one that is not counted.

    A contestant whose turns took more than `patience` seconds together sits out the other rounds.
    """
    for run in contestants.values():
        run()
    timed: dict[str, Timed] = {name: Timed([]) for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            if sum(timed[name].turns) <= patience:
                start = time.perf_counter()
                run()
                timed[name].turns.append(time.perf_counter() - start)
    return timed


def ratio(
    fast: Timed | None, slow: Timed | None, *, goal: float | None = None, work: tuple[float, float] = (1, 1)
) -> Record:
    """The first one's throughput over the second one's, their `work` per turn counted; None where one is absent.

    `of_best` compares their best turns, `of_rounds` is the median of the rounds' own ratios: they agree on a quiet
    machine.
    """
    if fast is None or slow is None:
        return {"of_best": None, "of_rounds": None, "goal": goal}
    scale = work[0] / work[1]
    each = [scale * s / f for f, s in zip(fast.turns, slow.turns, strict=False)]
    return {"of_best": scale * slow.best / fast.best, "of_rounds": median(each), "goal": goal}


class Rivals:
    """Modules that may or may not be installed; those that are not are listed, with the reason."""

    def __init__(self) -> None:
        self.absent: dict[str, str] = {}

    def load(self, distribution: str, module: str | None = None) -> ModuleType | None:
        """Import a module of a distribution; None where that is impossible."""
        try:
            return import_module(module or distribution)
        except (ImportError, RuntimeError, OSError) as error:  # qtorch compiles itself when it is imported
            lines = str(error).splitlines() or [repr(error)]
            self.absent[distribution] = lines[0]
            return None


def machine() -> Record:
    """The machine, and what else it had to do: the mean number of running tasks of the last minute."""
    info = Path("/proc/cpuinfo")
    fields = [line.partition(":") for line in info.read_text(encoding="utf-8").splitlines()] if info.exists() else []
    described = {name.strip(): value.strip() for name, _, value in reversed(fields)}
    return {
        "cpu": described.get("model name", platform.processor()),
        "family_model": [described.get("cpu family"), described.get("model")],
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def versions(*distributions: str) -> dict[str, str]:
    """Versions of those that are installed."""
    found = {}
    for name in ("quaver", "numpy", *distributions):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def started(script: str) -> Record:
    """The beginning of a record: the command that makes it, the date and the machine."""
    return {
        "command": f"python bench/{Path(script).name} {shlex.join(sys.argv[1:])}".rstrip(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
    }


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options that all benches have."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--rounds", type=int, default=40, help="turns of each contestant at most (default 40)")
    result.add_argument("-o", "--output", type=Path, help="the JSON file to write; by default stdout")
    return result


def write(record: Record, output: Path | None) -> None:
    text = json.dumps(record, indent=1) + "\n"
    if output:
        output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


def show(title: str, rows: list[Record], ratios: dict[str, Record], absent: dict[str, str]) -> None:
    """Print tables of rows and of ratios to stderr, and who is missing."""
    tabulate(title, rows)
    tabulate("ratios", [{"": name} | ratio for name, ratio in ratios.items()])
    for name, reason in absent.items():
        note(f"absent: {name} ({reason})")


def tabulate(title: str, rows: list[Record]) -> None:
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    Console(stderr=True).print(table)


def note(text: str) -> None:
    print(text, file=sys.stderr)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
