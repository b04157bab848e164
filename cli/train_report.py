"""What `quaver train` shows: the tests after each epoch, and what the training was."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from quaver.cli.console import plain_table

UNITS = {"accuracy": "accuracy, %", "hit_rate_at_10": "hit rate at 10", "ndcg_at_10": "NDCG at 10"}
"""Titles of numbers that are not their names with spaces."""


def title_of(number: str) -> str:
    """A number of an evaluation, in words."""
    return UNITS.get(number, number.replace("_", " "))


def train_report(result: Mapping[str, Any]) -> list[Table | str]:
    """Lines and a table of what `Run.result` tells."""
    where = result["machine"] or ("the host" if result["sums"] is None else "the recipe's arithmetic")
    parts: list[Table | str] = [
        f"{result['model']} on {result['data']}, recipe {result['recipe']} on {where}, {result['epochs']} epochs, "
        f"batch {result['batch']}, {result['optimizer']} with learning rate {result['lr']:g}, seed {result['seed']}",
        result["source"],
    ]
    if result["sums"] is not None:
        parts.append(f"sums: {result['sums']}")
    if result["tests"]:
        table = plain_table()
        numbers = list(result["tests"][0])
        table.add_column("epoch", justify="right")
        for number in numbers:
            table.add_column(title_of(number), justify="right")
        for epoch, test in enumerate(result["tests"], start=1):
            table.add_row(str(epoch), *(_shown(number, test[number]) for number in numbers))
        parts.append(table)
    if result["quantised"] is not None:
        parts.append(_quantised(result["quantised"], result["metric"]))
    parts.append(
        f"{result['parameters']:,} parameters, {result['steps']:,} steps in {result['seconds']:.1f} s"
        + (f", {result['skipped']:,} of them skipped: gradients were not finite" if result["skipped"] else "")
        + (f"; loss scale {result['loss_scale']:g} at the end" if result["loss_scale"] != 1 else "")
    )
    if result["diverged"] is not None:
        parts.append(f"diverged: {result['diverged']}")
    return parts


def _shown(number: str, value: float | None) -> str:
    if value is None:
        return "not finite"
    return f"{value:.2f}" if number == "accuracy" else f"{value:.4f}"


def _quantised(found: Mapping[str, Any], metric: str) -> str:
    """A line on what was done after training, and each layer's format where they differ."""
    text = f"after {found['method'].upper()}: {title_of(metric)} {_shown(metric, found['test'][metric])}, "
    text += f"{found['average_bits']:.2f} bits per weight"
    layers = ", ".join(f"{layer['name']} {layer['format']}" for layer in found.get("layers", ()))
    return f"{text}: {layers}" if layers else text
