"""Source files of Python's standard library: a text that every installation has, though not every one the same."""

import platform
import sysconfig
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

FOLDER = Path(sysconfig.get_path("stdlib"))
"""Where they are."""


def module_sources(modules: Iterable[str]) -> dict[str, str]:
    """Sources of those of `modules` that are a single file, by name, in the order of the names.

    Raises
    ------
    ValueError
        If there is none of them, as where the library is an archive.
    """
    paths = {name: FOLDER / f"{name}.py" for name in sorted(modules)}
    sources = {name: path.read_text(encoding="utf-8") for name, path in paths.items() if path.is_file()}
    if not sources:
        raise ValueError(f"{FOLDER}: it has none of the standard library's source files {', '.join(paths)}")
    return sources


def edition(sources: Iterable[str]) -> str:
    """Which text it is: Python's version and the first 12 hexadecimal digits of the sources' SHA-256."""
    return f"Python {platform.python_version()}, sha256 {sha256(''.join(sources).encode()).hexdigest()[:12]}"
