"""Registers on AXI4-Lite: identity, control and status, commands, reports, performance counters."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Machine
from quaver.host.registers import ADDRESS_BITS, COUNTERS, REPORT, STATUS_BITS, Register, register_map
from quaver.hw.commands import command_layout, powers

WORD = 32
OKAY, SLVERR = 0, 2
"""Responses of AXI."""
EVENTS = data.StructLayout({name: 1 for name in STATUS_BITS})
"""What sets the bits of `STATUS`."""
COUNTED = data.StructLayout({name: 21 if name == "macs" else 1 for name in COUNTERS if name != "cycles"})
"""What the counters add in a cycle."""
REPORT_LAYOUT = data.StructLayout({name: width for name, (width, _, _) in REPORT.items()})
"""A report of statistics, as the registers show it."""


AXI_LITE = wiring.Signature(
    {
        **{"awaddr": Out(ADDRESS_BITS), "awprot": Out(3), "awvalid": Out(1), "awready": In(1)},
        **{"wdata": Out(WORD), "wstrb": Out(WORD // 8), "wvalid": Out(1), "wready": In(1)},
        **{"bresp": In(2), "bvalid": In(1), "bready": Out(1)},
        **{"araddr": Out(ADDRESS_BITS), "arprot": Out(3), "arvalid": Out(1), "arready": In(1)},
        **{"rdata": In(WORD), "rresp": In(2), "rvalid": In(1), "rready": Out(1)},
    }
)
"""AXI4-Lite, as a manager sees it."""


class ControlRegisters(wiring.Component):
    """The register map of `quaver.host.registers` in hardware.

    An access to an address without a register, a write to a read-only one and a command that is not queued are answered
    with SLVERR.  Latency: the response comes one cycle after address and data.  Throughput: one access per two cycles.

    Members
    -------
    bus:
        AXI4-Lite.
    irq:
        A bit is set in `STATUS` and in `INTERRUPT`.
    events, counted, free, busy, done:
        From the machine: what to note, to count, to show.
    command, issue, refused:
        The command that is written, that it is issued, that it is not queued.
    hold, flush, reset:
        To the machine: commands wait; operands are dropped; start anew, for one cycle.
    report, reports, next_report:
        The report to show, how many there are, go on to the next one.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.map = register_map(machine)
        super().__init__(
            {
                "bus": In(AXI_LITE),
                "irq": Out(1),
                "events": In(EVENTS),
                "counted": In(COUNTED),
                "free": In(range(machine.queue_depth + 1)),
                "busy": In(1),
                "done": In(1),
                "command": Out(command_layout(machine)),
                "issue": Out(1),
                "refused": In(1),
                "hold": Out(1),
                "flush": Out(1),
                "reset": Out(1),
                "report": In(REPORT_LAYOUT),
                "reports": In(8),
                "next_report": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus = self.bus
        write, read = Signal(), Signal()
        m.d.comb += [
            write.eq(bus.awvalid & bus.wvalid & (~bus.bvalid | bus.bready)),
            bus.awready.eq(write),
            bus.wready.eq(write),
            read.eq(bus.arvalid & (~bus.rvalid | bus.rready)),
            bus.arready.eq(read),
        ]
        m.d.sync += [
            bus.bvalid.eq(write | (bus.bvalid & ~bus.bready)),
            bus.rvalid.eq(read | (bus.rvalid & ~bus.rready)),
        ]
        self._written = {name: Signal(name=f"written_{name}") for name, r in self.map.items() if r.access != "ro"}
        values = self._values(m, read)

        good = Signal()
        with m.If(write):
            m.d.sync += bus.bresp.eq(Mux(good & ~(self.issue & self.refused), OKAY, SLVERR))
            with m.Switch(bus.awaddr[2:]):
                for name, strobe in self._written.items():
                    with m.Case(self.map[name].offset >> 2):
                        m.d.comb += [strobe.eq(1), good.eq(1)]
        with m.If(read):
            m.d.sync += [bus.rdata.eq(0), bus.rresp.eq(SLVERR)]
            with m.Switch(bus.araddr[2:]):
                for name, register in self.map.items():
                    with m.Case(register.offset >> 2):
                        m.d.sync += [bus.rdata.eq(values.get(name, Const(0, 1))), bus.rresp.eq(OKAY)]
        return m

    def _values(self, m: Module, read: Value) -> dict[str, Value]:
        """What each register reads; one that is only written reads 0."""
        values: dict[str, Value] = {
            name: Const(register.constant, WORD) for name, register in self.map.items() if register.constant is not None
        }
        stored = {name: self._stored(m, name) for name, register in self.map.items() if register.access == "rw"}
        values |= stored
        self._control(m, stored, values)
        self._command(m, stored)
        self._counters(m, values, read)

        shown = self.report
        for name, (width, _, _) in REPORT.items():
            value = Value.cast(getattr(shown, name))
            parts = {"": value} if width == WORD else {"_LOW": value[:WORD], "_HIGH": value[WORD:]}
            values |= {f"REPORT_{name.upper()}{suffix}": part for suffix, part in parts.items()}
        m.d.comb += self.next_report.eq(self._written["REPORT_NEXT"])
        return values

    def _stored(self, m: Module, name: str) -> Signal:
        """A register that keeps what is written, byte by byte."""
        value = Signal(WORD, name=name.lower())
        with m.If(self._written[name]):
            for byte in range(WORD // 8):
                with m.If(self.bus.wstrb[byte]):
                    m.d.sync += value.word_select(byte, 8).eq(self.bus.wdata.word_select(byte, 8))
        return value

    def _control(self, m: Module, stored: dict[str, Signal], values: dict[str, Value]) -> None:
        control, status = self.map["CONTROL"], Signal(EVENTS)
        written = self._written["CONTROL"] & self.bus.wstrb[0]
        self._clear = Signal()
        m.d.comb += [
            self.hold.eq(_field(stored["CONTROL"], control, "hold")),
            self.flush.eq(_field(stored["CONTROL"], control, "flush")),
            self.reset.eq(written & _field(self.bus.wdata, control, "reset")),
            self._clear.eq(written & _field(self.bus.wdata, control, "clear")),
            self.irq.eq((Value.cast(status) & stored["INTERRUPT"]).any()),
        ]
        mask = Cat(self.bus.wstrb[byte].replicate(8) for byte in range(WORD // 8))
        clearing = self.bus.wdata & mask & self._written["STATUS"].replicate(WORD)
        m.d.sync += status.eq((Value.cast(status) & ~clearing) | Value.cast(self.events))

        completed = Signal(WORD)
        with m.If(self.reset):
            m.d.sync += completed.eq(0)
        with m.Elif(self.done):
            m.d.sync += completed.eq(completed + 1)
        activity = self.map["ACTIVITY"]
        values |= {
            # The other bits of CONTROL are orders, not settings.
            "CONTROL": _placed({control["hold"].low: self.hold, control["flush"].low: self.flush}),
            "STATUS": Value.cast(status),
            "COMPLETED": completed,
            "ACTIVITY": _placed(
                {
                    activity["free"].low: self.free,
                    activity["reports"].low: self.reports,
                    activity["busy"].low: self.busy,
                }
            ),
        }

    def _command(self, m: Module, stored: dict[str, Signal]) -> None:
        """The command is spread over the registers, its last word being the write that issues it."""
        issued, command = self.map["COMMAND_ISSUE"], self.command
        words: dict[str, Value] = {**stored, "COMMAND_ISSUE": self.bus.wdata}
        m.d.comb += [
            command.rows.eq(stored["COMMAND_ROWS"]),
            command.tiles.eq(stored["COMMAND_TILES"]),
            self.issue.eq(self._written[issued.name]),
        ]
        for name in powers(self.machine, "a", "b", "squeeze"):
            m.d.comb += getattr(command, name).eq(stored[f"COMMAND_{name.upper()}"])
        for register in map(self.map.__getitem__, ("COMMAND_SHAPE", "COMMAND_RESULT", "COMMAND_ISSUE")):
            for field in register.fields:
                m.d.comb += getattr(command, field.name).eq(_field(words[register.name], register, field.name))

    def _counters(self, m: Module, values: dict[str, Value], read: Value) -> None:
        high = Signal(WORD)
        for name in COUNTERS:
            count = Signal(2 * WORD, name=f"count_{name}")
            with m.If(self._clear):
                m.d.sync += count.eq(0)
            with m.Else():
                m.d.sync += count.eq(count + (1 if name == "cycles" else getattr(self.counted, name)))
            register = f"COUNT_{name.upper()}"
            with m.If(read & (self.bus.araddr[2:] == self.map[f"{register}_LOW"].offset >> 2)):
                m.d.sync += high.eq(count[WORD:])
            values |= {f"{register}_LOW": count[:WORD], f"{register}_HIGH": high}


def _field(word: Value, register: Register, name: str) -> Value:
    field = register[name]
    return word[field.low : field.low + field.width]


def _placed(parts: dict[int, Value]) -> Value:
    """A word with each of `parts` at its lowest bit."""
    word: Value = Const(0, WORD)
    for low, part in parts.items():
        word = word | (part << low)
    return word[:WORD]
