"""One convolution of ResNet-18 through a training step on the accelerator's Verilog, every bit and every cycle checked.

The layer is the first one of conv2_x: 3 x 3, 64 -> 64 channels, padding 1, on 8 x 8 positions of a photograph.  Its
forward pass, data gradient, weight gradient and weight update run on the RTL of the preset `edge`, driven over AXI; the
golden model says what each result has to be, the simulator how many cycles each pass takes.

    python examples/training_layer.py
"""

import sys
from typing import NamedTuple

import numpy as np
from matplotlib.cbook import get_sample_data
from matplotlib.image import imread
from numpy.typing import NDArray

from quaver.cosim.accelerator_runs import Play, Work
from quaver.cosim.simulator import Model
from quaver.golden import PRESETS, Accelerator, Format, Machine, amax_exponent, encode, plan, to_float
from quaver.golden.catalog import E4M3, E5M2
from quaver.golden.commands import Update
from quaver.host import beats
from quaver.hw.accelerator import Accelerator as AcceleratorRtl
from quaver.sim.sequence import sequence_cycles, update_cycles

SIZE, CHANNELS, KERNEL = 8, 64, 3
CROP = (120, 200)
"""Row and column of the photograph at which the crop begins: a face."""
RATE, MOMENTUM, DECAY = 0.05, 0.9, 1e-4


class Pass(NamedTuple):
    """A pass through the layer: commands with their operands."""

    name: str
    work: list[Work]
    cycles: int
    """What the simulator says."""


class Scaled(NamedTuple):
    """A tensor in FP8: codes, and the exponent of the power of two that it was multiplied by."""

    codes: NDArray
    exponent: int


def quantised(x: NDArray, fmt: Format) -> Scaled:
    """`x` scaled to the top of the format, as delayed scaling would."""
    exponent = amax_exponent(float(np.abs(x).max()), fmt)
    return Scaled(encode(x * 2.0**exponent, fmt, saturate=True).astype(np.int64), exponent)


def features(rng: np.random.Generator, shift: int = 0) -> NDArray:
    """What 64 random filters of 7 x 7, stride 2, and a ReLU make of the crop: (8, 8, 64), of standard deviation 1."""
    with get_sample_data("grace_hopper.jpg") as file:
        photograph = imread(file, format="jpg").astype(float) / 255 - 0.5
    row, column = CROP[0] + shift, CROP[1]
    side = 2 * (SIZE - 1) + 7
    crop = photograph[row : row + side, column : column + side]
    filters = rng.normal(size=(7, 7, 3, CHANNELS)) / np.sqrt(7 * 7 * 3)
    windows = np.lib.stride_tricks.sliding_window_view(crop, (7, 7), axis=(0, 1))[::2, ::2]
    responses = np.maximum(np.einsum("yxcij,ijcf->yxf", windows, filters), 0)
    return responses / responses.std()


def unrolled(x: NDArray) -> NDArray:
    """im2col with padding 1: (8, 8, C) to (64, 9 C), a row for each position."""
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    parts = [padded[i : i + SIZE, j : j + SIZE] for i in range(KERNEL) for j in range(KERNEL)]
    return np.concatenate(parts, axis=2).reshape(SIZE * SIZE, -1)


def multiplication(machine: Machine, name: str, a: Scaled, b: Scaled, *, gradient: str, transposed: bool) -> Pass:
    """a @ b, the scales undone; `gradient` says which operands are in E5M2."""
    blocks = list(
        plan(
            machine,
            *a.codes.shape,
            b.codes.shape[1],
            transposed=transposed,
            a_format=machine.a_formats.index(E5M2 if "a" in gradient else E4M3),
            b_format=machine.b_formats.index(E5M2 if "b" in gradient else E4M3),
            scale=-a.exponent - b.exponent,
            report=True,
        )
    )
    work, kept = [], False
    for block in blocks:
        work.append(Work(block.command, None if kept else a.codes[block.rows], b.codes[:, block.columns]))
        kept = block.command.keep
    return Pass(name, work, sequence_cycles(machine, [block.command for block in blocks]))


def assembled(passed: Pass, results: list[NDArray]) -> NDArray:
    """The product from its blocks, which are all side by side."""
    assert len(results) == len(passed.work)
    return np.concatenate(results, axis=1)


def passes(machine: Machine, golden: Accelerator) -> list[Pass]:
    """The four passes; each takes what the golden model made of the one before."""
    rng = np.random.default_rng(18)
    fan_in = KERNEL * KERNEL * CHANNELS
    x, wanted = features(rng), features(np.random.default_rng(18), shift=4)
    kept = machine.update.format
    master = encode(rng.normal(size=(fan_in, CHANNELS)) * np.sqrt(2 / fan_in), kept).astype(np.int64)
    w = quantised(to_float(master, kept), E4M3)

    def run(passed: Pass) -> NDArray:
        outcomes = [golden.run(*work) for work in passed.work]
        return assembled(passed, [outcome.codes for outcome in outcomes if outcome.codes is not None])

    # Weights lie in memory as (kernel position, input, output): rows of a tile are contiguous, hence `transposed`.
    inputs = Scaled(unrolled(quantised(x, E4M3).codes), quantised(x, E4M3).exponent)
    forward = multiplication(machine, "forward", inputs, w, gradient="", transposed=True)
    y = to_float(run(forward), machine.outer.format).reshape(SIZE, SIZE, CHANNELS)

    # The error of half the squared distance to the features of a crop further down.
    error = quantised((y - wanted) / y.size, E5M2)
    around = Scaled(unrolled(error.codes.reshape(SIZE, SIZE, CHANNELS)), error.exponent)
    turned = w.codes.reshape(KERNEL * KERNEL, CHANNELS, CHANNELS)[::-1].transpose(0, 2, 1).reshape(fan_in, CHANNELS)
    data_gradient = multiplication(
        machine, "data gradient", around, Scaled(turned, w.exponent), gradient="a", transposed=False
    )
    run(data_gradient)

    errors = Scaled(error.codes.reshape(SIZE * SIZE, CHANNELS), error.exponent)
    swapped = Scaled(np.ascontiguousarray(inputs.codes.T), inputs.exponent)
    weight_gradient = multiplication(machine, "weight gradient", swapped, errors, gradient="b", transposed=True)
    gradient = run(weight_gradient)

    elements = np.stack([master, np.zeros_like(master), gradient]).reshape(3, -1, machine.update_lanes)
    scalars = encode(np.array([RATE, MOMENTUM, DECAY]), kept).tolist()
    command = Update(beats=elements.shape[1], rate=scalars[0], momentum=scalars[1], decay=scalars[2])
    update = Pass("weight update", [Work(command, elements=elements)], update_cycles(machine, command))
    golden.run(*update.work[0])
    return [forward, data_gradient, weight_gradient, update]


def main() -> int:
    """Run the step on golden and on the RTL; 1 if a bit or a cycle differs."""
    machine = PRESETS["edge"]
    assert machine.outer.format == machine.update.format
    steps = passes(machine, Accelerator(machine))

    play = Play(machine)
    play.do("identify")
    counters = []
    for step in steps:
        play.do("hold", True)
        play.do("clear")
        for work in step.work:
            play.send_operands(work)
        for work in step.work:
            play.issue(work.command)
        play.do("hold", False)
        play.do("idle")
        counters.append(play.do("counters"))
        if step.name != "weight update":
            play.do("next_report")
    play.do("take", "results")
    play.do("take", "updated")
    quiet = play.do("quiet", 200)
    with Model.of(AcceleratorRtl, machine) as model:
        played = play.run(model)
    assert played.log[quiet], "beats were left over"

    golden, packets, failed = Accelerator(machine), iter(played.results), False
    print(f"{'pass':16} {'values':>7} {'wrong':>6} {'cycles':>7} {'simulated':>9} {'MACs':>9} {'utilisation':>11}")
    for step, place in zip(steps, counters, strict=True):
        compared = wrong = 0
        for work in step.work:
            outcome = golden.run(*work)
            if outcome.weights is not None:
                expected = np.stack([outcome.weights, outcome.velocities])
                got = beats.updated(machine, played.updated[0])
            else:
                expected, got = outcome.codes, beats.results(machine, work.command, next(packets))
            compared, wrong = compared + expected.size, wrong + int((got != expected).sum())
        count = played.log[place]
        share = count["macs"] / (count["busy"] * machine.rows * machine.columns)
        cycles = f"{count['busy']:7,} {step.cycles:9,}"
        print(f"{step.name:16} {compared:7,} {wrong:6} {cycles} {count['macs']:9,} {share:11.1%}")
        failed |= bool(wrong) or not compared or count["busy"] != step.cycles
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
