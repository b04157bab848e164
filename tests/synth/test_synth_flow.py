"""`quaver synth`: figures of the real flow, and what is said when it cannot run."""

import dataclasses
import re

import pytest

from quaver.golden import FORMATS, PRESETS, Accumulator, sr
from quaver.hw.decoder import Decoder
from quaver.hw.design import Design
from quaver.synth.flow import synthesize
from quaver.synth.yosys import YosysError, cell_counts

AREA_MAX = 650
"""0.6 of the 1077 of FPnew's run-time {E4M3, E5M2} multiply-add with FP16, in the same shell and flow."""


@pytest.fixture(scope="module")
def tiny():
    return synthesize(PRESETS["tiny"], unit="mac", target="ecp5")


def test_area_of_tiny_is_six_tenths_of_fpnew(tiny):
    assert (tiny["machine"], tiny["unit"], tiny["target"]) == ("tiny", "mac", "ecp5")
    assert tiny["lut4_equivalent"] == tiny["lut4"] + 2 * tiny["ccu2c"] <= AREA_MAX
    # Below this the datapath cannot be complete: 16 product bits of a 4 x 4 multiplier, shifter, adder, normaliser.
    assert tiny["lut4_equivalent"] > 300


def test_registers_are_those_of_the_shell(tiny):
    operand = 4 + 5 + 1 + 2  # significand, exponent, sign, Inf and NaN
    assert tiny["ff"] == 2 * operand + 1 + 16


def test_decoder_is_reported_beside(tiny):
    assert tiny["decoder"]["ff"] == 0
    assert 0 < tiny["decoder"]["lut4_equivalent"] < tiny["lut4_equivalent"] / 4


def test_area_does_not_depend_on_the_pipeline(tiny):
    deep = dataclasses.replace(PRESETS["tiny"], mac_depth=6)
    assert synthesize(deep, unit="mac", target="ecp5") == tiny


def test_stochastic_rounding_adds_its_word(tiny):
    machine = dataclasses.replace(PRESETS["tiny"], inner=Accumulator(rounding=sr(9)))
    assert synthesize(machine)["ff"] == tiny["ff"] + 9


def test_wider_accumulators_cost_more(tiny):
    machine = dataclasses.replace(PRESETS["tiny"], inner=Accumulator(format=FORMATS["fp32"]))
    assert synthesize(machine)["lut4_equivalent"] > tiny["lut4_equivalent"]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"unit": "top"}, "unit must be one of mac, not 'top'"),
        ({"target": "asic"}, "target must be one of ecp5, not 'asic'"),
    ],
)
def test_unknown_requests(request_, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        synthesize(PRESETS["tiny"], **request_)


def test_the_tool_speaks_for_itself():
    design = Design()
    design.add(Decoder, PRESETS["tiny"].a_formats)
    with pytest.raises(YosysError, match=r"(?s)^Yosys failed:.*nothing_like_it"):
        cell_counts(design.verilog(), ["synth_ecp5 -top nothing_like_it"])
