"""One lane of the output unit: the result of one sum, and what statistics count of it."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Format
from quaver.golden.lfsr import WIDTH
from quaver.golden.logarithms import LOG2_FRACTION_BITS
from quaver.golden.s2fp8_fixed import FACTOR_BITS, OFFSET_BITS
from quaver.golden.scaling import SCALE_MAX, SCALE_MIN
from quaver.host.beats import lane_bytes
from quaver.hw.axi import BYTE
from quaver.hw.decoder import unpack
from quaver.hw.design import place
from quaver.hw.lfsr import WordGenerator
from quaver.hw.log2 import Log2
from quaver.hw.pipeline import delay
from quaver.hw.power_law import POWER_LAW_LATENCY, PowerLaw
from quaver.hw.rounder import ROUNDER_LATENCY, Rounder, number_layout
from quaver.hw.unpacked import operand_shape

LANE_LATENCY = 2 + ROUNDER_LATENCY
"""Registers of an `OutputLane` that cannot squeeze: of the scaled number, in the rounder, of the result."""
SCALE_BITS = (SCALE_MAX - SCALE_MIN).bit_length()
"""Width of the exponent of the power of two."""
TARGET_BITS = 4
"""Width of an index into the targets."""
POWER_PORTS = {"factor": In(FACTOR_BITS), "offset": In(signed(OFFSET_BITS))}
"""Registers of S2FP8; see `quaver.golden.PowerRegisters`."""
_GENERATOR_PORTS = ("seed", "reseed", "state", "step")


def slot_bytes(fmt: Format) -> int:
    """Bytes that a result takes."""
    return lane_bytes((fmt,))


def lane_latency(squeeze: bool) -> int:
    """Registers of an `OutputLane`."""
    return LANE_LATENCY + (POWER_LAW_LATENCY if squeeze else 0)


def logarithm_shape(source: Format) -> Shape:
    """Shape of log2|y|."""
    shape = operand_shape((source,))
    return signed(max(-shape.low, shape.high, 1).bit_length() + 1 + LOG2_FRACTION_BITS)


def tally_layout(source: Format) -> data.StructLayout:
    """What a sum y adds to the statistics.

    `magnitude`: code of |y| if that is finite and not 0, otherwise 0; `logarithm` of it likewise.
    """
    flags = {name: 1 for name in ("nonzero", "overflow", "underflow", "nan")}
    return data.StructLayout(
        {"magnitude": source.bits - 1, **flags, "logarithm": logarithm_shape(source)},
    )


class OutputLane(wiring.Component):
    """Scale a sum, squeeze it where asked to, round it to one of `targets`, and tell what became of it.

    Latency: `lane_latency(squeeze)`, counted in cycles with `enable`.  Throughput: one sum per cycle.

    Parameters
    ----------
    source:
        Format of the sums.
    targets:
        Formats of the results.
    random_bits:
        Width of the words of stochastic rounding; 0: there is none.
    squeeze:
        Whether the lane can squeeze and shift, as S2FP8 does.

    Members
    -------
    enable:
        All registers take what is there; otherwise they keep what they have.
    code, present:
        The sum; without `present` the result is 0 and nothing is counted.
    target, scale, stochastic, saturate:
        Index into `targets`, exponent of the power of two, rounding, overflow.
    squeeze, factor, offset:
        Whether this sum is squeezed, and how (no such ports where it cannot be); `factor` is read two cycles (with
        `enable`) after the sum, `offset` three.
    seed, reseed, state, step:
        As of `WordGenerator` (no such ports without random bits); the sum comes in the cycle after `step`.
    result:
        The result, in the low bits.
    tally:
        What it adds to the statistics, with the result.
    """

    def __init__(self, source: Format, targets: tuple[Format, ...], random_bits: int, squeeze: bool = False) -> None:
        self.source, self.targets, self.random_bits, self.squeezes = source, targets, random_bits, squeeze
        members = {"enable": In(1), "code": In(source.bits), "present": In(1)}
        members |= {"target": In(TARGET_BITS), "scale": In(signed(SCALE_BITS))}
        members |= {"stochastic": In(1), "saturate": In(1)}
        if squeeze:
            members |= {"squeeze": In(1)} | POWER_PORTS
        if random_bits:
            members |= {"seed": In(WIDTH), "reseed": In(1), "state": In(WIDTH), "step": In(1)}
        members |= {"result": Out(BYTE * max(map(slot_bytes, targets))), "tally": Out(tally_layout(source))}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        s = self._scale(m, platform)
        s.logarithm = self._logarithm(m, platform, s)
        if self.squeezes:
            s = self._squeeze(m, platform, s)
        self._round(m, platform, s)
        return m

    def _kept(self, m: Module, step: str, **values: Value) -> SimpleNamespace:
        """Registers of `values` behind `step`."""
        registers = {name: Signal.like(value, name=f"{name}_{step}") for name, value in values.items()}
        with m.If(self.enable):
            m.d.sync += [register.eq(values[name]) for name, register in registers.items()]
        return SimpleNamespace(**registers)

    def _scale(self, m: Module, platform: object) -> SimpleNamespace:
        """The sum as a number, and that times the power of two."""
        shape = operand_shape((self.source,))
        y = unpack(m, self.code, self.source, shape)
        reach = max(-shape.low - SCALE_MIN, shape.high + SCALE_MAX)
        number = Signal(number_layout(shape.significand_bits, reach.bit_length() + 1))
        exponent = Signal(signed(reach.bit_length() + 1))
        nonzero, magnitude = Signal(), Signal(self.source.bits - 1)
        m.d.comb += [
            exponent.eq(y.exponent + shape.low),
            number.significand.eq(y.significand),
            number.exponent.eq(exponent + self.scale),
            number.sign.eq(y.sign),
            number.inf.eq(y.inf),
            number.nan.eq(y.nan),
            nonzero.eq(self.present & y.significand.any() & ~(y.inf | y.nan)),
            magnitude.eq(self.code & nonzero.replicate(len(magnitude))),
        ]
        options = {"squeeze": self.squeeze} if self.squeezes else {}
        if self.random_bits:
            generator = place(m, platform, "generator", WordGenerator, self.random_bits)
            m.d.comb += [getattr(generator, name).eq(getattr(self, name)) for name in _GENERATOR_PORTS]
            options |= {"stochastic": self.stochastic, "word": generator.word}
        return self._kept(
            m,
            "scaled",
            number=number,
            exponent=exponent,
            nonzero=nonzero,
            magnitude=magnitude,
            present=self.present,
            target=self.target,
            saturate=self.saturate,
            **options,
        )

    def _squeeze(self, m: Module, platform: object, s: SimpleNamespace) -> SimpleNamespace:
        """The number's power, where the sum is squeezed; all of them take the same time."""
        law = place(m, platform, "power_law", PowerLaw, s.number.shape())
        m.d.comb += [
            law.enable.eq(self.enable),
            law.number.eq(s.number),
            law.factor.eq(self.factor),
            law.offset.eq(self.offset),
        ]
        with m.If(self.enable):
            late = {name: delay(m, value, POWER_LAW_LATENCY, f"{name}_squeezed") for name, value in vars(s).items()}
        number, power, squeezed = late["number"], law.power, late["squeeze"]
        significand_bits, exponent_bits = (
            max(len(number[field]), len(power[field])) for field in ("significand", "exponent")
        )
        chosen = Signal(number_layout(significand_bits, exponent_bits))
        for source, condition in ((number, ~squeezed), (power, squeezed)):
            with m.If(condition):
                m.d.comb += [
                    chosen.significand[significand_bits - len(source.significand) :].eq(source.significand),
                    *(getattr(chosen, field).eq(source[field]) for field in ("exponent", "sign", "inf", "nan")),
                ]
        return SimpleNamespace(**(late | {"number": chosen}))

    def _logarithm(self, m: Module, platform: object, s: SimpleNamespace) -> Value:
        """log2|y|, or 0 where y has none."""
        log2 = place(m, platform, "log2", Log2, len(s.number.significand))
        logarithm = Signal(logarithm_shape(self.source))
        m.d.comb += [
            log2.significand.eq(s.number.significand),
            logarithm.eq(Mux(s.nonzero, Cat(log2.fraction, s.exponent).as_signed(), 0)),
        ]
        return logarithm

    def _round(self, m: Module, platform: object, s: SimpleNamespace) -> None:
        """To each of the formats; that of `target` is taken."""
        aside = self._kept(
            m,
            "rounded",
            logarithm=s.logarithm,
            nonzero=s.nonzero,
            magnitude=s.magnitude,
            present=s.present,
            target=s.target,
            nan=s.number.nan,
        )
        result, overflow, underflow = Signal(len(self.result)), Signal(), Signal()
        rounders = []
        for index, fmt in enumerate(self.targets):
            rounder = place(m, platform, f"rounder_{index}", Rounder, s.number.shape(), fmt, self.random_bits)
            m.d.comb += [
                rounder.enable.eq(self.enable),
                rounder.number.eq(s.number),
                rounder.saturate.eq(s.saturate),
            ]
            if self.random_bits:
                m.d.comb += [rounder.stochastic.eq(s.stochastic), rounder.word.eq(s.word)]
            rounders.append(rounder)
        with m.Switch(aside.target):
            for index, rounder in enumerate(rounders):
                with m.Case(index):
                    m.d.comb += [
                        result.eq(rounder.code),
                        overflow.eq(rounder.overflow),
                        underflow.eq(rounder.underflow),
                    ]
        last = self._kept(
            m,
            "last",
            result=result & aside.present.replicate(len(result)),
            magnitude=aside.magnitude,
            nonzero=aside.nonzero,
            overflow=overflow & aside.present,
            underflow=underflow & aside.present,
            nan=aside.nan & aside.present,
            logarithm=aside.logarithm,
        )
        m.d.comb += self.result.eq(last.result)
        m.d.comb += [getattr(self.tally, name).eq(getattr(last, name)) for name, _ in self.tally.shape()]
