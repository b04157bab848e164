"""GEMMs with every partial sum rounded, against float32 BLAS and against other emulators, in MMAC/s.

Square matrices, E4M3 operands unless said otherwise, accumulators 1-6-9 in chunks of 64, one thread unless said
otherwise.  Stochastic rounding uses the words of the reference array, made on the way.  Quaver starts from codes and
ends in codes, checks of operands included; BLAS starts from float32 operands.  BLAS must run as it is by default: unset
OPENBLAS_CORETYPE, which may make it use an older instruction set; the record says which one it used.

The rivals round every partial sum to 1-6-9, without chunks.  QPyTorch has no such GEMM: its users write a loop of
rank-1 updates.  APyTypes runs on smaller matrices, for time.  Every one of quaver's results is compared with the
definition in NumPy on a slice of columns; a difference ends the run.

Two processors may be less than twice one, and virtual ones even share a core: how fast two GEMMs of one thread each
run at once, in the same run, is what the machine allows two threads of one GEMM.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial

import numpy as np
import timing

from quaver.golden import HOPPER_FP8, RNE, Accumulator, Arithmetic, ExactSum, Rounding, encode, gemm, sr, to_float
from quaver.golden import engine as native
from quaver.golden.catalog import DLFLOAT16, E4M3, E5M2, FP16, FP32, Format

BLAS = "BLAS float32"
CHECKED_COLUMNS = 8
FIRST_ROWS = 1024
"""Rows of the reference array's m_block: the words of its first tile of columns do not depend on what follows."""
SMALLER = 256
"""Largest size for the slowest rivals."""


def _rounded(fmt: Format = DLFLOAT16, rounding: Rounding = RNE) -> Arithmetic:
    return Arithmetic(inner=Accumulator(format=fmt, rounding=rounding), outer=Accumulator(format=fmt))


ARITHMETICS: dict[str, Arithmetic] = {
    "1-6-9 RNE": _rounded(),
    "1-6-9 SR 13 bits": _rounded(rounding=sr(13)),
    "1-6-9 SR 9 bits": _rounded(rounding=sr(9)),
    "FP16 RNE": _rounded(FP16),
    "FP32 RNE": _rounded(FP32),
    "exact chunks": Arithmetic(inner=ExactSum()),
    "exact chunks, E5M2": Arithmetic(a=E5M2, b=E5M2, inner=ExactSum()),
    "Hopper": HOPPER_FP8,
}
TWO_THREADS = ("1-6-9 RNE", "1-6-9 SR 13 bits")
AT_ONCE = TWO_THREADS[:1]
GOALS = {"1-6-9 RNE": 0.15, "1-6-9 SR 13 bits": 0.07}
THREADS_GOAL = 1.7
RIVALS = {
    "qtorch 1-6-9 RNE": "1-6-9 RNE",
    "qtorch 1-6-9 SR": "1-6-9 SR 13 bits",
    "apytypes 1-6-9 RNE": "1-6-9 RNE",
    "apytypes 1-6-9 SR": "1-6-9 SR 13 bits",
}
"""What of quaver's each rival is compared with."""
RECORDED = {
    "what": "MPTorch, 1-6-9, every partial sum rounded, 512 x 512 x 512, one thread; not on PyPI, hence not run here",
    "where": "an earlier run on another machine (Zen 4, 2 cores), its float32 BLAS beside it",
    "mmac_per_s": {
        "float32 BLAS": 52700,
        "MPTorch RNE, as shipped": 43,
        "MPTorch SR, as shipped": 19,
        "MPTorch RNE, rebuilt with -O3": 150,
        "MPTorch SR, rebuilt with -O3": 63,
    },
}


class Matrices:
    """Two random matrices that E4M3 or E5M2 holds, as codes and as floats."""

    def __init__(self, size: int, fmt: Format) -> None:
        rng = np.random.default_rng(0)
        self.codes = tuple(encode(rng.standard_normal((size, size)), fmt) for _ in "ab")
        self.floats = tuple(to_float(codes, fmt).astype(np.float32) for codes in self.codes)


def ours(matrices: Matrices, arithmetic: Arithmetic, threads: int) -> np.ndarray:
    with native.using(threads=threads):
        return gemm(*matrices.codes, arithmetic)


def compared(matrices: Matrices, arithmetic: Arithmetic, threads: int) -> int:
    """Compare a slice of the result with the definition's, and count its elements."""
    a, b = matrices.codes
    found = ours(matrices, arithmetic, threads)[:FIRST_ROWS, :CHECKED_COLUMNS]
    with native.using("numpy"):
        expected = gemm(a[:FIRST_ROWS], b[:, :CHECKED_COLUMNS], arithmetic)
    if not found.size or not np.array_equal(found, expected):
        raise SystemExit(f"{np.count_nonzero(found != expected)} of {found.size} results differ from the definition's")
    return int(found.size)


def two_at_once(pool: ThreadPoolExecutor, matrices: Matrices, arithmetic: Arithmetic) -> None:
    for done in [pool.submit(ours, matrices, arithmetic, 1) for _ in range(2)]:
        done.result()


def qtorch_gemm(torch, quantize: Callable, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The loop that a user of QPyTorch writes."""
    left, right = torch.from_numpy(a), torch.from_numpy(b)
    total = torch.zeros(left.shape[0], right.shape[1])
    for k in range(left.shape[1]):
        total = quantize(total + left[:, k, None] * right[k])
    return total.numpy()


def apytypes_gemm(apytypes, mode: str, a, b) -> np.ndarray:
    quantization = getattr(apytypes.QuantizationMode, mode)
    with apytypes.APyFloatAccumulatorContext(exp_bits=6, man_bits=9, quantization=quantization):
        return (a @ b).to_numpy()


def rivals_of(rivals: timing.Rivals, size: int) -> dict[str, tuple[int, Callable[[], np.ndarray]]]:
    """Size and GEMM of each rival that is installed."""
    found: dict[str, tuple[int, Callable[[], np.ndarray]]] = {}
    torch = rivals.load("torch")
    if torch and (qtorch := rivals.load("qtorch", "qtorch.quant")):
        torch.set_num_threads(1)
        floats = Matrices(size, E4M3).floats
        for name, rounding in (("RNE", "nearest"), ("SR", "stochastic")):
            quantize = partial(qtorch.float_quantize, exp=6, man=9, rounding=rounding)
            found[f"qtorch 1-6-9 {name}"] = size, partial(qtorch_gemm, torch, quantize, *floats)
    elif not torch:
        rivals.absent["qtorch"] = "needs torch"
    if apytypes := rivals.load("apytypes"):
        smaller = min(size, SMALLER)
        operands = [
            apytypes.APyFloatArray.from_float(x, exp_bits=4, man_bits=3) for x in Matrices(smaller, E4M3).floats
        ]
        for name, mode in (("RNE", "TIES_EVEN"), ("SR", "STOCH_WEIGHTED")):
            found[f"apytypes 1-6-9 {name}"] = smaller, partial(apytypes_gemm, apytypes, mode, *operands)
    return found


def agreement(size: int, result: np.ndarray) -> dict[str, int]:
    """How many of a rival's RNE results equal the definition's: one sum without chunks."""
    arithmetic = Arithmetic(chunk=size)
    expected = to_float(ours(Matrices(size, E4M3), arithmetic, 1), arithmetic.outer.format)
    return {"outputs": int(expected.size), "equal": int(np.count_nonzero(result == expected))}


def main() -> None:
    parser = timing.parser(__doc__)
    parser.add_argument("--size", type=int, default=512, help="M = K = N (default 512)")
    arguments = parser.parse_args()
    size, record, rivals = arguments.size, timing.started(__file__), timing.Rivals()
    matrices = {fmt: Matrices(size, fmt) for fmt in (E4M3, E5M2)}

    verified = 0
    sizes: dict[str, int] = {}
    contestants: dict[str, Callable[[], object]] = {}
    threadpoolctl = rivals.load("threadpoolctl")
    if threadpoolctl:  # without it nothing limits BLAS to one thread
        contestants[BLAS] = partial(np.matmul, *matrices[E4M3].floats)
    for threads, names in ((1, tuple(ARITHMETICS)), (2, TWO_THREADS)):
        for name in names:
            operands = matrices[ARITHMETICS[name].a]
            verified += compared(operands, ARITHMETICS[name], threads)
            contestants[_label(name, threads)] = partial(ours, operands, ARITHMETICS[name], threads)
    pool = ThreadPoolExecutor(2)
    for name in AT_ONCE:
        contestants[f"quaver {name}, two at once"] = partial(two_at_once, pool, matrices[E4M3], ARITHMETICS[name])
    agreed = {}
    for name, (own_size, run) in rivals_of(rivals, size).items():
        sizes[name], contestants[name] = own_size, run
        if name.endswith("RNE"):
            agreed[name] = agreement(own_size, run())

    with threadpoolctl.threadpool_limits(1) if threadpoolctl else nullcontext():
        blas = [_without_path(pool) for pool in threadpoolctl.threadpool_info()] if threadpoolctl else []
        timed = timing.interleaved(contestants, arguments.rounds)

    rows = [
        {
            "contestant": name,
            "size": sizes.get(name, size),
            "mmac_per_s": (2 if "at once" in name else 1) * sizes.get(name, size) ** 3 / t.best / 1e6,
            "best_s": t.best,
            "turns": len(t.turns),
        }
        for name, t in timed.items()
    ]
    ratios = {
        f"{name} / BLAS": timing.ratio(timed[_label(name, 1)], timed.get(BLAS), goal=GOALS.get(name))
        for name in ARITHMETICS
    }
    for name in TWO_THREADS:
        one, two = (timed[_label(name, threads)] for threads in (1, 2))
        ratios[f"{name}, two threads / one"] = timing.ratio(two, one, goal=THREADS_GOAL)
        if name in AT_ONCE:
            ratios[f"{name}, two at once / one"] = timing.ratio(timed[f"quaver {name}, two at once"], one, work=(2, 1))
    for rival, own in RIVALS.items():
        work = size**3, sizes.get(rival, size) ** 3
        ratios[f"{own} / {rival}"] = timing.ratio(timed[_label(own, 1)], timed.get(rival), work=work)
    record |= {
        "versions": timing.versions("threadpoolctl", "torch", "qtorch", "apytypes"),
        "absent": rivals.absent,
        "engine": native.kernels()[-1] if native.available() else None,
        "thread_pools": blas,
        "shape": {"m": size, "k": size, "n": size},
        "rows": rows,
        "ratios": ratios,
        "recorded": RECORDED,
        "compared_with_numpy": verified,
        "rivals_equal_to_definition": agreed,
    }
    timing.write(record, arguments.output)
    timing.show("GEMM", rows, ratios, rivals.absent)
    pools = ", ".join(f"{pool['prefix']} {pool['version']} {pool.get('architecture', '')}" for pool in blas)
    timing.note(f"{verified} results equal the definition's; thread pools: {pools or 'unknown'}")


def _label(name: str, threads: int) -> str:
    return f"quaver {name}" + (f", {threads} threads" if threads > 1 else "")


def _without_path(pool: dict) -> dict:
    return {key: value for key, value in pool.items() if key != "filepath"}


if __name__ == "__main__":
    main()
