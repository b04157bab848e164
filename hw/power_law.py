"""S2FP8's one operation: a power of a number, times a power of two."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quaver.golden.logarithms import EXP2_FRACTION_BITS, LOG2_FRACTION_BITS
from quaver.golden.s2fp8_fixed import FACTOR_BITS, FACTOR_FRACTION_BITS, OFFSET_BITS, POWER_HIGH, POWER_LOW
from quaver.hw.design import place
from quaver.hw.exp2 import Exp2
from quaver.hw.log2 import Log2
from quaver.hw.rounder import number_layout

POWER_LAYOUT = number_layout(EXP2_FRACTION_BITS + 1, POWER_HIGH.bit_length() + 1)
"""What comes out of a `PowerLaw`."""
POWER_LAW_LATENCY = 4
"""Registers of a `PowerLaw`."""


class PowerLaw(wiring.Component):
    """sign(x) * 2^(factor * log2|x| + offset), as `quaver.golden.s2fp8_fixed.power_law` has it.

    Zero and Inf stay what they are, with their sign; NaN without it.

    Latency: `POWER_LAW_LATENCY`, counted in cycles with `enable`.  Throughput: one number per cycle.

    Parameters
    ----------
    number:
        A `number_layout` of at most 24 significant bits.

    Members
    -------
    enable:
        All registers take what is there; otherwise they keep what they have.
    number:
        x.
    factor, offset:
        The registers, read one and two cycles (with `enable`) after the number.
    power:
        The result, a `POWER_LAYOUT`.
    """

    def __init__(self, number: data.StructLayout) -> None:
        super().__init__(
            {
                "enable": In(1),
                "number": In(number),
                "factor": In(FACTOR_BITS),
                "offset": In(signed(OFFSET_BITS)),
                "power": Out(POWER_LAYOUT),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        number = self.number

        # Logarithm: the exponent above the fraction.
        log2 = place(m, platform, "log2", Log2, len(number.significand))
        m.d.comb += log2.significand.eq(number.significand)
        s = self._register(
            m,
            "logarithm",
            logarithm=Cat(log2.fraction, number.exponent).as_signed(),
            zero=~number.significand.any(),
            sign=number.sign & ~number.nan,
            inf=number.inf,
            nan=number.nan,
        )

        # Squeeze.
        s = self._register(m, "squeezed", s, logarithm=s.logarithm * self.factor)

        # Shift: the product is rounded to the fraction bits of a logarithm.
        half = 1 << FACTOR_FRACTION_BITS - 1
        shifted = (s.logarithm + half >> FACTOR_FRACTION_BITS) + self.offset
        s = self._register(m, "shifted", s, logarithm=shifted)

        # Power: beyond its exponents it stays at the smallest or the largest one.
        fraction, whole = s.logarithm[:LOG2_FRACTION_BITS], s.logarithm[LOG2_FRACTION_BITS:].as_signed()
        exp2 = place(m, platform, "exp2", Exp2)
        low, high = whole < POWER_LOW, whole > POWER_HIGH
        m.d.comb += exp2.fraction.eq(Mux(low, 0, fraction | high.replicate(LOG2_FRACTION_BITS)))
        with m.If(self.enable):
            m.d.sync += [
                self.power.significand.eq(exp2.significand & ~s.zero.replicate(EXP2_FRACTION_BITS + 1)),
                self.power.exponent.eq(Mux(low, POWER_LOW, Mux(high, POWER_HIGH, whole))),
                self.power.sign.eq(s.sign),
                self.power.inf.eq(s.inf),
                self.power.nan.eq(s.nan),
            ]
        return m

    def _register(self, m: Module, step: str, state: SimpleNamespace | None = None, **values: Value) -> SimpleNamespace:
        """What is known after `step`: `state`, the knowledge before it, with the new `values`."""
        known = {**(vars(state) if state else {}), **values}
        registers = {name: Signal.like(value, name=f"{name}_{step}") for name, value in known.items()}
        with m.If(self.enable):
            m.d.sync += [register.eq(known[name]) for name, register in registers.items()]
        return SimpleNamespace(**registers)
