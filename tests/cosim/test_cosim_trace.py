"""`quaver verify --trace`: what passes, what is found, and what is told of folders that hold no sound trace."""

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from quaver.cli.main import main
from quaver.cosim import replay
from quaver.cosim.cases import operand
from quaver.cosim.flow import FlowingArray
from quaver.cosim.trace import Trace
from quaver.golden import PRESETS, Accumulator, ArrayWords, Format, Issued, Machine, gemm, issued_by, sr
from quaver.golden.catalog import BF16, DLFLOAT16, E4M3, E5M2, FP16, FP32
from quaver.golden.trace import TraceEntry, TraceHead
from quaver.hw.design import Design
from quaver.sim import gemm_cycles
from quaver.train.processor import Operand
from quaver.train.trace import TraceWriter
from tests.cosim.conftest import plant

TINY = PRESETS["tiny"]
TALL = Machine(name="tall", rows=8, columns=2, chunk=4, mac_depth=3, accumulator_depth=8)
"""The sums of `tiny` on another array."""
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


@pytest.fixture
def lenet(tmp_path: Path) -> Path:
    """Two steps of LeNet-5 on `tiny`."""
    writing = Writing(tmp_path / "lenet", TINY)
    for _ in range(2):
        writing.step()
    return writing.writer.folder


@pytest.fixture
def stochastic(tmp_path: Path) -> Path:
    """Products with random words, some of them groups; not from the start, with a gap, and once from the seed again."""
    writing = Writing(tmp_path / "stochastic", STOCHASTIC)
    for index, (shape, batch) in enumerate(
        [((5, 9, 7), (2, 2)), ((20, 6, 4), ()), ((3, 17, 8), (3,)), ((4, 4, 4), ())]
    ):
        writing.product("before", "forward", (30, 8, 12), record=False)
        writing.product(f"layer{index}", "forward", shape, batch=batch)
        writing.product(f"layer{index}", "data_gradient", shape, batch=batch)
    writing.at = Issued()
    writing.product("again", "weight_gradient", (6, 7, 8))
    return writing.writer.folder


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

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["quaver", "verify", "--trace", *map(str, arguments)])
        status = main()
        return status, *capsys.readouterr()

    return run


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


def rewrite(folder: Path, index: int, **changes: object) -> None:
    """Change a product's line."""
    lines = (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()
    lines[index] = json.dumps(json.loads(lines[index]) | changes)
    (folder / "index.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


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
    monkeypatch.setattr(sys, "argv", ["quaver", "verify", "--trace", str(tmp_path / "t"), "--json"])
    status = main()
    out, err = capsys.readouterr()
    found = checks(json.loads(out))
    assert status == 1
    assert {which for which, (_, mismatches) in found.items() if mismatches} == {name}
    if name == "RTL bits":
        assert found[name][1] >= 4
        assert re.match(r"RTL bits: product \d \(.*, y\[0, \d, \d\]: trace (\w+), golden \1, RTL \w+\n$", err)
    else:
        assert err.startswith("RTL cycles: product 0 (fc, forward, step 0), 2 x 9 x 3, e4m3 x e5m2, group 0: expected ")


# --------------------------------------------------------------------------------------------------- what is no trace


def spoil_array(folder: Path, **arrays: NDArray) -> None:
    with np.load(folder / "000000.npz") as file:
        kept = {name: array for name, array in file.items() if name not in arrays or arrays[name].size}
    np.savez(folder / "000000.npz", **kept | {name: array for name, array in arrays.items() if array.size})


def spoil_byte(folder: Path) -> None:
    content = bytearray((folder / "000000.npz").read_bytes())
    content[200] ^= 1
    (folder / "000000.npz").write_bytes(content)


SPOILT: list[tuple[Callable[[Path], object], str]] = [
    (lambda f: (f / "trace.json").unlink(), "trace.json: cannot be read: No such file or directory"),
    (lambda f: (f / "trace.json").write_bytes(b"\xff"), "trace.json: not UTF-8: invalid start byte"),
    (lambda f: (f / "trace.json").write_text("{"), "trace.json: not JSON: Expecting property name"),
    (lambda f: (f / "trace.json").write_text("{}"), "trace.json: quaver_trace of trace is missing"),
    (lambda f: (f / "trace.json").write_text("[" * 100_000), "trace.json: "),
    (lambda f: (f / "index.jsonl").unlink(), "index.jsonl: cannot be read: No such file or directory"),
    (lambda f: (f / "index.jsonl").write_text(""), "index.jsonl: must have at least one product"),
    (lambda f: (f / "index.jsonl").write_text("\n"), "index.jsonl, line 1: not JSON: Expecting value"),
    (lambda f: rewrite(f, 1, m=-3), "index.jsonl, line 2: m must be an integer in 1..281474976710656, not -3"),
    (lambda f: rewrite(f, 1, file="9.npz"), "9.npz: there is no such file"),
    (lambda f: rewrite(f, 0, k=8), "000000.npz: a must be of shape (1, 3, 8), not (1, 3, 9)"),
    (
        lambda f: rewrite(f, 0, a_format="e2m1"),
        "a_formats of tiny must have e2m1 for product 0 (fc, forward, step 0), ",
    ),
    (lambda f: (f / "000000.npz").write_bytes(b""), "000000.npz: cannot be read: "),
    (lambda f: (f / "000000.npz").write_bytes(b"no zip"), "000000.npz: cannot be read: File is not a zip file"),
    (spoil_byte, "000000.npz: cannot be read: Bad CRC-32 for file 'a.npy'"),
    (lambda f: spoil_array(f, y=np.zeros(0)), "000000.npz: y is missing"),
    (lambda f: spoil_array(f, a=np.full((1, 3, 9), 0.5)), "000000.npz: a: codes of e4m3 must be integers, not float64"),
    (lambda f: spoil_array(f, b=np.full((1, 9, 4), 256)), "000000.npz: b: codes of e5m2 must be in 0..0xff"),
    (lambda f: spoil_array(f, a=np.array([None])), "000000.npz: cannot be read: Object arrays cannot be loaded"),
]


@pytest.mark.parametrize(
    ("spoil", "words"), SPOILT, ids=[words.split(":")[0][:40] + str(i) for i, (_, words) in enumerate(SPOILT)]
)
def test_damage(tmp_path: Path, quaver: Quaver, spoil: Callable[[Path], object], words: str) -> None:
    writing = Writing(tmp_path / "t", TINY)
    for _ in range(2):
        writing.product("fc", "forward", (3, 9, 4))
    spoil(tmp_path / "t")
    status, out, err = quaver(tmp_path / "t")
    place = "" if words.startswith("a_formats") else f"{tmp_path / 't'}/"
    assert (status, out) == (2, "")
    assert err.startswith(f"quaver: error: {place}{words}") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cases", "5"], "cases must be left out with trace: nothing is random there"),
        (["--seed", "0"], "seed must be left out with trace: nothing is random there"),
        (["--machine", "edge"], "chunk of edge must be the trace's, 4, not 64"),
        (["--machine", "big"], "machine must be one of tiny, ecp5, edge, rapid, cloud, or a .toml file, not 'big'"),
    ],
)
def test_requests(tmp_path: Path, quaver: Quaver, arguments: list[str], words: str) -> None:
    Writing(tmp_path / "t", TINY).product("fc", "forward", (3, 9, 4))
    assert quaver(tmp_path / "t", *arguments) == (2, "", f"quaver: error: {words}\n")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"outer": Accumulator(format=FP32)}, "outer of stochastic must be the trace's, fp16 sr(4), not fp32 rne"),
        ({"rows": 4}, "rows of stochastic must be the trace's where words are random, 2, not 4"),
        ({"columns": 4}, "columns of stochastic must be the trace's where words are random, 3, not 4"),
        (
            {"accumulator_depth": 4},
            "accumulator_depth of stochastic must be the trace's where words are random, 8, not 4",
        ),
        ({"seed": 6}, "seed of stochastic must be the trace's where words are random, 5, not 6"),
        ({"dataflow": "ws"}, "dataflow of stochastic must be the trace's where words are random, is, not ws"),
        (
            {"b_formats": (E4M3, BF16)},
            "b_formats of stochastic must have e5m2 for product 0 (layer0, forward, step 0), not e4m3, bf16",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_machines_that_would_not_give_the_bits(stochastic: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        replay.Replay.of(Trace.read(stochastic), replace(STOCHASTIC, **changes))
    assert str(caught.value) == words


def test_machines_that_do(stochastic: Path) -> None:
    """What neither decides nor words depend on is free."""
    other = replace(STOCHASTIC, name="other", mac_depth=1, sr_adder="eager", a_formats=(BF16, E4M3))
    assert replay.Replay.of(Trace.read(stochastic), other).machine is other


def test_places_that_no_product_gets_to(stochastic: Path, quaver: Quaver) -> None:
    rewrite(stochastic, 1, issued=[7, 1000])
    assert quaver(stochastic) == (
        2,
        "",
        "quaver: error: product 1 (layer0, data_gradient, step 0): issued must be what GEMMs on stochastic can issue "
        "after [0, 0], not [7, 1000]\n",
    )


def test_a_trace_without_a_machine(tmp_path: Path, quaver: Quaver) -> None:
    Writing(tmp_path / "t", TINY, known=False).product("fc", "forward", (3, 9, 4))
    line = "quaver: error: machine must be given: the trace is of an arithmetic alone\n"
    assert quaver(tmp_path / "t") == (2, "", line)


def test_words_of_the_reference_array() -> None:
    """Without a machine, random words are those of an array as large as `cloud`'s."""
    sums = Accumulator(rounding=sr(8))
    cloud, entry = (
        replace(PRESETS["cloud"], inner=sums),
        TraceEntry(
            **{"file": "0.npz", "step": 0, "layer": "fc", "phase": "forward", "a_format": E4M3, "b_format": E4M3},
            **{"m": 1, "k": 1, "n": 1, "groups": 1, "issued": Issued()},
        ),
    )
    trace = Trace(folder=Path("t"), head=head_of(cloud, known=False), entries=[entry])
    assert replay.machine_for(trace, cloud) is cloud
    with pytest.raises(ValueError, match=r"^columns of cloud must be the trace's where words are random, 128, not 64$"):
        replay.machine_for(trace, replace(cloud, columns=64))
