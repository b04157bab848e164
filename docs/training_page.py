"""The generated parts of docs/training.md."""

from collections.abc import Callable
from typing import Any

from docs.page_parts import recorded, source, table
from quaver.golden import PRESETS, RECIPES, Recipe
from quaver.golden.fitting import PLACES, misfits, ports_at
from quaver.golden.loss_scaling import BackOff, ConstantScale, LossScaling, RisingFloor
from quaver.train.models import MODELS
from quaver.train.settings import USUAL


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
        how = f"{usual['optimizer']}, learning rate {usual['lr']:g}, batch {usual['batch']}, {usual['epochs']} epochs"
        rows.append([f"`{name}`", model.kind, f"`{usual['data']}`", how, f"`{model.workload}`"])
    return table(["`--model`", "kind of data", "usual data", "usual settings", "workload of `quaver simulate`"], rows)


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
    "post": post_training,
    "step": step,
}
