"""Yosys from PyPI, in a process of its own: it prints as it pleases and ends the process on an error."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyosys

from quaver.golden.errors import ToolError

_RUNNER = f"""
import sys
from {pyosys.__name__} import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""


class YosysError(ToolError):
    """Yosys failed."""


def run(verilog: str, commands: Sequence[str]) -> str:
    """Read `verilog` and run `commands`; returns what they print.

    Raises
    ------
    YosysError
        If a command fails.
    """
    with tempfile.TemporaryDirectory(prefix="quaver-") as name:
        source = Path(name, "design.v")
        source.write_text(verilog, encoding="utf-8")
        script = [sys.executable, "-c", _RUNNER, f"read_verilog {source}", *commands]
        done = subprocess.run(script, capture_output=True, text=True, check=False)
    if done.returncode:
        words = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise YosysError(f"Yosys failed:\n{words}")
    return done.stdout


def cell_counts(verilog: str, commands: Sequence[str]) -> dict[str, int]:
    """Read `verilog`, run `commands`, and count the cells of the flattened design by type.

    Raises
    ------
    YosysError
        If a command fails.
    """
    with tempfile.TemporaryDirectory(prefix="quaver-") as name:
        statistics = Path(name, "statistics.json")
        run(verilog, [*commands, f"tee -q -o {statistics} stat -json"])
        return json.loads(statistics.read_text(encoding="utf-8"))["design"]["num_cells_by_type"]
