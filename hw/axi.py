"""AXI4-Stream as Amaranth's signatures."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

BYTE = 8


def axi_stream(width: int, *, keep: bool = False) -> wiring.Signature:
    """An AXI4-Stream of `width` bytes, as its transmitter sees it."""
    members = {"tdata": Out(BYTE * width), "tvalid": Out(1), "tready": In(1), "tlast": Out(1)}
    return wiring.Signature(members | ({"tkeep": Out(width)} if keep else {}))
