"""What the stepped machine computes with: operands decoded once, inner and outer adders, generators of random words.

The arithmetic is golden's, one step at a time; when a step happens is the business of the other modules.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from quaver.golden import Accumulator, Exact, Format, Machine, accumulate, chunk_addend, decode, multiply, seed_of
from quaver.golden.exact_register import ExactRegister
from quaver.golden.exact_sums import add_exactly
from quaver.golden.lfsr import WIDTH, step
from quaver.golden.mac import round_sum

NOTHING = -1
"""What a register without a value holds; no code of any format, so that what comes at a wrong time is an error."""
_LIMB = 48
"""Bits of an exact sum that are handed to golden's addition at a time."""

Codes = NDArray[np.int64]


class Operands:
    """The decoders of an operand: numbers stand for codes of all its formats, and one for -0, the absent product."""

    def __init__(self, formats: tuple[Format, ...]) -> None:
        self._start = np.cumsum([0, *(1 << fmt.bits for fmt in formats)]).tolist()
        parts = [decode(np.arange(1 << fmt.bits), fmt) for fmt in formats]
        parts.append(Exact(*(np.array([field]) for field in (True, 0, 0, False, False, False))))
        self._table = Exact(*(np.concatenate(fields) for fields in zip(*parts, strict=True)))

    @property
    def absent(self) -> int:
        """Number of -0: a product with +0 is the identity of addition."""
        return self._start[-1]

    def numbers(self, codes: NDArray, choice: int) -> Codes:
        """Numbers of codes of the format with index `choice`."""
        return codes.astype(np.int64) + self._start[choice]

    def exact(self, numbers: Codes) -> Exact:
        """What numbers stand for."""
        x = self._table
        return Exact(
            x.sign[numbers],
            x.exponent[numbers],
            x.significand[numbers],
            x.sticky[numbers],
            x.inf[numbers],
            x.nan[numbers],
        )


@lru_cache(maxsize=16)
def operands_of(formats: tuple[Format, ...]) -> Operands:
    """The decoders of an operand with these formats."""
    return Operands(formats)


class FloatSums:
    """Inner sums that are rounded with every product."""

    def __init__(self, machine: Machine, inner: Accumulator) -> None:
        self._inner, self._outer = inner, machine.outer
        self.identity = inner.format.identity_code
        self.dtype = np.dtype(np.int64)

    def multiply_add(self, sums: NDArray, a: Exact, b: Exact, words: NDArray | None) -> NDArray:
        """Codes of sums + a * b."""
        return accumulate(sums, multiply(a, b), self._inner, words)

    def join(self, y: NDArray, chunks: NDArray, words: NDArray | None) -> NDArray:
        """Codes of the outer sums y + chunks."""
        return accumulate(y, chunk_addend(chunks, self._inner.format), self._outer, words)


class ExactSums:
    """Inner sums in fixed point: codes of an `ExactRegister`, Python's integers in arrays of objects."""

    def __init__(self, machine: Machine, register: ExactRegister) -> None:
        self._register, self._outer = register, machine.outer
        self.identity = register.identity_code
        self.dtype = np.dtype(object)

    def multiply_add(self, sums: NDArray, a: Exact, b: Exact, words: NDArray | None) -> NDArray:
        """Codes of sums + a * b."""
        x = multiply(a, b)
        fields = (x.sign, x.exponent, x.significand, x.inf, x.nan)
        columns = zip(sums.tolist(), *(field.tolist() for field in fields), strict=True)
        result = np.empty(len(sums), object)
        result[:] = [self._added(*column) for column in columns]
        return result

    def join(self, y: NDArray, chunks: NDArray, words: NDArray | None) -> NDArray:
        """Codes of the outer sums y + chunks, rounded once."""
        return round_sum(add_exactly([decode(y, self._outer.format), *self._terms(chunks)]), self._outer, words)

    def _added(self, code: int, sign: bool, exponent: int, significand: int, inf: bool, nan: bool) -> int:
        number, up, down, identity = self._parts(code)
        if significand:
            magnitude = significand << exponent - self._register.lsb
            number += -magnitude if sign else magnitude
        width = self._register.width
        flags = (
            (up or nan or (inf and not sign))
            | (down or nan or (inf and sign)) << 1
            | (identity and sign and not (significand or inf or nan)) << 2
        )
        return number & (1 << width) - 1 | flags << width

    def _parts(self, code: int) -> tuple[int, bool, bool, bool]:
        """Number and flags of a code: an addend was +Inf or NaN, was -Inf or NaN, all were -0."""
        if code == NOTHING:
            raise ValueError("a sum must be there when it is added to")
        width = self._register.width
        number = code & (1 << width) - 1
        negative = number >> width - 1
        up, down, identity = (bool(code >> width + bit & 1) for bit in range(3))
        return number - (negative << width), up, down, identity

    def _terms(self, codes: NDArray) -> list[Exact]:
        """Exact values as sums of short ones, the parts that are zero being -0 where the whole one is not +0."""
        parts = [self._parts(code) for code in codes.tolist()]
        negative = np.array([number < 0 for number, *_ in parts])
        plain = np.array([number == 0 and not identity for number, _, _, identity in parts])
        up, down = (np.array([part[flag] for part in parts]) for flag in (1, 2))
        terms = []
        for low in range(0, self._register.width, _LIMB):
            limb = np.array([abs(number) >> low & (1 << _LIMB) - 1 for number, *_ in parts], np.int64)
            first = np.full(limb.shape, low == 0)
            terms.append(
                Exact(
                    np.where(limb == 0, ~plain, negative) & ~(first & up) | first & down & ~up,
                    np.full(limb.shape, self._register.lsb + low),
                    limb,
                    np.zeros(limb.shape, bool),
                    first & (up ^ down),
                    first & up & down,
                )
            )
        return terms


def sums_of(machine: Machine) -> FloatSums | ExactSums:
    """The adders of a machine."""
    if isinstance(machine.inner, Accumulator):
        return FloatSums(machine, machine.inner)
    assert machine.exact_register is not None
    return ExactSums(machine, machine.exact_register)


class Generators:
    """Random generators side by side, each of which steps when an item is issued to it."""

    def __init__(self, seed: int, numbers: Iterable[int], bits: int) -> None:
        self._states = [seed_of(seed, number) for number in numbers]
        self._bits = bits

    def deal(self, index: int) -> int:
        """The next word of generator `index`, which leaps as many steps as a word has bits."""
        state = self._states[index]
        for _ in range(self._bits):
            state = step(state)
        self._states[index] = state
        return state >> WIDTH - self._bits
