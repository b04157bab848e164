"""Random sequences of commands with their operands, the rare ones often."""

from dataclasses import replace
from typing import Any

import numpy as np

from quaver.cosim.accelerator_runs import Work
from quaver.cosim.cases import operand
from quaver.cosim.sequences import SequenceCase
from quaver.golden import Machine, Matmul, Reseed
from quaver.golden.accelerator import beats
from quaver.golden.catalog import BF16, E5M2
from quaver.golden.commands import Command, Update
from quaver.golden.s2fp8_fixed import PowerRegisters

ROWS, TILES = 12, 3
"""Largest of a random command, unless the machine's are smaller."""
COMMANDS = 8
"""Most commands of a sequence, unless the queue is shorter."""


def sequence_cases(rng: np.random.Generator, machine: Machine, count: int) -> list[SequenceCase]:
    """Random sequences; every second one has updates, re-seedings, idle cycles and back-pressure on every channel.

    Whatever the draws: the first one ends with a report, and the hesitant ones begin with an update where there is a
    unit for it.
    """
    cases = []
    for index in range(count):
        slow = index % 2 == 1
        updates = [_update(rng, machine, least=1)] if slow and machine.update_lanes else []
        length = int(rng.integers(1, min(COMMANDS, machine.queue_depth - len(updates)) + 1))
        work = command_sequence(rng, machine, length, others=slow)
        end = work[-1]
        if index == 0 and isinstance(end.command, Matmul):
            work[-1] = end._replace(command=replace(end.command, report=True))
        hesitation = tuple(rng.choice([0.0, 0.3, 0.8], 4).tolist()) if slow else (0.0,) * 4
        cases.append(SequenceCase([*updates, *work], hesitation, reset=bool(rng.random() < 0.5) or not slow))
    return cases


def command_sequence(rng: np.random.Generator, machine: Machine, length: int, *, others: bool = True) -> list[Work]:
    """`length` commands for the ports of `machine` that it takes one after the other, results at their end.

    `others`: multiplications are mixed with re-seedings and updates of weights.
    """
    port = machine.exchanged if machine.dataflow == "is" else machine
    work: list[Work] = []
    chained: Matmul | None = None
    kept: Matmul | None = None
    while len(work) < length:
        final = len(work) == length - 1
        draw = rng.random()
        if draw < 0.05 and others and not final:
            work.append(Work(Reseed(seed=int(rng.integers(1 << 32)))))
            chained = None
            continue
        if draw < 0.12 and not final:
            work.append(Work(_empty(rng, port)))
            continue
        if draw < 0.25 and port.update_lanes and others and not final:
            work.append(_update(rng, port))
            continue
        command = _command(rng, port, chained, kept, final)
        products = (command.tiles - 1) * port.block_products + command.depth
        a_format = E5M2 if command.a_power else port.moving_formats[command.a_format]
        b_format = E5M2 if command.b_power else port.stationary_formats[command.b_format]
        a = None if kept else operand(rng, a_format, (command.rows, products))
        b = operand(rng, b_format, (products, command.columns))
        work.append(Work(command, a, b))
        chained = None if command.last else command
        kept = command if command.keep else None
    return work


def operands(rng: np.random.Generator, machine: Machine, command: Command) -> Work:
    """A command with random operands for the ports of `machine`, an exchanged one if its dataflow is `is`."""
    if isinstance(command, Reseed) or command.empty:
        return Work(command)
    if isinstance(command, Update):
        elements = operand(rng, machine.update.format, (3 * command.beats, machine.update_lanes))
        return Work(command, elements=elements.reshape(3, command.beats, -1))
    products = (command.tiles - 1) * machine.block_products + command.depth
    a = operand(rng, machine.moving_formats[command.a_format], (command.rows, products))
    b = operand(rng, machine.stationary_formats[command.b_format], (products, command.columns))
    return Work(command, a, b)


def block(rng: np.random.Generator, machine: Machine, **members: Any) -> Work:
    """A command of two tiles with its operands, results rounded stochastically where they can be; `members` decide."""
    shape = {"rows": 3, "columns": 2, "tiles": 2, "depth": machine.block_products, **members}
    return operands(rng, machine, Matmul(**{"stochastic": machine.output_random_bits > 0, **shape}))


def update(rng: np.random.Generator, machine: Machine, count: int) -> Work:
    """A weight update of `count` beats with its elements."""
    rate, momentum, decay = operand(rng, machine.update.format, (1, 3))[0].tolist()
    return operands(rng, machine, Update(beats=count, rate=rate, momentum=momentum, decay=decay))


def _command(
    rng: np.random.Generator, port: Machine, chained: Matmul | None, kept: Matmul | None, final: bool
) -> Matmul:
    def maybe(probability: float) -> bool:
        return bool(rng.random() < probability)

    last = final or maybe(0.75)
    command = Matmul(
        rows=int(rng.integers(1, min(port.block_rows, ROWS) + 1)),
        columns=port.columns if maybe(0.4) else int(rng.integers(1, port.columns + 1)),
        tiles=int(rng.integers(1, TILES + 1)) if port.block_products > 1 else int(rng.integers(1, 3 * port.chunk + 1)),
        depth=int(rng.integers(1, port.block_products + 1)) if last else port.block_products,
        first=True,
        last=last,
        transposed=port.dataflow != "os" and maybe(0.4),
        a_format=int(rng.integers(len(port.moving_formats))),
        b_format=int(rng.integers(len(port.stationary_formats))),
        target=int(rng.integers(len(port.result_formats))),
        scale=int(rng.integers(-8, 9)) if maybe(0.5) else 0,
        stochastic=port.output_random_bits > 0 and maybe(0.5),
        saturate=maybe(0.5),
        report=last and maybe(0.3),
    )
    if port.s2fp8:
        command = _powered(rng, port, command)
    if chained and maybe(0.8):
        alike = {name: getattr(chained, name) for name in ("rows", "columns", "a_format", "b_format")}
        command = replace(command, first=False, a_power=None, b_power=None, **alike)
    if kept:
        alike = {name: getattr(kept, name) for name in ("rows", "tiles", "depth", "a_format")}
        command = replace(command, a_power=None, **alike)
        full = command.depth == port.block_products
        command = replace(command, last=command.last or not full)
        if not command.first and chained and (chained.rows, chained.a_format) != (command.rows, command.a_format):
            command = replace(command, first=True)
    keep = not final and maybe(0.3) and beats(port, command) <= port.scratchpad_depth
    return replace(command, keep=keep, report=command.report and command.last)


def _powered(rng: np.random.Generator, port: Machine, command: Matmul) -> Matmul:
    """Some of the operands in S2FP8, some of the results squeezed; laws that keep most values within range."""

    def law() -> PowerRegisters | None:
        if rng.random() < 0.4:
            return None
        return PowerRegisters(int(rng.integers(1 << 18, 1 << 22)), int(rng.integers(-8 << 16, 8 << 16)))

    a, b = port.moving_formats.index(BF16), port.stationary_formats.index(BF16)
    return replace(
        command,
        a_power=law() if command.a_format == a else None,
        b_power=law() if command.b_format == b else None,
        squeeze=law(),
    )


def _update(rng: np.random.Generator, port: Machine, least: int = 0) -> Work:
    fmt, count = port.update.format, int(rng.integers(least, ROWS))
    scalars = operand(rng, fmt, (3,)).tolist()
    elements = operand(rng, fmt, (3, count, port.update_lanes)) if count else None
    command = Update(beats=count, **dict(zip(("rate", "momentum", "decay"), scalars, strict=True)))
    return Work(command, elements=elements)


def _empty(rng: np.random.Generator, port: Machine) -> Matmul:
    shape = {"rows": 1, "columns": 1, "tiles": 1}
    shape[str(rng.choice(list(shape)))] = 0
    return Matmul(rows=shape["rows"], columns=shape["columns"], tiles=shape["tiles"], depth=int(rng.integers(2)))
