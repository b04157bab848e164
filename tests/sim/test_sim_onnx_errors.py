"""What the import of ONNX files reports as unknown, and what it refuses."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quaver.sim.onnx_import import load_onnx
from tests.sim.onnx_models import imported, node

X = {"x": [1, 8, 12, 10]}


def test_unknown_operators_are_reported(tmp_path: Path) -> None:
    nodes = [
        node("Relu", ["x"], ["h"]),
        node("LRN", ["h"], ["i"], name="norm", size=5),
        node("LRN", ["i"], ["j"], size=5),
        node("ConvTranspose", ["j", "w"], ["k"], name="up"),
        node("Resize", ["k", "", "", "sizes"], ["l"], name="large", mode="linear"),
        node("Resize", ["l", "", "", "sizes"], ["m"], mode="nearest"),
        node("Conv", ["m", "m"], ["y"], name="dynamic"),
        node("Conv", ["v", "f"], ["z"], name="volume"),
    ]
    weights: dict[str, Any] = {"w": [8, 8, 1, 1], "sizes": np.array([1, 8, 24, 20]), "f": [2, 8, 1, 1, 1]}
    found = imported(tmp_path, nodes, X | {"v": [1, 8, 2, 2, 2]}, weights, ("y", "z"))
    assert [layer.name for layer in found.workload.layers] == ["Relu1"]
    assert found.unknown == {
        "LRN": ("norm", "j"),
        "ConvTranspose": ("up",),
        "Resize of mode linear": ("large",),
        "Conv with computed filters": ("dynamic",),
        "Conv along 3 axes": ("volume",),
    }
    assert found.free == {"Resize": 1}
    assert found.to_dict() == {
        "free": {"Resize": 1},
        "unknown": [{"type": kind, "count": len(names), "names": list(names)} for kind, names in found.unknown.items()],
    }


MATRIX = [node("MatMul", ["x", "w"], ["y"], name="a")]
ERRORS: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "an open dimension": (
        (MATRIX, {"x": [1, "T", 8]}, {"w": [8, 6]}),
        {},
        "dimension 'T' of input 'x' has no size; it must be given",
    ),
    "a dimension without a name": (
        (MATRIX, {"x": [1, None, 8]}, {"w": [8, 6]}),
        {},
        "dimension number 1 of input 'x' has no size; it must be given",
    ),
    "an input without a shape": (
        (MATRIX, {"x": None}, {"w": [8, 6]}),
        {},
        "input 'x' must be a tensor with a shape",
    ),
    "different first axes": (
        ([node("Add", ["x", "z"], ["y"])], {"x": [2, 1, 4], "z": [3, 4]}),
        {},
        "first axes of inputs must be the batch, not 2, 3, unless the batch is given",
    ),
    "a batch that does not divide": (
        ([node("ReduceSum", ["x"], ["h"], keepdims=0), node("Sqrt", ["h"], ["y"], name="root")], {"x": [4, 3]}),
        {},
        "node 'h' (ReduceSum): 1 elements cannot be shared by the batch of 4 inputs",
    ),
    "a shape that is missing": (
        ([node("Mystery", ["x"], ["h"], domain="mine"), node("Relu", ["h"], ["y"], name="r")], {"x": [1, 8]}),
        {},
        "node 'r' (Relu): the shape of 'y' is unknown",
    ),
    "matrices that do not fit": (
        (MATRIX, {"x": [1, 5]}, {"w": [8, 6]}),
        {},
        "node 'a' (MatMul): a matrix of 8 rows cannot follow one of 5 columns",
    ),
    "groups that do not divide": (
        ([node("Conv", ["x", "w"], ["y"], name="c", group=3)], X, {"w": [6, 2, 3, 3]}),
        {},
        "node 'c' (Conv): c: groups must divide in_channels = 8 and out_channels = 6, not 3",
    ),
    "negative padding": (
        ([node("Conv", ["x", "w"], ["y"], name="c", pads=[-1, 0, 0, 0])], X, {"w": [6, 8, 3, 3]}),
        {},
        "node 'c' (Conv): c: height of padding must be an integer in 0..16777216, not -1",
    ),
    "no layer": (
        ([node("Identity", ["x"], ["h"]), node("LRN", ["h"], ["y"], size=5)], X),
        {},
        "has no operator that is a layer, but LRN",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_the_file_and_the_node(tmp_path: Path, case: str) -> None:
    parts, arguments, message = ERRORS[case]
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / 'm.onnx'))}.*{re.escape(message)}$"):
        imported(tmp_path, *parts, **arguments)


def test_what_the_inference_refuses(tmp_path: Path) -> None:
    parts = [node("Mystery", ["x"], ["y"], domain="theirs")], {"x": [1, 8]}
    with pytest.raises(ValueError, match=r"m\.onnx: .*No opset import for domain theirs") as error:
        imported(tmp_path, *parts)
    assert "\n" not in str(error.value)


def test_arguments_out_of_range(tmp_path: Path) -> None:
    for arguments, message in (({"batch": 0}, "batch must be"), ({"sizes": {"T": 0}}, "size of dimension T must be")):
        with pytest.raises(ValueError, match=message):
            imported(tmp_path, MATRIX, {"x": [1, "T", 8]}, {"w": [8, 6]}, **arguments)


@pytest.mark.parametrize("content", [b"", b"no model", b"\x08\x07", bytes(range(256))])
def test_files_that_are_no_models(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))} is no ONNX model"):
        load_onnx(path)


def test_importing_quaver_imports_no_onnx() -> None:
    code = "import sys, quaver.sim, quaver.sim.onnx_import, quaver.sim.torch_import; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "quaver.sim.onnx_import" in loaded
    assert not {"onnx", "torch", "google.protobuf"} & set(loaded)
