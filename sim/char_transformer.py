"""A language model of characters, small enough to be trained anywhere: GPT-2's blocks, each projection a layer.

The matrix before the softmax is no table's, and nothing is dropped.  `quaver.train` trains this network.
"""

from quaver.sim.chain import TokenChain
from quaver.sim.network import Workload

SOURCE = "own sizes; blocks of Radford et al., Language Models are Unsupervised Multitask Learners, OpenAI 2019"
TOKENS = 64
"""Characters of a context, and rows of the table of positions."""
VOCABULARY = 96
"""The end of a line and the printable characters of ASCII: a choice; other texts have other characters."""
LAYERS, WIDTH, HEADS = 2, 64, 4


def char_transformer() -> Workload:
    """2 layers of 64 elements a character and 4 heads."""
    chain = TokenChain(rows=TOKENS, width=WIDTH)
    chain.embedding("tokens", VOCABULARY)
    chain.embedding("positions", TOKENS)
    chain.add("add")
    for layer in range(LAYERS):
        _block(chain, f"blocks.{layer}")
    chain.layer_norm("norm")
    chain.linear("head", VOCABULARY, bias=False)
    chain.loss()
    return Workload(name="char_transformer", source=SOURCE, layers=tuple(chain.layers))


def _block(chain: TokenChain, name: str) -> None:
    chain.layer_norm(f"{name}.norm_1")
    for operand in "qkv":
        chain.linear(f"{name}.attention.{operand}", WIDTH)
    chain.attention(f"{name}.attention", width=WIDTH, heads=HEADS, keys=TOKENS, dropout=False)
    chain.linear(f"{name}.attention.out", WIDTH)
    chain.add(f"{name}.add_1")
    chain.layer_norm(f"{name}.norm_2")
    chain.linear(f"{name}.fc1", 4 * WIDTH)
    chain.vector(f"{name}.gelu", "gelu")
    chain.linear(f"{name}.fc2", WIDTH)
    chain.add(f"{name}.add_2")
