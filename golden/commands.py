"""What the accelerator is told to do: one block of outputs, or a part of its sum, per command."""

from dataclasses import dataclass

from quaver.golden.errors import check_choice, check_range
from quaver.golden.s2fp8_fixed import FACTOR_BITS, OFFSET_BITS, PowerRegisters
from quaver.golden.scaling import SCALE_MAX, SCALE_MIN

ROWS_MAX = 1 << 16
"""Largest `rows` that a command can carry."""
TILES_MAX = (1 << 24) - 1
"""Largest `tiles` that a command can carry."""


@dataclass(frozen=True, kw_only=True)
class Matmul:
    """Multiply the rows of the a operand by the columns of the b operand, `tiles` tiles of products long.

    A chain of commands, the first one with `first`, the last one with `last`, makes one block of outputs; all of them
    have the same rows, columns and formats.  A command with no rows, columns or tiles does nothing but complete.

    Raises
    ------
    TypeError, ValueError
        If a field does not fit into its register.  What a machine makes of the values is another question: see
        `quaver.golden.Accelerator`.
    """

    rows: int
    """Rows of the a operand, and beats of results."""
    columns: int
    """Columns of the b operand, and lanes of results."""
    tiles: int
    """Tiles of products: as many rows of the array each (ws, is), or one product each (os)."""
    depth: int
    """Products in the last tile; all of them, unless `last`."""
    first: bool = True
    """The sums start at +0; otherwise they go on from the command before (accumulate)."""
    last: bool = True
    """The results leave."""
    keep: bool = False
    """The next command reads the same beats of the a operand again, from the scratchpad: it brings none."""
    transposed: bool = False
    """The beats of a b tile are its rows, and not its columns."""
    a_format: int = 0
    """Index of the a operand's format."""
    b_format: int = 0
    """Index of the b operand's format."""
    target: int = 0
    """Index of the results' format in `Machine.result_formats`."""
    scale: int = 0
    """Exponent of the power of two that results are multiplied by before they are rounded."""
    stochastic: bool = False
    """Results are rounded stochastically, and not to nearest."""
    saturate: bool = False
    """Results beyond the largest number become that number."""
    a_power: PowerRegisters | None = None
    """The a operand is in S2FP8, E5M2 codes that this power law turns into BF16, its format."""
    b_power: PowerRegisters | None = None
    """The same of the b operand."""
    squeeze: PowerRegisters | None = None
    """Power law of the scaled sums before they are rounded: S2FP8, if the target is E5M2."""
    report: bool = False
    """At its end the statistics since the last report are handed out."""

    def __post_init__(self) -> None:
        check_range("rows", self.rows, 0, ROWS_MAX)
        check_range("columns", self.columns, 0, (1 << 16) - 1)
        check_range("tiles", self.tiles, 0, TILES_MAX)
        check_range("depth", self.depth, 0, (1 << 16) - 1)
        check_range("scale", self.scale, SCALE_MIN, SCALE_MAX)
        for field in ("a_format", "b_format", "target"):
            check_range(field, getattr(self, field), 0, 15)
        for field in ("first", "last", "keep", "transposed", "stochastic", "saturate", "report"):
            check_choice(field, getattr(self, field), (False, True))

        for field in ("a_power", "b_power", "squeeze"):
            power = getattr(self, field)
            if power is not None:
                check_range(f"factor of {field}", power[0], 1, (1 << FACTOR_BITS) - 1)
                check_range(f"offset of {field}", power[1], -1 << OFFSET_BITS - 1, (1 << OFFSET_BITS - 1) - 1)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.rows and self.columns and self.tiles)


@dataclass(frozen=True, kw_only=True)
class Reseed:
    """Start every random generator anew; waits for the commands before, and no chain outlives it."""

    seed: int
    """0 to 2^32 - 1, as `Machine.seed`."""

    def __post_init__(self) -> None:
        check_range("seed", self.seed, 0, (1 << 32) - 1)


@dataclass(frozen=True, kw_only=True)
class Update:
    """One step of stochastic gradient descent on `beats` rows of lanes (see `quaver.golden.Sgd`)."""

    beats: int
    """Rows of lanes; none: nothing to do."""
    rate: int
    """Learning rate, a code of the format of `Machine.update`; so are the others."""
    momentum: int
    """What is kept of the velocity."""
    decay: int
    """Factor of the weights in the gradient."""

    def __post_init__(self) -> None:
        check_range("beats", self.beats, 0, TILES_MAX)
        for field in ("rate", "momentum", "decay"):
            check_range(field, getattr(self, field), 0, (1 << 16) - 1)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.beats


Command = Matmul | Reseed | Update
