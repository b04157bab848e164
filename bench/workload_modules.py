"""Networks that neither torchvision nor transformers has, as modules of PyTorch's, written after the publications."""

from itertools import pairwise

import torch
from torch import Tensor, nn


class LeNet(nn.Module):
    """PyTorch's tutorial network on a padded image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.pool1, self.pool2 = nn.MaxPool2d(2), nn.MaxPool2d(2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)
        self.relu1, self.relu2, self.relu3, self.relu4 = (nn.ReLU() for _ in range(4))

    def forward(self, image: Tensor) -> Tensor:
        maps = self.pool1(self.relu1(self.conv1(image)))
        maps = self.pool2(self.relu2(self.conv2(maps)))
        return self.fc3(self.relu4(self.fc2(self.relu3(self.fc1(maps.flatten(1))))))


class CifarBlock(nn.Module):
    """Two convolutions beside a shortcut of option A."""

    def __init__(self, before: int, width: int) -> None:
        super().__init__()
        self.stride, self.missing = width // before, width - before
        self.conv1 = nn.Conv2d(before, width, 3, stride=self.stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1, self.bn2, self.relu = nn.BatchNorm2d(width), nn.BatchNorm2d(width), nn.ReLU()

    def forward(self, image: Tensor) -> Tensor:
        shortcut = nn.functional.pad(image[..., :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(image))))) + shortcut)


class CifarResNet(nn.Module):
    """He et al., section 4.2: 6 n + 2 layers."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        for stage, (before, width) in enumerate(pairwise((16, 16, 32, 64)), start=1):
            rest = (CifarBlock(width, width) for _ in range(blocks - 1))
            self.add_module(f"layer{stage}", nn.Sequential(CifarBlock(before, width), *rest))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(64, 10)

    def forward(self, image: Tensor) -> Tensor:
        maps = self.relu(self.bn1(self.conv1(image)))
        return self.fc(self.avgpool(self.layer3(self.layer2(self.layer1(maps)))).flatten(1))


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


class NeuMf(nn.Module):
    """MLPerf Training's recommendation: a matrix factorisation beside a perceptron."""

    def __init__(self, *, users: int = 138493, items: int = 26744, factors: int = 64) -> None:
        super().__init__()
        sizes = (256, 256, 128, 64)
        self.mf_user_embed, self.mf_item_embed = nn.Embedding(users, factors), nn.Embedding(items, factors)
        self.mlp_user_embed, self.mlp_item_embed = (nn.Embedding(count, sizes[0] // 2) for count in (users, items))
        self.mlp = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.relu = nn.ModuleList(nn.ReLU() for _ in self.mlp)
        self.final = nn.Linear(factors + sizes[-1], 1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        states = torch.cat((self.mlp_user_embed(user), self.mlp_item_embed(item)), -1)
        for layer, relu in zip(self.mlp, self.relu, strict=True):
            states = relu(layer(states))
        return self.final(torch.cat((self.mf_user_embed(user) * self.mf_item_embed(item), states), -1))
