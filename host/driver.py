"""The host's side of the machine: commands and status over AXI4-Lite, whatever carries them."""

from dataclasses import asdict
from typing import Protocol

from quaver.golden import Machine
from quaver.golden.commands import Command, Matmul, Reseed, Update
from quaver.golden.output import OutputStatistics
from quaver.host.registers import COUNTERS, IDENTITY, INTERFACE, OPCODES, REPORT, STATUS_BITS, Register, register_map


class Bus(Protocol):
    """Access to the registers, 32 bits at a time; a refused access raises `Refused`."""

    async def read(self, address: int) -> int:
        """The word at `address`."""
        ...

    async def write(self, address: int, word: int) -> None:
        """Write `word` to `address`."""
        ...


class Refused(Exception):
    """The machine answered an access with an error."""


class WrongMachine(Exception):
    """What is behind the bus is not the machine that it was taken for."""


class Driver:
    """What a program does with the machine.  Operands and results go by the streams, past the driver.

    Raises
    ------
    Refused
        By any of the methods, if the machine answers with an error.
    """

    def __init__(self, machine: Machine, bus: Bus) -> None:
        self.machine = machine
        self._bus = bus
        self._map = register_map(machine)
        self._written: dict[str, int] = {}
        self._held = self._flushing = False

    async def read(self, name: str) -> int:
        """The word in a register."""
        return await self._bus.read(self._map[name].offset)

    async def write(self, name: str, word: int) -> None:
        """Write a register."""
        await self._bus.write(self._map[name].offset, word)
        self._written[name] = word

    async def check_identity(self) -> None:
        """Raise WrongMachine unless identity, interface and description are those expected."""
        digest = await self.read("MACHINE_LOW") | await self.read("MACHINE_HIGH") << 32
        found = (await self.read("IDENTITY"), await self.read("INTERFACE"), f"{digest:016x}")
        expected = (IDENTITY, INTERFACE, self.machine.digest)
        if found != expected:
            raise WrongMachine(f"identity, interface and hash must be {expected}, not {found}")

    async def issue(self, command: Command) -> None:
        """Queue a command; words that have not changed since the last one are not written again."""
        for name, word in command_words(self._map, command).items():
            if name == "COMMAND_ISSUE" or self._written.get(name) != word:
                await self.write(name, word)

    async def room(self) -> int:
        """Commands that can be queued."""
        return self._map["ACTIVITY"]["free"].get(await self.read("ACTIVITY"))

    async def busy(self) -> bool:
        """Whether a command is queued or under way."""
        return bool(self._map["ACTIVITY"]["busy"].get(await self.read("ACTIVITY")))

    async def completed(self) -> int:
        """Commands completed since reset, mod 2^32."""
        return await self.read("COMPLETED")

    async def hold(self, on: bool = True) -> None:
        """Let queued commands wait, or let them go."""
        self._held = on
        await self._control()

    async def reset(self, *, flush: bool = False) -> None:
        """Start anew, with the seeds of the machine's description; drops what is queued and under way.

        `flush`: and what the operand streams bring until `flush(False)`.
        """
        self._flushing = flush
        await self._control("reset")

    async def flush(self, on: bool = True) -> None:
        """Drop what the operand streams bring, or take the next beat of each as the first one of a packet."""
        self._flushing = on
        await self._control()

    async def status(self) -> set[str]:
        """Names of the sticky bits that are set."""
        return _named(self._map["STATUS"], await self.read("STATUS"))

    async def clear_status(self, *names: str) -> None:
        """Clear sticky bits, by default all."""
        await self.write("STATUS", _bits(self._map["STATUS"], names or tuple(STATUS_BITS)))

    async def enable_interrupt(self, *names: str) -> None:
        """Raise `irq` while one of these bits is set in the status, and for no other."""
        await self.write("INTERRUPT", _bits(self._map["INTERRUPT"], names))

    async def clear_counters(self) -> None:
        """Let the performance counters start from 0."""
        await self._control("clear")

    async def counters(self) -> dict[str, int]:
        """The performance counters."""
        return {
            name: await self.read(f"COUNT_{name.upper()}_LOW") | await self.read(f"COUNT_{name.upper()}_HIGH") << 32
            for name in COUNTERS
        }

    async def report(self) -> OutputStatistics | None:
        """The oldest report of statistics that was not read yet; None if there is none."""
        if not self._map["ACTIVITY"]["reports"].get(await self.read("ACTIVITY")):
            return None
        values = {}
        for name, (width, signed, _) in REPORT.items():
            register = f"REPORT_{name.upper()}"
            if width == 64:
                value = await self.read(f"{register}_LOW") | await self.read(f"{register}_HIGH") << 32
            else:
                value = await self.read(register)
            values[name] = value - (1 << width) if signed and value >> (width - 1) else value
        await self.write("REPORT_NEXT", 1)
        return OutputStatistics(**values)

    async def _control(self, *orders: str) -> None:
        control = self._map["CONTROL"]
        settings = control["hold"].put(self._held) | control["flush"].put(self._flushing)
        await self.write("CONTROL", settings | _bits(control, orders))


def command_words(registers: dict[str, Register], command: Command) -> dict[str, int]:
    """The words that issue a command, by the names of their registers; the one that issues it comes last."""
    issue = registers["COMMAND_ISSUE"]
    if isinstance(command, Reseed):
        return {"COMMAND_ROWS": command.seed, issue.name: issue["opcode"].put(OPCODES["reseed"])}
    return _update_words(registers, command) if isinstance(command, Update) else _matmul_words(registers, command)


def _update_words(registers: dict[str, Register], command: Update) -> dict[str, int]:
    shape, issue = registers["COMMAND_SHAPE"], registers["COMMAND_ISSUE"]
    return {
        "COMMAND_ROWS": command.beats,
        "COMMAND_TILES": command.rate,
        "COMMAND_SHAPE": shape["columns"].put(command.momentum) | shape["depth"].put(command.decay),
        issue.name: issue["opcode"].put(OPCODES["update"]),
    }


def _matmul_words(registers: dict[str, Register], command: Matmul) -> dict[str, int]:
    members = {**asdict(command), "opcode": OPCODES["matmul"]}
    words = {"COMMAND_ROWS": command.rows, "COMMAND_TILES": command.tiles}
    for law, power in (("A", command.a_power), ("B", command.b_power), ("SQUEEZE", command.squeeze)):
        if f"COMMAND_{law}_FACTOR" in registers:
            factor, offset = power or (0, 0)
            words |= {f"COMMAND_{law}_FACTOR": factor, f"COMMAND_{law}_OFFSET": offset & 0xFFFFFFFF}
    for name in ("COMMAND_SHAPE", "COMMAND_RESULT", "COMMAND_ISSUE"):
        words[name] = sum(field.put(int(members[field.name])) for field in registers[name].fields)
    return words


def _named(register: Register, word: int) -> set[str]:
    return {field.name for field in register.fields if field.get(word)}


def _bits(register: Register, names: tuple[str, ...]) -> int:
    return sum(register[name].put(1) for name in names)
