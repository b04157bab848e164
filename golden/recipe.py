"""The description of a training method: formats, rounding and scales of its tensors, its sums and its update."""

from dataclasses import dataclass
from typing import Literal, get_args

from quaver.golden.arithmetic import Accumulator, AlignedSum, Arithmetic, ExactSum
from quaver.golden.catalog import BF16, E5M2, FP16, FP32
from quaver.golden.errors import check_choice, check_range
from quaver.golden.formats import Format
from quaver.golden.loss_scaling import ConstantScale, LossScaling
from quaver.golden.rounding import RNE, Rounding
from quaver.golden.scaling import EXPONENT_MAX

Edge = Literal["first", "last"]
PostTraining = Literal["none", "afp", "ptq"]


@dataclass(frozen=True)
class Fixed:
    """One power of two for all tensors of a kind: codes are those of x * 2^exponent.

    A bias other than the format's own (Noune et al. 2022) is such a scale: its difference to the format's.
    """

    exponent: int = 0
    """Of the scale, within -65536 .. 65536."""

    def __post_init__(self) -> None:
        check_range("exponent", self.exponent, -EXPONENT_MAX, EXPONENT_MAX)

    def __str__(self) -> str:
        return "" if not self.exponent else f"x 2^{self.exponent}"


@dataclass(frozen=True)
class Amax:
    """The largest power of two that keeps the tensor's largest magnitude in the format (Micikevicius et al. 2022).

    With a `history` of 0 it is that of the tensor itself, which has to be known before the cast; otherwise the largest
    of the last `history` tensors of its place stands for it, and of the very first tensor its own.
    """

    margin: int = 0
    """Binades that are left free at the top, 0 to 64."""
    history: int = 0
    """Tensors that are remembered, 0 to 65536."""

    def __post_init__(self) -> None:
        check_range("margin", self.margin, 0, 64)
        check_range("history", self.history, 0, 1 << 16)

    def __str__(self) -> str:
        return f"amax of the last {self.history}" if self.history else "amax"


@dataclass(frozen=True)
class Squeeze:
    """Shift and squeeze of S2FP8 (Cambier et al. 2020) by the tensor's own statistics; decoded to BF16 for products."""

    def __str__(self) -> str:
        return "shifted and squeezed"


Scaling = Fixed | Amax | Squeeze


@dataclass(frozen=True, kw_only=True)
class Cast:
    """How a tensor is brought into a format."""

    format: Format
    """Format of the codes."""
    rounding: Rounding = RNE
    """Of the cast."""
    scaling: Scaling = Fixed()
    """What it is multiplied by before; the inverse is applied once, to the result of a product."""
    saturate: bool = True
    """Whether what is too large becomes the largest number; otherwise Inf, or the format's NaN."""

    def __post_init__(self) -> None:
        if isinstance(self.scaling, Squeeze) and self.format != E5M2:
            raise ValueError(f"format of what is squeezed must be {E5M2}, not {self.format}")

    def __str__(self) -> str:
        parts = (self.format.name, "" if self.rounding == RNE else str(self.rounding), str(self.scaling))
        return " ".join(part for part in parts if part) + ("" if self.saturate else ", overflows")

    @property
    def bits(self) -> int:
        """Width of a code."""
        return self.format.bits

    @property
    def operand(self) -> Format:
        """Format in which the tensor enters a product."""
        return BF16 if isinstance(self.scaling, Squeeze) else self.format


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything of a training step that is no layer.

    Products run as forward Y = X W, data gradient dX = dY W^T and weight gradient dW^T = dY^T X, of a `weight`, an
    `activation` (X) and an `error` (dY) each.
    """

    name: str
    """Name in reports and on the command line."""
    source: str
    """Publication, and what it says."""
    choices: str = ""
    """What in here is ours, where the publication is silent or could not be read."""
    weight: Cast
    """Weights as operands."""
    activation: Cast
    """Activations as operands, and as they are kept for the backward pass."""
    error: Cast
    """Gradients of activations as operands."""
    edge: Cast | None = None
    """All operands of the layers named by `edges`, where they differ."""
    edges: tuple[Edge, ...] = ("first", "last")
    """Layers that multiply and have operands of their own: the first one, the last one or both."""
    image: Cast | None = None
    """Input of the first layer that multiplies, where it alone is different there."""
    inner: Accumulator | ExactSum | AlignedSum = Accumulator()
    """Sum within a chunk."""
    outer: Accumulator = Accumulator()
    """Sum of chunks."""
    chunk: int = 64
    """Products per inner sum."""
    wide: Format = FP16
    """Results of products on their way to the vector unit, rounded to nearest, and what it keeps there."""
    gradient: Cast = Cast(format=FP16)
    """Gradients of weights, still multiplied by the loss scale."""
    master: Format = FP16
    """Weights that are updated."""
    velocity: Format = FP16
    """Momentum."""
    update: Rounding = RNE
    """Rounding of the update's sums."""
    loss_scaling: LossScaling = ConstantScale(scale=1.0)
    """What the loss is multiplied by, as it is at the start."""
    host: bool = False
    """Whether products are float32 sums of the host's library, of operands in the recipe's formats: baselines whose
    operands no array takes."""
    post_training: PostTraining = "none"
    """What is done to the weights once they are trained."""

    def __post_init__(self) -> None:
        for edge in self.edges:
            check_choice("edges", edge, get_args(Edge))
        check_choice("post_training", self.post_training, get_args(PostTraining))
        if not self.host:
            for role, cast in self.operands().items():
                self.arithmetic(cast.operand, cast.operand)
                if role != "image" and not cast.format.signed:
                    raise ValueError(f"format of {role} must be signed, not {cast.format}")
        if isinstance(self.gradient.scaling, Amax):
            check_range("history of gradient", self.gradient.scaling.history, 0, 0)

    def __str__(self) -> str:
        return self.name

    def operands(self) -> dict[str, Cast]:
        """All casts that make operands, by the names of their fields."""
        return {
            field: cast
            for field in ("weight", "activation", "error", "edge", "image")
            if (cast := getattr(self, field)) is not None
        }

    def arithmetic(self, a: Format, b: Format, seed: int = 0) -> Arithmetic:
        """The arithmetic of a product of operands in formats `a` and `b`."""
        return Arithmetic(a=a, b=b, inner=self.inner, outer=self.outer, chunk=self.chunk, seed=seed)

    @property
    def sums(self) -> str:
        """The sums in words."""
        if self.inner == self.outer:
            return f"{self.inner}, chunks of {self.chunk}"
        return f"{self.inner}, chunks of {self.chunk}, then {self.outer}"


FP32_SUMS = Accumulator(format=FP32)
"""Sums as a float32 fused multiply-add makes them."""
