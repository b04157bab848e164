"""A recommender; names of its parts are those of the simulator's workloads `ncf` and `ncf_small`."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


class NeuMf(nn.Module):
    """A matrix factorisation beside a perceptron, and a layer that joins them.

    He et al., Neural Collaborative Filtering, WWW 2017, equation 12, without pre-training.  Tables start as in the
    paper's section 4.1: normal, of deviation 0.01.
    """

    def __init__(
        self, *, users: int, items: int, factors: int = 16, perceptron: Sequence[int] = (32, 32, 16, 8)
    ) -> None:
        super().__init__()
        width = perceptron[0] // 2
        self.mf_user_embed, self.mf_item_embed = nn.Embedding(users, factors), nn.Embedding(items, factors)
        self.mlp_user_embed, self.mlp_item_embed = nn.Embedding(users, width), nn.Embedding(items, width)
        self.mlp = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(perceptron))
        self.relu = nn.ModuleList(nn.ReLU() for _ in self.mlp)
        self.final = nn.Linear(factors + perceptron[-1], 1)
        for table in (self.mf_user_embed, self.mf_item_embed, self.mlp_user_embed, self.mlp_item_embed):
            nn.init.normal_(table.weight, std=0.01)

    def forward(self, pairs: Tensor) -> Tensor:
        """(N, 2) of users and items become (N,) logits of their having met."""
        user, item = pairs.unbind(-1)
        states = torch.cat((self.mlp_user_embed(user), self.mlp_item_embed(item)), -1)
        for layer, relu in zip(self.mlp, self.relu, strict=True):
            states = relu(layer(states))
        return self.final(torch.cat((self.mf_user_embed(user) * self.mf_item_embed(item), states), -1)).squeeze(-1)
