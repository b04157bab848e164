"""Networks against the simulator's workloads, layer by layer, and what a seed does and leaves alone."""

import re
from functools import partial
from math import prod
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from quaver.golden import RECIPES
from quaver.sim import Conv2d, Linear, Vector, workload_named
from quaver.sim import MatMul as Products
from quaver.sim.lowering import forward, tensors_of
from quaver.train.data_set import Split
from quaver.train.models import MODELS, build_model
from quaver.train.products import MatMul
from quaver.train.tasks import task_of

BATCH = 3


def drawn() -> torch.Generator:
    """Random numbers that no other test has a part in."""
    return torch.Generator().manual_seed(5)


def data(kind: str, inputs: Tensor, targets: Tensor, *, classes: int, users: int = 0) -> SimpleNamespace:
    """What a network needs to know of a data set."""
    split = Split(inputs, targets)
    return SimpleNamespace(name=f"some {kind}", kind=kind, classes=classes, users=users, train=split, test=split)


def images(number: int = BATCH, size: tuple[int, ...] = (1, 28, 28), classes: int = 10) -> SimpleNamespace:
    """Noise whose mean tells the class."""
    targets = torch.arange(number) % classes
    inputs = torch.randn(number, *size, generator=drawn()) + targets[:, None, None, None] / classes
    return data("images", inputs, targets, classes=classes)


def text(number: int = BATCH, length: int = 64, classes: int = 96) -> SimpleNamespace:
    """Sequences that count up from somewhere."""
    start = torch.randint(classes, (number, 1), generator=drawn())
    tokens = (start + torch.arange(length + 1)) % classes
    return data("text", tokens[:, :-1], tokens[:, 1:], classes=classes)


def interactions(number: int = BATCH, users: int = 943, items: int = 1682) -> SimpleNamespace:
    """Even users meet even items."""
    generator = drawn()
    pairs = torch.stack([torch.randint(most, (number,), generator=generator) for most in (users, items)], -1)
    return data("interactions", pairs, (pairs.sum(-1) % 2 == 0).float(), classes=items, users=users)


LIKE_THE_WORKLOADS = {"images": images, "text": text, "interactions": interactions}
"""Data of the workloads' sizes."""


def built(name: str, seed: int = 1) -> tuple[nn.Module, SimpleNamespace]:
    given = LIKE_THE_WORKLOADS[MODELS[name].kind]()
    return build_model(name, given, seed=seed), given


Product = tuple[str, int, int, int, int]
"""Name of the layer, groups, M, K and N."""


def products_that_ran(model: nn.Module, inputs: Tensor) -> list[Product]:
    """The matrix products of a forward pass, told from the tensors' shapes."""
    seen: list[Product] = []

    def record(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        groups = 1
        if isinstance(module, nn.Conv2d):
            groups = module.groups
            m, k, n = output.numel() // module.out_channels, module.weight[0].numel(), module.out_channels // groups
        elif isinstance(module, nn.Linear):
            m, k, n = output.numel() // module.out_features, module.in_features, module.out_features
        else:
            (*batch, m, k), n = inputs[0].shape, inputs[1].shape[-1]
            groups = prod(batch)
        seen.append((name, groups, m, k, n))

    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | MatMul):
            module.register_forward_hook(lambda *call, name=name: record(name, *call))
    model(inputs)
    return seen


@pytest.mark.parametrize("name", MODELS)
def test_products_are_the_workloads(name: str) -> None:
    model, given = built(name)
    tensors = tensors_of(RECIPES["hybrid"], edge=False, wide=False)
    layers = workload_named(MODELS[name].workload).layers
    gemms = [forward(layer, BATCH, tensors) for layer in layers if isinstance(layer, Conv2d | Linear | Products)]
    expected = [(gemm.name, gemm.groups, gemm.m, gemm.k, gemm.n) for gemm in gemms]
    assert len(expected) >= 4
    assert products_that_ran(model, given.train.inputs) == expected


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_the_workloads(name: str) -> None:
    """Layer by layer, biases, tables and normalisations included."""
    model, _ = built(name)
    layers = workload_named(MODELS[name].workload).layers
    expected = {layer.name: layer.parameters for layer in layers if layer.parameters}
    own = {n: sum(p.numel() for p in m.parameters(recurse=False)) for n, m in model.named_modules()}
    assert {n: number for n, number in own.items() if number} == expected
    assert sum(expected.values()) == sum(p.numel() for p in model.parameters() if p.requires_grad)


KINDS = {
    nn.ReLU: "relu",
    nn.GELU: "gelu",
    nn.MaxPool2d: "max_pool",
    nn.AdaptiveAvgPool2d: "avg_pool",
    nn.BatchNorm2d: "batch_norm",
    nn.LayerNorm: "layer_norm",
}


@pytest.mark.parametrize("name", MODELS)
def test_other_layers_are_the_workloads(name: str) -> None:
    """Kinds, in order, and the elements that they write for an input."""
    model, given = built(name)
    seen: list[tuple[str, int]] = []
    for module in model.modules():
        if type(module) in KINDS:
            module.register_forward_hook(
                lambda module, _, output: seen.append((KINDS[type(module)], output.numel() // BATCH))
            )
    model(given.train.inputs)
    layers = workload_named(MODELS[name].workload).layers
    expected = [(v.kind, v.outputs) for v in layers if isinstance(v, Vector) and v.kind in KINDS.values()]
    assert len(expected) >= 3
    assert seen == expected


def test_layers_of_a_resnet() -> None:
    """6 n + 2 with weights (He et al., section 4.2)."""
    for name, layers in (("resnet8", 8), ("resnet20", 20)):
        model, given = built(name)
        assert len(products_that_ran(model, given.train.inputs)) == layers


def test_sizes_are_those_of_the_data() -> None:
    for name, given, shape in (
        ("lenet5", images(classes=7), (BATCH, 7)),
        ("resnet8", images(size=(3, 9, 9), classes=4), (BATCH, 4)),
        ("resnet20", images(size=(1, 8, 8)), (BATCH, 10)),
        ("transformer", text(length=10, classes=30), (BATCH, 10, 30)),
        ("ncf", interactions(users=5, items=6), (BATCH,)),
    ):
        assert build_model(name, given, seed=0)(given.train.inputs).shape == shape


def test_shortcuts_skip_pixels_and_add_zeros() -> None:
    """With convolutions of zeros, a block's output is the shortcut's, rectified."""
    model, _ = built("resnet8")
    block = model.get_submodule("layer2.0")
    for conv in (block.conv1, block.conv2):
        nn.init.zeros_(conv.weight)
    maps = torch.randn(BATCH, 16, 28, 28, generator=drawn())
    outputs = block(maps)
    assert torch.equal(outputs[:, :16], maps[:, :, 0::2, 0::2].relu())
    assert outputs.shape == (BATCH, 32, 14, 14) and not outputs[:, 16:].any()


def test_no_token_sees_later_ones() -> None:
    model, given = built("transformer")
    tokens = given.train.inputs
    for place in (1, 30, 63):
        changed = tokens.clone()
        changed[:, place] = (changed[:, place] + 1) % 96
        differs = (model(tokens) != model(changed)).any(-1)
        assert not differs[:, :place].any()
        assert differs[:, place:].all()


def test_a_block_is_pytorchs() -> None:
    block = built("transformer")[0].get_submodule("blocks.0")
    gelu = partial(functional.gelu, approximate="tanh")
    theirs = nn.TransformerEncoderLayer(64, 4, 256, 0.0, gelu, batch_first=True, norm_first=True)
    attention = block.attention
    with torch.no_grad():
        for name in ("weight", "bias"):
            parts = [getattr(getattr(attention, operand), name) for operand in "qkv"]
            getattr(theirs.self_attn, f"in_proj_{name}").copy_(torch.cat(parts))
            getattr(theirs.self_attn.out_proj, name).copy_(getattr(attention.out, name))
    theirs.linear1.load_state_dict(block.fc1.state_dict())
    theirs.linear2.load_state_dict(block.fc2.state_dict())
    states = torch.randn(BATCH, 9, 64, generator=drawn())
    expected = theirs(states, src_mask=nn.Transformer.generate_square_subsequent_mask(9), is_causal=True)
    torch.testing.assert_close(block(states), expected)


def test_scores_of_a_matrix_factorisation() -> None:
    """With its last layer's weights on products of the factors alone, NeuMF is a matrix factorisation."""
    model, given = built("ncf")
    with torch.no_grad():
        model.final.weight.copy_(torch.tensor([[1.0] * 16 + [0.0] * 8]))
        model.final.bias.fill_(0.5)
    users, items = given.train.inputs.T
    expected = (model.mf_user_embed.weight[users] * model.mf_item_embed.weight[items]).sum(-1) + 0.5
    torch.testing.assert_close(model(given.train.inputs), expected)


def test_scores_of_a_perceptron() -> None:
    """With its last layer's weights on the perceptron alone, NeuMF is that."""
    model, given = built("ncf")
    nn.init.zeros_(model.final.weight[:, :16].detach())
    users, items = given.train.inputs.T
    states = torch.cat((model.mlp_user_embed.weight[users], model.mlp_item_embed.weight[items]), 1)
    layers = nn.Sequential(model.mlp[0], nn.ReLU(), model.mlp[1], nn.ReLU(), model.mlp[2], nn.ReLU())
    expected = layers(states) @ model.final.weight[0, 16:] + model.final.bias
    torch.testing.assert_close(model(given.train.inputs), expected)


@pytest.mark.parametrize("name", MODELS)
def test_a_seed_tells_all(name: str) -> None:
    """The same parameters for the same seed, others for another; PyTorch's random numbers are as before."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second, third = (built(name, seed)[0].state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    later = built(name, 1)[0].state_dict()
    for parameter in first:
        assert torch.equal(first[parameter], second[parameter])
        assert torch.equal(first[parameter], later[parameter])
    differ = [parameter for parameter in first if not torch.equal(first[parameter], third[parameter])]
    weights = [parameter for parameter in first if first[parameter].dim() > 1]
    assert weights and set(weights) <= set(differ)


def test_initial_deviations() -> None:
    """Of He et al. 2015 before rectifiers, of a row's norm of 1 for tokens, and of 0.01 for users and items."""
    resnet, transformer, ncf = (built(name)[0] for name in ("resnet20", "transformer", "ncf"))
    found = [
        (resnet.get_submodule("layer3.1.conv2").weight.std(), (2 / (64 * 9)) ** 0.5),
        (transformer.tokens.weight.std(), 1 / 8),
        (transformer.positions.weight.std(), 1 / 8),
        (ncf.mf_user_embed.weight.std(), 0.01),
        (ncf.mlp_item_embed.weight.std(), 0.01),
    ]
    for deviation, expected in found:
        assert deviation.item() == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize(
    ("name", "given", "rate"),
    [
        ("lenet5", images(20), 0.05),
        ("resnet8", images(20, size=(1, 8, 8)), 0.05),
        ("resnet20", images(20, size=(1, 8, 8)), 0.05),
        ("transformer", text(8, length=12, classes=20), 0.1),
        ("ncf", interactions(200, users=8, items=8), 1.0),
    ],
)
def test_a_few_steps_lower_the_loss(name: str, given: SimpleNamespace, rate: float) -> None:
    model, task = build_model(name, given, seed=0), task_of(given.kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = task.loss(model(given.train.inputs), given.train.targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("lenet", images(), f"model must be one of {', '.join(MODELS)}, not 'lenet'"),
        (
            "ncf",
            images(),
            "model for the images of some images must be one of lenet5, resnet8, resnet20, not 'ncf'",
        ),
        ("lenet5", text(), "model for the text of some text must be one of transformer, not 'lenet5'"),
        (
            "lenet5",
            images(size=(1, 8, 8)),
            "model lenet5 takes images of 1 x 28 x 28, not those of some images, 1 x 8 x 8",
        ),
        ("transformer", text(length=65), "model transformer takes at most 64 tokens, not the 65 of some text"),
    ],
)
def test_networks_that_do_not_fit(name: str, given: SimpleNamespace, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_model(name, given, seed=0)


def test_seeds_that_are_none() -> None:
    with pytest.raises(ValueError, match=r"^seed must be an integer in 0\.\.9223372036854775807, not -1$"):
        build_model("lenet5", images(), seed=-1)
