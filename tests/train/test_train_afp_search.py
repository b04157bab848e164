"""Searches for adaptive floating-point formats: against brute force, the walk of annealing, and what is applied."""

from dataclasses import FrozenInstanceError
from math import log
from random import Random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from quaver.train.afp import afp_format, afp_quantise, divergence
from quaver.train.afp_search import annealed, apply_afp, configurations, penalty, search_afp

PAIRS = [(bits, exponent_bits) for bits in range(3, 9) for exponent_bits in range(bits)]


def normal(*shape: int, seed: int = 0, deviation: float = 0.05) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, deviation, shape)).float()


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
