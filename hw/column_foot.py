"""The foot of a column: its outer adders, the memory of its sums, and its lane of the output buffer."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quaver.golden import Machine
from quaver.golden.lfsr import WIDTH
from quaver.hw.chunk_adder import place_chunk_adder
from quaver.hw.design import place
from quaver.hw.lfsr import WordGenerator
from quaver.hw.pipeline import delay


def address_bits(machine: Machine) -> int:
    """Width of a row's index within a tile."""
    return max(1, (machine.block_rows - 1).bit_length())


def top_control(machine: Machine) -> data.StructLayout:
    """Read the inner sum of row `address` for the next pass of its chunk; `fresh`: start from -0 instead."""
    return data.StructLayout({"address": address_bits(machine), "fresh": 1})


def foot_control(machine: Machine) -> data.StructLayout:
    """An inner sum arrives in the next cycle; `final`: its chunk is complete; `first`: the outer sum starts from +0."""
    return data.StructLayout({"address": address_bits(machine), "valid": 1, "final": 1, "first": 1})


def store_control(machine: Machine) -> data.StructLayout:
    """The outer sum is there: keep it, or, if it is the `last` one, put it into `slot` of the output buffer."""
    slot_bits = (machine.output_depth - 1).bit_length()
    return data.StructLayout({"address": address_bits(machine), "valid": 1, "last": 1, "slot": slot_bits})


class ColumnFoot(wiring.Component):
    """Outer accumulation of one column.  All columns of a machine are the same module.

    The controls ride along the feet, one register per column, as the activations do along the rows; so the outputs
    need no deskewing but the memory's.

    Latency: an inner sum's outer sum is stored `chunk_latency + segments * outer_latency` cycles later.

    Members
    -------
    sums:
        Inner sums of the segments; segment g's is `g * outer_latency` cycles behind segment 0's.
    top, top_out, returned:
        Read control of the inner sums, and the sum for the top of the column in the next cycle; only where a chunk
        takes several passes.
    foot, foot_out, store, store_out:
        Controls.
    seeds, reseed, state:
        Of the segments' generators, for stochastic rounding only.
    read, slot, result:
        Read port of the output buffer; the result stays until the next read.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        foot, store = foot_control(machine), store_control(machine)
        members = {
            "sums": In(data.ArrayLayout(machine.inner_code.bits, machine.segments)),
            "foot": In(foot),
            "foot_out": Out(foot),
            "store": In(store),
            "store_out": Out(store),
            "read": In(1),
            "slot": In((machine.output_depth - 1).bit_length()),
            "result": Out(machine.outer.format.bits),
        }
        if machine.passes_per_chunk > 1:
            top = top_control(machine)
            members |= {"top": In(top), "top_out": Out(top), "returned": Out(machine.inner_code.bits)}
        if machine.outer.rounding.stochastic:
            members |= {
                "seeds": In(data.ArrayLayout(WIDTH, machine.segments)),
                "reseed": In(machine.segments),
                "state": In(WIDTH),
            }
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        machine = self.machine
        m.d.sync += [self.foot_out.eq(self.foot), self.store_out.eq(self.store)]

        depth = max(2, machine.block_rows)
        m.submodules.memory = memory = Memory(shape=machine.outer.format.bits, depth=depth, init=[])
        read, write = memory.read_port(), memory.write_port()
        fresh, entering = Signal(), delay(m, self.foot, machine.chunk_latency, "entering")
        m.d.sync += fresh.eq(entering.first)
        m.d.comb += [read.addr.eq(entering.address), read.en.eq(1)]

        y = Mux(fresh, 0, read.data)
        for segment in range(machine.segments):
            adder = place_chunk_adder(m, platform, f"adder_{segment}", machine)
            m.d.comb += [adder.chunk.eq(self.sums[segment]), adder.sum.eq(y)]
            if machine.outer.rounding.stochastic:
                generator = place(
                    m, platform, f"generator_{segment}", WordGenerator, machine.outer.rounding.random_bits
                )
                issue = delay(m, entering.valid & entering.final, segment * machine.outer_latency, f"issue_{segment}")
                m.d.comb += [
                    generator.seed.eq(self.seeds[segment]),
                    generator.reseed.eq(self.reseed[segment]),
                    generator.state.eq(self.state),
                    generator.step.eq(issue),
                    adder.word.eq(generator.word),
                ]
            y = adder.result

        m.submodules.buffer = buffer = Memory(shape=machine.outer.format.bits, depth=machine.output_depth, init=[])
        buffer_read, buffer_write = buffer.read_port(), buffer.write_port()
        m.d.comb += [
            write.addr.eq(self.store.address),
            write.data.eq(y),
            write.en.eq(self.store.valid & ~self.store.last),
            buffer_write.addr.eq(self.store.slot),
            buffer_write.data.eq(y),
            buffer_write.en.eq(self.store.valid & self.store.last),
            buffer_read.addr.eq(self.slot),
            buffer_read.en.eq(self.read),
            self.result.eq(buffer_read.data),
        ]
        if machine.passes_per_chunk > 1:
            self._return_sums(m)
        return m

    def _return_sums(self, m: Module) -> None:
        """Keep the inner sums between the passes of a chunk."""
        code = self.machine.inner_code
        m.submodules.sums_memory = memory = Memory(shape=code.bits, depth=self.machine.block_rows, init=[])
        read, write = memory.read_port(), memory.write_port()
        fresh, arrival = Signal(), Signal.like(self.foot)
        m.d.sync += [fresh.eq(self.top.fresh), self.top_out.eq(self.top), arrival.eq(self.foot)]
        m.d.comb += [
            read.addr.eq(self.top.address),
            read.en.eq(1),
            self.returned.eq(Mux(fresh, code.identity_code, read.data)),
            write.addr.eq(arrival.address),
            write.data.eq(self.sums[0]),
            write.en.eq(arrival.valid & ~arrival.final),
        ]
