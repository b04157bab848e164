"""From an exact number to a code of a format: the one rounding of the output unit."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Format
from quaver.golden.errors import check_choice, check_range
from quaver.golden.machine_checks import RANDOM_BITS_MAX
from quaver.hw.shifters import shift_right

ROUNDER_LATENCY = 1
"""Registers of a `Rounder`."""
_BIAS_BITS = 10
"""Width of any format's bias or least exponent."""


def number_layout(significand_bits: int, exponent_bits: int) -> data.StructLayout:
    """A number whose significand has its leading one on top, of weight 2^exponent, or is 0; Inf and NaN are flags."""
    return data.StructLayout(
        {"significand": significand_bits, "exponent": signed(exponent_bits), "sign": 1, "inf": 1, "nan": 1}
    )


class Rounder(wiring.Component):
    """Round to one format as `quaver.golden.rescale` does, to nearest or stochastically as chosen at run time.

    Latency: `ROUNDER_LATENCY`.  Throughput: one number per cycle.

    Parameters
    ----------
    number:
        A `number_layout`.
    target:
        Any signed format.
    random_bits:
        Width of the words of stochastic rounding, 0 to 16; 0: there is none.

    Members
    -------
    enable:
        The register takes what is there; otherwise it keeps what it has.
    number:
        What is rounded.
    saturate:
        An overflow becomes the largest number, where not Inf in a format `fnuz`.
    stochastic, word:
        Round stochastically with this word (no such ports without random bits).
    code:
        The result.  A NaN is the canonical one; +0 in a format `finite`.
    overflow:
        The number is infinite, or rounds to beyond the largest number.
    underflow:
        The number is not 0 and rounds to 0.
    """

    def __init__(self, number: data.StructLayout, target: Format, random_bits: int = 0) -> None:
        check_choice("signed of target", target.signed, (True,))
        check_range("random_bits", random_bits, 0, RANDOM_BITS_MAX)
        self.target, self.random_bits = target, random_bits
        super().__init__(
            {
                "enable": In(1),
                "number": In(number),
                "saturate": In(1),
                **({"stochastic": In(1), "word": In(random_bits)} if random_bits else {}),
                "code": Out(target.bits),
                "overflow": Out(1),
                "underflow": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        s = self._register(m, self._align(m))
        code = self._round(m, s)
        self._encode(m, s, code)
        return m

    def _align(self, m: Module) -> SimpleNamespace:
        """The bits that can stay, then those that decide; a subnormal number is shifted to its ulp."""
        fmt, number = self.target, self.number
        width = fmt.precision + max(self.random_bits, 1)
        padding = Const(0, max(0, width - len(number.significand)))
        frame = Cat(padding, number.significand)
        aligned, sticky = frame[-width:], frame[:-width].any()
        hidden: Value = Const(1, 1)
        exponent_bits = max(len(number.exponent), _BIAS_BITS) + 1
        if fmt.subnormals == "gradual":
            below = Signal(signed(exponent_bits))
            m.d.comb += below.eq(fmt.emin - number.exponent)
            distance = below[:-1] & ~below[-1].replicate(len(below) - 1)
            aligned, sticky = shift_right(m, aligned, sticky, distance)
            hidden = aligned[-1]
        field = Signal(signed(exponent_bits))
        m.d.comb += field.eq(Mux(hidden, number.exponent + fmt.bias, 0))
        return SimpleNamespace(
            aligned=aligned,
            sticky=sticky,
            field=field,
            sign=number.sign,
            zero=~number.significand.any(),
            inf=number.inf,
            nan=number.nan,
            saturate=self.saturate,
            **({"stochastic": self.stochastic, "word": self.word} if self.random_bits else {}),
        )

    def _register(self, m: Module, state: SimpleNamespace) -> SimpleNamespace:
        registers = {name: Signal.like(value, name=f"{name}_aligned") for name, value in vars(state).items()}
        with m.If(self.enable):
            m.d.sync += [register.eq(getattr(state, name)) for name, register in registers.items()]
        return SimpleNamespace(**registers)

    def _round(self, m: Module, s: SimpleNamespace) -> Value:
        """Signed code of the magnitude, which may be out of range: a code counts ulps, so carries go on."""
        mantissa = self.target.mantissa_bits
        rest = s.aligned[: -self.target.precision]
        number = Cat(s.aligned[len(rest) :][:mantissa], s.field)
        up = rest[-1] & (rest[:-1].any() | s.sticky | number[0])
        addend: Value = Cat(Const(0, len(rest)), up)
        if self.random_bits:
            addend = Mux(s.stochastic, s.word, addend)
        total = Signal(signed(len(rest) + len(number) + 1))
        m.d.comb += total.eq(Cat(rest, number).as_signed() + addend)
        return total[len(rest) :].as_signed()

    def _encode(self, m: Module, s: SimpleNamespace, code: Value) -> None:
        """The special cases, and the sign."""
        fmt = self.target
        finite = Signal()
        over, under, saturates = Signal(), Signal(), Signal()
        m.d.comb += [
            finite.eq(~(s.inf | s.nan | s.zero)),
            over.eq(s.inf | (finite & (code > fmt.max_code))),
            under.eq(code < fmt.min_code),
            saturates.eq(s.saturate & ~(s.inf & int(fmt.specials == "fnuz"))),
            self.overflow.eq(over & ~s.nan),
            self.underflow.eq(finite & under),
        ]
        result, unsigned = Signal(fmt.bits), Signal()
        with m.If(s.nan):
            m.d.comb += [result.eq(fmt.nan_code or 0), unsigned.eq(1)]
        with m.Elif(over):
            m.d.comb += result.eq(Mux(saturates, fmt.max_code, fmt.overflow_code))
            if not fmt.has_inf and fmt.nan_code is not None:
                m.d.comb += unsigned.eq(~saturates)
        with m.Elif(s.zero | under):
            m.d.comb += unsigned.eq(int(not fmt.has_negative_zero))
        with m.Else():
            m.d.comb += result.eq(code[: fmt.bits - 1])
        m.d.comb += self.code.eq(result | Cat(Const(0, fmt.bits - 1), s.sign & ~unsigned))
