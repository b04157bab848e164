"""Neural collaborative filtering (NeuMF) as MLPerf Training v0.5 had it: names are those of its PyTorch reference.

An input is a pair of a user and an item of MovieLens 20M.
"""

from dataclasses import replace

from quaver.sim.chain import TokenChain
from quaver.sim.network import Workload

SOURCE = "He et al., Neural Collaborative Filtering, WWW 2017, as in MLPerf Training's recommendation"
USERS = 138493
ITEMS = 26744
"""Items that somebody rated."""
FACTORS = 64
"""Elements of a user and of an item in the matrix factorisation."""
PERCEPTRON = (256, 256, 128, 64)
"""Inputs and layers of the perceptron; half of the inputs are a user's and half an item's."""


def ncf() -> Workload:
    """A matrix factorisation beside a perceptron of 3 layers, and a layer that joins them."""
    factors = TokenChain(rows=1, width=FACTORS)
    _tables(factors, "mf")
    factors.vector("mf_mul", "mul", beside=FACTORS)
    chain = replace(factors, width=PERCEPTRON[0] // 2)
    _tables(chain, "mlp")
    chain.width = PERCEPTRON[0]
    for index, features in enumerate(PERCEPTRON[1:]):
        chain.linear(f"mlp.{index}", features)
        chain.vector(f"relu.{index}", "relu")
    chain.width += FACTORS
    chain.linear("final", 1)
    chain.loss()  # of one logit: whether they met
    return Workload(name="ncf", source=SOURCE, layers=tuple(chain.layers))


def _tables(chain: TokenChain, part: str) -> None:
    chain.embedding(f"{part}_user_embed", USERS)
    chain.embedding(f"{part}_item_embed", ITEMS)
