"""BERT in pre-training: layers and names are those of Hugging Face's BertForPreTraining.

Sequences are the 512 tokens of the paper's second phase (its first 90 % of the steps have 128).  The network is whole:
embeddings, encoder, pooler and both heads.  The masked language model's head, which shares its matrix with the word
embeddings, runs on the masked tokens alone, 15 % of them, as in the authors' code.
"""

from dataclasses import replace

from quaver.sim.chain import TokenChain
from quaver.sim.network import Workload

SOURCE = "Devlin et al., BERT: Pre-training of Deep Bidirectional Transformers, NAACL 2019, section 3 and appendix A.2"
TOKENS = 512
"""Positions of a sequence, and rows of the table of positions."""
PREDICTIONS = 76
"""Masked tokens of a sequence: 15 % of 512, and `max_predictions_per_seq` of MLPerf's BERT."""
VOCABULARY = 30522
"""Word pieces of the uncased models."""
SEGMENTS = 2
"""Sentences in a sequence."""


def bert_base() -> Workload:
    """12 layers of 768 elements a token and 12 heads."""
    return _bert("bert_base", layers=12, width=768, heads=12)


def bert_large() -> Workload:
    """24 layers of 1024 elements a token and 16 heads."""
    return _bert("bert_large", layers=24, width=1024, heads=16)


def _bert(name: str, *, layers: int, width: int, heads: int) -> Workload:
    chain = TokenChain(rows=TOKENS, width=width)
    _embeddings(chain, "bert.embeddings")
    for layer in range(layers):
        _layer(chain, f"bert.encoder.layer.{layer}", heads)
    pooled = replace(chain, rows=1)
    pooled.linear("bert.pooler.dense", width)
    pooled.vector("bert.pooler.activation", "tanh")
    pooled.linear("cls.seq_relationship", SEGMENTS)
    pooled.loss("next_sentence_loss")
    _masked_tokens(replace(chain, rows=PREDICTIONS), "cls.predictions")
    return Workload(name=name, source=SOURCE, layers=tuple(chain.layers))


def _embeddings(chain: TokenChain, name: str) -> None:
    for table, entries in (("word", VOCABULARY), ("token_type", SEGMENTS), ("position", TOKENS)):
        chain.embedding(f"{name}.{table}_embeddings", entries)
    chain.add(f"{name}.add_token_type")
    chain.add(f"{name}.add_position")
    chain.layer_norm(f"{name}.LayerNorm")
    chain.vector(f"{name}.dropout", "dropout")


def _layer(chain: TokenChain, name: str, heads: int) -> None:
    width = chain.width
    for operand in ("query", "key", "value"):
        chain.linear(f"{name}.attention.self.{operand}", width)
    chain.attention(f"{name}.attention.self", width=width, heads=heads, keys=chain.rows, dropout=True)
    _output(chain, f"{name}.attention.output", width)
    chain.linear(f"{name}.intermediate.dense", 4 * width)
    chain.vector(f"{name}.intermediate.intermediate_act_fn", "gelu")
    _output(chain, f"{name}.output", width)


def _output(chain: TokenChain, name: str, width: int) -> None:
    chain.close_residual(f"{name}.dense", f"{name}.dropout", f"{name}.add", width)
    chain.layer_norm(f"{name}.LayerNorm")


def _masked_tokens(chain: TokenChain, name: str) -> None:
    chain.linear(f"{name}.transform.dense", chain.width)
    chain.vector(f"{name}.transform.transform_act_fn", "gelu")
    chain.layer_norm(f"{name}.transform.LayerNorm")
    chain.linear(f"{name}.decoder", VOCABULARY, tied=True)
    chain.loss("masked_lm_loss")
