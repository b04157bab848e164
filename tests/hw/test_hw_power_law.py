"""PowerLaw and S2fp8Decoder in Amaranth's simulator: their latencies, and stalls that change nothing."""

import numpy as np
import pytest

from quaver.golden import decode
from quaver.golden.catalog import E5M2
from quaver.golden.s2fp8_fixed import POWER_HIGH, POWER_LOW, power_law, s2fp8_decode_fixed, unsqueeze_registers
from quaver.hw.power_law import POWER_LAW_LATENCY, POWER_LAYOUT, PowerLaw
from quaver.hw.rounder import number_layout
from quaver.hw.s2fp8_decoder import S2FP8_DECODER_LATENCY, S2fp8Decoder

EVERY = np.arange(256)
OFFSET = (1 << 32) - 1


def stalled(rng: np.random.Generator, cycles: int) -> tuple[np.ndarray, np.ndarray]:
    """`enable` in each cycle, and the number of enabled cycles before it."""
    enable = rng.integers(0, 2, cycles)
    return enable, np.cumsum(enable) - enable


@pytest.mark.parametrize("stalls", [False, True], ids=["flowing", "stalled"])
def test_decoder(play, stalls):
    """One code per enabled cycle, each `S2FP8_DECODER_LATENCY` enabled cycles later; no other latency gives these."""
    factor, offset = unsqueeze_registers((5.0, 21.0))
    rng = np.random.default_rng(5)
    cycles = 700
    enable, before = stalled(rng, cycles) if stalls else (np.ones(cycles, np.int64), np.arange(cycles))
    # What is there while nothing is enabled is not looked at.
    codes = np.where(enable, EVERY[before % 256], rng.integers(0, 256, cycles))
    inputs = {
        "enable": enable,
        "code": codes,
        "factor": np.where(enable, factor, rng.integers(1, 1 << 32, cycles)),
        "offset": np.where(enable, offset & OFFSET, rng.integers(0, 1 << 32, cycles)),
    }
    got = play(S2fp8Decoder(), inputs, ["result"])["result"]
    results = s2fp8_decode_fixed(EVERY, (factor, offset))
    matching = []
    for latency in range(9):
        known = before >= 8
        if np.array_equal(got[known], results[(before[known] - latency) % 256]):
            matching.append(latency)
    assert matching == [S2FP8_DECODER_LATENCY] == [5]
    assert known.sum() > 600
    assert enable.sum() > 256 + 8


def test_power_law_and_when_it_reads_its_registers(play):
    """Registers of their own for every number: the factor comes one cycle after it, the offset two."""
    rng = np.random.default_rng(6)
    count, late = 600, POWER_LAW_LATENCY
    codes = rng.integers(0, 0x7C, count)
    x = decode(codes, E5M2)
    lead = np.frexp(np.maximum(x.significand, 1).astype(float))[1] - 1
    layout = number_layout(3, 6)
    fields = {
        "significand": x.significand << 2 - lead,
        "exponent": x.exponent + lead & 63,
        "sign": rng.integers(0, 2, count),
    }
    numbers = sum(values << layout[name].offset for name, values in fields.items())
    factors = rng.integers(1, 1 << 32, count) >> rng.integers(0, 32, count)
    factors = np.maximum(factors, 1)
    offsets = rng.integers(-1 << 31, 1 << 31, count) >> rng.integers(0, 31, count)

    def delayed(values: np.ndarray, cycles: int) -> np.ndarray:
        return np.concatenate([np.zeros(cycles, np.int64), values, np.zeros(late - cycles, np.int64)])

    inputs = {
        "enable": np.ones(count + late, np.int64),
        "number": delayed(numbers, 0),
        "factor": delayed(factors, 1),
        "offset": delayed(offsets & OFFSET, 2),
    }
    raw = play(PowerLaw(layout), inputs, ["power"])["power"][late:]
    got = {name: raw >> field.offset & ((1 << field.width) - 1) for name, field in POWER_LAYOUT}
    compared = ends = 0
    for index, registers in enumerate(zip(factors.tolist(), offsets.tolist(), strict=True)):
        want = power_law(decode(codes[index : index + 1], E5M2), registers)
        assert got["sign"][index] == fields["sign"][index]
        assert got["significand"][index] == want.significand[0]
        if want.significand[0]:
            exponent = want.exponent[0] + 16
            assert got["exponent"][index] == exponent & 1023
            ends += exponent in (POWER_LOW, POWER_HIGH)
            compared += 1
    assert compared > 580
    assert ends > 50
