"""GPT-2, the smallest: layers and names are those of Hugging Face's GPT2LMHeadModel.

The matrix before the softmax is the table of tokens.
"""

from quaver.sim.chain import TokenChain
from quaver.sim.network import Workload

SOURCE = "Radford et al., Language Models are Unsupervised Multitask Learners, OpenAI 2019, table 2, as released"
TOKENS = 1024
"""Tokens of a context, and rows of the table of positions."""
VOCABULARY = 50257
LAYERS, WIDTH, HEADS = 12, 768, 12


def gpt2_small() -> Workload:
    """12 layers of 768 elements a token and 12 heads."""
    chain = TokenChain(rows=TOKENS, width=WIDTH)
    chain.embedding("transformer.wte", VOCABULARY)
    chain.embedding("transformer.wpe", TOKENS)
    chain.add("transformer.add")
    chain.vector("transformer.drop", "dropout")
    for layer in range(LAYERS):
        _block(chain, f"transformer.h.{layer}")
    chain.layer_norm("transformer.ln_f")
    chain.linear("lm_head", VOCABULARY, bias=False, tied=True)
    chain.loss()
    return Workload(name="gpt2_small", source=SOURCE, layers=tuple(chain.layers))


def _block(chain: TokenChain, name: str) -> None:
    chain.layer_norm(f"{name}.ln_1")
    chain.linear(f"{name}.attn.c_attn", 3 * WIDTH)
    chain.attention(f"{name}.attn", width=WIDTH, heads=HEADS, keys=TOKENS, dropout=True)
    chain.close_residual(f"{name}.attn.c_proj", f"{name}.attn.resid_dropout", f"{name}.add_1", WIDTH)
    chain.layer_norm(f"{name}.ln_2")
    chain.linear(f"{name}.mlp.c_fc", 4 * WIDTH)
    chain.vector(f"{name}.mlp.act", "gelu")
    chain.close_residual(f"{name}.mlp.c_proj", f"{name}.mlp.dropout", f"{name}.add_2", WIDTH)
