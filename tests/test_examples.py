"""The examples: a layer's training step on the RTL, and README's table of it."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PASSES = ("forward", "data gradient", "weight gradient", "weight update")


def recorded() -> list[str]:
    """The lines of the table below the command in README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"(?ms)^python examples/training_layer\.py\n```\n\n```text\n(.*?)^```", readme)
    return table.splitlines()


def test_a_training_step_on_the_rtl() -> None:
    """Every value and every cycle, as the example itself compares them; its table is README's to the letter."""
    command = [sys.executable, str(ROOT / "examples" / "training_layer.py")]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=1800)
    assert result.returncode == 0, result.stdout + result.stderr
    assert [line.rstrip() for line in result.stdout.splitlines()] == recorded()


def test_the_table_tells_of_no_difference() -> None:
    head, *rows = recorded()
    assert head.split() == ["pass", "values", "wrong", "cycles", "simulated", "MACs", "utilisation"]
    compared = 0
    for name, row in zip(PASSES, rows, strict=True):
        assert row.startswith(f"{name} ")
        values, wrong, cycles, simulated, _, _ = row.removeprefix(name).replace(",", "").split()
        assert wrong == "0" and cycles == simulated
        assert int(cycles) > 0
        compared += int(values)
    assert compared > 10_000
