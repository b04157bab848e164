"""Test words of the random generators, their statistics, and how strongly neighbouring words are correlated.

Writes JSON to stdout; with --page FILE it rewrites the generated parts of that Markdown page instead, those included
that its neighbours in this folder make from their recorded results.
"""

import argparse
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numerics_columns
import numerics_plots
import numpy as np
from scipy import stats

from quaver.golden import FORMATS, Format, LaneWords, LeapingLfsr, seed_of
from quaver.golden.lfsr import OUTER_GENERATORS, OUTPUT_GENERATORS, UPDATE_GENERATORS, rotated

GENERATORS = (0, 1, OUTER_GENERATORS, OUTPUT_GENERATORS, UPDATE_GENERATORS)
WORD_BITS = (9, 13)
BITS = (4, 9, 13)
PLACES, TIMES = 64, 4096
DISTANCES = (1, 2, 4, 8)
TESTED_SEEDS = [
    seed_of(s, g) for s in (0, 1) for g in (0, 1, 2, OUTER_GENERATORS, OUTPUT_GENERATORS, UPDATE_GENERATORS)
]
TESTED_WORDS = 1 << 18
"""Words of each tested generator: 32 of each value at r = 13."""
LAGS = (1, 2, 3, 4)
PAIR_BITS = 4
SIGNIFICANT = 0.001

Table = dict[str, dict[str, dict[str, float]]]


class OneStepLfsr(LeapingLfsr):
    """The same register and the same bits of it, but one step per word: what the leap is there to avoid."""

    @cached_property
    def leap(self) -> np.ndarray:
        return LeapingLfsr(1).leap


GENERATOR_KINDS: dict[str, Callable[[int], LeapingLfsr]] = {"r steps": LeapingLfsr, "one step": OneStepLfsr}
"""Kinds of generators by their steps per word."""


def first_words() -> dict[str, dict[str, list[str]]]:
    """The first ten words of some generators under seed 0, by r and generator."""
    return {
        str(bits): {f"{g:#x}": [f"{w:#x}" for w in LeapingLfsr(bits).words(seed_of(0, g), 0, 10)] for g in GENERATORS}
        for bits in WORD_BITS
    }


def p_values(words: np.ndarray, bits: int) -> dict[str, np.ndarray]:
    """p-values of each generator's sequence, `words` of shape (generators, times), by the test's name.

    `values`: chi-square of the counts of each value.  `correlation, lag d`: the mean product of words d apart, centred
    and scaled as uniform words are, against its normal law.  `pairs, lag d`: chi-square of the counts of pairs of the
    top bits of words d apart; the pairs do not overlap, so that they are independent if the words are.
    """
    size = 1 << bits
    result = {"values": np.array([stats.chisquare(np.bincount(w, minlength=size)).pvalue for w in words])}
    x = (words - (size - 1) / 2) / np.sqrt((size**2 - 1) / 12)
    top = (words >> (bits - PAIR_BITS)).astype(np.int64)
    for lag in LAGS:
        products = x[:, :-lag] * x[:, lag:]
        z = products.sum(axis=1) / np.sqrt(products.shape[1])
        result[f"correlation, lag {lag}"] = 2 * stats.norm.sf(np.abs(z))
        blocks = top[:, : words.shape[1] // (2 * lag) * 2 * lag].reshape(len(top), -1, 2, lag)
        pairs = ((blocks[:, :, 0] << PAIR_BITS) + blocks[:, :, 1]).reshape(len(top), -1)
        counts = [np.bincount(p, minlength=1 << 2 * PAIR_BITS) for p in pairs]
        result[f"pairs, lag {lag}"] = np.array([stats.chisquare(count).pvalue for count in counts])
    return result


def statistics() -> Table:
    """p-value of each test over all tested generators, by r and steps per word.

    The smallest of n p-values times n, at most 1 (Bonferroni): it is below any level no more often than the level says.
    """
    result: Table = {}
    for bits in BITS:
        result[str(bits)] = {}
        for kind, generator in GENERATOR_KINDS.items():
            tests = p_values(generator(bits).words(TESTED_SEEDS, 0, TESTED_WORDS), bits)
            result[str(bits)][kind] = {name: min(1.0, float(p.min() * p.size)) for name, p in tests.items()}
    return result


def correlations() -> Table:
    """Mean and largest |Pearson correlation| between the word sequences of neighbours, by r and kind of neighbour."""
    result: Table = {}
    for bits in BITS:
        lfsr = LeapingLfsr(bits)
        rows = lfsr.words([seed_of(0, g) for g in range(PLACES)], 0, TIMES)
        outer = lfsr.words([seed_of(0, g) for g in range(OUTER_GENERATORS, OUTER_GENERATORS + PLACES)], 0, TIMES)
        places = {
            "rows i, i + d": rows,
            "outer adders i, i + d": outer,
            "output lanes i, i + d": _lanes(OUTPUT_GENERATORS, bits),
            "update lanes i, i + d": _lanes(UPDATE_GENERATORS, bits),
            "columns j, j + d": rotated(rows[0], np.arange(PLACES)[:, None], bits),
        }
        found = {
            f"{name}, d = {distance}": _magnitudes(words[:-distance], words[distance:])
            for name, words in places.items()
            for distance in (*DISTANCES, bits)
        }
        for distance in (*DISTANCES, bits):
            found[f"times t, t + d, d = {distance}"] = _magnitudes(rows[:, :-distance], rows[:, distance:])
        found["row i, outer adder i, d = 0"] = _magnitudes(rows, outer)
        for one, other in ((0, 1), (1, 2), (0, 2)):
            stages = (_lanes(UPDATE_GENERATORS + stage * PLACES, bits) for stage in (one, other))
            found[f"update lane i, stages {one} and {other}, d = 0"] = _magnitudes(*stages)
        result[str(bits)] = {
            name: {"mean": float(np.mean(rho)), "max": float(np.max(rho))} for name, rho in found.items()
        }
    return result


def _lanes(generators: int, bits: int) -> np.ndarray:
    """Words of each lane of a unit, of shape (lanes, times)."""
    return LaneWords(lanes=PLACES, generators=generators).of_tensor((TIMES, PLACES), bits).T


def _magnitudes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|Pearson correlation| of each row of x with that of y."""
    return np.abs(np.mean(_normalised(x) * _normalised(y), axis=1))


def _normalised(words: np.ndarray) -> np.ndarray:
    """Each row as numbers of mean 0 and variance 1."""
    x = words.astype(np.float64)
    x -= x.mean(axis=1, keepdims=True)
    return x / np.sqrt(np.mean(x * x, axis=1, keepdims=True))


def generated() -> dict[str, str]:
    """The generated parts of the page, by the names of their markers."""
    return {
        "formats": table(
            ["format", "E", "M", "bias", "special codes", "e = 0", "largest", "smallest normal", "smallest"],
            [_format_row(fmt) for fmt in FORMATS.values()],
        ),
        "words": table(
            ["r", "generator", "words 0 to 9"],
            [
                [bits, f"`{g}`", " ".join(f"`{w}`" for w in words)]
                for bits, by_generator in first_words().items()
                for g, words in by_generator.items()
            ],
        ),
        "statistics": _statistics_table(),
        "correlations": _correlation_table(),
        "columns": table(*numerics_columns.page_rows()) + "\n\n" + numerics_columns.finding(),
        "dot": numerics_plots.dot_finding() + "\n\n" + table(*numerics_plots.dot_rows()),
        "bias": table(*numerics_plots.bias_rows()) + "\n\n" + numerics_plots.bias_finding(),
    }


def _format_row(fmt: Format) -> list[str]:
    numbers = [f"{x:.10g}" for x in (fmt.max_finite, fmt.min_normal, fmt.min_positive)]
    fields = (fmt.name, fmt.exponent_bits, fmt.mantissa_bits, fmt.bias, fmt.specials, fmt.subnormals)
    return [*map(str, fields), *numbers]


def _statistics_table() -> str:
    found = statistics()
    columns = [(bits, kind) for bits in found for kind in found[bits]]
    rows = [
        [name, *(f"{p:.2g}" if (p := found[bits][kind][name]) > 1e-9 else "< 1e-9" for bits, kind in columns)]
        for name in found[columns[0][0]][columns[0][1]]
    ]
    return table(["test", *(f"r = {bits}, {kind}" for bits, kind in columns)], rows)


def _correlation_table() -> str:
    rows = []
    for bits, found in correlations().items():
        names = dict.fromkeys(name.rpartition(", d = ")[0] for name in found)
        for name in names:
            cells = [found.get(f"{name}, d = {distance}") for distance in (*DISTANCES, bits)]
            if not any(cells):
                cells[0] = found[f"{name}, d = 0"]
            rows.append([bits, name, *(f"{c['mean']:.3f} ({c['max']:.3f})" if c else "" for c in cells)])
    return table(["r", "neighbours", *(f"d = {distance}" for distance in DISTANCES), "d = r"], rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def rewritten(page: str) -> str:
    """The page with its generated parts made anew."""
    for name, text in generated().items():
        begin, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->"
        before, rest = page.split(begin)
        page = before + begin + text + "\n" + end + rest.split(end)[1]
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", type=Path, help="a Markdown page whose generated parts are to be rewritten")
    page = parser.parse_args().page
    if page:
        page.write_text(rewritten(page.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        sample = {"places": PLACES, "times": TIMES, "seed": 0}
        found = {"words": first_words(), "statistics": statistics(), "sample": sample, "correlations": correlations()}
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
