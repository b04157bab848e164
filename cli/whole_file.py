"""Files that are written as a whole or not at all."""

import secrets
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write `text` to `path`, as UTF-8: what was there before stays until the new file is complete.

    What is not a file, such as a pipe, is written to as it is.

    Raises
    ------
    OSError
        If it cannot be written; its `filename` is `path`.
    """
    data = text.encode("utf-8", "replace")  # names may come from files' names that are no Unicode
    target = path.resolve()
    staged = target.with_name(f".quaver-{secrets.token_hex(8)}")
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(data)
            return
        try:
            staged.write_bytes(data)
            staged.replace(target)
        finally:
            staged.unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
