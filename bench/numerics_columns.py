"""What it costs that the columns of an array share their row's random word: errors of GEMMs under other laws of words.

Writes JSON to the file named by --output; the table on the page on numerics is made from the recorded file.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from quaver.golden import Accumulator, Arithmetic, ArrayWords, GemmWords, encode, gemm, sr, to_float
from quaver.golden.catalog import E4M3
from quaver.golden.lfsr import COLUMN_FACTOR, WIDTH, rotated

RECORDED = Path(__file__).parent / "results" / "numerics_columns.json"
COMMAND = "python bench/numerics_columns.py --output bench/results/numerics_columns.json"
BITS = (4, 9, 13)
ROWS = COLUMNS = 128
M, K, N = 16, 1024, 1024
GEMMS = 8
VECTORS = 64
STRIDE = {4: 3, 9: 4, 13: 6}
"""Near r / 2 and coprime with r."""
PRIMITIVE = {4: 0b0011, 9: 0b000010001, 13: 0b0000000011011}
"""x^r modulo a primitive polynomial: x^4 + x + 1, x^9 + x^4 + 1, x^13 + x^4 + x^3 + x + 1."""

Words = np.ndarray
Law = Callable[[Words, int], Words]
"""From the words that enter the rows (any shape) and r to those of the columns, along a new last axis."""
Operands = Callable[[np.ndarray], np.ndarray]


def array(words: Words, bits: int) -> Words:
    return rotated(words[..., None], np.arange(COLUMNS), bits)


def shared(words: Words, bits: int) -> Words:
    return np.broadcast_to(words[..., None], (*words.shape, COLUMNS))


def strided(words: Words, bits: int) -> Words:
    turn = np.arange(COLUMNS) * STRIDE[bits] % bits
    return rotated(words[..., None], turn, bits) ^ rotated(np.uint32(0), turn, bits) ^ _masks(bits)


def permuted(words: Words, bits: int) -> Words:
    rng = np.random.Generator(np.random.Philox(1))
    order = [rng.permutation(bits) for _ in range(COLUMNS)]
    return np.stack([sum((words >> b & 1) << p for b, p in enumerate(to)) for to in order], axis=-1) ^ _masks(bits)


def stepped(words: Words, bits: int) -> Words:
    return _linear(words, bits, 1)


def fed_back(words: Words, bits: int) -> Words:
    """Column j makes j steps of an LFSR whose stages lie s bits apart: a rotation by s and an XOR or three."""
    stride, columns = STRIDE[bits], [words.astype(np.uint32)]
    top = (bits - 1) * stride % bits
    taps = sum(1 << i * stride % bits for i in range(1, bits) if PRIMITIVE[bits] >> i & 1)
    for _ in range(COLUMNS - 1):
        word = columns[-1]
        turned = (word << stride | word >> (bits - stride)) & (1 << bits) - 1
        columns.append(turned ^ (word >> top & 1) * np.uint32(taps))
    return np.stack(columns, axis=-1) ^ _masks(bits)


def leapt(words: Words, bits: int) -> Words:
    return _linear(words, bits, bits)


def _linear(words: Words, bits: int, steps: int) -> Words:
    """Column j multiplies by x^(steps j) modulo the primitive polynomial."""
    columns = [words.astype(np.uint32)]
    for _ in range(COLUMNS - 1):
        word = columns[-1]
        for _ in range(steps):
            word = (word << 1 & (1 << bits) - 1) ^ (word >> (bits - 1)) * np.uint32(PRIMITIVE[bits])
        columns.append(word)
    return np.stack(columns, axis=-1) ^ _masks(bits)


def _masks(bits: int) -> Words:
    return ((np.arange(COLUMNS) * COLUMN_FACTOR & 0xFFFFFFFF) >> (WIDTH - bits)).astype(np.uint32)


LAWS: dict[str, Law | None] = {
    "the array's: rotated by j, masked": array,
    "a word of its own for each": None,
    "the same word for all": shared,
    "rotated by s j, masked": strided,
    "bits permuted at random, masked": permuted,
    "one LFSR step per column, masked": stepped,
    "rotated by s and fed back per column, masked": fed_back,
    "r LFSR steps per column, masked": leapt,
}

MEASURED = [name for name in LAWS if name not in ("rotated by s j, masked", "one LFSR step per column, masked")]
"""Laws whose GEMMs are measured: two have the correlations of others, but for neighbours."""
PUBLISHED = ("the array's: rotated by j, masked", "a word of its own for each", "the same word for all")
OPERANDS: dict[str, Operands] = {"of both signs": np.asarray, "positive": np.abs}
"""What is made of normal numbers before they are cast to E4M3."""


def errors(bits: int, law: Law | None, operands: Operands, gemms: int = GEMMS) -> np.ndarray:
    """Errors of the outputs of several GEMMs, one row per pass over the array: shape (passes, COLUMNS).

    They are relative to the RMS of the exact outputs.
    """
    rng = np.random.default_rng(0)
    own = np.random.Generator(np.random.Philox(0))
    arithmetic = Arithmetic(a=E4M3, b=E4M3, inner=Accumulator(rounding=sr(bits)))
    place = ArrayWords(rows=ROWS, columns=COLUMNS, chunk=arithmetic.chunk, accumulator_depth=1024)
    passes = []
    for _ in range(gemms):
        a, b = (encode(operands(rng.standard_normal(shape)), E4M3) for shape in ((M, K), (K, N)))
        if law is None:
            words = own.integers(0, 1 << bits, (K, M, N), dtype=np.uint32)
        else:
            # Column 0 of each tile uses its row's word as it is.
            entering = place.of_gemm(M, K, N, bits, 0).inner[:, :, ::COLUMNS]
            words = law(entering, bits).reshape(K, M, N)
        y = to_float(gemm(a, b, arithmetic, words=GemmWords(words, None)), arithmetic.outer.format)
        # Sums of 2^10 products, multiples of 2^-18 below 2^17, are exact in float64 in any order.
        exact = to_float(a, E4M3).astype(np.float64) @ to_float(b, E4M3).astype(np.float64)
        passes.append(((y - exact) / np.sqrt(np.mean(exact**2))).reshape(-1, COLUMNS))
        place = place.after(M, K, N)
    return np.concatenate(passes)


def measured(bits: int, law: Law | None, operands: Operands) -> dict[str, float]:
    """Size and correlations of the errors; a ratio of 1 is what uncorrelated errors have on average.

    Correlations and ratios are those of the errors without their mean, which is the rounding's bias.
    """
    e = errors(bits, law, operands)
    first, bias, size = e[: M * N // COLUMNS], e.mean(), np.sqrt(np.mean(e * e))
    e = e - bias
    mean_square = np.mean(e * e)
    vectors = np.random.default_rng(1).standard_normal((COLUMNS, VECTORS))
    vectors /= np.linalg.norm(vectors, axis=0)
    dots = np.mean((e @ vectors) ** 2, axis=0) / mean_square
    return {
        "rms": float(size),
        "rms_of_first_gemm": float(np.sqrt(np.mean(first**2))),
        "mean": float(bias),
        "sum_ratio": float(np.sqrt(np.mean(e.sum(axis=1) ** 2) / COLUMNS / mean_square)),
        "vector_ratio_mean": float(np.sqrt(dots.mean())),
        "vector_ratio_max": float(np.sqrt(dots.max())),
        **_correlations(e, bits),
    }


def word_correlations(bits: int, law: Law) -> dict[str, float]:
    """Mean |correlation| of the columns' words over all words, exactly."""
    return _correlations(law(np.arange(1 << bits, dtype=np.uint32), bits).astype(np.float64), bits)


def _correlations(x: np.ndarray, bits: int) -> dict[str, float]:
    """Mean |correlation| of columns, and the square root of the largest eigenvalue of all their correlations.

    The latter is the ratio of the weighted sum of columns that fares worst.
    """
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    rho = x.T @ x / len(x)
    return {
        "correlation_1": float(np.mean(np.abs(np.diagonal(rho, 1)))),
        "correlation_r": float(np.mean(np.abs(np.diagonal(rho, bits)))),
        "correlation_all": float(np.mean(np.abs(rho[np.triu_indices(COLUMNS, 1)]))),
        "worst_ratio": float(np.sqrt(np.linalg.eigvalsh(rho)[-1])),
    }


def recorded() -> dict:
    return json.loads(RECORDED.read_text(encoding="utf-8"))


def finding() -> str:
    """What the record says of sharing words, in its numbers."""
    ours, own, same = PUBLISHED

    def largest(name: str, key: str) -> str:
        return f"{max(found[name][key] for found in recorded()['errors']['positive'].values()):.2f}"

    one, all_ours = largest(same, "sum_ratio"), largest(ours, "sum_ratio")
    worst, worst_own = largest(ours, "worst_ratio"), largest(own, "worst_ratio")
    return "\n".join(
        [
            "Where operands have both signs, sharing does not matter: rounding acts on magnitudes, the signs of two",
            "columns' sums are independent, and not even one word for all columns leaves a trace. Where all operands",
            f"are positive, one word for all makes the error of a sum {one} times as large, the array's law at most",
            f"{all_ours} times. For the worst weights it is {worst} times, with words of their own {worst_own}.",
            "The RMS error of an output is the same under all laws.",
        ]
    )


def page_rows() -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table on the page."""
    record = recorded()
    head = ["r", "words of the columns", "operands", "RMS error", "sum", "worst of 64", "worst of all"]
    rows = [
        [
            bits,
            name,
            kind,
            f"{found['rms']:.5f}",
            *(f"{found[key]:.2f}" for key in ("sum_ratio", "vector_ratio_max", "worst_ratio")),
        ]
        for bits in map(str, BITS)
        for kind, by_bits in record["errors"].items()
        for name, found in by_bits[bits].items()
        if name in PUBLISHED
    ]
    return head, rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    output = parser.parse_args().output
    record = {
        "command": COMMAND,
        "sample": {"m": M, "k": K, "n": N, "gemms": GEMMS, "rows": ROWS, "columns": COLUMNS, "vectors": VECTORS},
        "errors": {
            kind: {str(bits): {name: measured(bits, LAWS[name], make) for name in MEASURED} for bits in BITS}
            for kind, make in OPERANDS.items()
        },
        "words": {
            str(bits): {name: word_correlations(bits, law) for name, law in LAWS.items() if law} for bits in BITS
        },
    }
    output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
