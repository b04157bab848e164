"""Products of a training run written to a folder, so that the hardware can compute them again; see `golden.trace`."""

import json
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quaver.golden import Issued
from quaver.golden.errors import check_range
from quaver.golden.formats import checked_codes
from quaver.golden.trace import HEAD_FILE, INDEX_FILE, SIZE_MAX, TraceEntry, TraceHead
from quaver.train.processor import Operand


class TraceWriter:
    """A `Recorder` that appends products to a trace; set `step` before each step.

    A file of codes is complete before its line is written, so that what a killed run leaves behind can be read.

    Parameters
    ----------
    folder:
        Where the trace goes; made if there is none.
    head:
        What it is a trace of.
    limit:
        Products that the trace takes; those after them are let pass.  None: all.
    resume_at:
        Go on with the trace that is there, of the same head, at this step: what it has of this step and of later ones
        is dropped, for a run that goes on from a saved state computes it again.  None: there must be no trace yet.

    Raises
    ------
    ValueError
        If the folder holds a trace already, or for `resume_at` none, one with another head or one that is damaged; for
        a `limit` below 1.
    OSError
        If a file cannot be written.
    """

    def __init__(
        self, folder: Path, head: TraceHead, *, limit: int | None = None, resume_at: int | None = None
    ) -> None:
        if limit is not None:
            check_range("limit", limit, 1, SIZE_MAX)
        self.folder, self.head, self.limit, self.step = folder, head, limit, resume_at or 0
        self.count = 0
        """Products in the trace."""
        if resume_at is None:
            if any((folder / name).exists() for name in (HEAD_FILE, INDEX_FILE)):
                raise ValueError(f"{folder} must not hold a trace already")
            folder.mkdir(parents=True, exist_ok=True)
            self._write(HEAD_FILE, f"{json.dumps(head.to_dict(), indent=2)}\n".encode())
            self._write(INDEX_FILE, b"")
        else:
            check_range("resume_at", resume_at, 0, SIZE_MAX)
            try:
                held = TraceHead.from_dict(json.loads((folder / HEAD_FILE).read_bytes()))
                kept = list(_before(folder / INDEX_FILE, resume_at))
            except (OSError, ValueError) as error:
                raise ValueError(f"{folder} must hold a trace to go on with: {error}") from error
            there, table = held.to_dict(), head.to_dict()
            for key, value in table.items():
                if there[key] != value:
                    raise ValueError(f"{folder} must hold a trace of the same run, not with another {key}")
            self.count = len(kept)
            self._write(INDEX_FILE, b"".join(kept))

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self.limit is not None and self.count >= self.limit

    def record(self, place: str, phase: str, a: Operand, b: Operand, y: NDArray[np.integer], issued: Issued) -> None:
        """Append a product, or as many as there are in the leading dimensions.

        Parameters
        ----------
        place, phase:
            Layer, and which of its products: one of `golden.trace.PHASES`.
        a, b, y:
            Codes of shapes (..., M, K), (..., K, N) and (..., M, N), those of y of the outer accumulator's format;
            leading dimensions of a and b broadcast to y's.
        issued:
            Items that the array's generators had served before.

        Raises
        ------
        ValueError
            If shapes do not fit, codes are out of range, or the phase is none.
        OSError
            If a file cannot be written.
        """
        if self.full:
            return
        (m, k), n, batch = a.codes.shape[-2:], b.codes.shape[-1], y.shape[:-2]
        entry = TraceEntry(
            file=f"{self.count:06}.npz",
            step=self.step,
            layer=place,
            phase=phase,
            a_format=a.format,
            b_format=b.format,
            m=m,
            k=k,
            n=n,
            groups=prod(batch),
            issued=issued,
        )
        arrays: dict[str, Any] = {}
        for (name, (fmt, shape)), codes in zip(entry.arrays(self.head).items(), (a.codes, b.codes, y), strict=True):
            whole = np.broadcast_to(codes, (*batch, *codes.shape[-2:])).reshape(shape)
            arrays[name] = checked_codes(whole, fmt).astype(fmt.dtype)
        staged = self.folder / f".{entry.file}"
        with staged.open("wb") as file:
            np.savez(file, **arrays)
        staged.replace(self.folder / entry.file)
        with (self.folder / INDEX_FILE).open("ab") as index:
            index.write(f"{json.dumps(entry.to_dict())}\n".encode())
        self.count += 1

    def _write(self, name: str, content: bytes) -> None:
        staged = self.folder / f".{name}"
        staged.write_bytes(content)
        staged.replace(self.folder / name)


def _before(index: Path, step: int) -> Iterator[bytes]:
    """The lines of products before a step; one that was cut off when the run was killed is none."""
    for line in index.read_bytes().splitlines(keepends=True):
        if not line.endswith(b"\n") or TraceEntry.from_dict(json.loads(line)).step >= step:
            return
        yield line
