"""Casts of float32 arrays to E4M3 and E5M2, against other libraries with as many threads, in Melem/s.

Everybody allocates its own output.  Where the allocator has given the last one back, the new one's 4000 page faults
double or triple the time of torch's turn: of several runs, keep the one where torch is fastest.

Quaver, ml_dtypes, torch and gfloat make codes of 8 bits; QPyTorch and APyTypes make values in containers of their own,
APyTypes from one.  Stochastic rounding: quaver makes the words of an output unit's lanes on the way; gfloat is given
its words.  ml_dtypes, QPyTorch, gfloat and APyTypes have one thread; the last two and QPyTorch's SR work on fewer
elements, for time.

Every one of quaver's casts is compared with the definition in NumPy, and its RNE with ml_dtypes and torch on the whole
array and on all float32 whose lower 16 bits are zero, all NaNs being the same.  Casts that saturate are compared too:
torch makes the largest finite number of what is beyond E4M3.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import timing

from quaver.golden import RNE, LaneWords, Rounding, encode, sr
from quaver.golden import engine as native
from quaver.golden.catalog import E4M3, E5M2, Format

FORMATS = {"E4M3": E4M3, "E5M2": E5M2}
DTYPES = {"E4M3": "float8_e4m3fn", "E5M2": "float8_e5m2"}
"""Their names in ml_dtypes and torch."""
ROUNDINGS = {"RNE": RNE, "SR 8 bits": sr(8), "SR 13 bits": sr(13)}
GOALS = {"RNE": 1.0, "SR 8 bits": 0.5, "SR 13 bits": 0.5}
"""Against ml_dtypes and torch, which have RNE only."""
_OWN_TURNS = "beside two threads: "
FEWER = 1 << 20
"""Elements for the slow ones, at most."""
CHECKED = 1 << 16
"""Elements that are compared with the definition."""
RECORDED = {
    "what": "float32 to E4M3, one thread, RNE and SR",
    "where": "earlier runs on another machine (Zen 4, 2 cores); torch, ml_dtypes and QPyTorch there for comparison",
    "melem_per_s": {
        "torch": [1868, None],
        "jax": [967, None],
        "CPFloat": [488, 394],
        "Intel FP8 emulation toolkit": [479, 372],
        "ml_dtypes": [142, None],
        "qtorch": [101, 26],
        "MPTorch, as shipped": [51, 22],
    },
}

Contestants = dict[str, tuple[int, Callable[[], object]]]
"""Elements and cast of each."""


def ours(x: np.ndarray, fmt: Format, rounding: Rounding, threads: int) -> np.ndarray:
    with native.using(threads=threads):
        return encode(x, fmt, rounding, words=LaneWords() if rounding.stochastic else None)


def compared(x: np.ndarray, fmt: Format, rounding: Rounding, threads: int) -> int:
    """Compare the beginning of the result with the definition's, and count its elements."""
    found = ours(x, fmt, rounding, threads)[:CHECKED]
    with native.using("numpy"):  # the word of an element does not depend on how many follow
        expected = encode(x[:CHECKED], fmt, rounding, words=LaneWords() if rounding.stochastic else None)
    if not found.size or not np.array_equal(found, expected):
        raise SystemExit(f"{np.count_nonzero(found != expected)} of {found.size} codes differ from the definition's")
    return int(found.size)


def torch_cast(torch, x, dtype: str) -> np.ndarray:
    """The tensor's codes; a view costs nothing that grows with the tensor."""
    return x.to(getattr(torch, dtype)).view(torch.uint8).numpy()


def gfloat_cast(gfloat, info, x: np.ndarray, words: np.ndarray | None) -> np.ndarray:
    if words is None:
        return gfloat.encode_ndarray(info, gfloat.round_ndarray(info, x))
    mode = gfloat.RoundMode.StochasticFastest
    return gfloat.encode_ndarray(info, gfloat.round_ndarray(info, x, mode, srbits=words, srnumbits=8))


def apytypes_cast(apytypes, x, fmt: Format, mode: str):
    quantization = getattr(apytypes.QuantizationMode, mode)
    return x.cast(exp_bits=fmt.exponent_bits, man_bits=fmt.mantissa_bits, quantization=quantization)


def others(rivals: timing.Rivals, x: np.ndarray) -> Contestants:
    """All that have one thread, and torch, which is told how many."""
    found: Contestants = {}
    ml_dtypes, torch, apytypes = (rivals.load(name) for name in ("ml_dtypes", "torch", "apytypes"))
    gfloat, formats = rivals.load("gfloat"), rivals.load("gfloat", "gfloat.formats")
    qtorch = rivals.load("qtorch", "qtorch.quant") if torch else None
    if not torch:
        rivals.absent["qtorch"] = "needs torch"
    few = x[:FEWER]
    words = np.random.default_rng(1).integers(0, 256, few.shape)
    for name, fmt in FORMATS.items():
        dtype = DTYPES[name]
        if ml_dtypes:
            found[f"ml_dtypes {name} RNE"] = x.size, partial(x.astype, getattr(ml_dtypes, dtype))
        if torch:
            found[f"torch {name} RNE"] = x.size, partial(torch_cast, torch, torch.from_numpy(x), dtype)
        if torch and qtorch:
            quantize = partial(qtorch.float_quantize, exp=fmt.exponent_bits, man=fmt.mantissa_bits)
            for how, rounding, values in (("RNE", "nearest", x), ("SR", "stochastic", few)):
                run = partial(quantize, torch.from_numpy(values), rounding=rounding)
                found[f"qtorch {name} {how}"] = values.size, run
        if gfloat and formats:
            info = getattr(formats, f"format_info_ocp_{fmt.name}")
            found[f"gfloat {name} RNE"] = few.size, partial(gfloat_cast, gfloat, info, few, None)
            found[f"gfloat {name} SR"] = few.size, partial(gfloat_cast, gfloat, info, few, words)
        if apytypes:
            values = apytypes.APyFloatArray.from_float(few, exp_bits=8, man_bits=23)
            for how, mode in (("RNE", "TIES_EVEN"), ("SR", "STOCH_WEIGHTED")):
                found[f"apytypes {name} {how}"] = few.size, partial(apytypes_cast, apytypes, values, fmt, mode)
    return found


def own(x: np.ndarray, threads: int) -> Contestants:
    return {
        _label(name, how, threads): (x.size, partial(ours, x, fmt, rounding, threads))
        for name, fmt in FORMATS.items()
        for how, rounding in ROUNDINGS.items()
    }


def equal_codes(rivals: timing.Rivals, x: np.ndarray) -> dict[str, dict[str, int]]:
    """How many of quaver's codes equal those of ml_dtypes and torch, numbers beyond the largest as NaN or saturated."""
    patterns = (np.arange(1 << 16, dtype=np.uint32) << 16).view(np.float32)
    found = {}
    for rival, module in (("ml_dtypes", rivals.load("ml_dtypes")), ("torch", rivals.load("torch"))):
        for name, fmt in FORMATS.items() if module else ():
            counts = {"codes": 0, "equal": 0, "equal_saturated": 0}
            for values in (x, patterns):
                if rival == "torch":
                    theirs = torch_cast(module, module.from_numpy(values), DTYPES[name])
                else:
                    with np.errstate(invalid="ignore"):  # signalling NaNs are among the patterns
                        theirs = values.astype(getattr(module, DTYPES[name])).view(np.uint8)
                counts["codes"] += theirs.size
                for key, saturate in (("equal", False), ("equal_saturated", True)):
                    codes = encode(values, fmt, saturate=saturate)
                    both_nan = _is_nan(codes, fmt) & _is_nan(theirs, fmt)
                    counts[key] += int(np.count_nonzero((codes == theirs) | both_nan))
            found[f"{rival} {name}"] = counts
    return found


def _is_nan(codes: np.ndarray, fmt: Format) -> np.ndarray:
    above = fmt.max_code if fmt.inf_code is None else fmt.inf_code
    return (codes & 0x7F) > above


def _label(name: str, how: str, threads: int) -> str:
    return _suffixed(f"quaver {name} {how}", threads)


def _suffixed(name: str, threads: int) -> str:
    return name + (f", {threads} threads" if threads > 1 else "")


def _ratios(timed: dict[str, timing.Timed], rows: list[timing.Record]) -> dict[str, timing.Record]:
    sizes = {row["contestant"]: row["elements"] for row in rows}

    def ratio(own: str, rival: str, goal: float | None = None) -> timing.Record:
        work = sizes[own], sizes.get(rival, 1)
        return timing.ratio(timed[own], timed.get(rival), goal=goal, work=work)

    found = {}
    for name in FORMATS:
        for how, goal in GOALS.items():
            own = _label(name, how, 1)
            for rival in ("ml_dtypes", "torch"):
                found[f"{name} {how} / {rival} RNE"] = ratio(own, f"{rival} {name} RNE", goal)
            for rival in ("qtorch", "gfloat", "apytypes"):
                kind = how.split()[0]
                found[f"{name} {how} / {rival} {kind}"] = ratio(own, f"{rival} {name} {kind}")
            two = _label(name, how, 2)
            found[f"{name} {how}, two threads / torch RNE, two threads"] = ratio(
                two, f"torch {name} RNE, 2 threads", goal
            )
            found[f"{name} {how}, two threads / one"] = timing.ratio(timed[two], timed[_OWN_TURNS + own])
    return found


def main() -> None:
    parser = timing.parser(__doc__)
    parser.add_argument("--elements", type=int, default=1 << 24, help="elements (default 2^24)")
    arguments = parser.parse_args()
    record, rivals = timing.started(__file__), timing.Rivals()
    x = np.random.default_rng(0).standard_normal(arguments.elements, dtype=np.float32)
    verified = sum(
        compared(x, fmt, rounding, threads)
        for threads in (1, 2)
        for fmt in FORMATS.values()
        for rounding in ROUNDINGS.values()
    )
    agreed = equal_codes(rivals, x)

    contestants = others(rivals, x)
    torch = rivals.load("torch")
    ones, twos = contestants | own(x, 1), own(x, 2)
    together = twos | {_suffixed(name, 2): entry for name, entry in ones.items() if name.startswith("torch")}
    alone = {f"{_OWN_TURNS}{name}": entry for name, entry in own(x, 1).items()}  # quaver's one thread again, beside two
    rows: list[timing.Record] = []
    timed: dict[str, timing.Timed] = {}
    for threads, group in ((1, ones), (2, together | alone)):  # torch takes long to change its number of threads
        if torch:
            torch.set_num_threads(threads)
        timed |= timing.interleaved({name: run for name, (_, run) in group.items()}, arguments.rounds)
        rows += [
            {
                "contestant": name,
                "elements": elements,
                "melem_per_s": elements / timed[name].best / 1e6,
                "best_s": timed[name].best,
                "turns": len(timed[name].turns),
            }
            for name, (elements, _) in group.items()
            if name not in alone
        ]

    record |= {
        "versions": timing.versions("ml_dtypes", "torch", "qtorch", "gfloat", "apytypes"),
        "absent": rivals.absent,
        "engine": native.kernels()[-1] if native.available() else None,
        "elements": x.size,
        "rows": rows,
        "ratios": _ratios(timed, rows),
        "recorded": RECORDED,
        "compared_with_numpy": verified,
        "codes_equal_to_rivals": agreed,
    }
    timing.write(record, arguments.output)
    timing.show("casts", rows, record["ratios"], rivals.absent)
    timing.note(f"{verified} codes equal the definition's; the rivals': {agreed}")


if __name__ == "__main__":
    main()
