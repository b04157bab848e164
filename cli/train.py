"""`quaver train`: what was asked, checked; the training with its progress and its records; what is answered."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from typer import Exit

from quaver.cli.errors import UserError, checking_input, needing
from quaver.cli.json_output import print_json
from quaver.cli.train_plot import SUFFIXES, write_curves
from quaver.cli.train_report import train_report
from quaver.golden import engine
from quaver.golden.errors import check_range
from quaver.train import DataSet, Interrupted, Run, Settings, TraceWriter, Training, load_data, one_thread
from quaver.train import Progress as Done

THREADS_MAX = 1024
PRODUCTS_MAX = 1 << 40


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of the command, as they were given."""

    settings: Settings | None
    """What to train; None to go on with what is in `resume`."""
    output: Path | None
    resume: Path | None
    threads: int | None
    trace: Path | None
    trace_products: int
    plot: Path | None

    def check(self) -> None:
        """Raise ValueError for an option that means nothing."""
        if self.threads is not None:
            check_range("threads", self.threads, 1, THREADS_MAX)
        check_range("trace-products", self.trace_products, 1, PRODUCTS_MAX)
        if self.resume is not None and self.output is not None:
            raise ValueError("output must be left out with resume: the training goes on in its folder")
        if self.resume is not None and self.trace is not None:
            raise ValueError("trace must be left out with resume: a trace begins with a training")
        if self.plot is not None:
            if self.plot.suffix not in SUFFIXES:
                raise ValueError(f"plot must be a file {', '.join(SUFFIXES)}, not {str(self.plot)!r}")
            if not self.plot.parent.is_dir():
                raise ValueError(f"{self.plot}: there is no such folder")


def answer(asked: Asked, *, as_json: bool) -> None:
    """Train and show."""
    with checking_input():
        asked.check()
    if asked.plot is not None:
        with needing("plot"):
            import_module("matplotlib")
    try:
        run = _run(asked)
        with one_thread(), engine.using(threads=asked.threads), _bar(run) as tell, _interrupts() as stop:
            result = run.go(tell, stop)
    except Interrupted:
        where = f"; go on with: quaver train --resume {run.folder}" if run.folder else ""
        print(f"quaver: interrupted after {run.training.step:,} steps{where}", file=sys.stderr)
        raise Exit(130) from None
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from error
    if asked.plot is not None:
        try:
            write_curves(asked.plot, result, run.records)
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from error
    if as_json:
        print_json(result)
        return
    from quaver.cli.console import show

    show(*train_report(result))


def _run(asked: Asked) -> Run:
    """The run that was asked for, at its beginning or where it was left."""
    with checking_input():
        if asked.settings is None:
            assert asked.resume is not None
            return Run.resume(asked.resume, _data_of)
        training = Training(asked.settings, _data_of(asked.settings))
        if asked.trace is not None:
            writer = TraceWriter(asked.trace, training.trace_head, limit=asked.trace_products)
            training.record_with(writer)
        return Run.begin(training, asked.output)


def _data_of(settings: Settings) -> DataSet:
    return load_data(settings.data)


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Whether an interrupt came: the step that is under way is finished first; a second one is not waited for."""
    asked: list[int] = []

    def note(number: int, _: Any) -> None:
        asked.append(number)
        signal.signal(number, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _bar(run: Run) -> Iterator[Callable[[Done], None]]:
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
    settings, metric = run.training.settings, run.training.task.metric
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{settings.recipe} {settings.model}", total=run.training.steps)

        def tell(done: Done) -> None:
            tested = f", {metric} {done.tested[metric]:.2f}" if done.tested else ""
            text = f"{settings.recipe} {settings.model}: loss {done.loss:.4f}{tested}"
            progress.update(task, completed=done.step, description=text)

        yield tell
