"""States on disk: the same bits come back, or a line says that they do not."""

import io
import pickle
import resource
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from quaver.train.checkpoint import load_checkpoint, save_checkpoint
from tests.train.few import same_state

STATE: dict[str, Any] = {
    "training": {
        "model": {
            "weight": torch.tensor([[1.5, -0.0, float("nan"), float("-inf")], [1e-45, 3.0, 3.4e38, 0.1]]),
            "counts": torch.arange(5),
            "half": torch.tensor([0.1, 65504.0], dtype=torch.float16),
            "double": torch.tensor([0.1], dtype=torch.float64),
        },
        "history": {"values": [0.1, 2.0**-1074, 3]},
        "lr": 0.1 + 0.2,
        "nothing": None,
    },
    "length": 12345678901234567890,
}


def refusal(path: Path) -> str:
    with pytest.raises(ValueError) as caught:
        load_checkpoint(path)
    return str(caught.value)


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, STATE)
    found = load_checkpoint(path)
    assert found.pop("quaver_checkpoint") == 1
    assert same_state(found, STATE) == 4
    assert [file.name for file in tmp_path.iterdir()] == ["c.pt"]


def test_it_is_replaced_whole(tmp_path: Path) -> None:
    """What a process that was killed left beside it is written over."""
    path = tmp_path / "c.pt"
    save_checkpoint(path, STATE)
    (tmp_path / ".c.pt").write_bytes(path.read_bytes()[:100])
    save_checkpoint(path, {"other": 1})
    assert load_checkpoint(path) == {"quaver_checkpoint": 1, "other": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["c.pt"]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that is full once a file has so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 100, 1000, 2000])
def test_a_full_disk_leaves_the_last_one(tmp_path: Path, size: int) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"old": 1})
    with largest_file(size), pytest.raises(OSError, match="File too large") as caught:
        save_checkpoint(path, STATE)
    assert caught.value.filename == str(path)
    assert load_checkpoint(path)["old"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["c.pt"]


def test_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "none" / "c.pt"
    for call in (lambda: save_checkpoint(path, STATE), lambda: load_checkpoint(path)):
        with pytest.raises(FileNotFoundError) as caught:
            call()
        assert caught.value.filename == str(path)


def test_what_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    save_checkpoint(path, STATE)
    content = path.read_bytes()
    for length in [*range(0, len(content), 101), len(content) - 1]:
        path.write_bytes(content[:length])
        assert refusal(path) == f"{path}: no whole checkpoint of quaver train"


def test_flipped_bits(tmp_path: Path) -> None:
    """None is read as another state; many are where nothing is read."""
    path = tmp_path / "c.pt"
    save_checkpoint(path, STATE)
    content = path.read_bytes()
    random = Random(1)
    refused = 0
    for place in random.sample(range(len(content)), 300):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << random.randrange(8)]) + content[place + 1 :])
        try:
            found = load_checkpoint(path)
        except ValueError as error:
            assert str(error) == f"{path}: no whole checkpoint of quaver train"
            refused += 1
        else:
            assert same_state({key: found[key] for key in STATE}, STATE)
    assert refused > 100


def test_every_bit_of_a_tensor_counts(tmp_path: Path) -> None:
    """PyTorch itself would read it."""
    path = tmp_path / "c.pt"
    save_checkpoint(path, {"weight": torch.full((4,), 1.25)})
    content = path.read_bytes()
    place = content.index(torch.full((4,), 1.25).numpy().tobytes())
    path.write_bytes(content[: place + 3] + b"\x40" + content[place + 4 :])
    assert torch.load(path, weights_only=True)["weight"].tolist() != [1.25] * 4
    assert refusal(path) == f"{path}: no whole checkpoint of quaver train"


def test_what_is_none(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    path.write_text("a text", encoding="utf-8")
    assert refusal(path) == f"{path}: no whole checkpoint of quaver train"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "another file")
    assert refusal(path) == f"{path}: no whole checkpoint of quaver train"
    for other in ({"quaver_checkpoint": 2}, {}, [1], torch.zeros(1)):
        torch.save(other, path)
        assert refusal(path) == f"{path}: no checkpoint of quaver train, version 1"


class _Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


def test_nothing_in_it_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "c.pt"
    torch.save({"quaver_checkpoint": 1, "state": _Harmful()}, path)
    assert refusal(path) == f"{path}: no whole checkpoint of quaver train"
    assert not Path("executed").exists()
    pickle.load(io.BytesIO(pickle.dumps(_Harmful())))
    assert Path("executed").exists()
