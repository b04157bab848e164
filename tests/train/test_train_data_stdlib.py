"""Text and interactions from the standard library: small sources worked out by hand, and what holds for real ones."""

import platform
import re
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from quaver.train import data_stdlib
from quaver.train.data import DataSet, load_data
from quaver.train.data_interactions import ITEM_LEAST, NEGATIVES, USER_LEAST, frequent, names_of_functions
from quaver.train.data_text import TEST, TRAIN, VOCABULARY, sequences, stdlib_text

FUNCTIONS = """
import a

@cached
def f(b: int):
    c.d = b
    def g(e):
        return h(e)
    return c.d(b, i=1)

class C:
    d = 2
    async def j(self):
        return (await self.d).k(lambda l: l).m

if n:
    def o(): ...
"""


def sources(modules: str) -> str:
    """What the files have, read by another way."""
    return "".join((data_stdlib.FOLDER / f"{name}.py").read_bytes().decode() for name in modules.split())


def test_tokens_and_what_follows_them() -> None:
    split = sequences("ab\n cé\t~xyz", 3)
    place = VOCABULARY.index
    assert split.inputs.tolist() == [[place(c) for c in row] for row in ("ab\n", " c?", "?~x")]
    assert split.targets.tolist() == [[place(c) for c in row] for row in ("b\n ", "c??", "~xy")]
    assert sequences("abcd", 3).targets.tolist() == [[place(c) for c in "bcd"]]
    assert sequences("abc", 3).inputs.shape == (0, 3)


def test_the_vocabulary() -> None:
    assert len(VOCABULARY) == len(set(VOCABULARY)) == 96
    assert {c for c in map(chr, range(128)) if c.isprintable()} | {"\n"} == set(VOCABULARY)


def test_the_text() -> None:
    """The sources come back from the tokens; a tenth is for the test, and of other files."""
    data = load_data("stdlib-text")
    assert (data.kind, data.classes, data.vocabulary) == ("text", 96, VOCABULARY)
    for split, modules in ((data.train, TRAIN), (data.test, TEST)):
        assert modules.split() == sorted(modules.split())
        assert split.inputs.shape == split.targets.shape == (len(split.inputs), 64)
        assert torch.equal(split.inputs.flatten()[1:], split.targets.flatten()[:-1])
        told = "".join(VOCABULARY[token] for token in split.inputs.flatten().tolist())
        wanted = re.sub(r"[^\n -~]", "?", sources(modules))
        assert len(wanted) - len(told) in range(1, 65)
        assert wanted.startswith(told)
    assert not set(TRAIN.split()) & set(TEST.split())
    assert data.train.inputs.numel() in range(900_000, 1_500_000)
    assert data.test.inputs.numel() in range(80_000, 150_000)
    digest = sha256((sources(TRAIN) + sources(TEST)).encode()).hexdigest()[:12]
    assert data.source == (
        "Characters of 19 source files of the standard library and, for the test, of 4 others; "
        f"Python {platform.python_version()}, sha256 {digest}"
    )


def test_other_lengths() -> None:
    data = stdlib_text(100)
    assert data.train.inputs.shape[1] == data.test.targets.shape[1] == 100
    with pytest.raises(ValueError, match=r"^length must be an integer in 1\.\.1024, not 0$"):
        stdlib_text(0)


def test_names_in_the_order_of_use() -> None:
    assert names_of_functions(FUNCTIONS) == [
        ["cached", "int", "c", "d", "b", "h", "e"],
        ["self", "d", "k", "l", "m"],
        [],
    ]


def test_what_is_rare_is_dropped_until_nothing_is() -> None:
    """Without the user of few names, a name is rare, without which the next user has too few."""
    common = [f"n{place}" for place in range(USER_LEAST)]
    many = [[*common, "often"] for _ in range(ITEM_LEAST - 1)]
    chain = [[*common[:-1], "seldom"], ["seldom", "often", "alone"]]
    assert ITEM_LEAST == 5
    assert frequent([*many, *chain]) == []  # n9 is in four functions only
    assert frequent([*many, [*common, "often"], *chain]) == [[*common, "often"]] * 5
    enough = [["seldom"]] * (ITEM_LEAST - 1)
    assert frequent([*many, [*common, "often"], chain[0], *enough]) == [[*common, "often"]] * 5


@pytest.fixture(scope="module")
def names() -> DataSet:
    return load_data("stdlib-names")


def test_the_names(names: DataSet) -> None:
    """Each user has a candidate that it met last, and others that it never met."""
    data = names
    assert data.kind == "interactions"
    assert data.users in range(1000, 3001)
    assert data.classes in range(500, 3001)
    assert data.test.inputs.shape == (data.users, 1 + NEGATIVES, 2) == (data.users, 100, 2)
    pairs = {tuple(pair) for pair in data.train.inputs.tolist()}
    assert len(pairs) == len(data.train.inputs)
    held_out = data.test.inputs[:, 0].tolist()
    assert [user for user, _ in held_out] == list(range(data.users))
    met = pairs | {(user, item) for user, item in held_out}
    assert len(met) == len(pairs) + data.users
    for user, row in enumerate(data.test.inputs[:, 1:].tolist()):
        assert {other for other, _ in row} == {user}
        assert len({item for _, item in row}) == NEGATIVES
        assert not met & {(user, item) for _, item in row}
    counts = [Counter(pair[axis] for pair in met) for axis in (0, 1)]
    assert [len(count) for count in counts] == [data.users, data.classes]
    assert min(counts[0].values()) >= USER_LEAST
    assert min(counts[1].values()) >= ITEM_LEAST
    version = re.escape(platform.python_version())
    assert re.fullmatch(
        r"Functions of \d{3} source files of the standard library and the names that they use, the last one held out "
        rf"for the test, among 99 others; Python {version}, sha256 [0-9a-f]{{12}}",
        data.source,
    )


def test_another_process_reads_the_same(names: DataSet) -> None:
    """Whatever order sets have there."""
    code = "from quaver.train.data import load_data; print(load_data('stdlib-names').digest())"
    run = subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": "12345"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [names.digest()]


def test_a_library_without_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_stdlib, "FOLDER", tmp_path)
    message = f"{tmp_path}: it has none of the standard library's source files {', '.join(TRAIN.split())}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load_data("stdlib-text")
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path))}: it has none of the standard library's source"):
        load_data("stdlib-names")
