"""The weight update behind its ports: packets in, the unit, packets out."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Machine
from quaver.host.beats import lane_bytes, update_bytes
from quaver.hw.axi import BYTE, axi_stream
from quaver.hw.design import place
from quaver.hw.lfsr import RESEEDING
from quaver.hw.packet_loader import TILES, PacketLoader
from quaver.hw.update_unit import SCALARS, UpdateUnit


def update_order(machine: Machine) -> data.StructLayout:
    """An update of `beats` rows of lanes, with its scalars."""
    code = machine.update.format.bits
    return data.StructLayout({"beats": TILES, **{name: code for name in SCALARS}})


class UpdateEngine(wiring.Component):
    """One packet of elements for each order, and one packet of results; an order starts when the one before has left.

    Latency: `Machine.update_latency` from a beat to its result.  Throughput: one beat per cycle.

    Members
    -------
    elements, updated:
        AXI4-Streams, see `quaver.host.beats`.
    orders:
        Stream of `update_order`; an order is taken with its last result.
    reseeding:
        A generator starts anew.
    too_short, too_long:
        As of `PacketLoader`.
    nan:
        A weight that leaves is NaN.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        super().__init__(
            {
                "elements": In(axi_stream(3 * update_bytes(machine))),
                "updated": Out(axi_stream(2 * update_bytes(machine))),
                "orders": In(stream.Signature(update_order(machine))),
                "reseeding": In(RESEEDING),
                "too_short": Out(1),
                "too_long": Out(1),
                "nan": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        machine, kept, order = self.machine, self.machine.update, self.orders.payload
        lanes, bits, width = machine.update_lanes, kept.format.bits, BYTE * lane_bytes((kept.format,))
        loader = place(m, platform, "loader", PacketLoader, 3 * lanes * bits)
        unit = place(m, platform, "unit", UpdateUnit, kept, lanes, machine.mac_depth, machine.seed, machine.sr_adder)
        elements, updated, result = self.elements, self.updated, unit.updated

        # All beats of an order are in the unit, the last one not out yet.
        loaded, left = Signal(), Signal()
        m.d.comb += left.eq(result.valid & result.ready & result.payload.last)
        m.d.sync += loaded.eq((loaded | loader.orders.ready) & ~left)
        m.d.comb += [
            loader.packets.payload.codes.eq(Cat(elements.tdata.word_select(i, width)[:bits] for i in range(3 * lanes))),
            loader.packets.payload.last.eq(elements.tlast),
            loader.packets.valid.eq(elements.tvalid),
            elements.tready.eq(loader.packets.ready),
            loader.orders.payload.tiles.eq(order.beats),
            loader.orders.payload.beats.eq(1),
            loader.orders.payload.final_beats.eq(1),
            loader.orders.valid.eq(self.orders.valid & ~loaded),
            self.orders.ready.eq(left),
            *(getattr(unit, name).eq(getattr(order, name)) for name in SCALARS),
            self.too_short.eq(loader.too_short),
            self.too_long.eq(loader.too_long),
            unit.reseeding.eq(self.reseeding),
        ]
        beats, entering = loader.beats, unit.elements
        codes = [beats.payload.codes.word_select(i, lanes * bits) for i in range(3)]
        m.d.comb += [
            *(
                Value.cast(getattr(entering.payload, name)).eq(code)
                for name, code in zip(("weights", "velocities", "gradients"), codes, strict=True)
            ),
            entering.payload.last.eq(beats.payload.last_tile),
            entering.valid.eq(beats.valid),
            beats.ready.eq(entering.ready),
        ]
        for index in range(2 * lanes):
            part = result.payload.weights if index < lanes else result.payload.velocities
            m.d.comb += updated.tdata.word_select(index, width).eq(part[index % lanes])
        m.d.comb += [
            updated.tlast.eq(result.payload.last),
            updated.tvalid.eq(result.valid),
            result.ready.eq(updated.tready),
            self.nan.eq(result.valid & result.ready & result.payload.nan),
        ]
        return m
