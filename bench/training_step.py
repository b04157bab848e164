"""A training step of LeNet-5, forward, backward and update, batch 64: PyTorch's own float32, each recipe on the engine,
and the same sums as a user of QPyTorch writes them.

    python bench/training_step.py -o bench/results/training_step.json
"""

from collections.abc import Callable
from types import ModuleType

import timing
import torch

from quaver.golden import RECIPES, engine
from quaver.train import DataSet, Operand, Settings, Split, Training, one_thread
from quaver.train.processor import Values, values_of

BATCH = 64
BASELINE = "fp32"
GOAL_RECIPE = "wang2018"
GOALS = {"pytorch": 1 / 8, "qtorch": 20.0}
"""Of wang2018: at most 8 times as long as PyTorch, at most a 20th of QPyTorch."""


def data() -> DataSet:
    """Random images of MNIST's size, one batch of them: time does not depend on what they show."""
    images = torch.randn(BATCH, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.arange(BATCH) % 10)
    return DataSet(name="noise", source="random images", kind="images", train=split, test=split, classes=10)


def step_of(recipe: str) -> Callable[[], float]:
    """A step of a training that goes on and on."""
    training = Training(Settings.usual(recipe, "lenet5", data="noise", batch=BATCH, epochs=100_000), data())
    return training.advance


def qtorch_step(quant: ModuleType) -> Callable[[], float]:
    """The same step whose products are loops of QPyTorch's roundings: all chunks side by side, as it is fastest."""
    training = Training(Settings.usual(GOAL_RECIPE, "lenet5", data="noise", batch=BATCH, epochs=100_000), data())
    chunk = training.recipe.chunk

    def rounded(x: torch.Tensor) -> torch.Tensor:
        return quant.float_quantize(x, exp=6, man=9, rounding="nearest")

    def multiply(a: Operand, b: Operand, *, place: str, phase: str) -> Values:
        left, right = torch.from_numpy(values_of(a)), torch.from_numpy(values_of(b))
        *batch, m, k = left.shape
        missing = -k % chunk
        left = torch.nn.functional.pad(left, (0, missing)).reshape(*batch, m, -1, chunk)
        right = torch.nn.functional.pad(right, (0, 0, 0, missing)).reshape(*batch, -1, chunk, right.shape[-1])
        sums = torch.zeros(*batch, left.shape[-2], m, right.shape[-1])
        for i in range(min(k, chunk)):
            sums = rounded(sums + left[..., i].transpose(-2, -1)[..., None] * right[..., i, None, :])
        y = torch.zeros(*batch, m, right.shape[-1])
        for part in sums.unbind(-3):
            y = rounded(y + part)
        return y.numpy()

    training.processor.multiply = multiply
    return training.advance


def main() -> None:
    parser = timing.parser(__doc__)
    arguments = parser.parse_args()
    record, rivals = timing.started(__file__), timing.Rivals()
    contestants: dict[str, Callable[[], float]] = {
        name: step_of(name) for name, recipe in RECIPES.items() if recipe.post_training == "none"
    }
    if quant := rivals.load("qtorch", "qtorch.quant"):
        contestants["qtorch"] = qtorch_step(quant)
    with one_thread(), engine.using(threads=1):
        timed = timing.interleaved(contestants, arguments.rounds, patience=20.0)
    plain = timed[BASELINE]
    rows = [
        {"step": name, "ms": 1e3 * found.best, "of_pytorch": found.best / plain.best} for name, found in timed.items()
    ]
    ratios = {
        f"{GOAL_RECIPE} / PyTorch": timing.ratio(timed[GOAL_RECIPE], plain, goal=GOALS["pytorch"]),
        f"{GOAL_RECIPE} / qtorch": timing.ratio(timed[GOAL_RECIPE], timed.get("qtorch"), goal=GOALS["qtorch"]),
    }
    record |= {
        "versions": timing.versions("torch", "qtorch"),
        "absent": rivals.absent,
        "engine": engine.kernels()[-1] if engine.available() else None,
        "batch": BATCH,
        "rows": rows,
        "ratios": ratios,
    }
    timing.write(record, arguments.output)
    timing.show("LeNet-5, a training step", rows, ratios, rivals.absent)


if __name__ == "__main__":
    main()
