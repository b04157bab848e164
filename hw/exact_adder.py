"""The adder of exact sums: a product is aligned to a fixed-point register and added; nothing is rounded."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from quaver.golden.exact_register import ExactRegister
from quaver.hw.pipeline import delay
from quaver.hw.unpacked import Unpacked


def exact_layout(register: ExactRegister) -> data.StructLayout:
    """Codes of an exact sum; see `ExactRegister`."""
    return data.StructLayout({"number": register.width, "up": 1, "down": 1, "identity": 1})


class ExactAdder(wiring.Component):
    """Add a product to a sum kept in codes of `register`.

    The product is aligned by its own exponent, not by the sum's: the sum is needed for the addition alone.

    Latency: 1 from `sum`; from `addend` `depth` - 1, or 1 where `depth` is 1.  Throughput: one sum per cycle.

    Parameters
    ----------
    addend_shape:
        Shape of the product.
    register:
        Place and width of the sum.
    depth:
        `mac_depth`: of its registers the last one is the result's, the first one the product's, the others are spread
        over the steps of the aligner.

    Members
    -------
    addend:
        What is added.
    sum:
        Code of the sum so far; it comes with the aligned addend.
    result:
        Code of the new sum.
    """

    def __init__(self, addend_shape: Unpacked, register: ExactRegister, depth: int) -> None:
        self.addend_shape, self.register, self.depth = addend_shape, register, depth
        super().__init__({"addend": In(addend_shape.layout), "sum": In(register.bits), "result": Out(register.bits)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        layout, width = exact_layout(self.register), self.register.width

        # Classify: a NaN counts as both infinities.
        addend = self.addend
        up, down = addend.nan | (addend.inf & ~addend.sign), addend.nan | (addend.inf & addend.sign)
        known: Value = Cat(addend.sign, up, down, addend.sign & ~addend.significand.any())

        # Align: small steps first, while the number is narrow.  Below the register's last bit there are only the zeros
        # that normalised subnormals end in; above its sign bit reaches only the number of an Inf or a NaN.
        shape, steps, cuts = self.addend_shape, self.addend_shape.exponent_bits, max(0, self.depth - 2)
        below = self.register.lsb - (shape.low - shape.significand_bits + 1)
        number, exponent = addend.significand, addend.exponent
        for step in range(steps):
            shifted = Signal(min(len(number) + (1 << step), below + width - 1), name=f"shifted_{1 << step}")
            m.d.comb += shifted.eq(Mux(exponent[0], number << (1 << step), number))
            registers = (step + 1) * cuts // steps - step * cuts // steps
            aligned = delay(m, Cat(known, exponent[1:], shifted), registers, f"aligned_{1 << step}")
            known, exponent, number = (
                aligned[: len(known)],
                aligned[len(known) : -len(shifted)],
                aligned[-len(shifted) :],
            )

        # Add: the sign makes the two's complement.
        negative, up, down, identity = known
        before, after, total = layout(self.sum), Signal(layout), Signal(width)
        term = Signal(width)
        m.d.comb += [
            term.eq(number[below:]),
            total.eq(before.number + (term ^ negative.replicate(width)) + negative),
            after.number.eq(total),
            after.up.eq(before.up | up),
            after.down.eq(before.down | down),
            after.identity.eq(before.identity & identity),
        ]
        m.d.sync += self.result.eq(after)
        return m
