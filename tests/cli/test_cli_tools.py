"""`generate`, `verify` and `synth` around stand-ins for the rooms behind them: arguments, reports and statuses."""

import json
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quaver.cli.main import main
from quaver.golden import PRESETS, Machine
from quaver.golden.errors import ToolError

Stand = Callable[[str, str, Callable[..., Any]], None]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Stand:
    def install(module: str, name: str, function: Callable[..., Any]) -> None:
        monkeypatch.setattr(import_module(module), name, function)

    return install


@pytest.fixture
def quaver(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["quaver", *arguments])
        status = main()
        return status, *capsys.readouterr()

    return run


def report(passed: bool) -> SimpleNamespace:
    content = {
        "machine": "tiny",
        "seed": 7,
        "checks": [{"name": "products e4m3 e5m2", "compared": 65536, "mismatches": int(not passed)}],
        "passed": passed,
    }
    first = None if passed else "products e4m3 e5m2: 0x12 * 0x34: expected 0x1, got 0x2"
    return SimpleNamespace(passed=passed, first_mismatch=first, to_dict=lambda: content)


def test_generate(stand_in: Stand, quaver: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    def generate(machine: Machine, directory: Path, prefix: str) -> list[Path]:
        assert machine == PRESETS["edge"]
        assert directory.is_dir()
        return [directory / f"{prefix}.v"]

    stand_in("quaver.hw.generate", "generate", generate)
    folder = tmp_path / "new" / "folder"
    command = ("generate", "--machine", "edge", "-o", str(folder))
    assert quaver(*command) == (0, f"{folder / 'quaver.v'}\n", "")
    assert quaver(*command, "--prefix", "left") == (0, f"{folder / 'left.v'}\n", "")


def test_generate_cannot_write(stand_in: Stand, quaver: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    def generate(machine: Machine, directory: Path, prefix: str) -> list[Path]:
        raise OSError(28, "No space left on device", *([str(directory / "a.v")] if prefix == "named" else []))

    stand_in("quaver.hw.generate", "generate", generate)
    line = "quaver: error: {}: cannot be written: No space left on device\n"
    assert quaver("generate", "-o", str(tmp_path)) == (2, "", line.format(tmp_path))
    named = quaver("generate", "-o", str(tmp_path), "--prefix", "named")
    assert named == (2, "", line.format(tmp_path / "a.v"))


def test_generate_makes_nothing_under_a_bad_prefix(quaver: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    line = "prefix must be a letter and at most 31 letters, digits and underscores, not '8bit'"
    folder = tmp_path / "new"
    assert quaver("generate", "-o", str(folder), "--prefix", "8bit") == (2, "", f"quaver: error: {line}\n")
    assert not folder.exists()


@pytest.mark.parametrize("passed", [True, False])
def test_verify_json(stand_in: Stand, quaver: Callable[..., tuple[int, str, str]], passed: bool) -> None:
    def verify(machine: Machine, *, cases: int, seed: int, progress: Callable[[str], None]) -> SimpleNamespace:
        assert (machine, cases, seed) == (PRESETS["tiny"], 5, 7)
        progress("products")
        return report(passed)

    stand_in("quaver.cosim.verify", "verify", verify)
    status, out, err = quaver("verify", "--cases", "5", "--seed", "7", "--json")
    assert json.loads(out) == report(passed).to_dict()
    assert (status, err) == ((0, "") if passed else (1, f"{report(False).first_mismatch}\n"))


@pytest.mark.parametrize("passed", [True, False])
def test_verify_table(stand_in: Stand, quaver: Callable[..., tuple[int, str, str]], passed: bool) -> None:
    def verify(machine: Machine, *, cases: int, seed: int, progress: Callable[[str], None]) -> SimpleNamespace:
        assert (cases, seed) == (20000, 0)
        return report(passed)

    stand_in("quaver.cosim.verify", "verify", verify)
    status, out, _ = quaver("verify")
    assert status == int(not passed)
    assert "products e4m3 e5m2" in out
    assert "65,536" in out
    assert out.splitlines()[-1] == ("passed" if passed else "failed")


def test_interrupt(stand_in: Stand, quaver: Callable[..., tuple[int, str, str]]) -> None:
    def verify(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    stand_in("quaver.cosim.verify", "verify", verify)
    assert quaver("verify") == (130, "", "")


@pytest.mark.parametrize(
    ("command", "room", "package", "extra"),
    [
        (["verify"], "quaver.cosim", "cocotb_tools", "verify"),
        (["verify", "--trace", "t"], "quaver.cosim", "cocotb_tools", "verify"),
        (["synth", "--target", "ecp5"], "quaver.synth", "pyosys", "synth"),
    ],
)
def test_absent_package(
    monkeypatch: pytest.MonkeyPatch,
    quaver: Callable[..., tuple[int, str, str]],
    command: list[str],
    room: str,
    package: str,
    extra: str,
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == package or name.startswith(f"{room}.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    line = f"quaver: error: {package} is not installed; pip install 'quaver[{extra}]' brings it\n"
    assert quaver(*command) == (2, "", line)


def test_tools_speak_for_themselves(stand_in: Stand, quaver: Callable[..., tuple[int, str, str]]) -> None:
    def verify(*_: Any, **__: Any) -> None:
        raise ToolError("Verilator did not build quaver_array\n%Error: its own words")

    stand_in("quaver.cosim.verify", "verify", verify)
    words = "quaver: error: Verilator did not build quaver_array\n%Error: its own words\n"
    assert quaver("verify") == (1, "", words)


def test_our_faults_are_not_hidden(stand_in: Stand, quaver: Callable[..., tuple[int, str, str]]) -> None:
    def verify(*_: Any, **__: Any) -> None:
        raise ValueError("a programming error")

    stand_in("quaver.cosim.verify", "verify", verify)
    with pytest.raises(ValueError, match=r"^a programming error$"):
        quaver("verify")


AREA = {
    **{"machine": "tiny", "unit": "mac", "target": "ecp5", "lut4": 500, "ccu2c": 20, "ff": 40, "lut4_equivalent": 540},
    "decoder": {"lut4": 30, "ccu2c": 0, "ff": 15},
}


def test_synth(stand_in: Stand, quaver: Callable[..., tuple[int, str, str]]) -> None:
    def synthesize(machine: Machine, *, unit: str, target: str) -> dict[str, object]:
        assert (machine, unit) == (PRESETS["tiny"], "mac")
        if target != "ecp5":
            raise ValueError(f"target must be one of ecp5, not {target!r}")
        return AREA

    stand_in("quaver.synth.flow", "synthesize", synthesize)
    status, out, err = quaver("synth", "--target", "ecp5", "--json")
    assert (status, json.loads(out), err) == (0, AREA, "")
    status, out, err = quaver("synth", "--target", "ecp5")
    rows = [line.split() for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert ["mac", "500", "20", "40", "540"] in rows
    assert ["one", "decoder", "30", "0", "15"] in rows
    assert quaver("synth", "--target", "asic") == (2, "", "quaver: error: target must be one of ecp5, not 'asic'\n")
