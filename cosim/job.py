"""What the benches share: their job, their record, and one cycle of the clock."""

from types import TracebackType
from typing import Any

import cocotb
import numpy as np
from cocotb.handle import SimHandleBase
from cocotb.triggers import Timer
from numpy.typing import NDArray


def load_job() -> dict[str, NDArray]:
    """The arrays that the runner passed in."""
    with np.load(str(cocotb.plusargs["job"])) as job:
        return dict(job)


def save_record(**arrays: object) -> None:
    """Hand arrays back to the runner."""
    record: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
    np.savez(str(cocotb.plusargs["record"]), **record)


class Cycle:
    """`async with Cycle(dut):` is one clock cycle: inputs are set and outputs read inside, the edge is at its end.

    Between two cycles the clock is low, so that nothing races with an edge.  A combinational device has no clock.
    """

    def __init__(self, dut: SimHandleBase) -> None:
        self.clk = dut.clk if hasattr(dut, "clk") else None

    async def __aenter__(self) -> None:
        if self.clk is not None:
            self.clk.value = 0

    async def __aexit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await settle()
        if self.clk is not None:
            self.clk.value = 1
            await settle()


async def settle() -> None:
    """Let combinational logic follow the inputs."""
    await Timer(1, "ns")


async def reset(dut: SimHandleBase) -> None:
    """Two cycles of reset, for what has one."""
    if not hasattr(dut, "rst"):
        return
    for level in (1, 1, 0):
        dut.rst.value = level
        if level:
            async with Cycle(dut):
                pass
