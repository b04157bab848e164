"""Whole multiplications on the stepped machine: golden's bits and the closed form's cycles, for every dataflow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import Accumulator, Machine, array_words, gemm, output, sr
from quaver.golden.catalog import E4M3, E5M2, FP16
from quaver.sim.stepped_gemm import gemm_parts, step_gemm
from quaver.sim.timing import accelerator_cycles

DRAWS = 40


def machine(dataflow: str, **members: object) -> Machine:
    sums = {"inner": Accumulator(rounding=sr(6)), "outer": Accumulator(format=FP16, rounding=sr(5))}
    shape = {"rows": 4, "columns": 3, "chunk": 4, "mac_depth": 2, "accumulator_depth": 5, "scratchpad_depth": 12}
    formats = {"a_formats": (E4M3, E5M2), "b_formats": (E5M2,), "output_formats": (E4M3,)}
    return Machine(dataflow=dataflow, **{**shape, **sums, **formats, **members})  # type: ignore[arg-type]


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_a_gemm_is_golden_s_in_the_closed_form_s_time(dataflow: str) -> None:
    described = machine(dataflow)
    compared: list[int] = []

    @settings(max_examples=DRAWS, deadline=None, database=None, derandomize=True)
    @given(st.integers(1, 12), st.integers(1, 14), st.integers(1, 8), st.integers(0, 1), st.integers(0, 1 << 32))
    def draw(m: int, k: int, n: int, a_format: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        a, b = rng.integers(0, 1 << 8, (m, k)), rng.integers(0, 1 << 8, (k, n))
        codes, stepped = step_gemm(described, a, b, a_format=a_format, target=seed % 2)
        arithmetic = described.arithmetic(described.a_formats[a_format])
        y = gemm(a, b, arithmetic, words=array_words(described, m, k, n))
        expected = output(y, FP16, described.result_formats[seed % 2]).codes
        np.testing.assert_array_equal(codes, expected)
        assert stepped.cycles == accelerator_cycles(described, m, k, n)
        assert stepped.macs == m * k * n
        compared.append(expected.size)

    draw()
    assert len(compared) >= DRAWS and sum(compared) > 500


def test_beats_that_are_kept_are_not_brought_again() -> None:
    """A product of 7 x 4 x 8 in blocks of 2 x 4 x 3: three blocks have the same rows of the a operand."""
    parts = gemm_parts(machine("ws", accumulator_depth=2), np.zeros((7, 4), int), np.zeros((4, 8), int))
    assert [part.block.command.keep for part in parts] == [True, True, False] * 4
    assert [None if part.a is None else part.a.shape for part in parts] == [(2, 4), None, None] * 3 + [
        (1, 4),
        None,
        None,
    ]
    assert [part.b.shape for part in parts] == [(4, 3), (4, 3), (4, 2)] * 4


def test_operands_that_do_not_fit_are_refused() -> None:
    codes = np.zeros((2, 3), int)
    message = r"^a and b must be of shapes \(M, K\) and \(K, N\), not \(2, 3\) and \(2, 3\)$"
    with pytest.raises(ValueError, match=message):
        step_gemm(machine("os"), codes, codes)
    with pytest.raises(ValueError, match=r"^the sequence must end within 9 cycles$"):
        step_gemm(machine("os"), codes, codes.T, limit=9)
