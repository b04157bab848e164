"""Values of a machine as a TOML file has them, and back; messages name the key."""

from collections.abc import Mapping
from dataclasses import fields

from quaver.golden.arithmetic import Accumulator, ExactSum
from quaver.golden.catalog import format_named
from quaver.golden.errors import check_choice
from quaver.golden.formats import Format
from quaver.golden.memory import Memory
from quaver.golden.rounding import Rounding


def check_keys(what: str, table: Mapping[str, object], allowed: list[str]) -> None:
    for key in table:
        check_choice(what, key, allowed)


def sum_table(kept: Accumulator | ExactSum) -> str | dict[str, object]:
    """A kind of sum; `read_inner` reads it back."""
    if isinstance(kept, ExactSum):
        return str(kept)
    return {
        "format": kept.format.name,
        "rounding": kept.rounding.mode,
        "random_bits": kept.rounding.random_bits,
        "overflow": kept.overflow,
    }


def read_formats(field: str, value: object) -> tuple[Format, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{field} must be a list of format names, not {value!r}")
    return tuple(format_named(name, field) for name in value)


def read_inner(field: str, value: object) -> Accumulator | ExactSum:
    return ExactSum() if value == str(ExactSum()) else read_accumulator(field, value, 'a table or "exact"')


def read_accumulator(field: str, value: object, what: str = "a table") -> Accumulator:
    if not isinstance(value, dict):
        raise ValueError(f"{field} must be {what}, not {value!r}")
    check_keys(f"key of {field}", value, ["format", "rounding", "random_bits", "overflow"])
    default = Accumulator()
    try:
        return Accumulator(
            format=format_named(value.get("format", default.format.name)),
            rounding=Rounding(mode=value.get("rounding", "rne"), random_bits=value.get("random_bits", 0)),
            overflow=value.get("overflow", default.overflow),
        )
    except ValueError as error:
        raise ValueError(f"{field}.{error}") from error


def read_memory(field: str, value: object) -> Memory:
    if not isinstance(value, dict):
        raise ValueError(f"{field} must be a table, not {value!r}")
    check_keys(f"key of {field}", value, [f.name for f in fields(Memory)])
    try:
        return Memory(**value)
    except ValueError as error:
        raise ValueError(f"{field}.{error}") from error
