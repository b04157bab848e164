"""Why the engine is a C++ extension: the same kernels in Numba beside it.

The Numba kernels are what an engine in Numba would be made of: products and sums of 1-6-9 in chunks of 64, for RNE and
for SR with the words of the reference array, vectorised across outputs, in float32 with integer rounding, `fastmath`
off.  They get floats and return floats, and leave out what makes an engine: codes, checks, other formats and rounding
modes, threads.  Their results must equal quaver's.  Numba cannot choose the machine's rounding mode, so that SR finds
the truncated sum from the nearest one and its error.

Measured, each in fresh processes: the time to import, NumPy included; the first call, with Numba's compilation and, the
second time, with what its cache has kept; their sum, the first use.  Then throughput in one process, one thread.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import timing

from quaver.golden import RNE, Accumulator, Arithmetic, ArrayWords, encode, gemm, sr, to_float
from quaver.golden import engine as native
from quaver.golden.catalog import E4M3
from quaver.golden.lfsr import COLUMN_FACTOR, WIDTH, LeapingLfsr, seed_of

BITS = 13
ROUNDINGS = {"RNE": RNE, "SR 13 bits": sr(BITS)}
IMPORT_GOAL, FIRST_USE_GOAL = 0.3, 1.0
"""Seconds: the import of quaver.golden, and a first use."""

IMPORT = """
import json, time
start = time.perf_counter()
import {module}
print(json.dumps({{"import_s": time.perf_counter() - start}}))
"""
QUAVER = """
import json, time
start = time.perf_counter()
from quaver.golden import Accumulator, Arithmetic, gemm, sr
imported = time.perf_counter()
import numpy as np
codes = (np.arange({size} * {size}) % 120).astype(np.uint8).reshape({size}, {size})
arithmetic = Arithmetic(inner=Accumulator(rounding=sr({bits}))) if {bits} else Arithmetic()
begin = time.perf_counter()
gemm(codes, codes, arithmetic)
call = time.perf_counter() - begin
print(json.dumps({{"first_call_s": call, "first_use_s": imported - start + call}}))
"""
NUMBA = """
import json, sys, time
start = time.perf_counter()
import numba
imported = time.perf_counter()
numba.config.CACHE_DIR = {cache!r}
sys.path.insert(0, {folder!r})
import engine_choice
operands = engine_choice.operands_of({size}, {name!r})
begin = time.perf_counter()
engine_choice.numba_gemm(engine_choice.compiled(numba, {name!r}), operands)
call = time.perf_counter() - begin
print(json.dumps({{"first_call_s": call, "first_use_s": imported - start + call}}))
"""


def sum_rne(a, b, chunk, y):
    """y = a @ b, every sum rounded to 1-6-9 to nearest; y's rows are the outer sums."""
    rows, depth, columns = a.shape[0], a.shape[1], b.shape[1]
    inner = np.empty(columns, np.float32)
    half, one, keep, cut = np.uint32((1 << 13) - 1), np.uint32(1), np.uint32(0xFFFFC000), np.uint32(14)
    for i in range(rows):
        for start in range(0, depth, chunk):
            inner[:] = np.float32(-0.0)
            for k in range(start, min(start + chunk, depth)):
                factor = a[i, k]
                for j in range(columns):
                    x = np.float32(inner[j] + factor * b[k, j]).view(np.uint32)
                    x = np.uint32((x + ((x >> cut) & one) + half) & keep)
                    inner[j] = x.view(np.float32)
            for j in range(columns):
                x = np.float32(y[i, j] + inner[j]).view(np.uint32)
                x = np.uint32((x + ((x >> cut) & one) + half) & keep)
                y[i, j] = x.view(np.float32)


def sum_sr(a, b, chunk, y, words, turns, masks):
    """The same with stochastic inner sums: column j turns its row's word and flips bits of it.

    `words` are those of row, product and tile of columns, each repeated above itself: a turn is a shift then.
    """
    rows, depth, columns = a.shape[0], a.shape[1], b.shape[1]
    inner = np.empty(columns, np.float32)
    half, one, keep, cut = np.uint32((1 << 13) - 1), np.uint32(1), np.uint32(0xFFFFC000), np.uint32(14)
    used = np.uint32((1 << 13) - 1)
    for i in range(rows):
        for start in range(0, depth, chunk):
            inner[:] = np.float32(-0.0)
            for k in range(start, min(start + chunk, depth)):
                factor = a[i, k]
                for tile in range(words.shape[2]):
                    word = words[i, k, tile]
                    first, end = tile * 128, min(tile * 128 + 128, columns)
                    total, right = inner[first:end], b[k, first:end]
                    turn, mask = turns[first:end], masks[first:end]
                    for j in range(end - first):
                        product = np.float32(factor * right[j])
                        before = total[j]
                        nearest = np.float32(before + product)
                        added = np.float32(nearest - before)
                        error = np.float32((before - np.float32(nearest - added)) + np.float32(product - added))
                        x = nearest.view(np.uint32)
                        # An error that points to zero: the truncated sum is one ulp less.
                        opposed = np.uint32((error.view(np.uint32) ^ x) >> np.uint32(31))
                        x = np.uint32(x - (opposed if error != np.float32(0.0) else np.uint32(0)))
                        own = np.uint32(((word >> turn[j]) & used) ^ mask[j])
                        x = np.uint32((x + np.uint32(own << one)) & keep)
                        total[j] = x.view(np.float32)
            for j in range(columns):
                x = np.float32(y[i, j] + inner[j]).view(np.uint32)
                x = np.uint32((x + ((x >> cut) & one) + half) & keep)
                y[i, j] = x.view(np.float32)


KERNELS = {"RNE": sum_rne, "SR 13 bits": sum_sr}


def arithmetic_of(name: str) -> Arithmetic:
    return Arithmetic(inner=Accumulator(rounding=ROUNDINGS[name]))


def codes_of(size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a, b = (encode(rng.standard_normal((size, size)), E4M3) for _ in "ab")
    return a, b


def operands_of(size: int, name: str) -> tuple:
    """What the kernel gets: floats, chunk, an empty result, and for SR the words and what columns do to them."""
    arithmetic = arithmetic_of(name)
    a, b = (_aligned(to_float(codes, E4M3).astype(np.float32)) for codes in codes_of(size))
    common = a, b, arithmetic.chunk, np.empty((size, size), np.float32)
    if name == "RNE":
        return common
    law = ArrayWords.reference(arithmetic)
    tiles, passes = -(-size // law.columns), -(-size // law.rows)
    seeds = [seed_of(0, row) for row in range(law.rows)]
    words = LeapingLfsr(BITS).words(seeds, 0, tiles * passes * size)
    words = words.reshape(law.rows, tiles, passes, size).transpose(3, 2, 0, 1).reshape(size, -1, tiles)[:, :size]
    column = np.arange(size) % law.columns
    masks = (column * COLUMN_FACTOR & 0xFFFFFFFF) >> (WIDTH - BITS)
    turns = (BITS - column % BITS).astype(np.uint32)
    return *common, np.ascontiguousarray(words << BITS | words), turns, masks.astype(np.uint32)


def _aligned(x: np.ndarray) -> np.ndarray:
    """A copy that begins at a multiple of 64 bytes; else Numba's throughput is a matter of luck."""
    room = np.empty(x.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    copy[:] = x
    return copy


def compiled(numba: ModuleType, name: str) -> Callable:
    return numba.njit(cache=True, fastmath=False)(KERNELS[name])


def numba_gemm(kernel: Callable, operands: tuple) -> np.ndarray:
    """Run the kernel from outer sums of zero."""
    operands[3][:] = 0
    kernel(*operands)
    return operands[3]


def ours(codes: tuple[np.ndarray, np.ndarray], name: str) -> np.ndarray:
    with native.using(threads=1):
        return gemm(*codes, arithmetic_of(name))


def fresh(program: str) -> timing.Record:
    """Run a program in a process of its own and read what it measured; `process_s` is all that its user waits."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout) | {"process_s": time.perf_counter() - start}


def best(records: list[timing.Record]) -> timing.Record:
    return {key: min(record[key] for record in records) for key in records[0]}


def starts(size: int, rounds: int, with_numba: bool) -> dict[str, timing.Record]:
    """Seconds of imports and first calls, each the best of `rounds` processes; those of a kind take turns."""
    modules = ["numpy", "quaver.golden", *(["numba"] if with_numba else [])]
    programs = {f"import {module}": IMPORT.format(module=module) for module in modules}
    for name, rounding in ROUNDINGS.items():
        programs[f"quaver {name}"] = QUAVER.format(size=size, bits=rounding.random_bits)
    found: dict[str, list[timing.Record]] = {}
    for _ in range(rounds):
        for name, program in programs.items():
            found.setdefault(name, []).append(fresh(program))
        for name in ROUNDINGS if with_numba else ():
            with tempfile.TemporaryDirectory() as cache:
                program = NUMBA.format(folder=str(Path(__file__).parent), size=size, name=name, cache=cache)
                found.setdefault(f"numba {name}, compiling", []).append(fresh(program))
                found.setdefault(f"numba {name}, from its cache", []).append(fresh(program))
    return {name: best(records) for name, records in found.items()}


def main() -> None:
    parser = timing.parser(__doc__)
    parser.add_argument("--size", type=int, default=512, help="M = K = N, at most 1024 (default 512)")
    parser.add_argument("--processes", type=int, default=7, help="fresh processes of each kind (default 7)")
    arguments = parser.parse_args()
    size, record, rivals = arguments.size, timing.started(__file__), timing.Rivals()
    if not 1 <= size <= 1024:
        parser.error("size must be 1 to 1024: more rows are dealt their words in another order")
    numba = rivals.load("numba")
    started = starts(size, arguments.processes, numba is not None)

    codes = codes_of(size)
    contestants: dict[str, Callable[[], object]] = {}
    compared = 0
    for name in ROUNDINGS:
        contestants[f"quaver {name}"] = partial(ours, codes, name)
        if numba:
            run = partial(numba_gemm, compiled(numba, name), operands_of(size, name))
            contestants[f"numba {name}"] = run
            expected = to_float(ours(codes, name), arithmetic_of(name).outer.format)
            found = run()
            if not np.array_equal(found, expected):
                raise SystemExit(f"numba {name}: {np.count_nonzero(found != expected)} of {found.size} results differ")
            compared += found.size
    timed = timing.interleaved(contestants, arguments.rounds)

    rows = [
        {"contestant": name, "mmac_per_s": size**3 / t.best / 1e6, "best_s": t.best, "turns": len(t.turns)}
        for name, t in timed.items()
    ]
    ratios = {
        f"{name}: quaver / numba": timing.ratio(timed[f"quaver {name}"], timed.get(f"numba {name}"))
        for name in ROUNDINGS
    }
    record |= {
        "versions": timing.versions("numba", "llvmlite"),
        "absent": rivals.absent,
        "engine": native.kernels()[-1] if native.available() else None,
        "shape": {"m": size, "k": size, "n": size},
        "starts": started,
        "goals_s": {
            "import quaver.golden": {"import_s": IMPORT_GOAL},
            **{f"quaver {name}": {"first_use_s": FIRST_USE_GOAL} for name in ROUNDINGS},
        },
        "rows": rows,
        "ratios": ratios,
        "numba_equal_to_quaver": compared,
    }
    timing.write(record, arguments.output)
    timing.show("throughput", rows, ratios, rivals.absent)
    columns = ("import_s", "first_call_s", "first_use_s", "process_s")
    timing.tabulate(
        "seconds of a fresh process",
        [{"": name} | {key: seconds.get(key) for key in columns} for name, seconds in started.items()],
    )
    timing.note(f"{compared} results of Numba's equal quaver's")


if __name__ == "__main__":
    main()
