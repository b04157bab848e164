"""README: its commands work, its examples run, its generated parts and its claims are those of the code."""

import doctest
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import typer.main

from quaver.cli.main import app
from quaver.golden import PRESETS, Machine

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = [
    line.partition("#")[0].strip()
    for part in re.findall(r"(?ms)^```sh\n(.*?)^```", README)
    for line in part.splitlines()
]
QUAVER = [line for line in SHELL if line.startswith("quaver ")]
QUICK = ("simulate", "sweep", "formats", "generate")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return import_module("docs.pages")


@pytest.mark.parametrize(
    ("page", "parts"),
    [
        ("README.md", 4),
        ("docs/accelerator.md", 9),
        ("docs/hardware.md", 4),
        ("docs/engine.md", 3),
        ("docs/simulator.md", 8),
        ("docs/training.md", 14),
    ],
)
def test_generated_parts_are_current(script: ModuleType, page: str, parts: int):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert script.rewritten(page) == text, "run python -m docs.pages"
    assert text.count("<!-- generated: ") == text.count("<!-- end: ") == len(script.PAGES[page]) == parts


def test_every_key_is_told(script: ModuleType):
    told = re.findall(r"(?m)^\| `\[?(\w+)\]?` \|", script.machine_keys())
    assert told == [field.name for field in fields(Machine)]
    assert "| `inner.random_bits` | `0` |" in script.machine_keys()
    assert not [line for line in script.machine_keys().splitlines() if re.search(r"\|\s*\|$", line)], (
        "a key without a meaning"
    )


@pytest.mark.parametrize(("page", "examples"), [("README.md", 5), ("docs/engine.md", 8), ("docs/training.md", 10)])
def test_python_runs(page: str, examples: int):
    result = doctest.testfile(str(ROOT / page), module_relative=False, encoding="utf-8")
    assert result.failed == 0
    assert result.attempted >= examples


def test_all_commands_are_shown():
    assert {line.split()[1] for line in QUAVER} == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_the_commands_with_json_are_told():
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    with_json = {name for name, command in commands.items() if any("--json" in p.opts for p in command.params)}
    (told,) = re.findall(r"([^.;]*)\btake `--json`", README)
    assert set(re.findall(r"`(\w+)`", told)) == with_json


@pytest.mark.parametrize("line", [line for line in QUAVER if line.split()[1] in QUICK])
def test_quick_commands_run(line: str, tmp_path: Path):
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    run = "import sys; from quaver.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", run, *shlex.split(line)[1:]]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=120)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout
    if "generate" in line:
        assert all((tmp_path / path).stat().st_size for path in result.stdout.splitlines())


@pytest.mark.parametrize("line", [line for line in QUAVER if line.split()[1] not in QUICK])
def test_slow_commands_are_understood(line: str):
    """They are run by the tests of the rooms behind them."""
    _, name, *arguments = shlex.split(line)
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    values = command.make_context(name, list(arguments)).params
    assert values["machine"] in {*PRESETS, None}


def test_continuous_integration_runs_the_two_commands():
    """The environment's place aside, which is README's reader's and CI's own."""
    script = (
        (ROOT / ".ci" / "run").read_text(encoding="utf-8").replace(" -q", "").replace('"$venv', '"').replace('"', "")
    )
    commands = [step for line in SHELL if ".venv" in line for step in line.split(" && ")]
    assert len(commands) == 5
    for command in commands:
        assert command.replace(".venv/bin", "/bin").replace("venv .venv", "venv ") in script, command


def test_links_lead_somewhere():
    compared = 0
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            path, _, part = link.partition("#")
            if "://" in link:
                continue
            target = page.parent / path if path else page
            assert target.exists(), f"{page.name}: {link}"
            if part:
                headings = re.findall(r"(?m)^#+ (.+)$", target.read_text(encoding="utf-8"))
                anchors = [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
                assert part in anchors, f"{page.name}: {link}"
            compared += 1
    assert compared > 10


def test_rooms_are_told():
    told = re.findall(r"(?m)^\| `(\w+)/` \| `quaver\.(\w+)` \|", README)
    assert {folder for folder, _ in told} == {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert all(folder == package for folder, package in told)
