"""Bench: tensors through a weight-update unit, with idle cycles and back-pressure as asked; all beats recorded."""

import random

import cocotb
from cocotb.handle import SimHandleBase

from quaver.cosim.bench_streams import TIMEOUT, Sink, Source
from quaver.cosim.job import Cycle, load_job, reset, save_record, settle

AFTERWARDS = 64
"""Quiet cycles behind the last beat of a case, in which no more may come: longer than any unit's latency."""


@cocotb.test()
async def updates(dut: SimHandleBase) -> None:
    """Stream case after case; each begins on an idle unit, freshly reset where the job says so.

    The job has `elements`, shape (beats, bytes), for all cases, and one entry per case of `beats`, of `scalars` (a code
    for each of the ports `names`), `idle`, `stall` and `reset`.
    """
    job = load_job()
    rng = random.Random(int(job["seed"]))
    source, sink = Source(dut, "elements", rng), Sink(dut, "updated", rng)
    elements = [int.from_bytes(row.tobytes(), "little") for row in job["elements"]]
    accepted, left = [], []
    await reset(dut)
    for index, beats in enumerate(job["beats"].tolist()):
        if job["reset"][index]:
            await reset(dut)
            assert not sink.offered, "reset leaves a beat of results"
        for name, code in zip(job["names"], job["scalars"][index], strict=True):
            getattr(dut, str(name)).value = int(code)
        source.load(elements[:beats], float(job["idle"][index]))
        del elements[:beats]
        sink.stall = float(job["stall"][index])

        target, quiet, cycle = sink.count + beats, 0, 0
        while sink.count < target or quiet < AFTERWARDS:
            async with Cycle(dut):
                source.drive()
                sink.drive()
                await settle()
                went_in, came_out = source.sample(), sink.sample()
            source.release()
            accepted += [cycle] * went_in
            left += [cycle] * came_out
            quiet = 0 if went_in or came_out else quiet + 1
            cycle += 1
            assert quiet < TIMEOUT, f"case {index} hangs with {target - sink.count} beats of results to come"
        assert sink.count == target, f"case {index} gave {sink.count - target} beats of results too many"
        assert source.sent == beats, f"case {index} left {beats - source.sent} beats behind"
    save_record(updated=sink.beats, accepted=accepted, left=left)
