"""Export ResNet-50 with PyTorch's ONNX exporter, weights left out: writes tests/sim/data/resnet50.textproto.

The module is Hugging Face's, whose default configuration is ResNet-50 v1.5 (strides in the 3 x 3 convolutions).  The
versions that made the file are in its metadata; builds of PyTorch for the CPU will do:

    pip install torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 transformers==5.24.0
"""

from importlib.metadata import version
from pathlib import Path

import onnx
import torch
from transformers import ResNetConfig, ResNetForImageClassification

OUTPUT = Path(__file__).parents[1] / "tests/sim/data/resnet50.textproto"
TOOLS = ("torch", "onnxscript", "transformers", "onnx")


def exported() -> onnx.ModelProto:
    """The network with its batch left open; not optimised, since that folds the batch normalisations into filters."""
    module = ResNetForImageClassification(ResNetConfig(num_labels=1000)).eval()
    images = torch.zeros(2, 3, 224, 224)  # a batch of one would be taken for a constant
    shapes = {"pixel_values": {0: "batch"}}
    program = torch.onnx.export(module, (images,), dynamo=True, optimize=False, dynamic_shapes=shapes)
    return program.model_proto


def strip(model: onnx.ModelProto) -> None:
    """Leave out the weights' data, as if it were in a file beside, shapes that follow, and the exporter's notes."""
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue  # a mean's axes
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="left_out")
    graph.ClearField("value_info")
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    for tool in TOOLS:
        model.metadata_props.add(key=tool, value=version(tool))


if __name__ == "__main__":
    model = exported()
    strip(model)
    onnx.save(model, OUTPUT, format="textproto")
