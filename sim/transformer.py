"""The Transformer for translation, base and big: layers and names are those of Hugging Face's MarianMTModel.

One table embeds the tokens of both languages and is the matrix before the softmax, too.  Projections have biases, as
in PyTorch's and Hugging Face's modules.  Dropout is where the paper has it: after each sub-layer, and after the sums
of embeddings and positions, which are constants.  The paper prints 65 and 213 million parameters; no one vocabulary
gives both, and "about 37000" tokens give 63.1 and 214.2 million.
"""

from collections.abc import Iterable
from dataclasses import replace

from quaver.sim.chain import TokenChain
from quaver.sim.network import Workload

SOURCE = "Vaswani et al., Attention Is All You Need, NeurIPS 2017, table 3"
VOCABULARY = 37000
"""Tokens shared by English and German (section 5.1)."""
TOKENS = 64
"""Tokens of a source and of a target: a choice, since the paper fills batches with pairs of all lengths."""
LAYERS = 6
"""Of the encoder, and of the decoder."""


def transformer_base() -> Workload:
    """512 elements a token and 8 heads."""
    return _transformer("transformer_base", width=512, heads=8)


def transformer_big() -> Workload:
    """1024 elements a token and 16 heads."""
    return _transformer("transformer_big", width=1024, heads=16)


def _transformer(name: str, *, width: int, heads: int) -> Workload:
    both = TokenChain(rows=2 * TOKENS, width=width)
    both.embedding("model.shared", VOCABULARY)
    both.vector("model.shared.scale", "scale")
    both.add("model.shared.add_positions")
    both.vector("model.shared.dropout", "dropout")
    for side, attentions in (("encoder", ("self_attn",)), ("decoder", ("self_attn", "encoder_attn"))):
        chain = replace(both, rows=TOKENS)
        for layer in range(LAYERS):
            _layer(chain, f"model.{side}.layers.{layer}", attentions, heads)
    chain.linear("lm_head", VOCABULARY, bias=False, tied=True)
    chain.loss()
    return Workload(name=name, source=SOURCE, layers=tuple(both.layers))


def _layer(chain: TokenChain, name: str, attentions: Iterable[str], heads: int) -> None:
    width = chain.width
    for attention in attentions:
        part = f"{name}.{attention}"
        # Sources are as long as targets, so that the keys of either attention are as many.
        for operand in "qkv":
            chain.linear(f"{part}.{operand}_proj", width)
        chain.attention(part, width=width, heads=heads, keys=TOKENS, dropout=False)
        chain.close_residual(f"{part}.out_proj", f"{part}_dropout", f"{part}_add", width)
        chain.layer_norm(f"{part}_layer_norm")
    chain.linear(f"{name}.fc1", 4 * width)
    chain.vector(f"{name}.activation_fn", "relu")
    chain.close_residual(f"{name}.fc2", f"{name}.dropout", f"{name}.add", width)
    chain.layer_norm(f"{name}.final_layer_norm")
