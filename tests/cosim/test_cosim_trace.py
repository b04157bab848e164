"""Folders that hold no sound trace, machines that do not fit one, and options that mean nothing beside it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from quaver.cosim.replay import Replay, machine_for
from quaver.cosim.trace import Trace
from quaver.golden import PRESETS, Accumulator, Issued, sr
from quaver.golden.catalog import BF16, E4M3, FP32
from quaver.golden.trace import TraceEntry
from tests.cosim.traces import STOCHASTIC, TINY, Quaver, Writing, command, head_of, rewrite, write_stochastic


@pytest.fixture
def quaver(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Quaver:
    return command(monkeypatch, capsys)


@pytest.fixture
def stochastic(tmp_path: Path) -> Path:
    return write_stochastic(tmp_path / "stochastic")


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
    (lambda f: rewrite(f, 1, file="9.npz"), "9.npz: cannot be read: No such file or directory"),
    (lambda f: rewrite(f, 0, k=8), "000000.npz: a must be of shape (1, 3, 8), not (1, 3, 9)"),
    (
        lambda f: rewrite(f, 0, a_format="bf16"),
        "a_formats of tiny must have bf16 for product 0 (fc, forward, step 0), ",
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
        (
            {"outer": Accumulator(format=FP32)},
            "outer of stochastic must be the trace's where words are random, fp16 sr(4), not fp32 rne",
        ),
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
        Replay.of(Trace.read(stochastic), replace(STOCHASTIC, **changes))
    assert str(caught.value) == words


def test_machines_that_do(stochastic: Path) -> None:
    """What neither decides nor words depend on is free."""
    other = replace(STOCHASTIC, name="other", mac_depth=1, sr_adder="eager", a_formats=(BF16, E4M3))
    assert Replay.of(Trace.read(stochastic), other).machine is other


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
    assert machine_for(trace, cloud) is cloud
    with pytest.raises(ValueError, match=r"^columns of cloud must be the trace's where words are random, 128, not 64$"):
        machine_for(trace, replace(cloud, columns=64))
