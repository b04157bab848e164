"""Adaptive floating point: one small format per layer, its offset chosen so that the largest weight just fits.

Liu et al., Improving Neural Network Efficiency via Post-training Quantization with Adaptive Floating-Point, ICCV 2021,
as their code has it (github.com/MXHX7199/ICCV_2021_AFP, getSA.py).  A code has a sign, `exponent_bits` E and
S = bits - 1 - E of a mantissa.  With r = 1 + k/2^S for k = 0 .. 2^S - 1, upper = ceil(log2(max|w| / max r)) and
lower = upper + 1 - 2^E, magnitudes are 2^i r for i = lower + 1 .. upper, and 2 * 2^lower (r - 1), zero among them:
a `finite` format with gradual subnormals and a bias of 2^E - 1 - upper.
"""

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, from_numpy

from quaver.golden import Format, amax_exponent, encode, to_float, with_bias
from quaver.golden.errors import check_choice, check_range

Measure = Literal["published", "aligned"]
BITS_MIN, BITS_MAX = 2, 8
SOURCE = "Liu et al., ICCV 2021 (AFP)"


def afp_format(weights: Tensor, bits: int, exponent_bits: int) -> Format:
    """The format of a layer's weights.

    Parameters
    ----------
    weights:
        Of any shape, finite.  Where all are zero any bias would do: that of upper = 0 is taken.
    bits:
        Width of a code, 2 to 8.
    exponent_bits:
        E, 0 to bits - 1.  0 stands for equidistant numbers, which are those of an E of 1 with a mantissa one
        bit shorter: that is the format that comes back.  The authors' code misplaces max|w| there: by the
        precedence of its operators, upper does not depend on it.

    Raises
    ------
    ValueError
        For numbers out of range, no weights at all, weights that are not finite, and weights so small or so large that
        the bias leaves -128 .. 255.
    """
    check_range("bits", bits, BITS_MIN, BITS_MAX)
    check_range("exponent_bits", exponent_bits, 0, bits - 1)
    field = max(exponent_bits, 1)
    unit = Format(
        name=f"afp_1{field}{bits - 1 - field}",
        exponent_bits=field,
        mantissa_bits=bits - 1 - field,
        bias=(1 << field) - 1,
        specials="finite",
        source=SOURCE,
    )
    return with_bias(unit, unit.bias + amax_exponent(float(magnitudes(weights).max()), unit))


def afp_quantise(weights: Tensor, fmt: Format) -> Tensor:
    """The nearest numbers of a format, in the shape and type of the weights; ties go to the even code.

    The authors' code lets ties go to the smaller magnitude.

    Raises
    ------
    ValueError
        If weights are NaN.
    """
    values = weights.detach().cpu().double().numpy()
    return from_numpy(to_float(encode(values, fmt), fmt)).to(weights)


def magnitudes(weights: Tensor) -> NDArray[np.float64]:
    """The weights' magnitudes as one row (see `afp_format` for the errors)."""
    if not weights.numel():
        raise ValueError("weights must not be empty")
    found = np.abs(weights.detach().cpu().double().numpy()).ravel()
    if not np.isfinite(found).all():
        raise ValueError("weights must be finite")
    return found


def divergence(weights: Tensor, fmt: Format, measure: Measure = "published") -> float:
    """How far the magnitudes' distribution is from that of the quantised ones.

    The authors call it a Kullback-Leibler divergence.  It is the mean of (P - Q) log2(P / Q), which is symmetric, over
    those of about sqrt(n) equal bins from 0 to max|w| where both are positive; P and Q are cumulative distributions.

    Parameters
    ----------
    measure:
        `published`: P of the magnitudes up to the bin's upper edge; Q of the quantised ones, interpolated between the
        format's numbers, at the sum of the bin's two edges.  This sum (not the bin's centre) puts a floor
        under the divergence, for which alone the objective prefers fewer bits than the most there are.  The authors'
        bins end at the largest positive weight instead.
        `aligned`: P and Q are both taken at the bin's upper edge, Q as it is.

    Returns
    -------
    At least 0; 0 where all weights are zero, which every format holds.

    Raises
    ------
    ValueError
        For an unknown measure, and weights as in `afp_format`.
    """
    check_choice("measure", measure, get_args(Measure))
    found = np.sort(magnitudes(weights))
    if not found[-1]:
        return 0.0
    rounded = to_float(encode(found, fmt), fmt)
    edges = np.histogram_bin_edges(found, "sqrt", (0.0, found[-1]))
    p = _share(found, edges[1:])
    if measure == "aligned":
        q = _share(rounded, edges[1:])
    else:
        grid = to_float(np.arange(fmt.max_code + 1), fmt)
        q = np.interp(edges[:-1] + edges[1:], grid, _share(rounded, grid))
    both = (p > 0) & (q > 0)
    p, q = p[both], q[both]
    return float(np.mean((p - q) * np.log2(p / q))) if p.size else 0.0


def _share(ascending: NDArray[np.float64], limits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the numbers that are not above each limit."""
    return np.searchsorted(ascending, limits, side="right") / ascending.size
