"""Which adaptive floating-point format each layer gets: a search that weighs the distribution's change against bits.

The objective is that of the authors' code (see `quaver.train.afp`): penalty(E, S) * (10 * divergence)^4 with
penalty = 2^E + S + E + ([E > 0] + S)^2, the power of 4 being a choice of theirs: elsewhere they minimise
penalty^k * 10 * divergence for k = 0 .. 1, whose minimum is that of a power of 1 / k.  The paper chooses a
configuration for each layer, its code one for all of them, by the mean of their divergences: `scope`.
"""

from collections.abc import Callable, Collection, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from math import exp
from random import Random
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from quaver.golden import Format
from quaver.golden.errors import check_choice, check_range
from quaver.golden.scalars import check_positive
from quaver.train.afp import BITS_MAX, BITS_MIN, Measure, afp_format, afp_quantise, divergence

Method = Literal["exhaustive", "annealing"]
Scope = Literal["layer", "network"]
Pair = tuple[int, int]
"""Bits and exponent bits."""
HOTTEST, COLDEST, COOLING = 100.0, 1.0, 0.8
REFUSALS = 5
"""Steps without a move after which annealing ends."""
START: Pair = (8, 6)


@dataclass(frozen=True, kw_only=True)
class AfpLayer:
    """The format of one layer's weights."""

    name: str
    """Name of the weights among the model's parameters."""
    bits: int
    """Width of a code."""
    exponent_bits: int
    """As searched: 0 for equidistant numbers, whose `format` has one exponent bit."""
    format: Format
    """The format, with its offset."""
    parameters: int
    """Number of weights."""
    divergence: float
    """Between the distributions of the weights' magnitudes before and after."""


@dataclass(frozen=True, kw_only=True)
class AfpResult:
    """What a search found."""

    layers: tuple[AfpLayer, ...]
    """In the order of the model's modules."""
    objective: float
    """What was minimised; with scope `layer` the mean of the layers' objectives."""

    @property
    def average_bits(self) -> float:
        """Bits per weight, over all of `layers`."""
        return sum(x.bits * x.parameters for x in self.layers) / sum(x.parameters for x in self.layers)


def search_afp(
    model: nn.Module,
    *,
    bits: Pair = (3, 8),
    scope: Scope = "layer",
    method: Method = "exhaustive",
    measure: Measure = "published",
    power: float = 4.0,
    seed: int = 0,
    exempt: Collection[str] = (),
) -> AfpResult:
    """Find formats for the weights of all `nn.Linear`, `nn.Conv2d` and `nn.MultiheadAttention` of a model.

    Parameters
    ----------
    bits:
        The fewest and the most that are tried, 2 to 8; with each, all of 0 to bits - 1 exponent bits.
    scope:
        `layer`: each layer gets the best configuration for itself; `network`: all get the same one.
    method:
        `exhaustive`: all configurations; of equally good ones that of the fewest bits, and then exponent bits, is taken
        (so a layer of zeros gets the smallest).  `annealing`: see `annealed`.
    measure:
        See `quaver.train.afp.divergence`.
    power:
        Of ten times the divergence, above 0.
    seed:
        Of annealing, 0 to 2^32 - 1.
    exempt:
        Names of weights that are left out.

    Raises
    ------
    TypeError, ValueError
        For an argument that is none of these, a name in `exempt` that no weights have, a model without weights, and
        weights that are empty, not finite, or beyond what a format's bias can reach; the message names them.
    """
    check_range("fewest bits", bits[0], BITS_MIN, BITS_MAX)
    check_range("most bits", bits[1], bits[0], BITS_MAX)
    check_choice("scope", scope, get_args(Scope))
    check_choice("method", method, get_args(Method))
    check_choice("measure", measure, get_args(Measure))
    check_positive("power", power)
    check_range("seed", seed, 0, (1 << 32) - 1)
    weights = dict(_weights(model))
    for name in exempt:
        check_choice("name in exempt", name, weights)
    taken = {name: w for name, w in weights.items() if name not in exempt}
    if not taken:
        raise ValueError("model must have a layer with weights that is not exempt")

    @cache
    def layer_of(name: str, pair: Pair) -> AfpLayer:
        return _layer(name, taken[name], pair, measure)

    def objective(names: tuple[str, ...], pair: Pair) -> float:
        mean = sum(layer_of(name, pair).divergence for name in names) / len(names)
        return penalty(pair[1], pair[0] - 1 - pair[1]) * (10 * mean) ** power

    random = Random(seed)
    layers, objectives = [], []
    for names in [(name,) for name in taken] if scope == "layer" else [tuple(taken)]:
        ours = partial(objective, names)
        best = annealed(ours, bits, random) if method == "annealing" else min(configurations(bits), key=ours)
        layers += [layer_of(name, best) for name in names]
        objectives.append(ours(best))
    return AfpResult(layers=tuple(layers), objective=sum(objectives) / len(objectives))


def apply_afp(model: nn.Module, result: AfpResult) -> nn.Module:
    """A copy of the model whose weights are the nearest numbers of their formats.

    Raises
    ------
    ValueError
        If the model lacks weights of the result's, or has others under their name, of another size or range.
    """
    quantised = deepcopy(model)
    weights = dict(_weights(quantised))
    with torch.no_grad():
        for layer in result.layers:
            check_choice("name of weights", layer.name, weights)
            tensor = weights[layer.name]
            fmt = afp_format(tensor, layer.bits, layer.exponent_bits)
            if (tensor.numel(), fmt) != (layer.parameters, layer.format):
                raise ValueError(f"{layer.name} must be the weights that {layer.format} was found for")
            tensor.copy_(afp_quantise(tensor, fmt))
    return quantised


def penalty(exponent_bits: int, mantissa_bits: int) -> int:
    """Cost of a configuration, of a range, a shifter and a multiplier: 2^E + S + E + ([E > 0] + S)^2."""
    hidden = int(exponent_bits > 0)
    return (1 << exponent_bits) + mantissa_bits + exponent_bits + (hidden + mantissa_bits) ** 2


def configurations(bits: Pair) -> Iterator[Pair]:
    """All configurations of the given range of bits, in order."""
    for total in range(bits[0], bits[1] + 1):
        for exponent_bits in range(total):
            yield total, exponent_bits


def annealed(objective: Callable[[Pair], float], bits: Pair, random: Random) -> Pair:
    """Simulated annealing: a walk through neighbours that climbs by d with the probability exp(-d / T).

    As in the authors' code it starts at 8 bits, 6 of them of an exponent (here: as near as `bits` allow), T falls from
    100 to 1 by a fifth at a time, and five refusals in a row end it.  Two things are ours: bits and exponent bits are
    accepted together (theirs are accepted each for itself, so that the walk may enter a configuration that it never
    looked at), and the best configuration that was seen is returned (theirs: the last).  It has 21 steps at most, where
    an exhaustive search looks at 33 configurations.
    """
    total = min(max(START[0], bits[0]), bits[1])
    now = best = (total, min(START[1], total - 1))
    temperature, refused = HOTTEST, 0
    while temperature >= COLDEST and refused < REFUSALS:
        total = random.randint(max(now[0] - 1, now[1] + 1, bits[0]), min(now[0] + 1, bits[1]))
        next_one = total, random.randint(max(now[1] - 1, 0), min(now[1] + 1, total - 1))
        climb = objective(next_one) - objective(now)
        if climb < 0 or exp(-climb / temperature) > random.random():
            now, refused = next_one, 0
        else:
            refused += 1
        best = min(best, now, key=objective)
        temperature *= COOLING
    return best


def _layer(name: str, weights: Tensor, pair: Pair, measure: Measure) -> AfpLayer:
    try:
        fmt = afp_format(weights, *pair)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return AfpLayer(
        name=name,
        bits=pair[0],
        exponent_bits=pair[1],
        format=fmt,
        parameters=weights.numel(),
        divergence=divergence(weights, fmt, measure),
    )


def _weights(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Weights that are multiplied, by name."""
    for name, module in model.named_modules():
        for kind, attribute in (
            ((nn.Linear, nn.Conv2d), "weight"),
            (nn.MultiheadAttention, "in_proj_weight"),
        ):
            if isinstance(module, kind) and getattr(module, attribute) is not None:
                yield f"{name}.{attribute}".lstrip("."), getattr(module, attribute)
