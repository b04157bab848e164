"""Error of a dot product against its length, and bias of stochastic rounding against its random bits.

Measures with the golden model, writes bench/results/*.json and draws docs/figures/*.svg; with --draw it only draws what
is recorded.  Drawing needs matplotlib.
"""

import argparse
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from quaver.golden import (
    RNE,
    RTZ,
    Accumulator,
    Arithmetic,
    ArrayWords,
    ExactSum,
    Rounding,
    encode,
    from_float,
    gemm,
    round_to,
    sr,
    to_float,
)
from quaver.golden.catalog import DLFLOAT16, E5M2, FP32

ROOT = Path(__file__).parents[1]
COMMAND = "python bench/numerics_plots.py"
LENGTHS = tuple(1 << n for n in range(4, 17))
SAMPLES = 32
CHUNK = 64
RANDOM_BITS = tuple(range(1, 17))
MODES = ("sr", "sr_fast", "sr_unbiased")
FRACTION_BITS = 20
SWEEP_LENGTHS = (4096, 65536)


def sums(length: int) -> dict[str, Arithmetic]:
    """The compared arithmetics; a plain sum is one chunk as long as the dot product."""
    stochastic, fp32 = Accumulator(rounding=sr(13)), Accumulator(format=FP32)
    kinds = {
        "1-6-9 plain, rne": (Accumulator(), Accumulator(), length),
        "1-6-9 plain, sr(13)": (stochastic, Accumulator(), length),
        "1-6-9 in chunks of 64, rne": (Accumulator(), Accumulator(), CHUNK),
        "1-6-9 in chunks of 64, sr(13)": (stochastic, stochastic, CHUNK),
        "exact, rounded once to 1-6-9": (ExactSum(), Accumulator(), length),
        "FP32 plain, rne": (fp32, fp32, length),
    }
    return {
        name: Arithmetic(a=E5M2, b=E5M2, inner=inner, outer=outer, chunk=chunk)
        for name, (inner, outer, chunk) in kinds.items()
    }


def operands(length: int) -> np.ndarray:
    """Codes of the operands of SAMPLES dot products, of mean 1 and standard deviation 1: shape (2, SAMPLES, length)."""
    rng = np.random.default_rng(length)
    return encode(rng.uniform(1 - 3**0.5, 1 + 3**0.5, (2, SAMPLES, length)), E5M2)


def relative_errors(length: int, arithmetic: Arithmetic) -> np.ndarray:
    """Errors of the dot products, in units of the RMS result."""
    codes = operands(length)
    a, b = codes[0][:, None, :], codes[1][:, :, None]
    law = ArrayWords(rows=128, columns=1, chunk=arithmetic.chunk, accumulator_depth=1)
    y = to_float(gemm(a, b, arithmetic, words=law), arithmetic.outer.format)[:, 0, 0]
    # Products are multiples of 2^-32 and their sums stay below 2^20: float64 holds them exactly.
    exact = np.sum(to_float(codes[0], E5M2).astype(np.float64) * to_float(codes[1], E5M2), axis=-1)
    return (y - exact) / np.sqrt(np.mean(exact**2))


def rms(errors: np.ndarray) -> float:
    return float(np.sqrt(np.mean(errors**2)))


def dot_errors(length: int) -> dict[str, float]:
    """RMS relative error of each arithmetic."""
    return {name: rms(relative_errors(length, arithmetic)) for name, arithmetic in sums(length).items()}


def biases(rounding: Rounding, fraction_bits: int = FRACTION_BITS) -> np.ndarray:
    """Mean over all words of rounded minus exact, in ulps, for each fraction that is a multiple of 2^-fraction_bits.

    Words above one that rounds up round up too, so that bisection counts them all.
    """
    fractions = np.arange(1 << fraction_bits) / (1 << fraction_bits)
    x = from_float(1 + fractions * 2.0**-DLFLOAT16.mantissa_bits)
    down = round_to(x, DLFLOAT16, RTZ).astype(np.int64)
    low = np.zeros(x.sign.shape, np.int64)  # the smallest word that rounds up lies in low..high
    high = low + (1 << rounding.random_bits)
    for _ in range(rounding.random_bits + 1):
        middle = (low + high) >> 1
        word = np.minimum(middle, (1 << rounding.random_bits) - 1)
        up = (round_to(x, DLFLOAT16, rounding, words=word) > down) | (middle > word)
        low, high = np.where(up, low, np.minimum(middle + 1, high)), np.where(up, middle, high)
    return 1 - low / (1 << rounding.random_bits) - fractions


def bias_figures(mode: str, bits: int) -> dict[str, float]:
    """Bias of a rounding, and the error of a plain running sum that uses it."""
    rounding = Rounding(mode=mode, random_bits=bits)
    bias = biases(rounding)
    one_bit_beyond = bias[:: 1 << (FRACTION_BITS - bits - 1)]
    return {
        "mean": float(bias.mean()),
        "mean_one_bit_beyond": float(one_bit_beyond.mean()),
        "largest": float(np.abs(bias).max()),
        **dot_sweep(rounding),
    }


def dot_sweep(rounding: Rounding) -> dict[str, float]:
    """RMS relative error of plain running sums in 1-6-9, by their length."""
    kinds = {n: Arithmetic(a=E5M2, b=E5M2, inner=Accumulator(rounding=rounding), chunk=n) for n in SWEEP_LENGTHS}
    return {f"dot_error_{n}": rms(relative_errors(n, arithmetic)) for n, arithmetic in kinds.items()}


def measured() -> Iterator[tuple[str, dict]]:
    """The two records, by name."""
    yield (
        "numerics_dot",
        {
            "command": COMMAND,
            "samples": SAMPLES,
            "operands": "E5M2, uniform with mean 1 and standard deviation 1",
            "rms_relative_error": {str(length): dot_errors(length) for length in LENGTHS},
        },
    )
    yield (
        "numerics_bias",
        {
            "command": COMMAND,
            "fraction_bits": FRACTION_BITS,
            "dot_samples": SAMPLES,
            "rne": dot_sweep(RNE),
            "figures": {mode: {str(bits): bias_figures(mode, bits) for bits in RANDOM_BITS} for mode in MODES},
        },
    )


def dot_finding() -> str:
    """What the record says of swamping, in its numbers."""
    errors = recorded("numerics_dot")["rms_relative_error"]

    def percent(name: str, length: int) -> str:
        return f"{100 * errors[str(length)][name]:.2g} %"

    plain, chunked = "1-6-9 plain, rne", "1-6-9 in chunks of 64, rne"
    return (
        f"Under `rne` the plain sum of 4096 products errs by {percent(plain, 4096)}, of 8192 by "
        f"{percent(plain, 8192)}, of 65536 by {percent(plain, 65536)};\n"
        f"`sr(13)` errs by {percent('1-6-9 plain, sr(13)', 65536)} at 65536, chunks of 64 by {percent(chunked, 65536)} "
        f"under `rne` and by\n{percent('1-6-9 in chunks of 64, sr(13)', 65536)} under `sr(13)`, a sum that is rounded "
        f"once by {percent('exact, rounded once to 1-6-9', 65536)}."
    )


def dot_rows() -> tuple[list[str], list[list[str]]]:
    """Head and rows of the page's table of errors against lengths."""
    errors = recorded("numerics_dot")["rms_relative_error"]
    lengths = [str(1 << n) for n in (6, 8, 10, 12, 13, 14, 16)]
    return ["sum", *lengths], [[name, *(f"{errors[n][name]:.1e}" for n in lengths)] for name in errors["16"]]


def bias_finding() -> str:
    """How many random bits the record says are enough."""
    figures = recorded("numerics_bias")["figures"]

    def enough(mode: str, length: int) -> str:
        """Fewest bits from which on the error stays below 1.5 times that of the most bits."""
        errors = [figures[mode][str(bits)][f"dot_error_{length}"] for bits in RANDOM_BITS]
        return str(sum(max(errors[i:]) > 1.5 * errors[-1] for i in range(len(errors))) + 1)

    return "\n".join(
        f"Random bits that keep a sum of {n} products within 1.5 times its error at 16: "
        f"{', '.join(f'`{mode}` {enough(mode, n)}' for mode in MODES)}."
        for n in SWEEP_LENGTHS
    )


def bias_rows() -> tuple[list[str], list[list[str]]]:
    """Head and rows of the page's table of biases."""
    record = recorded("numerics_bias")
    errors = [f"dot_error_{n}" for n in SWEEP_LENGTHS]
    keys = ["mean", "mean_one_bit_beyond", "largest", *errors]
    head = ["rounding", "mean bias, ulp", "where r + 1 bits are dropped", "largest"]
    rows = [
        [f"{mode}({bits})", *(f"{record['figures'][mode][str(bits)][key]:.1e}" for key in keys)]
        for bits in (1, 2, 4, 9, 13)
        for mode in MODES
    ]
    rows.append(["rne", "", "", "", *(f"{record['rne'][key]:.1e}" for key in errors)])
    return [*head, *(f"error of {n} products" for n in SWEEP_LENGTHS)], rows


def path_of(name: str) -> Path:
    return ROOT / "bench" / "results" / f"{name}.json"


def recorded(name: str) -> dict:
    return json.loads(path_of(name).read_text(encoding="utf-8"))


def description(name: str) -> str:
    """What a figure says about its data, so that a stale one can be told."""
    return f"{path_of(name).name}, sha256 {hashlib.sha256(path_of(name).read_bytes()).hexdigest()}"


HOLLOW = {"markerfacecolor": "white"}
STYLES = {
    "1-6-9 plain, rne": {"color": "black", "linestyle": "-", "marker": "o"},
    "1-6-9 plain, sr(13)": {"color": "black", "linestyle": "--", "marker": "o", **HOLLOW},
    "1-6-9 in chunks of 64, rne": {"color": "tab:blue", "linestyle": "-", "marker": "s"},
    "1-6-9 in chunks of 64, sr(13)": {"color": "tab:blue", "linestyle": "--", "marker": "s", **HOLLOW},
    "exact, rounded once to 1-6-9": {"color": "tab:orange", "linestyle": ":", "marker": "^"},
    "FP32 plain, rne": {"color": "tab:green", "linestyle": "-.", "marker": "D"},
}
"""Marker and line tell the curves apart where the colours do not, as in print."""
SWEEP_STYLES = {
    "sr": {"color": "black", "linestyle": "-", "marker": "o"},
    "sr_fast": {"color": "tab:orange", "linestyle": "--", "marker": "s", **HOLLOW},
    "sr_unbiased": {"color": "tab:blue", "linestyle": ":", "marker": "^", **HOLLOW},
}


def draw_dot(axes: list) -> None:
    errors = recorded("numerics_dot")["rms_relative_error"]
    for name, style in STYLES.items():
        points = [(int(length), e[name]) for length, e in errors.items() if e[name] > 0]
        axes[0].loglog(*zip(*points, strict=True), label=name, markersize=4, **style)
    axes[0].set(xlabel="length of the dot product", ylabel="RMS error / RMS result")
    axes[0].set_xscale("log", base=2)
    axes[0].legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.02, 1))


def draw_bias(axes: list) -> None:
    record = recorded("numerics_bias")
    for mode, key, label, size in (
        ("sr", "largest", "sr, largest", 4),
        ("sr_fast", "largest", "sr_fast and sr_unbiased, largest", 8),
        ("sr", "mean", "sr, mean", 3),
        ("sr_fast", "mean_one_bit_beyond", "sr_fast, mean of r + 1 bits", 4),
    ):
        values = [abs(record["figures"][mode][str(bits)][key]) for bits in RANDOM_BITS]
        style = SWEEP_STYLES[mode] | {"linestyle": "-" if key == "largest" else ":"}
        axes[0].semilogy(RANDOM_BITS, values, label=label, markersize=size, **style)
    axes[0].set_yscale("log", base=2)
    axes[0].set(ylabel="|bias|, ulp")
    longest = SWEEP_LENGTHS[-1]
    for mode, style in SWEEP_STYLES.items():
        values = [record["figures"][mode][str(bits)][f"dot_error_{longest}"] for bits in RANDOM_BITS]
        axes[1].semilogy(RANDOM_BITS, values, label=mode, markersize=4, **style)
    axes[1].axhline(record["rne"][f"dot_error_{longest}"], color="0.4", linewidth=1, linestyle="-.", label="rne")
    axes[1].set(ylabel=f"RMS error / RMS result, {longest} products", ylim=(0.01, 2))
    for ax in axes:
        ax.set(xlabel="random bits r", xticks=RANDOM_BITS[1::2])
        ax.legend(fontsize="small")


FIGURES: dict[str, tuple[int, Callable[[list], None]]] = {
    "numerics_dot": (1, draw_dot),
    "numerics_bias": (2, draw_bias),
}
"""Number of panels of each figure, and what draws it."""


def draw(name: str, folder: Path, suffix: str = ".svg") -> None:
    """Draw one figure.  Equal data gives an equal file: no date, no version, identifiers that are not random."""
    from matplotlib import pyplot  # tests read the records without it

    panels, fill = FIGURES[name]
    with pyplot.rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "font.size": 10}):
        figure, axes = pyplot.subplots(1, panels, figsize=(8.5, 4), squeeze=False, layout="constrained")
        fill(list(axes[0]))
        for ax in axes[0]:
            ax.grid(True, color="0.85", linewidth=0.6)
        about = {"Date": None, "Creator": None, "Description": description(name)} if suffix == ".svg" else None
        figure.savefig(folder / f"{name}{suffix}", metadata=about)
        pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", action="store_true", help="draw what is recorded, measure nothing")
    if not parser.parse_args().draw:
        for name, record in measured():
            path_of(name).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for name in FIGURES:
        draw(name, ROOT / "docs" / "figures")


if __name__ == "__main__":
    main()
