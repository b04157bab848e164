"""Sequences of commands on the accelerator's RTL, held against golden's results and sim's cycles."""

from typing import Any, NamedTuple

import numpy as np

from quaver.cosim.accelerator_runs import Play, Work
from quaver.cosim.checks import Check, check
from quaver.cosim.simulator import Model
from quaver.golden import Accelerator, Machine, Matmul, Results
from quaver.golden.commands import Command
from quaver.host import beats
from quaver.sim.sequence import sequence_cycles


class SequenceCase(NamedTuple):
    """Commands that are queued together, and how the channels behave."""

    work: list[Work]
    hesitation: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    """Probabilities with which the streams a, b and results and the registers' channels idle or are not ready."""
    reset: bool = True
    """Whether the machine is reset before."""

    @property
    def flows(self) -> bool:
        """Whether streams are always ready, so that the cycles are those of the contract."""
        return not any(self.hesitation[:3]) and all(isinstance(work.command, Matmul) for work in self.work)


class _Places(NamedTuple):
    """Where a sequence's answers are in the log."""

    issued: list[int]
    packets: int
    updates: int
    quiet: int
    status: int
    completed: int
    counters: int
    reports: list[int]


def check_sequences(model: Model, machine: Machine, cases: list[SequenceCase], seed: int) -> list[Check]:
    """Sequences on a model of `Accelerator(machine)`: results, reports, states, and cycles where they are stated."""
    play = Play(machine)
    places = [_play(play, case) for case in cases]
    log, results, updated = play.run(model, seed=seed)
    found, expected = _Findings(machine), Accelerator(machine)
    remaining, moved, completed = iter(results), iter(updated), 0
    for number, (case, at) in enumerate(zip(cases, places, strict=True)):
        if case.reset:
            expected, completed = Accelerator(machine), 0
        completed += len(case.work)
        outcomes = [(work.command, expected.run(*work)) for work in case.work]
        found.number = number
        found.take_results(outcomes, [next(remaining) for _ in range(log[at.packets])])
        found.take_updates([outcome for _, outcome in outcomes], [next(moved) for _ in range(log[at.updates])])
        found.take_reports(outcomes, [log[i] for i in at.reports])
        found.take_state(
            {"commands taken": all(log[i] for i in at.issued), "quiet at the end": log[at.quiet]},
            {"completed": log[at.completed], "status": log[at.status]},
            {"completed": completed, "status": _status([outcome for _, outcome in outcomes])},
        )
        if case.flows:
            found.take_cycles(log[at.counters], [work.command for work in case.work])
    return found.checks()


def _play(play: Play, case: SequenceCase) -> _Places:
    if case.reset:
        play.do("reset")
    play.do("hesitate", *case.hesitation)
    play.do("hold", True)
    play.do("clear")
    for work in case.work:
        play.send_operands(work)
    issued = [play.issue(work.command) for work in case.work]
    play.do("hold", False)
    reports = [
        place
        for work in case.work
        if isinstance(work.command, Matmul) and work.command.report
        for place in [play.do("next_report")]
    ]
    play.do("idle")
    return _Places(
        issued=issued,
        packets=play.do("take", "results"),
        updates=play.do("take", "updated"),
        quiet=play.do("quiet", play.machine.latency + 50),
        status=play.do("status"),
        completed=play.do("completed"),
        counters=play.do("counters"),
        reports=reports,
    )


def _status(outcomes: list[Results]) -> list[str]:
    """Names of the bits that outcomes set."""
    statistics = [outcome.statistics for outcome in outcomes if outcome.statistics]
    bits = {
        "done": bool(outcomes),
        "nan": any(outcome.nan for outcome in outcomes),
        "overflow": any(part.overflows for part in statistics),
    }
    return sorted(name for name, on in bits.items() if on)


class _Findings:
    """Comparisons as they come in, and what differed."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine.exchanged if machine.dataflow == "is" else machine
        self.number = 0
        names = ("results", "updates", "reports", "states at the end", "sequence cycles")
        self._compared: dict[str, list[tuple[bool, str]]] = {name: [] for name in names}

    def _compare(self, name: str, got: object, expected: object, what: str) -> None:
        text = f"sequence {self.number}, {what}: expected {expected}, got {got}"
        self._compared[name].append((got == expected, text))

    def take_results(self, outcomes: list[tuple[Command, Results]], packets: list[bytes]) -> None:
        """Packets of results, one for each command that has any."""
        results = [(command, outcome.codes) for command, outcome in outcomes if outcome.codes is not None]
        for index, (command, codes) in enumerate(results):
            try:
                got = beats.results(self.machine, command, packets[index])  # type: ignore[arg-type]
            except (IndexError, ValueError) as error:
                got, codes = np.zeros(codes.shape, object), np.full(codes.shape, f"a result ({error})")
            for (row, column), code in np.ndenumerate(codes):
                what = f"y[{row}, {column}] of {command}"
                self._compare("results", got[row, column], code, what)
        self._compare("states at the end", len(packets), len(results), "packets of results")

    def take_updates(self, outcomes: list[Results], packets: list[bytes]) -> None:
        """Packets of updated weights and velocities, one for each update."""
        updates = [outcome for outcome in outcomes if outcome.weights is not None]
        for outcome, packet in zip(updates, packets, strict=False):
            weights, velocities = beats.updated(self.machine, packet)
            for name, got, expected in (
                ("weight", weights, outcome.weights),
                ("velocity", velocities, outcome.velocities),
            ):
                assert expected is not None
                self._compare("updates", got.shape, expected.shape, "shape of an update")
                for (beat, lane), code in np.ndenumerate(expected if got.shape == expected.shape else ()):
                    self._compare("updates", got[beat, lane], code, f"{name} of beat {beat}, lane {lane}")
        self._compare("states at the end", len(packets), len(updates), "packets of updates")

    def take_reports(self, outcomes: list[tuple[Command, Results]], got: list[dict[str, int]]) -> None:
        """Reports, one for each command that asks for one."""
        expected = [outcome.report for _, outcome in outcomes if outcome.report is not None]
        for report, statistics in zip(got, expected, strict=True):
            for name, value in report.items():
                self._compare("reports", value, getattr(statistics, name), name)

    def take_state(self, flags: dict[str, bool], got: dict[str, object], expected: dict[str, object]) -> None:
        """What the registers and channels say at the end."""
        for name, flag in flags.items():
            self._compare("states at the end", flag, True, name)
        self._compare("states at the end", got, expected, "registers")

    def take_cycles(self, counters: dict[str, int], commands: list[Any]) -> None:
        """The counter of busy cycles against the simulator."""
        self._compare("sequence cycles", counters["busy"], sequence_cycles(self.machine, commands), "cycles")

    def checks(self) -> list[Check]:
        """A check for each kind of comparison."""

        def check_of(name: str, pairs: list[tuple[bool, str]]) -> Check:
            return check(name, np.array([same for same, _ in pairs], bool), lambda i: pairs[i][1])

        return [check_of(name, pairs) for name, pairs in self._compared.items()]
