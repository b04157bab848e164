"""Sequences of commands on the RTL of the whole accelerator, and what golden and sim make of them."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quaver.cosim.simulator import Model
from quaver.golden import Machine
from quaver.golden.commands import Command, Matmul
from quaver.host import beats

Step = tuple[str, tuple[Any, ...], dict[str, Any]]
KINDS = {"Matmul": "matmul", "Reseed": "reseed", "Update": "update"}


class Work(NamedTuple):
    """A command with its operands, codes of shape (rows, products) and (products, columns), as far as it takes any."""

    command: Command
    a: NDArray | None = None
    b: NDArray | None = None
    elements: NDArray | None = None
    """Of an update: weights, velocities and gradients, shape (3, beats, lanes)."""


@dataclass
class Play:
    """A script for `quaver.cosim.bench_accelerator` that grows step by step; `run` gives each step's value."""

    machine: Machine
    steps: list[Step] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)

    def do(self, name: str, *arguments: object, **members: object) -> int:
        """Add a step; returns its place in the log."""
        self.steps.append((name, arguments, members))
        return len(self.steps) - 1

    def send(self, port: str, packet: NDArray[np.uint8] | bytes) -> None:
        """Send a packet."""
        self.packets.append(bytes(packet) if isinstance(packet, bytes) else packet.tobytes())
        self.do("send", port, len(self.packets) - 1)

    def send_operands(self, work: Work) -> None:
        """Send the packets of a command's operands."""
        if work.elements is not None:
            self.send("u", beats.update_packet(self.machine, work.elements))
        if isinstance(work.command, Matmul):
            machine = self.machine.exchanged if self.machine.dataflow == "is" else self.machine
            if work.a is not None:
                self.send("a", beats.a_packet(machine, work.command, work.a))
            if work.b is not None:
                self.send("b", beats.b_packet(machine, work.command, work.b))

    def issue(self, command: Command, *, patient: bool = True) -> int:
        """Queue a command, `patient`: when there is room."""
        return self.do("issue" if patient else "push", KINDS[type(command).__name__], **asdict(command))

    def run(self, model: Model, *, seed: int = 0, timeout: int = 100_000) -> "Played":
        """Play the script on a model of the machine's accelerator."""
        record = model.run(
            "bench_accelerator",
            {
                "machine": json.dumps(self.machine.to_dict()),
                "script": json.dumps(self.steps),
                "packets": np.frombuffer(b"".join(self.packets), np.uint8),
                "lengths": np.array([len(packet) for packet in self.packets], np.int64),
                "seed": seed,
                "timeout": timeout,
            },
        )
        results, updated = (_packets(record[name], record[f"{name}_lengths"]) for name in ("results", "updated"))
        return Played(json.loads(str(record["log"])), results, updated)


class Played(NamedTuple):
    """What a script found out."""

    log: list[Any]
    """The value of each step."""
    results: list[bytes]
    """Packets of results."""
    updated: list[bytes]
    """Packets of updated weights and velocities."""


def _packets(everything: NDArray[np.uint8], lengths: NDArray[np.int64]) -> list[bytes]:
    ends = np.cumsum(lengths).tolist()
    return [everything[start:end].tobytes() for start, end in zip([0, *ends], ends, strict=False)]
