"""FP8 code to unpacked operand, once per row and not in every PE."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from quaver.golden import Format
from quaver.hw.unpacked import Unpacked, operand_shape


class Decoder(wiring.Component):
    """Decode a code of one of `formats`, chosen at run time, into their common unpacked shape.

    Latency: combinational.

    Parameters
    ----------
    formats:
        The formats; `format` is an index into them.

    Members
    -------
    code:
        The code, in the low bits.
    format:
        Which format it is in (no such port for a single format).
    absent:
        The operand is padding: it comes out as -0, so that its product with +0 is -0, the identity of addition.
    operand:
        The number.
    """

    def __init__(self, formats: tuple[Format, ...]) -> None:
        self.formats = formats
        self.shape = operand_shape(formats)
        members = {
            "code": In(max(f.bits for f in formats)),
            "absent": In(1),
            "operand": Out(self.shape.layout),
        }
        if len(formats) > 1:
            members["format"] = In((len(formats) - 1).bit_length())
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        numbers = [unpack(m, self.code[: f.bits], f, self.shape) for f in self.formats]
        choice = Signal(self.shape.layout)
        m.d.comb += choice.eq(numbers[0])
        if len(self.formats) > 1:
            with m.Switch(self.format):
                for index, number in enumerate(numbers[1:], 1):
                    with m.Case(index):
                        m.d.comb += choice.eq(number)
        m.d.comb += [
            self.operand.eq(choice),
            self.operand.significand.eq(choice.significand & ~self.absent.replicate(self.shape.significand_bits)),
            self.operand.sign.eq(choice.sign | self.absent),
            self.operand.inf.eq(choice.inf & ~self.absent),
            self.operand.nan.eq(choice.nan & ~self.absent),
        ]
        return m


def unpack(m: Module, code: Value, fmt: Format, shape: Unpacked) -> Signal:
    """A signal of `shape` that is the number of `code` of `fmt`."""
    number = Signal(shape.layout, name=f"number_{fmt.name}")
    fraction = code[: fmt.mantissa_bits]
    field = code[fmt.mantissa_bits : fmt.bits - 1]
    hidden = field.any()
    padding = Const(0, shape.significand_bits - fmt.precision)
    offset = -fmt.bias - shape.low  # from exponent field to the shape's exponent

    match fmt.subnormals:
        case "normal":
            significand, exponent = Cat(padding, fraction, code[: fmt.bits - 1].any()), field + offset
        case "flush":
            significand = Cat(padding, fraction & hidden.replicate(fmt.mantissa_bits), hidden)
            exponent = field + offset
        case "gradual":
            # Every leading zero of a subnormal is one binade; `field | 1` is the exponent that subnormals share.
            significand, exponent = Cat(padding, fraction, hidden), Cat(field[0] | ~hidden, field[1:]) + offset
            for zeros in range(1, fmt.precision) if shape.normalised else ():
                lead = Cat(fraction[fmt.mantissa_bits - zeros + 1 :], hidden)
                shifted = Cat(padding, Const(0, zeros), fraction[: fmt.mantissa_bits - zeros + 1])
                small = ~lead.any() & fraction[fmt.mantissa_bits - zeros]
                significand = Mux(small, shifted, significand)
                exponent = Mux(small, 1 - zeros + offset, exponent)

    magnitude = code[: fmt.bits - 1]
    nan: Value = Const(0, 1)
    inf: Value = Const(0, 1)
    match fmt.specials:
        case "ieee":
            inf, nan = field.all() & ~fraction.any(), field.all() & fraction.any()
        case "fn" | "dlfloat":
            nan = magnitude.all()
        case "fnuz":
            nan = code == fmt.sign_mask
    sign = code[-1]
    if not fmt.has_negative_zero:
        sign = sign & significand.any()
    m.d.comb += [
        number.significand.eq(significand),
        number.exponent.eq(exponent),
        number.sign.eq(sign),
        number.inf.eq(inf),
        number.nan.eq(nan),
    ]
    return number
