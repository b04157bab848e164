"""Products of activations as modules: what a network multiplies besides its weights."""

from torch import Tensor, matmul, nn


class MatMul(nn.Module):
    """The product of two tensors that were both computed, as of attention; `torch.matmul` without parameters.

    A module of its own, so that it has a name and can be exchanged as layers with weights are.
    """

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(..., M, K) times (..., K, N) is (..., M, N)."""
        return matmul(a, b)
