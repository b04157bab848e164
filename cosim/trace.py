"""Traces as `quaver.train` writes them, read and checked; see `golden.trace`."""

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from quaver.golden.formats import checked_codes
from quaver.golden.trace import HEAD_FILE, INDEX_FILE, TraceEntry, TraceHead

_Description = TypeVar("_Description", TraceHead, TraceEntry)
_DAMAGES = (OSError, ValueError, EOFError, MemoryError, RuntimeError, BadZipFile, zlib.error)
"""What reading an .npz file that is none may raise."""


class TraceError(ValueError):
    """A folder holds no trace, or a damaged one; the message names the file and what is wrong with it."""


class Codes(NamedTuple):
    """The codes of a product."""

    a: NDArray
    """Shape (groups, M, K)."""
    b: NDArray
    """Shape (groups, K, N)."""
    y: NDArray
    """Shape (groups, M, N)."""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A trace whose descriptions are kept; its codes, which may be many, are read when they are needed."""

    folder: Path
    """Where it lies."""
    head: TraceHead
    """What all products have in common."""
    entries: list[TraceEntry]
    """The products, in the order in which they were computed; at least one."""

    @classmethod
    def read(cls, folder: Path) -> "Trace":
        """The trace in a folder, also one whose run was killed; all of it is checked.

        Raises
        ------
        TraceError
            If there is none, a description is wrong, or a product's file is damaged.
        """
        head, index = folder / HEAD_FILE, folder / INDEX_FILE
        text, lines = _text(head), _text(index).splitlines(keepends=True)
        # A line that was cut off is no line yet.
        whole = [line for line in lines if line.endswith("\n")]
        trace = cls(
            folder=folder,
            head=_parsed(str(head), text, TraceHead.from_dict),
            entries=[_parsed(f"{index}, line {i}", line, TraceEntry.from_dict) for i, line in enumerate(whole, 1)],
        )
        if not trace.entries:
            raise TraceError(f"{index}: must have at least one product")
        for entry in trace.entries:
            trace.codes(entry)
        return trace

    def codes(self, entry: TraceEntry) -> Codes:
        """The codes of a product.

        Raises
        ------
        TraceError
            If the file is damaged, or its arrays are not what the index says.
        """
        path = self.folder / entry.file
        try:
            with path.open("rb") as file, np.lib.npyio.NpzFile(file) as members:
                arrays = dict(members)
        except _DAMAGES as error:
            words = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise TraceError(f"{path}: cannot be read: {words}") from error
        for name, (fmt, shape) in entry.arrays(self.head).items():
            if not isinstance(arrays.get(name), np.ndarray):
                raise TraceError(f"{path}: {name} is missing")
            if arrays[name].shape != shape:
                raise TraceError(f"{path}: {name} must be of shape {shape}, not {arrays[name].shape}")
            try:
                checked_codes(arrays[name], fmt)
            except (TypeError, ValueError) as error:
                raise TraceError(f"{path}: {name}: {error}") from error
        return Codes(*(arrays[name] for name in Codes._fields))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}: not UTF-8: {error.reason}") from error


def _parsed(what: str, text: str, read: Callable[[object], _Description]) -> _Description:
    try:
        return read(json.loads(text))
    except json.JSONDecodeError as error:
        raise TraceError(f"{what}: not JSON: {error}") from error
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{what}: {error}") from error
