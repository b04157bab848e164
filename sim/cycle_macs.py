"""What the stepped arrays of all dataflows are made of: MACs with their registers; and why a beat waits before them."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quaver.golden import Machine
from quaver.golden.lfsr import rotated
from quaver.sim.cycle_sums import NOTHING, Codes, ExactSums, FloatSums, operands_of


@dataclass(kw_only=True)
class Waits:
    """Cycles in which the array took no beat, by cause."""

    a: int = 0
    """There was none, although a command is under way."""
    b: int = 0
    """Its tile of the b operand was not loaded; with `os`, its row was not there."""
    sums: int = 0
    """The sums that it adds to were not back; with `os`, it was not its slot's turn, or sums of the chunk before were
    still in the way of those that it completes."""
    results: int = 0
    """There was no room for its result."""


class Macs:
    """All MACs of an array: state arrays of shape (rows, columns), moved on by a register per cycle."""

    def __init__(self, machine: Machine, adders: FloatSums | ExactSums) -> None:
        self._adders = adders
        self._a, self._b = operands_of(machine.a_formats), operands_of(machine.b_formats)
        self._bits = machine.inner_rounding.random_bits
        self._turning = machine.dataflow == "os"
        self._empty = np.full((machine.rows, machine.columns), NOTHING, adders.dtype)
        self._products = deque([(self._empty.astype(np.int64),) * 3] * machine.product_latency)
        self._sums = deque([self._empty] * machine.adder_latency)

    @property
    def results(self) -> NDArray:
        """What leaves the adders."""
        return self._sums[-1]

    def step(self, a: Codes, b: Codes, words: Codes, sums: NDArray) -> None:
        """One cycle: operands and their words enter, and the `sums` for those `product_latency` cycles before."""
        self._products.append((a, b, words))
        self._sums.appendleft(self._added(sums, *self._products.popleft()))
        self._sums.pop()

    def _added(self, sums: NDArray, a: Codes, b: Codes, words: Codes) -> NDArray:
        # A sum that stays in its PE meets -0 in an idle cycle, which leaves it as it is; one that falls is not there.
        results = sums.copy() if self._turning else self._empty.copy()
        busy = a != NOTHING
        if busy.any():
            dealt = rotated(words[busy], np.nonzero(busy)[1], self._bits) if self._bits else None
            results[busy] = self._adders.multiply_add(sums[busy], self._a.exact(a[busy]), self._b.exact(b[busy]), dealt)
        return results


def moved(heads: NDArray, state: NDArray) -> NDArray:
    """The state one register to the right, `heads` in column 0."""
    return np.concatenate([heads[:, None], state[:, :-1]], axis=1)
