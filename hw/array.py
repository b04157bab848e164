"""The weight-stationary array with its accumulators: streams of codes in, streams of sums out."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Machine, seed_of
from quaver.hw.column_foot import ColumnFoot, address_bits, foot_control, store_control, top_control
from quaver.hw.design import place
from quaver.hw.feet import chain_feet
from quaver.hw.lfsr import RESEEDING, addressed
from quaver.hw.os_array import OutputStationaryArray
from quaver.hw.pipeline import delay
from quaver.hw.row import Row, activation_lane, weight_lane
from quaver.hw.streams import WAITING, activation_beat, has_choice, sum_beat, weight_beat


class Array(wiring.Component):
    """R x C processing elements, fed by two streams, and one foot per column.

    The host streams the tiles of a GEMM in the order of the loop nest (for m_block, for n_tile, for k_tile, for m).
    Weights may come a tile ahead of the activations that use them.  Nothing inside stalls: a beat is accepted when all
    that it needs is there (its tile's weights, the sums of the K tile before, room for its result), so that idle
    cycles and back-pressure change no bit.  An input-stationary machine is the same array: what the members call
    weights is then the operand a, what they call activations the operand b, and the sums are those of B^T A^T.

    Latency: `Machine.latency` from an activation beat of the last K tile to its beat of sums.
    Throughput: one activation beat per cycle; the next tile may start `Machine.load_cycles` after the last one did,
    and `Machine.round_trip` after it if it continues its sums.

    Members
    -------
    weights:
        Stream of `weight_beat`.
    activations:
        Stream of `activation_beat`.
    sums:
        Stream of `sum_beat`: one beat for each activation beat of a last K tile, in their order.
    waiting:
        Why the activation beat on offer is not accepted.
    reseeding:
        Starts the generators anew, one at a time; the array must be idle.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine = machine.exchanged if machine.dataflow == "is" else machine
        super().__init__(
            {
                "weights": In(stream.Signature(weight_beat(machine))),
                "activations": In(stream.Signature(activation_beat(machine))),
                "sums": Out(stream.Signature(sum_beat(machine))),
                "waiting": Out(WAITING),
                "reseeding": In(RESEEDING),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        machine = self.machine
        rows = [place(m, platform, f"row_{i}", Row, machine) for i in range(machine.rows)]
        feet = [place(m, platform, f"foot_{j}", ColumnFoot, machine) for j in range(machine.columns)]
        accepted = self._accept(m)
        self._feed_rows(m, rows)
        self._join(m, rows, feet)
        self._control_feet(m, feet, accepted)
        return m

    def _accept(self, m: Module) -> dict[str, Value]:
        """Handshakes of the inputs.  Returns what is known of the activation beat that is accepted in this cycle."""
        machine, weights, activations = self.machine, self.weights, self.activations
        beat = activations.payload
        accept, start = Signal(), Signal()

        # A tile's weights must all be on their way before its first activation; then the next burst may follow.
        loaded = Signal(range(machine.load_cycles + 1))
        complete = loaded == machine.load_cycles
        m.d.comb += weights.ready.eq(~complete | start)
        with m.If(weights.valid & weights.ready):
            m.d.sync += loaded.eq(Mux(start, 1, loaded + 1))
        with m.Elif(start):
            m.d.sync += loaded.eq(0)

        # Row m of a tile needs the sum that row m of the tile before wrote: however its beats were spread, that sum is
        # back when `round_trip` - m cycles have passed since beat m, the last one before the new tile.
        index, next_index = Signal(address_bits(machine)), Signal(address_bits(machine))
        m.d.comb += index.eq(Mux(beat.start, 0, next_index))
        patience = Signal(range(machine.round_trip))
        with m.If(accept):
            longest = machine.round_trip - 1
            m.d.sync += [next_index.eq(index + 1), patience.eq(Mux(index < longest, longest - index, 0))]
        with m.Elif(patience != 0):
            m.d.sync += patience.eq(patience - 1)

        # A result must find a free slot of the output buffer.
        slot = Signal(range(machine.output_depth))
        free = Signal(range(machine.output_depth + 1), init=machine.output_depth)
        popped = Signal()
        issued = accept & beat.last
        m.d.sync += [slot.eq(slot + issued), free.eq(free - issued + popped)]

        may_start = Signal()
        m.d.comb += [
            may_start.eq(complete & (beat.first | (patience == 0))),
            activations.ready.eq((~beat.start | may_start) & (~beat.last | free.any())),
            accept.eq(activations.valid & activations.ready),
            start.eq(accept & beat.start),
            self.waiting.operand.eq(activations.valid & beat.start & ~complete),
            self.waiting.sums.eq(activations.valid & beat.start & complete & ~may_start),
            self.waiting.results.eq(activations.valid & (~beat.start | may_start) & beat.last & ~free.any()),
        ]
        return {"valid": accept, "address": index, "slot": slot, "popped": popped, **self._chunk_position(m, accept)}

    def _chunk_position(self, m: Module, accept: Value) -> dict[str, Value]:
        """Where in its chunk, and in its chain of chunks, the tile of the present beat is."""
        beat, passes = self.activations.payload, self.machine.passes_per_chunk
        # Of the tile that the last accepted beat was in.
        current, current_first = Signal(range(max(2, passes))), Signal()
        final_pass = current == passes - 1

        tile_pass, first, final = Signal.like(current), Signal(), Signal()
        m.d.comb += [tile_pass.eq(current), first.eq(current_first), final.eq((tile_pass == passes - 1) | beat.last)]
        with m.If(beat.start):
            m.d.comb += [
                tile_pass.eq(Mux(beat.first | final_pass, 0, current + 1)),
                first.eq(beat.first | (current_first & ~final_pass)),
            ]
        with m.If(accept):
            m.d.sync += [current.eq(tile_pass), current_first.eq(first)]
        return {"fresh": tile_pass == 0, "final": final, "first": first}

    def _feed_rows(self, m: Module, rows: list[Row]) -> None:
        """Give each row its codes, as late as its sums need them.  Activations take one register more than weights."""
        machine = self.machine
        weight, activation = self.weights.payload, self.activations.payload
        for i, row in enumerate(rows):
            w = Signal(weight_lane(machine), name=f"w_{i}")
            a = Signal(activation_lane(machine), name=f"a_{i}")
            m.d.comb += [
                w.code.eq(weight.codes[i]),
                w.absent.eq(weight.depth <= i),
                w.valid.eq(self.weights.valid & self.weights.ready),
                a.code.eq(activation.codes[i]),
                a.start.eq(activation.start),
                a.valid.eq(self.activations.valid & self.activations.ready),
                *(lane.format.eq(beat.format) for lane, beat in ((w, weight), (a, activation)) if has_choice(lane)),
                row.w.eq(delay(m, w, machine.row_skew(i), f"w_skew_{i}")),
                row.a.eq(delay(m, a, 1 + machine.row_skew(i), f"a_skew_{i}")),
            ]
            if machine.inner_rounding.stochastic:
                m.d.comb += [
                    row.seed.eq(seed_of(machine.seed, i)),
                    row.reseed.eq(addressed(self.reseeding, i)),
                    row.state.eq(self.reseeding.state),
                ]

    def _join(self, m: Module, rows: list[Row], feet: list[ColumnFoot]) -> None:
        """Chain the rows of each segment; a segment's last row leads to the feet."""
        machine, inner = self.machine, self.machine.inner_code
        for i, row in enumerate(rows):
            segment, within = divmod(i, machine.segment_rows)
            if within:
                m.d.comb += row.sums.eq(rows[i - 1].results)
            elif machine.passes_per_chunk > 1:
                m.d.comb += row.sums.eq(Cat(foot.returned for foot in feet))
            else:
                m.d.comb += row.sums.eq(Const(inner.identity_code, inner.bits).replicate(len(feet)))
            if within == machine.segment_rows - 1:
                results = [row.results.word_select(j, inner.bits) for j in range(machine.columns)]
                m.d.comb += [foot.sums[segment].eq(result) for foot, result in zip(feet, results, strict=True)]

    def _control_feet(self, m: Module, feet: list[ColumnFoot], accepted: dict[str, Value]) -> None:
        """Send the controls of a beat along the feet at the cycles that the machine states; take the sums out."""
        machine = self.machine
        last = self.activations.payload.last
        foot = Signal(foot_control(machine))
        store = Signal(store_control(machine))
        m.d.comb += [
            foot.address.eq(accepted["address"]),
            foot.valid.eq(accepted["valid"]),
            foot.final.eq(accepted["final"]),
            foot.first.eq(accepted["first"]),
            store.address.eq(accepted["address"]),
            store.valid.eq(accepted["valid"] & accepted["final"]),
            store.last.eq(last),
            store.slot.eq(accepted["slot"]),
        ]
        foot = delay(m, foot, machine.foot_cycle - 1, "foot_delay")
        store = delay(m, store, machine.store_cycle, "store_delay")
        if machine.passes_per_chunk > 1:
            top = Signal(top_control(machine))
            m.d.comb += [top.address.eq(accepted["address"]), top.fresh.eq(accepted["fresh"])]
            top = delay(m, top, 1 + machine.product_latency, "top_delay")
            for column in feet:
                m.d.comb += column.top.eq(top)
                top = column.top_out
        m.d.comb += accepted["popped"].eq(chain_feet(m, machine, feet, foot, store, self.sums, self.reseeding))


def array_class(machine: Machine) -> type[wiring.Component]:
    """The array of `machine`'s dataflow."""
    return OutputStationaryArray if machine.dataflow == "os" else Array
