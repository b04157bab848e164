"""The words that lanes of an output unit or of a weight-update unit deal to the elements of a tensor, in its order."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from quaver.golden.errors import check_range
from quaver.golden.lfsr import OUTPUT_GENERATORS, LeapingLfsr, Words, seed_of
from quaver.golden.rounding import Rounding


@dataclass(frozen=True, kw_only=True)
class LaneWords:
    """Element i of a tensor is the work of lane i mod `lanes`; every lane's generator steps once per item.

    A row of lanes is issued in full, whatever its rounding, so that a tensor leaves all lanes at the same place.
    """

    lanes: int = 16
    """Lanes of the unit, 1 to 65536, one generator each."""
    generators: int = OUTPUT_GENERATORS
    """Number of lane 0's generator."""
    seed: int = 0
    """Seed of all generators."""
    issued: int = 0
    """Items that each lane served before."""

    def __post_init__(self) -> None:
        check_range("lanes", self.lanes, 1, 1 << 16)
        check_range("generators", self.generators, 0, (1 << 32) - 1)
        check_range("seed", self.seed, 0, (1 << 32) - 1)
        check_range("issued", self.issued, 0, (1 << 63) - 1)

    def seeds(self) -> Words:
        """Initial states of the lanes' generators, shape (lanes,), read-only."""
        return _seeds(self.seed, self.generators, self.lanes)

    def of_tensor(self, shape: tuple[int, ...], bits: int) -> Words:
        """Words of `bits` bits for the elements of a tensor of `shape`, in C order."""
        count = int(np.prod(shape, dtype=np.int64))
        words = LeapingLfsr(bits).words(self.seeds(), self.issued, -(-count // self.lanes))
        return words.T.reshape(-1)[:count].reshape(shape)

    def stage(self, number: int) -> "LaneWords":
        """The law of stage `number` of a unit whose lanes have one generator per stage, stage after stage."""
        return replace(self, generators=self.generators + number * self.lanes)

    def after(self, count: int) -> "LaneWords":
        """The law that holds after a tensor of `count` elements."""
        return replace(self, issued=self.issued + -(-count // self.lanes))


@lru_cache(maxsize=64)
def _seeds(seed: int, generators: int, lanes: int) -> Words:
    states = np.array([seed_of(seed, generators + lane) for lane in range(lanes)], dtype=np.uint32)
    states.flags.writeable = False
    return states


def words_of(words: ArrayLike | LaneWords | None, shape: tuple[int, ...], rounding: Rounding) -> ArrayLike | None:
    """The words themselves, or those that the law of a unit's lanes deals to a tensor of `shape`."""
    if isinstance(words, LaneWords):
        return words.of_tensor(shape, rounding.random_bits) if rounding.stochastic else None
    return words
