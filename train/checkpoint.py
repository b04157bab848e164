"""States of a training on disk, from which it goes on with the same bits."""

import os
import pickle
import secrets
from pathlib import Path
from typing import Any

import torch

VERSION = 1
"""Of the file's content: others are not read."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a state; a process that is killed meanwhile leaves the last one.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    staged = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        with staged.open("wb") as file:
            torch.save({"quaver_checkpoint": VERSION} | state, file)
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote; it holds tensors and plain data, nothing in it is executed.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is no checkpoint of this version.
    """
    try:
        state = torch.load(path, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{path}: no checkpoint of quaver train") from error
    if not isinstance(state, dict) or state.get("quaver_checkpoint") != VERSION:
        raise ValueError(f"{path}: no checkpoint of quaver train, version {VERSION}")
    return state
