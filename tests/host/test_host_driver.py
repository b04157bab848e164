"""The driver against a bus in Python that remembers: words, names, signs, and what it does when it is refused."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from quaver.golden import PRESETS
from quaver.golden.catalog import BF16
from quaver.golden.commands import Matmul, Reseed, Update
from quaver.golden.output import LOG2_NONE, OutputStatistics
from quaver.golden.s2fp8_fixed import PowerRegisters
from quaver.host.driver import Driver, Refused, WrongMachine, command_words
from quaver.host.registers import COUNTERS, IDENTITY, INTERFACE, STATUS_BITS, register_map

TINY = PRESETS["tiny"]
MAP = register_map(TINY)
T = TypeVar("T")


class Memory:
    """A bus with a word at every register, by name; it refuses accesses to anything else, and to `refusing`."""

    def __init__(self) -> None:
        self.words = {name: register.constant or 0 for name, register in MAP.items()}
        self.written: list[tuple[str, int]] = []
        self.read_names: list[str] = []
        self.refusing: set[str] = set()
        self._names = {register.offset: name for name, register in MAP.items()}

    async def read(self, address: int) -> int:
        self.read_names.append(self._name(address))
        return self.words[self._name(address)]

    async def write(self, address: int, word: int) -> None:
        assert 0 <= word < 1 << 32
        self.words[self._name(address)] = word
        self.written.append((self._name(address), word))

    def _name(self, address: int) -> str:
        if address not in self._names or self._names[address] in self.refusing:
            raise Refused(f"{address:#x}")
        return self._names[address]


@pytest.fixture
def bus() -> Memory:
    return Memory()


@pytest.fixture
def driver(bus: Memory) -> Driver:
    return Driver(TINY, bus)


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


MATMUL = Matmul(
    rows=3, columns=4, tiles=5, depth=2, b_format=1, target=2, scale=-3, stochastic=True, report=True, keep=True
)
WORDS = {
    "COMMAND_ROWS": 3,
    "COMMAND_TILES": 5,
    "COMMAND_SHAPE": 0x0002_0004,
    "COMMAND_RESULT": 0x03FD_0052,
    "COMMAND_ISSUE": 0x0010_0701,
}


def test_words_of_commands() -> None:
    """By hand, from the register map's page."""
    assert command_words(MAP, MATMUL) == WORDS
    other = Matmul(
        rows=1 << 16, columns=1, tiles=(1 << 24) - 1, depth=1, first=False, last=False, transposed=True, a_format=1
    )
    assert command_words(MAP, replace(other, saturate=True, scale=511)) == {
        "COMMAND_ROWS": 0x1_0000,
        "COMMAND_TILES": 0xFF_FFFF,
        "COMMAND_SHAPE": 0x0001_0001,
        "COMMAND_RESULT": 0x01FF_0020,
        "COMMAND_ISSUE": 0x0001_0801,
    }
    assert command_words(MAP, Reseed(seed=0xFFFFFFFF)) == {"COMMAND_ROWS": 0xFFFFFFFF, "COMMAND_ISSUE": 2}
    assert command_words(MAP, Update(beats=7, rate=0x1234, momentum=0x5678, decay=0x9ABC)) == {
        "COMMAND_ROWS": 7,
        "COMMAND_TILES": 0x1234,
        "COMMAND_SHAPE": 0x9ABC_5678,
        "COMMAND_ISSUE": 3,
    }


def test_words_of_power_laws() -> None:
    """Two registers each, of a machine that has them: 0 is the factor of none."""
    registers = register_map(replace(TINY, s2fp8=True, a_formats=(BF16,), b_formats=(BF16,)))
    command = Matmul(rows=1, columns=1, tiles=1, depth=1, b_power=PowerRegisters(3, -1), squeeze=PowerRegisters(5, 6))
    words = command_words(registers, command)
    assert {name: word for name, word in words.items() if name.endswith(("FACTOR", "OFFSET"))} == {
        **{"COMMAND_A_FACTOR": 0, "COMMAND_A_OFFSET": 0},
        **{"COMMAND_B_FACTOR": 3, "COMMAND_B_OFFSET": 0xFFFF_FFFF},
        **{"COMMAND_SQUEEZE_FACTOR": 5, "COMMAND_SQUEEZE_OFFSET": 6},
    }
    assert list(words)[-1] == "COMMAND_ISSUE"


def test_words_that_stay_are_written_once(driver: Driver, bus: Memory) -> None:
    run(driver.issue(MATMUL))
    assert bus.written == list(WORDS.items())
    bus.written.clear()
    run(driver.issue(MATMUL))
    assert bus.written == [("COMMAND_ISSUE", WORDS["COMMAND_ISSUE"])]
    bus.written.clear()
    run(driver.issue(Reseed(seed=9)))
    run(driver.issue(MATMUL))
    assert bus.written == [
        ("COMMAND_ROWS", 9),
        ("COMMAND_ISSUE", 2),
        ("COMMAND_ROWS", 3),
        ("COMMAND_ISSUE", WORDS["COMMAND_ISSUE"]),
    ]


def test_a_refused_command(driver: Driver, bus: Memory) -> None:
    bus.refusing.add("COMMAND_ISSUE")
    with pytest.raises(Refused, match=r"^0x90$"):
        run(driver.issue(MATMUL))
    bus.refusing.clear()
    bus.written.clear()
    run(driver.issue(MATMUL))
    assert bus.written == [("COMMAND_ISSUE", WORDS["COMMAND_ISSUE"])]


def test_identity(driver: Driver) -> None:
    run(driver.check_identity())


@pytest.mark.parametrize(
    ("name", "word", "found"),
    [
        ("IDENTITY", 1, (1, INTERFACE, TINY.digest)),
        ("INTERFACE", 7, (IDENTITY, 7, TINY.digest)),
        ("MACHINE_LOW", 0x12, (IDENTITY, INTERFACE, f"{TINY.digest[:8]}00000012")),
        ("MACHINE_HIGH", 0x12, (IDENTITY, INTERFACE, f"00000012{TINY.digest[8:]}")),
    ],
)
def test_another_machine(name: str, word: int, found: tuple[int, int, str], driver: Driver, bus: Memory) -> None:
    bus.words[name] = word
    with pytest.raises(WrongMachine) as caught:
        run(driver.check_identity())
    expected = (IDENTITY, INTERFACE, TINY.digest)
    assert str(caught.value) == f"identity, interface and hash must be {expected}, not {found}"


def test_status(driver: Driver, bus: Memory) -> None:
    assert run(driver.status()) == set()
    for bit, name in enumerate(STATUS_BITS):
        bus.words["STATUS"] = 1 << bit
        assert run(driver.status()) == {name}
    bus.words["STATUS"] = 0b11
    assert run(driver.status()) == {"done", "malformed"}
    run(driver.clear_status())
    run(driver.clear_status("refused", "done"))
    assert bus.written == [("STATUS", (1 << len(STATUS_BITS)) - 1), ("STATUS", 0b101)]
    assert len(STATUS_BITS) > 8


def test_interrupts(driver: Driver, bus: Memory) -> None:
    run(driver.enable_interrupt("done", "refused"))
    run(driver.enable_interrupt())
    assert bus.written == [("INTERRUPT", 0b101), ("INTERRUPT", 0)]


def test_activity(driver: Driver, bus: Memory) -> None:
    bus.words["ACTIVITY"] = 0x8003_0010
    assert (run(driver.room()), run(driver.busy())) == (16, True)
    bus.words["ACTIVITY"] = 0x0003_0000
    assert (run(driver.room()), run(driver.busy())) == (0, False)
    bus.words["COMPLETED"] = 0xFFFFFFFF
    assert run(driver.completed()) == 0xFFFFFFFF


def test_orders_keep_the_queue_held(driver: Driver, bus: Memory) -> None:
    run(driver.clear_counters())
    run(driver.hold())
    run(driver.reset())
    run(driver.clear_counters())
    run(driver.hold(False))
    run(driver.reset())
    assert [word for _, word in bus.written] == [0b100, 0b001, 0b011, 0b101, 0b000, 0b010]
    assert {name for name, _ in bus.written} == {"CONTROL"}


def test_counters(driver: Driver, bus: Memory) -> None:
    for index, name in enumerate(COUNTERS):
        bus.words[f"COUNT_{name.upper()}_LOW"] = 0x8000_0000 + index
        bus.words[f"COUNT_{name.upper()}_HIGH"] = index
    assert run(driver.counters()) == {name: (i << 32) + 0x8000_0000 + i for i, name in enumerate(COUNTERS)}
    # The low word latches the high one, which must therefore be the next to be read.
    expected = [f"COUNT_{name.upper()}_{part}" for name in COUNTERS for part in ("LOW", "HIGH")]
    assert bus.read_names == expected


def test_no_report(driver: Driver, bus: Memory) -> None:
    assert run(driver.report()) is None
    assert not bus.written


def test_a_report(driver: Driver, bus: Memory) -> None:
    """Logarithms are signed, 64 and 32 bits wide; all else is not."""
    bus.words["ACTIVITY"] = MAP["ACTIVITY"]["reports"].put(1)
    bus.words |= {
        "REPORT_AMAX": 0x8000_0001,
        "REPORT_NONZEROS": 0xFFFF_FFFF,
        "REPORT_OVERFLOWS": 1,
        "REPORT_UNDERFLOWS": 2,
        "REPORT_NANS": 3,
        "REPORT_LOG2_SUM_LOW": 0xFFFF_FFFE,
        "REPORT_LOG2_SUM_HIGH": 0xFFFF_FFFF,
        "REPORT_LOG2_MAX": 0x8000_0000,
    }
    assert run(driver.report()) == OutputStatistics(
        amax=0x8000_0001, nonzeros=0xFFFF_FFFF, overflows=1, underflows=2, nans=3, log2_sum=-2, log2_max=LOG2_NONE
    )
    assert bus.written == [("REPORT_NEXT", 1)]
    bus.words |= {"REPORT_LOG2_SUM_HIGH": 0x7FFF_FFFF, "REPORT_LOG2_MAX": 0x7FFF_FFFF}
    report = run(driver.report())
    assert report is not None
    assert (report.log2_sum, report.log2_max) == ((1 << 63) - 2, (1 << 31) - 1)


def test_registers_by_name(driver: Driver, bus: Memory) -> None:
    run(driver.write("COMMAND_ROWS", 5))
    assert run(driver.read("COMMAND_ROWS")) == 5
    with pytest.raises(KeyError):
        run(driver.read("NOWHERE"))


def test_a_reset_that_flushes_flushes_on(driver: Driver, bus: Memory) -> None:
    run(driver.reset(flush=True))
    run(driver.clear_counters())
    run(driver.flush(False))
    run(driver.flush())
    run(driver.reset())
    assert bus.written == [("CONTROL", word) for word in (0b1010, 0b1100, 0, 0b1000, 0b0010)]
