"""The exact multiplier: a product is never encoded, so it needs neither rounding nor range checks."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quaver.hw.unpacked import Unpacked, product_shape


class Multiplier(wiring.Component):
    """Exact product of two normalised operands; 0 * Inf is NaN.

    Latency: combinational.

    Parameters
    ----------
    a_shape, b_shape:
        Shapes of the operands.

    Members
    -------
    a, b:
        Operands.
    product:
        Their product, its significand in [1, 4) or zero; where `nan` is set, `inf` has no meaning.
    """

    def __init__(self, a_shape: Unpacked, b_shape: Unpacked) -> None:
        self.shape = product_shape(a_shape, b_shape)
        super().__init__({"a": In(a_shape.layout), "b": In(b_shape.layout), "product": Out(self.shape.layout)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b, product = self.a, self.b, self.product
        # Operands are normalised, and an Inf decodes with its leading one: that bit alone tells zero.
        a_zero, b_zero = ~a.significand[-1], ~b.significand[-1]
        m.d.comb += [
            product.sign.eq(a.sign ^ b.sign),
            product.exponent.eq(a.exponent + b.exponent),
            product.significand.eq(a.significand * b.significand),
            product.inf.eq(a.inf | b.inf),
            product.nan.eq(a.nan | b.nan | (a.inf & b_zero) | (b.inf & a_zero)),
        ]
        return m
