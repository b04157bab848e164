# amaranth: UnusedElaboratable=no
"""The output unit in Amaranth's own simulator: its rounder's register, when it waits, what it refuses."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from amaranth.sim import Simulator

from quaver.golden import RNE, LaneWords, OutputStatistics, encode, output, sr
from quaver.golden.catalog import DLFLOAT16, E4M3, E5M2, FP32
from quaver.golden.machine import OUTPUT_LATENCY
from quaver.hw.output_unit import OutputUnit, reduction_latency
from quaver.hw.rounder import ROUNDER_LATENCY, Rounder, number_layout

Play = Callable[..., dict[str, np.ndarray]]
LANES, SEED, RANDOM_BITS = 3, 11, 5


def test_a_rounder_has_one_register_and_keeps_it(play: Play) -> None:
    """On offer is what was there in the last cycle with `enable`."""
    rng, count, layout = np.random.default_rng(1), 600, number_layout(11, 6)
    significand = rng.integers(1 << 10, 1 << 11, count)
    exponent, sign = rng.integers(-14, 12, count), rng.integers(0, 2, count)
    fields = {"significand": significand, "exponent": exponent & 63, "sign": sign}
    inputs = {
        "number": sum(values << layout[name].offset for name, values in fields.items()),
        "word": rng.integers(0, 1 << RANDOM_BITS, count),
        **{name: rng.integers(0, 2, count) for name in ("saturate", "stochastic", "enable")},
    }
    names = ("code", "overflow", "underflow")
    record = play(Rounder(layout, E4M3, RANDOM_BITS), inputs, list(names))

    sums = encode(np.where(sign, -1.0, 1.0) * np.ldexp(significand, exponent - 10), FP32)
    expected = []
    for code, word, saturate, stochastic in zip(
        sums.tolist(), *(inputs[name].tolist() for name in ("word", "saturate", "stochastic")), strict=True
    ):
        rounding = sr(RANDOM_BITS) if stochastic else RNE
        codes, statistics = output([code], FP32, E4M3, rounding, words=[word], saturate=bool(saturate))
        expected.append((codes[0], statistics.overflows, statistics.underflows))
    assert ROUNDER_LATENCY == 1
    enabled = np.nonzero(inputs["enable"])[0]
    taken = np.searchsorted(enabled, np.arange(count)) - 1
    compared = taken >= 0
    got = np.stack([record[name] for name in names], axis=1)[compared]
    np.testing.assert_array_equal(got, np.array(expected)[enabled[taken[compared]]])
    assert len(got) > count - 20
    assert (np.unique(got, axis=0)[:, 1:].sum(axis=0) > 0).all()


def stream(
    unit: OutputUnit,
    beats: list[dict[str, object]],
    ready: Callable[[int], bool],
    told: Callable[[int], bool],
    cycles: int,
) -> tuple[list[int], list[tuple[int, int]], list[tuple[int, OutputStatistics]]]:
    """Offer `beats` as fast as they are taken: cycles of acceptance, codes with their cycles, reports with theirs."""
    accepted: list[int] = []
    results: list[tuple[int, int]] = []
    reports: list[tuple[int, OutputStatistics]] = []

    async def bench(context) -> None:
        for cycle in range(cycles):
            offered = len(accepted) < len(beats)
            context.set(unit.sums.valid, offered)
            if offered:
                context.set(unit.sums.payload, beats[len(accepted)])
            context.set(unit.results.ready, ready(cycle))
            context.set(unit.statistics.ready, told(cycle))
            if context.get(unit.results.valid) and ready(cycle):
                results.append((cycle, context.get(unit.results.payload).codes))
            if context.get(unit.statistics.valid) and told(cycle):
                payload = context.get(unit.statistics.payload)
                members = {name: getattr(payload, name) for name in OutputStatistics.__dataclass_fields__}
                reports.append((cycle, OutputStatistics(**members)))
            if offered and context.get(unit.sums.ready):
                accepted.append(cycle)
            await context.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return accepted, results, reports


def drawn(count: int, reports: list[int]) -> tuple[list[dict[str, object]], list[int], list[OutputStatistics]]:
    """Beats rounded stochastically to E4M3, their packed results, and the statistics of each."""
    rng = np.random.default_rng(count)
    sums = encode(rng.normal(size=(count, LANES)) * 200, DLFLOAT16)
    control = {"columns": LANES, "target": 1, "stochastic": 1, "last": 0}
    beats = [control | {"codes": row, "report": int(i in reports)} for i, row in enumerate(sums.tolist())]
    words = LaneWords(lanes=LANES, seed=SEED).of_tensor(sums.shape, RANDOM_BITS)
    outputs = [output(row, DLFLOAT16, E4M3, sr(RANDOM_BITS), words=w) for row, w in zip(sums, words, strict=True)]
    packed = [int.from_bytes(codes.tobytes(), "little") for codes, _ in outputs]
    return beats, packed, [statistics for _, statistics in outputs]


def unit() -> OutputUnit:
    return OutputUnit(DLFLOAT16, (DLFLOAT16, E4M3), RANDOM_BITS, LANES, SEED)


def test_a_beat_per_cycle_and_the_latencies() -> None:
    count, at = 20, [0, 7, 19]
    beats, packed, statistics = drawn(count, at)
    accepted, results, reports = stream(unit(), beats, lambda _: True, lambda _: True, count + 20)
    assert accepted == list(range(count))
    assert results == [(cycle + OUTPUT_LATENCY, code) for cycle, code in enumerate(packed)]
    assert unit().report_latency == OUTPUT_LATENCY + reduction_latency(LANES) + 1
    totals = [statistics[0], sum(statistics[1:8], OutputStatistics()), sum(statistics[8:], OutputStatistics())]
    assert reports == [(cycle + unit().report_latency, total) for cycle, total in zip(at, totals, strict=True)]


def test_it_waits_while_results_are_not_taken() -> None:
    count, start = 20, 30
    beats, packed, statistics = drawn(count, [count - 1])
    accepted, results, reports = stream(unit(), beats, lambda cycle: cycle >= start, lambda _: True, 80)
    assert accepted[:OUTPUT_LATENCY] == list(range(OUTPUT_LATENCY))
    assert accepted[OUTPUT_LATENCY:] == list(range(start, start + count - OUTPUT_LATENCY))
    assert results == [(start + i, code) for i, code in enumerate(packed)]
    assert [total for _, total in reports] == [sum(statistics, OutputStatistics())]


def test_it_waits_while_a_report_is_not_taken() -> None:
    """The first report is on offer, the second one stops the unit until it is taken; nothing is lost."""
    count, start = 20, 40
    beats, packed, statistics = drawn(count, [1, 3])
    accepted, results, reports = stream(unit(), beats, lambda _: True, lambda cycle: cycle >= start, 90)
    stopped = 3 + unit().report_latency - 1
    assert accepted == [cycle if cycle < stopped else cycle - stopped + start for cycle in range(count)]
    assert [code for _, code in results] == packed
    assert [cycle for cycle, _ in reports] == [start, start + 1]
    totals = [sum(statistics[:2], OutputStatistics()), sum(statistics[2:4], OutputStatistics())]
    assert [total for _, total in reports] == totals


@pytest.mark.parametrize(
    "lanes, cycles", [(1, 0), (2, 1), (4, 1), (5, 2), (16, 2), (17, 3), (64, 3), (65, 4), (128, 4), (1024, 5)]
)
def test_a_reduction_takes_a_register_for_each_factor_of_four(lanes: int, cycles: int) -> None:
    assert reduction_latency(lanes) == cycles


@pytest.mark.parametrize(
    "change, text",
    [
        ({"targets": ()}, "number of targets must be an integer in 1..16, not 0"),
        ({"targets": (E4M3,) * 17}, "number of targets must be an integer in 1..16, not 17"),
        ({"random_bits": 17}, "random_bits must be an integer in 0..16, not 17"),
        ({"lanes": 0}, "lanes must be an integer in 1..1024, not 0"),
        ({"lanes": 1025}, "lanes must be an integer in 1..1024, not 1025"),
        ({"seed": 1 << 32}, f"seed must be an integer in 0..{2**32 - 1}, not {2**32}"),
    ],
)
def test_bad_parameters_are_refused(change: dict[str, object], text: str) -> None:
    arguments: dict = {"source": DLFLOAT16, "targets": (E5M2,), "random_bits": 0, "lanes": 1} | change
    with pytest.raises(ValueError) as error:
        OutputUnit(**arguments)
    assert str(error.value) == text


def test_bad_parameters_of_a_rounder_are_refused() -> None:
    number = number_layout(11, 6)
    with pytest.raises(ValueError) as error:
        Rounder(number, replace(E5M2, name="ue5m2", signed=False))
    assert str(error.value) == "signed of target must be one of True, not False"
    with pytest.raises(ValueError) as error:
        Rounder(number, E5M2, 17)
    assert str(error.value) == "random_bits must be an integer in 0..16, not 17"
