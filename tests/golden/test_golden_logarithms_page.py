"""What the page on numerics states of log2 and exp2 is what the code has."""

import re
from math import log, log2
from pathlib import Path

import pytest

from quaver.golden import logarithms, s2fp8_fixed
from quaver.golden.catalog import BF16, E5M2
from quaver.golden.s2fp8 import ALPHA_MAX

PAGE = Path(__file__).parents[2] / "docs" / "numerics.md"
UNIT = 2.0**-logarithms.LOG2_FRACTION_BITS


@pytest.fixture(scope="module")
def section() -> str:
    (text,) = re.findall(r"(?ms)^## log2 and exp2\n(.*?)^## ", PAGE.read_text(encoding="utf-8"))
    return text


def test_constants(section):
    stated = dict(re.findall(r"^\| `(\w+)` \| (-?[\d.]+) \|", section, re.MULTILINE))
    code = {**vars(logarithms), **vars(s2fp8_fixed)}
    assert {name: float(value) for name, value in stated.items()} == {name: float(code[name]) for name in stated}
    public = {name for name in vars(logarithms) if name.endswith(("_BITS", "_ERROR")) and not name.startswith("_")}
    assert set(stated) == public | {
        name for name in vars(s2fp8_fixed) if name.startswith(("FACTOR_", "OFFSET_", "POWER_"))
    }
    assert len(stated) == 12


def test_range_of_parameters(section):
    assert f"alpha lies in 1/{ALPHA_MAX:.0f} .. {ALPHA_MAX:.0f}, " in section
    limit = 1 << s2fp8_fixed.OFFSET_BITS - s2fp8_fixed.OFFSET_FRACTION_BITS - 1
    assert f"beta and beta / alpha in -{limit} .. {limit}." in section
    assert s2fp8_fixed.ALPHA_MIN * ALPHA_MAX == 1


def test_bound(section):
    """The stated sum is that of its parts; registers are off by half a unit, the largest factor by one."""
    factor, constant, half, register, largest = map(
        float,
        re.search(
            r"^    ([\d.]+) \* factor \+ ([\d.]+), and ([\d.]+) \+ \|log2\|x\|\| / (\d+) for the registers "
            r"\(0\.5 \+ \|log2\|x\|\| / (\d+) where the factor is 4096\)$",
            section,
            re.MULTILINE,
        ).groups(),
    )
    assert factor == logarithms.LOG2_ERROR
    power = -log2(1 - logarithms.EXP2_ERROR * 2.0**-logarithms.EXP2_FRACTION_BITS) / UNIT
    assert power == pytest.approx(logarithms.EXP2_ERROR / log(2), rel=1e-4)
    assert 0.5 + power < constant < 0.5 + power + 0.05
    assert half == 2.0 ** -(s2fp8_fixed.OFFSET_FRACTION_BITS + 1) / UNIT
    assert 1 / register == 2.0 ** -(s2fp8_fixed.FACTOR_FRACTION_BITS + 1) / UNIT
    assert largest == register / 2

    # A decoded code with alpha of at least 1: |log2|y|| is at most 16.
    assert E5M2.emin - E5M2.mantissa_bits >= -16 and E5M2.max_finite < 2**16
    error = 2 ** ((0.5 + constant + half + 16 / register) * UNIT) - 1
    assert error < 2.0**-BF16.mantissa_bits / 2 / int(re.search(r"within 1/(\d+) ulp", section)[1])
