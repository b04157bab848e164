"""Mistakes of the user: one line on stderr, exit status 2, nothing on stdout."""

import subprocess
import sys
from pathlib import Path

import pytest

from quaver.cli.errors import UserError, checking_input, needing, one_line
from quaver.golden import RECIPES
from quaver.sim import WORKLOADS

RUN = "import sys; from quaver.cli.main import main; sys.exit(main())"
PRESETS = "tiny, ecp5, edge, rapid, cloud"


def quaver(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, timeout=60)


def assert_refused(arguments: list[str], line: str) -> None:
    result = quaver(*arguments)
    assert result.stderr == f"quaver: error: {line}\n"
    assert (result.returncode, result.stdout) == (2, "")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["simulate", "vgg"],
            f"workload must be one of {', '.join(WORKLOADS)}, an .onnx or a .csv file, not 'vgg'",
        ),
        (["simulate", "no.csv"], "no.csv: there is no such file"),
        (["simulate", "resnet18", "--machine", "big"], f"machine must be one of {PRESETS}, or a .toml file, not 'big'"),
        (["simulate", "resnet18", "--machine", "no.toml"], "no.toml: cannot be read: No such file or directory"),
        (["simulate", "resnet18", "--pass", "back"], "pass must be one of forward, training, not 'back'"),
        (["simulate", "resnet18", "--model", "zigzag"], "model must be one of quaver, scalesim, not 'zigzag'"),
        (["simulate", "resnet18", "--fidelity", "rtl"], "fidelity must be one of event, cycle, not 'rtl'"),
        (
            ["simulate", "resnet18", "--fidelity", "cycle", "--model", "scalesim"],
            "fidelity must be event with model scalesim, not 'cycle'",
        ),
        (
            ["simulate", "resnet18", "--model", "scalesim", "--report", "f.html"],
            "report must be left out with model scalesim and with fidelity cycle",
        ),
        (
            ["simulate", "resnet18", "--recompute"],
            "accumulate and recompute must be left out where pass is not training",
        ),
        (
            ["simulate", "resnet18", "--recipe", "fp7"],
            f"recipe must be one of {', '.join(RECIPES)}, not 'fp7'",
        ),
        (
            ["simulate", "resnet18", "--recipe", "bf16"],
            "a_formats of cloud must have bf16 for recipe bf16, not e4m3, e5m2",
        ),
        (["simulate", "resnet18", "--size", "n=0"], "size must be NAME=N with N of at least 1, not 'n=0'"),
        (
            ["simulate", "resnet18", "--fidelity", "cycle"],
            "fidelity must be event where a product takes more than 2048 cycles on 128 x 128 MACs, as conv1 with 25552",
        ),
        (
            ["simulate", "resnet18", "--report", "none/f.html"],
            "none/f.html: cannot be written: No such file or directory",
        ),
        (
            ["simulate", "resnet18", "--trace", "none/f.json"],
            "none/f.json: cannot be written: No such file or directory",
        ),
        (["simulate", "resnet18", "--batch", "0"], "batch must be an integer in 1..65536, not 0"),
        (["simulate", "resnet18", "--bogus"], "No such option: --bogus"),
        (["simulate"], "Missing argument 'WORKLOAD'."),
        (["frobnicate"], "No such command 'frobnicate'."),
        (["verify", "--cases", "0"], "cases must be an integer in 1..1073741824, not 0"),
        (["verify", "--seed", "-1"], "seed must be an integer in 0..4294967295, not -1"),
        (["verify", "--trace", "none"], "none/trace.json: cannot be read: No such file or directory"),
        (["verify", "--trace", "none", "--seed", "1"], "seed must be left out with trace: nothing is random there"),
    ],
    ids=" ".join,
)
def test_arguments(arguments: list[str], line: str) -> None:
    assert_refused(arguments, line)


def test_unknown_layer_is_answered_with_all_layers() -> None:
    result = quaver("simulate", "resnet18", "--layer", "conv9")
    assert result.returncode == 2
    assert result.stderr.startswith("quaver: error: layer of resnet18 must be one of conv1, bn1, relu, ")
    assert result.stderr.endswith(", avgpool, fc, loss, not 'conv9'\n")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows = 0", "rows must be an integer in 1..1024, not 0"),
        ("rows = 6\nchunk = 4", "chunk must divide rows = 6 or be a multiple of it, not 4"),
        ("rows = '8'", "rows must be an integer in 1..1024, not '8'"),
        ("rows = = 8", "not a TOML file: Invalid value (at line 1, column 8)"),
    ],
)
def test_machine_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.toml"
    path.write_text(text, encoding="utf-8")
    assert_refused(["simulate", "resnet18", "--machine", str(path)], f"{path}: {message}")


def test_output_that_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.touch()
    assert_refused(["generate", "-o", str(path)], f"{path}: no folder can be made there: File exists")


def test_a_buffer_that_is_too_small(tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text("rows = 128\ncolumns = 128\n[memory]\nbuffer_kib = 16\n", encoding="utf-8")
    line = "memory.buffer_kib must be at least 74 for conv1 on 128 x 128 MACs, not 16"
    assert_refused(["simulate", "resnet18", "--machine", str(path)], line)


def test_a_topology_with_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("Layer, M, N, K\nfc, 1, 0, 3\n", encoding="utf-8")
    result = quaver("simulate", str(path))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"quaver: error: {path}, line 2: ")


def test_only_checks_of_input_become_user_errors() -> None:
    with pytest.raises(UserError, match=r"^wrong$"), checking_input():
        raise ValueError("wrong")
    with pytest.raises(KeyError), checking_input():
        raise KeyError("ours")


def test_absent_packages() -> None:
    with pytest.raises(UserError) as caught, needing("verify"):
        raise ModuleNotFoundError(name="cocotb.triggers")
    assert str(caught.value) == "cocotb is not installed; pip install 'quaver[verify]' brings it"
    for fault in (ModuleNotFoundError(name="quaver.cosim.gone"), ImportError("a name that is gone")):
        with pytest.raises(type(fault)) as passed, needing("verify"):
            raise fault
        assert passed.value is fault


def test_messages_become_one_line() -> None:
    assert one_line("a\n  b\n") == "a b"
