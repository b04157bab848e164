"""The output-stationary array with its accumulators: streams of codes in, streams of sums out."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Machine, seed_of
from quaver.hw.column_foot import ColumnFoot, address_bits, foot_control, store_control
from quaver.hw.decoder import Decoder
from quaver.hw.design import place
from quaver.hw.feet import chain_feet
from quaver.hw.lfsr import RESEEDING, addressed
from quaver.hw.os_row import OutputStationaryRow, os_activation_lane
from quaver.hw.pipeline import delay
from quaver.hw.streams import WAITING, code_bits, has_choice, os_activation_beat, os_weight_beat, sum_beat


class OutputStationaryArray(wiring.Component):
    """R x C processing elements that keep I sums each, fed by two streams, and one foot per column.

    The host streams the tiles of a GEMM, R * I rows high, in the order of the loop nest (for m_block, for n_tile, for
    k, for slot).  A k step is a beat of weights and I beats of activations, each of which waits for its slot's turn.
    Nothing inside stalls: a beat is accepted when all that it needs is there (its weights, the way out for the sums of
    the chunk that it completes, room for the results), so that idle cycles and back-pressure change no bit.

    Latency: `Machine.latency` from a tile's last activation beat to its first beat of sums.
    Throughput: one activation beat per cycle where chunks are at least `Machine.drain_steps` k steps long; a shorter
    chunk takes as long as one of that length.

    Members
    -------
    weights:
        Stream of `os_weight_beat`; a beat is taken with the last activation beat of its k step.
    activations:
        Stream of `os_activation_beat`.
    sums:
        Stream of `sum_beat`: one beat for each row of a tile, in their order.
    waiting:
        Why the activation beat on offer is not accepted.
    reseeding:
        Starts the generators anew, one at a time; the array must be idle.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        super().__init__(
            {
                "weights": In(stream.Signature(os_weight_beat(machine))),
                "activations": In(stream.Signature(os_activation_beat(machine))),
                "sums": Out(stream.Signature(sum_beat(machine))),
                "waiting": Out(WAITING),
                "reseeding": In(RESEEDING),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        machine = self.machine
        rows = [place(m, platform, f"row_{i}", OutputStationaryRow, machine) for i in range(machine.rows)]
        feet = [place(m, platform, f"foot_{j}", ColumnFoot, machine) for j in range(machine.columns)]
        accepted = self._accept(m)
        self._feed_rows(m, rows, accepted)
        self._feed_columns(m, platform, rows, accepted)
        self._drain(m, rows, feet)
        self._control_feet(m, feet, accepted)
        return m

    def _accept(self, m: Module) -> dict[str, Value]:
        """Handshakes of the inputs.  Returns what is known of the activation beat that is accepted in this cycle."""
        machine, weights, activations = self.machine, self.weights, self.activations
        beat, interleave = activations.payload, machine.interleave
        accept, popped = Signal(), Signal()

        # The rings turn for ever; a beat goes to the slot whose turn it is.  Where no chunk is open or drains, the
        # count of turns waits for the next beat: whatever is in the rings is not needed any more.
        turn, slot = Signal(range(max(2, interleave))), Signal(range(max(2, interleave)))
        turn_ends, step_ends = turn == interleave - 1, slot == interleave - 1
        waits = Signal()
        with m.If(~waits):
            m.d.sync += turn.eq(Mux(turn_ends, 0, turn + 1))
        with m.If(accept):
            m.d.sync += slot.eq(Mux(step_ends, 0, slot + 1))

        # A chunk is complete after `chunk` k steps or at the end of its chain.
        next_step, next_first = Signal(range(max(2, machine.chunk))), Signal()
        step, first, close = Signal.like(next_step), Signal(), Signal()
        m.d.comb += [
            step.eq(Mux(beat.first, 0, next_step)),
            first.eq(beat.first | next_first),
            close.eq((step == machine.chunk - 1) | beat.last),
        ]
        with m.If(accept & step_ends):
            m.d.sync += [next_step.eq(Mux(close, 0, step + 1)), next_first.eq(first & ~close)]

        # Its sums leave behind those of the chunk before, `drain_steps` turns after them at the earliest.
        closed, drained = Signal(), Signal()
        patience = Signal(range(max(2, machine.drain_steps)))
        m.d.comb += [closed.eq(accept & close & step_ends), drained.eq(patience == 0)]
        with m.If(closed):
            m.d.sync += patience.eq(machine.drain_steps - 1)
        with m.Elif(turn_ends & ~drained):
            m.d.sync += patience.eq(patience - 1)

        # In the turn after a chunk is complete row 0 sends its sums down, in the turns after that the rows below do.
        insert = Signal()
        with m.If(turn_ends):
            m.d.sync += insert.eq(closed)
        at_rest = (next_step == 0) & (slot == 0) & (turn == 0) & drained & ~insert
        m.d.comb += waits.eq(at_rest & ~accept)

        # All results of a tile must find free slots of the output buffer.
        free = Signal(range(machine.output_depth + 1), init=machine.output_depth)
        spoken_for = Signal.like(beat.rows)
        with m.If(accept & beat.last & (slot == 0)):
            m.d.comb += spoken_for.eq(beat.rows)
        m.d.sync += free.eq(free - spoken_for + popped)

        offered, on_turn, way_out, room = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            offered.eq(activations.valid & weights.valid),
            way_out.eq(~close | (slot != 0) | drained),
            on_turn.eq((turn == slot) & way_out),
            room.eq(~beat.last | (slot != 0) | (free >= beat.rows)),
            accept.eq(offered & on_turn & room),
            activations.ready.eq(weights.valid & on_turn & room),
            weights.ready.eq(accept & step_ends),
            self.waiting.operand.eq(activations.valid & ~weights.valid),
            self.waiting.sums.eq(offered & ~on_turn),
            self.waiting.results.eq(offered & on_turn & ~room),
        ]
        return {
            **{"valid": accept, "fresh": accept & (step == 0), "close": accept & close},
            **{"closed": closed, "insert": insert, "first": first, "popped": popped},
        }

    def _feed_rows(self, m: Module, rows: list[OutputStationaryRow], accepted: dict[str, Value]) -> None:
        """Give each row its codes and controls, one cycle later than the row above."""
        machine, activation, insert = self.machine, self.activations.payload, accepted["insert"]
        for i, row in enumerate(rows):
            a = Signal(os_activation_lane(machine), name=f"a_{i}")
            m.d.comb += [
                a.code.eq(activation.codes[i]),
                a.valid.eq(accepted["valid"]),
                a.fresh.eq(accepted["fresh"]),
                a.close.eq(accepted["close"]),
                *([a.format.eq(activation.format)] if has_choice(a) else []),
                row.a.eq(delay(m, a, machine.row_skew(i), f"a_skew_{i}")),
                row.insert.eq(insert),
            ]
            insert = delay(m, insert, machine.interleave + 1, f"insert_delay_{i}")
            if machine.inner_rounding.stochastic:
                m.d.comb += [
                    row.seed.eq(seed_of(machine.seed, i)),
                    row.reseed.eq(addressed(self.reseeding, i)),
                    row.state.eq(self.reseeding.state),
                ]

    def _feed_columns(
        self, m: Module, platform: object, rows: list[OutputStationaryRow], accepted: dict[str, Value]
    ) -> None:
        """Give each column its weights, one cycle later than the column before; +0 in idle cycles."""
        machine, weight, formats = self.machine, self.weights.payload, self.machine.stationary_formats
        operands = []
        for j in range(machine.columns):
            decoder = place(m, platform, f"decoder_{j}", Decoder, formats)
            code = Signal(code_bits(formats), name=f"b_{j}")
            m.d.comb += [
                code.eq(Mux(accepted["valid"], weight.codes[j], 0)),
                decoder.code.eq(delay(m, code, j, f"b_skew_{j}")),
            ]
            if has_choice(weight):
                m.d.comb += decoder.format.eq(delay(m, weight.format, j, f"format_skew_{j}"))
            operand = Signal.like(decoder.operand, name=f"operand_{j}")
            m.d.sync += operand.eq(decoder.operand)
            operands.append(operand)
        weights = Cat(operands)
        for row in rows:
            m.d.comb += row.weights.eq(weights)
            weights = row.weights_out

    def _drain(self, m: Module, rows: list[OutputStationaryRow], feet: list[ColumnFoot]) -> None:
        """Chain the rows; the last one leads to the feet."""
        bits = self.machine.inner_code.bits
        sums = Const(0, bits * len(feet))
        for row in rows:
            m.d.comb += row.sums.eq(sums)
            sums = row.results
        m.d.comb += [foot.sums[0].eq(sums.word_select(j, bits)) for j, foot in enumerate(feet)]

    def _control_feet(self, m: Module, feet: list[ColumnFoot], accepted: dict[str, Value]) -> None:
        """Count the sums of a complete chunk through the feet at the cycles that the machine states; take them out."""
        machine, beat = self.machine, self.activations.payload
        draining, first, last = Signal(), Signal(), Signal()
        address = Signal(address_bits(machine))
        rows, slot = Signal.like(beat.rows), Signal(range(machine.output_depth))
        with m.If(accepted["closed"]):
            m.d.sync += [
                draining.eq(1),
                address.eq(0),
                first.eq(accepted["first"]),
                last.eq(beat.last),
                rows.eq(beat.rows),
            ]
        with m.Else():
            m.d.sync += [draining.eq(draining & (address != machine.block_rows - 1)), address.eq(address + 1)]

        foot, store = Signal(foot_control(machine)), Signal(store_control(machine))
        leaving = draining & last & (address < rows)
        m.d.sync += slot.eq(slot + leaving)
        m.d.comb += [
            foot.address.eq(address),
            foot.valid.eq(draining),
            foot.final.eq(1),
            foot.first.eq(first),
            store.address.eq(address),
            store.valid.eq(leaving | (draining & ~last)),
            store.last.eq(last),
            store.slot.eq(slot),
        ]
        foot = delay(m, foot, machine.foot_cycle - 2, "foot_delay")
        store = delay(m, store, machine.store_cycle - 1, "store_delay")
        m.d.comb += accepted["popped"].eq(chain_feet(m, machine, feet, foot, store, self.sums, self.reseeding))
