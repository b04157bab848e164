"""Operators that others were taken apart into, put together again: activations, normalisations, products with biases.

An exporter writes what its operator set lacks as a few elementary operators.  Those that depend on one tensor, which
two of them read, and on constants alone, and lead to one result, are recognised by how many of each type there are.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from quaver.sim.import_graph import Graph, Operator

_SAME = {"Sub": "Add", "Div": "Mul", "Reciprocal": "Mul"}
"""Types that stand for another in a signature: exporters multiply by reciprocals, and add what is negative."""


@dataclass(frozen=True, kw_only=True)
class _Signature:
    """Numbers of operators, with the types that `_SAME` has replaced."""

    type: str
    """What they are together."""
    least: Counter[str]
    most: Counter[str]
    affine: bool = False
    """Whether scales and shifts may follow."""

    def matches(self, types: Counter[str]) -> bool:
        return self.least <= types <= self.most


def _signature(type_: str, *, affine: bool = False, **counts: tuple[int, int] | int) -> _Signature:
    bounds = {name: count if isinstance(count, tuple) else (count, count) for name, count in counts.items()}
    return _Signature(
        type=type_,
        least=Counter({name: low for name, (low, _) in bounds.items()}),
        most=Counter({name: high for name, (_, high) in bounds.items()}),
        affine=affine,
    )


_SIGNATURES = (
    # x * sigmoid(a x); a is 1.702 in an approximation of GELU
    _signature("Swish", Sigmoid=1, Mul=(1, 2)),
    _signature("HardSwish", HardSigmoid=1, Mul=1),
    # x * relu6(x + 3) / 6
    _signature("HardSwish", Add=1, Clip=1, Mul=2),
    # x / 2 * (1 + erf(x / sqrt(2)))
    _signature("Gelu", Erf=1, Add=1, Mul=3),
    # x / 2 * (1 + tanh(c (x + d x^3))), the power written as products by some
    _signature("Gelu", Tanh=1, Add=2, Mul=4, Pow=1),
    _signature("Gelu", Tanh=1, Add=2, Mul=(5, 6)),
    # (x - mean(x)) / sqrt(mean((x - mean(x))^2) + eps), the difference computed twice by some
    _signature("LayerNormalization", ReduceMean=2, Add=(2, 3), Pow=1, Sqrt=1, Mul=(1, 2), affine=True),
    _signature("LayerNormalization", ReduceMean=2, Add=(2, 3), Sqrt=1, Mul=(2, 3), affine=True),
    # x / sqrt(mean(x^2) + eps)
    _signature("RMSNormalization", ReduceMean=1, Add=1, Pow=1, Sqrt=1, Mul=(1, 2), affine=True),
    _signature("RMSNormalization", ReduceMean=1, Add=1, Sqrt=1, Mul=(2, 3), affine=True),
)
_PARTS = frozenset(part for signature in _SIGNATURES for part in signature.most) | frozenset(_SAME)
_LONGEST = max(signature.most.total() for signature in _SIGNATURES)


def fused(graph: Graph) -> Graph:
    """The same network with each group of operators that is recognised replaced by one, where its last one was."""
    replaced: dict[int, Operator] = {}
    gone: set[int] = set()
    for place, operator in enumerate(graph.operators):
        if place in gone or graph.constant(operator):
            continue
        found = _product_with_bias(graph, place) if operator.type == "MatMul" else _recognised(graph, place, gone)
        if found is not None:
            together, places = found
            gone |= set(places)
            replaced[max(places)] = together
    kept = (
        replaced.get(place, operator)
        for place, operator in enumerate(graph.operators)
        if place in replaced or place not in gone
    )
    return replace(graph, operators=tuple(kept))


def _recognised(graph: Graph, place: int, gone: set[int]) -> tuple[Operator, list[int]] | None:
    """What begins with the operator at `place`, which reads one computed tensor."""
    computed = set(graph.computed(graph.operators[place]))
    if len(computed) != 1:
        return None
    (start,) = computed
    for places in _cones(graph, start, gone):
        types = Counter(_SAME.get(graph.operators[p].type, graph.operators[p].type) for p in places)
        for signature in _SIGNATURES:
            if signature.matches(types) and place in places and _one_result(graph, start, places):
                if "ReduceMean" in types and not _along_rows(graph, places):
                    continue
                return _joined(graph, signature, start, places)
    return None


def _cones(graph: Graph, start: str, gone: set[int]) -> Iterator[list[int]]:
    """Places of the first operators that depend on `start` and constants alone: one, two and so on of them."""
    inside, places = {start}, list[int]()
    while len(places) < _LONGEST:
        ready = [
            place
            for tensor in inside
            for place in graph.users.get(tensor, ())
            if place not in places
            and place not in gone
            and graph.operators[place].type in _PARTS
            and inside.issuperset(graph.computed(graph.operators[place]))
        ]
        if not ready:
            return
        places.append(min(ready))
        inside.update(graph.operators[places[-1]].outputs)
        yield places


def _one_result(graph: Graph, start: str, places: list[int]) -> bool:
    """Whether only the last of the operators writes what others read, and at least two read `start`."""
    if len(set(graph.users[start]).intersection(places)) < 2:
        return False
    inner = [name for place in places[:-1] for name in graph.operators[place].outputs]
    return not graph.results.intersection(inner) and all(
        set(graph.users.get(name, ())) <= set(places) for name in inner
    )


def _along_rows(graph: Graph, places: list[int]) -> bool:
    """Whether means are taken over the last axis alone."""
    means = (graph.operators[place] for place in places if graph.operators[place].type == "ReduceMean")
    return all(graph.shape(mean.outputs[0])[:-1] == graph.shape(mean.inputs[0])[:-1] for mean in means)


def _joined(graph: Graph, signature: _Signature, start: str, places: list[int]) -> tuple[Operator, list[int]]:
    """The operator that stands for those at `places`, and for the scales and shifts behind them."""
    inputs, places = [start], list(places)
    for type_ in ("Mul", "Add") if signature.affine else ():
        following = _follower(graph, graph.operators[places[-1]].outputs[0], type_)
        if following is None:
            break
        places.append(following[0])
        inputs.append(following[1])
    first, last = graph.operators[places[0]], graph.operators[places[-1]]
    together = Operator(type=signature.type, name=first.name, inputs=tuple(inputs), outputs=last.outputs[:1])
    return together, places


def _product_with_bias(graph: Graph, place: int) -> tuple[Operator, list[int]] | None:
    """A product with a constant matrix, and the sum with a constant vector that is all that follows it."""
    product = graph.operators[place]
    if graph.computed(product) != [product.inputs[0]]:
        return None
    following = _follower(graph, product.outputs[0], "Add")
    if following is None or graph.elements(following[1]) != graph.shape(product.outputs[0])[-1]:
        return None
    total = graph.operators[following[0]]
    return replace(product, inputs=(*product.inputs, following[1]), outputs=total.outputs), [place, following[0]]


def _follower(graph: Graph, tensor: str, type_: str) -> tuple[int, str] | None:
    """Place of the only operator that reads `tensor`, if it is of `type_`, and its other operand, if it is learnt."""
    users = graph.users.get(tensor, ())
    if len(users) != 1 or tensor in graph.results or graph.operators[users[0]].type != type_:
        return None
    others = [name for name in graph.operators[users[0]].inputs if name != tensor]
    if len(others) != 1 or others[0] not in graph.origins or graph.elements(graph.origins[others[0]]) == 1:
        return None
    return users[0], others[0]
