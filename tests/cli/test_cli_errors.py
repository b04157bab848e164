"""Mistakes of the user: one line on stderr, exit status 2, nothing on stdout."""

import subprocess
import sys
from pathlib import Path

import pytest

from quaver.cli.errors import UserError, checking_input, needing, one_line

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
        (["simulate", "vgg"], "workload must be one of resnet18, not 'vgg'"),
        (["simulate", "resnet18", "--machine", "big"], f"machine must be one of {PRESETS}, or a .toml file, not 'big'"),
        (["simulate", "resnet18", "--machine", "no.toml"], "no.toml: cannot be read: No such file or directory"),
        (["simulate", "resnet18", "--pass", "training"], "pass must be one of forward, not 'training'"),
        (["simulate", "resnet18", "--batch", "0"], "batch must be an integer in 1..65536, not 0"),
        (["simulate", "resnet18", "--bogus"], "No such option: --bogus"),
        (["simulate", "resnet18", "--report", "f.html"], "No such option: --report"),
        (["simulate"], "Missing argument 'WORKLOAD'."),
        (["frobnicate"], "No such command 'frobnicate'."),
        (["verify", "--cases", "0"], "cases must be an integer in 1..1073741824, not 0"),
        (["verify", "--seed", "-1"], "seed must be an integer in 0..4294967295, not -1"),
    ],
    ids=" ".join,
)
def test_arguments(arguments: list[str], line: str) -> None:
    assert_refused(arguments, line)


def test_unknown_layer_is_answered_with_all_layers() -> None:
    result = quaver("simulate", "resnet18", "--layer", "conv9")
    assert result.returncode == 2
    assert result.stderr.startswith("quaver: error: layer of resnet18 must be one of conv1, layer1.0.conv1, ")
    assert result.stderr.endswith(", layer4.1.conv2, fc, not 'conv9'\n")
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
