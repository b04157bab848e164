"""Machines whose inner sums are exact: the register's width, the latencies that differ, and the file."""

from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from quaver.golden import PRESETS, Accumulator, ExactSum, Format, Machine, array_words, sr, to_float
from quaver.golden.catalog import E4M3, E4M3FNUZ, E5M2, E5M2_WANG, FP16, HFP8_143
from quaver.golden.exact_register import ExactRegister

EXACT = replace(PRESETS["edge"], inner=ExactSum())


@pytest.mark.parametrize(
    ("a", "b", "chunk", "lsb", "width"),
    [  # ARITHMETIC: products of E4M3 from 2^-18 to 2^17, of E5M2 from 2^-32 to 2^31; and log2 of the chunk, and a sign
        ((E4M3,), (E4M3,), 1, -18, 37),
        ((E4M3,), (E4M3,), 64, -18, 43),
        ((E5M2,), (E5M2,), 1, -32, 65),
        ((E4M3, E5M2), (E4M3, E5M2), 64, -32, 71),
        ((E4M3,), (E5M2,), 32, -25, 56),
    ],
)
def test_register(a: tuple[Format, ...], b: tuple[Format, ...], chunk: int, lsb: int, width: int) -> None:
    register = ExactRegister.of(a, b, chunk)
    assert register == ExactRegister(lsb=lsb, width=width)
    assert (register.bits, register.identity_code) == (width + 3, 1 << width + 2)


@pytest.mark.parametrize("chunk", [1, 5, 64])
@pytest.mark.parametrize("formats", [((E4M3, E5M2), (HFP8_143,)), ((E5M2_WANG,), (E4M3FNUZ, E4M3))], ids=["4", "2"])
def test_register_holds_every_product_and_the_largest_sums(
    formats: tuple[tuple[Format, ...], tuple[Format, ...]], chunk: int
) -> None:
    register = ExactRegister.of(*formats, chunk)
    values = [
        np.unique([x for f in each for x in to_float(np.arange(f.max_code + 1), f) if np.isfinite(x)])
        for each in formats
    ]
    products = {Fraction(x) * Fraction(y) for x, y in product(*values)}
    assert len(products) > 100
    units = [x / Fraction(2) ** register.lsb for x in products]
    assert all(x.denominator == 1 for x in units)
    assert any(x.numerator & 1 for x in units), "no lower bit is wasted"
    assert (chunk * max(units)).numerator.bit_length() == register.width - 1


def test_latencies() -> None:
    """The sum enters a MAC at its last register; the outer adders are those of other machines."""
    for depth in range(1, 8):
        machine, other = (replace(m, mac_depth=depth) for m in (EXACT, PRESETS["edge"]))
        assert (machine.product_latency, machine.adder_latency) == (depth - 1, 1)
        assert machine.outer_latency == other.outer_latency == other.adder_latency
        assert (machine.chunk_latency, other.chunk_latency) == (2 if depth > 3 else 1, 0)
    machine = Machine(rows=8, columns=3, chunk=2, mac_depth=4, inner=ExactSum())
    assert [machine.row_skew(i) for i in range(8)] == [0, 1, 3, 4, 6, 7, 9, 10]
    assert machine.foot_cycle == 2 + 3 + 2
    assert machine.store_cycle == machine.foot_cycle + 2 + 4 * 3
    assert machine.round_trip == 4 * 3 + 2
    assert replace(machine, chunk=16).round_trip == 8 + 2


def test_words_are_for_the_outer_sums_only() -> None:
    words = array_words(replace(EXACT, outer=Accumulator(format=FP16, rounding=sr(7))), 3, 5, 2)
    assert words.inner is None
    assert words.outer is not None and words.outer.shape == (1, 3, 2)
    assert EXACT.arithmetic().inner == ExactSum()


def test_file() -> None:
    machine = Machine.from_dict({"inner": "exact", "rows": 8})
    assert machine == Machine(inner=ExactSum(), rows=8)
    assert machine.to_dict()["inner"] == "exact"
    assert Machine.from_dict(machine.to_dict()) == machine
    assert machine.digest != Machine(rows=8).digest
