"""The description of an arithmetic: all that a GEMM needs to know to be right to the last bit."""

from dataclasses import dataclass
from typing import Literal, get_args

from quaver.golden.catalog import DLFLOAT16, E4M3
from quaver.golden.errors import check_choice, check_range
from quaver.golden.formats import Format
from quaver.golden.rounding import RNE, Rounding

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

    def __str__(self) -> str:
        return f"{self.format} {self.rounding}" + (" saturating" if self.saturate else "")

    @property
    def saturate(self) -> bool:
        return self.overflow == "saturate"


@dataclass(frozen=True, kw_only=True)
class Arithmetic:
    """y = sum of a_k * b_k in chunks: products join the inner sum one by one, chunk sums join the outer sum."""

    a: Format = E4M3
    """Format of the activations' codes; at most 8 significant bits."""
    b: Format = E4M3
    """Format of the weights' codes; at most 8 significant bits."""
    inner: Accumulator = Accumulator()
    """Sum within a chunk, from -0."""
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
