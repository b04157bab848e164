"""Streams of sums through the output unit: what the Verilog makes of them, and what golden's `output` says."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from amaranth.lib import data
from numpy.random import Generator
from numpy.typing import NDArray

from quaver.cosim.cases import sums
from quaver.cosim.simulator import Model
from quaver.cosim.tiles import pack
from quaver.golden import RNE, Format, LaneWords, OutputStatistics, output, sr
from quaver.golden.lfsr import OUTPUT_GENERATORS
from quaver.golden.s2fp8_fixed import FACTOR_FRACTION_BITS, PowerRegisters
from quaver.golden.scaling import SCALE_MAX, SCALE_MIN
from quaver.hw.lfsr import RESEEDING
from quaver.hw.output_lane import slot_bytes
from quaver.hw.output_unit import STATISTICS, results_beat, sums_beat


class Unit(NamedTuple):
    """Parameters of an output unit."""

    source: Format
    targets: tuple[Format, ...]
    random_bits: int
    lanes: int
    seed: int = 0
    squeeze: bool = False


class OutputCase(NamedTuple):
    """Beats that go through the unit without a gap, and how its streams behave."""

    fields: dict[str, NDArray]
    """Members of `sums_beat`, each of shape (beats,); `codes` of shape (beats, lanes)."""
    idle: float = 0.0
    """Probability that the source idles, in each cycle before it offers a beat."""
    stall: float = 0.0
    """Probability that results are not taken in a cycle."""
    report_stall: float = 0.0
    """Probability that a report is not taken in a cycle."""
    reset: bool = False
    """Whether the unit is reset first."""
    reseed: int | None = None
    """Seed from which all generators start anew first."""
    registers: PowerRegisters = PowerRegisters(1 << FACTOR_FRACTION_BITS, 0)
    """Of the squeeze, where the unit has it."""


class OutputRun(NamedTuple):
    """What came of it; cycles are counted from the case's beginning."""

    codes: list[bytes]
    """Of each beat of results."""
    keep: list[int]
    """Bytes in use of each beat, as a mask."""
    last: list[int]
    reports: list[OutputStatistics]
    nans: int
    """Beats that had a NaN."""
    overflows: int
    """Beats that had an overflow."""
    accepted: NDArray | None = None
    """Cycle in which each beat was accepted, its results were taken, and each report was taken."""
    left: NDArray | None = None
    reported: NDArray | None = None


def drawn(rng: Generator, unit: Unit, beats: int, *, reports: float = 0.1) -> dict[str, NDArray]:
    """Beats of any kind; half of them use all lanes, and the powers of two put most sums near the targets' ranges."""
    full = rng.integers(0, 2, beats) == 1
    scale = np.choose(
        rng.integers(0, 8, beats),
        [rng.integers(SCALE_MIN, SCALE_MAX + 1, beats), np.full(beats, SCALE_MIN), np.full(beats, SCALE_MAX)]
        + 5 * [rng.integers(-16, 17, beats)],
    )
    return {
        "codes": sums(rng, unit.source, beats * unit.lanes).reshape(beats, unit.lanes),
        "columns": np.where(full, unit.lanes, rng.integers(1, unit.lanes + 1, beats)),
        "target": rng.integers(0, len(unit.targets), beats),
        "scale": scale,
        "stochastic": rng.integers(0, 2, beats) if unit.random_bits else np.zeros(beats, np.int64),
        "saturate": rng.integers(0, 2, beats),
        **({"squeeze": rng.integers(0, 2, beats)} if unit.squeeze else {}),
        "last": rng.integers(0, 2, beats),
        "report": (rng.random(beats) < reports).astype(np.int64),
    }


def run_rtl(model: Model, unit: Unit, cases: Sequence[OutputCase], seed: int = 0) -> list[OutputRun]:
    """Run `cases` one after the other on a model of the unit, which is idle before each."""
    layout = sums_beat(unit.source, unit.lanes, unit.squeeze)
    beats = [len(case.fields["codes"]) for case in cases]
    reports = [int(case.fields["report"].sum()) for case in cases]
    record = model.run(
        "bench_output",
        {
            "sums": np.concatenate([pack(layout, **case.fields) for case in cases]),
            "reseeding": [_reseeding(unit, case.reseed) for case in cases],
            "beats": beats,
            "reports": reports,
            **{name: [getattr(case.registers, name) for case in cases] for name in PowerRegisters._fields},
            **{name: [getattr(case, name) for case in cases] for name in ("idle", "stall", "report_stall", "reset")},
            "seed": seed,
        },
    )
    ends, report_ends = np.cumsum(beats)[:-1], np.cumsum(reports)[:-1]
    parts = [np.split(record[name], ends) for name in ("results", "accepted", "left")]
    told = [np.split(record[name], report_ends) for name in ("statistics", "reported")]
    return [
        OutputRun(
            *_results(unit, results),
            [_report(row) for row in statistics],
            int(record["nans"][index]),
            int(record["overflows"][index]),
            accepted,
            left,
            reported,
        )
        for index, (results, accepted, left, statistics, reported) in enumerate(zip(*parts, *told, strict=True))
    ]


def run_model(unit: Unit, cases: Sequence[OutputCase]) -> list[OutputRun]:
    """The same from the golden model."""
    law, total = LaneWords(lanes=unit.lanes, seed=unit.seed), OutputStatistics()
    runs = []
    for case in cases:
        if case.reset:
            law, total = LaneWords(lanes=unit.lanes, seed=unit.seed), OutputStatistics()
        if case.reseed is not None:
            law = LaneWords(lanes=unit.lanes, seed=case.reseed)
        run = OutputRun([], [], [], [], 0, 0)
        nans = overflows = 0
        squeezed = case.fields.get("squeeze", np.zeros(len(case.fields["codes"]), np.int64)).tolist()
        fields = [case.fields[name].tolist() for name, _ in sums_beat(unit.source, unit.lanes)]
        for squeeze, codes, columns, target, scale, stochastic, saturate, last, report in zip(
            squeezed, *fields, strict=True
        ):
            fmt = unit.targets[target]
            words = law.of_tensor((unit.lanes,), unit.random_bits)[:columns] if stochastic else None
            got, statistics = output(
                codes[:columns],
                unit.source,
                fmt,
                sr(unit.random_bits) if stochastic else RNE,
                exponent=scale,
                words=words,
                saturate=bool(saturate),
                squeeze=case.registers if squeeze else None,
            )
            law, total = law.after(unit.lanes), total + statistics
            size = slot_bytes(fmt)
            packed = b"".join(code.to_bytes(size, "little") for code in got.tolist())
            run.codes.append(packed.ljust(unit.lanes * max(map(slot_bytes, unit.targets)), b"\0"))
            run.keep.append((1 << len(packed)) - 1)
            run.last.append(last)
            nans += statistics.nans > 0
            overflows += statistics.overflows > 0
            if report:
                run.reports.append(total)
                total = OutputStatistics()
        runs.append(run._replace(nans=nans, overflows=overflows))
    return runs


def _reseeding(unit: Unit, seed: int | None) -> list[int]:
    """Values of the port that start each lane's generator anew."""
    if seed is None:
        return [0] * unit.lanes
    states = LaneWords(lanes=unit.lanes, seed=seed).seeds().tolist()
    return [
        int(RESEEDING.const({"valid": 1, "generator": OUTPUT_GENERATORS + lane, "state": state}).as_value().value)
        for lane, state in enumerate(states)
    ]


def _member(layout: data.StructLayout, beat: int, name: str) -> int:
    field = layout[name]
    value = beat >> field.offset & ((1 << field.width) - 1)
    signed = getattr(field.shape, "signed", False)
    return value - (1 << field.width) if signed and value >> (field.width - 1) else value


def _results(unit: Unit, rows: NDArray) -> tuple[list[bytes], list[int], list[int]]:
    layout = results_beat(unit.targets, unit.lanes)
    beats = [int.from_bytes(row.tobytes(), "little") for row in rows]
    size = layout["codes"].width // 8
    codes = [_member(layout, beat, "codes").to_bytes(size, "little") for beat in beats]
    keep, last = ([_member(layout, beat, name) for beat in beats] for name in ("keep", "last"))
    return codes, keep, last


def _report(row: NDArray) -> OutputStatistics:
    beat = int.from_bytes(row.tobytes(), "little")
    return OutputStatistics(**{name: _member(STATISTICS, beat, name) for name, _ in STATISTICS})
