"""What a data set is: two parts of tensors, and what a model has to know of them."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Literal, NamedTuple, get_args

import torch

from quaver.golden.errors import check_choice, check_range

Kind = Literal["images", "text", "interactions"]
_FORMS = {
    "images": ((torch.float32, 4), (torch.int64, 1)),
    "text": ((torch.int64, 2), (torch.int64, 2)),
    "interactions": ((torch.int64, 2), (torch.float32, 1)),
}
"""Type and number of axes of the inputs and the targets of each kind; a test of interactions has an axis more."""


class Split(NamedTuple):
    """A part of a data set; the first axis of both tensors counts its examples."""

    inputs: torch.Tensor
    """What a model is given."""
    targets: torch.Tensor
    """What it should answer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DataSet:
    """Examples to train and to test with.

    Of images the inputs are float32 (N, C, H, W), normalised by `mean` and `deviation`, the targets their classes,
    int64 (N,).
    Of text the inputs are tokens, int64 (N, L), the targets the token that follows each of them, int64 (N, L).
    Of interactions the inputs are pairs of a user and an item that met, int64 (N, 2), the targets ones, float32 (N,);
    the test has a row for each user, of pairs with candidates, int64 (users, candidates, 2), and float32 targets
    (users, candidates): 1 for the first candidate, which the user met, 0 for the others, which it never met (He et al.,
    Neural Collaborative Filtering, WWW 2017, section 4.1: the rank of one item held out among 99).

    Raises
    ------
    ValueError
        Unless shapes, types and ranges are such.
    """

    name: str
    """Name in reports."""
    source: str
    """One sentence: where the examples come from, and how they are split."""
    kind: Kind
    """What the examples are."""
    train: Split
    """Examples to learn from."""
    test: Split
    """Examples to judge by."""
    classes: int
    """Classes of images, tokens of the vocabulary, or items."""
    mean: tuple[float, ...] = ()
    """Mean of the training images' pixels before they were normalised, per channel, where white is 1."""
    deviation: tuple[float, ...] = ()
    """Standard deviation, likewise."""
    vocabulary: str = ""
    """The character of each token, where tokens are characters."""
    users: int = 0
    """Users, of interactions."""

    def __post_init__(self) -> None:
        check_choice(f"{self.name}: kind", self.kind, get_args(Kind))
        check_range(f"{self.name}: classes", self.classes, 1, 1 << 31)
        if self.kind == "interactions":
            check_range(f"{self.name}: users", self.users, 1, 1 << 31)
        for part in ("train", "test"):
            self._check(part, getattr(self, part))

    def _check(self, part: str, split: Split) -> None:
        extra = self.kind == "interactions" and part == "test"
        for (field, tensor), (kind, axes) in zip(split._asdict().items(), _FORMS[self.kind], strict=True):
            if tensor.dtype != kind or tensor.ndim != axes + extra:
                form = f"{kind} with {axes + extra} axes, not {tensor.dtype} with {tensor.ndim}"
                raise ValueError(f"{self.name}: {field} of {part} must be {form}".replace("torch.", ""))
        inputs, targets = split
        shape = {"images": inputs.shape[:1], "text": inputs.shape, "interactions": inputs.shape[:-1]}[self.kind]
        if targets.shape != shape:
            raise ValueError(f"{self.name}: targets of {part} must be {tuple(shape)}, not {tuple(targets.shape)}")
        if not inputs.numel():
            raise ValueError(f"{self.name}: {part} must not be empty")
        if self.kind == "interactions":
            if inputs.shape[-1] != 2:
                raise ValueError(f"{self.name}: inputs of {part} must be pairs, not of {inputs.shape[-1]} numbers")
            self._check_range(f"users of {part}", inputs[..., 0], self.users)
            self._check_range(f"items of {part}", inputs[..., 1], self.classes)
            wanted = torch.zeros_like(targets)
            wanted[(..., 0) if extra else ...] = 1
            if not torch.equal(targets, wanted):
                ones = "1 for the first candidate of each user and 0 for the others" if extra else "1"
                raise ValueError(f"{self.name}: targets of {part} must be {ones}")
        else:
            self._check_range(f"targets of {part}", targets, self.classes)
            if self.kind == "text":
                self._check_range(f"inputs of {part}", inputs, self.classes)
            elif not inputs.isfinite().all():
                raise ValueError(f"{self.name}: inputs of {part} must be finite")

    def _check_range(self, what: str, numbers: torch.Tensor, count: int) -> None:
        for number in (int(numbers.min()), int(numbers.max())):
            check_range(f"{self.name}: {what}", number, 0, count - 1)

    def digest(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of all examples: the same for the same data."""
        state = sha256()
        for tensor in (*self.train, *self.test):
            state.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            state.update(tensor.contiguous().numpy())
        return state.hexdigest()[:16]
