"""The output unit: sums become results of a format chosen at run time, and statistics are taken on the way."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Format, seed_of
from quaver.golden.errors import check_range
from quaver.golden.lfsr import OUTPUT_GENERATORS
from quaver.golden.machine import OUTPUT_LATENCY
from quaver.golden.machine_checks import RANDOM_BITS_MAX
from quaver.golden.output import LOG2_NONE
from quaver.hw.decoder import unpack
from quaver.hw.design import place
from quaver.hw.lfsr import RESEEDING, addressed
from quaver.hw.log2 import Log2
from quaver.hw.output_lane import (
    BYTE,
    LANE_LATENCY,
    POWER_PORTS,
    SCALE_BITS,
    TARGET_BITS,
    OutputLane,
    lane_latency,
    logarithm_shape,
    slot_bytes,
)
from quaver.hw.pipeline import delay
from quaver.hw.unpacked import operand_shape

assert OUTPUT_LATENCY == 1 + LANE_LATENCY  # the beat's register and the lane's
COUNTS = ("nonzeros", "overflows", "underflows", "nans")
"""Counters of a report, and of a beat."""
STATISTICS = data.StructLayout(
    {"amax": 32, **{name: 32 for name in COUNTS}, "log2_sum": signed(64), "log2_max": signed(32)}
)
"""`quaver.golden.OutputStatistics`; counters and sum wrap."""


def sums_beat(source: Format, lanes: int, squeeze: bool = False) -> data.StructLayout:
    """A row of sums and what becomes of it.

    `columns`: lanes in use, from lane 0 on.  `target`: index of the results' format.  `scale`: sums are multiplied by
    2^scale.  `stochastic`: rounding.  `saturate`: overflow.  `squeeze`, of a unit that can: S2FP8.  `last`: goes
    through to the results.  `report`: the statistics since the last report are handed out, this beat included.
    """
    return data.StructLayout(
        {
            "codes": data.ArrayLayout(source.bits, lanes),
            "columns": range(lanes + 1),
            "target": TARGET_BITS,
            "scale": signed(SCALE_BITS),
            "stochastic": 1,
            "saturate": 1,
            **({"squeeze": 1} if squeeze else {}),
            "last": 1,
            "report": 1,
        }
    )


def results_beat(targets: tuple[Format, ...], lanes: int) -> data.StructLayout:
    """A row of results without gaps, each of the whole bytes of its format; `keep`: bytes in use, the others are 0."""
    width = lanes * max(map(slot_bytes, targets))
    return data.StructLayout({"codes": BYTE * width, "keep": width, "last": 1})


class OutputUnit(wiring.Component):
    """Scale sums, round them once, tell what they were: `quaver.golden.output`, beat by beat.

    All generators step once per beat accepted, whatever its rounding, so that idle cycles and back-pressure change no
    bit.  The whole pipeline waits while results are not taken, and while a report is complete and the one before is not
    taken.

    Latency: `latency` from a beat accepted to its results on offer, squeezed or not; `report_latency` to its report.
    Throughput: one beat per cycle.

    Parameters
    ----------
    source:
        Format of the sums.
    targets:
        Formats of the results, at most 16.
    random_bits:
        Width of the words of stochastic rounding, 1 to 16; 0: all beats are rounded to nearest.
    lanes:
        Sums per beat, 1 to 1024.
    seed:
        Seed of all generators: that of lane l has the number `OUTPUT_GENERATORS` + l.
    squeeze:
        Whether the unit can squeeze and shift sums, as S2FP8 does.

    Members
    -------
    sums:
        Stream of `sums_beat`.
    factor, offset:
        How the sums of the beat on offer are squeezed (no such ports where they cannot be).
    results:
        Stream of `results_beat`, in the same order.
    statistics:
        Stream of `STATISTICS`, one for each beat with `report`.
    reseeding:
        A generator starts anew; no beat may be in the unit, nor be accepted in this cycle.
    saw_nan, saw_overflow:
        For one cycle: the beat that is being counted has a NaN, an overflow.

    Raises
    ------
    ValueError
        If a parameter is out of its range; the message names it.
    """

    def __init__(
        self,
        source: Format,
        targets: tuple[Format, ...],
        random_bits: int,
        lanes: int,
        seed: int = 0,
        squeeze: bool = False,
    ) -> None:
        check_range("number of targets", len(targets), 1, 1 << TARGET_BITS)
        check_range("random_bits", random_bits, 0, RANDOM_BITS_MAX)
        check_range("lanes", lanes, 1, 1024)
        check_range("seed", seed, 0, (1 << 32) - 1)
        self.source, self.targets, self.random_bits = source, targets, random_bits
        self.lanes, self.seed, self.squeezes = lanes, seed, squeeze
        super().__init__(
            {
                "sums": In(stream.Signature(sums_beat(source, lanes, squeeze))),
                **(POWER_PORTS if squeeze else {}),
                "results": Out(stream.Signature(results_beat(targets, lanes))),
                "statistics": Out(stream.Signature(STATISTICS)),
                "reseeding": In(RESEEDING),
                "saw_nan": Out(1),
                "saw_overflow": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from accepting a beat to its results on offer: the beat's register and the lane's."""
        return 1 + lane_latency(self.squeezes)

    @property
    def report_latency(self) -> int:
        """Cycles from accepting a beat with `report` to its report on offer: the results', the reduction, the total."""
        return self.latency + reduction_latency(self.lanes) + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        advance, blocked = Signal(), Signal()
        sums, results, registers = self.sums, self.results, lane_latency(self.squeezes)

        # Accept.
        m.d.comb += sums.ready.eq(advance)
        beat, entered = Signal.like(sums.payload), Signal()
        with m.If(advance):
            m.d.sync += [beat.eq(sums.payload), entered.eq(sums.valid)]
        present = Signal(self.lanes)
        m.d.comb += present.eq(Cat(entered & (lane < beat.columns) for lane in range(self.lanes)))

        # A power law reads its factor one cycle after its number, its offset two; the number is one behind the beat.
        power: tuple[Value, ...] = ()
        if self.squeezes:
            with m.If(advance):
                power = delay(m, self.factor, 3, "factor"), delay(m, self.offset, 4, "offset")

        # Round, and leave.
        lanes = [self._lane(m, platform, index, beat, present[index], advance, power) for index in range(self.lanes)]
        with m.If(advance):
            leaving = delay(m, Cat(entered, beat.last, beat.target, present), registers - 1, "leaving")
            m.d.sync += results.valid.eq(leaving[0])
            packed = delay(m, leaving[1:], 1, "packed")
        with m.Elif(results.ready):
            m.d.sync += results.valid.eq(0)
        m.d.comb += results.payload.last.eq(packed[0])
        self._pack(m, [lane.result for lane in lanes], packed[1 : 1 + TARGET_BITS], packed[1 + TARGET_BITS :])

        # Count: the statistics follow the results, at the same pace.
        with m.If(advance):
            tally = reduce_tallies(m, [lane.tally for lane in lanes])
            reports = delay(m, entered & beat.report, registers + reduction_latency(self.lanes), "reports")
        self._report(m, platform, tally, reports, advance)
        m.d.comb += [
            blocked.eq(reports & self.statistics.valid & ~self.statistics.ready),
            advance.eq((~results.valid | results.ready) & ~blocked),
        ]
        return m

    def _lane(
        self,
        m: Module,
        platform: object,
        index: int,
        beat: data.View,
        present: Value,
        advance: Value,
        power: tuple[Value, ...],
    ) -> wiring.PureInterface:
        lane = place(
            m, platform, f"lane_{index}", OutputLane, self.source, self.targets, self.random_bits, self.squeezes
        )
        m.d.comb += [lane.enable.eq(advance), lane.code.eq(beat.codes[index]), lane.present.eq(present)]
        m.d.comb += [
            getattr(lane, name).eq(getattr(beat, name)) for name in ("target", "scale", "stochastic", "saturate")
        ]
        if self.squeezes:
            m.d.comb += [
                lane.squeeze.eq(beat.squeeze),
                lane.factor.eq(power[0]),
                lane.offset.eq(power[1]),
            ]
        if self.random_bits:
            number = OUTPUT_GENERATORS + index
            m.d.comb += [
                lane.seed.eq(seed_of(self.seed, number)),
                lane.reseed.eq(addressed(self.reseeding, number)),
                lane.state.eq(self.reseeding.state),
                lane.step.eq(self.sums.valid & self.sums.ready),
            ]
        return lane

    def _pack(self, m: Module, codes: list[Value], target: Value, present: Value) -> None:
        """Results side by side, as wide as the target's slots."""
        payload = self.results.payload
        with m.Switch(target):
            for width in sorted({slot_bytes(fmt) for fmt in self.targets}):
                with m.Case(*(index for index, fmt in enumerate(self.targets) if slot_bytes(fmt) == width)):
                    m.d.comb += [
                        payload.codes.eq(Cat(code[: BYTE * width] for code in codes)),
                        payload.keep.eq(Cat(bit.replicate(width) for bit in present)),
                    ]

    def _report(self, m: Module, platform: object, beat: dict[str, Value], report: Value, advance: Value) -> None:
        """Totals since the last report; they become the report, and start anew, with a beat that asks for it."""
        statistics = self.statistics
        total, following = Signal(STATISTICS), Signal(STATISTICS)
        m.d.comb += following.amax.eq(Mux(beat["amax"] > total.amax, beat["amax"], total.amax))
        m.d.comb += [getattr(following, name).eq(getattr(total, name) + beat[name]) for name in (*COUNTS, "log2_sum")]
        taken = statistics.valid & statistics.ready
        with m.If(taken):
            m.d.sync += statistics.valid.eq(0)
        reported = Signal(STATISTICS)
        with m.If(advance):
            m.d.sync += total.eq(following)
            with m.If(report):
                m.d.sync += [reported.eq(following), total.eq(0), statistics.valid.eq(1)]
        m.d.comb += [
            self.saw_nan.eq(advance & beat["nans"].any()),
            self.saw_overflow.eq(advance & beat["overflows"].any()),
            statistics.payload.eq(reported),
            statistics.payload.log2_max.eq(self._logarithm(m, platform, reported.amax)),
        ]

    def _logarithm(self, m: Module, platform: object, amax: Value) -> Value:
        """The largest logarithm: that of the largest magnitude, for logarithms rise with their numbers."""
        shape = operand_shape((self.source,))
        y = unpack(m, Cat(amax[: self.source.bits - 1], Const(0, 1)), self.source, shape)
        log2 = place(m, platform, "log2", Log2, shape.significand_bits)
        exponent = Signal(signed(logarithm_shape(self.source).width))
        m.d.comb += [log2.significand.eq(y.significand), exponent.eq(y.exponent + shape.low)]
        return Mux(amax.any(), Cat(log2.fraction, exponent).as_signed(), Const(LOG2_NONE, signed(32)))


def reduction_latency(lanes: int) -> int:
    """Registers of the reduction of as many lanes' tallies: one for each factor of four."""
    return -(-(lanes - 1).bit_length() // 2)


def reduce_tallies(m: Module, tallies: list[data.View]) -> dict[str, Value]:
    """The tallies of all lanes as one: largest magnitude, counts, sum of logarithms; see `reduction_latency`."""
    nodes: list[dict[str, Value]] = [
        {
            "amax": tally.magnitude,
            "nonzeros": tally.nonzero,
            "overflows": tally.overflow,
            "underflows": tally.underflow,
            "nans": tally.nan,
            "log2_sum": tally.logarithm,
        }
        for tally in tallies
    ]
    level = 0
    while len(nodes) > 1:
        nodes = [_merged(m, nodes[i : i + 4], f"{level}_{i // 4}") for i in range(0, len(nodes), 4)]
        level += 1
    return nodes[0]


def _merged(m: Module, nodes: list[dict[str, Value]], label: str) -> dict[str, Value]:
    merged = {}
    for name in nodes[0]:
        values = [node[name] for node in nodes]
        if name == "amax":
            value = values[0]
            for other in values[1:]:
                value = Mux(other > value, other, value)
        else:
            value = sum(values[1:], start=values[0])
        merged[name] = register = Signal.like(value, name=f"{name}_{label}")
        m.d.sync += register.eq(value)
    return merged
