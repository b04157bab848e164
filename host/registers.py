"""The register map: RTL, driver, documents and C header are made of this one table."""

from dataclasses import dataclass
from typing import Literal

from quaver.golden import Machine
from quaver.golden.s2fp8_fixed import FACTOR_FRACTION_BITS, OFFSET_FRACTION_BITS

Access = Literal["ro", "rw", "wo", "w1c"]
IDENTITY = 0x51554156
"""What `IDENTITY` reads: QUAV."""
INTERFACE = 1
"""Version of registers, commands and streams."""
ADDRESS_BITS = 12
"""Width of the register map's addresses."""
OPCODES = {"matmul": 1, "reseed": 2, "update": 3}
"""Member `opcode` of `COMMAND_ISSUE`."""


@dataclass(frozen=True, kw_only=True)
class Field:
    """Some bits of a register."""

    name: str
    low: int
    """Its lowest bit."""
    width: int = 1
    doc: str = ""
    signed: bool = False

    @property
    def mask(self) -> int:
        """Its bits, in place."""
        return ((1 << self.width) - 1) << self.low

    def put(self, value: int) -> int:
        """`value` in place."""
        return value << self.low & self.mask

    def get(self, word: int) -> int:
        """Its value in the register's `word`."""
        value = (word & self.mask) >> self.low
        return value - (1 << self.width) if self.signed and value >> (self.width - 1) else value


@dataclass(frozen=True, kw_only=True)
class Register:
    """32 bits at an address."""

    name: str
    offset: int
    """Bytes from the start of the map."""
    access: Access
    """`ro` read only, `rw` keeps what is written, `wo` a write has an effect, `w1c` a one clears a bit."""
    doc: str
    fields: tuple[Field, ...] = ()
    """The fields; a register without any is one number."""
    constant: int | None = None
    """What it always reads; None if it changes."""

    def __getitem__(self, name: str) -> Field:
        return next(field for field in self.fields if field.name == name)


STATUS_BITS = {
    "done": "a command has completed",
    "malformed": "a command was dropped, with what it asked for: no machine like this one can do it",
    "refused": "a command was written to a full queue and lost",
    "a_short": "a packet of `s_axis_a` ended before its command did (stream underrun); zeros took its place",
    "b_short": "a packet of `s_axis_b` ended before its command did (stream underrun); zeros took its place",
    "u_short": "a packet of `s_axis_u` ended before its command did (stream underrun); zeros took its place",
    "a_long": "a packet of `s_axis_a` went on after its command's last beat; the rest was dropped",
    "b_long": "a packet of `s_axis_b` went on after its command's last beat; the rest was dropped",
    "u_long": "a packet of `s_axis_u` went on after its command's last beat; the rest was dropped",
    "nan": "a sum or an updated weight was NaN",
    "overflow": "a result was too large for its format",
}
"""Sticky bits of `STATUS`, in their order from bit 0; bit i of `INTERRUPT` enables bit i."""

COUNTERS = {
    "cycles": "cycles since the counters were cleared",
    "busy": "cycles from an idle machine's first beat of operands to the last beat of results, both included",
    "macs": "multiply-accumulates, without padding",
    "beats": "beats of the a operand that entered the array",
    "wait_a": "cycles in which the array could have gone on, but there was no beat of the a operand",
    "wait_b": "cycles in which a beat of the a operand waited for its tile of the b operand",
    "wait_sums": "cycles in which it waited for the sums that it adds to",
    "wait_results": "cycles in which it waited for room for its result",
}
"""Performance counters of 64 bits, in their order; to read the low word latches the high one."""

REPORT = {
    "amax": (32, False, "largest finite magnitude: a code of the outer accumulator's format"),
    "nonzeros": (32, False, "finite values that are not 0"),
    "overflows": (32, False, "results beyond the largest number of their format"),
    "underflows": (32, False, "values that are not 0 and were rounded to 0"),
    "nans": (32, False, "sums that are NaN"),
    "log2_sum": (64, True, "sum of log2|y| over the values that are finite and not 0, in units of 2^-{fraction}"),
    "log2_max": (32, True, "largest of them"),
}
"""Members of a report of statistics: width, signedness, meaning."""


def _word(name: str, offset: int, constant: int, doc: str, *fields: Field) -> Register:
    return Register(name=name, offset=offset, access="ro", constant=constant, doc=doc, fields=fields)


def _sentence(doc: str) -> str:
    return doc[0].upper() + doc[1:]


def _identity(machine: Machine) -> list[Register]:
    rows, columns = Field(name="rows", low=0, width=16), Field(name="columns", low=16, width=16)
    a_formats, b_formats = Field(name="a_formats", low=0, width=4), Field(name="b_formats", low=4, width=4)
    result_formats, dataflow = Field(name="result_formats", low=8, width=4), Field(name="dataflow", low=12, width=2)
    formats = (
        a_formats.put(len(machine.moving_formats))
        | b_formats.put(len(machine.stationary_formats))
        | result_formats.put(len(machine.result_formats))
        | dataflow.put(("ws", "os", "is").index(machine.dataflow))
    )
    digest = int(machine.digest, 16)
    return [
        _word("IDENTITY", 0x000, IDENTITY, "The letters QUAV."),
        _word("INTERFACE", 0x004, INTERFACE, "Version of registers, commands and streams."),
        _word("MACHINE_LOW", 0x008, digest & 0xFFFFFFFF, "Hash of the machine's description, low word."),
        _word("MACHINE_HIGH", 0x00C, digest >> 32, "Hash of the machine's description, high word."),
        _word(
            "ARRAY",
            0x010,
            rows.put(machine.rows) | columns.put(machine.columns),
            "Size of the array.",
            rows,
            columns,
        ),
        _word("CHUNK", 0x014, machine.chunk, "Products per inner sum."),
        _word("BLOCK", 0x018, machine.block_rows, "Largest `rows` of a command."),
        _word("SCRATCHPAD", 0x01C, machine.scratchpad_depth, "Beats of the a operand that the scratchpad holds."),
        _word("QUEUE", 0x020, machine.queue_depth, "Commands that the queue holds."),
        _word("UPDATE", 0x028, machine.update_lanes, "Lanes of the weight-update unit."),
        _word(
            "FORMATS",
            0x024,
            formats,
            "Numbers of formats of the operands and of the results; dataflow: 0 ws, 1 os, 2 is.",
            a_formats,
            b_formats,
            result_formats,
            dataflow,
        ),
    ]


def _control() -> list[Register]:
    status = tuple(Field(name=name, low=i, doc=doc) for i, (name, doc) in enumerate(STATUS_BITS.items()))
    return [
        Register(
            name="CONTROL",
            offset=0x040,
            access="rw",
            doc="What the machine does with its queue.",
            fields=(
                Field(name="hold", low=0, doc="queued commands wait; those that are under way go on"),
                Field(name="reset", low=1, doc="write 1: everything but the registers starts anew, seeds included"),
                Field(name="clear", low=2, doc="write 1: the performance counters start from 0"),
                Field(name="flush", low=3, doc="operand streams are always ready, and what they bring is dropped"),
            ),
        ),
        Register(
            name="STATUS", offset=0x044, access="w1c", doc="What has happened; stays until cleared.", fields=status
        ),
        Register(
            name="INTERRUPT",
            offset=0x048,
            access="rw",
            doc="`irq` is high while a bit is set in `STATUS` and here.",
            fields=status,
        ),
        Register(
            name="ACTIVITY",
            offset=0x04C,
            access="ro",
            doc="What is going on.",
            fields=(
                Field(name="free", low=0, width=16, doc="commands that the queue has room for"),
                Field(name="reports", low=16, width=8, doc="reports of statistics that wait to be read"),
                Field(name="busy", low=31, doc="a command is queued or under way"),
            ),
        ),
        Register(name="COMPLETED", offset=0x050, access="ro", doc="Commands completed since reset, mod 2^32."),
    ]


def _command() -> list[Register]:
    return [
        Register(
            name="COMMAND_ROWS",
            offset=0x080,
            access="rw",
            doc="Rows of the a operand; of a re-seeding: the seed; of an update: its beats.",
        ),
        Register(
            name="COMMAND_TILES", offset=0x084, access="rw", doc="Tiles of products; of an update: the learning rate."
        ),
        Register(
            name="COMMAND_SHAPE",
            offset=0x088,
            access="rw",
            doc="The rest of the shape; of an update: momentum, and above it the weight decay.",
            fields=(
                Field(name="columns", low=0, width=16, doc="columns of the b operand"),
                Field(name="depth", low=16, width=16, doc="products in the last tile"),
            ),
        ),
        Register(
            name="COMMAND_RESULT",
            offset=0x08C,
            access="rw",
            doc="What becomes of the sums.",
            fields=(
                Field(name="target", low=0, width=4, doc="index of the results' format"),
                Field(name="stochastic", low=4, doc="rounded stochastically"),
                Field(name="saturate", low=5, doc="saturated"),
                Field(name="report", low=6, doc="statistics are handed out at the command's end"),
                Field(name="scale", low=16, width=10, signed=True, doc="results are multiplied by 2^scale"),
            ),
        ),
        Register(
            name="COMMAND_ISSUE",
            offset=0x090,
            access="wo",
            doc="Writing it queues the command that these registers describe; they keep their values.",
            fields=(
                Field(name="opcode", low=0, width=4, doc=", ".join(f"{code} {name}" for name, code in OPCODES.items())),
                Field(name="first", low=8, doc="the sums start at +0"),
                Field(name="last", low=9, doc="the results leave"),
                Field(name="keep", low=10, doc="the next command reads the same beats of the a operand again"),
                Field(name="transposed", low=11, doc="the beats of a b tile are its rows"),
                Field(name="a_format", low=16, width=4, doc="index of the a operand's format"),
                Field(name="b_format", low=20, width=4, doc="index of the b operand's format"),
            ),
        ),
    ]


def _powers() -> list[Register]:
    """Registers of S2FP8, of machines that have it."""
    laws = {
        "A": "power law that decodes the a operand from S2FP8",
        "B": "power law that decodes the b operand from S2FP8",
        "SQUEEZE": "power law of the results",
    }
    members = {
        "FACTOR": f"factor in units of 2^-{FACTOR_FRACTION_BITS}; 0: there is none",
        "OFFSET": f"offset in units of 2^-{OFFSET_FRACTION_BITS}, two's complement",
    }
    names = [(law, member) for law in laws for member in members]
    return [
        Register(
            name=f"COMMAND_{law}_{member}",
            offset=0x094 + 4 * index,
            access="rw",
            doc=f"{_sentence(laws[law])}: {members[member]}.",
        )
        for index, (law, member) in enumerate(names)
    ]


def _report(fraction: int) -> list[Register]:
    registers, offset = [], 0x0C0
    for name, (width, signed, doc) in REPORT.items():
        text = _sentence(doc.format(fraction=fraction))
        parts = [("", text)] if width == 32 else [("_LOW", f"{text}, low word"), ("_HIGH", f"{text}, high word")]
        for suffix, part in parts:
            kind = " (two's complement)" if signed else ""
            registers.append(
                Register(name=f"REPORT_{name.upper()}{suffix}", offset=offset, access="ro", doc=f"{part}{kind}.")
            )
            offset += 4
    registers.append(
        Register(name="REPORT_NEXT", offset=offset, access="wo", doc="Writing it goes on to the next report.")
    )
    return registers


def _counters() -> list[Register]:
    return [
        Register(
            name=f"COUNT_{name.upper()}{suffix}",
            offset=0x100 + 8 * i + 4 * high,
            access="ro",
            doc=f"{_sentence(doc)}{of}.",
        )
        for i, (name, doc) in enumerate(COUNTERS.items())
        for high, (suffix, of) in enumerate((("_LOW", ""), ("_HIGH", "; the high word")))
    ]


def register_map(machine: Machine) -> dict[str, Register]:
    """The registers of `machine` by name, in the order of their addresses."""
    from quaver.golden.logarithms import LOG2_FRACTION_BITS

    powers = _powers() if machine.s2fp8 else []
    registers = [*_identity(machine), *_control(), *_command(), *powers, *_report(LOG2_FRACTION_BITS), *_counters()]
    assert len({register.offset for register in registers}) == len(registers)
    return {register.name: register for register in sorted(registers, key=lambda register: register.offset)}
