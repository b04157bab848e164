"""What is counted part by part, and added up part by part: cycles, bytes, energy."""

from dataclasses import dataclass, fields
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Numbers of one unit, each with a field of its own."""

    def __add__(self, other: Self) -> Self:
        return type(self)(**{name: part + getattr(other, name) for name, part in self.to_dict().items()})

    def times(self, count: int) -> Self:
        """As much of each."""
        return type(self)(**{name: count * part for name, part in self.to_dict().items()})

    def to_dict(self) -> dict[str, Any]:
        """The parts by their names, as JSON has them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
