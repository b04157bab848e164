"""What the generated parts of several pages are made of."""

import ast
import inspect
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
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


def recorded(name: str) -> dict[str, Any]:
    """What a bench measured."""
    return json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def source(record: dict[str, Any]) -> str:
    """Where measurements come from."""
    machine = record["machine"]
    family, model = machine["family_model"]
    cpu = f"{machine['cpu']}, family {family} model {model}, {machine['cores']} processors"
    return f"`{record['command']}`, {record['date'][:10]}; {cpu}, {record['engine']} kernels."


def terms(described: type, fields: tuple[str, ...]) -> str:
    """Fields and what they mean, in one paragraph."""
    texts = field_texts(described)
    return " ".join(f"`{field}`: {texts[field]}" for field in fields)


def table(head: list[str], rows: list[list[str]]) -> str:
    cells = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def block(language: str, text: str) -> str:
    return f"```{language}\n{text.strip()}\n```"
