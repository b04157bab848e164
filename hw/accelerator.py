"""The accelerator: AXI ports, registers, and the core behind them."""

from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Machine
from quaver.hw.control import AXI_LITE, ControlRegisters
from quaver.hw.core import Core, streams
from quaver.hw.design import place

PORTS = {"a": "s_axis_a", "b": "s_axis_b", "results": "m_axis", "elements": "s_axis_u", "updated": "m_axis_u"}
"""Names of the streams of `Core` at the top."""


class Accelerator(wiring.Component):
    """The machine, complete up to its AXI ports.

    Ports
    -----
    aclk, aresetn:
        Clock, and synchronous reset, active low.
    irq:
        Interrupt, active high, level-sensitive.
    s_axil_*:
        AXI4-Lite: the registers of `quaver.host.registers`.
    s_axis_a_*, s_axis_b_*:
        AXI4-Stream: operands, one packet per command, as `quaver.host.beats` lays them out.
    m_axis_*:
        AXI4-Stream: results, one packet per command that has any; `tkeep` marks the lanes of the command's columns.
    s_axis_u_*, m_axis_u_*:
        AXI4-Stream: elements of weight updates, and what they become; of machines with `update_lanes`.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._interfaces = {"s_axil": In(AXI_LITE)}
        self._interfaces |= {PORTS[name]: member for name, member in streams(machine).items()}
        # Flat, because tools know AXI by the names of its signals.
        flat = {
            f"{port}_{name}": member
            for port, interface in self._interfaces.items()
            for name, member in interface.signature.members.items()
        }
        super().__init__({"aclk": In(1), "aresetn": In(1), "irq": Out(1), **flat})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = ClockDomain()
        control = place(m, platform, "registers", ControlRegisters, self.machine)
        core = place(m, platform, "core", Core, self.machine, reset=control.reset)
        m.d.comb += [
            ClockSignal().eq(self.aclk),
            ResetSignal().eq(~self.aresetn),
            self.irq.eq(control.irq),
            *(getattr(core, name).eq(getattr(control, name)) for name in ("command", "issue", "hold", "next_report")),
            *(
                getattr(control, name).eq(getattr(core, name))
                for name in ("refused", "free", "busy", "done", "events", "counted", "report", "reports")
            ),
        ]
        inside = {"s_axil": control.bus, **{PORTS[name]: getattr(core, name) for name in streams(self.machine)}}
        for port, interface in self._interfaces.items():
            for name, member in interface.signature.members.items():
                outer, inner = getattr(self, f"{port}_{name}"), getattr(inside[port], name)
                m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)
        # Here, and not in the core: what a reset has left on the streams must not reach the core that it has emptied.
        with m.If(control.flush):
            for name, member in streams(self.machine).items():
                if member.flow == In:
                    m.d.comb += [getattr(core, name).tvalid.eq(0), getattr(self, f"{PORTS[name]}_tready").eq(1)]
        return m
