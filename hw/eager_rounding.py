"""Eager stochastic rounding: the random word is added while a cancelled sum is still being normalised.

It gives the same bits as adding the word to the normalised sum.  Let the larger operand's top bit weigh 2^t.

* A sum of at least 2^(t - 1 - headroom) is normalised by a shift of a few places.  Then the word meets the bits that it
  meets in a lazy adder, and no further shift follows.
* A smaller sum is the difference of operands at most 1 + headroom binades apart.  So is a negative one, unless the
  format has subnormals.  Neither has bits below the last one that such operands reach: a longer shift needs no more
  than these, and leaves nothing to round.

Subnormals keep to that: where the shift is stopped, the ulp is, and the word is added there.  In the other formats the
sum of a zero and a number below the smallest binade may lose bits, but it vanishes anyway.
"""

from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from quaver.golden import Accumulator
from quaver.hw.pipeline import cut
from quaver.hw.rounding import code_of, result_code, round_code
from quaver.hw.shifters import normalise
from quaver.hw.unpacked import Unpacked


def round_eagerly(m: Module, s: SimpleNamespace, shape: Unpacked, accumulator: Accumulator, depth: int) -> Value:
    """Code of the rounded sum `s.total`, of a sum in codes and an addend of `shape`, registered as `depth` asks."""
    fmt = accumulator.format
    gradual = fmt.subnormals == "gradual"
    # Bits of a cancelled sum, from the carry position down; the first shift leaves at most `precision` of them.
    reach = max(shape.significand_bits, fmt.precision + shape.headroom) + 2
    steps = (reach - fmt.precision).bit_length()
    shift_max = (1 << steps) - 1
    left = max(1, reach - shift_max)

    # Negate: a negative sum has no bits below `reach`, if there are no subnormals.
    width = len(s.total) - 1
    below = 0 if gradual else width - reach
    negative = s.total[-1]
    magnitude = Signal(width)
    flipped = (s.total[below:] ^ negative.replicate(width + 1 - below)) + negative
    m.d.comb += magnitude.eq(Cat(s.total[:below], flipped))
    s = cut(m, depth, "negate", s, magnitude=magnitude, sign=s.sign ^ negative)

    # Shift as far as a sum can need it that is to be rounded; subnormals stop at the lowest binade.
    shifted, count = normalise(m, s.magnitude, steps, s.top.as_unsigned() if gradual else None)
    exponent = Signal(signed(len(s.top) + 1))
    m.d.comb += exponent.eq(s.top + 1 - count)
    # An exactly cancelled sum is +0; two zeros of one sign keep it.
    sign = s.sign & ~(s.opposite & ~s.magnitude.any())
    room = s.top - shift_max
    s = cut(m, depth, "normalise", s, shifted=shifted, exponent=exponent, room=room, sign=sign)

    # Round, as if that had been all ...
    rounded = round_code(m, s.shifted, s.exponent, s.word, accumulator)

    # ... and meanwhile normalise on, as if the sum were a cancelled one.
    cancelled = ~s.shifted[-1] & (s.room > 0 if gradual else 1)
    normal, count = normalise(m, s.shifted[-left:], (left - 1).bit_length(), s.room.as_unsigned() if gradual else None)
    lower = Signal.like(exponent)
    m.d.comb += lower.eq(s.exponent - count)
    exact = code_of(Cat(Const(0, fmt.precision - left), normal), lower, fmt)

    code = Signal.like(rounded)
    m.d.comb += code.eq(Mux(cancelled, exact, rounded))
    return result_code(s, code, cancelled & ~normal[-1], accumulator)
