"""Losses and metrics against what the papers' formulas give by hand."""

import math

import pytest
import torch
from torch import Tensor, nn

from quaver.train.data_set import Split
from quaver.train.tasks import TASKS, task_of

IMAGES, TEXT, INTERACTIONS = (task_of(kind) for kind in ("images", "text", "interactions"))


class Table(nn.Module):
    """Answers each input, a number, with a row of a table; notes how it was asked."""

    def __init__(self, rows: object) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.as_tensor(rows))
        self.calls: list[tuple[int, bool, bool]] = []

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls.append((len(inputs), self.training, torch.is_grad_enabled()))
        return self.rows[inputs]


class Logits(Table):
    """The same for items of pairs."""

    def forward(self, pairs: Tensor) -> Tensor:
        return super().forward(pairs[:, 1])


EVEN = [[math.log(0.5), math.log(0.25), math.log(0.25)], [math.log(0.1), math.log(0.8), math.log(0.1)]]
"""Logarithms of probabilities: halves and quarters, and tenths."""


def test_loss_of_classes() -> None:
    """The mean of -log(p) of the right class."""
    loss = IMAGES.loss(torch.tensor(EVEN), torch.tensor([1, 1]))
    assert float(loss) == pytest.approx((-math.log(0.25) - math.log(0.8)) / 2)


def test_loss_of_interactions() -> None:
    """The mean of -log(p) of those that met and -log(1 - p) of the others, p a sigmoid."""
    loss = INTERACTIONS.loss(torch.tensor([math.log(3), math.log(4)]), torch.tensor([1.0, 0.0]))
    assert float(loss) == pytest.approx((-math.log(3 / 4) - math.log(1 / 5)) / 2)


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_accuracy(batch: int) -> None:
    """Three of five are right, whatever the batch; the last one may be smaller."""
    split = Split(torch.tensor([0, 0, 1, 1, 0]), torch.tensor([0, 1, 1, 1, 2]))
    numbers = IMAGES.evaluate(Table(EVEN), split, batch)
    loss = -(math.log(0.5) + 2 * math.log(0.25) + 2 * math.log(0.8)) / 5
    assert numbers == {"loss": pytest.approx(loss), "accuracy": 60.0}


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_perplexity(batch: int) -> None:
    """Three sequences of two tokens: probabilities 1/2 four times and 1/4 twice are 8 bits for 6 tokens."""
    split = Split(torch.tensor([[0, 0], [0, 0], [0, 0]]), torch.tensor([[0, 1], [0, 2], [0, 0]]))
    numbers = TEXT.evaluate(Table(EVEN), split, batch)
    assert numbers == {
        "loss": pytest.approx(8 / 6 * math.log(2)),
        "perplexity": pytest.approx(2 ** (8 / 6)),
        "bits_per_character": pytest.approx(8 / 6),
    }


def test_perplexity_may_be_infinite() -> None:
    split = Split(torch.tensor([[0]]), torch.tensor([[1]]))
    assert TEXT.evaluate(Table([[0.0, -1000.0]]), split, 1)["perplexity"] == math.inf
    assert math.isnan(TEXT.evaluate(Table([[0.0, math.nan]]), split, 1)["perplexity"])


def candidates(*own: int) -> Split:
    """A user for each of `own`: items 0..99 are candidates, and `own` is the one that the user met."""
    pairs = torch.tensor([[(user, item) for item in range(100)] for user in range(len(own))])
    return Split(pairs, torch.tensor([[float(item == met) for item in range(100)] for met in own]))


@pytest.mark.parametrize("batch", [7, 100, 1000])
def test_ranking(batch: int) -> None:
    """Items are ranked by number: those of places 1, 3 and 10 are hits, those of 11 and 100 are none."""
    falling = -torch.arange(100.0)
    numbers = INTERACTIONS.evaluate(Logits(falling), candidates(0, 2, 9, 10, 99), batch)
    loss = numbers.pop("loss")
    assert numbers == {
        "hit_rate_at_10": pytest.approx(3 / 5),
        "ndcg_at_10": pytest.approx((1 + 1 / 2 + 1 / math.log2(11)) / 5),
    }
    terms = [math.log1p(math.exp(-item)) for item in range(100)]  # -log(1 - p); of those that met, -log(p)
    assert loss == pytest.approx((5 * sum(terms) + 0 + 2 + 9 + 10 + 99) / 500, rel=1e-5)


def test_equal_logits_are_ranked_in_all_orders() -> None:
    """A network that knows nothing, or NaN alone, is as good as chance; ties at the cut count in part."""
    chance = {
        "hit_rate_at_10": pytest.approx(1 / 10),
        "ndcg_at_10": pytest.approx(sum(1 / math.log2(place + 1) for place in range(1, 11)) / 100),
    }
    for logits in (torch.zeros(100), torch.full((100,), math.nan)):
        numbers = INTERACTIONS.evaluate(Logits(logits), candidates(0, 50), 64)
        del numbers["loss"]
        assert numbers == chance
    logits = torch.zeros(100)
    logits[:8], logits[8:12] = 2, 1  # four share places 9 to 12
    numbers = INTERACTIONS.evaluate(Logits(logits), candidates(8), 64)
    assert numbers["hit_rate_at_10"] == pytest.approx(2 / 4)
    assert numbers["ndcg_at_10"] == pytest.approx((1 / math.log2(10) + 1 / math.log2(11)) / 4)


def test_nan_and_infinity_are_the_last_and_the_first() -> None:
    for own, hit in ((math.nan, 0.0), (-math.inf, 0.0), (math.inf, 1.0)):
        logits = torch.arange(100.0) - 200
        logits[50] = own
        assert INTERACTIONS.evaluate(Logits(logits), candidates(50), 64)["hit_rate_at_10"] == hit


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", TASKS)
def test_evaluation_leaves_no_trace(kind: str, training: bool) -> None:
    """It runs in evaluation mode without gradients, in batches of the size that was asked for."""
    model, split, sizes = {
        "images": (Table(EVEN), Split(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2])), [2, 1]),
        "text": (Table(EVEN), Split(torch.tensor([[0], [1], [1]]), torch.tensor([[0], [1], [2]])), [2, 1]),
        "interactions": (Logits(torch.zeros(100)), candidates(3), [2] * 50),
    }[kind]
    model.train(training)
    task_of(kind).evaluate(model, split, 2)
    assert model.calls == [(size, False, False) for size in sizes]
    assert model.training is training
    assert torch.is_grad_enabled()


def test_the_mode_comes_back_after_a_failure() -> None:
    model = Table(EVEN)
    with pytest.raises(IndexError):
        IMAGES.evaluate(model, Split(torch.tensor([7]), torch.tensor([0])), 1)
    assert model.training and torch.is_grad_enabled()


@pytest.mark.parametrize("kind", TASKS)
def test_metrics_are_among_the_numbers(kind: str) -> None:
    """A better network has a better metric, in the direction that the task tells."""
    task = task_of(kind)
    worse, better, split = {
        "images": (Table([[0.0, 1.0]]), Table([[1.0, 0.0]]), Split(torch.tensor([0]), torch.tensor([0]))),
        "text": (Table([[0.0, 1.0]]), Table([[1.0, 0.0]]), Split(torch.tensor([[0]]), torch.tensor([[0]]))),
        "interactions": (Logits(torch.arange(100.0)), Logits(-torch.arange(100.0)), candidates(0)),
    }[kind]
    numbers = [task.evaluate(model, split, 8)[task.metric] for model in (worse, better)]
    assert (numbers[0] < numbers[1]) if task.larger_is_better else (numbers[0] > numbers[1])


def test_mistakes() -> None:
    with pytest.raises(ValueError, match=r"^kind must be one of images, text, interactions, not 'sound'$"):
        task_of("sound")
    with pytest.raises(ValueError, match=r"^batch must be an integer in 1\.\.1048576, not 0$"):
        IMAGES.evaluate(Table(EVEN), Split(torch.tensor([0]), torch.tensor([0])), 0)
    message = "split must have a row of candidates for each user, one of which it met"
    pairs, met = candidates(3, 4)
    for wrong in (Split(pairs[0], met[0]), Split(pairs, met + met.roll(1)), Split(pairs, met * met[0])):
        with pytest.raises(ValueError, match=f"^{message}$"):
            INTERACTIONS.evaluate(Logits(torch.zeros(100)), wrong, 100)
