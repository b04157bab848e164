"""Interactions: functions of the standard library and the names that they use."""

import ast
import sys
from collections import Counter
from collections.abc import Iterator

import numpy as np
import torch

from quaver.train.data_set import DataSet, Split
from quaver.train.data_stdlib import edition, module_sources

USER_LEAST = 10
"""Different names that a function must use: He et al. keep users of 20 interactions, which few functions have."""
ITEM_LEAST = 5
"""Functions that must use a name."""
NEGATIVES = 99
"""Names in the test of each function that it does not use."""
SEED = 0
"""Of the generator that draws them."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def stdlib_names() -> DataSet:
    """Which function or method (a user) uses which name (an item): all that is known are the names that it does use.

    The functions are those of the standard library's public modules that are a single file.  Variables, functions and
    attributes are names.  That which a function comes to use last is held out for the test, as is the latest
    interaction by He et al., Neural Collaborative Filtering, WWW 2017, section 4.1.
    """
    sources = module_sources(name for name in sys.stdlib_module_names if not name.startswith("_"))
    used = frequent([names for source in sources.values() for names in names_of_functions(source)])
    items = {name: index for index, name in enumerate(sorted({name for names in used for name in names}))}
    met = [[items[name] for name in names] for names in used]
    train = torch.tensor([(user, item) for user, row in enumerate(met) for item in row[:-1]])
    test = torch.from_numpy(_candidates(met, len(items)))
    wanted = torch.zeros(test.shape[:2])
    wanted[:, 0] = 1
    return DataSet(
        name="stdlib-names",
        source=f"Functions of {len(sources)} source files of the standard library and the names that they use, the "
        f"last one held out for the test, among {NEGATIVES} others; {edition(sources.values())}",
        kind="interactions",
        train=Split(train, torch.ones(len(train))),
        test=Split(test, wanted),
        classes=len(items),
        users=len(met),
    )


def names_of_functions(source: str) -> list[list[str]]:
    """Different names that each outermost function uses, in the order of their first use."""
    found = []
    for function in _functions(ast.parse(source)):
        nodes = [node for node in ast.walk(function) if isinstance(node, ast.Name | ast.Attribute)]
        nodes.sort(key=lambda node: (node.end_lineno, node.end_col_offset))  # where its name ends
        found.append(list(dict.fromkeys(node.id if isinstance(node, ast.Name) else node.attr for node in nodes)))
    return found


def _functions(node: ast.AST) -> Iterator[_Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Function):
            yield child
        else:
            yield from _functions(child)


def frequent(used: list[list[str]]) -> list[list[str]]:
    """What is left when rare names and then functions of few names are dropped, until there are none of either."""
    while True:
        counts = Counter(name for names in used for name in names)
        kept = [[name for name in names if counts[name] >= ITEM_LEAST] for names in used]
        kept = [names for names in kept if len(names) >= USER_LEAST]
        if kept == used:
            return kept
        used = kept


def _candidates(met: list[list[int]], items: int) -> np.ndarray:
    """int64 (users, 1 + NEGATIVES, 2): each user with the last item that it met and with items that it never met."""
    generator = np.random.default_rng(SEED)
    pairs = np.empty((len(met), 1 + NEGATIVES, 2), np.int64)
    for user, row in enumerate(met):
        others = np.setdiff1d(np.arange(items), row)
        pairs[user, :, 0] = user
        pairs[user, 0, 1] = row[-1]
        pairs[user, 1:, 1] = generator.choice(others, NEGATIVES, replace=False)
    return pairs
