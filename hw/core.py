"""The machine behind its registers: sequencer, operand buffers, array, output unit."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from quaver.golden import Machine
from quaver.golden.lfsr import OUTER_GENERATORS, OUTPUT_GENERATORS, UPDATE_GENERATORS
from quaver.host.beats import a_bytes, b_bytes, b_lanes, lane_bytes, result_bytes, update_bytes
from quaver.hw.array import array_class
from quaver.hw.axi import BYTE, axi_stream
from quaver.hw.commands import command_layout
from quaver.hw.control import COUNTED, EVENTS, REPORT_LAYOUT
from quaver.hw.design import place
from quaver.hw.feeder import Feeder
from quaver.hw.operand_decoder import OperandDecoder
from quaver.hw.output_unit import OutputUnit
from quaver.hw.packet_loader import BEATS, PacketLoader
from quaver.hw.seeder import Seeder
from quaver.hw.sequencer import Sequencer
from quaver.hw.streams import code_bits, has_choice, os_weight_beat
from quaver.hw.tile_buffer import TileBuffer, tile_form
from quaver.hw.update_engine import UpdateEngine
from quaver.hw.update_unit import STAGES

REPORTS = 4
"""Reports of statistics that wait to be read; results wait while there are more."""


def generator_groups(machine: Machine) -> tuple[tuple[int, int], ...]:
    """First number and count of each group of the machine's generators, in the order in which they are re-seeded."""
    return (
        (0, machine.rows if machine.inner_rounding.stochastic else 0),
        (OUTER_GENERATORS, machine.columns * machine.segments if machine.outer.rounding.stochastic else 0),
        (OUTPUT_GENERATORS, machine.columns if machine.output_random_bits else 0),
        (UPDATE_GENERATORS, STAGES * machine.update_lanes if machine.update.rounding.stochastic else 0),
    )


def streams(machine: Machine) -> dict[str, wiring.Member]:
    """The machine's AXI4-Streams; see `quaver.host.beats`."""
    members = {
        "a": In(axi_stream(a_bytes(machine))),
        "b": In(axi_stream(b_bytes(machine))),
        "results": Out(axi_stream(result_bytes(machine), keep=True)),
    }
    if machine.update_lanes:
        members |= {
            "elements": In(axi_stream(3 * update_bytes(machine))),
            "updated": Out(axi_stream(2 * update_bytes(machine))),
        }
    return members


class Core(wiring.Component):
    """All of the machine but its registers: what a reset by command starts anew.

    Latency: `Machine.input_latency` from the beats of the streams to the array, `Machine.output_latency` from the array
    to the results.

    Members
    -------
    a, b, results, elements, updated:
        The `streams`.
    command, issue, refused, hold, free, done:
        As of the sequencer; `refused` for whatever reason.
    busy:
        A command is queued or under way.
    events, counted:
        What happens in this cycle.
    report, reports, next_report:
        The oldest report of statistics, how many there are, and that it has been read.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine = machine.exchanged if machine.dataflow == "is" else machine
        super().__init__(
            {
                **streams(machine),
                "command": In(command_layout(machine)),
                "issue": In(1),
                "refused": Out(1),
                "hold": In(1),
                "free": Out(range(machine.queue_depth + 1)),
                "busy": Out(1),
                "done": Out(1),
                "events": Out(EVENTS),
                "counted": Out(COUNTED),
                "report": Out(REPORT_LAYOUT),
                "reports": Out(8),
                "next_report": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        machine = self.machine
        self._weight_is_nan = Signal()
        sequencer = place(m, platform, "sequencer", Sequencer, machine)
        seeder = place(m, platform, "seeder", Seeder, generator_groups(machine))
        array = place(m, platform, "array", array_class(machine), machine)
        m.d.comb += [
            sequencer.command.eq(self.command),
            sequencer.issue.eq(self.issue),
            sequencer.hold.eq(self.hold),
            self.refused.eq(sequencer.malformed | sequencer.refused),
            self.free.eq(sequencer.free),
            self.busy.eq(~sequencer.idle),
            self.done.eq(sequencer.done),
            self.events.done.eq(sequencer.done),
            self.events.malformed.eq(sequencer.malformed),
            self.events.refused.eq(sequencer.refused),
            seeder.start.eq(sequencer.reseed),
            seeder.seed.eq(sequencer.seed),
            sequencer.reseeded.eq(seeder.done),
            array.reseeding.eq(seeder.reseeding),
        ]
        feeder = self._load_a(m, platform, sequencer, array)
        self._load_b(m, platform, sequencer, array)
        self._output(m, platform, sequencer, seeder, array)
        if machine.update_lanes:
            self._update(m, platform, sequencer, seeder)
        self._count(m, sequencer, feeder, array)
        return m

    def _load_a(
        self, m: Module, platform: object, sequencer: wiring.PureInterface, array: wiring.PureInterface
    ) -> wiring.PureInterface:
        """The a operand: packets, scratchpad, array."""
        machine = self.machine
        feeder = place(m, platform, "feeder", Feeder, machine)
        loader = self._loader(m, platform, "a", machine.rows, machine.moving_formats)
        self._order(m, sequencer.a_orders, loader)
        beats, _ = self._decoded(m, platform, "a", sequencer.a_orders, loader, machine.rows, Const(0, 1))
        _connect(m, beats, feeder.beats)
        _connect(m, sequencer.feed_orders, feeder.orders)
        _connect(m, feeder.activations, array.activations)
        m.d.comb += sequencer.fed.eq(feeder.fed)
        return feeder

    def _load_b(
        self, m: Module, platform: object, sequencer: wiring.PureInterface, array: wiring.PureInterface
    ) -> None:
        """The b operand: packets, tiles, array."""
        machine = self.machine
        loader = self._loader(m, platform, "b", b_lanes(machine), machine.stationary_formats)
        self._order(m, sequencer.b_orders, loader)
        form = Signal(tile_form(machine))
        m.d.comb += form.eq(sequencer.b_orders.payload.form)
        with m.If(~loader.beats.payload.last_tile):
            m.d.comb += form.depth.eq(machine.rows)
        beats, side = self._decoded(m, platform, "b", sequencer.b_orders, loader, b_lanes(machine), form.as_value())
        of_beat = Signal(tile_form(machine))
        m.d.comb += of_beat.eq(side)
        if machine.dataflow == "os":
            # A beat waits for its k step with the format that it is in.
            shape = os_weight_beat(machine)
            m.submodules.b_queue = queue = SyncFIFO(width=shape.size, depth=machine.queue_depth)
            beat = Signal(shape)
            m.d.comb += [
                Value.cast(beat.codes).eq(beats.payload.codes),
                queue.w_data.eq(beat),
                queue.w_en.eq(beats.valid),
                beats.ready.eq(queue.w_rdy),
                array.weights.payload.eq(queue.r_data),
                array.weights.valid.eq(queue.r_rdy),
                queue.r_en.eq(array.weights.ready),
            ]
            if has_choice(beat):
                m.d.comb += beat.format.eq(of_beat.format)
            return
        buffer = place(m, platform, "tile_buffer", TileBuffer, machine)
        _connect(m, beats, buffer.beats)
        _connect(m, buffer.columns, array.weights)
        m.d.comb += buffer.form.eq(of_beat)

    def _order(self, m: Module, orders: stream.Interface, loader: wiring.PureInterface) -> None:
        m.d.comb += [
            loader.orders.payload.eq(orders.payload.packet),
            loader.orders.valid.eq(orders.valid),
            orders.ready.eq(loader.orders.ready),
        ]

    def _decoded(
        self,
        m: Module,
        platform: object,
        port: str,
        orders: stream.Interface,
        loader: wiring.PureInterface,
        lanes: int,
        side: Value,
    ) -> tuple[stream.Interface, Value]:
        """The beats of a loader, and what goes along with each, behind the decoders of S2FP8 if there are any."""
        if not self.machine.s2fp8:
            return loader.beats, side
        bits = len(loader.beats.payload.codes) // lanes
        decoder = place(m, platform, f"{port}_decoder", OperandDecoder, lanes, bits, len(side))
        _connect(m, loader.beats, decoder.beats)
        m.d.comb += [
            decoder.factor.eq(getattr(orders.payload, f"{port}_factor")),
            decoder.offset.eq(getattr(orders.payload, f"{port}_offset")),
            decoder.side.eq(side),
        ]
        return decoder.decoded, decoder.side_out

    def _loader(self, m: Module, platform: object, port: str, lanes: int, formats: tuple) -> wiring.PureInterface:
        """The packets of a port, without the bits of their lanes that no code uses."""
        bits, width = code_bits(formats), BYTE * lane_bytes(formats)
        loader = place(m, platform, f"{port}_loader", PacketLoader, lanes * bits)
        bus = getattr(self, port)
        m.d.comb += [
            loader.packets.payload.codes.eq(Cat(bus.tdata.word_select(lane, width)[:bits] for lane in range(lanes))),
            loader.packets.payload.last.eq(bus.tlast),
            loader.packets.valid.eq(bus.tvalid),
            bus.tready.eq(loader.packets.ready),
            getattr(self.events, f"{port}_short").eq(loader.too_short),
            getattr(self.events, f"{port}_long").eq(loader.too_long),
        ]
        return loader

    def _output(
        self,
        m: Module,
        platform: object,
        sequencer: wiring.PureInterface,
        seeder: wiring.PureInterface,
        array: wiring.PureInterface,
    ) -> None:
        """Sums and what becomes of them, beat by beat, to the port of results."""
        machine, order = self.machine, sequencer.result_orders.payload
        bits = machine.output_random_bits
        unit = place(
            m,
            platform,
            "output",
            OutputUnit,
            machine.outer.format,
            machine.result_formats,
            bits,
            machine.columns,
            machine.seed,
            machine.s2fp8,
        )
        if machine.s2fp8:
            m.d.comb += [
                unit.sums.payload.squeeze.eq(order.squeeze_factor.any()),
                unit.factor.eq(order.squeeze_factor),
                unit.offset.eq(order.squeeze_offset),
            ]
        row, end, moved = Signal(BEATS), Signal(), Signal()
        beat = unit.sums.payload
        m.d.comb += [
            unit.sums.valid.eq(array.sums.valid & sequencer.result_orders.valid),
            moved.eq(unit.sums.valid & unit.sums.ready),
            array.sums.ready.eq(moved),
            end.eq(row == order.rows - 1),
            sequencer.result_orders.ready.eq(moved & end),
            beat.codes.eq(array.sums.payload),
            *(
                getattr(beat, name).eq(getattr(order, name))
                for name in ("columns", "target", "scale", "stochastic", "saturate")
            ),
            beat.last.eq(end),
            beat.report.eq(end & order.report),
        ]
        with m.If(moved):
            m.d.sync += row.eq(Mux(end, 0, row + 1))

        results = self.results
        m.d.comb += [
            results.tdata.eq(unit.results.payload.codes),
            results.tkeep.eq(unit.results.payload.keep),
            results.tlast.eq(unit.results.payload.last),
            results.tvalid.eq(unit.results.valid),
            unit.results.ready.eq(results.tready),
            sequencer.drained.eq(results.tvalid & results.tready & results.tlast),
            unit.reseeding.eq(seeder.reseeding),
            self.events.nan.eq(unit.saw_nan | self._weight_is_nan),
            self.events.overflow.eq(unit.saw_overflow),
        ]

        m.submodules.report_queue = reports = SyncFIFO(width=REPORT_LAYOUT.size, depth=REPORTS)
        report = Signal(REPORT_LAYOUT)
        m.d.comb += [
            *(getattr(report, name).eq(getattr(unit.statistics.payload, name)) for name, _ in REPORT_LAYOUT),
            reports.w_data.eq(report),
            reports.w_en.eq(unit.statistics.valid),
            unit.statistics.ready.eq(reports.w_rdy),
            sequencer.reported.eq(unit.statistics.valid & reports.w_rdy),
            self.report.eq(reports.r_data),
            self.reports.eq(reports.r_level),
            reports.r_en.eq(self.next_report),
        ]

    def _update(
        self, m: Module, platform: object, sequencer: wiring.PureInterface, seeder: wiring.PureInterface
    ) -> None:
        """The weight update, which goes on beside the array."""
        engine = place(m, platform, "update", UpdateEngine, self.machine)
        _connect(m, sequencer.update_orders, engine.orders)
        for mine, other in ((self.elements, engine.elements), (engine.updated, self.updated)):
            m.d.comb += [
                other.tdata.eq(mine.tdata),
                other.tlast.eq(mine.tlast),
                other.tvalid.eq(mine.tvalid),
                mine.tready.eq(other.tready),
            ]
        m.d.comb += [
            engine.reseeding.eq(seeder.reseeding),
            sequencer.updated.eq(engine.orders.valid & engine.orders.ready),
            self.events.u_short.eq(engine.too_short),
            self.events.u_long.eq(engine.too_long),
            self._weight_is_nan.eq(engine.nan),
        ]

    def _count(
        self,
        m: Module,
        sequencer: wiring.PureInterface,
        feeder: wiring.PureInterface,
        array: wiring.PureInterface,
    ) -> None:
        """Performance counters."""
        counted, waiting = self.counted, array.waiting
        moved = array.activations.valid & array.activations.ready
        arriving = [self.a, self.b, *([self.elements] if self.machine.update_lanes else [])]
        arrived = Cat(port.tvalid & port.tready for port in arriving).any()
        running, macs = Signal(), Signal.like(counted.macs)
        with m.If(moved):
            m.d.sync += macs.eq(feeder.products * feeder.columns)
        with m.Else():
            m.d.sync += macs.eq(0)
        m.d.sync += running.eq((running & ~sequencer.at_rest) | arrived)
        m.d.comb += [
            counted.busy.eq((running & ~sequencer.at_rest) | arrived),
            counted.macs.eq(macs),
            counted.beats.eq(moved),
            counted.wait_a.eq(feeder.starved),
            counted.wait_b.eq(waiting.operand),
            counted.wait_sums.eq(waiting.sums),
            counted.wait_results.eq(waiting.results),
        ]


def _connect(m: Module, source: stream.Interface, target: stream.Interface) -> None:
    m.d.comb += [
        target.payload.eq(source.payload),
        target.valid.eq(source.valid),
        source.ready.eq(target.ready),
    ]
