"""Values of the axes of a space: ranges spelled out, types checked, and machines made of them, as TOML has them."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cache
from math import isfinite

from quaver.golden import Machine
from quaver.golden.errors import check_choice

Table = dict[str, object]
"""A machine as a parsed TOML file describes it."""
VALUES_MAX = 1 << 16
_KINDS = {bool: "true or false", int: "an integer", float: "a finite number", str: "a string", list: "a list"}
_RANGE = ("from", "to", "step", "factor")


def flattened(table: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Keys of a table and of its tables, dotted, with their values; ranges are values."""
    for key, value in table.items():
        if isinstance(value, dict) and "from" not in value:
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def value_at(table: Mapping[str, object], key: str) -> object:
    """What a table has under a dotted key; None where it has nothing there."""
    value: object = table
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def with_value(table: Mapping[str, object], key: str, value: object) -> Table:
    """The table with another value under a dotted key; a table there keeps what the value, a table, does not name."""
    head, _, rest = key.partition(".")
    old = table.get(head)
    kept = old if isinstance(old, dict) else {}
    if rest:
        value = with_value(kept, rest, value)
    elif isinstance(value, dict):
        value = kept | value
    return {**table, head: value}


@cache
def machine_keys() -> dict[str, type]:
    """Types of all keys that a machine file can have, tables' ones dotted, its name excepted."""
    plain = Machine().to_dict()
    del plain["name"]
    return {key: type(value) for key, value in flattened(plain)}


def checked(key: str, value: object) -> object:
    """A value that a machine's key can have by its type; what is a number but need not be an integer becomes a float.

    Raises
    ------
    ValueError
        If there is no such key or if its values are of another type; the message names the key.
    """
    known = machine_keys()
    if isinstance(value, dict) and any(name.startswith(f"{key}.") for name in known):
        return {name: checked(f"{key}.{name}", part) for name, part in value.items()}
    if key == "inner":
        return _of_type(key, value, str)
    check_choice("key of machine", key, known)
    return _of_type(f"machine.{key}", value, known[key])


def _of_type(field: str, value: object, kind: type) -> object:
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind or (isinstance(value, float) and not isfinite(value)):
        raise ValueError(f"{field} must be {_KINDS[kind]}, not {value!r}")
    return value


def values_of(key: str, given: object) -> list[object]:
    """The values of an axis: those of a list or of a range, or a single one.

    Of a key whose value is a list itself, a list of lists has several values.

    Raises
    ------
    ValueError
        For an empty list, a value that comes twice, and a range that is none.
    """
    if isinstance(given, dict) and "from" in given:
        return _spelled_out(key, given)
    itself = machine_keys().get(key) is list and isinstance(given, list) and not any(isinstance(p, list) for p in given)
    values = list(given) if isinstance(given, list) and not itself else [given]
    if not values:
        raise ValueError(f"{key} must have at least one value, not []")
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{key} must have different values, not {value!r} twice")
    return values


def _spelled_out(key: str, given: dict[str, object]) -> list[object]:
    """Values of a range, both ends included; decimal fractions are what they say, not what a float makes of them."""
    for name in given:
        check_choice(f"key of {key}", name, _RANGE)
    if "to" not in given or ("step" in given) == ("factor" in given):
        raise ValueError(f"{key} must be a range with from, to and either step or factor, not {given!r}")
    for name, value in given.items():
        if type(value) not in (int, float) or not isfinite(value):  # type: ignore[arg-type]
            raise ValueError(f"{name} of {key} must be a finite number, not {value!r}")
    at, end = (Fraction(repr(given[name])) for name in ("from", "to"))
    step, factor = (Fraction(repr(given.get(name, neutral))) for name, neutral in (("step", 0), ("factor", 1)))
    if at > end or at * factor + step <= at:
        raise ValueError(f"{key} must be a range that rises from from to to, not {given!r}")
    whole = all(isinstance(value, int) for value in given.values())
    values: list[object] = []
    while at <= end:
        values.append(int(at) if whole else float(at))
        if len(values) > VALUES_MAX:
            raise ValueError(f"{key} must be a range of at most {VALUES_MAX} values, not {given!r}")
        at = at * factor + step
    return values
