"""Layers that do not multiply matrices: they run on the vector unit, beside the array.

What an operation is: an addition, multiplication, comparison, or one look-up of exp, tanh, reciprocal or reciprocal
root; each takes a lane for a cycle.  The formulas are those of the textbook; how often a kind reads its tensors follows
from what must be known before the first output, a row of at most a few thousand elements being held in the unit.
"""

from dataclasses import dataclass

from quaver.golden.errors import check_choice, check_range

_MAX = 1 << 40


@dataclass(frozen=True, kw_only=True)
class Kind:
    """What a kind of layer costs per element of its output, or per element under the window of a pooling."""

    formula: str
    """Forward, then backward, from which the operations are counted."""
    forward: int
    """Operations of a forward pass in training."""
    backward: int
    """Operations of a backward pass."""
    inference: int
    """Operations of a forward pass alone."""
    passes: int = 1
    """Times that its input is read in training, forward and backward alike."""
    inference_passes: int = 1
    """Times that its input is read in a forward pass alone."""
    users: int = 1
    """Tensors of gradients that its backward pass reads: more than one where a tensor has other users."""
    saved: str = "none"
    """What the backward pass reads beside the gradients: the layer's `input`, its `output`, or `none`."""


KINDS = {
    "relu": Kind(formula="max(x, 0); dy where y > 0", forward=1, backward=1, inference=1, saved="output"),
    "relu6": Kind(formula="min(max(x, 0), 6); dy where 0 < y < 6", forward=2, backward=2, inference=2, saved="output"),
    "sigmoid": Kind(formula="1 / (1 + exp(-x)); dy y (1 - y)", forward=3, backward=3, inference=3, saved="output"),
    "tanh": Kind(formula="tanh(x); dy (1 - y^2)", forward=1, backward=3, inference=1, saved="output"),
    "leaky_relu": Kind(formula="max(x, a x); dy or a dy", forward=2, backward=2, inference=2, saved="input"),
    "elu": Kind(formula="x or a (exp(x) - 1); dy or dy (y + a)", forward=4, backward=3, inference=4, saved="output"),
    "hard_sigmoid": Kind(
        formula="min(max(a x + b, 0), 1); a dy where 0 < y < 1", forward=4, backward=3, inference=4, saved="output"
    ),
    "hard_swish": Kind(
        formula="x h, h = hard_sigmoid(x); dy (h + a x) where 0 < h < 1, dy h elsewhere",
        forward=5,
        backward=9,
        inference=5,
        saved="input",
    ),
    "silu": Kind(
        formula="x s, s = sigmoid(x); dy s (1 + x (1 - s))", forward=4, backward=8, inference=4, saved="input"
    ),
    "gelu": Kind(
        formula="x (1 + t) / 2, t = tanh(x (c + d x^2)); dy ((1 + t) / 2 + x (1 - t^2) (c + 3 d x^2) / 2)",
        forward=8,
        backward=16,
        inference=8,
        saved="input",
    ),
    "softmax": Kind(
        formula="e / sum(e), e = exp(x - max(x)); y (dy - sum(y dy))",
        forward=5,
        backward=4,
        inference=5,
        saved="output",
    ),
    "add": Kind(
        formula="x + z; the gradients of both users of the sum are added", forward=1, backward=1, inference=1, users=2
    ),
    "mul": Kind(
        formula="x z; dy z and dy x, summed where z is broadcast", forward=1, backward=3, inference=1, saved="input"
    ),
    "div": Kind(
        formula="x r, r = 1 / z; dx = dy r and -dx x r, summed where z is broadcast",
        forward=2,
        backward=5,
        inference=2,
        saved="input",
    ),
    "elementwise": Kind(
        formula="one operation, such as exp or a comparison; dy times one more",
        forward=1,
        backward=2,
        inference=1,
        saved="input",
    ),
    "scale": Kind(formula="c x; c dy", forward=1, backward=1, inference=1),
    "dropout": Kind(formula="x m / (1 - p); dy m / (1 - p)", forward=1, backward=1, inference=0),
    "bias": Kind(formula="x + b; sum(dy)", forward=1, backward=1, inference=1),
    "batch_norm": Kind(
        formula="sum(x), sum(x^2), then x s + t; sum(dy), sum(dy x^), then (dy - c - x^ d) s, x^ = (x - m) r",
        forward=5,
        backward=11,
        inference=2,
        passes=2,
        saved="input",
    ),
    "layer_norm": Kind(
        formula="sum(x), sum(x^2), then x^ = (x - m) r, x^ g + b; as of batch_norm, and sum(dy), sum(dy x^) per column",
        forward=7,
        backward=13,
        inference=7,
        saved="input",
    ),
    "group_norm": Kind(
        formula="layer_norm over channels and places, too many to be held: read once for the sums and once for y",
        forward=7,
        backward=13,
        inference=7,
        passes=2,
        inference_passes=2,
        saved="input",
    ),
    "rms_norm": Kind(
        formula="sum(x^2), then x^ = x r, x^ g; sum(dy g x^), (dy g - c x^) r, and sum(dy x^) per column",
        forward=4,
        backward=9,
        inference=4,
        saved="input",
    ),
    "max_pool": Kind(
        formula="max over the window; dy to its place", forward=1, backward=1, inference=1, saved="output"
    ),
    "avg_pool": Kind(formula="sum over the window; dy to all of it", forward=1, backward=1, inference=1),
    "reduce": Kind(
        formula="sum, product or maximum over a window; dy times one factor to all of it",
        forward=1,
        backward=1,
        inference=1,
        saved="input",
    ),
    "lstm_cell": Kind(
        formula="per hidden unit, c' = f c + i g, h = o tanh(c'), f, i, o sigmoids and g a tanh of the sums of two "
        "products; their derivatives",
        forward=19,
        backward=22,
        inference=19,
        saved="input",
    ),
    "gru_cell": Kind(
        formula="per hidden unit, h' = n + z (h - n), z and r sigmoids of the sums of two products, n a tanh of the "
        "sum of one and r times another; their derivatives",
        forward=14,
        backward=16,
        inference=14,
        saved="input",
    ),
    "cross_entropy": Kind(
        formula="log(sum(exp(x - max(x)))) - x at the label; softmax minus the label",
        forward=5,
        backward=2,
        inference=0,
        saved="output",
    ),
}
"""Kinds of vector layers, by name."""


@dataclass(frozen=True, kw_only=True)
class Vector:
    """An element-wise, normalising or pooling layer."""

    name: str
    """Name in reports, unique in a workload."""
    kind: str
    """One of `KINDS`."""
    outputs: int
    """Elements written per input of the network."""
    inputs: int | None = None
    """Elements read; None for as many as `outputs`."""
    window: int = 1
    """Elements that an output is made of, of a pooling."""
    parameters: int = 0
    """Scales, shifts and biases that are learnt."""

    def __post_init__(self) -> None:
        check_choice(f"{self.name}: kind", self.kind, KINDS)
        check_range(f"{self.name}: outputs", self.outputs, 1, _MAX)
        check_range(f"{self.name}: inputs", self.reads, 1, _MAX)
        check_range(f"{self.name}: window", self.window, 1, _MAX)
        check_range(f"{self.name}: parameters", self.parameters, 0, _MAX)

    @property
    def reads(self) -> int:
        """Elements read per input of the network."""
        return self.outputs if self.inputs is None else self.inputs

    @property
    def macs(self) -> int:
        """None: what it multiplies is no matrix."""
        return 0


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """Rows of a table that are looked up; its gradient is added to the same rows."""

    name: str
    """Name in reports, unique in a workload."""
    entries: int
    """Rows of the table."""
    width: int
    """Elements of a row."""
    rows: int
    """Rows looked up per input."""
    tied: bool = False
    """Whether the table is another layer's: no parameters of its own, and no update."""

    def __post_init__(self) -> None:
        for field in ("entries", "width", "rows"):
            check_range(f"{self.name}: {field}", getattr(self, field), 1, _MAX)

    @property
    def parameters(self) -> int:
        """Elements of the table, unless it is tied."""
        return 0 if self.tied else self.entries * self.width

    @property
    def macs(self) -> int:
        """None: a table is read."""
        return 0
