"""States of a training on disk, from which it goes on with the same bits."""

import os
import pickle
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

VERSION = 1
"""Of the file's content: others are not read."""
_DAMAGES = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, pickle.UnpicklingError)
"""What reading bytes that are no archive of PyTorch's may raise."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state; a process that is killed meanwhile leaves the last one.

    Raises
    ------
    OSError
        If it cannot be written; its `filename` is `path`.
    """
    staged = path.with_name(f".{path.name}")  # always the same: what a killed process left is written over
    try:
        try:
            with staged.open("wb") as file:
                torch.save({"quaver_checkpoint": VERSION} | state, file)
                file.flush()
                os.fsync(file.fileno())
            staged.replace(path)
        finally:
            staged.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote; it holds tensors and plain data, nothing in it is executed.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is no checkpoint of this version.
    """
    content = path.read_bytes()
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            if archive.testzip() is not None:  # PyTorch reads what does not match its checksum, too
                raise zipfile.BadZipFile("a checksum is another one")
        state = torch.load(BytesIO(content), weights_only=True)
    except _DAMAGES as error:
        raise ValueError(f"{path}: no whole checkpoint of quaver train") from error
    if not isinstance(state, dict) or state.get("quaver_checkpoint") != VERSION:
        raise ValueError(f"{path}: no checkpoint of quaver train, version {VERSION}")
    return state
