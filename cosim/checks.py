"""What a comparison found."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

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

    def __add__(self, later: "Check") -> "Check":
        """Both comparisons of a kind as one."""
        return Check(
            name=self.name,
            compared=self.compared + later.compared,
            mismatches=self.mismatches + later.mismatches,
            first=self.first or later.first,
        )


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was compared; nothing passes that compared nothing."""

    machine: str
    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return bool(self.checks) and all(check.compared and not check.mismatches for check in self.checks)

    @property
    def first_mismatch(self) -> str | None:
        """The first difference of the first check that has one."""
        return next((check.first for check in self.checks if check.first), None)

    def to_dict(self, **origin: object) -> dict[str, Any]:
        """The report as `--json` prints it; `origin` is what it is about, beside the machine."""
        checks = [{"name": c.name, "compared": c.compared, "mismatches": c.mismatches} for c in self.checks]
        return {"machine": self.machine, **origin, "checks": checks, "passed": self.passed}


def check(name: str, same: NDArray[np.bool_], describe: Callable[[int], str]) -> Check:
    """`same` by place; `describe` tells what differs at one."""
    wrong = np.flatnonzero(~same)
    first = f"{name}: {describe(int(wrong[0]))}" if len(wrong) else None
    return Check(name=name, compared=len(same), mismatches=len(wrong), first=first)
