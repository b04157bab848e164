"""Number formats as data, and their exact decoding.

A format is a record of a few fields; everything else (largest finite code, code of an overflow, range) is derived
from them.  `decode` turns codes into `Exact` values, on which all arithmetic of this package is integer arithmetic.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden.errors import check_choice, check_range

Specials = Literal["ieee", "fn", "fnuz", "dlfloat", "finite"]
Subnormals = Literal["gradual", "flush", "normal"]

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A binary floating-point format of a sign bit (where `signed`), `exponent_bits` and `mantissa_bits`.

    Raises
    ------
    ValueError
        If a field is out of its range; the message names the field.
    """

    name: str
    """Name in the catalogue, in machine files and in reports."""
    exponent_bits: int
    """Width of the exponent field, 1 to 8."""
    mantissa_bits: int
    """Width of the stored significand, 0 to 23 (at least 1 for `ieee`, which needs it to tell Inf from NaN)."""
    bias: int
    """A non-zero exponent field e stands for the exponent e - bias."""
    specials: Specials = "ieee"
    """Where Inf and NaN live: `ieee` all-ones exponent; `fn` NaN at S.1..1.1..1, no Inf; `fnuz` NaN at the code of -0,
    no Inf, no -0; `dlfloat` one merged Inf/NaN at the all-ones code, no -0; `finite` neither."""
    subnormals: Subnormals = "gradual"
    """What exponent field 0 means: `gradual` subnormals; `flush` zero; `normal` an ordinary binade but for m = 0."""
    signed: bool = True
    """Whether the top bit is a sign.  Without it a negative number becomes 0 where the cast saturates, else NaN."""
    source: str = ""
    """Where the definition comes from."""

    def __post_init__(self) -> None:
        check_range(f"{self.name}: exponent_bits", self.exponent_bits, 1, 8)
        check_range(f"{self.name}: mantissa_bits", self.mantissa_bits, int(self.specials == "ieee"), 23)
        check_range(f"{self.name}: bias", self.bias, -128, 255)
        check_choice(f"{self.name}: specials", self.specials, get_args(Specials))
        check_choice(f"{self.name}: subnormals", self.subnormals, get_args(Subnormals))
        if self.max_code < self.min_code:
            raise ValueError(f"{self.name}: exponent_bits and mantissa_bits leave no code for a number but zero")
        check_choice(f"{self.name}: signed", self.signed, (True,) if self.specials == "fnuz" else (True, False))

    def __str__(self) -> str:
        return self.name

    @cached_property
    def bits(self) -> int:
        """Width of a code."""
        return int(self.signed) + self.exponent_bits + self.mantissa_bits

    @cached_property
    def precision(self) -> int:
        """Significant bits of a normal number, the leading one included."""
        return self.mantissa_bits + 1

    @cached_property
    def magnitude_mask(self) -> int:
        return (1 << (self.exponent_bits + self.mantissa_bits)) - 1

    @cached_property
    def sign_mask(self) -> int:
        """The sign bit; 0 in an unsigned format."""
        return self.magnitude_mask + 1 if self.signed else 0

    @cached_property
    def emin(self) -> int:
        """Exponent of the smallest normal binade."""
        return -self.bias if self.subnormals == "normal" else 1 - self.bias

    @cached_property
    def max_code(self) -> int:
        """Magnitude of the largest finite code."""
        match self.specials:
            case "ieee":
                return (self.magnitude_mask >> self.mantissa_bits << self.mantissa_bits) - 1
            case "fn" | "dlfloat":
                return self.magnitude_mask - 1
            case _:
                return self.magnitude_mask

    @cached_property
    def min_code(self) -> int:
        """Magnitude of the smallest non-zero code."""
        return 1 << self.mantissa_bits if self.subnormals == "flush" else 1

    @cached_property
    def has_inf(self) -> bool:
        """Whether +Inf and -Inf are told from NaN."""
        return self.specials == "ieee"

    @cached_property
    def has_negative_zero(self) -> bool:
        return self.signed and self.specials in ("ieee", "fn", "finite")

    @cached_property
    def identity_code(self) -> int:
        """Code of the identity of addition: -0, or the only zero of a format without it."""
        return self.sign_mask if self.has_negative_zero else 0

    @cached_property
    def nan_code(self) -> int | None:
        """The canonical NaN; None where the format has none."""
        match self.specials:
            case "ieee":
                return self.max_code + 1 + (1 << (self.mantissa_bits - 1))
            case "fn" | "dlfloat":
                return self.magnitude_mask
            case "fnuz":
                return self.sign_mask
            case _:
                return None

    @cached_property
    def inf_code(self) -> int | None:
        """Magnitude of the code that an infinite result takes: Inf, or the NaN of formats without it."""
        return self.max_code + 1 if self.has_inf else self.nan_code

    @cached_property
    def overflow_code(self) -> int:
        """Magnitude of the code beyond the largest number: `inf_code`, or the largest number where there is none."""
        return self.max_code if self.inf_code is None else self.inf_code

    @cached_property
    def max_finite(self) -> float:
        return float(to_float(self.max_code, self))

    @cached_property
    def min_normal(self) -> float:
        """Smallest number of full precision."""
        tiny = 1 << self.mantissa_bits if self.subnormals != "normal" else 1
        return float(to_float(tiny, self))

    @cached_property
    def min_positive(self) -> float:
        """Smallest non-zero magnitude."""
        return float(to_float(self.min_code, self))

    @cached_property
    def dtype(self) -> np.dtype:
        """Smallest unsigned dtype that holds a code."""
        return np.dtype(np.uint8 if self.bits <= 8 else np.uint16 if self.bits <= 16 else np.uint32)


class Exact(NamedTuple):
    """An array of exact extended reals: (-1)^sign * (significand + tail) * 2^exponent.

    `tail` is in (0, 1) where `sticky` is set and 0 elsewhere: bits that were cut, of which only their presence matters.
    All fields have one shape.  `inf` and `nan` override the value.
    """

    sign: BoolArray
    exponent: IntArray
    """Exponent of the significand's least significant bit."""
    significand: IntArray
    """0 <= significand < 2^62."""
    sticky: BoolArray
    inf: BoolArray
    nan: BoolArray


def decode(codes: ArrayLike, fmt: Format) -> Exact:
    """Decode an array of codes of any shape; bits above the format's width are an error.

    Raises
    ------
    TypeError
        If `codes` is not of an integer type.
    ValueError
        If a code does not fit the format's width.
    """
    c = as_codes(codes, fmt)
    sign = (c & fmt.sign_mask) != 0
    magnitude = c & fmt.magnitude_mask
    field = magnitude >> fmt.mantissa_bits
    fraction = magnitude & ((1 << fmt.mantissa_bits) - 1)

    hidden = np.int64(1 << fmt.mantissa_bits)
    match fmt.subnormals:
        case "gradual":
            significand = np.where(field > 0, hidden + fraction, fraction)
            exponent = np.maximum(field, 1)
        case "flush":
            significand = np.where(field > 0, hidden + fraction, 0)
            exponent = np.maximum(field, 1)
        case "normal":
            significand = np.where(magnitude > 0, hidden + fraction, 0)
            exponent = field
    match fmt.specials:
        case "ieee":
            inf = magnitude == fmt.max_code + 1
            nan = magnitude > fmt.max_code + 1
        case "fn" | "dlfloat":
            nan = magnitude == fmt.magnitude_mask
            inf = np.zeros_like(nan)
        case "fnuz":
            nan = c == fmt.sign_mask
            inf = np.zeros_like(nan)
        case "finite":
            inf = nan = np.zeros(c.shape, bool)
    if not fmt.has_negative_zero:
        sign = sign & ((significand != 0) | nan)
    significand = np.where(inf | nan, 0, significand)
    return Exact(sign, exponent - fmt.bias - fmt.mantissa_bits, significand, np.zeros(c.shape, bool), inf, nan)


def as_codes(codes: ArrayLike, fmt: Format) -> IntArray:
    """Check codes of `fmt` and widen them to int64 (see `decode` for the errors)."""
    return checked_codes(codes, fmt).astype(np.int64)


def checked_codes(codes: ArrayLike, fmt: Format) -> NDArray[np.integer]:
    """Check codes of `fmt` (see `decode` for the errors)."""
    c = np.asarray(codes)
    if c.dtype.kind not in "ui":
        raise TypeError(f"codes of {fmt.name} must be integers, not {c.dtype}")
    fits = c.dtype.kind == "u" and 8 * c.itemsize <= fmt.bits
    if c.size and not fits and (int(c.min()) < 0 or int(c.max()) >> fmt.bits):
        raise ValueError(f"codes of {fmt.name} must be in 0..{(1 << fmt.bits) - 1:#x}")
    return c


def to_float(codes: ArrayLike, fmt: Format) -> NDArray[np.float64]:
    """Values of `codes` as float64, which holds every number of every format exactly (see `decode` for the errors)."""
    c = as_codes(codes, fmt)
    if fmt.bits <= _TABLE_BITS and c.size > 1 << fmt.bits:
        return all_values(fmt)[c]
    x = decode(c, fmt)
    value = np.ldexp(x.significand.astype(np.float64), x.exponent)
    value = np.where(x.inf, np.inf, np.where(x.nan, np.nan, value))
    return np.where(x.sign, -value, value)


_TABLE_BITS = 16


@lru_cache(maxsize=64)
def all_values(fmt: Format) -> NDArray[np.float64]:
    """The values of all codes, for formats of at most 16 bits."""
    return to_float(np.arange(1 << fmt.bits), fmt)


def from_float(values: ArrayLike) -> Exact:
    """The exact values of an array of floats (any NumPy float type up to float64, ml_dtypes' types included)."""
    with np.errstate(invalid="ignore"):  # widening a signalling NaN
        v = np.asarray(values, dtype=np.float64)
    nan, inf = np.isnan(v), np.isinf(v)
    fraction, exponent = np.frexp(np.where(nan | inf, 0.0, np.abs(v)))
    significand = np.ldexp(fraction, 53).astype(np.int64)
    return Exact(np.signbit(v), exponent.astype(np.int64) - 53, significand, np.zeros(v.shape, bool), inf, nan)
