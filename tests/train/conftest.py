"""What holds for all tests of training."""

from collections.abc import Iterator

import pytest

from quaver.train.training import one_thread


@pytest.fixture(autouse=True)
def pytorch_on_one_thread() -> Iterator[None]:
    """Small sums take ages where threads wait for one another."""
    with one_thread():
        yield
