"""A matrix multiplication on the stepped machine: planned into commands, stepped, and put together again."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quaver.golden import Block, Machine, Matmul, plan
from quaver.sim.cycle import LIMIT, Stepped, step_sequence


class Part(NamedTuple):
    """A command of the plan with its operands, as the ports take them."""

    block: Block
    a: NDArray | None
    """Codes of shape (rows, products); None where the command before keeps its own."""
    b: NDArray
    """Codes of shape (products, columns)."""

    @property
    def work(self) -> tuple[Matmul, NDArray | None, NDArray]:
        """What `step_sequence` takes."""
        return self.block.command, self.a, self.b


class SteppedGemm(NamedTuple):
    """What a multiplication made of the machine."""

    codes: NDArray
    """Results of shape (m, n), codes of the target."""
    stepped: Stepped
    """Cycles, waits by cause, beats: all that is known of the sequence of commands."""


def gemm_parts(
    machine: Machine,
    a: ArrayLike,
    b: ArrayLike,
    *,
    a_format: int = 0,
    b_format: int = 0,
    target: int = 0,
    stochastic: bool = False,
) -> list[Part]:
    """The commands of a multiplication with their operands, as `quaver.golden.plan` orders them.

    Parameters
    ----------
    a, b:
        Codes of shape (m, k) and (k, n).
    a_format, b_format:
        Indices of their formats in `Machine.a_formats` and `Machine.b_formats`.
    target, stochastic:
        As in `Matmul`.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a dimension is 0.
    """
    left, right = np.asarray(a), np.asarray(b)
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[0]:
        raise ValueError(f"a and b must be of shapes (M, K) and (K, N), not {left.shape} and {right.shape}")
    if machine.dataflow == "is":
        left, right, a_format, b_format = right.T, left.T, b_format, a_format
    blocks = plan(
        machine,
        len(left),
        len(right),
        right.shape[1],
        a_format=a_format,
        b_format=b_format,
        target=target,
        stochastic=stochastic,
    )
    parts: list[Part] = []
    for block in blocks:
        kept = bool(parts) and parts[-1].block.command.keep
        parts.append(Part(block, None if kept else left[block.rows], right[:, block.columns]))
    return parts


def assembled(machine: Machine, parts: Sequence[Part], results: Sequence[NDArray]) -> NDArray:
    """The product of shape (m, n) from the results of all parts."""
    m, n = parts[-1].block.rows.stop, parts[-1].block.columns.stop
    codes = np.empty((m, n), results[0].dtype)
    for part, result in zip(parts, results, strict=True):
        codes[part.block.rows, part.block.columns] = result
    return codes.T if machine.dataflow == "is" else codes


def step_gemm(
    machine: Machine,
    a: ArrayLike,
    b: ArrayLike,
    *,
    a_format: int = 0,
    b_format: int = 0,
    target: int = 0,
    stochastic: bool = False,
    limit: int = LIMIT,
) -> SteppedGemm:
    """Step a machine of any dataflow, from reset, through one multiplication; its streams are always ready.

    Parameters
    ----------
    a, b, a_format, b_format, target, stochastic:
        As of `gemm_parts`.
    limit:
        Cycles after which to give up.

    Raises
    ------
    ValueError
        If the shapes do not fit, if codes are out of range, or if there is no end within `limit`.
    """
    parts = gemm_parts(machine, a, b, a_format=a_format, b_format=b_format, target=target, stochastic=stochastic)
    stepped = step_sequence(machine, [part.work for part in parts], limit=limit)
    results = [codes for codes in stepped.results if codes is not None]
    return SteppedGemm(assembled(machine, parts, results), stepped)
