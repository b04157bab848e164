"""The description of a trace: the products of a training run in the order in which they were computed, with every bit.

A trace is a folder: `trace.json` says where it comes from (`TraceHead`), `index.jsonl` has a line per product
(`TraceEntry`), which names an .npz file with the codes `a` (groups, M, K), `b` (groups, K, N) and `y` (groups, M, N).
`quaver.train` writes traces, `quaver.cosim` has the hardware compute them again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property

from quaver.golden.arithmetic import AlignedSum, Arithmetic
from quaver.golden.array_words import ArrayWords, Issued
from quaver.golden.catalog import format_named
from quaver.golden.errors import check_choice, check_range
from quaver.golden.formats import Format
from quaver.golden.machine import Machine
from quaver.golden.machine_tables import check_keys, read_accumulator, read_inner, sum_table

TRACE_VERSION = 1
HEAD_FILE, INDEX_FILE = "trace.json", "index.jsonl"
PHASES = ("forward", "data_gradient", "weight_gradient")
SIZE_MAX = 1 << 48
"""Of a dimension, and of all that is counted."""


@dataclass(frozen=True, kw_only=True)
class TraceHead:
    """What all products of a trace have in common.

    Raises
    ------
    ValueError
        If no machine adds up in this way, or the machine does it in another one.
    """

    recipe: str
    """Name of the training method."""
    model: str
    """Name of what was trained."""
    machine: Machine | None
    """The machine whose array it was computed for; None where there was an arithmetic only."""
    arithmetic: Arithmetic
    """Sums, chunk and seed; the operands' formats are each product's own."""

    def __post_init__(self) -> None:
        if isinstance(self.arithmetic.inner, AlignedSum):
            raise ValueError("arithmetic.inner must be a sum that machines have, rounded or exact, not an aligned one")
        if self.machine is not None:
            for field in ("inner", "outer", "chunk", "seed"):
                has, needs = getattr(self.arithmetic, field), getattr(self.machine, field)
                if has != needs:
                    raise ValueError(f"arithmetic.{field} must be the machine's, {needs}, not {has}")

    @property
    def stochastic(self) -> bool:
        """Whether a bit depends on where the random generators stand."""
        return bool(self.arithmetic.inner_random_bits or self.arithmetic.outer_random_bits)

    @cached_property
    def law(self) -> ArrayWords:
        """The law of the random words, at the seed."""
        return ArrayWords.reference(self.arithmetic) if self.machine is None else ArrayWords.of(self.machine)

    def to_dict(self) -> dict[str, object]:
        """What `trace.json` has; `from_dict` reads it back."""
        arithmetic = self.arithmetic
        assert not isinstance(arithmetic.inner, AlignedSum)
        return {
            "quaver_trace": TRACE_VERSION,
            "recipe": self.recipe,
            "model": self.model,
            "machine": None if self.machine is None else self.machine.to_dict(),
            "arithmetic": {
                "inner": sum_table(arithmetic.inner),
                "outer": sum_table(arithmetic.outer),
                "chunk": arithmetic.chunk,
                "seed": arithmetic.seed,
            },
        }

    @classmethod
    def from_dict(cls, table: object) -> "TraceHead":
        """Read what `to_dict` wrote; ValueErrors name the key and what is allowed."""
        content = _complete("trace", table, ["quaver_trace", "recipe", "model", "machine", "arithmetic"])
        check_choice("quaver_trace", content["quaver_trace"], [TRACE_VERSION])
        sums = _complete("arithmetic", content["arithmetic"], ["inner", "outer", "chunk", "seed"])
        described = content["machine"]
        if not (described is None or isinstance(described, Mapping)):
            raise ValueError(f"machine must be an object or null, not {described!r}")
        return cls(
            recipe=_text("recipe", content["recipe"]),
            model=_text("model", content["model"]),
            machine=None if described is None else Machine.from_dict(described),
            arithmetic=Arithmetic(
                inner=read_inner("arithmetic.inner", sums["inner"]),
                outer=read_accumulator("arithmetic.outer", sums["outer"]),
                chunk=sums["chunk"],  # type: ignore[arg-type]
                seed=sums["seed"],  # type: ignore[arg-type]
            ),
        )


@dataclass(frozen=True, kw_only=True)
class TraceEntry:
    """One product of a trace, or `groups` of one shape, computed one after the other.

    Raises
    ------
    ValueError
        If a field is out of its range; the message names the field and what is allowed.
    """

    file: str
    """Name of the file with the codes: digits and .npz."""
    step: int
    """Step of the training run."""
    layer: str
    """Name of the layer in the model."""
    phase: str
    """`forward`, `data_gradient` or `weight_gradient`."""
    a_format: Format
    """Format of the left operand's codes; one of the named ones."""
    b_format: Format
    """Of the right operand's."""
    m: int
    """Rows of a and y."""
    k: int
    """Columns of a, rows of b."""
    n: int
    """Columns of b and y."""
    groups: int
    """Products, at least 1."""
    issued: Issued
    """Items that the array's generators had served before."""

    def __post_init__(self) -> None:
        if not isinstance(self.file, str) or not re.fullmatch(r"[0-9]+\.npz", self.file):
            raise ValueError(f"file must be a name of digits and .npz, not {self.file!r}")
        check_range("step", self.step, 0, SIZE_MAX)
        _text("layer", self.layer)
        check_choice("phase", self.phase, PHASES)
        for field in ("a_format", "b_format"):
            fmt = getattr(self, field)
            if format_named(fmt.name, field) != fmt:
                raise ValueError(f"{field} must be the format that is named {fmt}, not another one")
        for field in ("m", "k", "n", "groups"):
            check_range(field, getattr(self, field), 1, SIZE_MAX)
        for field, items in self.issued._asdict().items():
            check_range(f"issued {field}", items, 0, SIZE_MAX)

    def __str__(self) -> str:
        return f"{self.layer}, {self.phase}, step {self.step}"

    @property
    def macs(self) -> int:
        """Multiply-accumulates."""
        return self.groups * self.m * self.k * self.n

    def arithmetic(self, head: TraceHead) -> Arithmetic:
        """The arithmetic of this product in a trace with this head."""
        return replace(head.arithmetic, a=self.a_format, b=self.b_format)

    def arrays(self, head: TraceHead) -> dict[str, tuple[Format, tuple[int, int, int]]]:
        """Format and shape of each array in the file."""
        return {
            "a": (self.a_format, (self.groups, self.m, self.k)),
            "b": (self.b_format, (self.groups, self.k, self.n)),
            "y": (head.arithmetic.outer.format, (self.groups, self.m, self.n)),
        }

    def to_dict(self) -> dict[str, object]:
        """What the line in `index.jsonl` has; `from_dict` reads it back."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {"a_format": self.a_format.name, "b_format": self.b_format.name, "issued": list(self.issued)}

    @classmethod
    def from_dict(cls, table: object) -> "TraceEntry":
        """Read what `to_dict` wrote; ValueErrors name the key and what is allowed."""
        content = _complete("product", table, [f.name for f in fields(cls)])
        issued = content["issued"]
        if not isinstance(issued, list) or len(issued) != len(Issued._fields):
            raise ValueError(f"issued must be a list of beats and sums, not {issued!r}")
        formats = {field: format_named(content[field], field) for field in ("a_format", "b_format")}
        return cls(**{**content, **formats, "issued": Issued(*issued)})  # type: ignore[arg-type]


def _complete(what: str, table: object, keys: list[str]) -> dict[str, object]:
    """An object of JSON with exactly these keys."""
    if not isinstance(table, Mapping):
        raise ValueError(f"{what} must be an object, not {table!r}")
    check_keys(f"key of {what}", table, keys)
    for key in keys:
        if key not in table:
            raise ValueError(f"{key} of {what} is missing")
    return dict(table)


def _text(field: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{field} must be a text that is not empty, not {value!r}")
    return value
