"""The output unit in Verilog against golden: every bit of results and reports, every cycle."""

import numpy as np
import pytest

from quaver.cosim.output_streams import OutputCase, Unit, drawn, run_model, run_rtl
from quaver.cosim.simulator import Model
from quaver.golden import PowerRegisters, squeeze_registers
from quaver.golden.catalog import (
    BF16,
    DLFLOAT16,
    E2M1,
    E2M3,
    E4M3,
    E4M3FNUZ,
    E5M2,
    E5M2FNUZ,
    E6M5,
    FP16,
    FP32,
    HFP8_143,
    HFP8_153,
)
from quaver.golden.machine import OUTPUT_LATENCY
from quaver.hw.output_unit import OutputUnit, reduction_latency
from quaver.hw.power_law import POWER_LAW_LATENCY

UNITS = [
    Unit(DLFLOAT16, (DLFLOAT16, E4M3, E5M2), 8, 4, seed=5),
    Unit(FP16, (FP16, E4M3FNUZ, E5M2FNUZ, E2M3, E2M1, FP32), 16, 5, seed=1),
    Unit(FP32, (FP32, BF16, HFP8_143, HFP8_153, DLFLOAT16, E6M5), 13, 3),
    Unit(E6M5, (E4M3,), 0, 1),
    Unit(DLFLOAT16, (DLFLOAT16, E4M3, BF16), 1, 17, seed=9),
    Unit(FP16, (E5M2, FP16, E4M3), 9, 3, seed=2, squeeze=True),
    Unit(FP32, (FP32, E5M2, E2M3), 0, 2, squeeze=True),
]


def drawn_cases(rng: np.random.Generator, unit: Unit) -> list[OutputCase]:
    """Streams that always flow, that idle, that are held back at either end; more reports than anybody takes."""
    return [
        OutputCase(drawn(rng, unit, 120), registers=squeeze_registers((2.5, -3.25))),
        OutputCase(drawn(rng, unit, 60), idle=0.4, registers=squeeze_registers((0.3, 4.1))),
        OutputCase(drawn(rng, unit, 60), stall=0.4, registers=PowerRegisters((1 << 32) - 1, -(1 << 31))),
        OutputCase(drawn(rng, unit, 60, reports=0.5), idle=0.2, stall=0.2, report_stall=0.8),
        OutputCase(drawn(rng, unit, 60, reports=1.0), report_stall=0.5),
        OutputCase(drawn(rng, unit, 60, reports=1.0)),
        OutputCase(drawn(rng, unit, 40), stall=0.9, report_stall=0.9, reset=True),
        OutputCase(drawn(rng, unit, 40), reseed=int(rng.integers(1, 1 << 32))),
    ]


@pytest.mark.parametrize(
    "unit", UNITS, ids=lambda unit: f"{unit.source}-{unit.random_bits}-{unit.lanes}{'-squeeze' * unit.squeeze}"
)
def test_output_unit(unit: Unit) -> None:
    rng = np.random.default_rng(unit.lanes)
    latency = OUTPUT_LATENCY + unit.squeeze * POWER_LAW_LATENCY
    cases = drawn_cases(rng, unit)
    with Model.of(OutputUnit, *unit) as model:
        runs = run_rtl(model, unit, cases, seed=unit.lanes)
    beats = reports = 0
    for case, run, expected in zip(cases, runs, run_model(unit, cases), strict=True):
        assert run.codes == expected.codes
        assert run.keep == expected.keep
        assert run.last == expected.last
        assert run.reports == expected.reports
        assert (run.nans, run.overflows) == (expected.nans, expected.overflows)
        count = len(run.codes)
        if case.idle == case.stall == case.report_stall == 0:
            reported = latency + reduction_latency(unit.lanes) + 1 + np.nonzero(case.fields["report"])[0]
            assert run.accepted.tolist() == list(range(count))
            assert run.left.tolist() == list(range(latency, latency + count))
            assert run.reported.tolist() == reported.tolist()
        else:
            assert (run.left - run.accepted).min() >= latency
        beats += count
        reports += len(run.reports)
    assert beats == sum(len(case.fields["codes"]) for case in cases) == 500
    assert reports > 150
    assert sum(run.nans for run in runs) > 0
    assert sum(run.overflows for run in runs) > 0
    assert max(report.underflows for run in runs for report in run.reports) > 0


def test_words_of_another_seed_give_other_results() -> None:
    """So the comparison above sees the words; a beat to nearest takes one too."""
    unit = Unit(FP16, (E4M3,), 4, 2, seed=3)
    fields = drawn(np.random.default_rng(0), unit, 200) | {"stochastic": np.ones(200, int), "scale": np.zeros(200, int)}
    cases = [OutputCase(fields)]
    (run,) = run_model(unit, cases)
    (other,) = run_model(unit._replace(seed=4), cases)
    nearest_first = {name: np.concatenate([values[:1], values]) for name, values in fields.items()}
    nearest_first["stochastic"][0] = 0
    (shifted,) = run_model(unit, [OutputCase(nearest_first)])
    for changed in (other.codes, shifted.codes[1:]):
        assert np.mean([a != b for a, b in zip(changed, run.codes, strict=True)]) > 0.1
    with Model.of(OutputUnit, *unit) as model:
        (got,) = run_rtl(model, unit, [OutputCase(nearest_first)])
    assert got.codes == shifted.codes
