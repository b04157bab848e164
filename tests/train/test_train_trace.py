"""Traces as they are written: complete at every moment, never over another one, resumed where a run goes on."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from quaver.golden import PRESETS, Format, Issued, gemm, recipe_named
from quaver.golden.catalog import E4M3, E5M2
from quaver.golden.trace import TraceEntry, TraceHead
from quaver.train.processor import Operand, Processor
from quaver.train.trace import TraceWriter

TINY = PRESETS["tiny"]
HEAD = TraceHead(recipe="hybrid", model="lenet5", machine=TINY, arithmetic=TINY.arithmetic())
Product = tuple[Operand, Operand, NDArray]


def operand(shape: tuple[int, ...], fmt: Format, seed: int) -> Operand:
    return Operand(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), fmt)


def product(a_shape: tuple[int, ...], b_shape: tuple[int, ...], seed: int = 0) -> Product:
    a, b = operand(a_shape, E4M3, seed), operand(b_shape, E5M2, seed + 1)
    return a, b, gemm(a.codes, b.codes, TINY.arithmetic(E4M3, E5M2))


def index(folder: Path) -> list[TraceEntry]:
    lines = (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()
    return [TraceEntry.from_dict(json.loads(line)) for line in lines]


def codes(folder: Path, entry: TraceEntry) -> dict[str, NDArray]:
    with np.load(folder / entry.file) as file:
        return dict(file)


def record(writer: TraceWriter, count: int = 1, layer: str = "fc") -> None:
    for each in range(count):
        writer.record(layer, "forward", *product((2, 3), (3, 4), each), issued=Issued())


def test_what_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "trace"
    writer = TraceWriter(folder, HEAD)
    first, grouped = product((5, 7), (7, 3)), product((2, 3, 5, 7), (3, 7, 3))
    writer.record("conv1", "forward", *first, issued=Issued(8, 9))
    writer.step = 4
    writer.record("scores", "data_gradient", *grouped, issued=Issued(10, 11))
    assert TraceHead.from_dict(json.loads((folder / "trace.json").read_text(encoding="utf-8"))) == HEAD
    shape = {"m": 5, "k": 7, "n": 3, "a_format": E4M3, "b_format": E5M2}
    entries = [
        TraceEntry(file="000000.npz", step=0, layer="conv1", phase="forward", groups=1, issued=Issued(8, 9), **shape),
        TraceEntry(
            file="000001.npz", step=4, layer="scores", phase="data_gradient", groups=6, issued=Issued(10, 11), **shape
        ),
    ]
    assert index(folder) == entries and writer.count == 2
    for entry, (a, b, y) in zip(entries, (first, grouped), strict=True):
        held = codes(folder, entry)
        assert {name: (array.dtype, array.shape) for name, array in held.items()} == {
            name: (fmt.dtype, shape) for name, (fmt, shape) in entry.arrays(HEAD).items()
        }
        np.testing.assert_array_equal(held["a"], a.codes.reshape(-1, 5, 7))
        np.testing.assert_array_equal(held["b"], np.broadcast_to(b.codes, (*y.shape[:-2], 7, 3)).reshape(-1, 7, 3))
        np.testing.assert_array_equal(held["y"], y.reshape(-1, 5, 3))
    assert {path.name for path in folder.iterdir()} == {"trace.json", "index.jsonl", "000000.npz", "000001.npz"}


def test_a_processor_records_what_it_multiplies(tmp_path: Path) -> None:
    """`issued` is where its generators stood before, also where none is needed."""
    processor = Processor(recipe_named("hybrid"), machine=TINY)
    processor.recorder = writer = TraceWriter(tmp_path / "t", HEAD)
    a, b, y = product((5, 7), (7, 3))
    for _ in range(2):
        processor.multiply(a, b, place="fc", phase="weight_gradient")
    assert [(entry.layer, entry.phase, entry.issued) for entry in index(writer.folder)] == [
        ("fc", "weight_gradient", Issued()),
        ("fc", "weight_gradient", Issued(10, 10)),
    ]
    np.testing.assert_array_equal(codes(writer.folder, index(writer.folder)[1])["y"][0], y)


def test_no_more_than_its_limit(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "t", HEAD, limit=3)
    record(writer, 2)
    assert not writer.full
    record(writer, 5)
    assert writer.full and writer.count == len(index(tmp_path / "t")) == 3
    assert len(list((tmp_path / "t").glob("*.npz"))) == 3


def test_what_is_refused(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "t", HEAD)
    record(writer)
    with pytest.raises(ValueError, match=r"/t must not hold a trace already$"):
        TraceWriter(tmp_path / "t", HEAD)
    with pytest.raises(ValueError, match=r"^limit must be an integer in 1\.\."):
        TraceWriter(tmp_path / "u", HEAD, limit=0)
    a, b, y = product((2, 3), (3, 4))
    wrong: list[tuple[str, str, Product, str]] = [
        ("fc", "update", (a, b, y), "phase must be one of forward, data_gradient, weight_gradient, not 'update'"),
        ("", "forward", (a, b, y), "layer must be a text"),
        ("fc", "forward", (a, b._replace(codes=b.codes[:2]), y), "cannot reshape"),
        ("fc", "forward", (a, b, y[:1]), "cannot reshape"),
        ("fc", "forward", (a, b, y.astype(np.int64) - (1 << 16)), "codes of dlfloat16 must be in 0..0xffff"),
    ]
    for layer, phase, operands, message in wrong:
        with pytest.raises(ValueError, match=f"^{message}"):
            writer.record(layer, phase, *operands, issued=Issued())
    assert writer.count == len(index(tmp_path / "t")) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"t"}


def test_a_resumed_run_computes_steps_again(tmp_path: Path) -> None:
    """Of three steps the first two stay; a line that was cut off is none."""
    folder = tmp_path / "t"
    writer = TraceWriter(folder, HEAD, limit=7)
    for step in range(3):
        writer.step = step
        record(writer, 2)
    with (folder / "index.jsonl").open("ab") as file:
        file.write((folder / "index.jsonl").read_bytes()[:50])
    assert TraceWriter(folder, HEAD, resume_at=3).count == 6
    resumed = TraceWriter(folder, HEAD, limit=5, resume_at=2)
    assert (resumed.count, resumed.step, resumed.full) == (4, 2, False)
    record(resumed, 2, "again")
    assert [(entry.file, entry.step, entry.layer) for entry in index(folder)] == [
        *((f"{i:06}.npz", i // 2, "fc") for i in range(4)),
        ("000004.npz", 2, "again"),
    ]


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    record(TraceWriter(tmp_path / "t", HEAD))
    for changes, field in (({"model": "ncf"}, "model"), ({"machine": None}, "machine")):
        with pytest.raises(ValueError, match=f"/t must hold a trace of the same run, not with another {field}$"):
            TraceWriter(tmp_path / "t", replace(HEAD, **changes), resume_at=1)
    with pytest.raises(ValueError, match=r"/u must hold a trace to go on with: .*No such file"):
        TraceWriter(tmp_path / "u", HEAD, resume_at=1)
    for name, content in (("index.jsonl", "{}\n"), ("trace.json", "[1]"), ("trace.json", "\xff")):
        (tmp_path / "t" / name).write_bytes(content.encode("latin-1"))
        with pytest.raises(ValueError, match=r"/t must hold a trace to go on with: "):
            TraceWriter(tmp_path / "t", HEAD, resume_at=1)


def test_operands_may_be_of_another_pair_of_formats_than_the_head(tmp_path: Path) -> None:
    """The head tells how sums are made; a resumed run need not name the same formats."""
    record(TraceWriter(tmp_path / "t", HEAD))
    other = replace(HEAD, arithmetic=TINY.arithmetic(E5M2, E5M2))
    assert TraceWriter(tmp_path / "t", other, resume_at=1).count == 1


KILLED = """if True:
    import sys
    from pathlib import Path
    import numpy as np
    from quaver.golden import PRESETS, Issued
    from quaver.golden.catalog import E4M3
    from quaver.golden.trace import TraceHead
    from quaver.train.processor import Operand
    from quaver.train.trace import TraceWriter
    tiny = PRESETS["tiny"]
    head = TraceHead(recipe="r", model="m", machine=tiny, arithmetic=tiny.arithmetic())
    writer = TraceWriter(Path(sys.argv[1]), head)
    a, b, y = np.zeros((300, 300), np.uint8), np.zeros((300, 300), np.uint8), np.zeros((300, 300), np.uint16)
    while True:
        writer.record("fc", "forward", Operand(a, E4M3), Operand(b, E4M3), y, Issued())
        print(writer.count, flush=True)
"""


def test_a_killed_run_leaves_what_can_be_read(tmp_path: Path) -> None:
    """Killed in the midst of writing: at least what was told to be written is there, and all of it is whole."""
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "t")], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 20:
            pass
        process.kill()
    entries = index(tmp_path / "t")
    assert len(entries) >= 20
    assert [entry.file for entry in entries] == [f"{i:06}.npz" for i in range(len(entries))]
    for entry in entries:
        assert codes(tmp_path / "t", entry)["a"].shape == (1, 300, 300)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, no array is written to its end."""

    def fill() -> None:
        def savez(file, **arrays: NDArray) -> None:  # type: ignore[no-untyped-def]
            file.write(b"PK")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(np, "savez", savez)

    return fill


def test_a_full_disk_is_told_and_leaves_no_half_product(tmp_path: Path, full_disk: Callable[[], None]) -> None:
    writer = TraceWriter(tmp_path / "t", HEAD)
    record(writer)
    full_disk()
    with pytest.raises(OSError, match="No space left"):
        record(writer)
    assert writer.count == len(index(tmp_path / "t")) == 1
    assert not (tmp_path / "t" / "000001.npz").exists()
