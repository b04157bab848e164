"""Rounding in hardware: from a sum in fixed point to a code of its format."""

from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed

from quaver.golden import Accumulator, Format
from quaver.hw.pipeline import cut
from quaver.hw.shifters import normalise


def round_lazily(m: Module, s: SimpleNamespace, accumulator: Accumulator, depth: int) -> Value:
    """Code of the rounded sum `s.total`: it is normalised, then rounded; registered as `depth` asks."""
    gradual = accumulator.format.subnormals == "gradual"

    # Negate: where the smaller exponent had the larger significand.
    negative = s.total[-1]
    magnitude = Signal(len(s.total) - 1)
    m.d.comb += magnitude.eq((s.total ^ negative.replicate(len(s.total))) + negative)
    s = cut(m, depth, "negate", s, magnitude=magnitude, sign=s.sign ^ negative)

    # Normalise: the carry position is one binade above the top; subnormals stop at the lowest binade.
    steps = (len(magnitude) - 1).bit_length()
    normal, count = normalise(m, s.magnitude, steps, s.top.as_unsigned() if gradual else None)
    exponent = Signal(signed(len(s.top) + 1))
    m.d.comb += exponent.eq(s.top + 1 - count)
    # An exactly cancelled sum is +0; two zeros of one sign keep it.
    zero = ~normal.any() if gradual else ~normal[-1]
    sign = s.sign & ~(s.opposite & zero)
    s = cut(m, depth, "normalise", s, normal=normal, exponent=exponent, zero=zero, sign=sign)

    return result_code(s, round_code(m, s.normal, s.exponent, s.word, accumulator), s.zero, accumulator)


def round_code(m: Module, normal: Value, exponent: Value, word: Value, accumulator: Accumulator) -> Value:
    """Signed code of the magnitude of a sum that has its leading one on top, or is subnormal; it may be out of range.

    A code counts ulps: a carry out of the fraction is the right carry into the exponent.
    """
    fmt, rounding = accumulator.format, accumulator.rounding
    number, rest = code_of(normal, exponent, fmt), normal[: -fmt.precision]
    match rounding.mode:
        case "rne":
            up: Value = rest[-1] & (rest[:-1].any() | number[0])
        case "rha":
            up = rest[-1]
        case _:
            up = Const(0, 1)
    code = Signal(signed(len(number)))
    if rounding.stochastic:
        r = rounding.random_bits
        tail = Signal(signed(len(code) + r))
        m.d.comb += [tail.eq(Cat(rest[-r:], number) + word), code.eq(tail[r:])]
    else:
        m.d.comb += code.eq(number + up)
    return code


def code_of(normal: Value, exponent: Value, fmt: Format) -> Value:
    """Code of the magnitude of a normalised sum whose rest is cut off, as bits of a signed number."""
    hidden, fraction = normal[-1], normal[-fmt.precision : -1]
    gradual = fmt.subnormals == "gradual"
    return Cat(fraction, exponent & hidden.replicate(len(exponent)) if gradual else exponent)


def result_code(s: SimpleNamespace, code: Value, vanished: Value, accumulator: Accumulator) -> Value:
    """The rounded number's `code` if it is in range, or one of the special cases; a sum that `vanished` is zero."""
    fmt = accumulator.format
    magnitude = code[: fmt.bits - 1]
    beyond = code[fmt.bits - 1 : -1].any()
    all_ones = magnitude[fmt.mantissa_bits :].all() if fmt.specials == "ieee" else magnitude.all()
    over = ~code[-1] & (beyond | all_ones)
    match fmt.subnormals:
        case "gradual":
            under: Value = Const(0, 1)
        case "flush":
            under = code[-1] | ~code[fmt.mantissa_bits : -1].any() | vanished
        case "normal":
            under = code[-1] | ~code[:-1].any() | vanished

    assert fmt.nan_code is not None and fmt.inf_code is not None
    infinite = Const(fmt.max_code if accumulator.saturate else fmt.inf_code, fmt.bits - 1)
    largest = Const(fmt.max_code if accumulator.rounding.mode == "rtz" else infinite.value, fmt.bits - 1)
    number = Mux(over, largest, magnitude & ~under.replicate(fmt.bits - 1))
    number = Mux(s.nan, fmt.nan_code, Mux(s.inf, infinite, number))
    sign = ~s.nan & Mux(s.inf, s.inf_sign, s.sign)
    if fmt.specials == "dlfloat":  # neither zero nor the merged code has a sign
        sign = sign & number.any() & ~number.all()
    return Cat(number[: fmt.bits - 1], sign)
