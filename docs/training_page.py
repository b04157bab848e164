"""The generated parts of docs/training.md."""

from collections.abc import Callable
from statistics import mean
from typing import Any

from docs.page_parts import recorded, source, table
from quaver.golden import PRESETS, RECIPES, Recipe
from quaver.golden.fitting import PLACES, misfits, ports_at
from quaver.golden.loss_scaling import BackOff, ConstantScale, LossScaling, RisingFloor
from quaver.train.models import MODELS
from quaver.train.settings import USUAL

BASELINE = "fp32"
NOTABLE = 0.5
"""Points below the baseline from which on a recipe is to be explained."""


def recipes() -> str:
    """What each recipe does with which tensor."""
    head = ["recipe", "weights", "activations", "their gradients", "edges", "sums", "results"]
    head += ["weights' gradients", "master weights, update", "loss scale"]
    rows = [
        [
            f"`{recipe.name}`",
            *map(str, (recipe.weight, recipe.activation, recipe.error)),
            _edges(recipe),
            "float32 of the host" if recipe.host else recipe.sums,
            str(recipe.wide),
            str(recipe.gradient),
            f"{recipe.master}, {recipe.update}",
            _loss_scale(recipe.loss_scaling),
        ]
        for recipe in RECIPES.values()
    ]
    return table(head, rows)


def _edges(recipe: Recipe) -> str:
    if recipe.edge is not None:
        return f"{' and '.join(recipe.edges)} layer {recipe.edge}"
    return f"first input {recipe.image}" if recipe.image is not None else ""


def _loss_scale(policy: LossScaling) -> str:
    match policy:
        case ConstantScale(scale=scale):
            return f"{scale:g}"
        case RisingFloor(floors=floors):
            return "dynamic, at least " + ", ".join(f"{floor:g} from step {step}" for step, floor in floors)
        case BackOff(scale=scale):
            return f"dynamic, from {scale:g}"
    raise TypeError(f"no words for {policy}")


def choices() -> str:
    """Where each recipe comes from, and what is ours in it."""
    lines = []
    for recipe in RECIPES.values():
        ours = f" Ours: {recipe.choices}." if recipe.choices else ""
        lines.append(f"- **{recipe.name}**: {recipe.source}.{ours}")
    return "\n".join(lines)


def machines() -> str:
    """Formats at the array's ports, and the presets that give a layer the recipe's bits."""
    rows = []
    for recipe in RECIPES.values():
        if recipe.host:
            continue
        cells = []
        for place in PLACES:
            left, right = (" ".join(fmt.name for fmt in port) for port in ports_at(recipe, place))
            cells.append(left if left == right else f"{left}; {right}")
        fits = [m.name for m in PRESETS.values() if not any(list(misfits(recipe, m, place)) for place in PLACES)]
        rows.append([f"`{recipe.name}`", *cells, recipe.sums, ", ".join(fits) or "none: `--fit`"])
    return table(["recipe", "first layer", "layers between", "last layer", "sums", "presets"], rows)


def models() -> str:
    """The networks, and what they learn where nothing else is asked for."""
    rows = []
    for name, model in MODELS.items():
        usual = USUAL[name]
        epochs = f"{usual['epochs']} epoch{'s' if usual['epochs'] > 1 else ''}"
        how = f"{usual['optimizer']}, learning rate {usual['lr']:g}, batch {usual['batch']}, {epochs}"
        rows.append([f"`{name}`", model.kind, f"`{usual['data']}`", how, f"`{model.workload}`"])
    return table(["`--model`", "kind of data", "usual data", "usual settings", "workload of `quaver simulate`"], rows)


# ------------------------------------------------------------------------------------------------- measured


def _final(run: dict[str, Any]) -> float | None:
    return None if run["diverged"] or not run["tests"] else run["tests"][-1][run["metric"]]


def accuracies(data: str) -> dict[str, list[float | None]]:
    """Accuracy after the last epoch of each recipe on `data`, one per seed; None of a training that diverged."""
    found: dict[str, list[float | None]] = {}
    for name, run in recorded("recipes")["runs"].items():
        where, _, told = name.partition(" ")
        recipe, _, _ = told.rpartition(" ")
        if where == data:
            found.setdefault(recipe, []).append(_final(run))
    return found


def results(data: str) -> str:
    """Accuracy of every recipe beside its baseline."""
    found = accuracies(data)
    baseline = mean(value for value in found[BASELINE] if value is not None)
    rows = []
    for recipe in sorted(found, key=lambda name: name != BASELINE):  # the baseline first
        values = [value for value in found[recipe] if value is not None]
        lost = len(found[recipe]) - len(values)
        if not values:
            rows.append([_code(recipe), "diverged", "", ""])
            continue
        apart = mean(values) - baseline
        told = f"{min(values):.2f} to {max(values):.2f}" + (f", {lost} diverged" if lost else "")
        rows.append([_code(recipe), f"{mean(values):.2f}", told, "" if recipe == BASELINE else f"{apart:+.2f}"])
    return table(["recipe", "accuracy, %", f"{len(found[BASELINE])} seeds", "to fp32, points"], rows)


def _code(recipe: str) -> str:
    """A recipe's name as what one types, without what is changed in it."""
    name, comma, changed = recipe.partition(",")
    return f"`{name}`{comma}{changed}"


def ablation(name: str, place: Callable[[str], tuple[str, str]], corner: str) -> str:
    """Results of a sweep: `place` says row and column of a run's name without its seed."""
    record = recorded(f"ablation_{name}")
    cells: dict[str, dict[str, list[float | None]]] = {}
    for run_name, run in record["runs"].items():
        row, column = place(run_name.partition(" seed ")[0])
        cells.setdefault(row, {}).setdefault(column, []).append(_final(run))
    heads = list(dict.fromkeys(column for each in cells.values() for column in each))
    rows = [[row, *(_told(each.get(column, [])) for column in heads)] for row, each in cells.items()]
    return table([corner, *heads], rows) + "\n\n" + source(record)


def _told(values: list[float | None]) -> str:
    """Mean of the seeds, and the spread where there are several."""
    if not values:
        return ""
    known = [value for value in values if value is not None]
    lost = f"{len(values) - len(known)} diverged"
    if not known:
        return "diverged"
    text = f"{mean(known):.2f}" + (f" ({min(known):.2f} to {max(known):.2f})" if len(known) > 1 else "")
    return f"{text}, {lost}" if len(known) < len(values) else text


def _around(parting: str, row: str, column: str) -> Callable[[str], tuple[str, str]]:
    """Row and column, as `{0}` and `{1}` of them say, of names in two parts; the baseline's has one."""

    def place(name: str) -> tuple[str, str]:
        before, parted, after = name.rpartition(parting)
        return (row.format(before, after), column.format(before, after)) if parted else ("float32", name)

    return place


def post_training() -> str:
    """Networks quantised after training."""
    parts = []
    for name in ("post_training_mnist", "post_training_fashion"):
        record = recorded(name)
        metric = record["metric"]
        rows = [
            [row["method"], row["variant"], f"{row['bits']:g}", f"{row[metric]:.2f}", _layers(row)]
            for row in record["rows"]
        ]
        head = ["method", "variant", "bits per weight", f"{metric}, %", "bits by layer"]
        parts.append(f"{record['model']} on {record['data']}:\n\n{table(head, rows)}\n\n{source(record)}")
    return "\n\n".join(parts)


def _layers(row: dict[str, Any]) -> str:
    layers = row.get("layers", {})
    return ", ".join(f"{name.removesuffix('.weight')} {form}" for name, form in layers.items())


def step() -> str:
    """Time of a training step."""
    record = recorded("training_step")
    rows = [[row["step"], f"{row['ms']:.1f}", f"{row['of_pytorch']:.2f}"] for row in record["rows"]]
    to_pytorch, to_qtorch = (record["ratios"][f"wang2018 / {rival}"] for rival in ("PyTorch", "qtorch"))
    told = (
        f"`wang2018` takes {1 / to_pytorch['of_best']:.1f} times as long as PyTorch (median of the rounds "
        f"{1 / to_pytorch['of_rounds']:.1f}), QPyTorch {to_qtorch['of_best']:.1f} times as long as `wang2018` "
        f"({to_qtorch['of_rounds']:.1f})."
    )
    return table(["step", "ms", "of PyTorch"], rows) + f"\n\n{told} {source(record)}"


PARTS: dict[str, Callable[[], str]] = {
    "recipes": recipes,
    "choices": choices,
    "machines": machines,
    "models": models,
    "mnist": lambda: results("mnist"),
    "fashion": lambda: results("fashion-mnist") + "\n\n" + source(recorded("recipes")),
    "chunks": lambda: ablation("chunks", _around(" batch ", "{0}", "batch {1}"), "1-6-9 sums, to nearest"),
    "update": lambda: ablation("update", _around(" lr ", "{0}", "learning rate {1}"), "update"),
    "scales": lambda: ablation("scales", _around(" scale ", "2^{1}", "{0}"), "loss scale"),
    "gradients": lambda: ablation("gradients", _around(" bias ", "bias {1}", "{0}"), "gradients"),
    "bits": lambda: ablation("bits", lambda name: (name, "accuracy, %"), "sums"),
    "width": lambda: ablation("width", _around(" 1-6-", "{0}", "1-6-{1}"), "sums"),
    "post": post_training,
    "step": step,
}
