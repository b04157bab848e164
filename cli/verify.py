"""`quaver verify`: random cases, or the trace of a training run, through the RTL."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from typer import Exit

from quaver.cli.errors import UserError, checking_input, needing
from quaver.cli.json_output import print_json
from quaver.golden import PRESETS, Machine

if TYPE_CHECKING:
    from quaver.cosim.checks import Checked

CASES, SEED = 20_000, 0
"""What is taken where nothing is said."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of the command, as they were given."""

    machine: Machine | None
    cases: int | None
    seed: int | None
    trace: Path | None


def answer(asked: Asked, *, as_json: bool) -> None:
    """Verify and show."""
    report, against = _with_cases(asked) if asked.trace is None else _with_trace(asked, asked.trace)
    result = report.to_dict()
    if as_json:
        print_json(result)
    else:
        from quaver.cli.console import show
        from quaver.cli.report import checks_report

        show(*checks_report(result, against))
    if not report.passed:
        print(report.first_mismatch, file=sys.stderr)
        raise Exit(1)


def _with_cases(asked: Asked) -> "tuple[Checked, str]":
    """Verify with random cases; what was compared, and with what."""
    with needing("verify"):
        from quaver.cosim.verify import check_request, verify
    machine = asked.machine or PRESETS["tiny"]
    cases, seed = CASES if asked.cases is None else asked.cases, SEED if asked.seed is None else asked.seed
    with checking_input():
        check_request(cases=cases, seed=seed)
    from quaver.cli.console import progress

    with progress(f"verifying {machine.name}") as tell:
        return verify(machine, cases=cases, seed=seed, progress=tell), f"golden model and simulator, seed {seed}"


def _with_trace(asked: Asked, folder: Path) -> "tuple[Checked, str]":
    """Verify with a trace; likewise."""
    for option, given in (("cases", asked.cases), ("seed", asked.seed)):
        if given is not None:
            raise UserError(f"{option} must be left out with trace: nothing is random there")
    with needing("verify"):
        from quaver.cosim.replay import Replay
        from quaver.cosim.trace import Trace, TraceError
    with checking_input():
        replay = Replay.of(Trace.read(folder), asked.machine)
    from quaver.cli.console import progress

    try:
        with progress(f"verifying {replay.machine.name}") as tell:
            report = replay.run(tell)
    except TraceError as error:
        raise UserError(str(error)) from error
    size = f"{report.products:,} products, {report.macs:,} MACs, {report.cycles:,} cycles"
    return report, f"trace {folder}, golden model and simulator: {size}"
