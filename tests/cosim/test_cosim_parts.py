"""Decoders, multiplier, MAC and outer adder of many arithmetics, in bulk, against the golden model."""

from itertools import product

import numpy as np
import pytest

from quaver.cosim.cases import mac_cases, operand_pairs, outer_cases
from quaver.cosim.lanes import Lanes
from quaver.cosim.simulator import Model
from quaver.cosim.verify import check_macs, check_outer, check_products
from quaver.golden import (
    RHA,
    RNE,
    RTZ,
    Accumulator,
    Format,
    Machine,
    Rounding,
    accumulate,
    chunk_addend,
    decode,
    mac,
    noune,
    sr,
)
from quaver.golden.catalog import (
    BF16,
    DLFLOAT16,
    E4M3,
    E4M3_IEEE,
    E4M3B11FNUZ,
    E4M3FNUZ,
    E5M2,
    E5M2_WANG,
    E5M2FNUZ,
    E6M5,
    E6M5_SUB,
    E6M9,
    E8M13,
    FP16,
    FP32,
    HFP8_143,
    HFP8_153,
)

CASES = 20_480
HYBRID = (E4M3, E5M2)
Kept = tuple[Format, Rounding] | tuple[Format, Rounding, str]


def describe(depth: int, inner: Kept, outer: Kept, a: tuple[Format, ...] = HYBRID, b: tuple[Format, ...] = HYBRID):
    def kept(fmt: Format, rounding: Rounding, overflow: str = "special") -> Accumulator:
        return Accumulator(format=fmt, rounding=rounding, overflow=overflow)  # type: ignore[arg-type]

    machine = Machine(
        name="parts", rows=4, chunk=4, mac_depth=depth, a_formats=a, b_formats=b, inner=kept(*inner), outer=kept(*outer)
    )
    label = f"{depth}-{machine.inner}-{machine.outer}".replace(" ", "_")
    return pytest.param(machine, id=label + ("" if (a, b) == (HYBRID, HYBRID) else f"-{a[0]}x{b[0]}"))


# Each accumulator format of the machine under RNE and SR, inside and outside, with partners of other formats.
MACHINES = [
    describe(1, (DLFLOAT16, RNE), (FP32, sr(9))),
    describe(2, (DLFLOAT16, sr(11)), (FP16, RNE), (E4M3,), (E5M2,)),
    describe(3, (FP16, RNE), (E6M5, sr(16)), (E5M2_WANG, HFP8_143), (E5M2, E4M3)),
    describe(4, (FP16, sr(8), "saturate"), (E6M5, RNE, "saturate")),
    describe(5, (BF16, RNE, "saturate"), (BF16, sr(7))),
    describe(6, (BF16, sr(13)), (DLFLOAT16, RNE), (E4M3FNUZ, E5M2FNUZ), (E4M3B11FNUZ, noune(5, 2, 32))),
    describe(7, (FP32, RNE), (BF16, RNE), (BF16,), (BF16, E4M3)),
    describe(1, (FP32, sr(16), "saturate"), (DLFLOAT16, sr(5), "saturate"), (E5M2, E4M3, E4M3_IEEE), (E5M2,)),
    describe(2, (E6M5, RNE), (FP32, RNE, "saturate"), (HFP8_153,), (HFP8_143, HFP8_153)),
    describe(3, (E6M5, sr(1), "saturate"), (FP16, sr(4))),
    describe(4, (E6M5_SUB, RNE), (FP16, RTZ)),
    describe(5, (E6M5_SUB, sr(13)), (E6M5_SUB, RNE, "saturate")),
    describe(6, (E6M5_SUB, RTZ), (FP32, RHA), (E6M5_SUB,), (E4M3,)),
    describe(7, (E6M9, sr(16)), (E6M5_SUB, sr(6)), (noune(4, 3, 10),), (E5M2FNUZ, E4M3)),
    describe(3, (DLFLOAT16, RTZ, "saturate"), (E6M9, RTZ)),
    describe(4, (E8M13, RHA, "saturate"), (DLFLOAT16, RHA)),
]


def seed_for(machine: Machine) -> int:
    seed = int(machine.digest[:8], 16)
    print(f"seed {seed}")
    return seed


@pytest.mark.parametrize("machine", MACHINES)
def test_parts(machine: Machine) -> None:
    rng = np.random.default_rng(seed_for(machine))
    pairs = [] if machine.a_formats == machine.b_formats == HYBRID else [(machine.a_formats[0], machine.b_formats[-1])]
    with Model.of(Lanes, machine) as model:
        checks = [check_products(model, machine, *pair, rng) for pair in pairs]
        checks.append(check_macs(model, machine, mac_cases(rng, machine, CASES)))
        checks.append(check_outer(model, machine, outer_cases(rng, machine, CASES)))
    assert [(check.first, check.mismatches) for check in checks] == [(None, 0)] * len(checks)
    products = [len(operand_pairs(rng, *pair)[0]) for pair in pairs]
    assert [check.compared for check in checks] == [*products, CASES, CASES]


def test_depths_and_accumulators_are_all_there() -> None:
    machines = [parameter.values[0] for parameter in MACHINES]
    assert {m.mac_depth for m in machines} == set(range(1, 8))
    for sums in ([m.inner for m in machines], [m.outer for m in machines]):
        wanted = product((DLFLOAT16, FP16, BF16, FP32, E6M5, E6M5_SUB), (False, True))
        assert {(s.format, s.rounding.stochastic) for s in sums} >= set(wanted)
        assert {s.rounding.mode for s in sums} == {"rne", "rtz", "rha", "sr"}
        assert {s.overflow for s in sums} == {"special", "saturate"}


@pytest.mark.parametrize("machine", MACHINES)
def test_cases_reach_the_corners(machine: Machine) -> None:
    """Nothing is proved by stimuli that avoid the hard cases."""
    rng = np.random.default_rng(seed_for(machine))
    drawn = mac_cases(rng, machine, CASES)
    first = (drawn["a_format"] == 0) & (drawn["b_format"] == 0)
    drawn = {name: codes[first] for name, codes in drawn.items()}
    formats = {"a_format": machine.a_formats[0], "b_format": machine.b_formats[0]}
    results = mac(
        drawn["sum"], drawn["a"], drawn["b"], accumulator=machine.inner, words=drawn.get("word"), **formats
    ).astype(np.int64)
    reach(machine.inner, drawn["sum"], results, len(results))

    drawn = outer_cases(rng, machine, CASES)
    addend = chunk_addend(drawn["chunk"], machine.inner.format)
    results = accumulate(drawn["outer_sum"], addend, machine.outer, drawn.get("outer_word")).astype(np.int64)
    reach(machine.outer, drawn["outer_sum"], results, CASES)


def reach(kept: Accumulator, before: np.ndarray, after: np.ndarray, count: int) -> None:
    fmt = kept.format
    old, new = decode(before, fmt), decode(after, fmt)
    finite = ~(old.nan | old.inf)
    zero = (new.significand == 0) & ~new.nan & ~new.inf
    magnitude = after & fmt.magnitude_mask
    beyond = magnitude == (fmt.max_code if kept.saturate else fmt.inf_code)
    seen = {
        "NaN": new.nan,
        "a sum cancelled or lost": finite & (old.significand != 0) & zero,
        "overflow": finite & (beyond | (magnitude == fmt.max_code)),
        "smallest numbers": (magnitude > 0) & (magnitude < 4 << fmt.mantissa_bits),
        "sign turned": finite & ~zero & ~new.nan & (old.sign != new.sign),
    }
    if fmt.has_negative_zero:
        seen["-0"] = zero & new.sign
    counts = {what: int(np.count_nonzero(where)) for what, where in seen.items()}
    assert min(counts.values()) > count / 2000, counts
