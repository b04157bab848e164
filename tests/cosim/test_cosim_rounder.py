"""The output unit's rounder in Verilog against golden: every code of 16-bit sums, every kind of format, both flags."""

import numpy as np
import pytest

from quaver.cosim.cases import sums
from quaver.cosim.rounder_lanes import RounderLanes, round_rtl
from quaver.cosim.simulator import Model
from quaver.golden import RNE, Format, decode, rescale, sr
from quaver.golden.catalog import (
    BF16,
    DLFLOAT16,
    E2M1,
    E2M3,
    E4M3,
    E4M3FNUZ,
    E5M2,
    E5M2FNUZ,
    E6M5,
    E6M9,
    FP16,
    FP32,
    HFP8_143,
    HFP8_153,
    NOUNE_152,
)
from quaver.golden.rounding import round_magnitude

TARGETS = (E4M3, E5M2, E4M3FNUZ, E5M2FNUZ, NOUNE_152, E2M3, E2M1, HFP8_143, HFP8_153, DLFLOAT16, E6M5, FP16, BF16, FP32)
SCALES = (0, -9, 20, -25, 117, -140)
"""Of sums as they are, and across the ends of every target's range."""
EXHAUSTIVE = (DLFLOAT16, FP16)
DRAWN = 1 << 13
"""Sums per scale, where they are drawn."""


def drawn(rng: np.random.Generator, source: Format, random_bits: int) -> dict[str, np.ndarray]:
    """Every code of an `EXHAUSTIVE` source at every scale, `DRAWN` ones of another; and as many for drawn words."""
    parts: list[dict[str, np.ndarray]] = []
    for scale in SCALES:
        codes = np.arange(1 << 16) if source in EXHAUSTIVE else sums(rng, source, DRAWN)
        again = sums(rng, source, DRAWN) if random_bits else codes[:0]
        count, stochastic = codes.size + again.size, np.repeat([0, 1], [codes.size, again.size])
        parts.append(
            {
                "code": np.concatenate([codes, again]),
                "scale": np.full(count, scale),
                "word": rng.integers(0, 1 << random_bits, count),
                "stochastic": stochastic,
                "saturate": rng.integers(0, 2, count),
            }
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.mark.parametrize(
    "source, random_bits", [(DLFLOAT16, 9), (FP16, 0), (E6M9, 1), (FP32, 16)], ids=lambda value: str(value)
)
def test_rounder(source: Format, random_bits: int) -> None:
    cases = drawn(np.random.default_rng(random_bits), source, random_bits)
    with Model.of(RounderLanes, source, TARGETS, random_bits) as model:
        answers = round_rtl(model, TARGETS, cases)
    groups = [cases["scale"], cases["stochastic"], cases["saturate"]]
    compared = stochastic = 0
    for target in TARGETS:
        got = answers[target.name]
        overflows = underflows = 0
        for scale, chance, saturate in np.unique(groups, axis=1).T.tolist():
            of = np.nonzero((groups[0] == scale) & (groups[1] == chance) & (groups[2] == saturate))[0]
            codes, words = cases["code"][of], cases["word"][of]
            y = decode(codes, source)
            rounding = sr(random_bits) if chance else RNE
            # A NaN that cannot be encoded is +0.
            known = np.where(y.nan, 0, codes) if target.nan_code is None else codes
            want = rescale(known, source, target, rounding, exponent=scale, words=words, saturate=bool(saturate))
            np.testing.assert_array_equal(got.codes[of], want, f"{target} at {scale}, {rounding}, {saturate}")

            scaled = y._replace(exponent=y.exponent + scale)
            magnitudes = round_magnitude(scaled, target, rounding, words=words if chance else None)
            finite = ~(y.inf | y.nan) & (y.significand != 0)
            over, under = y.inf | (finite & (magnitudes > target.max_code)), finite & (magnitudes == 0)
            np.testing.assert_array_equal(got.overflow[of], over, f"{target} at {scale}, {rounding}")
            np.testing.assert_array_equal(got.underflow[of], under, f"{target} at {scale}, {rounding}")
            overflows, underflows = overflows + np.count_nonzero(over), underflows + np.count_nonzero(under)
            compared += len(of)
            stochastic += len(of) * chance
        assert min(overflows, underflows) > DRAWN // 16, target
    assert compared == len(TARGETS) * len(cases["code"])
    assert compared >= len(TARGETS) * len(SCALES) * (1 << 16 if source in EXHAUSTIVE else DRAWN)
    assert stochastic == (len(TARGETS) * len(SCALES) * DRAWN if random_bits else 0)
