"""Commands inside the machine, and the orders that its parts make of them."""

from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data

from quaver.golden import Machine
from quaver.golden.s2fp8_fixed import FACTOR_BITS, OFFSET_BITS
from quaver.golden.scaling import SCALE_MAX
from quaver.hw.packet_loader import BEATS

OPCODE = 4
"""Width of an opcode, `quaver.host.registers.OPCODES`."""
CHOICE = 4
"""Width of an index of a format in a command."""
SCALE = signed(SCALE_MAX.bit_length() + 1)


def powers(machine: Machine, *laws: str) -> dict[str, Shape]:
    """Members `LAW_factor` and `LAW_offset`, the power laws of S2FP8 where the machine has it; factor 0: none."""
    members = {"factor": unsigned(FACTOR_BITS), "offset": signed(OFFSET_BITS)}
    return {f"{law}_{name}": shape for law in laws for name, shape in members.items()} if machine.s2fp8 else {}


def command_layout(machine: Machine) -> data.StructLayout:
    """A command as the registers describe it: the members of `quaver.golden.Matmul`.

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
            **powers(machine, "a", "b", "squeeze"),
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
            **powers(machine, "squeeze"),
        }
    )
