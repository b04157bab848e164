"""The fused aligner, adder, normaliser and rounder: acc' = round(acc + addend), one rounding of the exact sum."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Shape, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Accumulator
from quaver.hw.decoder import unpack
from quaver.hw.lfsr import word_port
from quaver.hw.pipeline import cut
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

    def __init__(self, addend_shape: Unpacked, accumulator: Accumulator, depth: int) -> None:
        self.addend_shape = addend_shape
        self.accumulator = accumulator
        self.depth = depth
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
        gradual = fmt.subnormals == "gradual"

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
        kept, sticky = _shift_right(m, s.small, s.lost, s.distance)
        s = cut(m, self.depth, "shift", s, small=Cat(sticky, kept))

        # Add: one bit more for the carry, one for the sign.
        total = Signal(window + 3)
        big, small = Cat(Const(0, 1), s.big), Cat(s.small, Const(0, 2))
        m.d.comb += total.eq(big + (small ^ s.opposite.replicate(len(total))) + s.opposite)
        s = cut(m, self.depth, "add", s, total=total)

        # Negate: where the smaller exponent had the larger significand.
        negative = s.total[-1]
        magnitude = Signal(window + 2)
        m.d.comb += magnitude.eq((s.total ^ negative.replicate(len(s.total))) + negative)
        s = cut(m, self.depth, "negate", s, magnitude=magnitude, sign=s.sign ^ negative)

        # Normalise: the carry position is one binade above the top; subnormals stop at the lowest binade.
        normal, exponent = _normalise(m, s.magnitude, s.top + 1, gradual)
        # An exactly cancelled sum is +0; two zeros of one sign keep it.
        zero = ~normal.any() if gradual else ~normal[-1]
        sign = s.sign & ~(s.opposite & zero)
        s = cut(m, self.depth, "normalise", s, normal=normal, exponent=exponent, zero=zero, sign=sign)

        magnitude, over, under = _round(m, s, self.accumulator)
        m.d.sync += self.result.eq(_select(s, magnitude, over, under, self.accumulator))
        return m


def _signed_range(low: int, high: int) -> Shape:
    return signed(max(low.bit_length(), high.bit_length()) + 1)


def _shift_right(m: Module, value: Value, lost: Value, distance: Value) -> tuple[Value, Value]:
    """`value` >> `distance`, and whether a one was lost on the way."""
    width = len(value)
    steps = (width - 1).bit_length()
    far = distance[steps:].any()
    sticky = lost
    for step in reversed(range(steps)):
        amount = 1 << step
        sticky = sticky | (distance[step] & value[:amount].any())
        shifted = Signal(width, name=f"shifted_{amount}")
        m.d.comb += shifted.eq(Mux(distance[step], value >> amount, value))
        value = shifted
    return value & ~far.replicate(width), sticky | (far & value.any())


def _normalise(m: Module, value: Value, exponent: Value, gradual: bool) -> tuple[Value, Value]:
    """Shift leading zeros out and count the exponent down; `gradual` stops at exponent 1."""
    width = len(value)
    steps = (width - 1).bit_length()
    room = exponent - 1
    count = Signal(steps)
    for step in reversed(range(steps)):
        amount = 1 << step
        go = Signal(name=f"go_{amount}")
        m.d.comb += [go.eq(~value[-amount:].any()), count[step].eq(go)]
        if gradual:
            rest = Signal(signed(len(room)), name=f"room_{amount}")
            m.d.comb += [go.eq(~value[-amount:].any() & (room >= amount)), rest.eq(room - (go << step))]
            room = rest
        shifted = Signal(width, name=f"normal_{amount}")
        m.d.comb += shifted.eq(Mux(go, value << amount, value))
        value = shifted
    result = Signal(signed(len(exponent)))
    m.d.comb += result.eq(exponent - count)
    return value, result


def _round(m: Module, s: SimpleNamespace, accumulator: Accumulator) -> tuple[Value, Value, Value]:
    """Magnitude code of the rounded number, whether it is too large, and whether it is zero."""
    fmt, rounding = accumulator.format, accumulator.rounding
    fraction, rest = s.normal[-1 - fmt.mantissa_bits : -1], s.normal[: -1 - fmt.mantissa_bits]
    hidden = s.normal[-1]
    gradual = fmt.subnormals == "gradual"
    field = s.exponent & hidden.replicate(len(s.exponent)) if gradual else s.exponent
    match rounding.mode:
        case "rne":
            up: Value = rest[-1] & (rest[:-1].any() | fraction[0])
        case "rha":
            up = rest[-1]
        case _:
            up = Const(0, 1)
    # A code counts ulps: a carry out of the fraction is the right carry into the exponent.
    code = Signal(signed(len(fraction) + len(field)))
    if rounding.stochastic:
        r = rounding.random_bits
        tail = Signal(signed(len(code) + r))
        m.d.comb += [tail.eq(Cat(rest[-r:], fraction, field) + s.word), code.eq(tail[r:])]
    else:
        m.d.comb += code.eq(Cat(fraction, field) + up)

    magnitude = code[: fmt.bits - 1]
    beyond = code[fmt.bits - 1 : -1].any()
    all_ones = magnitude[fmt.mantissa_bits :].all() if fmt.specials == "ieee" else magnitude.all()
    over = ~code[-1] & (beyond | all_ones)
    match fmt.subnormals:
        case "gradual":
            under: Value = Const(0, 1)
        case "flush":
            under = code[-1] | ~code[fmt.mantissa_bits : -1].any() | s.zero
        case "normal":
            under = code[-1] | ~code[:-1].any() | s.zero
    return magnitude, over, under


def _select(s: SimpleNamespace, magnitude: Value, over: Value, under: Value, accumulator: Accumulator) -> Value:
    """The code of the result: the rounded number, or one of the special cases."""
    fmt = accumulator.format
    assert fmt.nan_code is not None and fmt.inf_code is not None
    infinite = Const(fmt.max_code if accumulator.saturate else fmt.inf_code, fmt.bits - 1)
    largest = Const(fmt.max_code if accumulator.rounding.mode == "rtz" else infinite.value, fmt.bits - 1)
    number = Mux(over, largest, magnitude & ~under.replicate(fmt.bits - 1))
    number = Mux(s.nan, fmt.nan_code, Mux(s.inf, infinite, number))
    sign = ~s.nan & Mux(s.inf, s.inf_sign, s.sign)
    if fmt.specials == "dlfloat":  # neither zero nor the merged code has a sign
        sign = sign & number.any() & ~number.all()
    return Cat(number[: fmt.bits - 1], sign)
