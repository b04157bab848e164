"""`quaver sweep`: what was asked, checked; the sweep with its progress; what is answered."""

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from quaver.cli.errors import UserError, checking_input, needing
from quaver.cli.json_output import print_json
from quaver.cli.sweep_plot import SUFFIXES, write_plot
from quaver.cli.sweep_report import sweep_csv, sweep_dict, sweep_report
from quaver.cli.whole_file import write_whole
from quaver.golden.errors import check_choice, check_range
from quaver.sim.space import Space
from quaver.sim.sweep import JOBS_MAX, sweep
from quaver.sim.sweep_file import MEASURES, SweepFile


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of the command, as they were given."""

    space: Path
    output: Path | None
    jobs: int | None
    dask: str | None
    pareto: str
    plot: Path | None
    csv: Path | None

    @property
    def columns(self) -> list[str]:
        """Those of the front."""
        return [column.strip() for column in self.pareto.split(",")]

    def check(self) -> None:
        """Raise ValueError for an option that means nothing."""
        for column in self.columns:
            check_choice("pareto", column, MEASURES)
        if self.jobs is not None:
            check_range("jobs", self.jobs, 1, JOBS_MAX)
        if self.plot is not None:
            if self.plot.suffix not in SUFFIXES:
                raise ValueError(f"plot must be a file {', '.join(SUFFIXES)}, not {str(self.plot)!r}")
            if len(self.columns) < 2:
                raise ValueError(f"pareto must name two columns for a plot, not {self.pareto!r}")
        for path in (self.plot, self.csv):
            if path is not None and not path.parent.is_dir():
                raise ValueError(f"{path}: there is no such folder")


def answer(asked: Asked, *, as_json: bool) -> None:
    """Sweep and show."""
    with needing("onnx"), checking_input():
        asked.check()
        space = Space.load(asked.space)
    if asked.plot is not None:
        with needing("report" if asked.plot.suffix == ".html" else "plot"):
            import_module("plotly" if asked.plot.suffix == ".html" else "matplotlib")
    path = asked.output or asked.space.with_suffix(".sqlite")
    with checking_input():
        file = SweepFile(path)
    try:
        with file, needing("dask"), _bar(path) as tell:
            swept = sweep(space, file, jobs=asked.jobs, dask=asked.dask, progress=tell)
    except sqlite3.OperationalError as error:
        raise UserError(f"{path}: cannot be written: {error}") from error
    if not swept.rows:
        raise UserError(f"{asked.space}: where leaves no machine")
    try:
        if asked.csv is not None:
            write_whole(asked.csv, sweep_csv(swept.rows))
        if asked.plot is not None:
            write_plot(asked.plot, swept.rows, space.varied, asked.columns)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from error
    if as_json:
        found = {"space": str(asked.space), "file": str(path), "computed": swept.computed}
        print_json(found | sweep_dict(swept.rows, asked.columns))
        return
    from quaver.cli.console import show

    show(*sweep_report(swept.rows, space.varied, asked.columns))
    show(f"{len(swept.rows):,} points in {path}, {swept.computed:,} of them new")


@contextmanager
def _bar(path: Path) -> Iterator[Callable[[int, int], None]]:
    """A function that is told how much is done: beside a bar on a terminal, nowhere else."""
    console = Console(stderr=True, highlight=False, markup=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    done = 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("sweep", total=None)

        def tell(now: int, total: int) -> None:
            nonlocal done
            done = now
            progress.update(task, completed=now, total=total)

        try:
            yield tell
        except KeyboardInterrupt:
            print(f"quaver: interrupted; {done:,} points are in {path}, and not computed again", file=sys.stderr)
            raise
