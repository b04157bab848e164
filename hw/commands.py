"""Commands inside the machine, and the orders that its parts make of them."""

from amaranth.hdl import signed
from amaranth.lib import data

from quaver.golden import Machine
from quaver.golden.commands import SCALE_MAX
from quaver.hw.packet_loader import BEATS

OPCODE = 4
"""Width of an opcode, `quaver.host.registers.OPCODES`."""
CHOICE = 4
"""Width of an index of a format in a command."""
SCALE = signed(SCALE_MAX.bit_length() + 1)


def command_layout() -> data.StructLayout:
    """A command as the registers describe it: the members of `quaver.golden.Matmul`, of any machine.

    `rows` is the first word of every command: the seed of a re-seeding, the beats of an update.
    """
    return data.StructLayout(
        {
            "opcode": OPCODE,
            "rows": 32,
            "tiles": 32,
            "columns": 16,
            "depth": 16,
            "first": 1,
            "last": 1,
            "keep": 1,
            "transposed": 1,
            "a_format": CHOICE,
            "b_format": CHOICE,
            "target": CHOICE,
            "stochastic": 1,
            "saturate": 1,
            "report": 1,
            "scale": SCALE,
        }
    )


def result_order(machine: Machine) -> data.StructLayout:
    """What becomes of a command's sums: `rows` beats of them."""
    return data.StructLayout(
        {
            "rows": BEATS,
            "columns": machine.columns.bit_length(),
            "target": CHOICE,
            "stochastic": 1,
            "saturate": 1,
            "report": 1,
            "scale": SCALE,
        }
    )
