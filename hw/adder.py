"""The fused aligner, adder, normaliser and rounder: acc' = round(acc + addend), one rounding of the exact sum."""

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Accumulator
from quaver.golden.machine_checks import SrAdder
from quaver.hw.decoder import unpack
from quaver.hw.eager_rounding import round_eagerly
from quaver.hw.lfsr import word_port
from quaver.hw.pipeline import cut
from quaver.hw.rounding import round_lazily
from quaver.hw.shifters import shift_right
from quaver.hw.unpacked import Unpacked


class Adder(wiring.Component):
    """Add a number to a sum kept in codes of `accumulator.format`, and round once.

    Latency: `Machine.adder_latency` of a machine whose `mac_depth` is `depth`.  Throughput: one sum per cycle.

    Parameters
    ----------
    addend_shape:
        Shape of the number.  Its significand may have leading zeros only as `headroom` says, or where the accumulator
        is as coarse at that exponent (subnormals that both share).
    accumulator:
        Format, rounding and overflow of the sum.
    depth:
        `mac_depth`: where the registers are (`CUTS`).
    sr_adder:
        `Machine.sr_adder`: where a stochastic rounding adds its word; the result is the same.

    Members
    -------
    sum:
        Code of the sum so far.
    addend:
        What is added.
    word:
        Random word, for stochastic rounding only.
    result:
        Code of the rounded sum.
    """

    def __init__(
        self, addend_shape: Unpacked, accumulator: Accumulator, depth: int, sr_adder: SrAdder = "lazy"
    ) -> None:
        self.addend_shape = addend_shape
        self.accumulator = accumulator
        self.depth = depth
        self.eager = sr_adder == "eager" and accumulator.rounding.stochastic
        members = {
            "sum": In(accumulator.format.bits),
            "addend": In(addend_shape.layout),
            "result": Out(accumulator.format.bits),
        }
        super().__init__(members | word_port(accumulator.rounding))

    @property
    def window(self) -> int:
        """Width of the aligned addition, without its sticky bit.

        Behind a cancellation by more than one binade the sum is exact and all of it must be inside; otherwise the
        leading one is at most 1 + headroom below the top, and the precision plus the bits that decide the rounding
        follow it.
        """
        shape, fmt = self.addend_shape, self.accumulator.format
        deciding = max(1, self.accumulator.rounding.random_bits)
        return max(fmt.precision + 1 + shape.headroom + deciding, shape.significand_bits + 2, fmt.precision + 2)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt, window = self.accumulator.format, self.window

        # Exponents count in the accumulator's biased field from here on.
        acc = unpack(m, self.sum, fmt, Unpacked.of_sum(fmt, normalised=False))
        addend = self.addend
        offset = self.addend_shape.low + fmt.bias

        # Compare: which one is big, and by how many binades.  A zero addend has no exponent and is never big.
        highest = (1 << len(addend.exponent)) - 1 + offset
        difference = Signal(_signed_range(offset - (1 << len(acc.exponent)), highest))
        m.d.comb += difference.eq(addend.exponent + offset - acc.exponent)
        lead = 1 + self.addend_shape.headroom if self.addend_shape.normalised else len(addend.significand)
        addend_big = ~difference[-1] & addend.significand[-lead:].any()
        acc_aligned = Cat(Const(0, window - fmt.precision), acc.significand)
        addend_aligned = Cat(Const(0, window - self.addend_shape.significand_bits), addend.significand)
        top = Signal(_signed_range(min(offset, 0), max(highest, 1 << len(acc.exponent))))
        m.d.comb += top.eq(Mux(addend_big, addend.exponent + offset, acc.exponent))
        s = cut(
            m,
            self.depth,
            "compare",
            big=Mux(addend_big, addend_aligned, acc_aligned),
            # If acc is big, the distance is -difference = ~difference + 1: the 1 is wired.
            distance=(difference ^ difference[-1].replicate(len(difference)))[:-1],
            small=Mux(addend_big, acc_aligned, addend_aligned >> 1),
            lost=Mux(addend_big, Const(0, 1), addend_aligned[0]),
            top=top,
            sign=Mux(addend_big, addend.sign, acc.sign),
            opposite=addend.sign ^ acc.sign,
            nan=acc.nan | addend.nan | (acc.inf & addend.inf & (acc.sign ^ addend.sign)),
            inf=acc.inf | addend.inf,
            inf_sign=Mux(acc.inf, acc.sign, addend.sign),
            word=self.word if self.accumulator.rounding.stochastic else Const(0, 0),
        )

        # Shift: what leaves the window is remembered as one sticky bit.
        kept, sticky = shift_right(m, s.small, s.lost, s.distance)
        s = cut(m, self.depth, "shift", s, small=Cat(sticky, kept))

        # Add: one bit more for the carry, one for the sign.
        total = Signal(window + 3)
        big, small = Cat(Const(0, 1), s.big), Cat(s.small, Const(0, 2))
        m.d.comb += total.eq(big + (small ^ s.opposite.replicate(len(total))) + s.opposite)
        s = cut(m, self.depth, "add", s, total=total)

        if self.eager:
            result = round_eagerly(m, s, self.addend_shape, self.accumulator, self.depth)
        else:
            result = round_lazily(m, s, self.accumulator, self.depth)
        m.d.sync += self.result.eq(result)
        return m


def _signed_range(low: int, high: int) -> Shape:
    return signed(max(low.bit_length(), high.bit_length()) + 1)
