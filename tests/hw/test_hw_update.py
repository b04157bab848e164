# amaranth: UnusedElaboratable=no
"""The weight-update unit in Amaranth's own simulator: its latency at every depth, its buffer, what it refuses."""

from collections.abc import Callable

import numpy as np
import pytest
from amaranth.sim import Simulator

from quaver.golden import RNE, Accumulator, Rounding, Sgd, axpy, encode, sr, to_float
from quaver.golden.catalog import DLFLOAT16, E4M3, E6M5, FP16
from quaver.hw.axpy import Axpy
from quaver.hw.decoder import Decoder
from quaver.hw.update_unit import UpdateUnit

Play = Callable[..., dict[str, np.ndarray]]
SGD = Sgd(lr=0.1, momentum=0.5, weight_decay=0.01, format=E6M5, rounding=sr(4), lanes=2, seed=7)


@pytest.mark.parametrize("rounding", [RNE, sr(9)], ids=str)
@pytest.mark.parametrize("depth", range(1, 8))
def test_axpy_and_its_latency(play: Play, depth: int, rounding: Rounding) -> None:
    """One AXPY per cycle, each `depth` after its operands; no other latency gives these sums."""
    fmt, count = (FP16, 300) if rounding is RNE else (DLFLOAT16, 300)
    rng = np.random.default_rng(depth)
    x, y = (rng.integers(0, 1 << fmt.bits, count) for _ in range(2))
    alpha = int(encode(-0.3, fmt))
    scalar = play(Decoder((fmt,)), {"code": np.array([alpha])}, ["operand"], clocked=False)["operand"]
    inputs = {"alpha": np.repeat(scalar, count), "x": x, "y": y}
    words = rng.integers(0, 1 << rounding.random_bits, count) if rounding.stochastic else None
    if words is not None:
        inputs["word"] = words
    got = play(Axpy(Accumulator(format=fmt, rounding=rounding), depth), inputs, ["result"])["result"]
    expected = axpy(float(to_float(alpha, fmt)), x, y, fmt, rounding, words=words)
    matching = [d for d in range(12) if np.array_equal(got[d:], expected[: count - d])]
    assert matching == [depth]


def stream(unit: UpdateUnit, beats: list[dict[str, object]], ready: Callable[[int], bool], cycles: int):
    """Offer `beats` as fast as they are taken; beats of results and the cycles in which either side moves."""
    results, accepted, left = [], [], []
    scalars = encode([SGD.weight_decay, SGD.momentum, SGD.lr], SGD.format).tolist()

    async def bench(context) -> None:
        for port, code in zip((unit.decay, unit.momentum, unit.rate), scalars, strict=True):
            context.set(port, code)
        for cycle in range(cycles):
            offered = len(accepted) < len(beats)
            context.set(unit.elements.valid, offered)
            if offered:
                context.set(unit.elements.payload, beats[len(accepted)])
            context.set(unit.updated.ready, ready(cycle))
            if offered and context.get(unit.elements.ready):
                accepted.append(cycle)
            if ready(cycle) and context.get(unit.updated.valid):
                left.append(cycle)
                payload = context.get(unit.updated.payload)
                results.append([[*payload.weights], [*payload.velocities], payload.last, payload.nan])
            await context.tick()

    simulator = Simulator(unit)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    return results, accepted, left


def drawn(count: int) -> tuple[list[np.ndarray], list[dict[str, object]]]:
    """Codes of weights, velocity and gradient, and their beats."""
    rng = np.random.default_rng(count)
    tensors = [encode(rng.normal(size=(count, SGD.lanes)), SGD.format) for _ in range(3)]
    names = ("weights", "velocities", "gradients")
    rows = zip(*(codes.tolist() for codes in tensors), strict=True)
    return tensors, [dict(zip(names, row, strict=True)) | {"last": i == count - 1} for i, row in enumerate(rows)]


def unit_of(depth: int) -> UpdateUnit:
    return UpdateUnit(Accumulator(format=SGD.format, rounding=SGD.rounding), SGD.lanes, depth, SGD.seed)


@pytest.mark.parametrize("depth", range(1, 8))
def test_a_beat_per_cycle_and_the_latency(depth: int) -> None:
    """Longer than the output buffer, which is just deep enough."""
    unit = unit_of(depth)
    assert (unit.latency, unit.output_depth) == (3 * depth + 2, 3 * depth + 3)
    count = 2 * unit.output_depth
    tensors, beats = drawn(count)
    results, accepted, left = stream(unit, beats, lambda _: True, count + unit.latency + 3)
    assert accepted == list(range(count))
    assert left == [cycle + unit.latency for cycle in accepted]
    expected = SGD.step(*tensors, SGD.words)
    assert [weights for weights, *_ in results] == expected.weights.tolist()
    assert [velocities for _, velocities, *_ in results] == expected.velocity.tolist()
    assert [last for *_, last, _ in results] == [0] * (count - 1) + [1]
    assert not any(nan for *_, nan in results)


def test_back_pressure_fills_the_buffer_and_loses_nothing() -> None:
    unit, start = unit_of(2), 60
    tensors, beats = drawn(25)
    results, accepted, left = stream(unit, beats, lambda cycle: cycle >= start, 110)
    assert accepted[: unit.output_depth] == list(range(unit.output_depth))
    assert accepted[unit.output_depth] == start + 1  # the cycle after the first result has left
    assert left == list(range(start, start + unit.output_depth)) + left[unit.output_depth :]
    assert len(accepted) == len(left) == 25
    expected = SGD.step(*tensors, SGD.words)
    assert [weights for weights, *_ in results] == expected.weights.tolist()
    assert [velocities for _, velocities, *_ in results] == expected.velocity.tolist()


def test_a_nan_is_told_in_its_beat() -> None:
    unit = unit_of(1)
    _, beats = drawn(6)
    nan, infinite = SGD.format.nan_code, SGD.format.inf_code
    beats[1]["gradients"] = [nan, 0]
    beats[2]["velocities"] = [0, nan]
    beats[3]["velocities"] = [infinite, 0]
    beats[4]["weights"], beats[4]["gradients"] = [infinite, 0], [infinite | SGD.format.sign_mask, 0]
    beats[5]["weights"] = [infinite, 0]  # an infinite velocity of the same sign, and Inf - Inf
    results, *_ = stream(unit, beats, lambda _: True, 20)
    assert [nan for *_, nan in results] == [0, 1, 1, 0, 1, 1]
    assert [nan in velocities for _, velocities, *_ in results] == [False, True, True, False, True, False]


@pytest.mark.parametrize(
    "change, text",
    [
        ({"accumulator": Accumulator(format=E4M3)}, "specials of format must be one of ieee, dlfloat, not 'fn'"),
        (
            {"accumulator": Accumulator(format=FP16, rounding=Rounding(mode="sr_fast", random_bits=4))},
            "rounding must be one of rne, rha, rtz, sr, not 'sr_fast'",
        ),
        (
            {"accumulator": Accumulator(format=FP16, rounding=sr(17))},
            "random_bits must be an integer in 1..16, not 17",
        ),
        ({"lanes": 0}, "lanes must be an integer in 1..1024, not 0"),
        ({"lanes": 1025}, "lanes must be an integer in 1..1024, not 1025"),
        ({"depth": 8}, "depth must be an integer in 1..7, not 8"),
        ({"sr_adder": "eagre"}, "sr_adder must be one of lazy, eager, not 'eagre'"),
        ({"seed": -1}, f"seed must be an integer in 0..{2**32 - 1}, not -1"),
    ],
)
def test_bad_parameters_are_refused(change: dict[str, object], text: str) -> None:
    arguments: dict = {"accumulator": Accumulator(format=FP16), "lanes": 1, "depth": 1} | change
    with pytest.raises(ValueError) as error:
        UpdateUnit(**arguments)
    assert str(error.value) == text
