"""Renews README.md's generated parts: examples' output, tables of keys and machines.

`python docs/readme.py` rewrites the file; a test compares it with what the code says now.
"""

import ast
import inspect
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

from quaver.golden import PRESETS, Accumulator, Machine, Rounding
from quaver.golden.machine import RANDOM_BITS_MAX

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
EXAMPLE = ROOT / "examples" / "stochastic.toml"
COMMAND = "import sys; from quaver.cli.main import main; sys.exit(main())"


def run(*arguments: str) -> str:
    """What `quaver ARGUMENTS` prints, without blanks at the ends of lines."""
    command = [sys.executable, "-c", COMMAND, *arguments]
    output = subprocess.run(command, capture_output=True, check=True, encoding="utf-8").stdout
    return "\n".join(line.rstrip() for line in output.splitlines())


def field_texts(described: type) -> dict[str, str]:
    """The documentation of each field of a dataclass: the string below it."""
    body = ast.parse(inspect.getsource(described)).body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: " ".join(below.value.value.split())
        for field, below in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr)
    }


def machine_keys() -> str:
    """Every key of a machine file, with its default and meaning."""
    texts, accumulator, rounding = map(field_texts, (Machine, Accumulator, Rounding))
    below = {
        "format": accumulator["format"],
        "rounding": rounding["mode"],
        "random_bits": f"{rounding['random_bits']} A machine takes at most {RANDOM_BITS_MAX}.",
        "overflow": accumulator["overflow"],
    }
    rows = []
    for key, default in Machine().to_dict().items():
        if key == "name":
            rows.append(["`name`", "the file's", texts[key]])
        elif isinstance(default, dict):
            rows.append([f"`[{key}]`", "", texts[key]])
            for part, value in default.items():
                rows.append([f"`{key}.{part}`", f"`{json.dumps(value)}`", below.pop(part, "Likewise.")])
        else:
            rows.append([f"`{key}`", f"`{json.dumps(default)}`", texts[key]])
    return table(["key", "default", "meaning"], rows)


def presets() -> str:
    """The named machines."""
    head = ["preset", "array", "chunk", "accumulators", "MAC depth", "accumulator depth", "clock, MHz"]
    rows = [
        [
            f"`{m.name}`",
            f"{m.rows} x {m.columns}",
            str(m.chunk),
            str(m.inner) if m.inner == m.outer else f"{m.inner}, {m.outer}",
            str(m.mac_depth),
            str(m.accumulator_depth),
            f"{m.clock_mhz:g}",
        ]
        for m in PRESETS.values()
    ]
    return table(head, rows)


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def block(language: str, text: str) -> str:
    return f"```{language}\n{text.strip()}\n```"


def generated() -> dict[str, str]:
    """The generated parts, by the names of their markers."""
    return {
        "simulate": block("text", run("simulate", "resnet18")),
        "example": block("toml", EXAMPLE.read_text(encoding="utf-8")),
        "keys": machine_keys(),
        "presets": presets(),
    }


def rewritten(page: str) -> str:
    """The page with its generated parts made anew."""
    for name, text in generated().items():
        begin, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->"
        before, rest = page.split(begin)
        page = before + begin + text + "\n" + end + rest.split(end)[1]
    return page


if __name__ == "__main__":
    README.write_text(rewritten(README.read_text(encoding="utf-8")), encoding="utf-8")
