"""What the fields of a machine may be; messages name the field and what is allowed."""

from math import inf
from typing import TYPE_CHECKING, Literal, get_args

from quaver.golden.arithmetic import OPERAND_PRECISION_MAX, Accumulator, ExactSum
from quaver.golden.catalog import BF16
from quaver.golden.errors import check_choice, check_range
from quaver.golden.exact_register import WIDTH_MAX

if TYPE_CHECKING:
    from quaver.golden.machine import Machine

Dataflow = Literal["ws", "os", "is"]
SrAdder = Literal["lazy", "eager"]
Technology = Literal["45nm", "7nm"]
ROUNDINGS = ("rne", "rha", "rtz", "sr")
"""Roundings of the adders."""
RANDOM_BITS_MAX = 16
MAC_DEPTH_MAX = 7


def check_machine(machine: "Machine") -> None:
    """Raise ValueError unless every field is within its range."""
    if not isinstance(machine.name, str):
        raise ValueError(f"name must be a string, not {machine.name!r}")
    check_range("rows", machine.rows, 1, 1024)
    check_range("columns", machine.columns, 1, 1024)
    check_choice("dataflow", machine.dataflow, get_args(Dataflow))
    check_range("chunk", machine.chunk, 1, 1 << 20)
    if machine.dataflow != "os" and machine.rows % machine.chunk and machine.chunk % machine.rows:
        raise ValueError(f"chunk must divide rows = {machine.rows} or be a multiple of it, not {machine.chunk}")
    check_range("seed", machine.seed, 0, (1 << 32) - 1)
    check_range("mac_depth", machine.mac_depth, 1, MAC_DEPTH_MAX)
    check_choice("sr_adder", machine.sr_adder, get_args(SrAdder))
    check_range("accumulator_depth", machine.accumulator_depth, 2, 1 << 16)
    check_range("output_random_bits", machine.output_random_bits, 0, RANDOM_BITS_MAX)
    check_choice("s2fp8", machine.s2fp8, (False, True))
    for field, formats in (("a_formats", machine.a_formats), ("b_formats", machine.b_formats)):
        if machine.s2fp8 and BF16 not in formats:
            raise ValueError(f"{field} of a machine with s2fp8 must have bf16, not {[f.name for f in formats]}")
    check_range("update_lanes", machine.update_lanes, 0, 1024)
    check_range("bits of update.format", machine.update.format.bits, 1, 16)
    check_range("vector_lanes", machine.vector_lanes, 1, 1 << 16)
    check_range("scratchpad_depth", machine.scratchpad_depth, 8, 1 << 16)
    check_range("queue_depth", machine.queue_depth, 2, 256)
    if len(set(machine.output_formats)) != len(machine.output_formats) or len(machine.output_formats) > 15:
        names = [f.name for f in machine.output_formats]
        raise ValueError(f"output_formats must name at most 15 formats, each once, not {names}")
    check_choice("technology", machine.technology, get_args(Technology))
    clock = machine.clock_mhz
    if isinstance(clock, bool) or not isinstance(clock, int | float) or not 0 < clock < inf:
        raise ValueError(f"clock_mhz must be a number above 0, not {clock!r}")
    for field, formats in (("a_formats", machine.a_formats), ("b_formats", machine.b_formats)):
        if not formats or len(set(formats)) != len(formats):
            raise ValueError(f"{field} must name at least one format, each once, not {[f.name for f in formats]}")
        for fmt in formats:
            check_range(f"{field}: significant bits of {fmt}", fmt.precision, 1, OPERAND_PRECISION_MAX)
    if not isinstance(machine.inner, Accumulator | ExactSum):
        raise ValueError(f"inner must be an Accumulator or an ExactSum, not {machine.inner!r}")
    if machine.exact_register is not None:
        operands = " x ".join("/".join(fmt.name for fmt in f) for f in (machine.a_formats, machine.b_formats))
        check_range(f"inner: bits of an exact sum of {operands}", machine.exact_register.width, 1, WIDTH_MAX)
    for field, accumulator in (("inner", machine.inner), ("outer", machine.outer), ("update", machine.update)):
        if isinstance(accumulator, ExactSum):
            continue
        check_choice(f"specials of {field}.format", accumulator.format.specials, ("ieee", "dlfloat"))
        check_choice(f"{field}.rounding", accumulator.rounding.mode, ROUNDINGS)
        if accumulator.rounding.stochastic:
            check_range(f"{field}.random_bits", accumulator.rounding.random_bits, 1, RANDOM_BITS_MAX)
