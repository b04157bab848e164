"""The picture of a training: its loss, step by step, and what was measured on the test data after each epoch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quaver.cli.train_report import title_of

SUFFIXES = (".png", ".svg")


def write_curves(path: Path, result: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> None:
    """Draw the records of a run.

    Raises
    ------
    OSError
        If the file cannot be written.
    ModuleNotFoundError
        If Matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    steps = [record for record in records if record["event"] == "steps"]
    tests = [record for record in records if record["event"] == "epoch"]
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    title = f"{result['model']} on {result['data']}, recipe {result['recipe']}"
    figure.suptitle(title, fontsize="medium", parse_math=False)  # a folder's name is no formula
    left.plot([r["step"] for r in steps], [r["loss"] for r in steps], label="training")
    left.plot([r["step"] for r in tests], [r["test"]["loss"] for r in tests], marker="o", markersize=3, label="test")
    left.set(xlabel="step", ylabel="loss, nats")
    left.legend(fontsize="small")
    metric = result["metric"]
    right.plot([r["epoch"] for r in tests], [r["test"][metric] for r in tests], marker="o", markersize=3, color="C1")
    right.set(xlabel="epoch", ylabel=title_of(metric))
    right.xaxis.get_major_locator().set_params(integer=True)
    for plot in (left, right):
        plot.grid(alpha=0.3)
    figure.savefig(path, dpi=160)
