"""What goes wrong in front of the accelerator: it is told exactly, and what follows it is right bit by bit."""

from dataclasses import replace

import numpy as np
import pytest

from quaver.cosim.accelerator_runs import Work
from quaver.cosim.command_cases import block, operands, update
from quaver.cosim.expectations import Expectations, Found, cut, packets
from quaver.golden import Machine, Matmul, Reseed
from quaver.golden.commands import Command, Update
from quaver.host.driver import command_words
from quaver.host.registers import ADDRESS_BITS, OPCODES, Register, register_map


def passed(found: Found, at_least: int) -> None:
    """Assert that nothing differs from what is expected, and that so much was compared."""
    assert found.differences == []
    assert found.compared >= at_least


@pytest.mark.parametrize("slow", [0.0, 0.4], ids=["flowing", "hesitating"])
def test_packets_that_end_early_or_late(built, slow):
    machine, model = built
    rng, story, cases = np.random.default_rng(1), Expectations(machine), 0
    story.do("hesitate", slow, slow, slow, slow)
    works = [block(rng, machine), block(rng, machine, depth=1)]
    if machine.dataflow != "os":
        works.append(block(rng, machine, transposed=True, depth=2))
    if machine.update_lanes:
        works.append(update(rng, machine, 4))
    for work in works:
        whole = packets(machine, work)
        for name, packet in whole.items():
            for count in (*range(1, len(packet)), len(packet) + 1, len(packet) + 3):
                extra = rng.integers(0, 256, (max(0, count - len(packet)), packet.shape[1]), np.uint8)
                story.play.send(name, np.concatenate([packet, extra])[:count])
                for other in whole.keys() - {name}:
                    story.play.send(other, whole[other])
                story.take(cut(machine, work, name, count), send=False)
                story.status.add(f"{name}_short" if count < len(packet) else f"{name}_long")
                story.follow(rng)
                cases += 1
    passed(story.run(model, seed=1), 8 * cases)
    assert cases >= 16


def test_both_operands_wrong_at_once(built):
    machine, model = built
    rng, story = np.random.default_rng(2), Expectations(machine)
    for wrong in (("short", "short"), ("short", "long"), ("long", "short"), ("long", "long")):
        work = block(rng, machine)
        kept = work
        for (name, packet), how in zip(packets(machine, work).items(), wrong, strict=True):
            count = 1 if how == "short" else len(packet) + 1
            story.play.send(name, np.pad(packet, ((0, 1), (0, 0)), constant_values=0xA5)[:count])
            kept = cut(machine, kept, name, count)
        story.take(kept, send=False)
        story.status |= {f"{name}_{how}" for name, how in zip("ab", wrong, strict=True)}
        story.follow(rng, 3)
    passed(story.run(model), 32)


def malformed(machine: Machine) -> dict[str, dict[str, object]]:
    """Members that this machine refuses by themselves, one limit at a time."""
    kept_tiles = machine.scratchpad_depth // (machine.interleave if machine.dataflow == "os" else 2) + 1
    cases: dict[str, dict[str, object]] = {
        "rows": {"rows": machine.block_rows + 1},
        "most rows": {"rows": 1 << 16},
        "columns": {"columns": machine.columns + 1},
        "most columns": {"columns": (1 << 16) - 1},
        "no depth": {"depth": 0},
        "depth": {"depth": machine.block_products + 1},
        "most depth": {"depth": (1 << 16) - 1},
        "a_format": {"a_format": len(machine.moving_formats)},
        "most a_format": {"a_format": 15},
        "b_format": {"b_format": len(machine.stationary_formats)},
        "target": {"target": len(machine.result_formats)},
        "most target": {"target": 15},
        "keep": {"rows": 2, "tiles": kept_tiles, "keep": True},
        "no chain": {"first": False},
    }
    if machine.block_products > 1:
        cases["unfinished tile"] = {"depth": machine.block_products - 1, "last": False}
    if not machine.output_random_bits:
        cases["stochastic"] = {"stochastic": True}
    if machine.dataflow == "os":
        cases["transposed"] = {"transposed": True}
    return cases


def test_malformed_commands_take_nothing(built):
    machine, model = built
    rng, story = np.random.default_rng(3), Expectations(machine)
    cases = malformed(machine)
    for members in cases.values():
        work = block(rng, machine)
        command = replace(work.command, **members)
        assert story.golden.refusal(command) is not None
        # The packets of the next command wait already.
        story.play.send_operands(work)
        story.refuse(command, "malformed")
        story.settle(waiting=True)
        story.take(work, send=False)
        story.settle()
    if not machine.update_lanes:
        story.refuse(Update(beats=1, rate=0, momentum=0, decay=0), "malformed")
        story.refuse(Update(beats=0, rate=0, momentum=0, decay=0), "malformed")
        story.follow(rng, 2)
    passed(story.run(model), 11 * len(cases))
    assert len(cases) >= 14


def test_commands_that_do_not_fit_the_one_before(built):
    machine, model = built
    rng, story = np.random.default_rng(4), Expectations(machine)
    full = {"depth": machine.block_products, "tiles": 2}
    for members in (
        {"rows": 2},
        {"columns": 1},
        *([{"a_format": 1}] if len(machine.moving_formats) > 1 else []),
        *([{"b_format": 1}] if len(machine.stationary_formats) > 1 else []),
    ):
        story.take(block(rng, machine, last=False, **full))
        story.refuse(replace(block(rng, machine, first=False).command, **members), "malformed")
        story.take(block(rng, machine, first=False, **full))
        story.settle()
    story.take(block(rng, machine, last=False, **full))
    story.take(Work(Reseed(seed=5)))
    story.refuse(block(rng, machine, first=False).command, "malformed")
    story.follow(rng, 2)
    formats = [{"a_format": 1}] if len(machine.moving_formats) > 1 else []
    depths = [{"depth": machine.block_products - 1}] if machine.block_products > 1 else []
    for members in ({"rows": 2}, {"tiles": 1}, *formats, *depths):
        story.take(block(rng, machine, keep=True, **full))
        story.refuse(replace(block(rng, machine, **full).command, **members), "malformed")
        work = block(rng, machine, columns=1, **full)
        story.take(work._replace(a=None))
        story.follow(rng)
    passed(story.run(model), 40)


def test_words_that_are_no_commands(built):
    machine, model = built
    rng, story = np.random.default_rng(5), Expectations(machine)
    registers = register_map(machine)
    work = block(rng, machine)
    story.play.send_operands(work)
    unknown = [code for code in range(16) if code not in (1, 2, 3)]
    for code in unknown:
        story.expect(False, "write", "COMMAND_ISSUE", code)
    story.status = {"malformed"}
    story.settle(waiting=True)
    wrong = [
        ("COMMAND_TILES", 1 << 24),
        ("COMMAND_TILES", 1 << 31),
        ("COMMAND_ROWS", 1 << 16 | 2),
        ("COMMAND_ROWS", -1),
    ]
    words = {"COMMAND_ROWS": 1, "COMMAND_TILES": 1, "COMMAND_SHAPE": 1 << 16 | 1, "COMMAND_RESULT": 0}
    issue = registers["COMMAND_ISSUE"]
    matmul = issue["opcode"].put(1) | issue["first"].put(1) | issue["last"].put(1)
    for name, word in wrong:
        for register, value in (words | {name: word & 0xFFFFFFFF}).items():
            story.expect(True, "write", register, value)
        story.expect(False, "write", "COMMAND_ISSUE", matmul)
        story.status = {"malformed"}
        story.settle(waiting=True)
    for beat_count in (1 << 24, 0xFFFFFFFF):
        story.expect(True, "write", "COMMAND_ROWS", beat_count)
        story.expect(False, "write", "COMMAND_ISSUE", issue["opcode"].put(3))
        story.status = {"malformed"}
    story.settle(waiting=True)
    story.take(work, send=False)
    story.follow(rng, 3)
    passed(story.run(model), len(unknown) + 9 * len(wrong) + 15)
    assert len(unknown) == 13


def test_random_words_against_golden(built):
    machine, model = built
    rng, story = np.random.default_rng(7), Expectations(machine)
    registers, taken, held = (
        register_map(machine),
        [],
        dict.fromkeys(("COMMAND_TILES", "COMMAND_SHAPE", "COMMAND_RESULT"), 0),
    )
    limits = [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 1 << 9, (1 << 16) - 1, 1 << 16, 1 << 24, (1 << 32) - 1]
    while len(taken) < 300:
        words = command_words(registers, proposal(rng, story, machine))
        for _ in range(rng.integers(3)):
            register = registers[str(rng.choice(list(words)))]
            field = register.fields[rng.integers(len(register.fields))] if register.fields else None
            value = int(rng.choice(limits))
            whole = words[register.name]
            words[register.name] = whole & ~field.mask | field.put(value) if field else value
        command = command_of(registers, held | words)
        good = command is not None and story.golden.refusal(command) is None
        if good and (getattr(command, "tiles", 0) > 16 or getattr(command, "beats", 0) > 16):
            continue
        for name, word in words.items():
            story.expect(good or name != "COMMAND_ISSUE", "write", name, word)
        held |= words
        taken.append(good)
        if not good:
            story.status.add("malformed")
        else:
            work = operands(rng, machine, command)
            work = work if story.kept is None else work._replace(a=None)
            story.play.send_operands(work)
            story.execute(work)
        story.settle()
    passed(story.run(model), 300 * 9)
    assert 75 < sum(taken) < 225


def test_a_full_queue(built):
    machine, model = built
    rng, story = np.random.default_rng(8), Expectations(machine)
    for extra in (1, 3):
        story.do("hold", True)
        for _ in range(machine.queue_depth):
            story.take(block(rng, machine))
        story.expect(1 << 31, "read", "ACTIVITY")
        for _ in range(extra):
            story.refuse(block(rng, machine).command, "refused")
        # A command that is malformed as well is that in the first place.
        story.refuse(replace(block(rng, machine).command, rows=machine.block_rows + 1), "malformed")
        story.do("hold", False)
        story.settle()
        story.follow(rng, 3)
    passed(story.run(model), 40)


def test_accesses_that_are_none_of_its_registers(built):
    machine, model = built
    story, registers = Expectations(machine), register_map(machine)
    places = {register.offset: register for register in registers.values()}
    steady = {name: r.constant for name, r in registers.items() if r.constant is not None}
    for address in range(0, 1 << ADDRESS_BITS, 4):
        if address not in places:
            story.expect(None, "peek", address)
            story.expect(False, "poke", address, [0xFF] * 4)
        elif places[address].access == "ro":
            story.expect(False, "poke", address, [0xFF] * 4)
    for name, value in steady.items():
        story.expect(value, "read", name)
    compared = 0
    stored = [r for r in registers.values() if r.access == "rw" and r.name != "CONTROL"]
    for register in stored:
        for first in range(4):
            for last in range(first, 4):
                story.expect(True, "write", register.name, 0x12345678)
                data = list(range(0xA0, 0xA0 + last - first + 1))
                story.expect(True, "poke", register.offset + first, data)
                word = bytearray((0x12345678).to_bytes(4, "little"))
                word[first : last + 1] = bytes(data)
                story.expect(int.from_bytes(word, "little"), "peek", register.offset)
                compared += 1
    story.do("reset")
    story.follow(np.random.default_rng(9))
    passed(story.run(model), 2000)
    assert compared == 10 * len(stored) >= 50


def proposal(rng, story: Expectations, machine: Machine) -> Command:
    """A command that the machine would take, most of the time of a multiplication that fits those before."""
    draw = rng.random()
    if draw < 0.1:
        return Reseed(seed=int(rng.integers(1 << 32)))
    if draw < 0.2:
        return update(rng, machine, int(rng.integers(4))).command
    last = bool(rng.random() < 0.6)
    members = {
        "rows": int(rng.integers(1, 4)),
        "columns": int(rng.integers(1, machine.columns + 1)),
        "tiles": int(rng.integers(1, 3)),
        "depth": machine.block_products,
        "last": last,
        "keep": bool(rng.random() < 0.3),
        "report": bool(rng.random() < 0.2),
    }
    if story.open is not None and rng.random() < 0.7:
        members |= {"first": False, "rows": story.open.rows, "columns": story.open.columns}
    if story.kept is not None and rng.random() < 0.8:
        members |= {"rows": story.kept.rows, "tiles": story.kept.tiles}
    return Matmul(**members)


def command_of(registers: dict[str, Register], words: dict[str, int]) -> Command | None:
    """The command that words describe; None if it is none."""
    issue = registers["COMMAND_ISSUE"]
    opcode = issue["opcode"].get(words["COMMAND_ISSUE"])
    fields = {field.name: field.get(word) for name, word in words.items() for field in registers[name].fields}
    rows, tiles = words["COMMAND_ROWS"], words.get("COMMAND_TILES", 0)
    try:
        if opcode == OPCODES["reseed"]:
            return Reseed(seed=rows)
        if opcode == OPCODES["update"]:
            return Update(beats=rows, rate=tiles & 0xFFFF, momentum=fields["columns"], decay=fields["depth"])
        if opcode == OPCODES["matmul"]:
            flags = ("first", "last", "keep", "transposed", "stochastic", "saturate", "report")
            values = {
                name: bool(value) if name in flags else value for name, value in fields.items() if name != "opcode"
            }
            if not (rows and tiles and values["columns"]):
                rows, tiles = 0, 0
            return Matmul(rows=rows, tiles=tiles, **values)
    except ValueError:
        return None
    return None
