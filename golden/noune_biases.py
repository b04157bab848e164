"""Biases after Noune et al. 2022, "8-bit numerical formats for deep neural networks" (arXiv 2206.02915).

The paper gives each kind of tensor one bias for all layers of a model: the format's range is put where the tensor is.
"""

from dataclasses import dataclass
from typing import Literal

from quaver.golden.catalog import noune
from quaver.golden.errors import check_choice
from quaver.golden.formats import Format
from quaver.golden.scaling import amax_exponent

Layout = Literal["1.4.3", "1.5.2"]
_FIELDS: dict[Layout, tuple[int, int]] = {"1.4.3": (4, 3), "1.5.2": (5, 2)}


def noune_bias(amax: float, exponent_bits: int, mantissa_bits: int, *, margin: int = 0) -> int:
    """The largest bias for which `amax` is at most the largest number of `noune(exponent_bits, mantissa_bits, bias)`.

    That is 2^(2^E - 1 - bias) * (2 - 2^-p).  For an `amax` of 0 it is the standard bias 2^(E-1) - 1, and in general
    the standard bias plus the exponent of the scale that would do the same: the paper's typical loss scale of 2^22 is
    a bias of 37 in 1.5.2.

    Parameters
    ----------
    amax:
        Largest magnitude of the tensors of one kind, or an estimate of it such as `LogMax.amax`.
    exponent_bits, mantissa_bits:
        E and p of 1.E.p.
    margin:
        Binades to leave free at the top, 0 to 64.

    Raises
    ------
    TypeError, ValueError
        As `amax_exponent`, and where the bias is none that a format may have.
    """
    standard = (1 << (exponent_bits - 1)) - 1
    bias = standard + amax_exponent(amax, noune(exponent_bits, mantissa_bits, standard), margin=margin)
    return noune(exponent_bits, mantissa_bits, bias).bias  # a format checks its bias


@dataclass(frozen=True, kw_only=True)
class NouneBiases:
    """The biases of one experiment."""

    model: str
    """Model and data set."""
    forward: Layout
    """Layout of activations and weights."""
    backward: Layout
    """Layout of their gradients."""
    activations: int
    """Bias of the activations, A."""
    weights: int
    """Bias of the weights, W."""
    activation_gradients: int
    """Bias of the gradients with respect to activations, dx."""
    weight_gradients: int | None
    """Bias of the gradients with respect to weights, dw; None where the paper does not list them as quantised."""
    note: str = ""
    """What a reader of the paper should know."""

    def __post_init__(self) -> None:
        check_choice("forward", self.forward, _FIELDS)
        check_choice("backward", self.backward, _FIELDS)

    def formats(self) -> dict[str, Format]:
        """Format of each kind of tensor that is quantised, by the name of the field with its bias."""
        forward, backward = _FIELDS[self.forward], _FIELDS[self.backward]
        kinds = {
            "activations": noune(*forward, self.activations),
            "weights": noune(*forward, self.weights),
            "activation_gradients": noune(*backward, self.activation_gradients),
        }
        if self.weight_gradients is not None:
            kinds["weight_gradients"] = noune(*backward, self.weight_gradients)
        return kinds


_TABLE: tuple[tuple[str, Layout, Layout, tuple[int, int, int, int | None], str], ...] = (
    ("ResNet-32 CIFAR-100", "1.4.3", "1.4.3", (10, 14, 20, 16), ""),
    ("ResNet-32 CIFAR-100", "1.5.2", "1.5.2", (24, 28, 32, 33), ""),
    ("ResNet-32 CIFAR-100", "1.4.3", "1.5.2", (10, 14, 33, 31), ""),
    ("ResNet-18 ImageNet", "1.5.2", "1.5.2", (28, 24, 34, 31), "A and W as printed; other rows have the smaller for A"),
    ("ResNet-18 ImageNet", "1.4.3", "1.5.2", (10, 14, 34, 31), ""),
    ("ResNet-50 ImageNet", "1.5.2", "1.5.2", (24, 28, 32, 32), ""),
    ("ResNet-50 ImageNet", "1.4.3", "1.5.2", (10, 14, 32, 32), ""),
    ("EfficientNet ImageNet", "1.4.3", "1.5.2", (7, 12, 16, None), "B0, B2, B4; first layer in float16"),
    ("Transformer WMT14", "1.5.2", "1.5.2", (24, 28, 40, 40), "batch 1024, 100k iterations"),
    ("Transformer WMT14", "1.4.3", "1.5.2", (10, 16, 40, 40), "batch 1024, 100k iterations"),
)

NOUNE_BIASES: tuple[NouneBiases, ...] = tuple(
    NouneBiases(
        model=model,
        forward=forward,
        backward=backward,
        activations=a,
        weights=w,
        activation_gradients=dx,
        weight_gradients=dw,
        note=note,
    )
    for model, forward, backward, (a, w, dx, dw), note in _TABLE
)
"""Every row of biases that the paper prints (A, W, dx, dw), as read in a public copy of its full text."""
