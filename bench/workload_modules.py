"""A network that neither torchvision, transformers nor `quaver.train` has, written after its publication."""

import torch
from torch import Tensor, nn


class AdditiveAttention(nn.Module):
    """MLPerf's normalised additive attention of each query to each key."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_q, self.linear_k = (nn.Linear(width, width, bias=False) for _ in range(2))
        self.linear_att = nn.Parameter(torch.ones(width))
        self.normalize_bias, self.normalize_scalar = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.ones(1))

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        pairs = self.linear_q(queries)[:, :, None] + self.linear_k(keys)[:, None] + self.normalize_bias
        direction = self.linear_att / self.linear_att.norm() * self.normalize_scalar
        scores = torch.tanh(pairs) @ direction[:, None]
        return scores.squeeze(-1).softmax(-1) @ keys


class GnmtEncoder(nn.Module):
    """A layer in both directions, then layers in one, the third and later ones beside a shortcut."""

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        sizes = (width, 2 * width, *[width] * (layers - 2))
        self.rnn_layers = nn.ModuleList(
            nn.LSTM(size, width, bidirectional=index == 0, batch_first=True) for index, size in enumerate(sizes)
        )

    def forward(self, states: Tensor) -> Tensor:
        for index, layer in enumerate(self.rnn_layers):
            new, _ = layer(states)
            states = new + states if index >= 2 else new
        return states


class GnmtDecoder(nn.Module):
    """A layer that asks the attention, then layers that see its answer; the third and later ones beside a shortcut."""

    def __init__(self, layers: int, width: int, vocabulary: int) -> None:
        super().__init__()
        self.att_rnn = nn.ModuleDict({"rnn": nn.LSTM(width, width, batch_first=True), "attn": AdditiveAttention(width)})
        self.rnn_layers = nn.ModuleList(nn.LSTM(2 * width, width, batch_first=True) for _ in range(layers - 1))
        self.classifier = nn.ModuleDict({"classifier": nn.Linear(width, vocabulary)})

    def forward(self, states: Tensor, encoded: Tensor) -> Tensor:
        states, _ = self.att_rnn["rnn"](states)
        context = self.att_rnn["attn"](states, encoded)
        for index, layer in enumerate(self.rnn_layers):
            new, _ = layer(torch.cat((states, context), -1))
            states = new + states if index >= 1 else new
        return self.classifier["classifier"](states)


class Gnmt(nn.Module):
    """MLPerf Training's rnn_translator, whose tables of both languages are one."""

    def __init__(self, *, layers: int = 4, width: int = 1024, vocabulary: int = 32320) -> None:
        super().__init__()
        self.embedder = nn.Embedding(vocabulary, width)
        self.encoder, self.decoder = GnmtEncoder(layers, width), GnmtDecoder(layers, width, vocabulary)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decoder(self.embedder(target), self.encoder(self.embedder(source)))
