"""The registers by themselves: what a whole machine would need too long for, or meets by chance only."""

import pytest
from amaranth.hdl import Value
from amaranth.sim import Simulator

from quaver.golden import PRESETS
from quaver.host.registers import STATUS_BITS, register_map
from quaver.hw.control import COUNTED, ControlRegisters

MACHINE = PRESETS["tiny"]
MAP = register_map(MACHINE)
MACS = (1 << COUNTED["macs"].width) - 1
"""Most multiply-accumulates of a cycle."""


async def perform(ctx, registers, name, word=None):
    """Read a register, or write `word`, in the current cycle; ends in the next one with what was read."""
    bus, address = registers.bus, MAP[name].offset
    reading = [(bus.araddr, address)]
    writing = [(bus.awaddr, address), (bus.wdata, word), (bus.wstrb, 0xF)]
    valids = (bus.arvalid,) if word is None else (bus.awvalid, bus.wvalid)
    for signal, value in reading if word is None else writing:
        ctx.set(signal, value)
    for valid in valids:
        ctx.set(valid, 1)
    await ctx.tick()
    for valid in valids:
        ctx.set(valid, 0)
    return ctx.get(bus.rdata)


@pytest.fixture
def simulate():
    """Runner of a testbench on registers whose master is always ready for answers."""

    def run(testbench):
        registers, finished = ControlRegisters(MACHINE), []

        async def wrapped(ctx):
            ctx.set(registers.bus.bready, 1)
            ctx.set(registers.bus.rready, 1)
            await testbench(ctx, registers)
            finished.append(True)

        simulator = Simulator(registers)
        simulator.add_clock(1e-6)
        simulator.add_testbench(wrapped)
        simulator.run()
        assert finished == [True]

    return run


def test_reading_the_low_word_latches_the_high_one(simulate):
    async def testbench(ctx, registers):
        await perform(ctx, registers, "CONTROL", 4)
        ctx.set(registers.counted.macs, MACS)
        pairs = []
        for cycles in (5, 2042, 3000):
            await ctx.tick().repeat(cycles)
            # In the cycle of the first access all cycles before it are counted.
            low = await perform(ctx, registers, "COUNT_MACS_LOW")
            await ctx.tick().repeat(2100)
            high = await perform(ctx, registers, "COUNT_MACS_HIGH")
            pairs.append(high << 32 | low)
        spent = [5, 5 + 2102 + 2042, 5 + 2 * 2102 + 2042 + 3000]
        assert pairs == [cycles * MACS for cycles in spent]
        # In between, high words had gone on: read at once they would have been others.
        assert [pair >> 32 for pair in pairs] != [(cycles + 2101) * MACS >> 32 for cycles in spent]
        await perform(ctx, registers, "CONTROL", 4)
        ctx.set(registers.counted.macs, 0)
        assert await perform(ctx, registers, "COUNT_MACS_LOW") == 0
        assert await perform(ctx, registers, "COUNT_MACS_HIGH") == 0

    simulate(testbench)


@pytest.mark.parametrize("bit", range(len(STATUS_BITS)), ids=list(STATUS_BITS))
def test_an_event_while_its_bit_is_cleared_is_not_lost(simulate, bit):
    async def testbench(ctx, registers):
        events, everything = Value.cast(registers.events), (1 << len(STATUS_BITS)) - 1
        await perform(ctx, registers, "INTERRUPT", 1 << bit)
        statuses = []
        for event, clearing in ((1, 0), (1, everything), (0, everything ^ 1 << bit), (0, 1 << bit), (0, 0)):
            ctx.set(events, event << bit)
            await perform(ctx, registers, "STATUS", clearing)
            ctx.set(events, 0)
            irq = ctx.get(registers.irq)
            statuses.append((await perform(ctx, registers, "STATUS"), irq))
        assert statuses == [(1 << bit, 1), (1 << bit, 1), (1 << bit, 1), (0, 0), (0, 0)]

    simulate(testbench)
