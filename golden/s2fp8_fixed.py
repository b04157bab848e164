"""S2FP8 as the hardware does it: exact integers, with the tables of `quaver.golden.logarithms`.

Squeezing and its inverse are one operation in the domain of logarithms, and one rounding follows it:

    out = sign(x) * 2^(factor * log2|x| + offset)

    squeeze: factor = alpha, offset = beta        unsqueeze: factor = 1 / alpha, offset = -beta / alpha

factor and offset are run-time registers, which the host computes and writes.
"""

from fractions import Fraction
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden.catalog import BF16, E5M2
from quaver.golden.errors import check_range
from quaver.golden.formats import Exact, Format, decode
from quaver.golden.lane_words import LaneWords, words_of
from quaver.golden.logarithms import LOG2_FRACTION_BITS, exp2_fixed, log2_exact
from quaver.golden.rounding import RNE, Rounding, round_to
from quaver.golden.s2fp8 import ALPHA_MAX
from quaver.golden.scalars import check_positive, check_real
from quaver.golden.scaling import SCALE_MAX, SCALE_MIN

FACTOR_BITS, FACTOR_FRACTION_BITS = 32, 20
"""Width of the factor's register, which is unsigned, and its fraction bits."""
OFFSET_BITS, OFFSET_FRACTION_BITS = 32, 16
"""Width of the offset's register, which is signed, and its fraction bits."""
ALPHA_MIN = 1 / ALPHA_MAX
"""Smallest alpha, so that 1 / alpha fits too; the factor 4096 itself is taken as the largest one, 2^-20 below."""
POWER_LOW, POWER_HIGH = -512, 511
"""Smallest and largest exponent of a power, at which it stays: beyond the range of every format."""


class PowerRegisters(NamedTuple):
    """A power law as integers."""

    factor: int
    """Factor of the logarithm in units of 2^-FACTOR_FRACTION_BITS, above 0."""
    offset: int
    """What is added to it, in units of 2^-OFFSET_FRACTION_BITS."""


def squeeze_registers(parameters: tuple[float, float]) -> PowerRegisters:
    """The registers nearest to alpha and beta.

    Raises
    ------
    TypeError, ValueError
        For an alpha or beta that is no finite real number or does not fit its register; the message names it.
    """
    alpha, beta = _alpha_and_beta(parameters)
    return PowerRegisters(_factor(alpha), _offset("beta", beta))


def unsqueeze_registers(parameters: tuple[float, float]) -> PowerRegisters:
    """The registers nearest to 1 / alpha and -beta / alpha (see `squeeze_registers` for the errors)."""
    alpha, beta = _alpha_and_beta(parameters)
    return PowerRegisters(_factor(1 / alpha), _offset("-beta / alpha", -beta / alpha))


def power_law(x: Exact, registers: tuple[int, int]) -> Exact:
    """sign(x) * 2^(factor * log2|x| + offset), of significands of EXP2_FRACTION_BITS + 1 bits and nothing below them.

    Zero and Inf stay what they are, with their sign; so does NaN, without it, as in all that leaves the machine.

    Parameters
    ----------
    x:
        Values of any shape, magnitudes within 2^-4096 .. 2^4096, significands below 2^53, without a sticky tail.

    Raises
    ------
    ValueError
        If a register is out of its range; the message names it.
    """
    factor, offset = registers
    check_range("factor", factor, 1, (1 << FACTOR_BITS) - 1)
    check_range("offset", offset, -1 << OFFSET_BITS - 1, (1 << OFFSET_BITS - 1) - 1)
    # Logarithms and offset have the same fraction bits; the product has the factor's beside them.
    half = 1 << FACTOR_FRACTION_BITS - 1
    logarithm = (log2_exact(x) * factor + half >> FACTOR_FRACTION_BITS) + offset
    beyond = POWER_HIGH + 1 << LOG2_FRACTION_BITS
    power = exp2_fixed(np.clip(logarithm, POWER_LOW << LOG2_FRACTION_BITS, beyond - 1))
    number = (x.significand != 0) & ~x.inf & ~x.nan
    return power._replace(
        sign=x.sign & ~x.nan, significand=np.where(number, power.significand, 0), inf=x.inf, nan=x.nan
    )


def s2fp8_encode_fixed(
    codes: ArrayLike,
    fmt: Format,
    registers: tuple[int, int],
    rounding: Rounding = RNE,
    *,
    exponent: int = 0,
    words: ArrayLike | LaneWords | None = None,
    saturate: bool = False,
) -> NDArray[np.unsignedinteger]:
    """E5M2 codes of the squeezed and shifted values of `codes` times 2^exponent: the power law and one rounding.

    Parameters
    ----------
    registers:
        As `squeeze_registers` makes them.
    exponent:
        Within SCALE_MIN .. SCALE_MAX, as a command's scale.
    rounding, words, saturate:
        As in `quaver.golden.rescale`.

    Raises
    ------
    TypeError, ValueError
        As `power_law` and `quaver.golden.rescale`.
    """
    check_range("exponent", exponent, SCALE_MIN, SCALE_MAX)
    x = decode(codes, fmt)
    power = power_law(x._replace(exponent=x.exponent + exponent), registers)
    return round_to(power, E5M2, rounding, words=words_of(words, x.sign.shape, rounding), saturate=saturate)


def s2fp8_decode_fixed(codes: ArrayLike, registers: tuple[int, int]) -> NDArray[np.unsignedinteger]:
    """BF16 codes of E5M2 codes: the power law and rounding to nearest, ties to even.

    Parameters
    ----------
    registers:
        As `unsqueeze_registers` makes them.

    Raises
    ------
    TypeError, ValueError
        As `power_law` and `quaver.golden.decode`.
    """
    return round_to(power_law(decode(codes, E5M2), registers), BF16)


def _alpha_and_beta(parameters: tuple[float, float]) -> tuple[Fraction, Fraction]:
    alpha, beta = check_positive("alpha", parameters[0]), check_real("beta", parameters[1])
    if not ALPHA_MIN <= alpha <= ALPHA_MAX:
        raise ValueError(f"alpha must be in {ALPHA_MIN}..{ALPHA_MAX}, not {alpha}")
    return Fraction(alpha), Fraction(beta)


def _factor(value: Fraction) -> int:
    return min(round(value * (1 << FACTOR_FRACTION_BITS)), (1 << FACTOR_BITS) - 1)


def _offset(field: str, value: Fraction) -> int:
    units, limit = round(value * (1 << OFFSET_FRACTION_BITS)), 1 << OFFSET_BITS - 1
    if not -limit <= units < limit:
        whole = limit >> OFFSET_FRACTION_BITS
        raise ValueError(f"{field} must be at least {-whole} and below {whole}, not {float(value)}")
    return units
