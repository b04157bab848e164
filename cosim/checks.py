"""What a comparison found."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Check:
    """One kind of comparison."""

    name: str
    compared: int
    """Values compared."""
    mismatches: int
    first: str | None = None
    """The first difference: operands, expected, got."""


def check(name: str, same: NDArray[np.bool_], describe: Callable[[int], str]) -> Check:
    """`same` by place; `describe` tells what differs at one."""
    wrong = np.flatnonzero(~same)
    first = f"{name}: {describe(int(wrong[0]))}" if len(wrong) else None
    return Check(name=name, compared=len(same), mismatches=len(wrong), first=first)
