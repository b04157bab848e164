"""Networks from elsewhere: what an import finds, and how the layers of a graph are put together."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from quaver.sim.import_graph import Graph, Operator
from quaver.sim.network import Layer, Workload

BATCH_MAX = 1 << 24
"""Inputs, at most, that a source's shapes are for."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A network that was read, and what of it is no layer."""

    workload: Workload
    """The network; its layers are per input, whatever batch the source has."""
    free: Mapping[str, int]
    """How many operators of each type cost nothing by definition: they rename, move or copy elements, or what they
    write is known before any input comes."""
    unknown: Mapping[str, tuple[str, ...]]
    """Names of the operators of each type that is not known: the workload lacks them."""

    def to_dict(self) -> dict[str, object]:
        """What is no layer, as the command line's JSON has it."""
        unknown = [{"type": kind, "count": len(names), "names": list(names)} for kind, names in self.unknown.items()]
        return {"free": dict(self.free), "unknown": unknown}


def shared_batch(source: str, first_axes: Iterable[int]) -> int:
    """The batch, if the first axes of a network's inputs agree on it; 1 if there are none."""
    sizes = sorted(set(first_axes))
    if len(sizes) > 1:
        shown = ", ".join(map(str, sizes))
        raise ValueError(f"{source}: first axes of inputs must be the batch, not {shown}, unless the batch is given")
    return max(1, *sizes) if sizes else 1


class Unmapped(Exception):
    """An operator is of a known type, but does what no layer describes; the text is added to its type."""


@dataclass(kw_only=True)
class Assembly:
    """The layers of a graph, as they are put together one operator after the other."""

    graph: Graph
    batch: int
    """Inputs of the network that the graph's shapes are for."""
    layers: list[Layer] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    """Weights that a layer has."""
    names: set[str] = field(default_factory=set)
    """Names of the layers."""
    numbers: Counter[str] = field(default_factory=Counter)
    """Layers of each type that had to be numbered."""

    def per_input(self, count: int) -> int:
        """`count` things of a whole batch, for one input."""
        if count % self.batch:
            raise ValueError(f"{count} elements cannot be shared by the batch of {self.batch} inputs")
        return count // self.batch

    def elements(self, tensor: str) -> int:
        """Elements of a tensor per input."""
        return self.per_input(self.graph.elements(tensor))

    def is_constant(self, tensor: str) -> bool:
        """Whether there is such a tensor, known before any input comes."""
        return tensor in self.graph.origins

    def first_use(self, tensor: str) -> bool:
        """Whether no layer has had this weight; it counts as had from now on."""
        origin = self.graph.origins[tensor]
        first = origin not in self.used
        self.used.add(origin)
        return first

    def learnt(self, tensor: str) -> int:
        """Elements of a vector of parameters, such as scales; 0 if it is computed, fixed or a single number.

        One that several layers read counts for each of them: exporters merge equal tensors, such as the ones and zeros
        of fresh scales and shifts, whereas it is matrices that networks share.
        """
        origin = self.graph.origins.get(tensor, "")
        if origin not in self.graph.weights:
            return 0
        elements = self.graph.elements(origin)
        return elements if elements > 1 else 0

    def bias(self, tensor: str, channels: int, *, tied: bool) -> bool:
        """Whether a product has a bias of its own: neither a number for all channels, nor one shared with the weights.

        `tied` says whether the weights are an earlier layer's.
        """
        origin = self.graph.origins.get(tensor)
        if origin is None or self.graph.elements(origin) != channels:
            return False
        return self.first_use(tensor) or not tied

    def name(self, operator: Operator) -> str:
        """A name for an operator's layers: its own, or that of its first weight, or its type with a number."""
        origins = (self.graph.origins.get(name, "") for name in operator.inputs)
        weights = (origin for origin in origins if origin and self.graph.elements(origin) > 1)
        name = operator.name or next(weights, "").removesuffix(".weight")
        if not name:
            self.numbers[operator.type] += 1
            name = f"{operator.type}{self.numbers[operator.type]}"
        return self.unique(name)

    def unique(self, name: str) -> str:
        """The name, with `#2` and so on behind it where it is taken."""
        chosen, count = name, 1
        while chosen in self.names:
            count += 1
            chosen = f"{name}#{count}"
        self.names.add(chosen)
        return chosen


Rule = Callable[[Assembly, Operator], Iterator[Layer]]
"""Makes the layers of an operator; Unmapped if there are none that describe it."""


def assemble(
    graph: Graph, rules: Mapping[str, Rule], *, free: frozenset[str], batch: int, name: str, source: str
) -> Imported:
    """The layers of `graph`, by the `rules` for its operators' types; `free` types and constant results cost nothing.

    Raises
    ------
    ValueError
        If a shape is missing, or does not fit; the message begins with the source and the node.
    """
    assembly = Assembly(graph=graph, batch=batch)
    costless: Counter[str] = Counter()
    unknown: dict[str, tuple[str, ...]] = {}
    for operator in graph.operators:
        if operator.type in free or graph.constant(operator):
            costless[operator.type] += 1
            continue
        kind = operator.type
        try:
            if kind in rules:
                layers = list(rules[kind](assembly, operator))
                assembly.layers += layers
                if not layers:
                    costless[kind] += 1
                continue
        except Unmapped as reason:
            kind = f"{kind} {reason}"
        except ValueError as error:
            raise ValueError(f"{source}, {operator.label}: {error}") from None
        unknown[kind] = (*unknown.get(kind, ()), operator.name or operator.outputs[0])
    if not assembly.layers:
        raise ValueError(f"{source} has no operator that is a layer, but {', '.join(sorted(unknown)) or 'none at all'}")
    workload = Workload(name=name, source=source, layers=tuple(assembly.layers))
    return Imported(workload=workload, free=dict(sorted(costless.items())), unknown=unknown)
