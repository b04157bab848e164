"""Mistakes of the user, told from ours: the former become one line and exit status 2, the latter a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something that the user can put right; the message says what."""


@contextmanager
def checking_input() -> Iterator[None]:
    """Turn the ValueErrors of checks on the user's input into UserErrors; put nothing else under it."""
    try:
        yield
    except ValueError as error:
        raise UserError(str(error)) from error


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Turn the absence of a package that the optional dependencies `extra` would install into a UserError."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "quaver"):
            raise
        raise UserError(f"{package} is not installed; pip install 'quaver[{extra}]' brings it") from error


def one_line(message: str) -> str:
    return " ".join(line.strip() for line in message.splitlines())
