"""The tasks of a step: which there are, in which order, in which formats, on which unit."""

import re
from dataclasses import replace

import pytest

from quaver.golden import PRESETS, RECIPES, Machine
from quaver.golden.catalog import BF16, DLFLOAT16, E4M3, E5M2
from quaver.golden.errors import Unsuitable
from quaver.sim.layers import Conv2d, Linear, MatMul
from quaver.sim.lowering import Gemm
from quaver.sim.network import Workload
from quaver.sim.step import Request, Step, Task, UpdateWork
from quaver.sim.vector_layers import Embedding, Vector
from quaver.sim.vector_work import VectorWork
from quaver.sim.workloads import workload_named

TINY, CLOUD = PRESETS["tiny"], PRESETS["cloud"]
TRAINING = Request(pass_="training", batch=2)
CONV = Conv2d(name="conv", in_channels=3, out_channels=4, size=(6, 6), kernel=(3, 3), padding=(1, 1))
NETWORK = Workload(
    name="net",
    layers=(
        CONV,
        Vector(name="bn", kind="batch_norm", outputs=144, parameters=8),
        Vector(name="relu", kind="relu", outputs=144),
        Linear(name="hidden", in_features=144, out_features=10),
        Vector(name="act", kind="relu", outputs=10),
        Linear(name="fc", in_features=10, out_features=5, bias=False),
        Vector(name="loss", kind="cross_entropy", outputs=5),
    ),
)


def tasks(
    network: Workload = NETWORK, machine: Machine = TINY, recipe: str = "hybrid", request: Request = TRAINING
) -> list[Task]:
    return list(Step(network, machine, RECIPES[recipe], request).tasks())


def test_a_training_step() -> None:
    found = [(task.phase, task.name) for task in tasks()]
    assert found == [
        ("forward", "conv"),
        ("forward", "bn +1"),
        ("forward", "hidden"),
        ("forward", "hidden.bias +1"),
        ("forward", "fc"),
        ("forward", "loss"),
        ("data_gradient", "loss"),
        ("weight_gradient", "fc"),
        ("data_gradient", "fc"),
        ("data_gradient", "hidden.bias +1"),
        ("weight_gradient", "hidden"),
        ("data_gradient", "hidden"),
        ("data_gradient", "bn +1"),
        ("weight_gradient", "conv"),  # the first layer with parameters: nobody wants the gradient of the image
        ("update", "conv"),
        ("update", "bn"),
        ("update", "hidden"),
        ("update", "fc"),
    ]


def test_a_forward_pass_has_no_loss_and_one_pass_of_batch_norm() -> None:
    found = tasks(request=Request(batch=2))
    assert [task.name for task in found] == ["conv", "bn +1", "hidden", "hidden.bias +1", "fc"]
    batch_norm = found[1].work
    assert isinstance(batch_norm, VectorWork)
    assert batch_norm.reads == 2 * 144 * 2
    last = found[-1].work
    assert isinstance(last, Gemm)
    assert last.out_bits == 8, "nothing follows it: operands of whatever is next"


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2", "bert_base", "gnmt", "vgg16"])
def test_macs_of_a_training_step(name: str) -> None:
    """Forward and weight gradients have the layers' MACs, and so have the data gradients where strides divide."""
    network = workload_named(name)
    step = Step(network, CLOUD, RECIPES["hybrid"], Request(pass_="training", batch=3), on_array=True)
    macs = {phase: 0 for phase in ("forward", "weight_gradient", "data_gradient")}
    for task in step.tasks():
        if isinstance(task.work, Gemm):
            macs[task.phase] += task.work.macs
    products = [layer for layer in network.layers if isinstance(layer, Conv2d | Linear)]
    both = sum(layer.macs for layer in network.layers if isinstance(layer, MatMul))
    learnt = sum(layer.macs for layer in products)
    assert macs["forward"] == 3 * (learnt + both) == 3 * network.macs
    assert macs["weight_gradient"] == 3 * learnt
    embedded = isinstance(network.layers[0], Embedding)
    first = 0 if embedded else products[0].macs
    assert macs["data_gradient"] == 3 * (learnt - first + 2 * both)


def test_formats_follow_the_recipe() -> None:
    """Errors are the left operand of both gradients; edges are BF16 where the recipe says so."""
    pairs = {
        (task.phase, task.name): (task.work.a_format.name, task.work.b_format.name)
        for task in tasks()
        if isinstance(task.work, Gemm)
    }
    assert {pair for (phase, _), pair in pairs.items() if phase == "forward"} == {("e4m3", "e4m3")}
    assert {pair for (phase, _), pair in pairs.items() if phase == "data_gradient"} == {("e5m2", "e4m3")}
    assert {frozenset(pair) for (phase, _), pair in pairs.items() if phase == "weight_gradient"} == {
        frozenset(("e4m3", "e5m2"))
    }
    wide = replace(TINY, a_formats=(E5M2, BF16), b_formats=(E5M2, BF16))
    found = [task.work for task in tasks(machine=wide, recipe="mellempudi2019") if isinstance(task.work, Gemm)]
    assert {work.a_format.name for work in found if work.name == "hidden"} == {"e5m2"}
    assert {work.a_format.name for work in found if work.name in ("conv", "fc")} == {"bf16"}


@pytest.mark.parametrize(
    ("machine", "recipe", "message"),
    [
        (TINY, "bf16", "a_formats of tiny must have bf16 for recipe bf16, not e4m3, e5m2"),
        (
            replace(TINY, a_formats=(E4M3, E5M2), b_formats=(E5M2,)),
            "hybrid",
            "b_formats of tiny must have e4m3 for recipe hybrid, not e5m2",
        ),
    ],
)
def test_a_machine_must_have_the_formats(machine: Machine, recipe: str, message: str) -> None:
    with pytest.raises(Unsuitable, match=f"^{re.escape(message)}$"):
        tasks(machine=machine, recipe=recipe)


def test_weight_gradients_take_the_faster_side() -> None:
    """64 output channels of 3 x 3 x 64 on 128 x 128: rows of 64 would wait for weights, rows of 576 do not."""
    conv = replace(CONV, in_channels=64, out_channels=64, size=(28, 28))
    second = replace(conv, name="second")
    found = tasks(Workload(name="two", layers=(conv, second)), CLOUD)
    gradient = next(task.work for task in found if task.phase == "weight_gradient")
    assert isinstance(gradient, Gemm)
    assert (gradient.m, gradient.n, gradient.a_format.name, gradient.b_format.name) == (576, 64, "e4m3", "e5m2")
    narrow = replace(CLOUD, b_formats=(E4M3,))
    found = tasks(Workload(name="two", layers=(conv, second)), narrow)
    gradient = next(task.work for task in found if task.phase == "weight_gradient")
    assert isinstance(gradient, Gemm)
    assert (gradient.m, gradient.n, gradient.a_format.name) == (64, 576, "e5m2"), "errors have but one way in"


def test_depthwise_convolutions_go_where_they_are_faster() -> None:
    conv = Conv2d(name="dw", in_channels=32, out_channels=32, size=(8, 8), kernel=(3, 3), padding=(1, 1), groups=32)
    network = Workload(name="n", layers=(conv,))
    fast, slow = (tasks(network, replace(CLOUD, vector_lanes=lanes))[0].work for lanes in (1024, 1))
    assert isinstance(fast, VectorWork)
    assert isinstance(slow, Gemm)
    assert (fast.macs, fast.operations, slow.macs) == (2 * conv.macs, 4 * conv.macs, 2 * conv.macs)
    assert (slow.groups, slow.m, slow.k, slow.n) == (32, 128, 9, 1)
    pairs = replace(conv, groups=16)
    assert isinstance(tasks(Workload(name="n", layers=(pairs,)), CLOUD)[0].work, Gemm)


def test_updates_move_what_is_kept() -> None:
    """112 parameters of the convolution: weights and velocity of 16 bits twice, a gradient of 16, a weight of 8."""
    update = next(task.work for task in tasks() if task.phase == "update")
    assert update == UpdateWork(parameters=108, reads=108 * 6, writes=108 * 5, master=DLFLOAT16)
    assert update.operations == 6 * 108


def test_a_tied_matrix_has_one_update() -> None:
    layers = (
        Embedding(name="wte", entries=20, width=4, rows=3),
        Linear(name="block", in_features=4, out_features=4, rows=3, bias=False),
        Linear(name="head", in_features=4, out_features=20, rows=3, bias=False, tied=True),
    )
    found = tasks(Workload(name="gpt", layers=layers))
    assert [task.name for task in found if task.phase == "update"] == ["wte", "block"]
    assert [task.name for task in found if task.phase == "weight_gradient"] == ["head", "block", "wte"]
    assert [task.name for task in found if task.phase == "data_gradient"] == ["head", "block"]


def test_gradients_of_micro_batches_are_added_up() -> None:
    found = tasks(request=replace(TRAINING, accumulate=4))
    assert {task.repeats for task in found if task.phase in ("forward", "data_gradient")} == {4}
    assert {task.repeats for task in found if task.phase == "update"} == {1}
    sums = [task for task in found if task.phase == "weight_gradient" and isinstance(task.work, VectorWork)]
    assert [(task.name, task.repeats) for task in sums] == [("fc", 3), ("hidden", 3), ("conv", 3)]
    assert sums[0].work == VectorWork(operations=50, reads=200, writes=100, bits=16)


def test_recomputing_trades_time_for_memory() -> None:
    network = workload_named("resnet18")
    plain, again = (
        Step(network, CLOUD, RECIPES["hybrid"], replace(TRAINING, recompute=recompute)) for recompute in (False, True)
    )
    assert again.kept_bytes() < plain.kept_bytes() / 2
    extra = [task for task in again.tasks() if task.phase == "recompute"]
    whole = [task for task in plain.tasks() if task.phase == "forward"]
    assert [task.layers for task in extra] == [task.layers for task in whole[: len(extra)]]
    assert 0 < len(extra) < len(whole), "the last segment's activations are still there"
    assert len(list(again.tasks())) == len(list(plain.tasks())) + len(extra)
    assert Step(network, CLOUD, RECIPES["hybrid"], Request()).kept_bytes() == 0


def test_kept_activations_by_hand() -> None:
    """Inputs of products (8 bits) and what vector chains begin with (16 bits), for two inputs."""
    products = 3 * 36 + 144 + 10
    wide = 144 + 10 + 5
    assert Step(NETWORK, TINY, RECIPES["hybrid"], TRAINING).kept_bytes() == 2 * (products + 2 * wide)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pass_": "backward"}, "pass must be one of forward, training, not 'backward'"),
        ({"batch": 0}, "batch must be an integer in 1..65536, not 0"),
        ({"accumulate": 0}, "accumulate must be an integer in 1..65536, not 0"),
        ({"pass_": "forward", "accumulate": 2}, "accumulate and recompute must be left out where pass is not training"),
        (
            {"pass_": "forward", "recompute": True},
            "accumulate and recompute must be left out where pass is not training",
        ),
    ],
)
def test_mistakes(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        replace(TRAINING, **changes)  # type: ignore[arg-type]
