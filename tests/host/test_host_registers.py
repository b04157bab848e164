"""The register map: consistent in itself, the same in C and in Markdown, and the words of commands in the example."""

import ctypes
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from quaver.golden import PRESETS, ExactSum, Machine
from quaver.golden.catalog import BF16, E4M3, E5M2
from quaver.golden.commands import Matmul
from quaver.golden.plan import plan
from quaver.host.beats import a_bytes, b_bytes, lane_bytes, result_bytes
from quaver.host.documents import c_header, field_table, markdown, register_table, title
from quaver.host.driver import command_words
from quaver.host.example import M_MAX, host_example
from quaver.host.registers import (
    ADDRESS_BITS,
    COUNTERS,
    IDENTITY,
    INTERFACE,
    OPCODES,
    REPORT,
    STATUS_BITS,
    Field,
    register_map,
)

TINY = PRESETS["tiny"]
OS = replace(TINY, name="os", dataflow="os", mac_depth=3, update_lanes=0)
IS = replace(TINY, name="is", dataflow="is", rows=8, columns=2, chunk=8, a_formats=(E4M3,), b_formats=(E5M2, E4M3))
EXACT = replace(TINY, name="exact", inner=ExactSum(), scratchpad_depth=8)
S2FP8 = replace(TINY, name="s2fp8", s2fp8=True, a_formats=(BF16,), b_formats=(E4M3, BF16))
MACHINES = [TINY, OS, IS, EXACT, S2FP8, PRESETS["cloud"]]
STRICT = ("-Wall", "-Wextra", "-pedantic", "-Werror")

each_machine = pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)


@each_machine
def test_offsets_are_words_of_the_map_each_once(machine: Machine) -> None:
    registers = register_map(machine)
    offsets = [register.offset for register in registers.values()]
    assert len(offsets) > 40
    assert offsets == sorted(set(offsets))
    assert all(offset % 4 == 0 and 0 <= offset < 1 << ADDRESS_BITS for offset in offsets)
    assert all(name == register.name for name, register in registers.items())


@each_machine
def test_fields_do_not_overlap(machine: Machine) -> None:
    compared = 0
    for register in register_map(machine).values():
        taken = 0
        for field in register.fields:
            assert field.low >= 0 and field.width >= 1 and field.low + field.width <= 32
            assert field.mask == sum(1 << bit for bit in range(field.low, field.low + field.width))
            assert not taken & field.mask, (register.name, field.name)
            assert register[field.name] is field
            taken |= field.mask
            compared += 1
        if register.constant is not None:
            assert 0 <= register.constant < 1 << 32
            assert not register.fields or not register.constant & ~taken
    assert compared > 40


@each_machine
def test_everything_is_documented(machine: Machine) -> None:
    for register in register_map(machine).values():
        assert re.fullmatch(r"[A-Z][^{}]*\.", register.doc) or register.doc.startswith("`irq`"), register.name
        assert re.fullmatch(r"[A-Z][A-Z0-9_]+", register.name)
        assert register.access in ("ro", "rw", "wo", "w1c")
        assert (register.constant is None) or register.access == "ro"
        for field in register.fields:
            assert re.fullmatch(r"[a-z][a-z0-9_]*", field.name)
            # The identity's fields say it with their names.
            assert field.doc or register.constant is not None, (register.name, field.name)


@each_machine
def test_what_the_identity_says(machine: Machine) -> None:
    registers = register_map(machine)
    words = {name: register.constant for name, register in registers.items() if register.constant is not None}
    assert words["IDENTITY"].to_bytes(4, "big") == b"QUAV" == IDENTITY.to_bytes(4, "big")
    assert words["INTERFACE"] == INTERFACE
    assert f"{words['MACHINE_HIGH']:08x}{words['MACHINE_LOW']:08x}" == machine.digest
    assert registers["ARRAY"]["rows"].get(words["ARRAY"]) == machine.rows
    assert registers["ARRAY"]["columns"].get(words["ARRAY"]) == machine.columns
    assert (words["CHUNK"], words["BLOCK"]) == (machine.chunk, machine.block_rows)
    assert (words["SCRATCHPAD"], words["QUEUE"]) == (machine.scratchpad_depth, machine.queue_depth)
    counts = {"a_formats": machine.moving_formats, "b_formats": machine.stationary_formats}
    for field, formats in (counts | {"result_formats": machine.result_formats}).items():
        assert registers["FORMATS"][field].get(words["FORMATS"]) == len(formats)
    assert ("ws", "os", "is")[registers["FORMATS"]["dataflow"].get(words["FORMATS"])] == machine.dataflow


def test_the_registers_are_those_of_the_tables() -> None:
    registers = register_map(TINY)
    for name in ("STATUS", "INTERRUPT"):
        assert [(field.name, field.low) for field in registers[name].fields] == [
            (b, i) for i, b in enumerate(STATUS_BITS)
        ]
    for name in COUNTERS:
        assert registers[f"COUNT_{name.upper()}_HIGH"].offset == registers[f"COUNT_{name.upper()}_LOW"].offset + 4
    wide = [name for name, (width, _, _) in REPORT.items() if width == 64]
    assert wide == ["log2_sum"]
    for name in REPORT:
        suffixes = ("_LOW", "_HIGH") if name in wide else ("",)
        assert all(f"REPORT_{name.upper()}{suffix}" in registers for suffix in suffixes)
    assert len([name for name in registers if name.startswith("REPORT_")]) == len(REPORT) + len(wide) + 1


def test_fields_put_and_get() -> None:
    signed, unsigned = Field(name="s", low=4, width=3, signed=True), Field(name="u", low=30, width=2)
    assert [signed.put(value) for value in (-4, -1, 0, 3)] == [0x40, 0x70, 0, 0x30]
    assert [signed.get(word) for word in (0x40, 0x70, 0xF, 0x30, 0xFFFFFF8F)] == [-4, -1, 0, 3, 0]
    assert (unsigned.put(3), unsigned.put(4), unsigned.get(0xC0000000)) == (0xC0000000, 0, 3)
    assert (unsigned.mask, signed.mask, Field(name="f", low=31).mask) == (0xC0000000, 0x70, 0x80000000)


# ----------------------------------------------------------------------------------------------------------- documents


def expected_macros(machine: Machine) -> dict[str, int]:
    values = {"MAP_BYTES": 4096, "A_BYTES": a_bytes(machine), "B_BYTES": b_bytes(machine)}
    values |= {"RESULT_BYTES": result_bytes(machine)}
    lanes = machine.update_lanes * lane_bytes((machine.update.format,))
    values |= {"ELEMENTS_BYTES": 3 * lanes, "UPDATED_BYTES": 2 * lanes} if lanes else {}
    values |= {f"OPCODE_{name.upper()}": code for name, code in OPCODES.items()}
    operands = {"A_FORMAT": machine.moving_formats, "B_FORMAT": machine.stationary_formats}
    for kind, formats in (operands | {"TARGET": machine.result_formats}).items():
        values |= {f"{kind}_{fmt.name.upper()}": index for index, fmt in enumerate(formats)}
    for name, register in register_map(machine).items():
        values[f"{name}_OFFSET"] = register.offset
        if register.constant is not None:
            values[f"{name}_VALUE"] = register.constant
        for field in register.fields:
            values[f"{name}_{field.name.upper()}_SHIFT"] = field.low
            values[f"{name}_{field.name.upper()}_MASK"] = field.mask
    return {f"QUAVER_{name}": value for name, value in values.items()}


@each_machine
@pytest.mark.parametrize("compiler", [("gcc", "-std=c99"), ("g++", "-std=c++11")], ids=lambda c: c[0])
def test_the_c_header_says_the_same(machine: Machine, compiler: tuple[str, str], tmp_path: Path) -> None:
    """By a program that prints every macro; included twice, so that the guard is tried."""
    expected = expected_macros(machine)
    (tmp_path / "quaver_registers.h").write_text(c_header(machine), encoding="utf-8")
    source = tmp_path / ("print.c" if compiler[0] == "gcc" else "print.cc")
    prints = "".join(f'    printf("{name} %lu\\n", (unsigned long){name});\n' for name in expected)
    include = '#include "quaver_registers.h"\n'
    source.write_text(
        f"#include <stdio.h>\n{include * 2}int main(void)\n{{\n{prints}    return 0;\n}}\n", encoding="utf-8"
    )
    subprocess.run([*compiler, *STRICT, "-o", tmp_path / "print", source], check=True)
    printed = subprocess.run([tmp_path / "print"], capture_output=True, text=True, check=True).stdout
    found = {name: int(value) for name, value in (line.split() for line in printed.splitlines())}
    assert found == expected
    assert len(found) > 150
    defined = re.findall(r"(?m)^#define (\w+) ", c_header(machine))
    assert sorted(defined) == sorted(expected)


def test_the_prefix_of_macros() -> None:
    names = re.findall(r"#(?:define|ifndef) (\w+)", c_header(TINY, "left"))
    assert len(names) > 150
    assert all(name.startswith("LEFT_") for name in names)
    assert '#include "left_registers.h"' in host_example(TINY, "left")
    assert "quaver" not in host_example(TINY, "left").replace("Generated by Quaver", "").lower()


@each_machine
def test_the_page_has_every_register_and_field(machine: Machine) -> None:
    page, registers = markdown(machine), register_map(machine)
    assert page.startswith(f"# Register map\n\n{title(machine)}.\n\n")
    rows = re.findall(r"(?m)^\| `(0x\w{3})` \| `(\w+)` \| (\w+) \| (?:`(0x\w{8})`)? \| (.+) \|$", page)
    assert len(rows) == len(registers) == register_table(machine).count("\n") - 1
    for (offset, name, access, constant, doc), register in zip(rows, registers.values(), strict=True):
        assert (int(offset, 16), name, access) == (register.offset, register.name, register.access)
        assert (int(constant, 16) if constant else None) == register.constant
        assert doc.replace("\\|", "|") == register.doc
    fields = re.findall(r"(?m)^\| `(\w+)` \| (?:(\d+):)?(\d+) \| `(\w+)` \| (.*) \|$", page)
    expected = [(register, field) for register in registers.values() for field in register.fields]
    assert len(fields) == len(expected) == field_table(machine).count("\n") - 1
    for (name, high, low, member, meaning), (register, field) in zip(fields, expected, strict=True):
        assert (name, int(high or low), int(low)) == (register.name, field.low + field.width - 1, field.low)
        assert member == field.name
        assert meaning.startswith(field.doc)
        assert meaning, (name, member)
        assert ("two's complement" in meaning) == field.signed


def test_titles_are_fit_for_comments() -> None:
    assert title(TINY) == f"tiny: 4 x 4, machine {TINY.digest}"
    assert title(replace(TINY, name="a\n*/`|\\ b, é")) == f"a______ b, é: 4 x 4, machine {TINY.digest}"


# ------------------------------------------------------------------------------------------------------------- example


@pytest.fixture
def example(tmp_path: Path):
    """The example of a machine, compiled, and its source."""

    def build(machine: Machine) -> tuple[ctypes.CDLL, str]:
        source = host_example(machine)
        (tmp_path / "quaver_registers.h").write_text(c_header(machine), encoding="utf-8")
        (tmp_path / "quaver_example.c").write_text(source, encoding="utf-8")
        library = tmp_path / "example.so"
        compiler = ["gcc", "-std=c99", *STRICT, "-shared", "-fPIC", "-o", library]
        subprocess.run([*compiler, tmp_path / "quaver_example.c"], check=True)
        return ctypes.CDLL(str(library)), source

    return build


def example_commands(machine: Machine) -> list[Matmul]:
    m, k, n = min(M_MAX, machine.block_rows), machine.block_products + 1, machine.columns + 1
    return [block.command for block in plan(machine, m, k, n, saturate=True)]


@each_machine
def test_the_example_writes_the_words_of_its_commands(machine: Machine, example) -> None:
    """Run against memory in the place of registers: what is in it at the end are the last command's words."""
    registers, commands = register_map(machine), example_commands(machine)
    library, source = example(machine)
    memory = (ctypes.c_uint32 * 1024)()
    for register in registers.values():
        memory[register.offset // 4] = register.constant or 0
    memory[registers["ACTIVITY"].offset // 4] = registers["ACTIVITY"]["free"].put(1)
    counters = {name: 0x0123_4567_89AB_CDEF + i for i, name in enumerate(COUNTERS)}
    for name, value in counters.items():
        memory[registers[f"COUNT_{name.upper()}_LOW"].offset // 4] = value & 0xFFFFFFFF
        memory[registers[f"COUNT_{name.upper()}_HIGH"].offset // 4] = value >> 32
    counts = (ctypes.c_uint64 * len(COUNTERS))()
    status = library.quaver_example(memory, counts)
    assert status & 0xFFFFFFFF == 0xFFFFFFFF & ~registers["STATUS"]["done"].mask  # memory keeps what was to clear bits
    assert dict(zip(COUNTERS, counts, strict=True)) == counters
    for name, word in command_words(registers, commands[-1]).items():
        assert memory[registers[name].offset // 4] == word, name

    writes = re.findall(r"write_register\(registers, QUAVER_(COMMAND_\w+)_OFFSET, (0x\w{8})u\);", source)
    issued, current = [], {}
    for name, word in writes:
        assert current.get(name) != int(word, 16) or name == "COMMAND_ISSUE", "written again"
        current[name] = int(word, 16)
        if name == "COMMAND_ISSUE":
            issued.append(dict(current))
    assert issued == [command_words(registers, command) for command in commands]
    assert len(issued) == 2
    assert "s_axis_a: nothing" in source
    assert all(len(line) <= 120 for line in source.splitlines())


@pytest.mark.parametrize("name", ["IDENTITY", "INTERFACE", "MACHINE_LOW", "MACHINE_HIGH"])
def test_the_example_knows_its_machine(name: str, example) -> None:
    registers = register_map(TINY)
    library, _ = example(TINY)
    memory = (ctypes.c_uint32 * 1024)()
    for register in registers.values():
        memory[register.offset // 4] = register.constant or 0
    memory[registers[name].offset // 4] ^= 1
    assert library.quaver_example(memory, (ctypes.c_uint64 * len(COUNTERS))()) == -1
    assert memory[registers["COMMAND_ISSUE"].offset // 4] == 0


def test_the_example_tells_of_its_packets() -> None:
    """By hand for `tiny`: 4 x 5 by 5 x 5, tiles of 4 products, 8-bit operands, 16-bit results."""
    lines = [line.strip() for line in host_example(TINY).splitlines() if "axis" in line]
    assert lines == [
        "s_axis_a: a packet of 8 beats of 4 bytes: rows 0 to 3 of the a operand.",
        "s_axis_b: a packet of 8 beats of 4 bytes: columns 0 to 3 of the b operand.",
        "m_axis: a packet of 4 beats with 8 bytes in use: rows 0 to 3, columns 0 to 3 of the result. */",
        "s_axis_a: nothing; the command before has kept its beats.",
        "s_axis_b: a packet of 2 beats of 4 bytes: columns 4 to 4 of the b operand.",
        "m_axis: a packet of 4 beats with 2 bytes in use: rows 0 to 3, columns 4 to 4 of the result. */",
    ]
