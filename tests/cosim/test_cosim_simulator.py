"""The bench's protocol: what goes wrong in the simulator comes out as one error that says where."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from quaver.cosim.simulator import Model, SimulatorError
from quaver.cosim.tiles import beats
from quaver.golden import PRESETS
from quaver.hw.array import Array

TINY = PRESETS["tiny"]


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with Model.of(Array, TINY) as built:
        yield built


def job(*, weight_beats: int = 4, activation_beats: int = 1, sum_beats: int = 1) -> dict[str, object]:
    """One GEMM of shape 1 x 4 x 4, as much of it as is told."""
    weights, activations = beats(TINY, np.full((1, 4), 0x38), np.full((4, 4), 0x38))
    return {
        **{"weights": weights[:weight_beats], "weight_beats": [weight_beats], "weights_idle": [0.0]},
        **{"activations": activations, "activation_beats": [activation_beats], "activations_idle": [0.0]},
        **{"sum_beats": [sum_beats], "stall": [0.0], "reset": [True], "afterwards": 40, "seed": 0},
    }


def test_all_is_well(model: Model) -> None:
    record = model.run("bench_streams", job())
    assert record["cycles"].tolist() == [TINY.load_cycles + TINY.latency + 1]
    assert record["sums"].shape == (1, 8)


def test_weights_that_never_come(model: Model) -> None:
    with pytest.raises(SimulatorError, match=r"(?s)^bench_streams failed\n.*GEMM 0 hangs with 1 beats of sums to come"):
        model.run("bench_streams", job(weight_beats=3))


def test_sums_too_many(model: Model) -> None:
    extra = job() | {"activation_beats": [2], "sum_beats": [1]}
    extra["activations"] = np.repeat(extra["activations"], 2, axis=0)
    extra["weights"], extra["weight_beats"] = np.repeat(extra["weights"], 2, axis=0), [8]
    with pytest.raises(SimulatorError, match="GEMM 0 gave 1 beats of sums too many"):
        model.run("bench_streams", extra)


def test_weights_that_nobody_takes(model: Model) -> None:
    extra = job() | {"weight_beats": [12]}
    extra["weights"] = np.repeat(extra["weights"], 3, axis=0)
    with pytest.raises(SimulatorError, match="GEMM 0 left beats behind"):
        model.run("bench_streams", extra)


def test_a_model_runs_again_after_an_error(model: Model) -> None:
    with pytest.raises(SimulatorError):
        model.run("bench_streams", job(weight_beats=3))
    test_all_is_well(model)


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where this test's models are built."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_broken_verilog(scratch: Path) -> None:
    with pytest.raises(SimulatorError, match=r"(?s)^Verilator did not build broken: verilator_bin .*syntax error"):
        Model("module broken(input a, output b;\nendmodule\n", "broken")
    assert list(scratch.iterdir()) == []


def test_a_compiler_that_fails(model: Model, scratch: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After `model`, for what models share is compiled with the first one."""
    (tmp_path / "c++").write_text("#!/bin/sh\necho no space left\nexit 3\n")
    (tmp_path / "c++").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SimulatorError, match=r"^Verilator did not build sound: c\+\+ failed\nno space left$"):
        Model("module sound(input a, output b);\nassign b = a;\nendmodule\n", "sound")
    assert list(scratch.iterdir()) == []


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SimulatorError, match=r"^Verilator needs c\+\+: install g\+\+$"):
        Model("module sound;\nendmodule\n", "sound")
