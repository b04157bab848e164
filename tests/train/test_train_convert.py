"""Models converted: which layers, with which casts, whose parameters, and what cannot be."""

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from quaver.golden import PRESETS, RECIPES, Machine, Recipe, encode, to_float
from quaver.golden.catalog import BF16, E4M3, E5M2, FP16
from quaver.golden.errors import Unsuitable
from quaver.golden.recipe import Cast
from quaver.train import layers
from quaver.train.convert import PARTS, convert, processor_of
from quaver.train.optim import optimizer_for
from quaver.train.products import MatMul
from tests.train.draws import CHUNKED, INTEGERS, Net, Record, normal, steps

EDGED = replace(CHUNKED, edge=Cast(format=BF16), image=Cast(format=BF16, saturate=False))
"""Both ends in BF16."""

# ----------------------------------------------------------------------------------------------------------- exchanged


def test_every_kind_of_layer_is_exchanged() -> None:
    model = Net()
    before = dict(model.named_parameters())
    kept = {name: model.get_submodule(name) for name in ("features.1", "features.2")}
    assert convert(model, CHUNKED) is model
    kinds = {
        "features.0": layers.Conv2d,
        "attention": layers.MultiheadAttention,
        "attention.out_proj": layers.Linear,
        "product": layers.MatMul,
        "head": layers.Linear,
    }
    for name, kind in kinds.items():
        assert type(model.get_submodule(name)) is kind
    assert not [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.MultiheadAttention | MatMul)]
    assert all(model.get_submodule(name) is module for name, module in kept.items())
    after = dict(model.named_parameters())
    assert list(after) == list(before) and len(after) == 10
    assert all(after[name] is parameter for name, parameter in before.items())


def test_sites_are_named_after_layers() -> None:
    model = convert(Net(), CHUNKED)
    attention = model.attention
    places = [
        *(model.features[0], *attention.projections, attention.scores, attention.context, attention.out_proj),
        *(model.product, model.head),
    ]
    names = ["features.0", *(f"attention.{part}" for part in PARTS), "product", "head"]
    assert [place.site.name for place in places] == names
    processor = processor_of(model)
    assert all(place.site.processor is processor for place in places)
    assert str(model.head) == "Linear(weight=e4m3, activation=e4m3, error=e5m2)"


def test_a_sequence_stays_one() -> None:
    inner = nn.Sequential(nn.Linear(6, 4), nn.ReLU())
    model = convert(nn.Sequential(nn.Flatten(), nn.Sequential(inner, nn.Linear(4, 3)), nn.Tanh()), INTEGERS)
    x = normal(np.random.default_rng(1), 2, 3, 2)
    (first, _), second = model[1]
    bf16 = [t.detach().numpy().astype(ml_dtypes.bfloat16).astype("f4") for t in (x, first.weight, second.weight)]
    hidden = np.maximum(bf16[0].reshape(2, 6) @ bf16[1].T + first.bias.detach().numpy(), 0)
    want = np.tanh(hidden.astype(ml_dtypes.bfloat16).astype("f4") @ bf16[2].T + second.bias.detach().numpy())
    torch.testing.assert_close(model(x).detach(), torch.from_numpy(want), rtol=1e-5, atol=1e-6)
    assert [name for name, _ in model.named_parameters()] == ["1.0.0.weight", "1.0.0.bias", "1.1.weight", "1.1.bias"]


def test_a_layer_in_several_places_is_one_layer() -> None:
    shared = nn.Linear(4, 4)
    block = nn.Sequential(shared, nn.ReLU())
    model = convert(nn.Sequential(shared, block, nn.Linear(4, 4), block, shared), CHUNKED)
    assert not [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert model[0] is model[1][0] is model[3][0] is model[4]
    assert model[0].weight is shared.weight
    assert len(list(model.parameters())) == 4


def test_modes_stay() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.MultiheadAttention(2, 1)).eval())
    convert(model, CHUNKED)
    assert [module.training for module in (model[0], model[1][0], model[1][1])] == [True, False, False]
    assert not model[1][1].scores.training


@pytest.mark.parametrize("recipe", [CHUNKED, RECIPES["mellempudi2019"], RECIPES["gallus2018"], INTEGERS], ids=str)
def test_parameters_are_rounded_to_the_master_format(recipe: Recipe) -> None:
    """All of them, also those of layers that do not multiply or are exempt."""
    model = Net()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(normal(np.random.default_rng(parameter.numel()), *parameter.shape) * 20)
    before = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    convert(model, recipe, exempt=("head",))
    changed = 0
    for name, parameter in model.named_parameters():
        if recipe.master == FP16:
            want = before[name].astype(np.float16).astype(np.float32)
        else:
            want = to_float(encode(before[name], recipe.master, saturate=True), recipe.master)
        np.testing.assert_array_equal(parameter.detach().numpy(), want)
        changed += int((want != before[name]).sum())
    assert (changed > 300) == (recipe is not INTEGERS)
    assert model.features[1].weight.requires_grad


# ------------------------------------------------------------------------------------------------- first, last, exempt


def formats(model: nn.Module) -> dict[str, str]:
    """Formats of the weight, the activation and the error of each place."""
    sites = [module.site for module in model.modules() if hasattr(module, "site")]
    assert len(sites) > 0
    return {s.name: " ".join(str(c) for c in (s.casts.weight, s.casts.activation, s.casts.error)) for s in sites}


INNER, FIRST, LAST = "e4m3 e4m3 e5m2", "bf16 bf16, overflows bf16", "bf16 bf16 bf16"


def test_the_ends_have_casts_of_their_own() -> None:
    """The first and the last layer with weights; a product of activations is none, nor is one of attention's two."""
    attention = {f"attention.{part}": INNER for part in PARTS}
    seen = formats(convert(Net(), EDGED))
    assert seen == {"features.0": FIRST} | attention | {"product": INNER, "head": LAST}
    assert formats(convert(Net(), replace(EDGED, edges=("last",))))["features.0"] == "e4m3 bf16, overflows e5m2"
    only_first = formats(convert(Net(), replace(EDGED, edges=("first",), image=None)))
    assert (only_first["features.0"], only_first["head"]) == (LAST, INNER)
    assert set(formats(convert(Net(), CHUNKED)).values()) == {INNER}

    model = nn.ModuleDict({"product": MatMul(), "self": nn.MultiheadAttention(4, 2), "after": MatMul()})
    assert formats(convert(model, EDGED)) == {
        **{"product": INNER, "self.query": FIRST, "self.key": INNER, "self.value": INNER, "self.scores": INNER},
        **{"self.context": INNER, "self.out_proj": LAST, "after": INNER},
    }
    assert formats(convert(nn.Sequential(nn.Linear(2, 2)), EDGED)) == {"0": FIRST}
    assert formats(convert(nn.Sequential(MatMul(), MatMul()), EDGED)) == {"0": INNER, "1": INNER}
    # Names are no kinds.
    model = nn.ModuleDict({"in": nn.ModuleDict({"scores": nn.Linear(2, 2)}), "context": nn.Linear(2, 2)})
    assert formats(convert(model, EDGED)) == {"in.scores": FIRST, "context": LAST}


def test_gradients_of_weights_are_cast_alike_everywhere() -> None:
    recipe = RECIPES["mellempudi2019"]
    model = convert(Net(), recipe)
    assert {m.site.casts.gradient for m in model.modules() if hasattr(m, "site")} == {recipe.gradient}


def test_exempt_layers_stay_as_they_are() -> None:
    """And an end that is exempt is still the end."""
    model = Net()
    conv, attention = model.features[0], model.attention
    convert(model, EDGED, exempt=("features.0", "attention"))
    assert model.features[0] is conv and model.attention is attention
    assert type(attention.out_proj) is not layers.Linear
    assert formats(model) == {"product": INNER, "head": LAST}
    seen = formats(convert(Net(), EDGED, exempt=("head", "features.0")))
    assert set(seen.values()) == {INNER} and len(seen) == 7


# ------------------------------------------------------------------------------------------------------- fp32, machine


def test_fp32_is_pytorch_to_the_bit() -> None:
    plain, model = Net(), convert(Net(), RECIPES["fp32"])
    names = ["features.0", "attention", "product", "head"]
    assert [type(plain.get_submodule(n)) for n in names] == [type(model.get_submodule(n)) for n in names]
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9) for m in (plain, model)]
    assert steps(plain, optimizers[0], 3) == steps(model, optimizers[1], 3)
    state = model.state_dict()
    assert state.pop("processor._extra_state") == {"beats": 0, "sums": 0, "casts": 0}
    assert list(state) == list(plain.state_dict())
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())


def test_models_with_a_machine_have_its_sums() -> None:
    model = convert(Net(), CHUNKED, machine=PRESETS["edge"], seed=5)
    processor = processor_of(model)
    assert processor.machine is PRESETS["edge"] and processor.seed == PRESETS["edge"].seed
    assert processor.recipe.chunk == PRESETS["edge"].chunk
    assert processor_of(convert(Net(), CHUNKED, seed=5)).seed == 5
    model(torch.zeros(1, 2, 7, 7))
    assert processor.issued.beats > 0


def test_errors_are_never_the_second_operand() -> None:
    """A machine whose b operand has the formats of weights and activations alone is enough."""
    machine = Machine(a_formats=(E4M3, E5M2), b_formats=(E4M3,), chunk=8)
    model, seen = convert(Net(), CHUNKED, machine=machine), Record()
    processor_of(model).recorder = seen
    steps(model, optimizer_for(CHUNKED, model.parameters(), lr=0.1), 1)
    formats = {(product.a.format.name, product.b.format.name) for product in seen}
    assert formats == {("e4m3", "e4m3"), ("e5m2", "e4m3")}
    assert len(seen) == 3 * 9 - 1  # the first of 9 places has no gradient of its input


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (
            lambda: convert(Net(), RECIPES["wang2018"], machine=Machine(name="mine")),
            Unsuitable,
            "a_formats of mine must have bf16 for recipe wang2018, not e4m3, e5m2",
        ),
        (
            lambda: convert(Net(), EDGED, machine=Machine(name="mine", a_formats=(E4M3, E5M2, BF16))),
            Unsuitable,
            "b_formats of mine must have bf16 for recipe chunked, not e4m3, e5m2",
        ),
        (
            lambda: convert(Net(), RECIPES["fp32"], machine=Machine()),
            Unsuitable,
            "recipe fp32 must run without a machine: its products are the host's",
        ),
        (lambda: convert(convert(Net(), CHUNKED), CHUNKED), ValueError, "model was converted before"),
        (lambda: convert(nn.Linear(2, 2), CHUNKED), ValueError, "model must contain its layers, not be one: Linear"),
        (
            lambda: convert(nn.MultiheadAttention(2, 1), CHUNKED),
            ValueError,
            "model must contain its layers, not be one: MultiheadAttention",
        ),
        (
            lambda: convert(Net(), CHUNKED, exempt=("features.1",)),
            ValueError,
            "exempt must name layers of features.0, attention, product, head, not 'features.1'",
        ),
        (
            lambda: convert(Net(), CHUNKED, exempt=("attention.out_proj",)),
            ValueError,
            "exempt must name layers of features.0, attention, product, head, not 'attention.out_proj'",
        ),
        *(
            (
                lambda model=model, exempt=exempt: convert(model, CHUNKED, exempt=exempt),
                ValueError,
                "model must have a layer that multiplies and is not exempt",
            )
            for model, exempt in ((nn.Sequential(nn.ReLU()), ()), (nn.Sequential(nn.Linear(2, 2)), ("0",)))
        ),
        (lambda: convert(Net(), CHUNKED, seed=-1), ValueError, "seed must be an integer in 0..4294967295, not -1"),
        (lambda: processor_of(Net()), ValueError, "model must have been converted"),
    ],
)
def test_what_cannot_be_converted(call: Callable[[], object], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as error:
        call()
    assert type(error.value) is kind
    assert str(error.value) == text


class Doubled(nn.Linear):
    """A layer whose products its place would not know of."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def with_hooks() -> Iterator[nn.Module]:
    for kind in ("forward", "forward_pre", "full_backward", "full_backward_pre"):
        layer = nn.Linear(2, 2)
        getattr(layer, f"register_{kind}_hook")(lambda *_: None)
        yield layer
    attention = nn.MultiheadAttention(4, 2)
    attention.out_proj.register_forward_hook(lambda *_: None)
    yield attention


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (nn.Conv2d(2, 2, 3, padding="same"), "padding of 1 must be a number or a pair, not 'same'"),
        (nn.Conv2d(2, 2, 3, padding_mode="circular"), "padding_mode of 1 must be 'zeros', not 'circular'"),
        *(
            (
                nn.MultiheadAttention(4, 2, **option),
                "1 must have neither biases of keys, added zeros nor other sizes of keys",
            )
            for option in ({"add_bias_kv": True}, {"add_zero_attn": True}, {"kdim": 3}, {"vdim": 3})
        ),
        (Doubled(2, 2), "1 must have no forward of its own (Doubled), unless exempt"),
        *((hooked, "1 must have no hooks, unless exempt") for hooked in with_hooks()),
        (weight_norm(nn.Linear(2, 2)), "1 must have no parametrizations, unless exempt"),
        (weight_norm(nn.Conv2d(2, 2, 1)), "1 must have no parametrizations, unless exempt"),
    ],
)
def test_a_model_that_cannot_be_converted_is_left_alone(layer: nn.Module, text: str) -> None:
    model = nn.Sequential(nn.Linear(2, 2), layer)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        convert(model, RECIPES["hybrid"])
    assert type(model[0]) is nn.Linear and model[1] is layer
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    convert(model, RECIPES["hybrid"], exempt=("1",))
    assert type(model[0]) is layers.Linear and model[1] is layer
    with pytest.raises(AssertionError):
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items() if name in before)
