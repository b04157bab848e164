"""Adaptive floating point: its grid and objective written out, exact cases, and searches against brute force."""

from dataclasses import FrozenInstanceError
from fractions import Fraction
from itertools import pairwise
from math import ceil, log, log2
from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from quaver.golden import Format, to_float
from quaver.train.afp import afp_format, afp_quantise, divergence
from quaver.train.afp_search import annealed, apply_afp, configurations, penalty, search_afp

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


# ----------------------------------------------------------------------------------------------------------- the search


class Net(nn.Module):
    """Two kinds of layers, and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(16, 10)
        self.attention = nn.MultiheadAttention(8, 2)
        self.norm = nn.LayerNorm(8)
        with torch.no_grad():
            for seed, weights in enumerate(self.parameters()):
                weights.copy_(normal(*weights.shape, seed=seed, deviation=0.1 * (seed + 1)))


NAMES = ["conv.weight", "fc.weight", "attention.in_proj_weight", "attention.out_proj.weight"]


def objective(divergences: list[float], pair: tuple[int, int], power: float = 4) -> float:
    exponent_bits, mantissa_bits = pair[1], pair[0] - 1 - pair[1]
    hidden = 1 if exponent_bits > 0 else 0
    cost = 2**exponent_bits + mantissa_bits + (exponent_bits + (hidden + mantissa_bits) ** 2)
    return cost * (10 * sum(divergences) / len(divergences)) ** power


def test_penalties():
    assert [penalty(0, 2), penalty(2, 0), penalty(3, 4), penalty(4, 3)] == [1 + 2 + 4, 4 + 2 + 1, 8 + 4 + 3 + 25, 39]


@pytest.mark.parametrize("measure", ["published", "aligned"])
@pytest.mark.parametrize("power", [4.0, 1.0])
def test_each_layer_gets_its_optimum(measure, power):
    net = Net()
    found = search_afp(net, bits=(3, 5), measure=measure, power=power)
    assert [layer.name for layer in found.layers] == NAMES
    total = 0.0
    for layer in found.layers:
        weights = net.get_parameter(layer.name)
        table = {}
        for pair in [(b, e) for b in (3, 4, 5) for e in range(b)]:
            d = divergence(weights, afp_format(weights, *pair), measure)
            table[pair] = objective([d], pair, power)
        assert (layer.bits, layer.exponent_bits) == min(table, key=table.__getitem__)
        assert layer.format == afp_format(weights, layer.bits, layer.exponent_bits)
        assert layer.divergence == divergence(weights, layer.format, measure)
        assert layer.parameters == weights.numel()
        total += min(table.values())
    assert found.objective == pytest.approx(total / 4)


def test_a_network_gets_one_configuration():
    net = Net()
    found = search_afp(net, scope="network")
    table = {}
    for pair in PAIRS:
        weights = [net.get_parameter(name) for name in NAMES]
        table[pair] = objective([divergence(w, afp_format(w, *pair)) for w in weights], pair)
    best = min(table, key=table.__getitem__)
    assert {(layer.bits, layer.exponent_bits) for layer in found.layers} == {best}
    assert found.objective == pytest.approx(table[best])
    assert len({layer.format.bias for layer in found.layers}) > 1
    assert found.average_bits == best[0]


def test_only_the_published_divergence_saves_bits():
    """Its floor is what makes it; the aligned one falls by about four per bit, which no penalty makes good."""
    net = nn.Sequential(nn.Linear(100, 100))
    with torch.no_grad():
        net[0].weight.copy_(normal(100, 100))
    assert search_afp(net).average_bits < 8
    assert search_afp(net, measure="aligned").average_bits == 8


def test_average_bits_count_parameters():
    net = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(normal(64, 64))
        net[1].weight.zero_()
    found = search_afp(net)
    first, last = found.layers
    assert (last.bits, last.exponent_bits, last.divergence) == (3, 0, 0.0)
    assert first.bits > 3
    assert found.average_bits == pytest.approx((first.bits * 64 * 64 + 3 * 64) / (64 * 65))
    with pytest.raises(FrozenInstanceError):
        found.objective = 0.0


def test_a_copy_is_quantised():
    net = Net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = search_afp(net, bits=(4, 4), exempt=["fc.weight"])
    got = apply_afp(net, found).state_dict()
    formats = {layer.name: layer.format for layer in found.layers}
    assert list(formats) == [name for name in NAMES if name != "fc.weight"]
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])
        want = afp_quantise(tensor, formats[name]) if name in formats else tensor
        assert torch.equal(got[name], want)
        assert torch.equal(got[name], tensor) == (name not in formats)


def test_other_weights_are_refused():
    net = Net()
    found = search_afp(net, bits=(4, 4))
    with torch.no_grad():
        net.fc.weight *= 4
    with pytest.raises(ValueError, match=r"^fc\.weight must be the weights that afp_1\w+ was found for$"):
        apply_afp(net, found)
    with pytest.raises(ValueError, match=r"^name of weights must be one of 0\.weight, not 'conv\.weight'$"):
        apply_afp(nn.Sequential(nn.Linear(2, 2)), found)


# -------------------------------------------------------------------------------------------------------- the annealing


def test_annealing_is_repeatable_and_no_better_than_the_best():
    net = Net()
    best = search_afp(net)
    found = {seed: search_afp(net, method="annealing", seed=seed) for seed in range(6)}
    assert found[3] == search_afp(net, method="annealing", seed=3)
    assert len({result.objective for result in found.values()}) > 1
    for result in found.values():
        for layer, optimum in zip(result.layers, best.layers, strict=True):
            assert objective([layer.divergence], (layer.bits, layer.exponent_bits)) >= objective(
                [optimum.divergence], (optimum.bits, optimum.exponent_bits)
            )


def test_annealing_walks_to_neighbours_and_takes_the_best_it_saw():
    """A bowl so steep that it never climbs: it goes down to the lowest place, and stays."""
    seen = []

    def bowl(pair: tuple[int, int]) -> float:
        seen.append(pair)
        return 1e6 * ((pair[0] - 6) ** 2 + (pair[1] - 3) ** 2)

    walks = [annealed(bowl, (3, 8), Random(seed)) for seed in range(20)]
    assert walks.count((6, 3)) >= 10
    assert seen[0] in {(b, e) for b in (7, 8) for e in (5, 6, 7)}
    assert set(seen) <= set(configurations((3, 8)))


def test_annealing_ends_after_five_refusals():
    calls = []

    def pit(pair: tuple[int, int]) -> float:
        calls.append(pair)
        return 0.0 if pair == (8, 6) else 1e9

    class Elsewhere(Random):
        """Proposes 7 bits and 5 of an exponent, always."""

        def randint(self, a: int, b: int) -> int:
            return a

    assert annealed(pit, (3, 8), Elsewhere(0)) == (8, 6)
    assert calls.count((7, 5)) == 5


@pytest.mark.parametrize(("drawn", "climbs"), [(0.49, True), (0.51, False)])
def test_annealing_climbs_with_its_probability(drawn, climbs):
    """At 100, a climb of 100 ln 2 is made every other time."""
    seen = set()

    def hill(pair: tuple[int, int]) -> float:
        seen.add(pair)
        return 100 * log(2) * (8 - pair[0])

    class Drawn(Random):
        """Proposes one bit less, of the exponent, and draws the same number always."""

        def randint(self, a: int, b: int) -> int:
            return a

        def random(self) -> float:
            return drawn

    assert annealed(hill, (3, 8), Drawn(0)) == (8, 6)
    assert ((6, 4) in seen) == climbs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": (1, 8)}, r"fewest bits must be an integer in 2\.\.8, not 1"),
        ({"bits": (5, 4)}, r"most bits must be an integer in 5\.\.8, not 4"),
        ({"scope": "model"}, "scope must be one of layer, network, not 'model'"),
        ({"method": "bayes"}, "method must be one of exhaustive, annealing, not 'bayes'"),
        ({"measure": "kl"}, "measure must be one of published, aligned, not 'kl'"),
        ({"power": 0}, r"power must be a finite number above 0, not 0\.0"),
        ({"seed": -1}, r"seed must be an integer in 0\.\.4294967295, not -1"),
        ({"exempt": ["0.bias"]}, r"name in exempt must be one of 0\.weight, not '0\.bias'"),
        ({"exempt": ["0.weight"]}, "model must have a layer with weights that is not exempt"),
    ],
)
def test_messages_of_searches(arguments, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        search_afp(nn.Sequential(nn.Linear(2, 2)), **arguments)


def test_bad_weights_are_named():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with torch.no_grad():
        net[1].weight[0, 1] = float("nan")
    with pytest.raises(ValueError, match=r"^1\.weight: weights must be finite$"):
        search_afp(net)
    empty = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    empty[0].weight = nn.Parameter(torch.empty(0, 2))
    with pytest.raises(ValueError, match=r"^0\.weight: weights must not be empty$"):
        search_afp(empty)
