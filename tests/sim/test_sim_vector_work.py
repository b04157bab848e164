"""Chains of vector layers: what shares a pass, what is read and written, by hand."""

import pytest

from quaver.golden import RECIPES
from quaver.sim.vector_layers import KINDS, Embedding, Vector
from quaver.sim.vector_work import (
    Chain,
    VectorWork,
    chain_backward,
    chain_forward,
    chains,
    gradient_sum,
    lookup,
    scatter,
)

HYBRID = RECIPES["hybrid"]
"""8-bit activations, weights and errors, 16 bits in between."""


def vector(kind: str, outputs: int = 10, **changes: int) -> Vector:
    return Vector(name=kind, kind=kind, outputs=outputs, **changes)


BN, RELU, ADD = vector("batch_norm", parameters=4), vector("relu"), vector("add", inputs=20)


@pytest.mark.parametrize(
    ("layers", "training", "expected"),
    [
        ([BN, RELU], True, [["batch_norm", "relu"]]),
        ([RELU, BN], True, [["relu"], ["batch_norm"]]),
        ([RELU, BN], False, [["relu", "batch_norm"]]),
        ([BN, BN, ADD, RELU], True, [["batch_norm"], ["batch_norm", "add", "relu"]]),
        ([RELU, vector("max_pool", 5, inputs=10, window=4)], True, [["relu", "max_pool"]]),
        ([RELU, vector("group_norm"), RELU], False, [["relu"], ["group_norm", "relu"]]),
        ([vector("relu", 20), vector("relu", 10)], True, [["relu"], ["relu"]]),
        ([], True, []),
    ],
)
def test_what_shares_a_pass(layers: list[Vector], training: bool, expected: list[list[str]]) -> None:
    assert [[layer.kind for layer in chain] for chain in chains(layers, training=training)] == expected


def test_a_block_of_resnet() -> None:
    """Batch norm of 10 wide results, a residual of 10 activations, ReLU; two inputs."""
    chain = Chain(layers=(BN, ADD, RELU), wide=True)
    assert (chain.names, chain.entered, chain.joined, chain.outputs) == (("batch_norm", "add", "relu"), 10, 10, 10)
    train = chain_forward(chain, 2, HYBRID, training=True)
    assert train == VectorWork(operations=2 * 10 * (5 + 1 + 1), reads=2 * (2 * 10 * 2 + 10), writes=2 * 10, bits=16)
    infer = chain_forward(chain, 2, HYBRID, training=False)
    assert infer == VectorWork(operations=2 * 10 * (2 + 1 + 1), reads=2 * (10 * 2 + 10), writes=2 * 10, bits=16)
    # Backward: the gradients twice and those of the sum's other user, the input twice, the output for the ReLU; the sum
    # within the chain is computed again.  Gradients of the input and of the residual leave.
    back = chain_backward(chain, 2, HYBRID)
    assert back.operations == 2 * 10 * (11 + 5 + 1 + 1 + 1 + 1)
    assert back.reads == 2 * (2 * 10 + 10 + 2 * 10 * 2 + 10)
    assert back.writes == 2 * (10 + 10)


def test_a_chain_of_one() -> None:
    """ReLU needs its output alone, nothing is computed again."""
    chain = Chain(layers=(RELU,), wide=False)
    assert chain_forward(chain, 1, HYBRID, training=True) == VectorWork(operations=10, reads=10, writes=10, bits=16)
    assert chain_backward(chain, 1, HYBRID) == VectorWork(operations=10, reads=20, writes=10, bits=16)


def test_pooling_works_on_windows() -> None:
    pool = Chain(layers=(vector("avg_pool", 5, inputs=45, window=9),), wide=True)
    assert chain_forward(pool, 1, HYBRID, training=True) == VectorWork(operations=45, reads=90, writes=5, bits=16)
    assert chain_backward(pool, 1, HYBRID) == VectorWork(operations=45, reads=5, writes=45, bits=16)


def test_tables() -> None:
    table = Embedding(name="e", entries=1000, width=8, rows=3)
    assert lookup(table, 2, HYBRID) == VectorWork(operations=48, reads=48, writes=48, bits=16)
    assert scatter(table, 2, HYBRID) == VectorWork(operations=48, reads=48 + 96, writes=96, bits=16)
    assert gradient_sum(7, HYBRID) == VectorWork(operations=7, reads=28, writes=14, bits=16)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_told(kind: str) -> None:
    """Its formula, and costs that a pass can have."""
    found = KINDS[kind]
    assert found.formula
    assert found.forward >= found.inference >= 0
    assert found.forward > 0 and found.backward > 0
    assert found.passes in (1, 2) and found.users in (1, 2)
    assert found.saved in ("input", "output", "none")
