"""What executes a model's products: casts, sums and random words as a recipe and a machine have them, bit by bit."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from quaver.golden import (
    AmaxHistory,
    ArrayWords,
    Format,
    Issued,
    LaneWords,
    Machine,
    Recipe,
    Squeeze,
    encode,
    gemm,
    s2fp8_decode,
    s2fp8_encode,
    to_float,
)
from quaver.golden.arithmetic import Arithmetic
from quaver.golden.catalog import FP16, FP32
from quaver.golden.errors import Unsuitable, check_range
from quaver.golden.fitting import PLACES, ports_at
from quaver.golden.recipe import Amax, Cast, Fixed
from quaver.golden.scaling import amax_exponent

Values = NDArray[np.float32]
VALUE_TABLE_BITS = 16


class Diverged(ArithmeticError):
    """A tensor that must be finite is not: training is at its end."""


class Operand(NamedTuple):
    """A tensor as it enters a product."""

    codes: NDArray[np.unsignedinteger]
    """Codes of the values times 2^exponent."""
    format: Format
    """Their format."""
    exponent: int = 0
    """What the result of a product is scaled back by."""

    @property
    def transposed(self) -> "Operand":
        """With the last two dimensions exchanged."""
        return self._replace(codes=self.codes.swapaxes(-2, -1))


class Recorder(Protocol):
    """Whoever wants to see the products."""

    def record(self, place: str, phase: str, a: Operand, b: Operand, y: NDArray[np.integer], issued: Issued) -> None:
        """Called after each one, with codes of its sums and what the array had issued before."""
        ...


class Processor:
    """Casts and products of one recipe, and where its random generators stand.

    Parameters
    ----------
    recipe:
        What is computed.
    machine:
        Whose array computes it: its sums and their chunks replace the recipe's, and its generators deal the words.
        If absent, words are those of `ArrayWords.reference`.
    seed:
        Of the generators where there is no machine.

    Raises
    ------
    Unsuitable
        If the machine lacks a format that the recipe asks for; the message names both.
    """

    LANES = 16
    """Lanes of an output unit without a machine, whose generators round casts; a machine has one per column."""

    def __init__(self, recipe: Recipe, *, machine: Machine | None = None, seed: int = 0) -> None:
        check_range("seed", seed, 0, (1 << 32) - 1)
        if machine is not None:
            _check_machine(recipe, machine)
            recipe = replace(recipe, inner=machine.inner, outer=machine.outer, chunk=machine.chunk)
            seed = machine.seed
        self.recipe, self.machine, self.seed = recipe, machine, seed
        self.issued = Issued()
        """What the array's generators have served."""
        self.cast_words = LaneWords(lanes=self.LANES if machine is None else machine.columns, seed=seed)
        """Where the generators of casts stand."""
        self.recorder: Recorder | None = None
        self.frozen = False
        """Whether scales are as training left them: in evaluation."""
        self._arithmetics: dict[tuple[Format, Format], Arithmetic] = {}

    # --------------------------------------------------------------------------------------------------- what is saved

    def to_dict(self) -> dict[str, object]:
        """Where the generators stand."""
        return {"beats": self.issued.beats, "sums": self.issued.sums, "casts": self.cast_words.issued}

    def restore(self, state: Mapping[str, object]) -> None:
        """Go on where `to_dict` was called."""
        self.issued = Issued(int(state["beats"]), int(state["sums"]))  # type: ignore[call-overload]
        self.cast_words = replace(self.cast_words, issued=int(state["casts"]))  # type: ignore[call-overload]

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Compute something that leaves no trace in what comes after: an evaluation."""
        before = self.issued, self.cast_words, self.recorder, self.frozen
        self.recorder, self.frozen = None, True
        try:
            yield
        finally:
            self.issued, self.cast_words, self.recorder, self.frozen = before

    # ----------------------------------------------------------------------------------------------------------- casts

    def cast(
        self, values: Values, cast: Cast, history: AmaxHistory | None = None
    ) -> tuple[Operand, AmaxHistory | None]:
        """A tensor as an operand, and the history of its place after it.

        Raises
        ------
        Diverged
            If S2FP8 meets Inf or NaN, of which it can take no statistics.
        """
        if isinstance(cast.scaling, Squeeze):
            codes, every_value = self._squeezed(values, cast)
            return Operand(encode(every_value, cast.operand)[codes], cast.operand), history
        exponent, history = self._exponent(values, cast, history)
        codes = self._encode(scaled(values, exponent), cast)
        return Operand(codes, cast.format, exponent), history

    def rounded(self, values: Values, cast: Cast) -> Values:
        """A tensor brought into a format and back."""
        if cast.format == FP32:
            return values
        if isinstance(cast.scaling, Squeeze):
            codes, every_value = self._squeezed(values, cast)
            return every_value.astype(np.float32)[codes]
        operand, _ = self.cast(values, cast)
        return values_of(operand)

    def _exponent(self, values: Values, cast: Cast, history: AmaxHistory | None) -> tuple[int, AmaxHistory | None]:
        scaling = cast.scaling
        if isinstance(scaling, Fixed):
            return scaling.exponent, history
        assert isinstance(scaling, Amax)
        if history is None and scaling.history and not self.frozen:
            history = AmaxHistory(length=scaling.history)
        if history is not None and history.values and self.frozen:
            return amax_exponent(history.amax, cast.format, margin=scaling.margin), history
        amax = amax_of(values)
        known = amax if history is None or not history.values else history.amax
        if history is not None and not self.frozen:
            history = history.updated(amax)
        return amax_exponent(known, cast.format, margin=scaling.margin), history

    def _encode(self, values: Values, cast: Cast) -> NDArray[np.unsignedinteger]:
        words = self._words(values, cast)
        return encode(storable(values, cast.format), cast.format, cast.rounding, words=words, saturate=cast.saturate)

    def _squeezed(self, values: Values, cast: Cast) -> tuple[NDArray[np.unsignedinteger], NDArray[np.float64]]:
        """Codes in S2FP8, and the value of every code."""
        try:
            tensor = s2fp8_encode(values, cast.rounding, words=self._words(values, cast), saturate=cast.saturate)
        except ValueError as error:
            raise Diverged(f"a tensor to squeeze is not finite: {error}") from error
        return tensor.codes, s2fp8_decode(np.arange(1 << cast.format.bits), tensor.alpha, tensor.beta)

    def _words(self, values: Values, cast: Cast) -> LaneWords | None:
        if not cast.rounding.stochastic:
            return None
        words, self.cast_words = self.cast_words, self.cast_words.after(values.size)
        return words

    # -------------------------------------------------------------------------------------------------------- products

    def multiply(self, a: Operand, b: Operand, *, place: str, phase: str) -> Values:
        """The product of (..., M, K) and (..., K, N), rounded to the recipe's wide format."""
        exponent = -(a.exponent + b.exponent)
        if self.recipe.host:
            # On PyTorch's threads; it warns of what is read-only, as a view of an image that is one patch.
            y = torch.matmul(*(torch.from_numpy(np.require(_floats(x), requirements="W")) for x in (a, b)))
            return self._result(scaled(y.numpy(), exponent))
        arithmetic = self._arithmetic(a.format, b.format)
        m, k, n = *a.codes.shape[-2:], b.codes.shape[-1]
        before = self.issued
        law = self._law(arithmetic)
        y = gemm(a.codes, b.codes, arithmetic, words=law)
        if law is not None:
            self.issued = law.after(m, k, n, times=prod(y.shape[:-2])).issued
        if self.recorder is not None:
            self.recorder.record(place, phase, a, b, y, before)
        outer = arithmetic.outer.format
        if exponent == 0 and outer == self.recipe.wide:
            return decoded(y, outer)
        return self._result(scaled(decoded(y, outer), exponent))

    def _arithmetic(self, a: Format, b: Format) -> Arithmetic:
        if (a, b) not in self._arithmetics:
            self._arithmetics[a, b] = self.recipe.arithmetic(a, b, self.seed)
        return self._arithmetics[a, b]

    def _law(self, arithmetic: Arithmetic) -> ArrayWords | None:
        if self.machine is not None:
            return ArrayWords.of(self.machine, self.issued)
        if not arithmetic.inner_random_bits and not arithmetic.outer_random_bits:
            return None
        return replace(ArrayWords.reference(arithmetic), issued=self.issued)

    def _result(self, values: Values) -> Values:
        wide = self.recipe.wide
        if wide == FP32:
            return values
        return decoded(encode(storable(values, wide), wide, saturate=self.recipe.error.saturate), wide)


def _check_machine(recipe: Recipe, machine: Machine) -> None:
    if recipe.host:
        raise Unsuitable(f"recipe {recipe.name} must run without a machine: its products are the host's")
    for place in PLACES:
        for port, has, needs in zip("ab", (machine.a_formats, machine.b_formats), ports_at(recipe, place), strict=True):
            for fmt in needs:
                if fmt not in has:
                    raise Unsuitable(
                        f"{port}_formats of {machine.name} must have {fmt} for recipe {recipe.name}, "
                        f"not {', '.join(f.name for f in has)}"
                    )


def amax_of(values: Values) -> float:
    """Largest finite magnitude; 0 where there is none."""
    if not values.size:
        return 0.0
    amax = max(float(values.max()), -float(values.min()))
    if not np.isfinite(amax):
        amax = float(np.abs(values, where=np.isfinite(values), out=np.zeros_like(values)).max())
    return amax


def storable(values: Values, fmt: Format) -> Values:
    """Values with +0 for a NaN where the format has none, as the output unit writes it."""
    if fmt.nan_code is None and np.isnan(values.max(initial=0.0)):
        return np.where(np.isnan(values), np.float32(0.0), values)
    return values


def scaled(values: Values, exponent: int) -> Values:
    """Values times 2^exponent: exact, but beyond float32's range, where no format of ours with a scale has numbers."""
    if exponent == 0:
        return values
    with np.errstate(over="ignore", under="ignore"):
        if -126 <= exponent <= 127:
            return values * np.float32(2.0**exponent)
        return np.ldexp(values, exponent)


@lru_cache(maxsize=64)
def _table(fmt: Format) -> Values:
    return to_float(np.arange(1 << fmt.bits), fmt).astype(np.float32)


def decoded(codes: NDArray[np.integer], fmt: Format) -> Values:
    """Values of codes as float32, which holds every number of every format but the smallest of a 1-8-23."""
    if fmt == FP32:
        return codes.view(np.float32)
    if fmt == FP16:
        return codes.view(np.float16).astype(np.float32)  # which processors do faster than a table
    if fmt.bits <= VALUE_TABLE_BITS:
        return np.take(_table(fmt), codes)
    return to_float(codes, fmt).astype(np.float32)


def _floats(operand: Operand) -> Values:
    return decoded(operand.codes, operand.format)


def values_of(operand: Operand) -> Values:
    """The values that the codes stand for."""
    return scaled(_floats(operand), -operand.exponent)
