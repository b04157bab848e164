"""GNMT as MLPerf Training v0.5 to v0.7 had it: layers and names are those of its PyTorch reference.

The paper's network has 8 layers on either side; MLPerf's has 4 ("GNMT v2"), whose decoder's first layer alone asks the
attention, once for all time steps, and hands what it found to all others.  Teacher forcing makes all of a layer's
inputs known before it starts, so that only its recurrent product is serial.
"""

from dataclasses import replace

from quaver.sim.chain import TokenChain
from quaver.sim.layers import MatMul
from quaver.sim.network import Workload
from quaver.sim.vector_layers import Vector

SOURCE = (
    "Wu et al., Google's Neural Machine Translation System, arXiv:1609.08144, as in MLPerf Training's rnn_translator"
)
VOCABULARY = 32320
"""Tokens shared by English and German: 32317, padded to a multiple of 8."""
TOKENS = 50
"""Tokens of a source and of a target: the longest in training (`max-length-train`)."""
WIDTH = 1024
LAYERS = 4
"""Of the encoder, and of the decoder."""


def gnmt() -> Workload:
    """4 + 4 LSTM layers of 1024 units with additive attention between them."""
    both = TokenChain(rows=2 * TOKENS, width=WIDTH)
    both.embedding("embedder", VOCABULARY)
    both.vector("embedder.dropout", "dropout")
    _encoder(replace(both, rows=TOKENS), "encoder")
    _decoder(replace(both, rows=TOKENS), "decoder")
    return Workload(name="gnmt", source=SOURCE, layers=tuple(both.layers))


def _encoder(chain: TokenChain, name: str) -> None:
    backwards = chain.fork()
    _lstm(chain, f"{name}.rnn_layers.0")
    _lstm(backwards, f"{name}.rnn_layers.0", "_reverse")
    chain.width += backwards.width
    for layer in range(1, LAYERS):
        chain.vector(f"{name}.dropout.{layer}", "dropout")
        _lstm(chain, f"{name}.rnn_layers.{layer}")
        if layer >= 2:
            chain.add(f"{name}.add.{layer}")


def _decoder(chain: TokenChain, name: str) -> None:
    _lstm(chain, f"{name}.att_rnn.rnn")
    _attention(chain, f"{name}.att_rnn.attn")
    for layer in range(LAYERS - 1):
        chain.width += WIDTH  # what the attention found stands beside each layer's input
        chain.vector(f"{name}.dropout.{layer}", "dropout")
        _lstm(chain, f"{name}.rnn_layers.{layer}")
        if layer >= 1:
            chain.add(f"{name}.add.{layer}")
    chain.linear(f"{name}.classifier.classifier", VOCABULARY)
    chain.loss()


def _lstm(chain: TokenChain, name: str, direction: str = "") -> None:
    """A layer of cells over all time steps, its two products named as PyTorch names their matrices."""
    chain.linear(f"{name}.ih_l0{direction}", 4 * WIDTH)
    recurrent = replace(chain, width=WIDTH)
    recurrent.linear(f"{name}.hh_l0{direction}", 4 * WIDTH, serial=True)
    inputs = chain.elements + recurrent.elements
    chain.width = WIDTH
    chain.layers.append(Vector(name=f"{name}.cell{direction}", kind="lstm_cell", outputs=chain.elements, inputs=inputs))


def _attention(chain: TokenChain, name: str) -> None:
    """Normalised additive attention: scores are g v . tanh(q + k + b) / |v| for each pair of a query and a key."""
    chain.fork().linear(f"{name}.linear_q", WIDTH, bias=False)
    chain.fork().linear(f"{name}.linear_k", WIDTH, bias=False)
    pairs = TOKENS * TOKENS
    operands = 2 * chain.elements
    chain.layers.append(Vector(name=f"{name}.add", kind="add", outputs=pairs * WIDTH, inputs=operands))
    sums = replace(chain, rows=pairs)
    sums.vector(f"{name}.normalize_bias", "bias", parameters=WIDTH)
    sums.vector(f"{name}.tanh", "tanh")
    sums.linear(f"{name}.linear_att", 1, bias=False)
    sums.vector(f"{name}.normalize_scalar", "scale", parameters=1)
    sums.vector(f"{name}.softmax", "softmax")
    chain.layers.append(MatMul(name=f"{name}.context", m=TOKENS, k=TOKENS, n=WIDTH))
