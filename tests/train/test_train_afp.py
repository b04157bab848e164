"""Adaptive floating point: its grid and its divergence written out, exact cases, nearest numbers."""

from fractions import Fraction
from itertools import pairwise
from math import ceil, log2

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from quaver.golden import Format, to_float
from quaver.train.afp import afp_format, afp_quantise, divergence

PAIRS = [(bits, exponent_bits) for bits in range(3, 9) for exponent_bits in range(bits)]


def normal(*shape: int, seed: int = 0, deviation: float = 0.05) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, deviation, shape)).float()


def grid(amax: Fraction, exponent_bits: int, mantissa_bits: int) -> list[Fraction]:
    """The paper's magnitudes, in its own terms."""
    ratios = [1 + Fraction(k, 2**mantissa_bits) for k in range(2**mantissa_bits)]
    # With equidistant numbers, 2 * 2^upper * (r - 1), the largest of them is to reach max|w|.
    top = max(ratios) if exponent_bits else 2 * (max(ratios) - 1)
    upper = -200
    while Fraction(2) ** upper * top < amax:
        upper += 1
    lower = upper + 1 - 2**exponent_bits
    numbers = [2 * Fraction(2) ** lower * (r - 1) for r in ratios]
    return numbers + [Fraction(2) ** i * r for i in range(lower + 1, upper + 1) for r in ratios]


def magnitudes_of(fmt: Format) -> list[Fraction]:
    return [Fraction(x) for x in to_float(np.arange(fmt.max_code + 1), fmt).tolist()]


# ----------------------------------------------------------------------------------------------------------- the format


@pytest.mark.parametrize("amax", [1.0, 0.37, 1.75, 1.7500001, 1.9375, 240.0, 3e-5, 2.0**-70])
def test_numbers_are_the_papers(amax):
    weights = torch.tensor([[0.0, -amax], [amax / 2, amax / 3]])
    exact = Fraction(float(weights.abs().max()))
    for bits, exponent_bits in PAIRS:
        fmt = afp_format(weights, bits, exponent_bits)
        assert fmt.bits == bits
        assert magnitudes_of(fmt) == grid(exact, exponent_bits, bits - 1 - exponent_bits), (bits, exponent_bits)


def test_the_bias_is_the_papers():
    weights = normal(1000)
    compared = 0
    for bits, exponent_bits in PAIRS:
        if exponent_bits:
            largest_ratio = 2 - 2.0 ** -(bits - 1 - exponent_bits)
            upper = ceil(log2(float(weights.abs().max()) / largest_ratio))
            assert afp_format(weights, bits, exponent_bits).bias == 2**exponent_bits - 1 - upper
            compared += 1
    assert compared == 27


def test_a_format_by_hand():
    """max|w| = 3 in 1-2-1: r = 1, 1.5; upper = 1, lower = -2; 0, 1/4, then 2^-1, 2^0 and 2^1 times r."""
    fmt = afp_format(torch.tensor([3.0, -0.1]), 4, 2)
    assert (fmt.name, fmt.bias, fmt.specials, fmt.subnormals) == ("afp_121b2", 2, "finite", "gradual")
    assert to_float(range(8), fmt).tolist() == [0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3]
    assert to_float([8, 15], fmt).tolist() == [0, -3]
    w = torch.tensor([[3.0, -2.4], [-0.1, 0.13], [0.3, 2.6]])
    assert afp_quantise(w, fmt).tolist() == [[3, -2], [0, 0.25], [0.25, 3]]


def test_no_exponent_bits_are_equidistant_numbers():
    weights = torch.tensor([0.7, -0.2])
    for bits in range(3, 9):
        fmt = afp_format(weights, bits, 0)
        assert fmt == afp_format(weights, bits, 1)
        numbers = magnitudes_of(fmt)
        assert {b - a for a, b in pairwise(numbers)} == {numbers[1]}
        assert numbers[-1] / 2 < Fraction(0.7) <= numbers[-1]


def test_ties_go_to_the_even_code():
    """Codes 0 .. 7 are 0, 1/4, 1/2, 3/4, 1, 3/2, 2, 3; the authors' code takes the smaller one of each pair."""
    fmt = afp_format(torch.tensor([3.0]), 4, 2)
    ties = torch.tensor([0.125, 0.375, 0.625, 0.875, 1.25, 1.75, 2.5])
    assert afp_quantise(ties, fmt).tolist() == [0, 0.5, 0.5, 1, 1, 2, 2]
    assert afp_quantise(-ties, fmt).tolist() == [0, -0.5, -0.5, -1, -1, -2, -2]


def test_the_nearest_number_is_taken():
    weights = normal(2000, seed=3)
    compared = 0
    for bits, exponent_bits in PAIRS:
        fmt = afp_format(weights, bits, exponent_bits)
        numbers = to_float(np.arange(fmt.max_code + 1), fmt)
        w = weights.double().numpy()
        errors = np.abs(np.abs(w)[:, None] - numbers).min(axis=1)
        got = afp_quantise(weights, fmt).double().numpy()
        assert (np.abs(got - w) == errors).all()
        assert (got * w >= 0).all()
        compared += got.size
    assert compared == 2000 * len(PAIRS)


def test_a_longer_mantissa_and_a_wider_exponent_never_hurt():
    weights = normal(3000, seed=1)
    error = {p: (afp_quantise(weights, afp_format(weights, *p)) - weights).abs() for p in PAIRS}
    for bits, exponent_bits in PAIRS:
        if exponent_bits and (bits + 1, exponent_bits) in error:
            assert error[bits + 1, exponent_bits].mean() < error[bits, exponent_bits].mean()
            assert error[bits + 1, exponent_bits].max() <= error[bits, exponent_bits].max()
        if exponent_bits and (bits + 1, exponent_bits + 1) in error:  # smaller numbers join, none leaves
            assert (error[bits + 1, exponent_bits + 1] <= error[bits, exponent_bits]).all()
    best = [min(error[bits, e].mean() for e in range(bits)) for bits in range(3, 9)]
    assert best == sorted(best, reverse=True)


def test_types_and_shapes_stay():
    weights = nn.Parameter(normal(3, 2, 5, 5).bfloat16())
    got = afp_quantise(weights, afp_format(weights, 5, 2))
    assert (got.dtype, got.shape, got.requires_grad) == (torch.bfloat16, weights.shape, False)
    assert afp_quantise(weights.double(), afp_format(weights, 5, 2)).tolist() == got.double().tolist()


def test_zeros_take_any_format():
    fmt = afp_format(torch.zeros(2, 2), 5, 2)
    assert (fmt.bias, fmt.max_finite) == (3, 1.75)
    assert afp_quantise(torch.zeros(2, 2), fmt).tolist() == [[0, 0], [0, 0]]
    assert divergence(torch.zeros(2, 2), fmt) == 0


@pytest.mark.parametrize(
    ("weights", "bits", "exponent_bits", "message"),
    [
        ([1.0], 1, 0, r"bits must be an integer in 2\.\.8, not 1"),
        ([1.0], 9, 0, r"bits must be an integer in 2\.\.8, not 9"),
        ([1.0], 4, 4, r"exponent_bits must be an integer in 0\.\.3, not 4"),
        ([], 4, 2, "weights must not be empty"),
        ([1.0, float("inf")], 4, 2, "weights must be finite"),
        ([float("nan")], 4, 2, "weights must be finite"),
        ([2.0**-140], 8, 7, r"afp_170b267: bias must be an integer in -128\.\.255, not 267"),
    ],
)
def test_messages_of_formats(weights, bits, exponent_bits, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        afp_format(torch.tensor(weights), bits, exponent_bits)


# ------------------------------------------------------------------------------------------------------- the divergence


def published(weights: np.ndarray, fmt: Format) -> float:
    """The authors' measure, bin by bin; bins end at max|w|."""
    w = np.abs(weights)
    numbers = to_float(np.arange(fmt.max_code + 1), fmt)
    nearest = np.abs(w[:, None] - numbers).argmin(axis=1)
    cumulative = [float((nearest <= i).mean()) for i in range(len(numbers))]
    counts, edges = np.histogram(w, bins="sqrt", range=(0, w.max()))
    terms, below = [], 0
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        below += count
        p, q = below / len(w), np.interp(left + right, numbers, cumulative)
        if p > 0 and q > 0:
            terms.append((p - q) * log2(p / q))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("pair", [(3, 2), (4, 2), (5, 0), (6, 3), (8, 7)])
def test_the_published_divergence(pair):
    weights = normal(1500, seed=5)
    fmt = afp_format(weights, *pair)
    want = published(weights.double().numpy(), fmt)
    assert want > 0.01
    assert divergence(weights, fmt) == pytest.approx(want, rel=1e-12)


def test_the_aligned_divergence_by_hand():
    """Four weights, two bins up to 1/2 and 1, numbers 0, 1/2, 1, 3/2: 0.3 becomes 1/2, 0.7 becomes 1/2, too."""
    weights = torch.tensor([0.2, -0.3, 0.7, 1.0], dtype=torch.float64)
    fmt = Format(name="halves", exponent_bits=1, mantissa_bits=1, bias=1, specials="finite")
    assert to_float(range(4), fmt).tolist() == [0, 0.5, 1, 1.5]
    edges = np.histogram_bin_edges(weights.abs().numpy(), "sqrt", (0, 1))
    assert edges.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1])
    # At 1/3: two of four, and one of four (0.2); at 2/3: two, and three; at 1: all.
    want = ((1 / 2 - 1 / 4) * log2(2) + (1 / 2 - 3 / 4) * log2(2 / 3)) / 3
    assert divergence(weights, fmt, "aligned") == pytest.approx(want, rel=1e-12)


def test_what_a_format_holds_has_no_aligned_divergence():
    fmt = afp_format(normal(500), 5, 2)
    weights = afp_quantise(normal(500), fmt)
    assert divergence(weights, fmt, "aligned") == 0
    assert divergence(normal(500), fmt, "aligned") > 1e-4
    assert divergence(weights, fmt) > 0.01  # it compares different points


def test_an_unknown_measure():
    with pytest.raises(ValueError, match=r"^measure must be one of published, aligned, not 'kl'$"):
        divergence(torch.ones(1), afp_format(torch.ones(1), 4, 2), "kl")
