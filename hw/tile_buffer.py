"""Two tiles of the stationary operand on their way into the array, written by columns or by rows."""

from amaranth.hdl import Array, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from quaver.golden import Machine
from quaver.hw.packet_loader import loaded_beat
from quaver.hw.streams import choice, code_bits, has_choice, weight_beat


def tile_form(machine: Machine) -> data.StructLayout:
    """What is to be known of a tile: the columns and the rows that it uses, format, order of its beats."""
    return data.StructLayout(
        {
            "columns": machine.columns.bit_length(),
            "depth": machine.rows.bit_length(),
            "transposed": 1,
            **choice(machine.stationary_formats),
        }
    )


class TileBuffer(wiring.Component):
    """Turn the beats of a tile, its columns or, transposed, its rows, into the columns that the array loads.

    Element (i, j) lies in memory (i + j) mod L at address i, L the larger one of the array's sides, so that a row and a
    column alike meet every memory once.  Two banks: a tile is written while the one before is read.

    Latency: two cycles from a beat to its column, if beats are columns; transposed, two cycles from the tile's last
    beat to its first column.  Throughput: one beat in and one column out per cycle; always `columns` columns out.

    Members
    -------
    beats:
        Stream of `loaded_beat` with `lanes` codes.
    form:
        Of the tile that the beat on offer belongs to.
    columns:
        Stream of `weight_beat`.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.lanes = max(machine.rows, machine.columns)
        self.code_bits = code_bits(machine.stationary_formats)
        super().__init__(
            {
                "beats": In(stream.Signature(loaded_beat(self.lanes * self.code_bits))),
                "form": In(tile_form(machine)),
                "columns": Out(stream.Signature(weight_beat(machine))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        machine, beats, columns = self.machine, self.beats, self.columns
        counted = range(self.lanes + 1)
        complete = Array(Signal(name=f"complete_{bank}") for bank in range(2))
        written = Array(Signal(counted, name=f"written_{bank}") for bank in range(2))
        forms = Array(Signal(tile_form(machine), name=f"form_{bank}") for bank in range(2))

        # Write: a bank is free until it is complete, and again when its last column has been read.
        into, write = Signal(), Signal()
        index = Signal(range(self.lanes))
        m.d.comb += [
            beats.ready.eq(~complete[into]),
            write.eq(beats.valid & beats.ready),
            index.eq(beats.payload.index),
        ]
        with m.If(write):
            m.d.sync += [forms[into].eq(self.form), written[into].eq(index + 1)]
            with m.If(beats.payload.tile_end):
                m.d.sync += [complete[into].eq(1), into.eq(~into)]

        # Read: a column may follow on the heels of its beat.
        out_of, column = Signal(), Signal(range(machine.columns))
        form = Signal(tile_form(machine))
        present, advance, read = Signal(), Signal(), Signal()
        m.d.comb += [
            form.eq(forms[out_of]),
            present.eq(complete[out_of] | (~form.transposed & (written[out_of] > column))),
            advance.eq(~columns.valid | columns.ready),
            read.eq(present & advance),
        ]
        with m.If(advance):
            m.d.sync += columns.valid.eq(present)
        with m.If(read):
            m.d.sync += column.eq(column + 1)
            with m.If(column == machine.columns - 1):
                m.d.sync += [column.eq(0), out_of.eq(~out_of), complete[out_of].eq(0), written[out_of].eq(0)]

        codes = self._memories(m, index, into, write, column, out_of, advance)
        shown, rotation, unused = Signal(tile_form(machine)), Signal.like(column), Signal()
        with m.If(advance):
            m.d.sync += [shown.eq(form), rotation.eq(column), unused.eq(column >= form.columns)]
        used = ~unused.replicate(self.code_bits)
        turned = _rotated(m, codes, rotation, towards=-1)[: machine.rows]
        m.d.comb += [target.eq(code & used) for target, code in zip(columns.payload.codes, turned, strict=True)]
        m.d.comb += columns.payload.depth.eq(shown.depth)
        if has_choice(columns.payload):
            m.d.comb += columns.payload.format.eq(shown.format)
        return m

    def _memories(
        self, m: Module, index: Value, into: Value, write: Value, column: Value, out_of: Value, advance: Value
    ) -> list[Value]:
        """Write the beat `index` of the tile, read its `column`; the codes that the memories give."""
        lanes, rows = self.lanes, self.machine.rows
        beat = [self.beats.payload.codes.word_select(lane, self.code_bits) for lane in range(lanes)]
        codes = []
        for q, code in enumerate(_rotated(m, beat, index, towards=1)):
            m.submodules[f"memory_{q}"] = memory = Memory(shape=self.code_bits, depth=2 * rows, init=[])
            port, source = memory.write_port(), memory.read_port()
            written_row, read_row = Signal(range(lanes), name=f"w_{q}"), Signal(range(lanes), name=f"r_{q}")
            m.d.comb += [
                written_row.eq(Mux(self.form.transposed, index, _behind(q, index, lanes))),
                port.addr.eq(written_row + Mux(into, rows, 0)),
                port.data.eq(code),
                port.en.eq(write & (written_row < rows)),
                read_row.eq(_behind(q, column, lanes)),
                source.addr.eq(Mux(read_row < rows, read_row, 0) + Mux(out_of, rows, 0)),
                source.en.eq(advance),
            ]
            codes.append(source.data)
        return codes


def _behind(position: int, distance: Value, size: int) -> Value:
    """(position - distance) mod size."""
    if position >= (1 << len(distance)) - 1:
        return position - distance
    return Mux(distance > position, position + size - distance, position - distance)


def _rotated(m: Module, lanes: list[Value], amount: Value, towards: int) -> list[Value]:
    """`lanes`, lane i moved to i + amount (`towards` = 1) or to i - amount (-1), mod their number."""
    size = len(lanes)
    for step in range(len(amount)):
        turn = towards << step if towards > 0 else -(1 << step)
        moved = []
        for i in range(size):
            lane = Signal(len(lanes[0]), name=f"turned_{abs(turn)}_{i}")
            m.d.comb += lane.eq(Mux(amount[step], lanes[(i - turn) % size], lanes[i]))
            moved.append(lane)
        lanes = moved
    return lanes
