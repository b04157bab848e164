"""Stimuli for exact sums, and what the definition makes of them.  Codes are Python's integers: they have any width."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from quaver.golden import Exact, multiply
from quaver.golden.exact_register import ExactRegister

Codes = NDArray[np.object_]
_LIMB = 32


class ExactFields(NamedTuple):
    """The parts of codes of exact sums."""

    number: Codes
    """In units of the register's least significant bit."""
    up: NDArray[np.bool_]
    down: NDArray[np.bool_]
    identity: NDArray[np.bool_]


def fields(register: ExactRegister, codes: Codes) -> ExactFields:
    """The parts of `codes`."""
    raw, half = codes & ((1 << register.width) - 1), 1 << register.width - 1
    flags = ((codes >> register.width + flag & 1).astype(bool) for flag in range(3))
    return ExactFields((raw ^ half) - half, *flags)


def packed(register: ExactRegister, parts: ExactFields) -> Codes:
    """Codes of `parts`; an infinite sum or a NaN has one code each, whatever its number."""
    special = parts.up | parts.down
    number = np.where(special, 0, parts.number & ((1 << register.width) - 1))
    flags = (parts.up, parts.down, parts.identity & ~special)
    return number + sum(flag.astype(object) << register.width + place for place, flag in enumerate(flags))


def canonical(register: ExactRegister, codes: Codes) -> Codes:
    """`codes` that are equal if what they stand for is."""
    return packed(register, fields(register, codes))


def add_product(register: ExactRegister, codes: Codes, a: Exact, b: Exact) -> Codes:
    """Codes of sums plus products, `canonical`."""
    before, product = fields(register, codes), multiply(a, b)
    zero = (product.significand == 0) & ~product.inf & ~product.nan
    return packed(
        register,
        ExactFields(
            before.number + _units(register, product),
            before.up | product.nan | (product.inf & ~product.sign),
            before.down | product.nan | (product.inf & product.sign),
            before.identity & zero & product.sign,
        ),
    )


def as_terms(register: ExactRegister, codes: Codes) -> list[Exact]:
    """Sums as terms for `golden.exact_sums.add_exactly`, which are short."""
    number, up, down, identity = fields(register, codes)
    nan, magnitude = up & down, abs(number)
    sign = (number < 0).astype(bool) | identity | down
    terms = []
    for place in range(0, register.width, _LIMB):
        limb = (magnitude >> place & ((1 << _LIMB) - 1)).astype(np.int64)
        exponent, sticky = np.full(len(codes), register.lsb + place), np.zeros(len(codes), bool)
        terms.append(Exact(sign, exponent, limb, sticky, (up | down) & ~nan, nan))
    return terms


def exact_sums(rng: Generator, register: ExactRegister, count: int) -> Codes:
    """Codes of sums: numbers of every length, half of them of at most three ones; one in eight -0, Inf or NaN."""
    last = register.width - 1
    dense = [
        int.from_bytes(rng.bytes(16), "little") >> 128 - int(rng.integers(0, last, endpoint=True)) for _ in range(count)
    ]
    ones = rng.integers(0, last, (count, 3)).astype(object)
    sparse = np.bitwise_or.reduce(np.left_shift(1, ones), axis=1)
    number = np.where(rng.integers(0, 2, count) == 1, np.array(dense, object), sparse) * rng.choice([-1, 0, 1], count)
    return with_specials(rng, register, number)


def with_specials(rng: Generator, register: ExactRegister, number: Codes) -> Codes:
    """Codes of `number`; one in eight is -0, Inf or NaN instead."""
    kind = rng.integers(0, 32, len(number))
    return packed(
        register,
        ExactFields(np.where(kind == 3, 0, number), (kind == 0) | (kind == 2), (kind == 1) | (kind == 2), kind == 3),
    )


def beside_products(rng: Generator, register: ExactRegister, a: Exact, b: Exact) -> Codes:
    """Sums that cancel the products of `a` and `b` but for a unit, specials among them; beside a zero -0."""
    product = multiply(a, b)
    codes = with_specials(rng, register, rng.integers(-1, 2, len(product.sign)) - _units(register, product))
    return np.where(product.significand == 0, register.identity_code, codes)


def _units(register: ExactRegister, product: Exact) -> Codes:
    shift = np.where(product.significand == 0, 0, product.exponent - register.lsb).astype(object)
    magnitude = np.left_shift(product.significand.astype(object), shift)
    return np.where(product.sign, -magnitude, magnitude)
