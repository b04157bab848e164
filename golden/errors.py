"""Checks of what a user wrote, whose messages name the field and what it may be; and failures of foreign tools."""

from collections.abc import Iterable


class ToolError(RuntimeError):
    """A foreign program is missing or failed; the message ends with its own words."""


class Unsuitable(ValueError):
    """A machine cannot do what it is asked for; the message names the field that would have to change."""


def check_range(field: str, value: object, low: int, high: int) -> None:
    """Raise ValueError unless `value` is an integer in low..high."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{field} must be an integer in {low}..{high}, not {value!r}")


def check_choice(field: str, value: object, allowed: Iterable[object]) -> None:
    """Raise ValueError unless `value` is one of `allowed`."""
    options = list(allowed)
    if value not in options:
        shown = repr(value) if isinstance(value, str) else value  # what is no text has a name of its own
        raise ValueError(f"{field} must be one of {', '.join(map(str, options))}, not {shown}")
