"""Traces as tests write them, and the command that reads them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from quaver.cli.main import main
from quaver.cosim.cases import operand
from quaver.golden import PRESETS, Accumulator, ArrayWords, Format, Issued, Machine, gemm, sr
from quaver.golden.catalog import DLFLOAT16, E4M3, E5M2, FP16
from quaver.golden.trace import TraceHead
from quaver.train.processor import Operand
from quaver.train.trace import TraceWriter

TINY = PRESETS["tiny"]
STOCHASTIC = Machine(
    name="stochastic",
    dataflow="is",
    rows=2,
    columns=3,
    chunk=4,
    mac_depth=3,
    inner=Accumulator(format=DLFLOAT16, rounding=sr(7)),
    outer=Accumulator(format=FP16, rounding=sr(4)),
    accumulator_depth=8,
    seed=5,
)
LENET = {
    "forward": {
        "conv1": (1568, 25, 6),
        "conv2": (200, 150, 16),
        "fc1": (2, 400, 120),
        "fc2": (2, 120, 84),
        "fc3": (2, 84, 10),
    },
    "data_gradient": {"fc3": (2, 10, 84), "fc2": (2, 84, 120), "fc1": (2, 120, 400), "conv2": (392, 400, 6)},
    "weight_gradient": {
        "fc3": (10, 2, 84),
        "fc2": (84, 2, 120),
        "fc1": (120, 2, 400),
        "conv2": (16, 200, 150),
        "conv1": (6, 1568, 25),
    },
}
"""Products of LeNet-5 on two images, M x K x N."""
FORMATS = {"forward": (E4M3, E4M3), "data_gradient": (E5M2, E4M3), "weight_gradient": (E5M2, E4M3)}

Quaver = Callable[..., tuple[int, str, str]]
"""`quaver verify --trace` with these arguments: its exit status, standard output and standard error."""


def head_of(machine: Machine, *, known: bool = True) -> TraceHead:
    return TraceHead(
        recipe="hybrid", model="lenet5", machine=machine if known else None, arithmetic=machine.arithmetic()
    )


class Writing:
    """A trace of random operands, as an engine that computes on `machine` would write it."""

    def __init__(self, folder: Path, machine: Machine, *, known: bool = True) -> None:
        self.machine, self.at, self.rng = machine, Issued(), np.random.default_rng(1)
        self.writer = TraceWriter(folder, head_of(machine, known=known))

    def product(
        self,
        layer: str,
        phase: str,
        shape: tuple[int, int, int],
        formats: tuple[Format, Format] = (E4M3, E5M2),
        batch: tuple[int, ...] = (),
        *,
        record: bool = True,
    ) -> None:
        m, k, n = shape
        a, b = (operand(self.rng, fmt, (*batch, *size)) for fmt, size in zip(formats, ((m, k), (k, n)), strict=True))
        law = ArrayWords.of(self.machine, self.at)
        y = gemm(a, b, self.machine.arithmetic(*formats), words=law)
        if record:
            self.writer.record(layer, phase, Operand(a, formats[0]), Operand(b, formats[1]), y, self.at)
        self.at = law.after(m, k, n, times=int(np.prod(batch))).issued

    def step(self) -> None:
        for phase, layers in LENET.items():
            for layer, shape in layers.items():
                self.product(layer, phase, shape, FORMATS[phase])
        self.writer.step += 1


def write_lenet(folder: Path) -> Path:
    """Two steps of LeNet-5 on `tiny`."""
    writing = Writing(folder, TINY)
    for _ in range(2):
        writing.step()
    return folder


def write_stochastic(folder: Path) -> Path:
    """Products with random words, some of them groups; not from the start, with gaps, and once from the seed again."""
    writing = Writing(folder, STOCHASTIC)
    for index, (shape, batch) in enumerate(
        [((5, 9, 7), (2, 2)), ((20, 6, 4), ()), ((3, 17, 8), (3,)), ((4, 4, 4), ())]
    ):
        writing.product("before", "forward", (30, 8, 12), record=False)
        writing.product(f"layer{index}", "forward", shape, batch=batch)
        writing.product(f"layer{index}", "data_gradient", shape, batch=batch)
    writing.at = Issued()
    writing.product("again", "weight_gradient", (6, 7, 8))
    return folder


def rewrite(folder: Path, index: int, **changes: object) -> None:
    """Change a product's line."""
    lines = (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()
    lines[index] = json.dumps(json.loads(lines[index]) | changes)
    (folder / "index.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Quaver:
    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["quaver", "verify", "--trace", *map(str, arguments)])
        status = main()
        return status, *capsys.readouterr()

    return run
