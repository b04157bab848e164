"""Output for people: tables that are never cut, and progress that only a terminal sees."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_UNBOUNDED = 10_000


def plain_table() -> Table:
    """Make an empty table in the style of all our reports; a title would be wrapped to its width, so it has none."""
    return Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False, show_edge=False)


def show(*parts: Table | str) -> None:
    """Print tables and lines of text one below the other, at their full width wherever the output goes."""
    console = Console(highlight=False, markup=False)
    for part in parts:
        if isinstance(part, str):
            console.print(part, soft_wrap=True)
            continue
        wide = console.options.update(width=_UNBOUNDED)
        need = Measurement.get(console, wide, part).maximum
        Console(highlight=False, markup=False, width=max(console.width, need)).print(part)


@contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """A function that reports what is being done: beside a spinner on a terminal, nowhere else."""
    console = Console(stderr=True, highlight=False, markup=False)
    if not console.is_terminal:
        yield lambda _: None
        return
    with console.status(what) as status:
        yield lambda message: status.update(f"{what}: {message}")


def seconds(value: float) -> str:
    """A time with the unit that leaves 1 to 3 digits before the point."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{value / scale:.4g} {unit}" if value < 1000 * scale else f"{value:,.0f} {unit}"
    return f"{value * 1e9:.4g} ns"
