# amaranth: UnusedElaboratable=no
"""The output unit in Amaranth's own simulator: its rounder's register, its buffer-less back-pressure, what it refuses."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator

from quaver.golden import LaneWords, OutputStatistics, encode, output, rescale, sr
from quaver.golden.catalog import DLFLOAT16, E2M1, E4M3, E5M2, FP16
from quaver.hw.output_unit import OutputUnit, reduction_latency
from quaver.hw.rounder import ROUNDER_LATENCY, Rounder, number_layout

Play = Callable[..., dict[str, np.ndarray]]
TARGETS = (DLFLOAT16, E4M3)
LANES, SEED = 3, 11


def rounder_inputs(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Numbers of 11 bits around E4M3's range, packed as the rounder's port has them, and how each is rounded."""
    significand = rng.integers(1 << 10, 1 << 11, count)
    exponent, sign = rng.integers(-14, 12, count), rng.integers(0, 2, count)
    layout = number_layout(11, 6)
    fields = {"significand": significand, "exponent": exponent & 63, "sign": sign}
    return {
        "number": sum(values << layout[name].offset for name, values in fields.items()),
        "saturate": rng.integers(0, 2, count),
        "stochastic": rng.integers(0, 2, count),
        "word": rng.integers(0, 1 << 5, count),
        "enable": rng.integers(0, 2, count),
    }


def test_a_rounder_has_one_register_and_keeps_it(play: Play) -> None:
    """What was taken at the last cycle with `enable` is on offer, and nothing else."""
    count = 600
    inputs = rounder_inputs(np.random.default_rng(1), count)
    record = play(Rounder(number_layout(11, 6), E4M3, 5), inputs, ["code", "overflow", "underflow"])
    layout = number_layout(11, 6)
    fields = {name: inputs["number"] >> field.offset & ((1 << field.width) - 1) for name, field in layout}
    exponent = (fields["exponent"] ^ 32) - 32
    compared, taken = 0, None
    assert ROUNDER_LATENCY == 1
    for cycle in range(count):
        if taken is not None:
            value = (-1.0) ** fields["sign"][taken] * fields["significand"][taken] * 2.0 ** (exponent[taken] - 10)
            wide = encode(value, replace(FP16, name="wide", exponent_bits=8, bias=127))
            words = inputs["word"][taken : taken + 1]
            rounding, saturate = (sr(5) if inputs["stochastic"][taken] else sr(5)), bool(inputs["saturate"][taken])
            if not inputs["stochastic"][taken]:
                rounding, words = replace(rounding, mode="rne", random_bits=0), None
            source = replace(FP16, name="wide", exponent_bits=8, bias=127)
            codes, statistics = output([int(wide)], source, E4M3, rounding, words=words, saturate=saturate)
            assert record["code"][cycle] == codes[0]
            assert (record["overflow"][cycle], record["underflow"][cycle]) == (
                statistics.overflows,
                statistics.underflows,
            )
            compared += 1
        if inputs["enable"][cycle]:
            taken = cycle
    assert compared > count - 20
    assert record["overflow"].any() and record["underflow"].any()
