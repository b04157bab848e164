"""Bench: sequences of commands on the whole accelerator, driven over AXI by the host's driver."""

import itertools
import json
import random
from collections.abc import Coroutine, Iterator
from dataclasses import asdict
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotb.utils import get_sim_time
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

from quaver.cosim.job import load_job, save_record
from quaver.golden import Machine
from quaver.golden.commands import Matmul, Reseed, Update
from quaver.host.driver import Driver, Refused
from quaver.host.registers import register_map

WORD = 4
PERIOD = 2
"""Of the clock, in nanoseconds."""
KINDS = {"matmul": Matmul, "reseed": Reseed, "update": Update}


class LiteBus:
    """`quaver.host.driver.Bus` over cocotbext-axi's AXI4-Lite master."""

    def __init__(self, master: AxiLiteMaster) -> None:
        self._master = master

    async def read(self, address: int) -> int:
        response = await self._master.read(address, WORD)
        if response.resp != AxiResp.OKAY:
            raise Refused(f"reading {address:#x}")
        return int.from_bytes(response.data, "little")

    async def write(self, address: int, word: int) -> None:
        await self.write_bytes(address, word.to_bytes(WORD, "little"))

    async def write_bytes(self, address: int, data: bytes) -> None:
        """Write some bytes of a word, and strobe no others."""
        response = await self._master.write(address, data)
        if response.resp != AxiResp.OKAY:
            raise Refused(f"writing {address:#x}")


class Testbench:
    """The device with its masters, sources and sinks; every one of them can be made to hesitate."""

    def __init__(self, dut: Any, machine: Machine, rng: random.Random, timeout: int) -> None:
        self.dut, self.rng, self.timeout = dut, rng, timeout
        clock, reset = dut.aclk, dut.aresetn
        Clock(clock, PERIOD, "ns").start()
        lite = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axil"), clock, reset, reset_active_level=False)
        updates = machine.update_lanes > 0
        self.sources = {
            port: AxiStreamSource(
                AxiStreamBus.from_prefix(dut, f"s_axis_{port}"), clock, reset, reset_active_level=False
            )
            for port in ("abu" if updates else "ab")
        }
        self.sinks = {
            name: AxiStreamSink(AxiStreamBus.from_prefix(dut, prefix), clock, reset, reset_active_level=False)
            for name, prefix in (("results", "m_axis"), ("updated", "m_axis_u"))[: 1 + updates]
        }
        self._lite = [
            lite.write_if.aw_channel,
            lite.write_if.w_channel,
            lite.write_if.b_channel,
            lite.read_if.ar_channel,
            lite.read_if.r_channel,
        ]
        for end in (lite, *self.sources.values(), *self.sinks.values()):
            for part in (end, *(getattr(end, name) for name in ("write_if", "read_if") if hasattr(end, name))):
                if hasattr(part, "log"):
                    part.log.setLevel("WARNING")
        self.machine, self.registers = machine, LiteBus(lite)

    async def reset(self) -> None:
        self.driver = Driver(self.machine, self.registers)
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, 3)
        self.forget()
        self.dut.aresetn.value = 1
        await ClockCycles(self.dut.aclk, 2)

    def halt(self, on: bool) -> None:
        """Stop all sources and sinks, in the middle of packets too, which they forget; or let them start anew."""
        for end in (*self.sources.values(), *self.sinks.values()):
            end.assert_reset(on)
        self.forget()

    def forget(self) -> None:
        """Drop the packets that were to be sent, and those that were received."""
        for end in (*self.sources.values(), *self.sinks.values()):
            end.clear()

    def hesitate(self, a: float, b: float, results: float, registers: float) -> None:
        """Probability with which each of the ends idles or is not ready in a cycle."""
        probabilities = {"a": a, "b": b, "u": a, "results": results, "updated": results}
        ends = [(end, probabilities[name]) for name, end in (self.sources | self.sinks).items()]
        for end, probability in (*ends, *((channel, registers) for channel in self._lite)):
            if probability:
                end.set_pause_generator(self._pauses(probability))
            else:
                end.clear_pause_generator()
                end.pause = False

    def _pauses(self, probability: float) -> Iterator[bool]:
        return (self.rng.random() < probability for _ in itertools.count())


class Script:
    """The steps of a script; what a step finds out is its value in the record, None where there is nothing to say."""

    def __init__(self, testbench: Testbench, packets: list[bytes]) -> None:
        self._bench, self._packets = testbench, packets
        self._issue = register_map(testbench.machine)["COMMAND_ISSUE"].offset
        self.received: dict[str, list[bytes]] = {"results": [], "updated": []}

    async def reset(self) -> None:
        """The reset port, for three cycles; what was to be sent is forgotten, and what was received."""
        await self._bench.reset()

    async def hesitate(self, a: float, b: float, results: float, registers: float) -> None:
        """Let the ends of the channels idle, or not be ready, with these probabilities."""
        self._bench.hesitate(a, b, results, registers)

    async def send(self, port: str, index: int) -> None:
        """Queue packet number `index` for a port; an empty one is none."""
        if self._packets[index]:
            self._bench.sources[port].send_nowait(AxiStreamFrame(self._packets[index]))

    async def issue(self, kind: str, **members: int) -> bool:
        """Queue a command when there is room; whether the machine took it."""
        driver, start = self._bench.driver, get_sim_time("ns")
        while not await driver.room():
            self._in_time(start)
        return await self._granted(driver.issue(KINDS[kind](**members)))

    async def push(self, kind: str, **members: int) -> bool:
        """Queue a command whether there is room or not; whether the machine took it."""
        return await self._granted(self._bench.driver.issue(KINDS[kind](**members)))

    async def write(self, name: str, word: int) -> bool:
        """Write a register; whether the machine let us."""
        return await self._granted(self._bench.driver.write(name, word))

    async def read(self, name: str) -> int:
        """Read a register."""
        return await self._bench.driver.read(name)

    async def identify(self) -> None:
        """Fail unless the machine is the one described."""
        await self._bench.driver.check_identity()

    async def hold(self, on: bool) -> None:
        """Let queued commands wait, or let them go."""
        await self._bench.driver.hold(on)

    async def restart(self, flush: bool = False) -> None:
        """Reset by command; `flush`: and drop what the sources send."""
        await self._bench.driver.reset(flush=flush)

    async def flush(self, on: bool) -> None:
        """Let the machine drop what the sources send, or not."""
        await self._bench.driver.flush(on)

    async def halt(self, on: bool) -> None:
        """Stop sources and sinks, which forget their packets, or let them start anew."""
        self._bench.halt(on)

    async def sent(self) -> None:
        """Wait until the sources have nothing more to send; fail if that takes too long."""
        start = get_sim_time("ns")
        while not all(source.idle() for source in self._bench.sources.values()):
            self._in_time(start)
            await ClockCycles(self._bench.dut.aclk, 1)

    async def pause(self, name: str, on: bool) -> None:
        """Let a source or a sink idle, or go on."""
        (self._bench.sources | self._bench.sinks)[name].pause = on

    async def peek(self, address: int) -> int | None:
        """The word at an address; None if the machine refuses."""
        try:
            return await self._bench.registers.read(address)
        except Refused:
            return None

    async def poke(self, address: int, data: list[int]) -> bool:
        """Write some bytes from an address on, and strobe no others of their word; whether the machine let us."""
        return await self._granted(self._bench.registers.write_bytes(address, bytes(data)))

    async def clear_status(self, *names: str) -> None:
        """Clear sticky bits."""
        await self._bench.driver.clear_status(*names)

    async def now(self) -> int:
        """Cycles of the clock so far."""
        return int(get_sim_time("ns")) // PERIOD

    async def interrupted(self, kind: str, **members: int) -> int:
        """Cycles from the one in which a command is written to the first one with the interrupt line high."""
        dut, start = self._bench.dut, get_sim_time("ns")
        pushed = cocotb.start_soon(self.push(kind, **members))
        written, cycles = False, 0
        while not (written and int(dut.irq.value)):
            self._in_time(start)
            await RisingEdge(dut.aclk)
            cycles += written
            taken = int(dut.s_axil_awvalid.value) and int(dut.s_axil_awready.value)
            written |= bool(taken) and int(dut.s_axil_awaddr.value) == self._issue
        assert await pushed
        return cycles

    async def clear(self) -> None:
        """Clear counters and sticky status."""
        await self._bench.driver.clear_counters()
        await self._bench.driver.clear_status()

    async def cycles(self, count: int) -> None:
        """Let time pass."""
        await ClockCycles(self._bench.dut.aclk, count)

    async def idle(self) -> None:
        """Wait until nothing is queued or under way; fail if that takes too long."""
        start = get_sim_time("ns")
        while await self._bench.driver.busy():
            self._in_time(start)
            await ClockCycles(self._bench.dut.aclk, 8)

    async def status(self) -> list[str]:
        """Sticky bits that are set, by name."""
        return sorted(await self._bench.driver.status())

    async def irq(self) -> int:
        """The interrupt line."""
        return int(self._bench.dut.irq.value)

    async def enable(self, *names: str) -> None:
        """Enable interrupts, and no others."""
        await self._bench.driver.enable_interrupt(*names)

    async def counters(self) -> dict[str, int]:
        """The performance counters."""
        return await self._bench.driver.counters()

    async def completed(self) -> int:
        """Commands completed since reset."""
        return await self._bench.driver.completed()

    async def report(self) -> dict[str, int] | None:
        """The oldest report of statistics."""
        report = await self._bench.driver.report()
        return None if report is None else asdict(report)

    async def next_report(self) -> dict[str, int]:
        """The oldest report of statistics, when there is one."""
        start = get_sim_time("ns")
        while (report := await self.report()) is None:
            self._in_time(start)
        return report

    async def take(self, name: str) -> int:
        """Take the packets that have come to a sink, `results` or `updated`; how many they are."""
        count, sink = 0, self._bench.sinks.get(name)
        while sink is not None and not sink.empty():
            self.received[name].append(bytes(sink.recv_nowait().tdata))
            count += 1
        return count

    async def quiet(self, count: int) -> bool:
        """Let time pass; whether nothing came, nothing waits to be sent, and nothing is half received."""
        await ClockCycles(self._bench.dut.aclk, count)
        sources, sinks = self._bench.sources.values(), self._bench.sinks.values()
        return all(source.idle() for source in sources) and all(sink.empty() and sink.idle() for sink in sinks)

    def _in_time(self, start: float) -> None:
        assert get_sim_time("ns") - start < PERIOD * self._bench.timeout, "the machine hangs"

    async def _granted(self, access: Coroutine[None, None, None]) -> bool:
        try:
            await access
        except Refused:
            return False
        return True


@cocotb.test()
async def play(dut: Any) -> None:
    """Play a script.

    The job has `machine` and `script`, JSON: a machine's table, and a list of steps, each the name of a method of
    `Script` and its arguments; `packets`, the bytes of all packets, and `lengths`, how long each one is; `seed`, of the
    hesitations; `timeout` in cycles.  The record has `log`, JSON, a value per step, and the packets of `results` and of
    `updated` as the job has its own.
    """
    job = load_job()
    machine = Machine.from_dict(json.loads(str(job["machine"])))
    testbench = Testbench(dut, machine, random.Random(int(job["seed"])), int(job["timeout"]))
    everything, ends = job["packets"].tobytes(), np.cumsum(job["lengths"]).tolist()
    script = Script(testbench, [everything[start:end] for start, end in zip([0, *ends], ends, strict=False)])
    await testbench.reset()
    log = []
    for name, arguments, members in json.loads(str(job["script"])):
        log.append(await getattr(script, name)(*arguments, **members))
    save_record(
        log=json.dumps(log),
        **{name: np.frombuffer(b"".join(packets), np.uint8) for name, packets in script.received.items()},
        **{f"{name}_lengths": np.array([*map(len, packets)], np.int64) for name, packets in script.received.items()},
    )
