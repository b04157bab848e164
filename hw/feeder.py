"""The scratchpad of the moving operand, and the sequence in which the array is fed from it."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quaver.golden import Machine
from quaver.hw.packet_loader import BEATS, TILES, loaded_beat
from quaver.hw.streams import activation_beat, choice, code_bits, has_choice, os_activation_beat


def feed_order(machine: Machine) -> data.StructLayout:
    """A command as the feeder sees it; see `quaver.golden.Matmul`."""
    return data.StructLayout(
        {
            "rows": BEATS,
            "columns": machine.columns.bit_length(),
            "tiles": TILES,
            "depth": machine.rows.bit_length(),
            "first": 1,
            "last": 1,
            "keep": 1,
            **choice(machine.moving_formats),
        }
    )


class Feeder(wiring.Component):
    """A ring of beats that are read in order, and again where a command keeps them; and what the array has to know.

    Latency: two cycles from a beat to the array.  Throughput: one beat per cycle, without a gap between orders.

    Members
    -------
    beats:
        Stream of `loaded_beat` with `rows` codes, in the order of the commands.
    orders:
        Stream of `feed_order`; an order is taken when its last beat is read.
    activations:
        Stream of `activation_beat` or, with `os`, of `os_activation_beat`.
    products, columns:
        Products of the activation beat in a column, without padding, and columns of its command.
    fed:
        The array takes the last beat of an order in this cycle.
    starved:
        There is an order, but no beat for the array.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.width = machine.rows * code_bits(machine.moving_formats)
        self.beat = os_activation_beat(machine) if machine.dataflow == "os" else activation_beat(machine)
        super().__init__(
            {
                "beats": In(stream.Signature(loaded_beat(self.width))),
                "orders": In(stream.Signature(feed_order(machine))),
                "activations": Out(stream.Signature(self.beat)),
                "products": Out(machine.rows.bit_length()),
                "columns": Out(machine.columns.bit_length()),
                "fed": Out(1),
                "starved": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        machine, depth = self.machine, self.machine.scratchpad_depth
        beats, order, out = self.beats, self.orders.payload, self.activations
        m.submodules.memory = memory = Memory(shape=self.width, depth=depth, init=[])
        port, source = memory.write_port(), memory.read_port()

        # A slot is used from its beat's arrival until the beat is read by a command that does not keep it.
        head, tail, base = Signal(range(depth)), Signal(range(depth)), Signal(range(depth))
        used, unread, taken = Signal(range(depth + 1)), Signal(range(depth + 1)), Signal(range(depth + 1))
        write, read, end = Signal(), Signal(), Signal()
        m.d.comb += [
            self.beats.ready.eq(used != depth),
            write.eq(beats.valid & beats.ready),
            port.addr.eq(head),
            port.data.eq(beats.payload.codes),
            port.en.eq(write),
        ]
        following = Signal(range(depth))
        m.d.comb += following.eq(Mux(tail == depth - 1, 0, tail + 1))
        again = read & end & order.keep
        with m.If(write):
            m.d.sync += head.eq(Mux(head == depth - 1, 0, head + 1))
        m.d.sync += [
            used.eq(used + write - (read & ~order.keep)),
            unread.eq(unread + write - read + Mux(again, taken + 1, 0)),
        ]
        with m.If(read):
            m.d.sync += [taken.eq(Mux(end, 0, taken + 1)), tail.eq(Mux(again, base, following))]
            with m.If(~order.keep):
                m.d.sync += base.eq(following)

        # The beats of a tile, tile after tile.
        per_tile = machine.interleave if machine.dataflow == "os" else order.rows
        index, tile = Signal(BEATS), Signal(TILES)
        advance, tile_end, last_tile = Signal(), Signal(), Signal()
        m.d.comb += [
            advance.eq(~out.valid | out.ready),
            read.eq(advance & self.orders.valid & unread.any()),
            tile_end.eq(index == per_tile - 1),
            last_tile.eq(tile == order.tiles - 1),
            end.eq(tile_end & last_tile),
            self.orders.ready.eq(read & end),
            source.addr.eq(tail),
            source.en.eq(advance),
        ]
        with m.If(read):
            m.d.sync += index.eq(Mux(tile_end, 0, index + 1))
            with m.If(tile_end):
                m.d.sync += tile.eq(Mux(last_tile, 0, tile + 1))

        # What goes with the codes that the memory gives.
        shown, shown_end = Signal(self.beat), Signal()
        with m.If(advance):
            m.d.sync += [
                out.valid.eq(read),
                shown.first.eq(order.first & (tile == 0)),
                shown.last.eq(order.last & last_tile),
                shown_end.eq(end),
                self.columns.eq(order.columns),
            ]
            if has_choice(shown):
                m.d.sync += shown.format.eq(order.format)
        m.d.comb += [
            out.payload.eq(shown),
            self.fed.eq(out.valid & out.ready & shown_end),
            self.starved.eq(self.orders.valid & ~out.valid),
        ]
        codes = out.payload.codes
        if machine.dataflow == "os":
            rows, slot = Signal(machine.block_rows.bit_length()), Signal(range(max(2, machine.interleave)))
            used = [rows > row * machine.interleave + slot for row in range(machine.rows)]
            with m.If(advance):
                m.d.sync += [shown.rows.eq(order.rows), rows.eq(order.rows), slot.eq(index)]
            m.d.comb += [Value.cast(codes).eq(source.data), self.products.eq(sum(used))]
        else:
            products = Signal(machine.rows.bit_length())
            with m.If(advance):
                m.d.sync += [
                    shown.start.eq(index == 0),
                    products.eq(Mux(last_tile, order.depth, machine.rows)),
                ]
            # Rows that the tile does not use must be +0, whatever the host put there.
            present = Cat((products > row).replicate(self.width // machine.rows) for row in range(machine.rows))
            m.d.comb += [Value.cast(codes).eq(source.data & present), self.products.eq(products)]
        return m
