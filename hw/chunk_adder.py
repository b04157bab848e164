"""The outer adder: joins a chunk's sum to the sum of chunks."""

from amaranth.hdl import Const, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Accumulator, Format, Machine
from quaver.golden.machine_checks import SrAdder
from quaver.hw.adder import Adder
from quaver.hw.decoder import unpack
from quaver.hw.design import place
from quaver.hw.exact_chunk_adder import ExactChunkAdder
from quaver.hw.lfsr import word_port
from quaver.hw.unpacked import Unpacked


class ChunkAdder(wiring.Component):
    """result = round(sum + chunk) in the outer accumulator's format.

    Latency: `Machine.outer_latency`.  Throughput: one per cycle.

    Parameters
    ----------
    inner:
        Format of the chunk's sum.
    outer:
        Format, rounding and overflow of the sum of chunks.
    depth:
        `mac_depth`: where the registers are.
    sr_adder:
        `Machine.sr_adder`: how the adder is built.

    Members
    -------
    chunk:
        Code of the chunk's sum.
    sum:
        Code of the sum so far.
    word:
        Random word, for stochastic rounding only.
    result:
        Code of the new sum.
    """

    def __init__(self, inner: Format, outer: Accumulator, depth: int, sr_adder: SrAdder = "lazy") -> None:
        self.inner, self.outer, self.depth, self.sr_adder = inner, outer, depth, sr_adder
        members = {"chunk": In(inner.bits), "sum": In(outer.format.bits), "result": Out(outer.format.bits)}
        super().__init__(members | word_port(outer.rounding))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Subnormals may keep their leading zeros where the outer format is no finer than they are.
        shape = Unpacked.of_sum(self.inner, normalised=self.inner.emin > self.outer.format.emin)
        adder = place(m, platform, "adder", Adder, shape, self.outer, self.depth, self.sr_adder)
        number = unpack(m, self.chunk, self.inner, shape)
        # The only zero of a format without -0 stands for -0, the identity: a chunk of padding changes no bit.
        identity = Const(0, 1) if self.inner.has_negative_zero else ~self.chunk[:-1].any()
        m.d.comb += [
            adder.addend.eq(number),
            adder.addend.sign.eq(number.sign | identity),
            adder.sum.eq(self.sum),
            self.result.eq(adder.result),
        ]
        if self.outer.rounding.stochastic:
            m.d.comb += adder.word.eq(self.word)
        return m


def place_chunk_adder(
    m: Module, platform: object, label: str, machine: Machine
) -> wiring.Component | wiring.PureInterface:
    """Put the outer adder of `machine` into `m`: for exact inner sums `ExactChunkAdder`, otherwise `ChunkAdder`."""
    kind = ChunkAdder if machine.exact_register is None else ExactChunkAdder
    return place(m, platform, label, kind, machine.inner_code, machine.outer, machine.mac_depth, machine.sr_adder)
