"""A language model; names of its parts are those of the simulator's workload `char_transformer`."""

import torch
from torch import Tensor, nn

from quaver.train.products import MatMul


class Attention(nn.Module):
    """Causal self-attention of several heads.

    Vaswani et al., Attention Is All You Need, NeurIPS 2017, equation 1; scores of later tokens are computed, too, and
    left out by the softmax.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.scores, self.context = MatMul(), MatMul()

    def forward(self, states: Tensor) -> Tensor:
        """(N, L, width) becomes (N, L, width)."""
        q, k, v = (self._split(project(states)) for project in (self.q, self.k, self.v))
        later = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=states.device).triu(1)
        scores = (self.scores(q, k.transpose(-2, -1)) * self.scale).masked_fill(later, -torch.inf)
        context = self.context(scores.softmax(-1), v)
        return self.out(context.transpose(1, 2).flatten(2))

    def _split(self, states: Tensor) -> Tensor:
        """(N, L, width) becomes (N, heads, L, width / heads)."""
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """An attention and a feed-forward network, each normalised before and beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.fc1, self.gelu, self.fc2 = nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width)

    def forward(self, states: Tensor) -> Tensor:
        """(N, L, width) becomes (N, L, width)."""
        states = states + self.attention(self.norm_1(states))
        return states + self.fc2(self.gelu(self.fc1(self.norm_2(states))))


class CharTransformer(nn.Module):
    """A decoder-only Transformer with learnt positions, whose last matrix is no table's.

    Blocks of Radford et al., Language Models are Unsupervised Multitask Learners, OpenAI 2019; tables start normal, of
    deviation 1 / sqrt(width), as in Tensor2Tensor's Transformer, so that a row's norm is about 1.
    """

    def __init__(
        self, *, vocabulary: int = 96, context: int = 64, width: int = 64, heads: int = 4, layers: int = 2
    ) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=width**-0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L) tokens become (N, L, vocabulary) scores of the next ones; L is at most `context`."""
        places = torch.arange(tokens.shape[-1], device=tokens.device)
        return self.head(self.norm(self.blocks(self.tokens(tokens) + self.positions(places))))
