"""S2FP8 codes without a power per element, never different from those with it.

What is rounded to E5M2 is 2^y, y = alpha * log2|x| + beta, all of it float64.  Codes change at some 120 thresholds of y
only: a table tells the code of every bin of y's, but for the bins at a threshold, where the definition is asked.

That the table is right: `codes_by_bins` is off from y by less than 2^-29 where it finds a bin's number, as alpha is at
most 2^12, beta at most 2^23 and log2 of a float64 below 2^11; and NumPy's exp2 is good to 27 bits at least.  So the
definition rounds a number that is between 2^(lower end - MARGIN) and 2^(upper end + MARGIN) of the bin.  Roundings are
monotone: where both of these have one code, it is the number's.
"""

from functools import lru_cache
from math import inf

import numpy as np
from numpy.typing import NDArray

from quaver.golden.casts import encode
from quaver.golden.catalog import E5M2
from quaver.golden.rounding import Rounding

LOWEST, HIGHEST = -18, 17
"""Lower y are 0, as E5M2's smallest number is 2^-16; higher ones overflow, as its largest is below 2^16.  The first bin
and the last one are without end."""
BINS_PER_BINADE = 256
MARGIN = 2.0**-25
ALPHA_LIMIT, BETA_LIMIT = 2.0**12, 2.0**23
"""Parameters of tensors keep to them."""
_AT_A_THRESHOLD = 0xFF


def power(logarithms: NDArray[np.float64], alpha: float, beta: float) -> NDArray[np.float64]:
    """2^(alpha * log2|x| + beta), which may be beyond float64."""
    with np.errstate(over="ignore", under="ignore"):
        return np.exp2(alpha * logarithms + beta)


def codes_by_bins(
    logarithms: NDArray[np.float64], alpha: float, beta: float, rounding: Rounding, saturate: bool
) -> NDArray[np.unsignedinteger]:
    """E5M2 codes of `power`, -Inf being the logarithm of 0; the rounding is not stochastic."""
    if alpha > ALPHA_LIMIT or abs(beta) > BETA_LIMIT:
        return encode(power(logarithms, alpha, beta), E5M2, rounding, saturate=saturate)
    table, flat = _codes_of_bins(rounding, saturate), logarithms.ravel()
    bins = flat * (alpha * BINS_PER_BINADE)
    bins += (beta - LOWEST) * BINS_PER_BINADE
    np.clip(bins, 0, table.size - 1, out=bins)
    codes = table[bins.astype(np.intp)]
    unknown = np.flatnonzero(codes == _AT_A_THRESHOLD)
    codes[unknown] = encode(power(flat[unknown], alpha, beta), E5M2, rounding, saturate=saturate)
    return codes.reshape(logarithms.shape)


@lru_cache(maxsize=8)
def _codes_of_bins(rounding: Rounding, saturate: bool) -> NDArray[np.unsignedinteger]:
    ends: NDArray[np.float64] = LOWEST + np.arange((HIGHEST - LOWEST) * BINS_PER_BINADE + 1) / BINS_PER_BINADE
    ends[0], ends[-1] = -inf, inf
    least = encode(np.exp2(ends[:-1] - MARGIN), E5M2, rounding, saturate=saturate)
    largest = encode(np.exp2(ends[1:] + MARGIN), E5M2, rounding, saturate=saturate)
    return np.where(least == largest, least, _AT_A_THRESHOLD).astype(E5M2.dtype)
