"""Packets of a stream become the beats that a command asks for, no fewer and no more."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quaver.golden.commands import ROWS_MAX, TILES_MAX

BEATS = ROWS_MAX.bit_length()
"""Width of a number of beats within a tile."""
TILES = TILES_MAX.bit_length()
"""Width of a number of tiles."""


def packet_beat(width: int) -> data.StructLayout:
    """A beat of an AXI4-Stream: `codes`, and `last` at the end of a packet."""
    return data.StructLayout({"codes": width, "last": 1})


ORDER = data.StructLayout({"tiles": TILES, "beats": BEATS, "final_beats": BEATS})
"""A packet to come: `tiles` tiles of `beats` beats, but `final_beats` in the last one; none of them 0."""


def loaded_beat(width: int) -> data.StructLayout:
    """A beat with its `index` in its tile; `tile_end`: the last one of it; `last_tile`: its tile is the last one."""
    return data.StructLayout({"codes": width, "index": BEATS, "tile_end": 1, "last_tile": 1})


class PacketLoader(wiring.Component):
    """Cut a stream into tiles, one packet for each order.

    A packet that ends early is filled up with zeros, one that goes on too long is cut: the next order finds the next
    packet, whatever this one was.

    Latency: combinational.  Throughput: one beat per cycle, without a gap between orders.

    Parameters
    ----------
    width:
        Bits of a beat's codes.

    Members
    -------
    packets:
        Stream of `packet_beat`.
    orders:
        Stream of `ORDER`; an order is taken with its last beat.
    beats:
        Stream of `loaded_beat`.
    too_short, too_long:
        A packet ended before, or did not end with, the last beat of its order; for one cycle.
    """

    def __init__(self, width: int) -> None:
        super().__init__(
            {
                "packets": In(stream.Signature(packet_beat(width))),
                "orders": In(stream.Signature(ORDER)),
                "beats": Out(stream.Signature(loaded_beat(width))),
                "too_short": Out(1),
                "too_long": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        packets, orders, beats, order = self.packets, self.orders, self.beats, self.orders.payload
        index, tile = Signal(BEATS), Signal(TILES)
        ended, dropping = Signal(), Signal()

        last_tile, tile_end, end, moved = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            last_tile.eq(tile == order.tiles - 1),
            tile_end.eq((index == order.beats - 1) | (last_tile & (index == order.final_beats - 1))),
            end.eq(last_tile & tile_end),
            moved.eq(beats.valid & beats.ready),
            beats.valid.eq(orders.valid & ~dropping & (packets.valid | ended)),
            beats.payload.codes.eq(packets.payload.codes & ~ended.replicate(len(packets.payload.codes))),
            beats.payload.index.eq(index),
            beats.payload.tile_end.eq(tile_end),
            beats.payload.last_tile.eq(last_tile),
            packets.ready.eq(dropping | (orders.valid & ~ended & beats.ready)),
            orders.ready.eq(moved & end),
            self.too_short.eq(moved & ~ended & packets.payload.last & ~end),
            self.too_long.eq(moved & ~ended & ~packets.payload.last & end),
        ]
        with m.If(moved):
            m.d.sync += [
                index.eq(index + 1),
                ended.eq((ended | packets.payload.last) & ~end),
                dropping.eq(self.too_long),
            ]
            with m.If(tile_end):
                m.d.sync += [index.eq(0), tile.eq(tile + 1)]
            with m.If(end):
                m.d.sync += tile.eq(0)
        with m.If(dropping & packets.valid & packets.payload.last):
            m.d.sync += dropping.eq(0)
        return m
