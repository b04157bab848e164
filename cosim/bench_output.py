"""Bench: beats through an output unit, with idle cycles and back-pressure as asked; results and reports recorded."""

import random

import cocotb
from cocotb.handle import SimHandleBase

from quaver.cosim.bench_streams import TIMEOUT, Sink, Source
from quaver.cosim.job import Cycle, load_job, reset, save_record, settle

AFTERWARDS = 64
"""Quiet cycles behind the last beat of a case, in which no more may come: longer than any unit's latency."""


@cocotb.test()
async def outputs(dut: SimHandleBase) -> None:
    """Stream case after case; each begins on an idle unit, freshly reset or re-seeded where the job says so.

    The job has `sums`, shape (beats, bytes), for all cases; `reseeding`, shape (cases, generators), values of the port
    of that name, each for a cycle, 0 where there is none; and one entry per case of `beats`, `reports`, `idle`,
    `stall`, `report_stall` and `reset`, and of `factor` and `offset` for a unit that squeezes.
    """
    job = load_job()
    rng = random.Random(int(job["seed"]))
    source = Source(dut, "sums", rng)
    results, statistics = Sink(dut, "results", rng), Sink(dut, "statistics", rng)
    beats = [int.from_bytes(row.tobytes(), "little") for row in job["sums"]]
    accepted, left, reported, nans, overflows = [], [], [], [], []
    reseeding, saw_nan, saw_overflow = (getattr(dut, name) for name in ("reseeding", "saw_nan", "saw_overflow"))
    reseeding.value = 0
    await reset(dut)
    for index, count in enumerate(job["beats"].tolist()):
        if job["reset"][index]:
            await reset(dut)
            assert not (results.offered or statistics.offered), "reset leaves something on offer"
        for value in job["reseeding"][index].tolist():
            async with Cycle(dut):
                reseeding.value = value
        reseeding.value = 0
        for name in ("factor", "offset"):
            if hasattr(dut, name):
                getattr(dut, name).value = int(job[name][index]) & 0xFFFFFFFF
        source.load(beats[:count], float(job["idle"][index]))
        del beats[:count]
        results.stall, statistics.stall = float(job["stall"][index]), float(job["report_stall"][index])

        target, reports = results.count + count, statistics.count + int(job["reports"][index])
        quiet, cycle, seen_nan, seen_overflow = 0, 0, 0, 0
        while results.count < target or statistics.count < reports or quiet < AFTERWARDS:
            async with Cycle(dut):
                source.drive()
                results.drive()
                statistics.drive()
                await settle()
                went_in, came_out, told = source.sample(), results.sample(), statistics.sample()
                seen_nan += int(saw_nan.value)
                seen_overflow += int(saw_overflow.value)
            source.release()
            accepted += [cycle] * went_in
            left += [cycle] * came_out
            reported += [cycle] * told
            quiet = 0 if went_in or came_out or told else quiet + 1
            cycle += 1
            assert quiet < TIMEOUT, f"case {index} hangs with {target - results.count} beats of results to come"
        assert results.count == target, f"case {index} gave {results.count - target} beats of results too many"
        assert statistics.count == reports, f"case {index} gave {statistics.count - reports} reports too many"
        assert source.sent == count, f"case {index} left {count - source.sent} beats behind"
        nans.append(seen_nan)
        overflows.append(seen_overflow)
    save_record(
        results=results.beats,
        statistics=statistics.beats,
        accepted=accepted,
        left=left,
        reported=reported,
        nans=nans,
        overflows=overflows,
    )
