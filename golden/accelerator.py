"""The whole accelerator: what comes out of it when it executes a sequence of commands."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden.array_words import Issued, array_words, issued_by
from quaver.golden.catalog import BF16, E5M2
from quaver.golden.commands import Command, Matmul, Reseed, Update
from quaver.golden.formats import as_codes
from quaver.golden.gemm import gemm
from quaver.golden.lane_words import LaneWords, words_of
from quaver.golden.lfsr import UPDATE_GENERATORS
from quaver.golden.mac import mac
from quaver.golden.machine import Machine
from quaver.golden.output import OutputStatistics, output
from quaver.golden.rounding import RNE, sr
from quaver.golden.s2fp8_fixed import s2fp8_decode_fixed

Codes = NDArray[np.integer]


class Results(NamedTuple):
    """What a command brings about."""

    codes: Codes | None = None
    """Results of shape (rows, columns), codes of the command's target; None if it has none."""
    statistics: OutputStatistics | None = None
    """Of its sums."""
    report: OutputStatistics | None = None
    """Statistics since the last report, where the command asks for one."""
    weights: Codes | None = None
    """Of an update: the weights after the step, shape (beats, lanes)."""
    velocities: Codes | None = None
    """Of an update: the velocities after the step, likewise."""
    nan: bool = False
    """Whether a sum or an updated weight is NaN."""


@dataclass(frozen=True, kw_only=True)
class _Chain:
    """Commands whose sums have not left yet."""

    command: Matmul
    a: Codes
    b: Codes
    issued: Issued
    """Before the first of them."""


class Accelerator:
    """The machine as its ports show it; it starts as after a reset.

    The a port takes the moving operand and the b port the stationary one: a machine whose dataflow is `is` is given
    B^T and A^T, and returns the transposed product.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine.exchanged if machine.dataflow == "is" else machine
        self._seeded(machine.seed)
        self._statistics = OutputStatistics()
        self._kept: tuple[Matmul, Codes] | None = None

    def _seeded(self, seed: int) -> None:
        self.machine = replace(self.machine, seed=seed)
        self._issued = Issued()
        self._lanes = LaneWords(lanes=self.machine.columns, seed=seed)
        self._update_lanes = LaneWords(lanes=max(1, self.machine.update_lanes), generators=UPDATE_GENERATORS, seed=seed)
        self._chain: _Chain | None = None

    def refusal(self, command: Command) -> str | None:
        """Why the machine drops a command as malformed, in one line that names the field; None if it does not."""
        machine = self.machine
        if isinstance(command, Update) and not machine.update_lanes:
            return "update must be of a machine with update_lanes"
        if not isinstance(command, Matmul) or command.empty:
            return None
        limits = [
            ("rows", command.rows, 1, machine.block_rows),
            ("columns", command.columns, 1, machine.columns),
            ("depth", command.depth, 1 if command.last else machine.block_products, machine.block_products),
            ("a_format", command.a_format, 0, len(machine.moving_formats) - 1),
            ("b_format", command.b_format, 0, len(machine.stationary_formats) - 1),
            ("target", command.target, 0, len(machine.result_formats) - 1),
            ("stochastic", command.stochastic, 0, int(machine.output_random_bits > 0)),
            ("transposed", command.transposed, 0, int(machine.dataflow != "os")),
        ]
        for field, formats, choice in (
            ("a_power", machine.moving_formats, command.a_format),
            ("b_power", machine.stationary_formats, command.b_format),
            ("squeeze", None, 0),
        ):
            if getattr(command, field) is None:
                continue
            if not machine.s2fp8:
                return f"{field} must be None on a machine without s2fp8"
            if formats is not None and formats[choice] != BF16:
                return f"{field} must be None where the operand's format is {formats[choice]}, not bf16"
        if command.keep:
            limits.append(("beats to keep", beats(machine, command), 1, machine.scratchpad_depth))
        for field, value, low, high in limits:
            if not low <= value <= high:
                return f"{field} must be in {low}..{high}, not {int(value)}"
        if not command.first:
            if self._chain is None:
                return "first must be set where no chain is open"
            for field in ("rows", "columns", "a_format", "b_format"):
                value, before = getattr(command, field), getattr(self._chain.command, field)
                if value != before:
                    return f"{field} must be {before} as in the command before of its chain, not {value}"
        if self._kept is not None:
            for field in ("rows", "tiles", "depth", "a_format"):
                value, before = getattr(command, field), getattr(self._kept[0], field)
                if value != before:
                    return f"{field} must be {before} as in the command before, which keeps its beats, not {value}"
        return None

    def run(
        self,
        command: Command,
        a: ArrayLike | None = None,
        b: ArrayLike | None = None,
        elements: ArrayLike | None = None,
    ) -> Results:
        """Execute one command.

        Parameters
        ----------
        a, b:
            Codes of shape (rows, products) and (products, columns); `a` is None where the command before keeps its own.
        elements:
            Of an update: codes of weights, velocities and gradients, shape (3, beats, lanes).

        Raises
        ------
        TypeError, ValueError
            If the machine refuses the command, or operands do not fit it.
        """
        reason = self.refusal(command)
        if reason is not None:
            raise ValueError(reason)
        if isinstance(command, Reseed):
            self._seeded(command.seed)
            return Results()
        if command.empty:
            return Results()
        if isinstance(command, Update):
            return self._update(command, np.asarray(elements))
        a, b = self._operands(command, a, b)
        chain = self._extended(command, a, b)
        self._advance(command)
        if not command.last:
            self._chain = chain
            return Results()
        self._chain = None
        return self._output(command, chain)

    def _update(self, command: Update, elements: Codes) -> Results:
        machine, kept = self.machine, self.machine.update
        shape = (3, command.beats, machine.update_lanes)
        if elements.shape != shape:
            raise ValueError(f"elements must be of shape {shape}, not {elements.shape}")
        w, v, g = as_codes(elements, kept.format)

        def axpy(stage: int, alpha: int, x: Codes, y: Codes) -> Codes:
            words = words_of(self._update_lanes.stage(stage), x.shape, kept.rounding)
            return mac(y, alpha, x, a_format=kept.format, b_format=kept.format, accumulator=kept, words=words)

        g = axpy(0, command.decay, w, g)
        v = axpy(1, command.momentum, v, g)
        w = axpy(2, command.rate ^ kept.format.sign_mask, v, w)
        self._update_lanes = self._update_lanes.after(w.size)
        return Results(weights=w, velocities=v, nan=bool((w == kept.format.nan_code).any()))

    def _operands(self, command: Matmul, a: ArrayLike | None, b: ArrayLike | None) -> tuple[Codes, Codes]:
        machine = self.machine
        # What the scratchpad keeps is decoded already.
        a_power = command.a_power if self._kept is None else None
        if self._kept is not None:
            a = self._kept[1]
        products = (command.tiles - 1) * machine.block_products + command.depth
        operands = []
        for field, codes, fmt, power, shape in (
            ("a", a, machine.moving_formats[command.a_format], a_power, (command.rows, products)),
            ("b", b, machine.stationary_formats[command.b_format], command.b_power, (products, command.columns)),
        ):
            checked = as_codes(np.asarray(codes), fmt if power is None else E5M2)
            if checked.shape != shape:
                raise ValueError(f"{field} must be of shape {shape}, not {checked.shape}")
            operands.append(checked if power is None else s2fp8_decode_fixed(checked, power))
        self._kept = (command, operands[0]) if command.keep else None
        return operands[0], operands[1]

    def _extended(self, command: Matmul, a: Codes, b: Codes) -> _Chain:
        if command.first or self._chain is None:
            return _Chain(command=command, a=a, b=b, issued=self._issued)
        before = self._chain
        joined = np.concatenate([before.a, a], axis=1), np.concatenate([before.b, b], axis=0)
        return replace(before, a=joined[0], b=joined[1])

    def _advance(self, command: Matmul) -> None:
        """Count what the command's items take from the generators; a chunk's sum counts when the chunk is complete."""
        machine, chain = self.machine, self._chain
        products = command.tiles * machine.block_products
        before = 0 if command.first or chain is None else chain.a.shape[1]
        shape = command.rows, before + products, command.columns
        now = issued_by(machine, *shape)
        was = issued_by(machine, command.rows, before, command.columns) if before else Issued()
        open_sums = 0 if command.last else self._open_sums(command.rows, before + products)
        was_open = self._open_sums(command.rows, before) if before else 0
        self._issued = Issued(
            self._issued.beats + now.beats - was.beats,
            self._issued.sums + (now.sums - open_sums) - (was.sums - was_open),
        )

    def _open_sums(self, rows: int, products: int) -> int:
        """Chunk sums that `issued_by` counts although their chunk is not complete after so many products."""
        machine = self.machine
        if machine.dataflow == "os":
            return machine.block_rows if products % machine.chunk else 0
        passes = products // machine.rows
        return rows if passes % machine.passes_per_chunk else 0

    def _output(self, command: Matmul, chain: _Chain) -> Results:
        machine = self.machine
        (m, k), n = chain.a.shape, chain.b.shape[1]
        arithmetic = machine.arithmetic(machine.a_formats[command.a_format], machine.b_formats[command.b_format])
        y = gemm(chain.a, chain.b, arithmetic, words=array_words(machine, m, k, n, chain.issued))
        lanes, self._lanes = self._lanes, self._lanes.after(command.rows * machine.columns)
        rounding = sr(machine.output_random_bits) if command.stochastic else RNE
        words = None
        if command.stochastic:
            words = lanes.of_tensor((command.rows, machine.columns), machine.output_random_bits)[:, : command.columns]
        codes, statistics = output(
            y,
            machine.outer.format,
            machine.result_formats[command.target],
            rounding,
            exponent=command.scale,
            words=words,
            saturate=command.saturate,
            squeeze=command.squeeze,
        )
        gathered = self._statistics + statistics
        self._statistics = OutputStatistics() if command.report else gathered
        return Results(codes, statistics, gathered if command.report else None, nan=statistics.nans > 0)


def beats(machine: Machine, command: Matmul) -> int:
    """Beats of the a operand that a command streams."""
    return command.tiles * (machine.interleave if machine.dataflow == "os" else command.rows)


def execute(machine: Machine, work: Iterable[tuple[Command, ArrayLike | None, ArrayLike | None]]) -> list[Results]:
    """Results of a sequence of commands with their operands, from reset."""
    accelerator = Accelerator(machine)
    return [accelerator.run(command, a, b) for command, a, b in work]
