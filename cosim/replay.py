"""`quaver verify --trace`: what a model was trained with, computed again by the RTL of the array, bit for bit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np

from quaver.cosim.array_runs import GemmRun
from quaver.cosim.checks import Check, Checked, check
from quaver.cosim.flow import FlowingArray
from quaver.cosim.positions import Zeros, between
from quaver.cosim.simulator import SimulatorError
from quaver.cosim.trace import Codes, Trace
from quaver.golden import ArrayWords, Issued, Machine, gemm, issued_by
from quaver.golden.trace import TraceEntry, TraceHead
from quaver.sim import gemm_cycles


@dataclass(frozen=True, kw_only=True)
class Replayed(Checked):
    """What was compared with a trace."""

    trace: str
    """Its folder."""
    recipe: str
    """Name of the training method."""
    model: str
    """Name of what was trained."""
    products: int
    """Products that were computed again; those of a group are one."""
    macs: int
    """Multiply-accumulates of all of them."""
    cycles: int
    """Of the RTL, for all of them."""

    def to_dict(self, **origin: object) -> dict[str, Any]:
        """The report as `--json` prints it."""
        names = [f.name for f in fields(self) if f.name not in ("machine", "checks")]
        return super().to_dict(**{name: getattr(self, name) for name in names}, **origin)


class Way(NamedTuple):
    """What is done before a product, so that the generators stand where it found them."""

    reset: bool
    """Whether the machine is reset."""
    zeros: list[Zeros]
    """What its array computes then."""


def machine_for(trace: Trace, machine: Machine | None = None) -> Machine:
    """The machine that computes a trace again: `machine`, or if there is none the trace's own.

    Raises
    ------
    ValueError
        If the trace has no machine of its own, or `machine` would not give the same bits.
    """
    machine = machine or trace.head.machine
    if machine is None:
        raise ValueError("machine must be given: the trace is of an arithmetic alone")
    _check_sums(trace.head, machine)
    _check_formats(trace.entries, machine)
    return machine


def _check_sums(head: TraceHead, machine: Machine) -> None:
    pairs = [(name, getattr(head.arithmetic, name), getattr(machine, name)) for name in ("inner", "outer", "chunk")]
    if head.stochastic:
        law = ArrayWords.of(machine)
        pairs += [(f.name, getattr(head.law, f.name), getattr(law, f.name)) for f in fields(law)]
    for name, needed, has in pairs:
        if needed != has:
            why = " where words are random" if head.stochastic else ""
            raise ValueError(f"{name} of {machine.name} must be the trace's{why}, {needed}, not {has}")


def _check_formats(entries: list[TraceEntry], machine: Machine) -> None:
    for index, entry in enumerate(entries):
        for name, fmt in (("a_formats", entry.a_format), ("b_formats", entry.b_format)):
            formats = getattr(machine, name)
            if fmt not in formats:
                has = ", ".join(f.name for f in formats)
                raise ValueError(f"{name} of {machine.name} must have {fmt} for product {index} ({entry}), not {has}")


def ways(trace: Trace, machine: Machine) -> Iterator[Way]:
    """How the array's generators get to where each product needs them, where they matter.

    Raises
    ------
    ValueError
        If a product's `issued` is nowhere that the machine gets to.
    """
    at: Issued | None = None
    for index, entry in enumerate(trace.entries):
        way = Way(at is None, [])
        if trace.head.stochastic:
            back = at is None or any(new < now for new, now in zip(entry.issued, at, strict=True))
            start = Issued() if at is None or back else at
            try:
                way = Way(back, between(machine, start, entry.issued))
            except ValueError as error:
                raise ValueError(f"product {index} ({entry}): {error}") from error
        yield way
        issued = issued_by(machine, entry.m, entry.k, entry.n)
        at = Issued(*(had + entry.groups * more for had, more in zip(entry.issued, issued, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A trace and the machine that is to compute it again."""

    trace: Trace
    machine: Machine
    ways: list[Way]
    """What is done before each product."""

    @classmethod
    def of(cls, trace: Trace, machine: Machine | None = None) -> "Replay":
        """The replay on `machine`, or the trace's own; ValueErrors as of `machine_for` and `ways`."""
        machine = machine_for(trace, machine)
        return cls(trace=trace, machine=machine, ways=list(ways(trace, machine)))

    def run(self, progress: Callable[[str], None] = lambda _: None) -> Replayed:
        """Compute all products again, by golden and by the RTL of the array, whose cycles are to be the simulator's.

        Raises
        ------
        TraceError
            If a product's file is damaged.
        SimulatorError
            If the simulator fails.
        """
        trace, machine = self.trace, self.machine
        total: dict[str, Check] = {}
        cycles = 0
        progress("building the array")
        with FlowingArray(machine) as array:
            for index, (entry, way) in enumerate(zip(trace.entries, self.ways, strict=True)):
                what = f"product {index} ({entry})"
                progress(f"{what} of {len(trace.entries)}")
                codes = trace.codes(entry)
                try:
                    runs = _run(array, entry, codes, way)
                except SimulatorError as error:
                    raise SimulatorError(f"{what}: {error}") from error
                cycles += sum(run.cycles for run in runs)
                for each in _checks(what, trace.head, machine, entry, codes, runs):
                    total[each.name] = total[each.name] + each if each.name in total else each
        return Replayed(
            machine=machine.name,
            trace=str(trace.folder),
            recipe=trace.head.recipe,
            model=trace.head.model,
            products=len(trace.entries),
            macs=sum(entry.macs for entry in trace.entries),
            cycles=cycles,
            checks=list(total.values()),
        )


def _run(array: FlowingArray, entry: TraceEntry, codes: Codes, way: Way) -> list[GemmRun]:
    if way.reset:
        array.reset()
    for shape, times in way.zeros:
        array.pass_over(*shape, times)
    return [array.gemm(a, b, entry.a_format, entry.b_format) for a, b in zip(codes.a, codes.b, strict=True)]


def _checks(
    what: str, head: TraceHead, machine: Machine, entry: TraceEntry, codes: Codes, runs: list[GemmRun]
) -> Iterator[Check]:
    words = replace(head.law, issued=entry.issued) if head.stochastic else None
    golden = gemm(codes.a, codes.b, entry.arithmetic(head), words=words)
    rtl = np.stack([run.y for run in runs])
    shape = f"{entry.m} x {entry.k} x {entry.n}, {entry.a_format} x {entry.b_format}"

    def bit(i: int) -> str:
        at = np.unravel_index(i, codes.y.shape)
        values = ", ".join(f"{name} {y[at]:#x}" for name, y in (("trace", codes.y), ("golden", golden), ("RTL", rtl)))
        return f"{what}, {shape}, {entry.file}, y[{', '.join(map(str, at))}]: {values}"

    expected = gemm_cycles(machine, entry.m, entry.k, entry.n)

    def cycle(i: int) -> str:
        return f"{what}, {shape}, group {i}: expected {expected} cycles, got {runs[i].cycles}"

    yield check("golden bits", (golden == codes.y).reshape(-1), bit)
    yield check("RTL bits", (rtl == codes.y).reshape(-1), bit)
    yield check("RTL cycles", np.array([run.cycles == expected for run in runs]), cycle)
