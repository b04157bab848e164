"""The weight-update unit and its AXPY in Verilog against golden: every bit, every cycle."""

from dataclasses import replace

import numpy as np
import pytest

from quaver.cosim.cases import sums
from quaver.cosim.lanes import evaluate
from quaver.cosim.simulator import Model
from quaver.cosim.update_runs import (
    AxpyLanes,
    Tensor,
    UpdateCase,
    accumulator_of,
    axpy_cases,
    run_model,
    run_rtl,
)
from quaver.golden import RHA, RNE, RTZ, Accumulator, Sgd, axpy, decode, encode, mac, sr, to_float
from quaver.golden.catalog import BF16, DLFLOAT16, E6M5, E6M9, FP16, FP32
from quaver.golden.machine_checks import SrAdder
from quaver.hw.update_unit import UpdateUnit

CASES = 25_600
AXPYS = [
    (1, Accumulator(format=DLFLOAT16), "lazy"),
    (2, Accumulator(format=DLFLOAT16, rounding=sr(16)), "lazy"),
    (3, Accumulator(format=FP16), "lazy"),
    (4, Accumulator(format=FP16, rounding=sr(16)), "lazy"),
    (5, Accumulator(format=E6M9, overflow="saturate"), "lazy"),
    (6, Accumulator(format=E6M9, rounding=sr(9)), "eager"),
    (7, Accumulator(format=BF16), "lazy"),
    (4, Accumulator(format=BF16, rounding=sr(13), overflow="saturate"), "lazy"),
    (3, Accumulator(format=DLFLOAT16, rounding=RHA, overflow="saturate"), "lazy"),
    (5, Accumulator(format=FP16, rounding=RTZ), "lazy"),
    (4, Accumulator(format=FP32, rounding=sr(1)), "lazy"),
    (2, Accumulator(format=E6M5, rounding=sr(4)), "eager"),
    (4, Accumulator(format=FP16, rounding=sr(13)), "eager"),
    (5, Accumulator(format=DLFLOAT16, rounding=sr(11)), "eager"),
]


def expected_axpys(accumulator: Accumulator, drawn: dict[str, np.ndarray]) -> np.ndarray:
    """By golden's `axpy`, scalar by scalar; a scalar that is no number by `mac`, which takes its code."""
    fmt, alpha, words = accumulator.format, drawn["alpha"], drawn.get("word")
    result = np.zeros(len(alpha), np.int64)
    for code in np.unique(alpha):
        at = alpha == code
        x, y, u = drawn["x"][at], drawn["y"][at], None if words is None else words[at]
        value = float(to_float(code, fmt))
        if np.isfinite(value):
            result[at] = axpy(value, x, y, fmt, accumulator.rounding, words=u, saturate=accumulator.saturate)
        else:
            result[at] = mac(y, code, x, a_format=fmt, b_format=fmt, accumulator=accumulator, words=u)
    return result


def reached(accumulator: Accumulator, drawn: dict[str, np.ndarray], results: np.ndarray) -> dict[str, int]:
    """How many cases reach each corner."""
    fmt = accumulator.format
    before, after = decode(drawn["y"], fmt), decode(results, fmt)
    finite = ~(before.nan | before.inf)
    zero = (after.significand == 0) & ~after.nan & ~after.inf
    magnitude = results & fmt.magnitude_mask
    beyond = fmt.max_code if accumulator.saturate or accumulator.rounding.mode == "rtz" else fmt.inf_code
    seen = {
        "NaN": after.nan,
        "a sum cancelled or lost": finite & (before.significand != 0) & zero,
        "overflow": finite & (magnitude == beyond),
        "smallest numbers": (magnitude > 0) & (magnitude < 4 << fmt.mantissa_bits),
        "sign turned": finite & ~zero & ~after.nan & (before.sign != after.sign),
    }
    return {what: int(np.count_nonzero(where)) for what, where in seen.items()}


@pytest.mark.parametrize("depth, accumulator, sr_adder", AXPYS, ids=lambda value: str(value).replace(" ", "_"))
def test_axpy(depth: int, accumulator: Accumulator, sr_adder: SrAdder) -> None:
    rng = np.random.default_rng(depth)
    drawn = axpy_cases(rng, accumulator, CASES)
    expected = expected_axpys(accumulator, drawn)
    with Model.of(AxpyLanes, accumulator, depth, sr_adder) as model:
        got = evaluate(model, "result", drawn, latency=depth)
    assert len(got) == CASES
    wrong = np.nonzero(got != expected)[0]
    first = [{name: hex(codes[i]) for name, codes in drawn.items()} for i in wrong[:1]]
    assert (len(wrong), first) == (0, [])
    counts = reached(accumulator, drawn, expected)
    assert min(counts.values()) > CASES / 2000, counts


def test_the_axpys_are_many_and_of_all_kinds() -> None:
    kept = [accumulator for _, accumulator, _ in AXPYS]
    assert CASES * len(kept) >= 2 * 10**5
    for fmt in (DLFLOAT16, FP16, E6M9, BF16):
        assert {a.rounding.mode for a in kept if a.format is fmt} >= {"rne", "sr"}
    assert {a.rounding.mode for a in kept} == {"rne", "rha", "rtz", "sr"}
    assert {a.overflow for a in kept} == {"special", "saturate"}
    assert {depth for depth, *_ in AXPYS} == set(range(1, 8))
    assert sum(sr_adder == "eager" and a.rounding.stochastic for _, a, sr_adder in AXPYS) == 4


# ------------------------------------------------------------------------------------------------------------ the unit


BASE = Sgd(lr=0.05, momentum=0.9, weight_decay=1e-3, seed=3)
UNITS: list[tuple[int, SrAdder, Sgd]] = [
    (4, "lazy", replace(BASE, format=DLFLOAT16, rounding=sr(16), lanes=16)),
    (2, "lazy", replace(BASE, format=DLFLOAT16, rounding=RNE, lanes=3)),
    (3, "lazy", replace(BASE, format=DLFLOAT16, rounding=sr(9), lanes=1, overflow="saturate")),
    (5, "lazy", replace(BASE, format=FP16, rounding=RNE, lanes=16)),
    (7, "eager", replace(BASE, format=FP16, rounding=sr(13), lanes=3)),
    (1, "lazy", replace(BASE, format=FP16, rounding=sr(16), lanes=1)),
]


def trained(rng: np.random.Generator, sgd: Sgd, size: int) -> Tensor:
    """Numbers as in training."""
    scales = (0.1, 0.01, 10.0 ** rng.integers(-6, 2))
    return Tensor(*(encode(rng.normal(size=size) * scale, sgd.format) for scale in scales))


def edgy(rng: np.random.Generator, sgd: Sgd, size: int) -> Tensor:
    """Any codes, and above all those at the ends of the format's ranges."""
    return Tensor(*(sums(rng, sgd.format, size).astype(sgd.format.dtype) for _ in range(3)))


def drawn_cases(rng: np.random.Generator, sgd: Sgd) -> list[UpdateCase]:
    """Streams that always flow, that idle, that are held back, and both; scalars change from case to case."""

    def tensors() -> list[Tensor]:
        sizes = rng.permutation([sgd.lanes * 40, 1, sgd.lanes, *rng.integers(1, 12 * sgd.lanes, 3)])
        return [draw(rng, sgd, int(size)) for draw, size in zip([trained, edgy] * 3, sizes, strict=True)]

    zeros = replace(sgd, lr=0.0, momentum=0.0, weight_decay=0.0)
    others = replace(sgd, lr=3.7, momentum=0.5, weight_decay=0.11)
    return [
        UpdateCase(sgd, tensors()),
        UpdateCase(sgd, tensors(), idle=0.4),
        UpdateCase(others, tensors(), stall=0.4),
        UpdateCase(others, tensors(), idle=0.3, stall=0.3),
        UpdateCase(zeros, tensors(), stall=0.9),
        UpdateCase(sgd, tensors(), idle=0.2, stall=0.1, reset=True),
        UpdateCase(others, tensors()),
    ]


@pytest.mark.parametrize(
    "depth, sr_adder, sgd", UNITS, ids=[f"{d}-{s.format}-{s.rounding}-{a}-{s.lanes}" for d, a, s in UNITS]
)
def test_update_unit(depth: int, sr_adder: SrAdder, sgd: Sgd) -> None:
    rng = np.random.default_rng(depth)
    cases = drawn_cases(rng, sgd)
    with Model.of(UpdateUnit, accumulator_of(sgd), sgd.lanes, depth, sgd.seed, sr_adder) as model:
        runs = run_rtl(model, cases, seed=depth)
    latency = 3 * depth + 2
    compared = moved = nans = 0
    for case, run, expected in zip(cases, runs, run_model(cases), strict=True):
        for tensor, got, want, flags in zip(case.tensors, run.tensors, expected, run.nan, strict=True):
            np.testing.assert_array_equal(got[0], want[0])
            np.testing.assert_array_equal(got[1], want[1])
            nan = decode(want[0], sgd.format).nan
            rows = np.pad(nan, (0, -len(nan) % sgd.lanes)).reshape(-1, sgd.lanes)
            assert flags == rows.any(axis=1).tolist()
            assert not (decode(want[1], sgd.format).nan & ~nan).any()
            compared += 2 * len(nan)
            moved += np.count_nonzero(want[0] != tensor.weights)
            nans += sum(flags)
        beats = len(run.accepted)
        assert beats == sum(-(-len(tensor.weights) // sgd.lanes) for tensor in case.tensors)
        if case.idle == case.stall == 0:
            assert run.accepted.tolist() == list(range(beats))
            assert run.left.tolist() == list(range(latency, latency + beats))
        else:
            assert (run.left - run.accepted).min() >= latency
    assert compared == sum(2 * len(tensor.weights) for case in cases for tensor in case.tensors)
    assert compared >= 2 * 7 * 42 * sgd.lanes
    assert moved > compared / 8
    assert nans > 0


def test_words_of_another_seed_give_other_weights() -> None:
    """So the comparison above sees the words; numbers of generators count too."""
    depth, sgd = 2, replace(BASE, format=DLFLOAT16, rounding=sr(4), lanes=2)
    cases = [UpdateCase(sgd, [trained(np.random.default_rng(1), sgd, 400)])]
    (tensor,) = run_model(cases)[0]
    for other in (replace(sgd, seed=4), replace(sgd, lanes=3)):
        (changed,) = run_model([UpdateCase(other, cases[0].tensors)])[0]
        assert (changed[0] != tensor[0]).mean() > 0.1
    with Model.of(UpdateUnit, accumulator_of(sgd), sgd.lanes, depth, sgd.seed + 1) as model:
        (run,) = run_rtl(model, cases)
    assert (run.tensors[0][0] != tensor[0]).mean() > 0.1
