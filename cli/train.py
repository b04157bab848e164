"""`quaver train`: what was asked, checked; the training with its progress and its records; what is answered."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from shlex import quote
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
from quaver.train import DATA, DataSet, Interrupted, Run, Settings, TraceWriter, Training, load_data, one_thread
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
            if self.plot.suffix not in SUFFIXES or self.plot.is_dir():
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
    run = _run(asked)
    computing = engine.using(threads=asked.threads)
    try:
        with _files("written"), one_thread(), computing, _bar(run) as tell, _interrupts() as stop:
            result = run.go(tell, stop)
    except Interrupted:
        where = f"; go on with: quaver train --resume {quote(str(run.folder))}" if run.folder else ""
        print(f"quaver: interrupted after {run.training.step:,} steps{where}", file=sys.stderr)
        raise Exit(130) from None
    if asked.plot is not None:
        with _files("written"):
            write_curves(asked.plot, result, run.records)
    if as_json:
        print_json(result)
        return
    from quaver.cli.console import show

    show(*train_report(result))


def _run(asked: Asked) -> Run:
    """The run that was asked for, at its beginning or where it was left."""
    if asked.settings is None:
        assert asked.resume is not None
        with checking_input(), _files("read"):
            return Run.resume(asked.resume, _data_of)
    with checking_input():
        training = Training(asked.settings, _data_of(asked.settings))
        head = None if asked.trace is None else training.trace_head
        with _files("written"):
            run = Run.begin(training, asked.output)
            if asked.trace is not None and head is not None:
                training.record_with(TraceWriter(asked.trace, head, limit=asked.trace_products))
    return run


def _data_of(settings: Settings) -> DataSet:
    """The data; only those that are built in may want a package of ours, and functions may be in the current folder."""
    if ":" in settings.data and "" not in sys.path:
        sys.path.insert(0, "")
    with needing("train") if settings.data in DATA else nullcontext(), _files("read"):
        return load_data(settings.data)


@contextmanager
def _files(done: str) -> Iterator[None]:
    """Turn errors of the operating system about files that are to be read, or written, into UserErrors."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be {done}: {error.strerror}") from error


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Whether an interrupt came: the step that is under way is finished first; a second one is not waited for."""
    asked: list[int] = []

    def note(number: int, _: Any) -> None:
        asked.append(number)
        signal.signal(number, signal.default_int_handler)

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # as it is of a job in a shell's background, which is to stay so
        signal.signal(signal.SIGINT, note)
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
            number = done.tested.get(metric)
            tested = "" if number is None else f", {metric} {number:.2f}"
            text = f"{settings.recipe} {settings.model}: loss {done.loss:.4f}{tested}"
            progress.update(task, completed=done.step, description=text)

        yield tell
