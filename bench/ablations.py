"""What made the papers: one cause of an effect at a time, swept until the effect begins; a record and a figure each.

    python bench/ablations.py -o bench/results            trains what is not recorded, and draws docs/figures/*.svg
    python bench/ablations.py -o bench/results --draw     draws what is recorded

Drawing needs matplotlib.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments import Experiment, final, run_all

from quaver.golden import RECIPES, RNE, Accumulator, Cast, Fixed, Recipe, Rounding, sr
from quaver.golden.catalog import BF16, DLFLOAT16, E4M3FNUZ, E5M2, E5M2_WANG, E5M2FNUZ, E6M5, FP32, Format
from quaver.golden.loss_scaling import ConstantScale
from quaver.golden.recipe import FP32_SUMS
from quaver.train import Settings

FIGURES = Path(__file__).parents[1] / "docs" / "figures"
SEEDS = (0, 1)
FLAT = 1 << 16
"""A chunk as long as any sum here: every product is added to one running sum."""


def images(recipe: str, *, seed: int, epochs: int, **changed: Any) -> Settings:
    """LeNet-5 on MNIST's digits."""
    return Settings.usual(recipe, "lenet5", data="mnist", seed=seed, epochs=epochs, **changed)


# ------------------------------------------------------------------------------------------------------------ chunks

CHUNKS = (1, 8, 64, 512)
BATCHES = (64, 256)


def chunks() -> Iterator[Experiment]:
    """Wang et al. 2018: plain 1-6-9 sums lose what chunks keep; the longest sum is 784 products per image."""
    wang = RECIPES["wang2018"]
    for seed in SEEDS:
        for batch in BATCHES:
            learns = {"batch": batch, "lr": 0.02 * (batch / 64) ** 0.5, "epochs": 6}
            yield Experiment(f"fp32 batch {batch} seed {seed}", images("fp32", seed=seed, **learns))
            for chunk in CHUNKS:
                name = f"chunk {chunk} batch {batch} seed {seed}"
                yield Experiment(name, images("wang2018", seed=seed, **learns), replace(wang, chunk=chunk))


# ------------------------------------------------------------------------------------------------------------ update

RATES = (0.02, 0.005, 0.00125, 0.0003125)
UPDATES = {"sr(16)": sr(16), "rne": RNE}


def update() -> Iterator[Experiment]:
    """Wang et al. 2018: stochastic rounding of the update rescues 1-6-9 master weights where RNE stalls."""
    wang = RECIPES["wang2018"]
    for seed in SEEDS:
        for rate in RATES:
            learns = {"lr": rate, "schedule": "constant", "epochs": 6}
            yield Experiment(f"fp32 lr {rate} seed {seed}", images("fp32", seed=seed, **learns))
            for name, rounding in UPDATES.items():
                recipe = replace(wang, update=rounding)
                yield Experiment(f"{name} lr {rate} seed {seed}", images("wang2018", seed=seed, **learns), recipe)


# ------------------------------------------------------------------------------------------------------------- range

SCALES = tuple(range(-16, 17, 4))


def plain(name: str = "plain") -> Recipe:
    """E5M2 for every operand of every layer, without any scale."""
    cast = Cast(format=E5M2)
    return Recipe(
        name=name,
        source="E5M2 without scales, the baseline that Cambier et al. 2020 call FP8",
        weight=cast,
        activation=cast,
        error=cast,
        inner=FP32_SUMS,
        outer=FP32_SUMS,
        wide=FP32,
        gradient=cast,
        master=FP32,
        velocity=FP32,
    )


def scales() -> Iterator[Experiment]:
    """Cambier et al. 2020, Mellempudi et al. 2019: gradients must be brought into the range of an 8-bit format."""
    for seed in SEEDS:
        for exponent in SCALES:
            scale = ConstantScale(scale=2.0**exponent)
            for name, recipe in {"fp8": plain(), "s2fp8": RECIPES["s2fp8"]}.items():
                if name == "s2fp8" and seed:
                    continue
                changed = replace(recipe, loss_scaling=scale)
                settings = images("s2fp8", seed=seed, epochs=5)
                yield Experiment(f"{name} scale {exponent} seed {seed}", settings, changed)


# --------------------------------------------------------------------------------------------------------- gradients

BIASES = {"1.4.3": tuple(range(8, 33, 4)), "1.5.2": tuple(range(16, 41, 4))}


def gradient_formats() -> Iterator[Experiment]:
    """Noune et al. 2022: gradients in 1.4.3 fail on a Transformer where those in 1.5.2 do not, whatever the bias."""
    noune = RECIPES["noune2022"]
    yield Experiment("fp32", Settings.usual("fp32", "transformer"))
    for layout, biases in BIASES.items():
        fmt = E4M3FNUZ if layout == "1.4.3" else E5M2FNUZ
        for bias in biases:
            cast = Cast(format=fmt, scaling=Fixed(bias - fmt.bias))
            recipe = replace(noune, error=cast, gradient=Cast(format=BF16))
            yield Experiment(f"{layout} bias {bias}", Settings.usual("noune2022", "transformer"), recipe)


# -------------------------------------------------------------------------------------------------------------- bits

BITS = (2, 4, 7, 9, 11, 13)


def summed(fmt: Format, rounding: Rounding, chunk: int = FLAT) -> Recipe:
    """Wang et al. 2018 with other sums, and without the wider operands at the edges."""
    sums = Accumulator(format=fmt, rounding=rounding)
    return replace(RECIPES["wang2018"], inner=sums, outer=sums, chunk=chunk, edge=Cast(format=E5M2_WANG))


def bits() -> Iterator[Experiment]:
    """Ben Ali et al. 2024: sums in 1-6-5, rounded stochastically, need more than 4 random bits."""
    for seed in SEEDS:
        settings = images("wang2018", seed=seed, epochs=5)
        yield Experiment(f"1-6-9 rne seed {seed}", settings, summed(DLFLOAT16, RNE))
        yield Experiment(f"1-6-5 rne seed {seed}", settings, summed(E6M5, RNE))
        for count in BITS:
            yield Experiment(f"1-6-5 sr({count}) seed {seed}", settings, summed(E6M5, sr(count)))
        yield Experiment(f"fp32 seed {seed}", images("fp32", seed=seed, epochs=5))


# ------------------------------------------------------------------------------------------------------------- width

WIDTHS = (5, 4, 3, 2)
WAYS = {
    "one sum, rne": (RNE, FLAT),
    "chunks of 64, rne": (RNE, 64),
    "one sum, sr(4)": (sr(4), FLAT),
    "one sum, sr(13)": (sr(13), FLAT),
}


def width() -> Iterator[Experiment]:
    """Where chunks (Wang et al. 2018) and random bits (Ben Ali et al. 2024) begin to matter to a network this small."""
    for seed in SEEDS:
        settings = images("wang2018", seed=seed, epochs=5)
        for bits_kept in WIDTHS:
            narrow = replace(E6M5, name=f"e6m{bits_kept}_flush", mantissa_bits=bits_kept, source="")
            fmt = E6M5 if bits_kept == E6M5.mantissa_bits else narrow
            for way, (rounding, chunk) in WAYS.items():
                yield Experiment(f"{way} 1-6-{bits_kept} seed {seed}", settings, summed(fmt, rounding, chunk))


# ------------------------------------------------------------------------------------------------------------ figures

Runs = dict[str, dict[str, Any]]


def spread(runs: Runs, name: str, seeds: tuple[int, ...] = SEEDS) -> tuple[float, float, float]:
    """Mean, smallest and largest result over seeds; a training that diverged counts as a guess among ten."""
    found = [runs.get(f"{name} seed {seed}") for seed in seeds]
    values = [10.0 if (value := final(run)) is None else value for run in found if run is not None]
    return sum(values) / len(values), min(values), max(values)


def line(plot: Any, label: str, x: list[float], points: list[tuple[float, float, float]], **style: Any) -> None:
    """A line of means, and the spread around them."""
    (drawn,) = plot.plot(x, [p[0] for p in points], marker="o", markersize=4, label=label, **style)
    plot.fill_between(x, [p[1] for p in points], [p[2] for p in points], color=drawn.get_color(), alpha=0.15)


def draw_chunks(plot: Any, runs: Runs) -> None:
    """Accuracy against the chunk."""
    for batch in BATCHES:
        line(plot, f"batch {batch}", list(CHUNKS), [spread(runs, f"chunk {chunk} batch {batch}") for chunk in CHUNKS])
        plot.axhline(spread(runs, f"fp32 batch {batch}")[0], linestyle=":", linewidth=1, color="grey")
    plot.set(xscale="log", xlabel="products per chunk, 1-6-9 sums to nearest (dotted: FP32)", ylabel="accuracy, %")


def draw_update(plot: Any, runs: Runs) -> None:
    """Accuracy against the learning rate."""
    for name in ("fp32", *UPDATES):
        label = name if name == "fp32" else f"1-6-9, {name}"
        line(plot, label, list(RATES), [spread(runs, f"{name} lr {rate}") for rate in RATES])
    plot.set(xscale="log", xlabel="learning rate, constant", ylabel="accuracy, %")


def draw_scales(plot: Any, runs: Runs) -> None:
    """Accuracy against the loss scale."""
    line(plot, "E5M2", list(SCALES), [spread(runs, f"fp8 scale {e}") for e in SCALES])
    line(plot, "S2FP8", list(SCALES), [spread(runs, f"s2fp8 scale {e}", (0,)) for e in SCALES])
    plot.set(xlabel="log2 of the loss scale", ylabel="accuracy, %")


def draw_gradient_formats(plot: Any, runs: Runs) -> None:
    """Bits per character against the bias."""
    for layout, biases in BIASES.items():
        known = [(bias, final(runs[f"{layout} bias {bias}"])) for bias in biases]
        plot.plot(
            [b for b, v in known], [v for _, v in known], marker="o", markersize=4, label=f"gradients in {layout}"
        )
    plot.axhline(final(runs["fp32"]), linestyle=":", color="grey", label="FP32")
    ticks = (3, 4, 6, 10, 20, 40)
    plot.set(xlabel="bias of the gradients' format", ylabel="bits per character", yscale="log")
    plot.set_yticks(ticks, labels=map(str, ticks))
    plot.minorticks_off()


def draw_bits(plot: Any, runs: Runs) -> None:
    """Accuracy against the random bits."""
    line(plot, "1-6-5, stochastic", list(BITS), [spread(runs, f"1-6-5 sr({count})") for count in BITS])
    for name, style in (("1-6-5 rne", "--"), ("1-6-9 rne", "-."), ("fp32", ":")):
        plot.axhline(spread(runs, name)[0], linestyle=style, linewidth=1, color="grey", label=name)
    plot.set(xlabel="random bits", ylabel="accuracy, %")


def draw_width(plot: Any, runs: Runs) -> None:
    """Accuracy against the stored significand of the sums."""
    for way in WAYS:
        line(plot, way, list(WIDTHS), [spread(runs, f"{way} 1-6-{kept}") for kept in WIDTHS])
    plot.set(xlabel="bits of the stored significand of 1-6-m sums", ylabel="accuracy, %", xticks=WIDTHS)


@dataclass(frozen=True)
class Ablation:
    """A question, how it is put and how the answer is drawn."""

    experiments: Callable[[], Iterator[Experiment]]
    draw: Callable[[Any, Runs], None]
    title: str


ABLATIONS = {
    "chunks": Ablation(chunks, draw_chunks, "Chunks of 1-6-9 sums: LeNet-5, MNIST's digits"),
    "update": Ablation(update, draw_update, "Rounding of the update of 1-6-9 weights: LeNet-5, MNIST's digits"),
    "scales": Ablation(scales, draw_scales, "Range of E5M2 gradients: LeNet-5, MNIST's digits"),
    "gradients": Ablation(gradient_formats, draw_gradient_formats, "Formats of a Transformer's gradients"),
    "bits": Ablation(bits, draw_bits, "Random bits of plain 1-6-5 sums: LeNet-5, MNIST's digits"),
    "width": Ablation(width, draw_width, "Narrow sums: LeNet-5, MNIST's digits"),
}


def draw(name: str, runs: Runs) -> None:
    """Write docs/figures/ablation_NAME.svg, the same bytes for the same record."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        plot = figure.subplots()
        ABLATIONS[name].draw(plot, runs)
        plot.set_title(ABLATIONS[name].title, fontsize="medium")
        plot.grid(alpha=0.3)
        plot.legend(fontsize="small")
        figure.savefig(FIGURES / f"ablation_{name}.svg", metadata={"Date": None})


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("-o", "--output", type=Path, required=True, help="folder of the records")
    options.add_argument("--only", nargs="+", choices=ABLATIONS, default=list(ABLATIONS))
    options.add_argument("--jobs", type=int, default=2, help="trainings at a time (default 2)")
    options.add_argument("--draw", action="store_true", help="train nothing")
    asked = options.parse_args()
    for name in asked.only:
        path = asked.output / f"ablation_{name}.json"
        if not asked.draw:
            run_all(__file__, ABLATIONS[name].experiments(), path, asked.jobs)
        draw(name, json.loads(path.read_text(encoding="utf-8"))["runs"])


if __name__ == "__main__":
    main()
