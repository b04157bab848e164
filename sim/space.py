"""The space of a sweep: what is asked of some workloads, times the machines that a TOML file spans with axes.

    workloads = ["resnet50", "nets/mine.onnx"]      # built-in names, .onnx files, SCALE-Sim topologies in .csv files
    pass = "forward"                                # each of these four may be a list
    batch = [1, 8]                                  # 1 if left out
    recipe = "hybrid"
    base = "cloud"                                  # a preset or a machine file: what the axes do not change
    where = ["rows <= 4 * columns"]                 # constraints: machines that do not fulfil all of them are left out
    sample = 500                                    # so many machines of all these, drawn at random; all if left out
    seed = 1                                        # by this seed, 0 if left out

    [machine]                                       # keys of a machine file
    dataflow = ["ws", "os"]                         # a list is an axis,
    rows = {from = 32, to = 256, factor = 2}        # so is a range: 32, 64, 128, 256;
    clock_mhz = {from = 500, to = 1000, step = 250} # or 500, 750, 1000: both ends belong to it
    chunk = 32                                      # one value for all machines
    memory.buffer_kib = [1024, 8192]                # keys of tables are dotted, or in a table [machine.memory]
    a_formats = [["e4m3"], ["e4m3", "e5m2"]]        # where a value is a list itself, an axis is a list of lists
    inner = ["exact", {format = "dlfloat16"}]       # and where it is a table, a list of tables

    [[tied]]                                        # lists of equal length whose values go together: one axis
    columns = [32, 64, 128]
    vector_lanes = [128, 256, 512]

    [[tied]]                                        # as many of these as there are such axes
    memory.dram = ["ddr", "hbm2"]
    memory.dram_gb_per_s = [25.6, 512]

The machines are all combinations of the axes' values.  Files are looked for beside the space's own.  Wrong keys and
wrong types in the file are errors; a machine that cannot be built, such as one whose `chunk` does not divide `rows`, is
part of the space, and the sweep tells what is wrong with it.

A sample of more machines with the same seed has all machines of the smaller one.  `quaver.sim.constraint` says what a
constraint can be.
"""

import hashlib
import json
import random
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import islice
from math import prod
from pathlib import Path

from quaver.golden import Machine, Recipe, recipe_named
from quaver.golden.errors import check_choice, check_range
from quaver.sim.constraint import Constraint
from quaver.sim.load import load_workload
from quaver.sim.network import Workload
from quaver.sim.space_values import Table, checked, flattened, machine_keys, value_at, values_of, with_value
from quaver.sim.step import Request

MACHINES_MAX = 1 << 18
"""Machines of a sweep."""
_KEYS = ("workloads", "pass", "batch", "recipe", "base", "where", "sample", "seed", "machine", "tied")
_TRIES = 1000
"""Machines that are drawn at most, per one of a sample, to find some that fulfil the constraints."""


@dataclass(frozen=True, kw_only=True)
class SweepAxis:
    """Keys of a machine that change together."""

    keys: tuple[str, ...]
    """Dotted names."""
    values: tuple[tuple[object, ...], ...]
    """A value per key for each place on the axis."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One simulation of a sweep."""

    key: str
    """Hash of all that the result depends on: the workload's layers, what is asked, the machine, this version."""
    workload: Workload
    """What runs."""
    request: Request
    """What is asked of it."""
    recipe: Recipe
    """Formats of its tensors."""
    table: Table
    """The machine, as a TOML file would describe it; there may be no such machine."""


@dataclass(frozen=True, kw_only=True)
class Space:
    """Requests times machines."""

    workloads: tuple[Workload, ...]
    """What runs."""
    requests: tuple[Request, ...]
    """What is asked of each workload."""
    recipes: tuple[Recipe, ...]
    """Formats, each for all requests."""
    base: Table
    """The machine that the axes change."""
    axes: tuple[SweepAxis, ...]
    """Those of one value included."""
    where: tuple[Constraint, ...] = ()
    """What machines must fulfil."""
    sample: int | None = None
    """Machines that are drawn; None for all."""
    seed: int = 0
    """Decides which are drawn."""

    @classmethod
    def load(cls, path: Path) -> "Space":
        """Read a space from a TOML file.

        Raises
        ------
        ValueError
            If the file cannot be read or describes no space; the message names the file and the key.
        ModuleNotFoundError
            If a workload is an ONNX file and the package `onnx` is not installed.
        """
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a TOML file: {error}") from error
        try:
            return cls._read(table, path.parent)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    @classmethod
    def _read(cls, table: Table, folder: Path) -> "Space":
        for key in table:
            check_choice("key", key, _KEYS)
        if "workloads" not in table:
            raise ValueError("workloads must name at least one workload")
        names, passes, recipes = (
            [_text(key, value) for value in values_of(key, table.get(key, default))]
            for key, default in (("workloads", ""), ("pass", "forward"), ("recipe", "hybrid"))
        )
        batches = values_of("batch", table.get("batch", 1))
        sample, seed = table.get("sample"), table.get("seed", 0)
        if sample is not None:
            check_range("sample", sample, 1, MACHINES_MAX)
        check_range("seed", seed, 0, (1 << 32) - 1)
        base = Machine.load(_located(_text("base", table.get("base", "cloud")), folder, (".toml",))).to_dict()
        space = cls(
            workloads=tuple(load_workload(_located(name, folder, (".onnx", ".csv"))).workload for name in names),
            requests=tuple(Request(pass_=p, batch=b) for p in passes for b in batches),  # type: ignore[arg-type]
            recipes=tuple(map(recipe_named, recipes)),
            base={"name": base.pop("name")} | {key: checked(key, value) for key, value in base.items()},
            axes=tuple(_axes(table)),
            where=tuple(Constraint.parse(_text("where", t), machine_keys()) for t in _listed(table.get("where", []))),
            sample=sample,  # type: ignore[arg-type]
            seed=seed,  # type: ignore[arg-type]
        )
        if space.size > MACHINES_MAX and sample is None:
            raise ValueError(
                f"sample must be given where there are more than {MACHINES_MAX} machines, not {space.size}"
            )
        space._fulfils(space.base)  # constraints that cannot be computed show here
        return space

    @cached_property
    def size(self) -> int:
        """Combinations of the axes' values."""
        return prod(len(axis.values) for axis in self.axes)

    @cached_property
    def varied(self) -> tuple[str, ...]:
        """Keys whose values differ from machine to machine."""
        return tuple(key for axis in self.axes if len(axis.values) > 1 for key in axis.keys)

    def machines(self) -> Iterator[Table]:
        """The machines, those that cannot be built included."""
        if self.sample is None:
            yield from filter(self._fulfils, map(self._machine, range(self.size)))
            return
        drawn = map(self._machine, islice(_drawn(self.size, self.seed), _TRIES * self.sample))
        yield from islice(filter(self._fulfils, drawn), self.sample)

    def points(self) -> Iterator[Point]:
        """All simulations, each once: machines that differ in nothing but their cause are one."""
        machines = {_digest({**table, "name": ""}): table for table in self.machines()}
        release = version("quaver")
        for workload in self.workloads:
            layers = _digest(repr(workload.layers))
            for request in self.requests:
                for recipe in self.recipes:
                    for machine, table in machines.items():
                        key = _digest([release, workload.name, layers, repr(request), repr(recipe), machine])
                        yield Point(key=key, workload=workload, request=request, recipe=recipe, table=table)

    def _machine(self, index: int) -> Table:
        """Machine number `index`; the last axis changes from each to the next."""
        table = self.base
        for axis in reversed(self.axes):
            index, place = divmod(index, len(axis.values))
            for key, value in zip(axis.keys, axis.values[place], strict=True):
                table = with_value(table, key, value)
        return table

    def _fulfils(self, table: Table) -> bool:
        return all(constraint.holds(lambda key: value_at(table, key)) for constraint in self.where)


def _axes(table: Mapping[str, object]) -> Iterator[SweepAxis]:
    """The axes of `[machine]`, then those of each `[[tied]]`."""
    machine, tied = table.get("machine", {}), table.get("tied", [])
    if not isinstance(machine, dict):
        raise ValueError(f"machine must be a table, not {machine!r}")
    if not isinstance(tied, list) or not all(isinstance(part, dict) for part in tied):
        raise ValueError("tied must be tables, each under [[tied]]")
    groups = [dict([item]) for item in flattened(machine)] + [dict(flattened(part)) for part in tied]
    seen: list[str] = []
    for group in groups:
        for key in group:
            for other in seen:
                if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):
                    raise ValueError(f"machine.{key} must be on one axis, not on that of {other}, too")
            seen.append(key)
    yield from (_axis(group) for group in groups if group)


def _axis(group: Mapping[str, object]) -> SweepAxis:
    columns = {}
    for key, given in group.items():
        values = list(given) if len(group) > 1 and isinstance(given, list) else values_of(key, given)
        columns[key] = [checked(key, value) for value in values]
    if len(set(map(len, columns.values()))) > 1:
        counts = ", ".join(f"{len(values)} of {key}" for key, values in columns.items())
        raise ValueError(f"tied must have lists of equal length, not {counts}")
    if not any(columns.values()):
        raise ValueError(f"{', '.join(columns)} must have at least one value")
    return SweepAxis(keys=tuple(columns), values=tuple(zip(*columns.values(), strict=True)))


def _drawn(size: int, seed: int) -> Iterator[int]:
    """Every number below `size` once, at random."""
    generator, seen = random.Random(seed), set[int]()
    while len(seen) < size:
        index = generator.randrange(size)
        if index not in seen:
            seen.add(index)
            yield index


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key} must be a string or a list of strings, not {value!r}")
    return value


def _located(name: str, folder: Path, suffixes: tuple[str, ...]) -> str:
    """What is a file's name by its suffix is that of a file beside the space's."""
    return str(folder / name) if Path(name).suffix in suffixes else name


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]
