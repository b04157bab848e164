"""Neural collaborative filtering (NeuMF): names are those of MLPerf Training v0.5's PyTorch reference.

An input is a pair of a user and an item.
"""

from collections.abc import Sequence
from dataclasses import replace

from quaver.sim.chain import TokenChain
from quaver.sim.network import Workload

SOURCE = "He et al., Neural Collaborative Filtering, WWW 2017"


def ncf() -> Workload:
    """The sizes of MLPerf Training v0.5, for MovieLens 20M and the items of it that somebody rated."""
    source = f"{SOURCE}, as in MLPerf Training's recommendation"
    return _neumf("ncf", source, users=138493, items=26744, factors=64, perceptron=(256, 256, 128, 64))


def ncf_small() -> Workload:
    """The paper's perceptron of 8 factors with tables 16 wide, for the users and items of MovieLens 100K.

    `quaver.train` trains this network on the users and items that its data have.
    """
    source = f"{SOURCE}, section 4.1, with the tables of MovieLens 100K"
    return _neumf("ncf_small", source, users=943, items=1682, factors=16, perceptron=(32, 32, 16, 8))


def _neumf(name: str, source: str, *, users: int, items: int, factors: int, perceptron: Sequence[int]) -> Workload:
    """A matrix factorisation beside a perceptron, and a layer that joins them.

    `factors` are the elements of a user and of an item in the matrix factorisation; `perceptron` are the inputs and the
    layers of the perceptron, and half of the inputs are a user's and half an item's.
    """
    chain = TokenChain(rows=1, width=factors)
    _tables(chain, "mf", users, items)
    chain.vector("mf_mul", "mul", beside=factors)
    chain = replace(chain, width=perceptron[0] // 2)
    _tables(chain, "mlp", users, items)
    chain.width = perceptron[0]
    for index, features in enumerate(perceptron[1:]):
        chain.linear(f"mlp.{index}", features)
        chain.vector(f"relu.{index}", "relu")
    chain.width += factors
    chain.linear("final", 1)
    chain.loss()  # of one logit: whether they met
    return Workload(name=name, source=source, layers=tuple(chain.layers))


def _tables(chain: TokenChain, part: str, users: int, items: int) -> None:
    chain.embedding(f"{part}_user_embed", users)
    chain.embedding(f"{part}_item_embed", items)
