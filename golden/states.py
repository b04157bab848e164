"""States that training carries from step to step: immutable, and plain data on request."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from quaver.golden.errors import check_choice


@dataclass(frozen=True, kw_only=True)
class State:
    """Base of a frozen state whose fields are numbers, strings and tuples of them.

    JSON keeps every float64, so that training resumes with the same bits.
    """

    def to_dict(self) -> dict[str, object]:
        """The state as JSON would give it back; `kind` is the name of the class."""
        plain = {f.name: _listed(getattr(self, f.name)) for f in fields(self)}
        return {"kind": type(self).__name__} | plain

    @classmethod
    def from_dict(cls, table: Mapping[str, object]) -> Self:
        """The state that `to_dict` wrote.

        Raises
        ------
        ValueError
            For another kind, an unknown or a missing key, or a bad value, with the key in the message.
        """
        check_choice("kind", table.get("kind"), [cls.__name__])
        names = [f.name for f in fields(cls)]
        for key in table:
            check_choice(f"key of {cls.__name__}", key, ["kind", *names])
        for name in names:
            if name not in table:
                raise ValueError(f"{name} of {cls.__name__} is missing")
        return cls(**{name: _tupled(table[name]) for name in names})


def _listed(value: object) -> object:
    if isinstance(value, tuple):
        return [_listed(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value


def _tupled(value: object) -> object:
    return tuple(_tupled(v) for v in value) if isinstance(value, list) else value
