"""Text: characters of the standard library's sources."""

import numpy as np
import torch

from quaver.golden.errors import check_range
from quaver.train.data_set import DataSet, Split
from quaver.train.data_stdlib import edition, module_sources

TRAIN = (
    "argparse calendar configparser contextlib dataclasses difflib enum fractions ftplib functools imaplib inspect "
    "mailbox optparse pickle platform random shutil socket"
)
"""Modules whose characters are learnt: single files since Python 3.11, about a megabyte together."""
TEST = "heapq shlex statistics textwrap"
"""Modules for the test, a tenth of that."""
VOCABULARY = "\n" + "".join(map(chr, range(32, 127)))
"""The tokens: a new line and ASCII's printable characters; any other character is a question mark."""
LENGTH = 64
"""Tokens of a sequence."""


def stdlib_text(length: int = LENGTH) -> DataSet:
    """Sequences of `length` characters of the standard library's sources, 1 to 1024; what is left over is dropped."""
    check_range("length", length, 1, 1024)
    train, test = (module_sources(modules.split()) for modules in (TRAIN, TEST))
    return DataSet(
        name="stdlib-text",
        source=f"Characters of {len(train)} source files of the standard library and, for the test, of {len(test)} "
        f"others; {edition([*train.values(), *test.values()])}",
        kind="text",
        train=sequences("".join(train.values()), length),
        test=sequences("".join(test.values()), length),
        classes=len(VOCABULARY),
        vocabulary=VOCABULARY,
    )


def sequences(text: str, length: int) -> Split:
    """The text's tokens, cut into sequences, and the token that follows each."""
    table = np.full(128, VOCABULARY.index("?"))
    table[[ord(character) for character in VOCABULARY]] = range(len(VOCABULARY))
    tokens = torch.from_numpy(table[np.frombuffer(text.encode("ascii", "replace"), np.uint8)])
    count = (len(tokens) - 1) // length
    inputs, targets = (tokens[first : first + count * length].reshape(count, length) for first in (0, 1))
    return Split(inputs, targets)
