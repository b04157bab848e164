"""Modules of PyTorch, through its exporter."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from quaver.sim.imported import Imported
from quaver.sim.layers import Conv2d, Linear, MatMul
from quaver.sim.torch_import import load_module
from quaver.sim.torch_operators import TRANSLATIONS
from quaver.sim.vector_layers import Embedding, Vector

# PyTorch's own, about its own code.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*_flat_weights:UserWarning"),
    pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def known(module: nn.Module, *inputs: Tensor, **arguments: Any) -> Imported:
    """What is imported, none of it unknown, with all of the module's parameters."""
    found = load_module(module, inputs, **arguments)
    assert not found.unknown
    assert found.workload.parameters == sum(parameter.numel() for parameter in module.parameters())
    return found


class Block(nn.Module):
    """A residual block with a depthwise convolution, an activation that runs twice and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=True)
        self.shortcut = nn.AvgPool2d(2)
        self.same = nn.Conv2d(8, 12, (2, 3), padding="same")
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.act(self.norm(self.depthwise(images))) + self.shortcut(images)
        x = functional.max_pool2d(self.act(self.same(x)), 2)
        return self.fc(self.dropout(functional.adaptive_avg_pool2d(x, 1).flatten(1)))


@pytest.mark.parametrize("batch", [1, 3])
def test_layers_of_a_block(batch: int) -> None:
    found = known(Block(), torch.zeros(batch, 8, 16, 16), name="block")
    assert found.workload.name == "block"
    assert found.workload.layers == (
        Conv2d(
            name="depthwise",
            in_channels=8,
            out_channels=8,
            size=(16, 16),
            kernel=(3, 3),
            stride=(2, 2),
            padding=(1, 1),
            groups=8,
        ),
        Vector(name="norm", kind="batch_norm", outputs=512, parameters=16),
        Vector(name="act", kind="relu", outputs=512, inputs=512),
        Vector(name="shortcut", kind="avg_pool", outputs=512, inputs=2048, window=4),
        Vector(name="add", kind="add", outputs=512, inputs=1024),
        Conv2d(
            name="same",
            in_channels=8,
            out_channels=12,
            size=(8, 8),
            kernel=(2, 3),
            padding=(0, 1),
            end_padding=(1, 1),
            bias=True,
        ),
        Vector(name="act#2", kind="relu", outputs=768, inputs=768),
        Vector(name="max_pool2d", kind="max_pool", outputs=192, inputs=768, window=4),
        Vector(name="adaptive_avg_pool2d", kind="avg_pool", outputs=12, inputs=192, window=16),
        Vector(name="dropout", kind="dropout", outputs=12, inputs=12),
        Linear(name="fc", in_features=12, out_features=5),
    )
    assert "Flatten" in found.free


def test_evaluation_drops_nothing() -> None:
    names = [layer.name for layer in known(Block().eval(), torch.zeros(1, 8, 16, 16)).workload.layers]
    assert "norm" in names
    assert "dropout" not in names


class Tied(nn.Module):
    """A language model whose table is its last matrix; the positions are a parameter, the mask is none."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.positions = nn.Parameter(torch.zeros(6, 16))
        self.register_buffer("offset", torch.ones(6, 16))
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True, activation="gelu")
        self.head = nn.Linear(16, 50, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(ids) + self.positions + self.offset))


def test_a_transformer_with_tied_weights() -> None:
    layers = known(Tied(), torch.zeros(2, 6, dtype=torch.long)).workload.layers
    assert layers[:3] == (
        Embedding(name="embed", entries=50, width=16, rows=6),
        Vector(name="positions", kind="bias", outputs=96, inputs=96, parameters=96),
        Vector(name="offset", kind="bias", outputs=96, inputs=96),
    )
    assert layers[3:9] == (
        Linear(name="layer.self_attn.in_proj_weight", in_features=16, out_features=48, rows=6),
        MatMul(name="layer.self_attn.scores", m=6, k=4, n=6, count=4),
        Vector(name="layer.self_attn.scale", kind="scale", outputs=144),
        Vector(name="layer.self_attn.softmax", kind="softmax", outputs=144),
        MatMul(name="layer.self_attn.context", m=6, k=6, n=4, count=4),
        Linear(name="layer.self_attn.out_proj", in_features=16, out_features=16, rows=6),
    )
    assert [layer.name for layer in layers[9:]] == [
        *("layer.add", "layer.norm1", "layer.linear1", "layer.gelu", "layer.linear2", "layer.add#2", "layer.norm2"),
        "head",
    ]
    assert layers[-1] == Linear(name="head", in_features=16, out_features=50, rows=6, bias=False, tied=True)


@pytest.mark.parametrize(("cells", "gates", "kind"), [(nn.LSTM, 4, "lstm_cell"), (nn.GRU, 3, "gru_cell")])
def test_recurrent_layers(cells: type[nn.Module], gates: int, kind: str) -> None:
    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = cells(6, 5, 2, bidirectional=True, dropout=0.1)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0].relu()

    layers = known(Network(), torch.zeros(7, 1, 6), batch=1).workload.layers
    assert [layer.name for layer in layers] == [
        *(f"rnn.l0{direction}.{part}" for direction in ("", "_reverse") for part in ("ih", "hh", "cell")),
        "rnn.dropout0",
        *(f"rnn.l1{direction}.{part}" for direction in ("", "_reverse") for part in ("ih", "hh", "cell")),
        "relu",
    ]
    assert layers[0] == Linear(name="rnn.l0.ih", in_features=6, out_features=gates * 5, rows=7)
    assert layers[4] == Linear(name="rnn.l0_reverse.hh", in_features=5, out_features=gates * 5, rows=7, serial=True)
    assert layers[6] == Vector(name="rnn.dropout0", kind="dropout", outputs=70, inputs=70)
    assert layers[7] == Linear(name="rnn.l1.ih", in_features=10, out_features=gates * 5, rows=7)
    assert layers[9] == Vector(name="rnn.l1.cell", kind=kind, outputs=35, inputs=2 * 7 * gates * 5)


class Odd(nn.Module):
    """An operator that PyTorch takes apart into known ones, and two that stay unknown."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 4, 2)
        self.matrix = nn.Parameter(torch.zeros(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("nchw,cd->nhwd", torch.linalg.matrix_exp(self.up(x)), self.matrix)


def test_unknown_operators_are_taken_apart_or_reported() -> None:
    found = load_module(Odd(), (torch.zeros(2, 4, 5, 5),))
    (layer,) = found.workload.layers
    assert isinstance(layer, Linear)
    assert (layer.in_features, layer.out_features, layer.rows, layer.parameters) == (4, 3, 36, 12)
    assert found.unknown == {"ConvTranspose": ("up",), "linalg_matrix_exp": ("linalg_matrix_exp",)}


def test_failures_name_the_module() -> None:
    with pytest.raises(ValueError, match=r"^Block: torch\.export fails: \S.*$") as error:
        load_module(Block(), (torch.zeros(1, 7, 16, 16),))
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="batch must be an integer in 1"):
        load_module(Block(), (torch.zeros(1, 8, 16, 16),), batch=0)
    with pytest.raises(ValueError, match=r"^block, node 'depthwise' \(Conv\): 2 elements cannot be shared by"):
        load_module(Block(), (torch.zeros(2, 8, 16, 16),), name="block", batch=4)


def test_translations_are_of_operators_that_exist() -> None:
    missing = {name for name in TRANSLATIONS if not hasattr(torch.ops.aten, name)}
    assert not missing
    assert len(TRANSLATIONS) > 150
