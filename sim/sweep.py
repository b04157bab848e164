"""The running of a sweep: points that its file lacks, on processes of this computer or on a Dask cluster."""

import json
import multiprocessing
import multiprocessing.synchronize
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice

from quaver.golden import Machine
from quaver.golden.errors import ToolError, Unsuitable, check_range
from quaver.sim.simulate import simulate
from quaver.sim.space import Point, Space
from quaver.sim.sweep_file import Row, SweepFile, described, measured

JOBS_MAX = 1024
Stop = threading.Event | multiprocessing.synchronize.Event
_stop: Stop = threading.Event()
"""Set where a worker is told to stop; a worker of this computer shares it with its parent."""
CHUNK = 16
"""Points that a worker is given at a time, at most: what is lost of its work if a sweep is killed."""


@dataclass(frozen=True, kw_only=True)
class Swept:
    """A space that was swept."""

    rows: tuple[Row, ...]
    """All its points, in their order."""
    computed: int
    """Those that were not in the file before."""


def sweep(
    space: Space,
    file: SweepFile,
    *,
    jobs: int | None = None,
    dask: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Swept:
    """Simulate all points of `space` that `file` lacks, and write them there.

    Rows are written as they come, each transaction a whole one: whatever ends this process, the file is good and what
    is in it is not computed again.  What workers were computing at that moment is.

    Parameters
    ----------
    jobs
        Processes; by default one per processor that this process may use.  With 1 there is no other process.
    dask
        Address of the scheduler of a Dask cluster that computes instead; the package `distributed` must be there, and
        this package on its workers.
    progress
        Is told how many points are done, and of how many.

    Raises
    ------
    ValueError
        If `jobs` is out of its range.
    ToolError
        If no cluster answers, or it has no workers.
    ModuleNotFoundError
        If a cluster is asked for and `distributed` is not installed.
    """
    if jobs is not None:
        check_range("jobs", jobs, 1, JOBS_MAX)
    points = {point.key: point for point in space.points()}
    file.add_axes(space.varied)
    known = file.keys()
    missing = sorted((point for key, point in points.items() if key not in known), key=_neighbourhood)
    done = len(points) - len(missing)
    progress(done, len(points))
    with closing(_computed(missing, jobs or len(os.sched_getaffinity(0)), dask)) as computed:
        for rows in computed:
            file.add(rows)
            done += len(rows)
            progress(done, len(points))
    return Swept(rows=tuple(file.rows(points, space.varied)), computed=len(missing))


def compute(points: Sequence[Point]) -> list[Row]:
    """Simulate points; of a machine that there cannot be, or that cannot do what is asked, the row says why.

    In a worker that is told to stop, those that are left are left out.
    """
    return [described(point) | _outcome(point) for point in points if not _stop.is_set()]


def _outcome(point: Point) -> Row:
    try:
        machine = Machine.from_dict(point.table)
    except ValueError as error:
        return {"error": str(error)}
    request = point.request
    try:
        simulation = simulate(point.workload, machine, pass_=request.pass_, batch=request.batch, recipe=point.recipe)
    except Unsuitable as error:
        return {"error": str(error)}
    return measured(simulation, machine)


def _neighbourhood(point: Point) -> tuple[str, str, str]:
    """An order in which machines with the same array are neighbours: they share their tilings (`quaver.sim.tiling`)."""
    array = {key: value for key, value in point.table.items() if key not in ("memory", "vector_lanes", "clock_mhz")}
    return point.workload.name, f"{point.request}{point.recipe.name}", json.dumps(array, sort_keys=True)


def _computed(points: Sequence[Point], jobs: int, dask: str | None) -> Generator[list[Row], None, None]:
    """Rows of all points, chunk by chunk, in no particular order."""
    if not points:
        return
    if jobs == 1 and dask is None:
        yield from map(compute, _chunks(points, 1))
        return
    with _cluster(dask) if dask is not None else _processes(jobs) as (executor, workers):
        chunks = _chunks(points, workers)
        # Twice as many as there are workers, so that none waits for this process; the first ones start the workers.
        with _interrupts_kept_back():
            under_way: set[Future[list[Row]]] = {
                executor.submit(compute, chunk) for chunk in islice(chunks, 2 * workers)
            }
        while under_way:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            under_way |= {executor.submit(compute, chunk) for chunk in islice(chunks, len(done))}
            for future in done:
                yield future.result()


def _chunks(points: Sequence[Point], workers: int) -> Iterator[Sequence[Point]]:
    """Few points at a time where there are few, so that all workers get some."""
    size = max(1, min(CHUNK, len(points) // (4 * workers)))
    return (points[start : start + size] for start in range(0, len(points), size))


@contextmanager
def _processes(jobs: int) -> Iterator[tuple[Executor, int]]:
    # Fresh processes, not copies: there may be threads here, which a copy would lack.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    executor = ProcessPoolExecutor(jobs, context, initializer=_begin, initargs=(stop,))
    try:
        yield executor, jobs
    finally:
        # A worker that was ended in the middle of its answer would be waited for in vain; so each ends after its point.
        stop.set()
        executor.shutdown(cancel_futures=True)


@contextmanager
def _interrupts_kept_back() -> Iterator[None]:
    """Interrupts come at the end; processes that are started here get none, ever: they leave them to their parent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(stop: Stop) -> None:
    """A worker can be told to stop, and ends with its parent, however that one ends."""
    global _stop
    _stop = stop
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _cluster(address: str) -> Iterator[tuple[Executor, int]]:
    from distributed import Client

    try:
        client = Client(address, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ToolError(f"dask: no scheduler answers at {address!r}: {error}") from error
    with client:
        workers = sum(client.nthreads().values())
        if not workers:
            raise ToolError(f"dask: the cluster at {address!r} has no workers")
        yield client.get_executor(pure=False), workers
