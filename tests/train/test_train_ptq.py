"""Post-training quantisation: exact cases against torch in float64, general ones against fractions, scales by hand."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from quaver.golden import HOPPER_FP8, Accumulator, Arithmetic, ExactSum, Format, encode, gemm, to_float, with_bias
from quaver.golden.catalog import BF16, DLFLOAT16, E4M3, E5M2, FP16, FP32
from quaver.train import layers
from quaver.train.calibration import Calibration, calibrate, placed
from quaver.train.products import MatMul
from quaver.train.ptq import quantise_post_training

EXACT = Arithmetic(inner=ExactSum(), outer=Accumulator(format=FP32), chunk=1024)
"""One rounding per product, to float32."""


def drawn(*shape: int, seed: int, deviation: float = 1.0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(0, deviation, shape)).float()


def whole(*shape: int, seed: int) -> Tensor:
    """Whole numbers of at most 4 bits, which E4M3 has all of."""
    return torch.from_numpy(np.random.default_rng(seed).integers(-15, 16, shape)).float()


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer


def distance(x: Tensor, wanted: Tensor) -> float:
    """Norm of the difference, relative to what is wanted."""
    return float(torch.linalg.vector_norm((x - wanted).detach()) / torch.linalg.vector_norm(wanted.detach()))


class Product(nn.Module):
    """A product of two activations."""

    def __init__(self) -> None:
        super().__init__()
        self.product = MatMul()

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.product(a, b)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.attention, self.tail = nn.Linear(8, 8), nn.MultiheadAttention(8, 2), nn.Linear(8, 4)
        with torch.no_grad():
            for seed, parameter in enumerate(self.parameters()):
                parameter.copy_(drawn(*parameter.shape, seed=seed, deviation=0.4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(self.attention(x, x, x, need_weights=False)[0])


# ---------------------------------------------------------------------------------------------------------- calibration


def test_calibration_by_hand():
    net = nn.Sequential(
        linear(torch.tensor([[1.0, -2.0], [0.5, 0.25]]), torch.tensor([100.0, 0.0])),
        nn.ReLU(),
        linear(torch.tensor([[-3.0, 0.0]])),
    )
    found = calibrate(net, [torch.tensor([[1.0, -4.0]]), torch.tensor([[0.0, 3.0], [-5.0, 0.0]])])
    # 1 + 8 + 100 is the largest that the second layer sees.
    want = (("0", "activation", 5.0), ("0", "weight", 2.0), ("2", "activation", 109.0), ("2", "weight", 3.0))
    assert found.operands == want
    assert found.of("2") == {"activation": 109.0, "weight": 3.0}
    assert found.with_weights == ("0", "2")
    assert Calibration.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert [type(module) for module in net] == [nn.Linear, nn.ReLU, nn.Linear]
    assert net.training


def test_both_activations_of_a_product_are_seen():
    a, b = torch.tensor([[1.0, -7.0]]), torch.tensor([[0.5], [0.25]])
    found = calibrate(Product(), [(a, b), (b, a)])
    assert found.operands == (("product", "activation", 7.0), ("product", "other", 7.0))
    assert calibrate(Product(), [(a, b)]).operands == (("product", "activation", 7.0), ("product", "other", 0.5))
    assert not found.with_weights


def test_calibration_runs_the_model_itself():
    """The tail sees what it sees in PyTorch; dropout is off, as in evaluation."""
    net, x = Attention(), drawn(5, 3, 8, seed=9)
    net.attention.dropout = 0.5
    found = calibrate(net, [x])
    inputs = []
    net.tail.register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach()))
    net.eval()(x)
    assert found.of("tail")["activation"] == pytest.approx(float(inputs[0].abs().max()), rel=1e-5)
    parts = [
        "head",
        *(f"attention.{part}" for part in ("query", "key", "value", "scores", "context", "out_proj")),
        "tail",
    ]
    assert list(dict.fromkeys(name for name, _, _ in found.operands)) == parts
    assert found.of("attention.query")["weight"] == float(net.attention.in_proj_weight[:8].detach().abs().max())


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "batches must reach all products of the model, not miss 0"),
        ([torch.tensor([[1.0, float("inf")]])], "activation of 0 must be finite in all batches"),
    ],
)
def test_messages_of_calibration(batches, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        calibrate(nn.Sequential(nn.Linear(2, 2)), batches)


def test_messages_of_calibrations():
    with pytest.raises(
        ValueError, match=r"^role of an operand of fc must be one of weight, activation, other, not 'x'$"
    ):
        Calibration(operands=(("fc", "x", 1.0),))
    with pytest.raises(ValueError, match=r"^weight of fc must be a finite number of at least 0, not -1\.0$"):
        Calibration(operands=(("fc", "weight", -1.0),))
    with pytest.raises(ValueError, match=r"^name of a product must be one of fc, not 'conv'$"):
        Calibration(operands=(("fc", "weight", 1.0),)).of("conv")


# ---------------------------------------------------------------------------------------------------------- exact cases


@pytest.mark.parametrize("scales", ["power_of_two", "none"])
def test_what_the_format_holds_is_exact(scales):
    """A net of whole numbers: operands of both layers are E4M3's, sums are float32's."""
    first = linear(whole(4, 6, seed=1), whole(4, seed=2))
    net = nn.Sequential(first, nn.Hardtanh(-15, 15), linear(whole(3, 4, seed=3)))
    x = whole(20, 6, seed=4)
    got = quantise_post_training(net, calibrate(net, [x]), scales=scales)(x)
    assert got.abs().max() > 100
    assert torch.equal(got.double(), net.double()(x.double()))


def test_power_of_two_scales_reach_where_the_format_does_not():
    weight, x = whole(4, 6, seed=5) * 2.0**20, whole(9, 6, seed=6) * 2.0**-30
    net = nn.Sequential(linear(weight))
    calibration = calibrate(net, [x])
    want = (x.double() @ weight.double().T).float()
    assert torch.equal(quantise_post_training(net, calibration)(x), want)
    assert not quantise_post_training(net, calibration, scales="none")(x).any()  # 15 * 2^-30 is below half of 2^-9


@pytest.mark.parametrize("groups", [1, 2])
def test_convolutions_are_exact_too(groups):
    layer = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(2, 1), dilation=(1, 2), groups=groups)
    with torch.no_grad():
        layer.weight.copy_(whole(*layer.weight.shape, seed=7))
        layer.bias.copy_(whole(6, seed=8))
    net, x = nn.Sequential(layer), whole(3, 4, 7, 8, seed=9)
    got = quantise_post_training(net, calibrate(net, [x]), scales="none")(x)
    assert torch.equal(got.double(), net.double()(x.double()))


def test_each_activation_of_a_product_has_its_own_scale():
    a, b = whole(2, 3, 5, seed=10) * 2.0**40, whole(2, 5, 4, seed=11) * 2.0**-40
    net = Product()
    got = quantise_post_training(net, calibrate(net, [(a, b)]))(a, b)
    assert torch.equal(got.double(), a.double() @ b.double())


# -------------------------------------------------------------------------------------------------------- general cases


def nearest(x: Fraction, fmt: Format) -> Fraction:
    """The nearest number of a format; of two, that of the even code; the largest where x is larger."""
    numbers = [Fraction(v) for v in to_float(np.arange(fmt.max_code + 1), fmt).tolist()]
    best = min(range(len(numbers)), key=lambda code: (abs(numbers[code] - abs(x)), code % 2))
    return numbers[best] if x >= 0 else -numbers[best]


def fractions(tensor: Tensor) -> list[list[Fraction]]:
    return [[Fraction(value) for value in row] for row in tensor.tolist()]


def float32(x: Fraction) -> np.float32:
    """Rounded once: what is left of 2^-24 of x's float64 is exact enough for a number that is no tie."""
    return np.float32(float(x))


@pytest.mark.parametrize("activation", [E4M3, E5M2])
@pytest.mark.parametrize("weight", [E4M3, E5M2])
@pytest.mark.parametrize("scales", ["none", "power_of_two", "real"])
def test_against_fractions(activation, weight, scales):
    w, x = drawn(4, 9, seed=12, deviation=3e-3), drawn(5, 9, seed=13, deviation=40.0)
    net = nn.Sequential(linear(w))
    arithmetic = Arithmetic(a=activation, b=weight, inner=ExactSum(), outer=Accumulator(format=FP32))
    got = quantise_post_training(net, calibrate(net, [x]), arithmetic=arithmetic, scales=scales)(x)

    def scale(tensor: Tensor, fmt: Format) -> Fraction:
        if scales == "none":
            return Fraction(1)
        ratio = Fraction(fmt.max_finite) / Fraction(float(tensor.abs().max()))
        if scales == "real":
            return Fraction(float(float32(ratio)))
        power = Fraction(1)
        while power > ratio:
            power /= 2
        while 2 * power <= ratio:
            power *= 2
        return power

    by_x, by_w = scale(x, activation), scale(w, weight)
    a = [[nearest(Fraction(float(float32(v * by_x))), activation) for v in row] for row in fractions(x)]
    b = [[nearest(Fraction(float(float32(v * by_w))), weight) for v in row] for row in fractions(w)]
    want = [
        [float32(Fraction(float(float32(sum(map(Fraction.__mul__, row, column))))) / (by_x * by_w)) for column in b]
        for row in a
    ]
    assert got.tolist() == np.array(want).tolist()
    if scales != "none":
        assert distance(got, net(x)) < 0.12


def test_a_real_scale_is_undone_once_per_product():
    """Not in turn, and not for each operand: those sums differ in their last bits."""
    w, x = drawn(8, 64, seed=14), drawn(8, 64, seed=15)
    net = nn.Sequential(linear(w))
    got = quantise_post_training(net, calibrate(net, [x]), arithmetic=EXACT, scales="real")(x).detach()
    by_x, by_w = (np.float32(448 / float(tensor.abs().max())) for tensor in (x, w))
    a, b = (to_float(encode(t.numpy() * s, E4M3, saturate=True), E4M3) for t, s in ((x, by_x), (w, by_w)))
    sums = (a @ b.T).astype(np.float32)
    once = (sums / (np.float64(by_x) * np.float64(by_w))).astype(np.float32)
    in_turn = sums / by_x / by_w
    each = ((a.astype(np.float32) / by_x).astype(np.float64) @ (b.astype(np.float32) / by_w).T).astype(np.float32)
    assert got.numpy().tolist() == once.tolist()
    assert (in_turn != once).sum() > 5
    assert (each != once).sum() > 5


def test_a_power_of_two_is_a_bias():
    w, x = drawn(6, 50, seed=16, deviation=1e-3), drawn(7, 50, seed=17, deviation=300.0)
    net = nn.Sequential(linear(w))
    calibration = calibrate(net, [x])
    scaled = quantise_post_training(net, calibration)
    exponents = {role: scale.exponent for role, scale in scaled[0].site.scales.items()}
    assert exponents["weight"] > 10
    assert exponents["activation"] < 0
    biased = Arithmetic(
        a=with_bias(E4M3, 7 + exponents["activation"]),
        b=with_bias(E4M3, 7 + exponents["weight"]),
        inner=Accumulator(format=FP32),
        outer=Accumulator(format=FP32),
    )
    assert torch.equal(quantise_post_training(net, calibration, arithmetic=biased, scales="none")(x), scaled(x))
    plain = quantise_post_training(net, calibration, scales="none")
    assert distance(scaled(x), net(x)) < distance(plain(x), net(x)) / 4


@pytest.mark.parametrize(
    "arithmetic",
    [
        HOPPER_FP8,
        Arithmetic(inner=Accumulator(format=DLFLOAT16), outer=Accumulator(format=DLFLOAT16), chunk=16),
        Arithmetic(a=E5M2),
    ],
)
def test_sums_are_the_engines(arithmetic):
    w, x = drawn(5, 100, seed=18), drawn(6, 100, seed=19)
    net = nn.Sequential(linear(w, drawn(5, seed=20)))
    calibration = calibrate(net, [x])
    got = quantise_post_training(net, calibration, arithmetic=arithmetic, scales="none")(x).detach()
    a, b = encode(x.numpy(), arithmetic.a), encode(w.numpy(), arithmetic.b)
    codes = gemm(a, b.T, arithmetic)
    want = to_float(codes, arithmetic.outer.format).astype(np.float32) + net[0].bias.detach().numpy()
    assert got.numpy().tolist() == want.tolist()
    assert not torch.equal(quantise_post_training(net, calibration, scales="none")(x), got)


@pytest.mark.parametrize("scales", ["power_of_two", "real"])
def test_a_margin_keeps_sums_from_overflow(scales):
    """448 * 448 is more than FP16 holds; with 6 binades left to each operand a product is 49 at most."""
    net, x = nn.Sequential(linear(torch.ones(1, 7))), torch.ones(1, 7)
    halves = Arithmetic(inner=Accumulator(format=FP16), outer=Accumulator(format=FP16))
    calibration = calibrate(net, [x])
    assert quantise_post_training(net, calibration, arithmetic=halves, scales=scales)(x).isinf()
    quantised = quantise_post_training(net, calibration, arithmetic=halves, scales=scales, margin=6)
    assert quantised(x).item() == pytest.approx(7, rel=1e-3)
    want = {"power_of_two": 2.0**2, "real": 448 / 2**6}[scales]
    assert [scale.factor * 2.0**scale.exponent for scale in quantised[0].site.scales.values()] == [want, want]


def test_what_calibration_did_not_see_saturates():
    net = nn.Sequential(linear(torch.tensor([[1.0]])))
    quantised = quantise_post_training(net, calibrate(net, [torch.tensor([[3.5]])]))
    # 3.5 becomes 448, E4M3's largest: there is nothing above.
    assert quantised(torch.tensor([[3.0], [3.5], [100.0], [-1e9]])).flatten().tolist() == [3.0, 3.5, 3.5, -3.5]


def test_zeros_have_a_scale_of_one():
    net = nn.Sequential(linear(torch.zeros(3, 2), torch.ones(3)))
    calibration = calibrate(net, [torch.zeros(1, 2)])
    for scales in ("power_of_two", "real", "none"):
        quantised = quantise_post_training(net, calibration, scales=scales)
        assert quantised(torch.tensor([[1.0, 2.0]])).tolist() == [[1, 1, 1]]


# ------------------------------------------------------------------------------------------------------------ the model


def test_first_and_last_may_stay_float32():
    net, x = Attention(), drawn(5, 3, 8, seed=21)
    calibration = calibrate(net, [x])
    wanted = net.eval()(x).detach()
    errors = []
    for exempt in ((), ("first",), ("last",), ("first", "last")):
        quantised = quantise_post_training(net, calibration, exempt=exempt)
        assert isinstance(quantised.head, nn.Linear) == ("first" in exempt)
        assert isinstance(quantised.tail, nn.Linear) == ("last" in exempt)
        assert len(list(placed(quantised))) == 8 - len(exempt)
        errors.append(distance(quantised(x), wanted))
    assert 0 < errors[3] < errors[0] < 0.2
    wide = replace(EXACT, a=BF16, b=BF16)
    assert 0 < distance(quantise_post_training(net, calibration, arithmetic=wide, scales="none")(x), wanted) < 0.01


def test_an_attention_stays_as_a_whole():
    class Only(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.tail = nn.MultiheadAttention(4, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.tail(self.attention(x, x, x)[0])

    net, x = Only(), drawn(3, 1, 4, seed=22)
    quantised = quantise_post_training(net, calibrate(net, [x]), exempt=("first",))
    assert isinstance(quantised.attention, nn.MultiheadAttention)
    assert isinstance(quantised.tail, layers.Linear)


def test_the_model_stays_and_the_copy_is_for_evaluation():
    net = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Linear(4, 2))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    x = drawn(10, 4, seed=23)
    quantised = quantise_post_training(net, calibrate(net, [x]))
    assert not quantised.training
    assert torch.equal(quantised(x), quantised(x))
    assert net.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(parameter.requires_grad for parameter in quantised.parameters())
    with pytest.raises(ValueError, match=r"^3 was quantised after training: it has no backward pass$"):
        quantised(x.requires_grad_()).sum().backward()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scales": "row"}, "scales must be one of power_of_two, real, none, not 'row'"),
        ({"margin": 65}, r"margin must be an integer in 0\.\.64, not 65"),
        ({"exempt": ("0",)}, "edge in exempt must be one of first, last, not '0'"),
        ({"exempt": ("first",)}, "model must have a layer that multiplies and is not exempt"),
    ],
)
def test_messages(arguments, message):
    net = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=f"^{message}$"):
        quantise_post_training(net, calibrate(net, [torch.ones(1, 2)]), **arguments)


def test_the_calibration_of_another_model():
    calibration = calibrate(nn.Sequential(nn.Linear(2, 2)), [torch.ones(1, 2)])
    with pytest.raises(ValueError, match=r"^name of a product must be one of 0, not '1'$"):
        quantise_post_training(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), calibration)
