"""`quaver train` as programs and people see it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from quaver.cli.main import main
from quaver.cosim.trace import Trace
from quaver.golden import PRESETS, RECIPES, engine
from quaver.train import DATA, Training
from quaver.train.checkpoint import load_checkpoint
from quaver.train.models import MODELS
from quaver.train.settings import USUAL, Settings
from tests.train.few import TINY, same_state

ROOT = Path(__file__).parents[2]
# Whoever runs the tests in the background may have had interrupts ignored, which is inherited.
RUN = (
    "import signal, sys; from quaver.cli.main import main\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler); sys.exit(main())"
)
FEW = ("--data", "tests.train.few:images", "--batch", 24)
"""Two steps of `lenet5` an epoch."""
Quaver = Callable[..., tuple[int, str, str]]


@pytest.fixture
def quaver(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Quaver:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["quaver", "train", *map(str, arguments)])
        status = main()
        return status, *capsys.readouterr()

    return run


@pytest.fixture(autouse=True)
def tiny_is_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10 steps, which take no time."""
    monkeypatch.setitem(MODELS, "tiny", TINY)
    usual = {"data": "tests.train.few:little", "lr": 0.05, "epochs": 2, "batch": 8}
    monkeypatch.setitem(USUAL, "tiny", usual)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def child(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, "train", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    )


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def lines(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def saved(folder: Path) -> dict[str, Any]:
    return load_checkpoint(folder / "checkpoint.pt")["training"]


def without_seconds(result: Any) -> Any:
    if isinstance(result, dict):
        return {key: without_seconds(value) for key, value in result.items() if key != "seconds"}
    return [without_seconds(value) for value in result] if isinstance(result, list) else result


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ------------------------------------------------------------------------------------------------------------- answers


def test_json(quaver: Quaver) -> None:
    status, out, err = quaver("hybrid", "--model", "tiny", "--machine", "tiny", "--json")
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert {key: value for key, value in result.items() if key not in ("tests", "seconds")} == {
        "recipe": "hybrid",
        "model": "tiny",
        "data": "tests.train.few:little",
        "machine": "tiny",
        "epochs": 2,
        "batch": 8,
        "optimizer": "sgd",
        "lr": 0.05,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "schedule": "cosine",
        "warmup": 0,
        "seed": 0,
        "sums": "dlfloat16 rne, chunks of 4",
        "source": "drawn",
        "parameters": 430,
        "metric": "accuracy",
        "steps": 10,
        "skipped": 0,
        "loss_scale": 1.0,
        "diverged": None,
        "quantised": None,
    }
    assert [set(test) for test in result["tests"]] == [{"loss", "accuracy"}] * 2
    assert result["seconds"] > 0


def test_options_are_settings(quaver: Quaver) -> None:
    given = {
        "model": "tiny",
        "data": "tests.train.few:little",
        "epochs": 1,
        "batch": 20,
        "optimizer": "adam",
        "lr": 0.25,
        "momentum": 0.5,
        "weight_decay": 0.125,
        "schedule": "constant",
        "warmup": 1,
        "seed": 7,
    }
    options = [part for key, value in given.items() for part in (f"--{key.replace('_', '-')}", value)]
    status, out, _ = quaver("fp32", *options, "--json")
    result = json.loads(out)
    assert status == 0
    assert {key: result[key] for key in given} == given
    assert result["machine"] is None


def test_steps(quaver: Quaver, here: Path) -> None:
    """What they end is tested, too; more of them than there are change nothing."""
    status, out, _ = quaver("fp32", "--model", "tiny", "--steps", 7, "--json", "-o", "run")
    result = json.loads(out)
    assert (status, result["steps"], len(result["tests"])) == (0, 7, 2)
    assert [(r["event"], r.get("epoch"), r.get("step")) for r in records(here / "run")] == [
        *(("steps", None, 5), ("epoch", 1, 5), ("steps", None, 7), ("epoch", 2, 7), ("end", None, None)),
    ]
    assert records(here / "run")[2]["lr"] == Settings.usual("fp32", "tiny").lr_at(6, 7)
    assert json.loads(quaver("fp32", "--model", "tiny", "--steps", 11, "--json")[1])["steps"] == 10


def test_a_machine_that_is_fitted(quaver: Quaver) -> None:
    command = ("wang2018", "--model", "tiny", "--machine", "tiny", "--epochs", 1, "--json")
    assert quaver(*command)[0] == 2
    status, out, _ = quaver(*command, "--fit")
    assert (status, json.loads(out)["sums"]) == (0, RECIPES["wang2018"].sums)


def test_table(quaver: Quaver) -> None:
    status, out, err = quaver("hybrid", "--model", "tiny", "--machine", "tiny")
    assert (status, err) == (0, "")
    shown = [line.rstrip() for line in out.splitlines()]
    assert shown[:3] == [
        "tiny on tests.train.few:little, recipe hybrid on tiny, 2 epochs, batch 8, sgd with learning rate 0.05, seed 0",
        "drawn",
        "sums: dlfloat16 rne, chunks of 4",
    ]
    tests = json.loads(quaver("hybrid", "--model", "tiny", "--machine", "tiny", "--json")[1])["tests"]
    assert shown[3].split() == ["epoch", "loss", "accuracy,", "%"]
    assert [line.split() for line in shown[5:7]] == [
        [str(epoch), f"{test['loss']:.4f}", f"{test['accuracy']:.2f}"] for epoch, test in enumerate(tests, start=1)
    ]
    assert shown[7].startswith("430 parameters, 10 steps in ")
    assert shown[7].endswith(" s")
    assert len(shown) == 8


def test_other_tables(quaver: Quaver) -> None:
    fp32 = quaver("fp32", "--model", "tiny")[1].splitlines()
    assert "recipe fp32 on the host, " in fp32[0]
    assert not any(line.startswith("sums: ") for line in fp32)
    assert "recipe bf16 on the recipe's arithmetic, " in quaver("bf16", "--model", "tiny", "--epochs", 1)[1]
    fp16 = quaver("fp16", "--model", "tiny", "--epochs", 1)[1].splitlines()
    assert fp16[-1].endswith(" s; loss scale 4096 at the end")
    afp = quaver("afp", "--model", "tiny", "--epochs", 1)[1].splitlines()
    assert afp[-2].startswith("after AFP: accuracy, % ")
    assert " bits per weight: conv1.weight afp_" in afp[-2]
    ptq = quaver("micikevicius2022_ptq", "--model", "tiny", "--epochs", 1)[1].splitlines()
    assert ptq[-2].endswith(", 8.00 bits per weight")


@pytest.mark.parametrize(
    ("model", "data", "heads"),
    [
        ("ncf", "pairs", ["epoch", "loss", "hit", "rate", "at", "10", "NDCG", "at", "10"]),
        ("transformer", "tokens", ["epoch", "loss", "perplexity", "bits", "per", "character"]),
    ],
)
def test_other_data(quaver: Quaver, here: Path, model: str, data: str, heads: list[str]) -> None:
    command = ("hybrid", "--model", model, "--data", f"tests.train.few:{data}", "--epochs", 1, "--batch", 12)
    status, out, _ = quaver(*command, "--plot", "p.svg")
    assert status == 0
    shown = out.splitlines()
    assert shown[3].split() == heads
    numbers = [float(cell) for cell in shown[5].split()]
    assert len(numbers) == 4
    title = {"ncf": "hit rate at 10", "transformer": "bits per character"}[model]
    assert title in (here / "p.svg").read_text(encoding="utf-8")


def test_divergence(quaver: Quaver) -> None:
    command = ("fp32", "--model", "tiny", "--lr", 2.0**60)
    status, out, err = quaver(*command, "--json")
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert result["diverged"].startswith("loss is ")
    assert result["tests"] == []
    assert 1 <= result["steps"] <= 2
    status, out, err = quaver(*command)
    assert (status, err) == (0, "")
    assert out.splitlines()[-1] == f"diverged: {result['diverged']}"
    lost = quaver(*command, "--batch", 40, "--epochs", 1)[1].splitlines()
    assert lost[-3].split()[:3] == ["1", "not", "finite"]
    assert lost[-1] == "diverged: loss on the test data is not finite after the last step"


def test_pictures(quaver: Quaver, here: Path) -> None:
    assert quaver("hybrid", "--model", "tiny", "--plot", "a.png", "-o", "run")[::2] == (0, "")
    assert quaver("--resume", "run", "--plot", "a.svg")[::2] == (0, "")
    with Image.open("a.png") as picture:
        assert picture.format == "PNG"
        colors = picture.convert("RGB").getcolors(1 << 20)
        assert colors is not None
        assert {(31, 119, 180), (255, 127, 14)} <= {color for _, color in colors}
    drawing = Path("a.svg").read_text(encoding="utf-8")
    assert drawing.startswith("<?xml")
    for text in (
        "tiny on tests.train.few:little, recipe hybrid",
        "step",
        "loss, nats",
        "training",
        "test",
        "epoch",
        "accuracy, %",
    ):
        assert f"<!-- {text} -->" in drawing


def test_a_picture_of_what_diverged(quaver: Quaver, here: Path) -> None:
    command = ("fp32", "--model", "tiny", "--lr", 2.0**60, "--plot", "a.png")
    assert quaver(*command)[::2] == (0, "")
    assert quaver(*command, "--batch", 40)[::2] == (0, "")
    assert (here / "a.png").stat().st_size > 1000


def test_names_are_no_formulas(quaver: Quaver, here: Path) -> None:
    """A folder may be called `$\\frac$`, which Matplotlib would read as a wrong one."""
    (here / "$\\frac$").mkdir()
    pixels = np.random.default_rng(0).integers(256, size=(16, 28, 28), dtype=np.uint8)
    labels = np.arange(16) % 10
    np.savez("$\\frac$/a.npz", x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    command = ("fp32", "--data", "$\\frac$", "--batch", 8, "--epochs", 1, "--plot", "a.svg")
    assert quaver(*command)[::2] == (0, "")
    assert "lenet5 on $\\frac$" in (here / "a.svg").read_text(encoding="utf-8")


def test_bar_on_a_terminal_alone(quaver: Quaver, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    with os.fdopen(writer, "w", encoding="utf-8") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        status, out, _ = quaver("fp32", "--model", "tiny", "--json")
        monkeypatch.undo()
    seen = os.read(reader, 1 << 16).decode()
    os.close(reader)
    assert status == 0
    assert "10/10" in seen
    test = json.loads(out)["tests"][-1]
    assert "fp32 tiny: loss " in seen
    assert f", accuracy {test['accuracy']:.2f}" in seen


def test_threads_change_no_bit(quaver: Quaver, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    advance, chosen = Training.advance, []

    def looked_at(training: Training) -> float:
        chosen.append(engine.start()[2])
        return advance(training)

    monkeypatch.setattr(Training, "advance", looked_at)
    for threads in (1, 2):
        assert quaver("hybrid", *FEW, "--epochs", 1, "--threads", threads, "-o", threads)[0] == 0
    assert chosen == [1, 1, 2, 2]
    assert same_state(saved(here / "1"), saved(here / "2")) >= 20
    assert without_seconds(records(here / "1")) == without_seconds(records(here / "2"))


# -------------------------------------------------------------------------------------------------------------- traces


def test_trace(quaver: Quaver, here: Path) -> None:
    command = ("hybrid", "--model", "tiny", "--machine", "tiny")
    traced = quaver(*command, "--trace", "t", "--trace-products", 30, "-o", "traced", "--json")
    plain = quaver(*command, "-o", "plain", "--json")
    assert traced[0] == plain[0] == 0
    assert without_seconds(json.loads(traced[1])) == without_seconds(json.loads(plain[1]))
    assert same_state(saved(here / "traced"), saved(here / "plain")) >= 16
    trace = Trace.read(here / "t")
    assert len(trace.entries) == 30
    assert (trace.head.recipe, trace.head.model, trace.head.machine) == ("hybrid", "tiny", PRESETS["tiny"])
    assert len({entry.layer for entry in trace.entries}) == 3
    for entry in trace.entries:
        a, b, y = trace.codes(entry)
        assert (a.shape[0], b.shape[0], *y.shape[1:]) == (entry.groups, entry.groups, entry.m, entry.n)
    assert quaver("hybrid", "--model", "tiny", "--trace", "u")[0] == 0
    assert len(Trace.read(here / "u").entries) == 80 < 100, "all there are: no evaluation is among them"


def test_a_trace_beside_another(quaver: Quaver, here: Path) -> None:
    """Nothing is left of a command that was refused, so that the next one is not."""
    command = ("hybrid", "--model", "tiny", "--trace", "t", "--epochs", 1)
    assert quaver(*command)[0] == 0
    before = content(here / "t")
    again = quaver(*command, "-o", "run")
    assert again == (2, "", "quaver: error: t must not hold a trace already\n")
    assert content(here / "t") == before
    assert quaver("hybrid", "--model", "tiny", "--trace", "u", "--epochs", 1, "-o", "run")[0] == 0
    occupied = quaver("hybrid", "--model", "tiny", "--trace", "v", "-o", "run")
    assert occupied == (2, "", "quaver: error: run: holds a training already; it can be resumed\n")
    assert not (here / "v").exists()


# ------------------------------------------------------------------------------------------------------------ mistakes


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
def test_mistakes(quaver: Quaver, here: Path, arguments: list[str], line: str) -> None:
    """A line, and nothing is made."""
    (here / "file").touch()
    (here / "folder.png").mkdir()
    assert quaver(*arguments) == (2, "", f"quaver: error: {line}\n")
    assert {path.name for path in here.iterdir()} == {"file", "folder.png"}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("model", "lenet5"), ("data", "digits"), ("machine", "tiny"), ("epochs", "3"), ("batch", "8")),
        *(("optimizer", "sgd"), ("lr", "0.1"), ("momentum", "0.5"), ("weight_decay", "0"), ("schedule", "cosine")),
        *(("warmup", "0"), ("seed", "0"), ("steps", "5")),
    ],
)
def test_resume_takes_no_settings(quaver: Quaver, option: str, value: str) -> None:
    line = f"quaver: error: {option} must be left out with resume: the training goes on with what it began with\n"
    assert quaver("--resume", "run", f"--{option.replace('_', '-')}", value) == (2, "", line)


def test_damages(quaver: Quaver, here: Path) -> None:
    """Each is a line, and what is there stays as it is."""
    assert quaver("hybrid", "--model", "tiny", "-o", "run")[0] == 0
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
        assert quaver("--resume", "run") == (2, "", f"quaver: error: {line}\n")
        assert content(here / "run") == before
        path.write_bytes(good[name])
    before = content(here / "run")
    occupied = quaver("fp32", "--model", "tiny", "-o", "run")
    assert occupied == (2, "", "quaver: error: run: holds a training already; it can be resumed\n")
    assert content(here / "run") == before
    assert quaver("--resume", "run")[0] == 0


def test_data_that_cannot_be_read(quaver: Quaver, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise PermissionError(13, "Permission denied", "data/a.npz")

    monkeypatch.setattr("quaver.cli.train.load_data", refuse)
    line = "quaver: error: data/a.npz: cannot be read: Permission denied\n"
    assert quaver("hybrid", "--data", "data", "-o", "run") == (2, "", line)
    assert not (here / "run").exists()


def test_absent_packages(quaver: Quaver, monkeypatch: pytest.MonkeyPatch) -> None:
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
            assert quaver(*arguments) == (2, "", line)


def test_help_names_all_models(quaver: Quaver) -> None:
    status, out, _ = quaver("--help")
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


# -------------------------------------------------------------------------------------------- interrupts and the like


@pytest.fixture
def interrupting(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Makes so many interrupts come in the middle of a step."""

    def install(step: int, times: int = 1) -> None:
        advance = Training.advance

        def interrupted(training: Training) -> float:
            if training.step == step:
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)
            return advance(training)

        monkeypatch.setattr(Training, "advance", interrupted)

    return install


@pytest.fixture
def heard() -> Any:
    """Interrupts are heard, also where whoever runs the tests has them ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_interrupt(quaver: Quaver, here: Path, heard: None, interrupting: Any) -> None:
    """The step is finished, the line says how to go on, and what comes of it is what would have come."""
    command = ("hybrid", "--model", "tiny", "--json")
    status, whole, _ = quaver(*command, "-o", "whole")
    assert status == 0
    interrupting(6)
    line = "quaver: interrupted after 7 steps; go on with: quaver train --resume 'a run'\n"
    assert quaver(*command, "-o", "a run") == (130, "", line)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert saved(here / "a run")["step"] == 7
    status, out, err = quaver("--resume", "a run", "--json")
    assert (status, err) == (0, "")
    assert without_seconds(json.loads(out)) == without_seconds(json.loads(whole))
    assert without_seconds(records(here / "a run")) == without_seconds(records(here / "whole"))
    assert same_state(saved(here / "a run"), saved(here / "whole")) >= 16
    assert quaver(*command) == (130, "", "quaver: interrupted after 7 steps\n")


def test_a_folder_that_is_read_only(
    quaver: Quaver, here: Path, heard: None, interrupting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would have to be written is a line at once; a run that has ended is only read."""
    command = ("hybrid", "--model", "tiny", "--json")
    _, ended, _ = quaver(*command, "-o", "ended")
    interrupting(6)
    assert quaver(*command, "-o", "run")[0] == 130

    def refuse(path: Path, _: object) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr("quaver.train.run.save_checkpoint", refuse)
    before = content(here / "run")
    line = "quaver: error: run/checkpoint.pt: cannot be written: Read-only file system\n"
    assert quaver("--resume", "run") == (2, "", line)
    assert content(here / "run") == before
    assert quaver("--resume", "ended", "--json") == (0, ended, "")


def test_two_interrupts(quaver: Quaver, here: Path, heard: None, interrupting: Any) -> None:
    """The second one is not waited for: the last checkpoint is what there is."""
    interrupting(6, times=2)
    assert quaver("hybrid", "--model", "tiny", "-o", "run") == (130, "", "")
    assert saved(here / "run")["step"] == 5
    assert set(content(here / "run")) == {"metrics.jsonl", "checkpoint.pt"}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupts_that_are_ignored_stay_so(quaver: Quaver, heard: None, interrupting: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    interrupting(6)
    assert quaver("fp32", "--model", "tiny")[::2] == (0, "")
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_interrupt_from_a_terminal(tmp_path: Path) -> None:
    """Ctrl-C goes to the whole group."""
    folder = tmp_path / "run"
    process = child("fp32", "--data", "tests.train.few:more", "--epochs", 1000, "-o", folder)
    try:
        until(lambda: lines(folder) > 0, process)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, out) == (130, "")
    steps = saved(folder)["step"]
    assert steps >= 1
    assert err == f"quaver: interrupted after {steps:,} steps; go on with: quaver train --resume {folder}\n"
    assert set(content(folder)) == {"metrics.jsonl", "checkpoint.pt"}


def test_kill(quaver: Quaver, tmp_path: Path) -> None:
    """A process that is killed twice, at any moment, ends with the bits of one that was not."""
    folder, random = tmp_path / "killed", Random()
    command = ("hybrid", *FEW, "--epochs", 24)
    at = sorted(random.sample(range(4, 30), 2))
    for count, arguments in zip(at, ([*command, "-o", folder], ["--resume", folder]), strict=True):
        process = child(*arguments)
        try:
            until(lambda count=count: lines(folder) >= count, process)
            time.sleep(random.uniform(0, 0.1))
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert 2 <= saved(folder)["step"] < 48
    status, out, err = quaver("--resume", folder, "--json")
    assert (status, err) == (0, "")
    status, whole, _ = quaver(*command, "-o", tmp_path / "whole", "--json")
    assert status == 0
    assert without_seconds(json.loads(out)) == without_seconds(json.loads(whole))
    assert without_seconds(records(folder)) == without_seconds(records(tmp_path / "whole"))
    assert len(records(folder)) == 2 * 24 + 1
    assert same_state(saved(folder), saved(tmp_path / "whole"), f"killed at {at}") >= 20
