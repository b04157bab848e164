"""Traces computed again by the RTL: what passes, and what is found."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from quaver.cosim import replay
from quaver.cosim.flow import FlowingArray
from quaver.cosim.trace import Trace
from quaver.golden import Machine, gemm, issued_by
from quaver.golden.catalog import E4M3
from quaver.hw.design import Design
from quaver.sim import gemm_cycles
from quaver.train.processor import Operand
from tests.cosim.conftest import plant
from tests.cosim.traces import LENET, STOCHASTIC, TINY, Quaver, Writing, command, rewrite, write_lenet, write_stochastic

TALL = Machine(name="tall", rows=8, columns=2, chunk=4, mac_depth=3, accumulator_depth=8)
"""The sums of `tiny` on another array."""


@pytest.fixture
def lenet(tmp_path: Path) -> Path:
    return write_lenet(tmp_path / "lenet")


@pytest.fixture
def stochastic(tmp_path: Path) -> Path:
    return write_stochastic(tmp_path / "stochastic")


@pytest.fixture(scope="module")
def built() -> Iterator[dict[str, FlowingArray]]:
    arrays: dict[str, FlowingArray] = {}
    yield arrays
    for array in arrays.values():
        array.close()


@pytest.fixture
def quaver(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], built: dict[str, FlowingArray]
) -> Quaver:
    """The command; a machine's array is built for the first test that needs it only."""

    @contextmanager
    def flowing(machine: Machine) -> Iterator[FlowingArray]:
        if machine.digest not in built:
            built[machine.digest] = FlowingArray(machine)
        yield built[machine.digest]

    monkeypatch.setattr(replay, "FlowingArray", flowing)
    return command(monkeypatch, capsys)


def outputs(folder: Path) -> int:
    return sum(entry.groups * entry.m * entry.n for entry in Trace.read(folder).entries)


def checks(report: dict[str, list[dict[str, int]]]) -> dict[str, tuple[int, int]]:
    return {str(check["name"]): (check["compared"], check["mismatches"]) for check in report["checks"]}


def change(folder: Path, index: int, name: str, at: tuple[int, ...], bit: int) -> None:
    """Flip a bit of a code."""
    path = folder / f"{index:06}.npz"
    with np.load(path) as file:
        arrays = dict(file)
    arrays[name][at] ^= 1 << bit
    np.savez(path, **arrays)


# ---------------------------------------------------------------------------------------------------------- what passes


def test_steps_of_lenet(lenet: Path, quaver: Quaver) -> None:
    status, out, err = quaver(lenet, "--json")
    report = json.loads(out)
    shapes = [shape for layers in LENET.values() for shape in layers.values()] * 2
    assert (status, err, report["passed"]) == (0, "", True)
    assert checks(report) == {
        "golden bits": (outputs(lenet), 0),
        "RTL bits": (outputs(lenet), 0),
        "RTL cycles": (28, 0),
    }
    assert {key: report[key] for key in ("machine", "trace", "recipe", "model", "products", "macs", "cycles")} == {
        **{"machine": "tiny", "trace": str(lenet), "recipe": "hybrid", "model": "lenet5", "products": 28},
        "macs": sum(m * k * n for m, k, n in shapes),
        "cycles": sum(gemm_cycles(TINY, *shape) for shape in shapes),
    }


def test_the_table(lenet: Path, quaver: Quaver) -> None:
    status, out, err = quaver(lenet)
    title, *_, last = out.splitlines()
    assert (status, err, last) == (0, "", "passed")
    assert title.startswith(f"RTL of tiny against trace {lenet}, golden model and simulator: 28 products, ")
    assert ["RTL", "cycles", "28", "0"] in [line.split() for line in out.splitlines()]


def test_random_words_where_the_trace_has_them(stochastic: Path, quaver: Quaver) -> None:
    status, out, err = quaver(stochastic, "--json")
    assert (status, err) == (0, "")
    groups = [entry.groups for entry in Trace.read(stochastic).entries]
    assert groups == [4, 4, 1, 1, 3, 3, 1, 1, 1]
    assert checks(json.loads(out)) == {
        "golden bits": (outputs(stochastic), 0),
        "RTL bits": (outputs(stochastic), 0),
        "RTL cycles": (sum(groups), 0),
    }


def test_another_array_with_the_same_sums(tmp_path: Path, quaver: Quaver) -> None:
    """Where nothing is random, the bits are the arithmetic's; the cycles are that array's."""
    path = tmp_path / "tall.toml"
    path.write_text("rows = 8\ncolumns = 2\nchunk = 4\nmac_depth = 3\naccumulator_depth = 8\n", encoding="utf-8")
    writing = Writing(tmp_path / "t", TINY, known=False)
    for shape in ((20, 30, 5), (3, 9, 4)):
        writing.product("fc", "forward", shape)
    status, out, err = quaver(tmp_path / "t", "--machine", path, "--json")
    report = json.loads(out)
    assert (status, err, report["machine"]) == (0, "", "tall")
    assert checks(report)["RTL bits"] == (112, 0)
    assert report["cycles"] == sum(gemm_cycles(TALL, *shape) for shape in ((20, 30, 5), (3, 9, 4)))


def test_a_run_that_was_killed(lenet: Path, quaver: Quaver) -> None:
    """What was not written to its end is not there, and nobody minds."""
    index = lenet / "index.jsonl"
    lines = index.read_text(encoding="utf-8").splitlines(keepends=True)
    index.write_text("".join(lines[:3]) + lines[3][:40], encoding="utf-8")
    (lenet / ".000003.npz").write_bytes(b"PK")
    status, out, _ = quaver(lenet, "--json")
    assert (status, json.loads(out)["products"]) == (0, 3)


# -------------------------------------------------------------------------------------------------------- what is found


def test_a_bit_of_a_result(lenet: Path, quaver: Quaver) -> None:
    right = Trace.read(lenet).codes(Trace.read(lenet).entries[18]).y[0, 1, 7]
    change(lenet, 18, "y", (0, 1, 7), 3)
    status, out, err = quaver(lenet, "--json")
    report = json.loads(out)
    assert (status, report["passed"]) == (1, False)
    assert checks(report) == {
        "golden bits": (outputs(lenet), 1),
        "RTL bits": (outputs(lenet), 1),
        "RTL cycles": (28, 0),
    }
    assert err == (
        "golden bits: product 18 (fc3, forward, step 1), 2 x 84 x 10, e4m3 x e4m3, 000018.npz, y[0, 1, 7]: "
        f"trace {right ^ 8:#x}, golden {right:#x}, RTL {right:#x}\n"
    )


def test_a_bit_of_an_operand(lenet: Path, quaver: Quaver) -> None:
    """It reaches a row of the result at most."""
    change(lenet, 13, "a", (0, 4, 1000), 6)
    status, out, err = quaver(lenet)
    rows = {line.rsplit(maxsplit=2)[0].strip(): line.split()[-1] for line in out.splitlines() if " bits " in line}
    assert status == 1 and out.splitlines()[-1] == "failed"
    assert 1 <= int(rows["golden bits"]) <= 25 and rows["golden bits"] == rows["RTL bits"]
    assert err.startswith(
        "golden bits: product 13 (conv1, weight_gradient, step 0), 6 x 1568 x 25, e5m2 x e4m3, 000013.npz, y[0, 4, "
    )


def test_a_place_that_the_generators_were_not_at(stochastic: Path, quaver: Quaver) -> None:
    """Golden and RTL still agree with each other, and the products after it with the trace."""
    beats, sums = Trace.read(stochastic).entries[2].issued
    more = issued_by(STOCHASTIC, 1, 1, 1)
    rewrite(stochastic, 2, issued=[beats + more.beats, sums + more.sums])
    status, out, err = quaver(stochastic, "--json")
    found = checks(json.loads(out))
    assert status == 1
    assert 4 < found["golden bits"][1] == found["RTL bits"][1] <= 80
    assert err.startswith(
        "golden bits: product 2 (layer1, forward, step 0), 20 x 6 x 4, e4m3 x e5m2, 000002.npz, y[0, "
    )
    trace, golden, rtl = (word.split()[-1] for word in err.rsplit(": ", 1)[1].split(", "))
    assert trace != golden == rtl


WRONG_SUM = ("quaver_adder", r"(result <=) ([^;]+);", r"\1 (\2) ^ (sum == 16'h3e00);")
"""The last bit where something is added to 1."""
LATE = (
    "quaver_array",
    r"assign (\w+) = ! patience;",
    r"reg late = 0; always @(posedge clk) late <= |patience; assign \1 = !patience && !late;",
)
"""A K tile starts one cycle after its sums are back: no bit is wrong."""


@pytest.mark.parametrize(("fault", "name"), [(WRONG_SUM, "RTL bits"), (LATE, "RTL cycles")], ids=["bit", "cycle"])
def test_faults_of_the_rtl(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    fault: tuple[str, str, str],
    name: str,
) -> None:
    small = Machine(name="small", rows=2, columns=1, chunk=2, mac_depth=1, accumulator_depth=4)
    writing = Writing(tmp_path / "t", small)
    for _ in range(3):
        writing.product("fc", "forward", (2, 9, 3))
    ones = Operand(np.full((2, 2), 0x38), E4M3)
    y = gemm(ones.codes, ones.codes, small.arithmetic(E4M3, E4M3))
    writing.writer.record("ones", "forward", ones, ones, y, writing.at)
    right = Design.verilog
    monkeypatch.setattr(Design, "verilog", lambda self: plant(right(self), *fault))
    status, out, err = command(monkeypatch, capsys)(tmp_path / "t", "--json")
    found = checks(json.loads(out))
    assert status == 1
    assert {which for which, (_, mismatches) in found.items() if mismatches} == {name}
    if name == "RTL bits":
        assert found[name][1] >= 4
        assert re.match(r"RTL bits: product \d \(.*, y\[0, \d, \d\]: trace (\w+), golden \1, RTL \w+\n$", err)
    else:
        assert err.startswith("RTL cycles: product 0 (fc, forward, step 0), 2 x 9 x 3, e4m3 x e5m2, group 0: expected ")
