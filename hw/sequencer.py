"""The sequencer: takes commands, refuses what the machine cannot do, and gives every part its orders."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from quaver.golden import Machine
from quaver.golden.catalog import BF16
from quaver.host.registers import OPCODES
from quaver.hw.commands import command_layout, powers, result_order
from quaver.hw.feeder import feed_order
from quaver.hw.packet_loader import BEATS, ORDER, TILES
from quaver.hw.streams import has_choice
from quaver.hw.tile_buffer import tile_form
from quaver.hw.update_engine import update_order


def a_order(machine: Machine) -> data.StructLayout:
    """Beats of the a operand to come."""
    return data.StructLayout({"packet": ORDER, **powers(machine, "a")})


def b_order(machine: Machine) -> data.StructLayout:
    """Tiles of the b operand to come: the packet, and the form of its last tile (all others use every row)."""
    return data.StructLayout({"packet": ORDER, "form": tile_form(machine), **powers(machine, "b")})


class Sequencer(wiring.Component):
    """A queue of commands; from its head each part gets its order, in the same cycle and into a queue of its own.

    So a command's operands load, its block is computed and its results drain as far as each part has got, several
    commands at a time.  Commands complete in their order: with their last beat of results or, if they have none, when
    the array has taken their last beat; one that asks for a report completes with that.

    Latency: a command is there for all parts two cycles after `issue`.  Throughput: one command per cycle.

    Members
    -------
    command, issue:
        A command, and that it is to be queued; decided in the same cycle, with `rows` and `tiles` unchanged for two:
    malformed, refused:
        It is not, because no machine like this one can do it; because the queue is full.
    hold:
        Queued commands wait.
    a_orders, b_orders, feed_orders, result_orders, update_orders:
        Streams of orders.
    fed, drained, reported, updated:
        The array takes the last beat of a command; the last beat of a command's results leaves; its report is there;
        the last beat of an update leaves.
    reseed, seed, reseeded:
        Start of a re-seeding, with its seed, and its end.
    done:
        A command completes.
    free, idle, at_rest:
        Commands that the queue has room for; there is none queued or under way; there is none but what waits for a
        report.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        super().__init__(
            {
                "command": In(command_layout(machine)),
                "issue": In(1),
                "malformed": Out(1),
                "refused": Out(1),
                "hold": In(1),
                "a_orders": Out(stream.Signature(a_order(machine))),
                "b_orders": Out(stream.Signature(b_order(machine))),
                "feed_orders": Out(stream.Signature(feed_order(machine))),
                "result_orders": Out(stream.Signature(result_order(machine))),
                **({"update_orders": Out(stream.Signature(update_order(machine)))} if machine.update_lanes else {}),
                "fed": In(1),
                "drained": In(1),
                "reported": In(1),
                "updated": In(1),
                "reseed": Out(1),
                "seed": Out(32),
                "reseeded": In(1),
                "done": Out(1),
                "free": Out(range(machine.queue_depth + 1)),
                "idle": Out(1),
                "at_rest": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        command = self.command
        reread = self._check(m)
        entry_shape = data.StructLayout({"command": command_layout(self.machine), "empty": 1, "reread": 1})
        queue = self._queue(m, "queue", entry_shape.size)
        entry, head = Signal(entry_shape), Signal(entry_shape)
        m.d.comb += [
            self.refused.eq(self.issue & ~self.malformed & ~queue.w_rdy),
            entry.command.eq(command),
            entry.empty.eq(self._is_empty(command)),
            entry.reread.eq(reread),
            queue.w_data.eq(entry),
            queue.w_en.eq(self.issue & ~self.malformed),
            head.eq(queue.r_data),
            self.free.eq(self.machine.queue_depth - queue.w_level),
        ]
        self._dispatch(m, queue, head)
        return m

    def _check(self, m: Module) -> Value:
        """Judge the command on offer by itself and by those before it; returns whether it brings no a operand."""
        machine, command = self.machine, self.command
        # Rows and tiles are registers written before: their product has had its cycle.
        beats = Signal(BEATS + TILES)
        m.d.sync += beats.eq(self._beats_per_tile(command) * command.tiles[:TILES])

        chained, kept = Signal(), Signal()
        previous = Signal(command_layout(machine))
        matmul, reseed, update = (command.opcode == OPCODES[name] for name in ("matmul", "reseed", "update"))
        empty = self._is_empty(command)
        updates = (command.rows < 1 << TILES) & (machine.update_lanes > 0)
        alike = ("rows", "columns", "a_format", "b_format")
        differs = Value.cast(0)
        for name in alike:
            differs = differs | (getattr(command, name) != getattr(previous, name))
        again = Cat(
            getattr(command, name) != getattr(previous, name) for name in ("rows", "tiles", "depth", "a_format")
        ).any()
        wrong = (
            (command.rows > machine.block_rows)
            | (command.tiles > (1 << TILES) - 1)
            | (command.columns > machine.columns)
            | (command.depth > machine.block_products)
            | ~command.depth.any()
            | (~command.last & (command.depth != machine.block_products))
            | (command.a_format >= len(machine.moving_formats))
            | (command.b_format >= len(machine.stationary_formats))
            | (command.target >= len(machine.result_formats))
            | (command.stochastic & (machine.output_random_bits == 0))
            | (command.transposed & (machine.dataflow == "os"))
            | (command.keep & (beats > machine.scratchpad_depth))
            | (~command.first & (~chained | differs))
            | (kept & again)
        )
        for operand, formats in (("a", machine.moving_formats), ("b", machine.stationary_formats)):
            if machine.s2fp8:
                bf16 = getattr(command, f"{operand}_format") == formats.index(BF16)
                wrong = wrong | (getattr(command, f"{operand}_factor").any() & ~bf16)
        good = Signal()
        m.d.comb += [
            good.eq((matmul & (empty | ~wrong)) | reseed | (update & updates)),
            self.malformed.eq(self.issue & ~good),
        ]
        with m.If(self.issue & good & ~self.refused):
            with m.If(reseed):
                m.d.sync += chained.eq(0)
            with m.Elif(matmul & ~empty):
                m.d.sync += [previous.eq(command), chained.eq(~command.last), kept.eq(command.keep)]
        return kept

    def _dispatch(self, m: Module, queue: SyncFIFO, head: Value) -> None:
        machine, command = self.machine, head.command
        orders = {
            "a": (self.a_orders, self._a_order(m, command)),
            "b": (self.b_orders, self._b_order(m, command)),
            "feed": (self.feed_orders, self._feed_order(m, command)),
            "result": (self.result_orders, self._result_order(m, command)),
        }
        if machine.update_lanes:
            orders["update"] = (self.update_orders, self._update_order(m, command))
        ending_shape = data.StructLayout({"empty": 1, "update": 1, "last": 1, "report": 1})
        endings = self._queue(m, "endings", ending_shape.size)
        queues = {name: self._queue(m, f"{name}_queue", len(Value.cast(order))) for name, (_, order) in orders.items()}
        room = endings.w_rdy
        for fifo in queues.values():
            room = room & fifo.w_rdy

        work, go, reseeding = Signal(), Signal(), Signal()
        reseed, update = command.opcode == OPCODES["reseed"], command.opcode == OPCODES["update"]
        waiting = queue.r_rdy & ~self.hold
        m.d.comb += [
            go.eq(waiting & ~reseed & room),
            work.eq(go & ~head.empty),
            # A re-seeding waits until nothing is under way, and nothing starts before it is over.
            self.reseed.eq(waiting & reseed & ~endings.r_rdy & ~reseeding),
            self.seed.eq(command.rows),
            queue.r_en.eq(go | self.reseeded),
        ]
        m.d.sync += reseeding.eq((reseeding | self.reseed) & ~self.reseeded)
        wanted = {
            **{"a": ~update & ~head.reread, "b": ~update, "feed": ~update},
            **{"result": ~update & command.last, "update": update},
        }
        for name, (port, order) in orders.items():
            fifo = queues[name]
            m.d.comb += [
                fifo.w_data.eq(order),
                fifo.w_en.eq(work & wanted[name]),
                port.payload.eq(fifo.r_data),
                port.valid.eq(fifo.r_rdy),
                fifo.r_en.eq(port.valid & port.ready),
            ]

        # Completion: both events count up, the command that they end counts them down.
        under_way = range(machine.queue_depth + 1)
        fed, drained, reported, updated = (
            Signal(under_way, name=name) for name in ("fed_count", "drained_count", "reported_count", "updated_count")
        )
        ending, incoming = Signal(ending_shape), Signal(ending_shape)
        left, over, moved, ends = Signal(), Signal(), Signal(), Signal()
        # Events to come, reports aside.
        due = Signal(range(2 * machine.queue_depth + 1))
        m.d.sync += due.eq(due + work + (work & ~update & command.last) - self.fed - self.drained - self.updated)
        m.d.comb += [
            incoming.empty.eq(head.empty),
            incoming.update.eq(update),
            incoming.last.eq(command.last & ~update),
            endings.w_data.eq(incoming),
            endings.w_en.eq(go),
            ending.eq(endings.r_data),
            incoming.report.eq(command.last & command.report & ~update),
            left.eq(drained.any() | self.drained),
            over.eq(Mux(ending.last, left & (~ending.report | reported.any() | self.reported), fed.any() | self.fed)),
            moved.eq(updated.any() | self.updated),
            ends.eq(endings.r_rdy & (ending.empty | Mux(ending.update, moved, over))),
            endings.r_en.eq(ends),
            self.done.eq(ends | self.reseeded),
            self.idle.eq(~queue.r_rdy & ~endings.r_rdy),
            self.at_rest.eq(~queue.r_rdy & ~due.any()),
        ]
        m.d.sync += [
            fed.eq(fed + self.fed - (ends & ~ending.empty & ~ending.update)),
            drained.eq(drained + self.drained - (ends & ~ending.empty & ending.last)),
            reported.eq(reported + self.reported - (ends & ~ending.empty & ending.report)),
            updated.eq(updated + self.updated - (ends & ~ending.empty & ending.update)),
        ]

    def _is_empty(self, command: Value) -> Value:
        """Whether there is nothing to do but complete."""
        matmul, update = command.opcode == OPCODES["matmul"], command.opcode == OPCODES["update"]
        none = ~command.rows.any()
        return (matmul & (none | ~command.tiles.any() | ~command.columns.any())) | (update & none)

    def _beats_per_tile(self, command: Value) -> Value:
        machine = self.machine
        return Const(machine.interleave, BEATS) if machine.dataflow == "os" else command.rows[:BEATS]

    def _a_order(self, m: Module, command: Value) -> Value:
        order = Signal(a_order(self.machine), name="a_order")
        m.d.comb += [
            order.packet.tiles.eq(command.tiles),
            order.packet.beats.eq(self._beats_per_tile(command)),
            order.packet.final_beats.eq(self._beats_per_tile(command)),
            *(getattr(order, name).eq(getattr(command, name)) for name in powers(self.machine, "a")),
        ]
        return order

    def _b_order(self, m: Module, command: Value) -> Value:
        order = Signal(b_order(self.machine), name="b_order")
        by_columns = 1 if self.machine.dataflow == "os" else command.columns
        m.d.comb += [
            order.packet.tiles.eq(command.tiles),
            order.packet.beats.eq(Mux(command.transposed, self.machine.rows, by_columns)),
            order.packet.final_beats.eq(Mux(command.transposed, command.depth, by_columns)),
            order.form.columns.eq(command.columns),
            order.form.depth.eq(command.depth),
            order.form.transposed.eq(command.transposed),
            *(getattr(order, name).eq(getattr(command, name)) for name in powers(self.machine, "b")),
        ]
        if has_choice(order.form):
            m.d.comb += order.form.format.eq(command.b_format)
        return order

    def _feed_order(self, m: Module, command: Value) -> Value:
        order = Signal(feed_order(self.machine), name="feed_order")
        names = ("rows", "columns", "tiles", "depth", "first", "last", "keep")
        m.d.comb += [getattr(order, name).eq(getattr(command, name)) for name in names]
        if has_choice(order):
            m.d.comb += order.format.eq(command.a_format)
        return order

    def _result_order(self, m: Module, command: Value) -> Value:
        order = Signal(result_order(self.machine), name="result_order")
        m.d.comb += [getattr(order, name).eq(getattr(command, name)) for name, _ in order.shape()]
        return order

    def _update_order(self, m: Module, command: Value) -> Value:
        order = Signal(update_order(self.machine), name="update_order")
        m.d.comb += [
            order.beats.eq(command.rows),
            order.rate.eq(command.tiles),
            order.momentum.eq(command.columns),
            order.decay.eq(command.depth),
        ]
        return order

    def _queue(self, m: Module, name: str, width: int) -> SyncFIFO:
        m.submodules[name] = fifo = SyncFIFO(width=width, depth=self.machine.queue_depth)
        return fifo
