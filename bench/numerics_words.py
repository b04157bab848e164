"""Test words of the random generators, and how strongly neighbouring words are correlated.

Writes JSON to stdout; with --page FILE it rewrites the generated parts of that Markdown page instead.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from quaver.golden import FORMATS, Format, LeapingLfsr, seed_of
from quaver.golden.lfsr import OUTER_GENERATORS, rotated

GENERATORS = (0, 1, OUTER_GENERATORS)
WORD_BITS = (9, 13)
ROWS, COLUMNS, TIMES = 64, 64, 4096
BITS = (4, 9, 13)


def first_words() -> dict[str, dict[str, list[str]]]:
    """The first ten words of some generators under seed 0, by r and generator."""
    return {
        str(bits): {f"{g:#x}": [f"{w:#x}" for w in LeapingLfsr(bits).words(seed_of(0, g), 0, 10)] for g in GENERATORS}
        for bits in WORD_BITS
    }


def correlations() -> dict[str, dict[str, dict[str, float]]]:
    """Mean and largest |Pearson correlation| between the word sequences of neighbours, by r and direction."""
    result = {}
    seeds = [seed_of(0, g) for g in range(ROWS)]
    for bits in BITS:
        words = LeapingLfsr(bits).words(seeds, 0, TIMES + 1)
        rows = _normalised(words[:, :TIMES])
        later = _normalised(words[:, 1:])
        columns = _normalised(rotated(words[0, :TIMES], np.arange(COLUMNS)[:, None], bits))
        pairs = {
            "rows i, i + 1": (rows[:-1], rows[1:]),
            "times t, t + 1": (rows, later),
            "columns j, j + 1": (columns[:-1], columns[1:]),
            "columns j, j + r": (columns[:-bits], columns[bits:]),
        }
        result[str(bits)] = {
            name: {"mean": float(np.mean(rho)), "max": float(np.max(rho))}
            for name, rho in ((name, np.abs(np.mean(x * y, axis=1))) for name, (x, y) in pairs.items())
        }
    return result


def _normalised(words: np.ndarray) -> np.ndarray:
    """Each row as numbers of mean 0 and variance 1."""
    x = words.astype(np.float64)
    x -= x.mean(axis=1, keepdims=True)
    return x / np.sqrt(np.mean(x * x, axis=1, keepdims=True))


def generated() -> dict[str, str]:
    """The generated parts of the page, by the names of their markers."""
    return {
        "formats": _table(
            ["format", "E", "M", "bias", "special codes", "e = 0", "largest", "smallest normal", "smallest"],
            [_format_row(fmt) for fmt in FORMATS.values()],
        ),
        "words": _table(
            ["r", "generator", "words 0 to 9"],
            [
                [bits, f"`{g}`", " ".join(f"`{w}`" for w in words)]
                for bits, table in first_words().items()
                for g, words in table.items()
            ],
        ),
        "correlations": _table(
            ["r", "neighbours", "mean", "largest"],
            [
                [bits, name, f"{rho['mean']:.3f}", f"{rho['max']:.3f}"]
                for bits, table in correlations().items()
                for name, rho in table.items()
            ],
        ),
    }


def _format_row(fmt: Format) -> list[str]:
    numbers = [f"{x:.10g}" for x in (fmt.max_finite, fmt.min_normal, fmt.min_positive)]
    fields = (fmt.name, fmt.exponent_bits, fmt.mantissa_bits, fmt.bias, fmt.specials, fmt.subnormals)
    return [*map(str, fields), *numbers]


def _table(head: list[str], rows: list[list[str]]) -> str:
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
        sample = {"rows": ROWS, "columns": COLUMNS, "times": TIMES, "seed": 0}
        print(json.dumps({"words": first_words(), "sample": sample, "correlations": correlations()}, indent=2))


if __name__ == "__main__":
    main()
