"""Weight updates on the RTL: the same questions that golden's `axpy` and `Sgd.step` answer, put to the Verilog."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from numpy.random import Generator
from numpy.typing import NDArray

from quaver.cosim.cases import Codes, beside, sums
from quaver.cosim.lanes import LANES
from quaver.cosim.simulator import Model
from quaver.cosim.tiles import Beats, pack
from quaver.golden import Accumulator, Format, Sgd, encode, mac
from quaver.golden.machine_checks import SrAdder
from quaver.hw.axpy import Axpy
from quaver.hw.decoder import Decoder
from quaver.hw.design import place
from quaver.hw.update_unit import SCALARS, element_beat, updated_beat


class AxpyLanes(wiring.Component):
    """`LANES` AXPYs side by side, each with an `alpha` of its own; ports are arrays of 32-bit words, for `evaluate`."""

    def __init__(self, accumulator: Accumulator, depth: int, sr_adder: SrAdder = "lazy") -> None:
        self.accumulator, self.depth, self.sr_adder = accumulator, depth, sr_adder
        array = data.ArrayLayout(32, LANES)
        super().__init__({name: In(array) for name in ("alpha", "x", "y", "word")} | {"result": Out(array)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for index in range(LANES):
            axpy = place(m, platform, f"axpy_{index}", Axpy, self.accumulator, self.depth, self.sr_adder)
            decoder = place(m, platform, f"decoder_{index}", Decoder, (self.accumulator.format,))
            m.d.comb += [
                decoder.code.eq(self.alpha[index]),
                axpy.alpha.eq(decoder.operand),
                axpy.x.eq(self.x[index]),
                axpy.y.eq(self.y[index]),
                self.result[index].eq(axpy.result),
            ]
            if self.accumulator.rounding.stochastic:
                m.d.comb += axpy.word.eq(self.word[index])
        return m


ALPHAS = 256


def axpy_cases(rng: Generator, accumulator: Accumulator, count: int) -> dict[str, Codes]:
    """Operands of `count` AXPYs with `ALPHAS` scalars: half of the y lie close to their product (`beside`)."""
    fmt = accumulator.format
    cases = {"alpha": rng.choice(sums(rng, fmt, ALPHAS), count), "x": sums(rng, fmt, count)}
    # A product of two numbers seldom stays in range; an x that is about 1 leaves it where alpha is.
    about_one = encode(rng.uniform(0.5, 4.0, count) * rng.choice([-1.0, 1.0], count), fmt).astype(np.int64)
    cases["x"] = np.where(rng.integers(0, 2, count) == 1, about_one, cases["x"])
    near = mac(0, cases["alpha"], cases["x"], a_format=fmt, b_format=fmt, accumulator=Accumulator(format=fmt))
    close = rng.integers(0, 2, count) == 1
    cases["y"] = np.where(close, beside(rng, near.astype(np.int64), fmt), sums(rng, fmt, count))
    if accumulator.rounding.stochastic:
        cases["word"] = rng.integers(0, 1 << accumulator.rounding.random_bits, count)
    return cases


class Tensor(NamedTuple):
    """Codes of one tensor, each of shape (elements,)."""

    weights: NDArray
    velocity: NDArray
    gradient: NDArray


class UpdateCase(NamedTuple):
    """Tensors that go through the unit without a gap, and how its streams behave."""

    sgd: Sgd
    """Its learning rate, momentum and weight decay are the scalars, the rest of it the unit's parameters."""
    tensors: Sequence[Tensor]
    idle: float = 0.0
    """Probability that the source idles, in each cycle before it offers a beat."""
    stall: float = 0.0
    """Probability that the sink is not ready in a cycle."""
    reset: bool = False
    """Whether the unit is reset first, and with it every random generator."""


class UpdateRun(NamedTuple):
    """What came of it."""

    tensors: list[tuple[NDArray, NDArray]]
    """Weights and velocity of each tensor."""
    nan: list[list[bool]]
    """For each tensor the beats that reported a NaN."""
    accepted: NDArray
    """Cycle in which each beat of elements was accepted."""
    left: NDArray
    """Cycle in which each beat of results was taken."""


def accumulator_of(sgd: Sgd) -> Accumulator:
    """The arithmetic of the unit that computes `sgd`."""
    return Accumulator(format=sgd.format, rounding=sgd.rounding, overflow=sgd.overflow)


def run_rtl(model: Model, cases: Sequence[UpdateCase], seed: int = 0) -> list[UpdateRun]:
    """Run `cases` one after the other on a model of an update unit, which is idle before each."""
    streams = [np.concatenate([element_beats(case.sgd, tensor) for tensor in case.tensors]) for case in cases]
    beats = [len(stream) for stream in streams]
    scalars = [
        encode([case.sgd.weight_decay, case.sgd.momentum, case.sgd.lr], case.sgd.format).astype(np.int64)
        for case in cases
    ]
    record = model.run(
        "bench_update",
        {
            "elements": np.concatenate(streams),
            "beats": beats,
            "names": SCALARS,
            "scalars": scalars,
            "idle": [case.idle for case in cases],
            "stall": [case.stall for case in cases],
            "reset": [case.reset for case in cases],
            "seed": seed,
        },
    )
    ends = np.cumsum(beats)[:-1]
    parts = [np.split(record[name], ends) for name in ("updated", "accepted", "left")]
    return [_run(case, *arrays) for case, *arrays in zip(cases, *parts, strict=True)]


def run_model(cases: Sequence[UpdateCase]) -> list[list[tuple[NDArray, NDArray]]]:
    """Weights and velocity of each tensor of each case, from the golden model."""
    words = cases[0].sgd.words
    results: list[list[tuple[NDArray, NDArray]]] = []
    for case in cases:
        words = case.sgd.words if case.reset else words
        results.append([])
        for tensor in case.tensors:
            weights, velocity, words = case.sgd.step(*tensor, words)
            results[-1].append((weights, velocity))
    return results


def element_beats(sgd: Sgd, tensor: Tensor) -> Beats:
    """Beats of the unit's port `elements`, a last row of lanes filled with zeros."""
    count = len(tensor.weights)
    rows = -(-count // sgd.lanes)
    weights, velocities, gradients = (
        np.pad(codes, (0, rows * sgd.lanes - count)).reshape(rows, sgd.lanes) for codes in tensor
    )
    return pack(
        element_beat(sgd.format, sgd.lanes),
        weights=weights,
        velocities=velocities,
        gradients=gradients,
        last=np.arange(rows) == rows - 1,
    )


def _run(case: UpdateCase, beats: Beats, accepted: NDArray, left: NDArray) -> UpdateRun:
    """The beats of a case as tensors again; each must end where its own last beat is marked."""
    fmt, lanes = case.sgd.format, case.sgd.lanes
    sizes = [len(tensor.weights) for tensor in case.tensors]
    ends = np.cumsum([-(-size // lanes) for size in sizes])
    last = _field(fmt, lanes, beats, "last").reshape(-1)
    assert (np.nonzero(last)[0] == ends - 1).all(), f"last beats at {np.nonzero(last)[0]}, not at {ends - 1}"
    weights, velocities, nan = (
        np.split(_field(fmt, lanes, beats, name), ends[:-1]) for name in ("weights", "velocities", "nan")
    )
    tensors = [
        (w.reshape(-1)[:size], v.reshape(-1)[:size]) for w, v, size in zip(weights, velocities, sizes, strict=True)
    ]
    return UpdateRun(tensors, [(flags == 1).reshape(-1).tolist() for flags in nan], accepted, left)


def _field(fmt: Format, lanes: int, beats: Beats, name: str) -> NDArray[np.int64]:
    """A member of the unit's results, of shape (beats, elements)."""
    field = updated_beat(fmt, lanes)[name]
    width = fmt.bits if field.width > 1 else 1
    bits = np.unpackbits(beats, axis=1, bitorder="little")[:, field.offset : field.offset + field.width]
    return bits.reshape(len(bits), -1, width) @ (1 << np.arange(width, dtype=np.int64))
