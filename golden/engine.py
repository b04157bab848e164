"""The compiled twin of casts and GEMMs: never different by a bit from the definition, which stays in NumPy.

It is chosen by itself wherever it was built; `using` chooses otherwise.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from types import ModuleType

from quaver.golden.errors import check_choice, check_range

KERNELS = ("baseline", "avx2", "avx512")
"""Sets of kernels, by instruction set."""


@dataclass(frozen=True)
class _Choice:
    backend: str = "auto"
    kernels: str | None = None
    threads: int | None = None


_AUTO = _Choice()
_choice: ContextVar[_Choice] = ContextVar("_choice", default=_AUTO)


@cache
def _native() -> ModuleType | None:
    try:
        from quaver.golden import _engine
    except ImportError:  # built without a C++ compiler
        return None
    return _engine


def available() -> bool:
    """Whether the compiled engine was built."""
    return _native() is not None


def kernels() -> tuple[str, ...]:
    """The sets of kernels that this machine can run, the best last; none without the engine."""
    module = _native()
    return () if module is None else KERNELS[: KERNELS.index(module.best()) + 1]


def _check_kernels(name: str | None) -> None:
    if name is not None:
        check_choice("kernels", name, kernels())


@contextmanager
def using(backend: str = "auto", *, kernels: str | None = None, threads: int | None = None) -> Iterator[None]:
    """Choose who computes within the context, in this thread.

    Parameters
    ----------
    backend:
        `numpy`, the definition; `native`, the compiled engine; or `auto`, the engine if there is one.
    kernels:
        One of `kernels()`; by default the best.
    threads:
        Threads of the engine, 1 to 1024; by default as many as this process may run on.

    Raises
    ------
    ValueError
        If an argument is none of these, or the engine is asked for and was not built.
    """
    check_choice("backend", backend, ("auto", "numpy", "native") if available() else ("auto", "numpy"))
    _check_kernels(kernels)
    if threads is not None:
        check_range("threads", threads, 1, 1024)
    token = _choice.set(_Choice(backend, kernels, threads))
    try:
        yield
    finally:
        _choice.reset(token)


def selected() -> bool:
    """Whether the engine is to be used."""
    return _choice.get().backend != "numpy" and available()


def start() -> tuple[ModuleType, str, int]:
    """The compiled module, and the kernels and threads that are chosen.

    Raises
    ------
    ImportError
        If the engine was not built.
    """
    module, choice = _native(), _choice.get()
    if module is None:
        raise ImportError("quaver.golden's engine was not built")
    return module, choice.kernels or module.best(), choice.threads or _processors()


def _processors() -> int:
    """Processors that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # there is no such call but on Linux
        return os.cpu_count() or 1
