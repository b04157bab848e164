"""A script for the accelerator's bench of which golden says, step by step, what it must find out."""

from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quaver.cosim.accelerator_runs import Play, Work
from quaver.cosim.command_cases import command_sequence
from quaver.cosim.simulator import Model
from quaver.golden import Accelerator, Machine, Results
from quaver.golden.commands import Command, Matmul, Reseed
from quaver.host import beats


class Found(NamedTuple):
    """What became of the expectations."""

    compared: int
    """Steps and packets compared."""
    differences: list[str]
    log: list[Any]
    """The value of each step."""


class Expectations:
    """A play that grows with what it must find; golden executes each command when it is issued."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine.exchanged if machine.dataflow == "is" else machine
        self.play = Play(machine)
        self._expected: list[tuple[int, object, str]] = []
        self._packets: dict[str, list[bytes]] = {"results": [], "updated": []}
        self._described = machine
        self.start_anew()

    def start_anew(self) -> None:
        """From here on the machine is as after a reset."""
        self.golden = Accelerator(self._described)
        self.completed = 0
        self.status: set[str] = set()
        self.open: Matmul | None = None
        self.kept: Matmul | None = None
        self._coming: dict[str, list[bytes]] = {"results": [], "updated": []}
        self._reports: list[dict[str, int]] = []

    def do(self, name: str, *arguments: object, **members: object) -> int:
        """A step without an expectation; returns its place in the log."""
        return self.play.do(name, *arguments, **members)

    def expect(self, value: object, name: str, *arguments: object, **members: object) -> None:
        """A step that must find `value`."""
        place = self.play.do(name, *arguments, **members)
        self._expected.append((place, value, f"step {place}, {name}{arguments or ''}{members or ''}"))

    def take(self, work: Work, *, send: bool = True) -> None:
        """A command that the machine takes; `send`: with its packets."""
        if send:
            self.play.send_operands(work)
        self._granted(True, work.command, "issue")
        self.execute(work)

    def refuse(self, command: Command, bit: str) -> None:
        """A command that the machine does not take, with the bit that says why."""
        self._granted(False, command, "push")
        self.status.add(bit)

    def execute(self, work: Work) -> None:
        """What follows from a command that the machine has taken."""
        outcome = self.golden.run(*work)
        self.completed += 1
        command = work.command
        if isinstance(command, Reseed):
            self.open = None
        elif isinstance(command, Matmul) and not command.empty:
            self.open = None if command.last else command
            self.kept = command if command.keep else None
        self.status |= {"done"} | ({"nan"} if outcome.nan else set())
        if outcome.statistics is not None and outcome.statistics.overflows:
            self.status.add("overflow")
        if outcome.report is not None:
            self._reports.append(asdict(outcome.report))
        for name, packet in _packets(self.machine, work.command, outcome).items():
            self._coming[name].append(packet)

    def follow(self, rng: np.random.Generator, count: int = 1) -> None:
        """Random commands that the machine takes with their packets, and all that they bring about."""
        for work in command_sequence(rng, self.play.machine, count):
            self.take(work)
        self.settle()

    def settle(self, *, waiting: bool = False) -> None:
        """All commands complete, with reports, packets and bits of the status, and nothing else; these are cleared.

        `waiting`: there are packets for commands to come, and they are still there.
        """
        for report in self._reports:
            self.expect(report, "next_report")
        self._reports.clear()
        self.do("idle")
        for name, packets in self._coming.items():
            self.expect(len(packets), "take", name)
            self._packets[name] += packets
            packets.clear()
        self.expect(not waiting, "quiet", 8)
        self.expect(sorted(self.status), "status")
        self.expect(self.completed, "completed")
        self.do("clear")
        self.status.clear()

    def run(self, model: Model, *, seed: int = 0, timeout: int = 3000) -> Found:
        """Play it."""
        played = self.play.run(model, seed=seed, timeout=timeout)
        pairs = [(played.log[place], value, what) for place, value, what in self._expected]
        for name, got, expected in (
            ("results", played.results, self._packets["results"]),
            ("updated", played.updated, self._packets["updated"]),
        ):
            pairs.append((len(got), len(expected), f"packets of {name}"))
            for index, (packet, other) in enumerate(zip(got, expected, strict=False)):
                pairs.append((packet.hex(), other.hex(), f"packet {index} of {name}"))
        differences = [f"{what}: expected {value}, got {got}" for got, value, what in pairs if got != value]
        return Found(len(pairs), differences, played.log)

    def _granted(self, value: bool, command: Command, how: str) -> None:
        place = self.play.issue(command, patient=how == "issue")
        self._expected.append((place, value, f"step {place}, {how} {command}"))


def packets(machine: Machine, work: Work) -> dict[str, NDArray[np.uint8]]:
    """The packets of a command by their ports, one row per beat."""
    if work.elements is not None:
        return {"u": beats.update_packet(machine, work.elements)}
    assert isinstance(work.command, Matmul) and work.a is not None and work.b is not None
    return {"a": beats.a_packet(machine, work.command, work.a), "b": beats.b_packet(machine, work.command, work.b)}


def cut(machine: Machine, work: Work, port: str, count: int) -> Work:
    """`work` with zeros in place of the operands of `port` (`a`, `b`, `u`) that come after its first `count` beats."""
    command = work.command
    if work.elements is not None:
        kept = np.arange(work.elements.shape[1]) < count
        return work._replace(elements=np.where(kept[:, None], work.elements, 0))
    assert isinstance(command, Matmul) and work.a is not None and work.b is not None
    if port == "a":
        row, product = np.indices(work.a.shape)
        if machine.dataflow == "os":
            beat = product * machine.interleave + row % machine.interleave
        else:
            beat = product // machine.rows * command.rows + row
        return work._replace(a=np.where(beat < count, work.a, 0))
    product, column = np.indices(work.b.shape)
    rows = machine.dataflow == "os" or command.transposed
    beat = product if rows else product // machine.rows * command.columns + column
    return work._replace(b=np.where(beat < count, work.b, 0))


def _packets(machine: Machine, command: Command, outcome: Results) -> dict[str, bytes]:
    packets = {}
    if outcome.codes is not None:
        assert isinstance(command, Matmul)
        packets["results"] = _packed(outcome.codes, machine.result_formats[command.target].bits)
    if outcome.weights is not None and outcome.velocities is not None:
        codes = np.concatenate([outcome.weights, outcome.velocities], axis=1)
        packets["updated"] = _packed(codes, machine.update.format.bits)
    return packets


def _packed(codes: NDArray[np.integer], bits: int) -> bytes:
    """Rows of codes as bytes, little end first, null bytes left out."""
    parts = codes.astype("<u8")[..., None].view(np.uint8)
    return parts[..., : -(-bits // 8)].tobytes()
