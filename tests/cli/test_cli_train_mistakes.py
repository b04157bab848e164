"""Mistakes in what `quaver train` is asked for: a line each, and nothing is made or lost."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from quaver.golden import RECIPES
from quaver.train import DATA
from quaver.train.models import MODELS
from tests.train.folders import content

Train = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "RECIPE must be given, or --resume, and not both"),
        (["hybrid", "--resume", "run"], "RECIPE must be given, or --resume, and not both"),
        (["fp7"], f"recipe must be one of {', '.join(RECIPES)}, not 'fp7'"),
        (["hybrid", "--model", "vgg"], f"model must be one of {', '.join(MODELS)}, tiny, not 'vgg'"),
        (
            ["hybrid", "--data", "cifar"],
            f"data must be one of {', '.join(DATA)}, a folder of images, an .npz file or package.module:function, "
            "not 'cifar'",
        ),
        (["hybrid", "--data", "."], ".: it has no train-images-idx3-ubyte, neither plain nor with .gz"),
        (["hybrid", "--data", "no.module:here"], "no.module:here: there is no module no"),
        (["hybrid", "--data", "json:loads_all"], "json:loads_all: json has no function loads_all"),
        (
            ["hybrid", "--machine", "big"],
            "machine must be one of tiny, ecp5, edge, rapid, cloud, or a .toml file, not 'big'",
        ),
        (["hybrid", "--machine", "no.toml"], "no.toml: cannot be read: No such file or directory"),
        (["hybrid", "--model", "tiny", "--epochs", "0"], "epochs must be an integer in 1..100000, not 0"),
        (["hybrid", "--model", "tiny", "--steps", "0"], f"steps must be an integer in 1..{1 << 40}, not 0"),
        (["hybrid", "--fit"], "fit must be left out without --machine: what it would be given is the recipe's already"),
        (["hybrid", "--model", "tiny", "--batch", "0"], "batch must be an integer in 1..65536, not 0"),
        (["hybrid", "--model", "tiny", "--batch", "41"], "batch must be an integer in 1..40, not 41"),
        (["hybrid", "--model", "tiny", "--optimizer", "lion"], "optimizer must be one of sgd, adam, not 'lion'"),
        (["hybrid", "--model", "tiny", "--lr", "0"], "lr must be a finite number above 0, not 0.0"),
        (["hybrid", "--model", "tiny", "--lr", "-1"], "lr must be a finite number above 0, not -1.0"),
        (["hybrid", "--model", "tiny", "--lr", "nan"], "lr must be a finite number above 0, not nan"),
        (["fp32", "--model", "tiny", "--lr", "1e39"], "lr must be at most 1152921504606846976, not 1e+39"),
        (
            ["hybrid", "--model", "tiny", "--lr", "1e10"],
            "lr must be within 8573157376.0, the largest number of dlfloat16, not 10000000000.0",
        ),
        (["hybrid", "--model", "tiny", "--momentum", "1"], "momentum must be at least 0 and below 1, not 1.0"),
        (
            ["hybrid", "--model", "tiny", "--weight-decay", "-1"],
            "weight_decay must be a finite number of at least 0, not -1.0",
        ),
        (["hybrid", "--model", "tiny", "--schedule", "step"], "schedule must be one of cosine, constant, not 'step'"),
        (["hybrid", "--model", "tiny", "--warmup", "-1"], f"warmup must be an integer in 0..{1 << 40}, not -1"),
        (["hybrid", "--model", "tiny", "--seed", "-1"], "seed must be an integer in 0..4294967295, not -1"),
        (["hybrid", "--model", "tiny", "--threads", "0"], "threads must be an integer in 1..1024, not 0"),
        (
            ["wang2018", "--model", "tiny", "--machine", "tiny"],
            "a_formats of tiny must have bf16 for recipe wang2018, not e4m3, e5m2",
        ),
        (
            ["fp32", "--model", "tiny", "--machine", "tiny"],
            "recipe fp32 must run without a machine: its products are the host's",
        ),
        (
            ["hybrid", "--data", "tests.train.few:little", "--batch", "8"],
            "model lenet5 takes images of 1 x 28 x 28, not those of little images, 1 x 8 x 8",
        ),
        (
            ["hybrid", "--model", "ncf", "--data", "tests.train.few:little"],
            "model for the images of little images must be one of lenet5, resnet8, resnet20, tiny, not 'ncf'",
        ),
        (
            ["fp32", "--model", "tiny", "--trace", "t"],
            "trace must be left out with recipe fp32: its products are the host's",
        ),
        (
            ["hybrid", "--model", "tiny", "--trace", "t", "--trace-products", "0"],
            f"trace-products must be an integer in 1..{1 << 40}, not 0",
        ),
        (["hybrid", "--model", "tiny", "--trace", "file"], "file: cannot be written: File exists"),
        (["hybrid", "--plot", "a.pdf"], "plot must be a file .png, .svg, not 'a.pdf'"),
        (["hybrid", "--plot", "folder.png"], "plot must be a file .png, .svg, not 'folder.png'"),
        (["hybrid", "--plot", "none/a.png"], "none/a.png: there is no such folder"),
        (["hybrid", "--model", "tiny", "-o", "file"], "file: cannot be written: File exists"),
        (["hybrid", "--model", "tiny", "-o", "file/run"], "file/run: cannot be written: Not a directory"),
        (["--resume", "none"], "none: holds no training to resume"),
        (["--resume", "folder.png"], "folder.png: holds no training to resume"),
        (["--resume", "file"], "file: holds no training to resume"),
        (
            ["--resume", "none", "-o", "run"],
            "output must be left out with resume: the training goes on in its folder",
        ),
        (["--resume", "none", "--trace", "t"], "trace must be left out with resume: a trace begins with a training"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes(train: Train, here: Path, arguments: list[str], line: str) -> None:
    """A line, and nothing is made."""
    (here / "file").touch()
    (here / "folder.png").mkdir()
    assert train(*arguments) == (2, "", f"quaver: error: {line}\n")
    assert {path.name for path in here.iterdir()} == {"file", "folder.png"}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("model", "lenet5"), ("data", "digits"), ("machine", "tiny"), ("epochs", "3"), ("batch", "8")),
        *(("optimizer", "sgd"), ("lr", "0.1"), ("momentum", "0.5"), ("weight_decay", "0"), ("schedule", "cosine")),
        *(("warmup", "0"), ("seed", "0"), ("steps", "5")),
    ],
)
def test_resume_takes_no_settings(train: Train, option: str, value: str) -> None:
    line = f"quaver: error: {option} must be left out with resume: the training goes on with what it began with\n"
    assert train("--resume", "run", f"--{option.replace('_', '-')}", value) == (2, "", line)


def test_damages(train: Train, here: Path) -> None:
    """Each is a line, and what is there stays as it is."""
    assert train("hybrid", "--model", "tiny", "-o", "run")[0] == 0
    good = content(here / "run")
    size = len(good["metrics.jsonl"])
    for name, damaged, line in (
        ("checkpoint.pt", good["checkpoint.pt"][:-1], "run/checkpoint.pt: no whole checkpoint of quaver train"),
        ("checkpoint.pt", b"", "run/checkpoint.pt: no whole checkpoint of quaver train"),
        (
            "metrics.jsonl",
            good["metrics.jsonl"][:100],
            f"run/metrics.jsonl: must have the {size} bytes that the checkpoint knows of, not 100",
        ),
        ("metrics.jsonl", None, "run/metrics.jsonl: cannot be read: No such file or directory"),
        ("checkpoint.pt", None, "run: holds no training to resume"),
    ):
        path = here / "run" / name
        path.unlink() if damaged is None else path.write_bytes(damaged)
        before = content(here / "run")
        assert train("--resume", "run") == (2, "", f"quaver: error: {line}\n")
        assert content(here / "run") == before
        path.write_bytes(good[name])
    before = content(here / "run")
    occupied = train("fp32", "--model", "tiny", "-o", "run")
    assert occupied == (2, "", "quaver: error: run: holds a training already; it can be resumed\n")
    assert content(here / "run") == before
    assert train("--resume", "run")[0] == 0


def test_data_that_cannot_be_read(train: Train, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise PermissionError(13, "Permission denied", "data/a.npz")

    monkeypatch.setattr("quaver.cli.train.load_data", refuse)
    line = "quaver: error: data/a.npz: cannot be read: Permission denied\n"
    assert train("hybrid", "--data", "data", "-o", "run") == (2, "", line)
    assert not (here / "run").exists()


def test_absent_packages(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    for package, users, arguments, extra in (
        ("sklearn", (), ["hybrid", "--data", "digits"], "train"),
        ("matplotlib", (), ["hybrid", "--model", "tiny", "--plot", "a.png"], "plot"),
        ("torch", ("quaver.train", "quaver.cli.train"), ["hybrid"], "train"),
    ):
        with monkeypatch.context() as without:
            for module in [m for m in sys.modules if m.startswith((f"{package}.", *users))]:
                without.delitem(sys.modules, module)
            without.setitem(sys.modules, package, None)
            line = f"quaver: error: {package} is not installed; pip install 'quaver[{extra}]' brings it\n"
            assert train(*arguments) == (2, "", line)


def test_help_names_all_models(train: Train) -> None:
    status, out, _ = train("--help")
    words = " ".join(out.split())
    assert status == 0
    *others, last = [model for model in MODELS if model not in ("tiny", "lenet5")]
    assert f"Network: lenet5, the default, {', '.join(others)} or {last}." in words


def test_other_commands_load_no_pytorch() -> None:
    code = (
        "import sys; from quaver.cli.main import main\n"
        "for command in ['--help'], ['train', '--help'], ['formats'], ['simulate', 'lenet5']:\n"
        "    sys.argv[1:] = command; assert main() == 0\n"
        "sys.exit(' '.join({'torch', 'sklearn', 'matplotlib', 'quaver.train'} & set(sys.modules)) or None)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    assert "Train a network by a recipe" in result.stdout
