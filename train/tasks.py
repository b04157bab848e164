"""What is learnt from each kind of data: the loss, and numbers that tell how good a network is at it."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from quaver.golden.errors import check_choice, check_range
from quaver.train.data_set import Split

CUT = 10
"""Places of a ranking that count (He et al., Neural Collaborative Filtering, WWW 2017, section 4.1)."""
BATCH_MAX = 1 << 20
"""Inputs of a network that may be evaluated at a time."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learnt from a kind of data."""

    metric: str
    """The one of `evaluate`'s numbers that networks are compared by."""
    larger_is_better: bool
    """Whether a network is the better the larger that number is."""
    loss: Callable[[Tensor, Tensor], Tensor]
    """Mean loss, in nats, of outputs (first) whose targets are known: a scalar."""
    evaluate: Callable[[nn.Module, Split, int], dict[str, float]]
    """Numbers of a network on a split, so many inputs at a time: in evaluation mode, without gradients."""


def cross_entropy(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the softmax of scores (..., classes) for targets (...)."""
    return functional.cross_entropy(scores.flatten(0, -2), targets.flatten())


def classification(model: nn.Module, split: Split, batch: int) -> dict[str, float]:
    """`loss`, and `accuracy`: % of inputs of whose scores that of the right class is the (first) highest."""
    total, right = 0.0, 0
    for scores, targets in _outputs(model, split.inputs, split.targets, batch):
        total += float(cross_entropy(scores, targets)) * len(targets)
        right += int((scores.argmax(-1) == targets).sum())
    return {"loss": total / len(split.targets), "accuracy": 100 * right / len(split.targets)}


def prediction(model: nn.Module, split: Split, batch: int) -> dict[str, float]:
    """`loss` per token, `perplexity` (its exponential), and `bits_per_character` (the loss in bits)."""
    outputs = _outputs(model, split.inputs, split.targets, batch)
    total = sum(float(cross_entropy(scores, targets)) * targets.numel() for scores, targets in outputs)
    loss = torch.tensor(total / split.targets.numel(), dtype=torch.float64)  # whose exponential may be infinite
    return {"loss": float(loss), "perplexity": float(loss.exp()), "bits_per_character": float(loss) / math.log(2)}


def ranking(model: nn.Module, split: Split, batch: int) -> dict[str, float]:
    """`hit_rate_at_10` and `ndcg_at_10`, both 0 to 1, of candidates (users, candidates, 2), and `loss` per candidate.

    A user met one of its candidates.  Where that is at place p = 1..10 of their ranking by logits, its hit counts 1 and
    its discounted gain 1 / log2(p + 1), else 0 (He et al., Neural Collaborative Filtering, WWW 2017, section 4.1).
    Equal logits, of which a network of few bits has many, are ranked in all orders, and the mean is taken: a network
    that knows nothing hits 10 times in 100.  NaN is the lowest logit.

    Raises
    ------
    ValueError
        If there is no row of candidates for each user with one target of 1.
    """
    met = split.targets > 0
    if met.ndim != 2 or bool((met.sum(-1) != 1).any()):
        raise ValueError("split must have a row of candidates for each user, one of which it met")
    outputs = _outputs(model, split.inputs.flatten(0, 1), split.targets.flatten(), batch)
    logits = torch.cat([logits for logits, _ in outputs]).double().reshape(met.shape)
    loss = functional.binary_cross_entropy_with_logits(logits, met.double())
    logits = logits.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    own = logits[met][:, None]
    above, equal = (logits > own).sum(-1), (logits == own).sum(-1)
    places = torch.arange(1, met.shape[1] + 1, dtype=torch.float64)
    counted = (places <= CUT).double()
    hits, gains = (_mean_of_ties(worth, above, equal) for worth in (counted, counted / (places + 1).log2()))
    return {"loss": float(loss), f"hit_rate_at_{CUT}": hits, f"ndcg_at_{CUT}": gains}


def _mean_of_ties(worth: Tensor, above: Tensor, equal: Tensor) -> float:
    """Mean of what places are worth, over users, and for each over the places `above` + 1 ... `above` + `equal`."""
    summed = functional.pad(worth.cumsum(0), (1, 0))
    return float(((summed[above + equal] - summed[above]) / equal).mean())


def _outputs(model: nn.Module, inputs: Tensor, targets: Tensor, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """What the network makes of each batch, and its targets."""
    check_range("batch", batch, 1, BATCH_MAX)
    for some, theirs in zip(inputs.split(batch), targets.split(batch), strict=True):
        with _evaluating(model):
            outputs = model(some)
        yield outputs, theirs


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, for as long as this lasts."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


TASKS = {
    "images": Task(metric="accuracy", larger_is_better=True, loss=cross_entropy, evaluate=classification),
    "text": Task(metric="bits_per_character", larger_is_better=False, loss=cross_entropy, evaluate=prediction),
    "interactions": Task(
        metric=f"hit_rate_at_{CUT}",
        larger_is_better=True,
        loss=functional.binary_cross_entropy_with_logits,
        evaluate=ranking,
    ),
}
"""By kind of data."""


def task_of(kind: str) -> Task:
    """What is learnt from data of a kind; ValueError lists the kinds there are."""
    check_choice("kind", kind, TASKS)
    return TASKS[kind]
