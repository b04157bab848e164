"""How a product is cut into tiles that fit the buffer: of all ways, the one with the least traffic to DRAM.

`x` is the operand that streams through the array and `y` the one whose tiles stay in it: of an input-stationary
machine x is the right operand.  A step computes a panel of x with a panel of y, all their products, so that sums never
leave the accumulators before they are complete.  One of the operands is the outer one: its panel stays while the panels
of the other pass.  What does not fit as a panel is read slab by slab while it is computed with, which takes little
room, and lets a step have no more rows than the accumulators and no more columns than the array.
"""

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from quaver.golden import Machine, Memory
from quaver.golden.errors import Unsuitable
from quaver.sim.array_time import panel_time
from quaver.sim.lowering import Gemm
from quaver.sim.operands import Operand, Panels, Slabs, burst_bytes, doublings

Counts = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Cut:
    """Panels of one operand in the way that was chosen."""

    size: int
    """Outer indices of a full panel."""
    full: int
    """Full panels."""
    rest: int
    """Outer indices of a panel at an edge, 0 if there is none."""
    rests: int
    """Panels at edges."""

    @property
    def count(self) -> int:
        """Panels in all."""
        return self.full + self.rests

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Pairs of outer indices of a panel and number of such panels; the last panel is one of the last pair."""
        return [(size, count) for size, count in ((self.size, self.full), (self.rest, self.rests)) if count]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How each group of a product is cut and in which order its steps come."""

    x: Cut
    """Panels of the operand that streams."""
    y: Cut
    """Panels of the operand whose tiles stay in the array."""
    outer: str
    """Whose panel stays while those of the other pass: `x` or `y`."""
    streamed: str
    """What is read slab by slab: ``, `x`, `y` or `xy`."""
    x_sweep: int
    """Bytes of one reading of x, in whole bursts."""
    y_sweep: int
    """Bytes of one reading of y, in whole bursts."""
    first: int
    """Bytes that must be there before the first step."""
    reads: int
    """Bytes read from DRAM, for all groups."""
    writes: int
    """Bytes written to DRAM, for all groups."""
    buffer: int
    """Bytes of the buffer that are used."""


@dataclass(frozen=True)
class _Ways:
    """Ways of one family, with an element per way."""

    x: Panels
    y: Panels
    x_index: Counts
    y_index: Counts
    outer: str
    streamed: str
    x_sweep: Counts
    y_sweep: Counts
    first: Counts
    buffer: Counts
    reads: Counts
    writes: Counts
    work: Counts


class _Search:
    """The ways to cut one product on one machine."""

    def __init__(self, machine: Machine, gemm: Gemm) -> None:
        self.machine, self.gemm = machine, gemm
        self.x: Operand = gemm.b if machine.dataflow == "is" else gemm.a
        self.y: Operand = gemm.a if machine.dataflow == "is" else gemm.b
        self.burst = machine.memory.dram_burst_bytes
        self.copies = 2 if machine.memory.double_buffered else 1
        # Fewer rows than a tile's weights take to load, or its sums to come back, would make the array wait.
        self.least = machine.block_rows if machine.dataflow == "os" else max(machine.load_cycles, machine.round_trip)
        blocks = doublings(machine.block_rows, max(machine.block_rows, self.x.outer))
        below = [s for s in doublings(self.least, machine.block_rows) if s >= self.least]
        self.x_panels = self.x.panels(sorted({*below, *blocks}), self.burst)
        self.y_panels = self.y.panels(doublings(machine.columns, max(machine.columns, self.y.outer)), self.burst)
        # Weights of a recurrent layer are shared by all groups, what it multiplies them with is not.
        self.shared_y = gemm.serial and machine.dataflow != "is"
        self.shared_x = gemm.serial and machine.dataflow == "is"

    def ways(self) -> list[_Ways]:
        """All families."""
        x, y = self.x_panels, self.y_panels
        blocks = x.chosen(x.size <= self.machine.block_rows)
        tiles = y.chosen(y.size <= self.machine.columns)
        return [
            self._family(x, y, outer="x", streamed=""),
            self._family(x, y, outer="y", streamed=""),
            self._family(blocks, self._free_y, outer="x", streamed="y"),
            self._family(self._free_x, tiles, outer="y", streamed="x"),
            self._family(self._free_x, self._free_y, outer="x", streamed="xy"),
        ]

    @cached_property
    def _depths(self) -> Counts:
        """Products of a slab."""
        fitting = self.x.depths or self.y.depths
        return np.array(fitting or doublings(min(self.machine.rows, self.x.k), self.x.k))

    @cached_property
    def _free_x(self) -> Panels:
        """Blocks of any number of rows, for slabs."""
        machine, outer = self.machine, self.x.outer
        sizes = doublings(min(self.least, machine.block_rows, outer), min(machine.block_rows, outer))
        return _even(outer, np.array(sizes))

    @cached_property
    def _free_y(self) -> Panels:
        """Tiles of the array's columns, for slabs."""
        return _even(self.y.outer, np.array([min(self.machine.columns, self.y.outer)]))

    def _family(self, x: Panels, y: Panels, *, outer: str, streamed: str) -> _Ways:
        """All pairs of ways to cut x and y; what is `streamed` is read slab by slab, of any of some depths."""
        depths = self._depths if streamed else np.array([0])
        i, j, d = (index.ravel() for index in np.indices((len(x.size), len(y.size), len(depths))))
        x_slabs = self.x.slabs(x.size, depths, self.burst) if "x" in streamed else None
        y_slabs = self.y.slabs(y.size, depths, self.burst) if "y" in streamed else None
        x_room, x_sweep = _read(x, x_slabs, i, d)
        y_room, y_sweep = _read(y, y_slabs, j, d)
        x_count, y_count = x.number[i], y.number[j]
        x_only = (x_count == 1) & (self.gemm.groups == 1 or self.shared_x)
        y_only = (y_count == 1) & (self.gemm.groups == 1 or self.shared_y)
        x_copies = np.where(x_only & ("x" not in streamed), 1, self.copies)  # there is no next panel to fetch
        y_copies = np.where(y_only & ("y" not in streamed), 1, self.copies)
        # An operand is read again for every panel of the other one, unless it is the outer one or is there as a whole.
        x_once = ("x" not in streamed) & ((x_count == 1) | (outer == "x"))
        y_once = ("y" not in streamed) & ((y_count == 1) | (outer == "y"))
        x_times = np.where(x_once, 1, y_count) * self._groups(self.shared_x, x_once & (x_count == 1))
        y_times = np.where(y_once, 1, x_count) * self._groups(self.shared_y, y_once & (y_count == 1))
        rows = np.minimum(x.size[i], self.machine.block_rows)
        columns = np.minimum(y.size[j], self.machine.columns)
        results = -(-rows * columns * self.gemm.out_bits // 8)
        return _Ways(
            x=x,
            y=y,
            x_index=i,
            y_index=j,
            outer=outer,
            streamed=streamed,
            x_sweep=x_sweep,
            y_sweep=y_sweep,
            first=x_room + y_room,
            buffer=x_copies * x_room + y_copies * y_room + self.copies * results,
            reads=x_times * x_sweep + y_times * y_sweep,
            writes=self.gemm.groups * self._writes(x, y, i, j),
            work=self._work(x, y, i, j),
        )

    def _groups(self, shared: bool, whole: NDArray[np.bool_]) -> Counts:
        """Groups for which an operand is read: one where all share it and it is there as a whole."""
        return np.where(shared & whole, 1, self.gemm.groups)

    def _writes(self, x: Panels, y: Panels, i: Counts, j: Counts) -> Counts:
        """Bytes of a group's results, which lie side by side along the columns of the right operand."""
        along, index = (x, i) if self.machine.dataflow == "is" else (y, j)
        across = self.y.outer if self.machine.dataflow == "is" else self.x.outer
        bits, burst = self.gemm.out_bits, self.burst
        cut = along.full * burst_bytes(along.size, bits, burst) + along.rests * burst_bytes(along.rest, bits, burst)
        whole = burst_bytes(np.array(across * self.gemm.n), bits, burst)
        return np.where(along.number == 1, whole, across * cut)[index]

    def _work(self, x: Panels, y: Panels, i: Counts, j: Counts) -> Counts:
        """Cycles of the array."""
        full, rest = panel_time(self.machine, np.stack([x.size, x.rest]), self.x.k).total
        per_tile = x.full * full + x.rests * rest
        columns = self.machine.columns
        tiles = y.full * -(-y.size // columns) + y.rests * -(-y.rest // columns)
        return per_tile[i] * tiles[j]


def _even(outer: int, size: Counts) -> Panels:
    full, rest = outer // size, outer % size
    none = np.zeros_like(size)
    return Panels(size, full, rest, (rest > 0).astype(np.int64), none, none)


def _read(panels: Panels, slabs: Slabs | None, index: Counts, depth: Counts) -> tuple[Counts, Counts]:
    """Room for what is read at a time, and bytes of one reading of everything."""
    if slabs is None:
        return panels.largest[index], panels.sweep[index]
    return slabs.largest[index, depth], slabs.sweep[index, depth]


def schedule(machine: Machine, gemm: Gemm) -> Schedule:
    """The way with the least traffic among those that fit the buffer; of equal ones that with the least array time.

    More room never means more traffic: what fits a buffer fits a larger one.

    Raises
    ------
    Unsuitable
        If no way fits; the message says how large the buffer must be.
    """
    room = machine.memory.buffer_kib << 10
    found = _schedules(_array_of(machine), gemm)
    for plan in found:
        if plan.buffer <= room:
            return plan
    raise Unsuitable(
        f"memory.buffer_kib must be at least {-(-found[-1].buffer // 1024)} for {gemm.name} on "
        f"{machine.rows} x {machine.columns} MACs, not {machine.memory.buffer_kib}"
    )


@lru_cache(maxsize=64)
def _array_of(machine: Machine) -> Machine:
    """One machine for all that are cut for alike: they differ in what no way to cut a product depends on."""
    cut_for = Memory(double_buffered=machine.memory.double_buffered, dram_burst_bytes=machine.memory.dram_burst_bytes)
    return replace(machine, name="array", memory=cut_for, vector_lanes=1, update_lanes=0, clock_mhz=1.0)


@lru_cache(maxsize=1 << 10)
def _schedules(array: Machine, gemm: Gemm) -> tuple[Schedule, ...]:
    """The ways that are the best for some room, the best of all first; each needs less room than the one before."""
    families = _Search(array, gemm).ways()
    room = np.concatenate([ways.buffer for ways in families])
    work = np.concatenate([ways.work for ways in families])
    traffic = np.concatenate([ways.reads + ways.writes for ways in families])
    places = [(ways, at) for ways in families for at in range(len(ways.buffer))]
    order = np.lexsort((room, work, traffic))
    least = np.minimum.accumulate(room[order])
    steps = np.flatnonzero(np.diff(least, prepend=least[0] + 1))
    return tuple(_schedule(*places[at]) for at in order[steps])


def _schedule(ways: _Ways, at: int) -> Schedule:
    return Schedule(
        x=_cut(ways.x, int(ways.x_index[at])),
        y=_cut(ways.y, int(ways.y_index[at])),
        outer=ways.outer,
        streamed=ways.streamed,
        x_sweep=int(ways.x_sweep[at]),
        y_sweep=int(ways.y_sweep[at]),
        first=int(ways.first[at]),
        reads=int(ways.reads[at]),
        writes=int(ways.writes[at]),
        buffer=int(ways.buffer[at]),
    )


def _cut(panels: Panels, at: int) -> Cut:
    return Cut(
        size=int(panels.size[at]), full=int(panels.full[at]), rest=int(panels.rest[at]), rests=int(panels.rests[at])
    )
