"""Files that are written as a whole or not at all."""

import os
import stat
import threading
from pathlib import Path

import pytest

from quaver.cli.whole_file import write_whole


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_it_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("something longer than what follows", encoding="utf-8")
    write_whole(path, "µs ✓\n")
    assert path.read_bytes() == "µs ✓\n".encode()
    assert names_in(tmp_path) == ["a.txt"]


def test_what_was_there_stays_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")
    write = Path.write_bytes

    def full(self: Path, data: bytes) -> int:
        write(self, data[:1])
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write_whole(path, "new")
    assert caught.value.filename == str(path)
    assert path.read_text(encoding="utf-8") == "old"
    assert names_in(tmp_path) == ["a.txt"]


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as caught:
        write_whole(tmp_path, "text")
    assert caught.value.filename == str(tmp_path)


@pytest.mark.parametrize("name", ["missing/a.txt", "file/a.txt"])
def test_errors_name_the_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OSError, match=name) as caught:
        write_whole(tmp_path / name, "text")
    assert caught.value.filename == str(tmp_path / name)
    assert caught.value.strerror
    assert names_in(tmp_path) == ["file"]


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("target")
    write_whole(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text(encoding="utf-8") == "text"


def test_a_pipe_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(path.read_text(encoding="utf-8")))
    reader.start()
    write_whole(path, "text")
    reader.join(timeout=60)
    assert read == ["text"]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_names_that_are_no_unicode(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.txt", "net\udcff.onnx")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "net?.onnx"
