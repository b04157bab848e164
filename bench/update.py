"""Updates of weights with every sum rounded, and casts to S2FP8, against PyTorch's float32 optimizers, in Melem/s.

One thread.  A step starts from one tensor's codes and a float32 gradient and ends in codes: SGD with momentum and
weight decay in three rounded sums, AdamW in four; 1-6-9 sums are rounded stochastically, with words that the lanes of
the update unit deal.  PyTorch's optimizers step in float32, and QPyTorch rounds the three sums of SGD to 1-6-9, each
after float32 has.  "definition" is quaver without its compiled engine, every one of whose results is compared.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import timing

from quaver.golden import RNE, Adam, Sgd, encode, s2fp8_encode, sr
from quaver.golden import engine as native
from quaver.golden.catalog import DLFLOAT16, FP32

LENET = 61_706
"""Weights of LeNet-5 with 32 x 32 inputs of one channel and ten classes (LeCun et al. 1998), all maps connected."""
SETTINGS = {"lr": 0.01, "weight_decay": 1e-4}
MOMENTUM = 0.9
OPTIMIZERS: dict[str, Sgd | Adam] = {
    "SGD 1-6-9 SR 16 bits": Sgd(momentum=MOMENTUM, format=DLFLOAT16, rounding=sr(16), **SETTINGS),
    "SGD FP32 RNE": Sgd(momentum=MOMENTUM, format=FP32, rounding=RNE, **SETTINGS),
    "Adam 1-6-9 SR 16 bits": Adam(format=DLFLOAT16, moments=FP32, rounding=sr(16), **SETTINGS),
    "Adam FP32 RNE": Adam(format=FP32, rounding=RNE, **SETTINGS),
}

Step = Callable[[], tuple]
"""Makes arrays, and what comes with them, from the same start every time."""


def updates(weights: np.ndarray, gradient: np.ndarray) -> dict[str, Step]:
    """A second step of every optimizer, when no moment is zero any more."""
    steps: dict[str, Step] = {}
    for name, optimizer in OPTIMIZERS.items():
        codes = encode(weights, optimizer.format)
        if isinstance(optimizer, Sgd):
            first = optimizer.step(codes, np.zeros_like(codes), gradient, optimizer.words)
            steps[name] = partial(optimizer.step, first.weights, first.velocity, gradient, first.words)
        else:
            zeros = np.zeros(codes.shape, (optimizer.moments or optimizer.format).dtype)
            start = optimizer.step(codes, zeros, zeros, gradient, optimizer.words, t=1)
            steps[name] = partial(optimizer.step, *start[:3], gradient, start.words, t=2)
    return steps | {"S2FP8": partial(s2fp8_encode, gradient)}


def with_engine(backend: str, step: Step) -> tuple:
    with native.using(backend, threads=1):
        return step()


def compared(step: Step) -> int:
    """Compare a result with the definition's, and count its elements."""
    found, wanted = (
        [array for array in with_engine(backend, step) if isinstance(array, np.ndarray)]
        for backend in ("auto", "numpy")
    )
    different = sum(np.count_nonzero(one != other) for one, other in zip(found, wanted, strict=True))
    if different or not found:
        raise SystemExit(f"{different} elements differ from the definition's")
    return sum(array.size for array in found)


def others(rivals: timing.Rivals, weights: np.ndarray, gradient: np.ndarray) -> dict[str, Callable[[], object]]:
    torch = rivals.load("torch")
    qtorch = rivals.load("qtorch", "qtorch.quant") if torch else None
    if not torch:
        rivals.absent["qtorch"] = "needs torch"
        return {}
    torch.set_num_threads(1)
    found: dict[str, Callable[[], object]] = {}
    for name, make in (("SGD", partial(torch.optim.SGD, momentum=MOMENTUM)), ("AdamW", torch.optim.AdamW)):
        parameter = torch.nn.Parameter(torch.from_numpy(weights.copy()))
        parameter.grad = torch.from_numpy(gradient)
        found[f"torch {name} float32"] = make([parameter], **SETTINGS).step
    if qtorch:
        quantize = partial(qtorch.float_quantize, exp=6, man=9, rounding="stochastic")
        w, g = torch.from_numpy(weights), torch.from_numpy(gradient)

        def three_sums(v=quantize(g)) -> object:
            v = quantize(MOMENTUM * v + quantize(g + SETTINGS["weight_decay"] * w))
            return quantize(w - SETTINGS["lr"] * v), v

        found["qtorch SGD 1-6-9 SR"] = three_sums
    return found


def main() -> None:
    parser = timing.parser(__doc__)
    parser.add_argument("--elements", type=int, default=LENET, help=f"weights (default {LENET}, LeNet-5's)")
    arguments = parser.parse_args()
    record, rivals = timing.started(__file__), timing.Rivals()
    rng = np.random.default_rng(0)
    weights, gradient = (rng.standard_normal(arguments.elements, dtype=np.float32) for _ in range(2))
    weights *= 0.1

    steps = updates(weights, gradient)
    verified = sum(compared(step) for step in steps.values())
    contestants = others(rivals, weights, gradient)
    contestants |= {f"quaver {name}": partial(with_engine, "auto", step) for name, step in steps.items()}
    slow = {f"definition {name}": partial(with_engine, "numpy", step) for name, step in steps.items()}
    timed = timing.interleaved(contestants, arguments.rounds)
    timed |= timing.interleaved(slow, arguments.rounds)  # apart, as it leaves neither caches nor the allocator warm
    rows: list[timing.Record] = [
        {
            "contestant": name,
            "elements": arguments.elements,
            "melem_per_s": arguments.elements / timed[name].best / 1e6,
            "best_s": timed[name].best,
            "turns": len(timed[name].turns),
        }
        for name in contestants | slow
    ]
    pairs = [(name, f"definition {name}") for name in steps]
    pairs += [(name, f"torch {'SGD' if name.startswith('SGD') else 'AdamW'} float32") for name in OPTIMIZERS]
    pairs.append(("SGD 1-6-9 SR 16 bits", "qtorch SGD 1-6-9 SR"))
    record |= {
        "versions": timing.versions("torch", "qtorch"),
        "absent": rivals.absent,
        "engine": native.kernels()[-1] if native.available() else None,
        "elements": arguments.elements,
        "rows": rows,
        "ratios": {
            f"{name} / {rival}": timing.ratio(timed[f"quaver {name}"], timed.get(rival)) for name, rival in pairs
        },
        "compared_with_numpy": verified,
    }
    timing.write(record, arguments.output)
    timing.show("updates", rows, record["ratios"], rivals.absent)
    timing.note(f"{verified} elements equal the definition's")


if __name__ == "__main__":
    main()
