"""The description of an arithmetic: all that a GEMM needs to know to be right to the last bit."""

from dataclasses import dataclass
from typing import Literal, get_args

from quaver.golden.catalog import DLFLOAT16, E4M3, E8M13, FP32
from quaver.golden.errors import check_choice, check_range
from quaver.golden.formats import Format
from quaver.golden.rounding import RNE, RTZ, Rounding

Overflow = Literal["special", "saturate"]
OPERAND_PRECISION_MAX = 8


@dataclass(frozen=True, kw_only=True)
class Accumulator:
    """One running sum: after every addition it is rounded to `format`."""

    format: Format = DLFLOAT16
    """What the sum is kept in."""
    rounding: Rounding = RNE
    """How each sum is rounded."""
    overflow: Overflow = "special"
    """`special`: a sum beyond the largest finite number becomes Inf or the format's NaN; `saturate`: it stays there."""

    def __post_init__(self) -> None:
        check_choice("overflow", self.overflow, get_args(Overflow))
        if not self.format.signed:
            raise ValueError(f"format of an accumulator must be signed, not {self.format}")

    def __str__(self) -> str:
        return f"{self.format} {self.rounding}" + (" saturating" if self.saturate else "")

    @property
    def saturate(self) -> bool:
        return self.overflow == "saturate"


@dataclass(frozen=True)
class ExactSum:
    """A chunk's sum in fixed point, as wide as its products need: none is rounded, and their order does not matter.

    The one rounding is that of the running sum plus the chunk's sum, to the outer format.
    """

    def __str__(self) -> str:
        return "exact"


@dataclass(frozen=True)
class AlignedSum:
    """A chunk's products and the running sum, cut to a common quantum and then summed exactly.

    Every term is cut toward zero to `fraction_bits` bits below the largest of their exponents.  A product's exponent is
    the sum of its operands' exponents, its significand lies in [0, 4); a subnormal number has exponent emin, and a zero
    takes no part in the maximum.  This is what Hopper's and Blackwell's tensor cores do: MMA-Sim
    (github.com/microsoft/MMA-Sim); DeepSeek-V3 (arXiv 2412.19437), section 3.3.2.
    """

    fraction_bits: int = 13
    """f, 1 to 30."""

    def __post_init__(self) -> None:
        check_range("fraction_bits", self.fraction_bits, 1, 30)

    def __str__(self) -> str:
        return f"aligned({self.fraction_bits})"


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """y = sum of a_k * b_k in chunks: the products of a chunk are summed, the chunk's sum joins the outer sum."""

    a: Format = E4M3
    """Format of the activations' codes; at most 8 significant bits."""
    b: Format = E4M3
    """Format of the weights' codes; at most 8 significant bits."""
    inner: Accumulator | ExactSum | AlignedSum = Accumulator()
    """Sum within a chunk: an `Accumulator` rounds at every product, from -0; see `ExactSum` and `AlignedSum`."""
    outer: Accumulator = Accumulator()
    """Sum of the chunks' sums, from +0 or the C operand."""
    chunk: int = 64
    """Products per chunk."""
    seed: int = 0
    """Seed of all random words."""

    def __post_init__(self) -> None:
        for field, fmt in (("a", self.a), ("b", self.b)):
            check_range(f"significant bits of operand {field} ({fmt})", fmt.precision, 1, OPERAND_PRECISION_MAX)
        check_range("chunk", self.chunk, 1, 1 << 20)
        check_range("seed", self.seed, 0, (1 << 32) - 1)

    @property
    def inner_random_bits(self) -> int:
        """Random bits per product; 0 where the inner sum needs none."""
        return self.inner.rounding.random_bits if isinstance(self.inner, Accumulator) else 0

    @property
    def outer_random_bits(self) -> int:
        """Random bits per chunk; 0 where the outer sum needs none."""
        return self.outer.rounding.random_bits


HOPPER_FP8 = Arithmetic(inner=AlignedSum(fraction_bits=13), outer=Accumulator(format=E8M13, rounding=RTZ), chunk=32)
"""E4M3 on Hopper's tensor cores (WGMMA): groups of 32 products, 13 fraction bits, result E8M13 in an FP32 register."""
BLACKWELL_FP8 = Arithmetic(inner=AlignedSum(fraction_bits=25), outer=Accumulator(format=FP32, rounding=RTZ), chunk=32)
"""E4M3 on Blackwell's tensor cores (tcgen05): groups of 32 products, 25 fraction bits, result FP32."""
