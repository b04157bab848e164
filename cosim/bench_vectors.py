"""Bench: one vector of inputs per cycle, outputs recorded in each cycle before its edge."""

import cocotb
import numpy as np
from cocotb.handle import SimHandleBase

from quaver.cosim.job import Cycle, load_job, reset, save_record, settle


@cocotb.test()
async def vectors(dut: SimHandleBase) -> None:
    """Drive each array `in_PORT` of shape (cycles, bytes) and record each port named in `outputs` likewise."""
    job = load_job()
    inputs = {
        getattr(dut, name.removeprefix("in_")): [int.from_bytes(row.tobytes(), "little") for row in rows]
        for name, rows in job.items()
        if name.startswith("in_")
    }
    ports = [getattr(dut, str(name)) for name in job["outputs"]]
    records = [bytearray() for _ in ports]
    widths = [(len(port) + 7) // 8 for port in ports]
    for port in inputs:
        port.value = 0
    await reset(dut)
    for values in zip(*inputs.values(), strict=True):
        async with Cycle(dut):
            for port, value in zip(inputs, values, strict=True):
                port.value = value
            await settle()
            for record, port, width in zip(records, ports, widths, strict=True):
                record += int(port.value).to_bytes(width, "little")
    save_record(
        **{
            str(name): np.frombuffer(bytes(record), np.uint8).reshape(-1, width)
            for name, record, width in zip(job["outputs"], records, widths, strict=True)
        }
    )
