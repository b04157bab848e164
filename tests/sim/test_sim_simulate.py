"""Simulations of whole workloads: sums, keys, choices."""

import re
from dataclasses import replace

import pytest

from quaver.golden import PRESETS
from quaver.sim.layers import Conv2d
from quaver.sim.network import Workload
from quaver.sim.simulate import simulate
from quaver.sim.timing import accelerator_cycles
from quaver.sim.workloads import workload_named

TINY, CLOUD = PRESETS["tiny"], PRESETS["cloud"]


def test_keys() -> None:
    """Other programs read these; a change breaks them."""
    result = simulate("resnet18", CLOUD, batch=2).to_dict()
    assert list(result) == ["workload", "machine", "pass", "batch", "layers", "total"]
    assert [result[key] for key in ("workload", "machine", "pass", "batch")] == ["resnet18", "cloud", "forward", 2]
    layers, total = result["layers"], result["total"]
    assert isinstance(layers, list)
    assert isinstance(total, dict)
    assert {tuple(layer) for layer in layers} == {
        ("name", "m", "k", "n", "macs", "cycles", "utilization", "energy_pj"),
    }
    assert list(total) == ["cycles", "macs", "utilization", "energy_pj", "time_s"]


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("preset", PRESETS)
def test_total_is_the_sum(preset: str, dataflow: str) -> None:
    machine = replace(PRESETS[preset], dataflow=dataflow)
    simulation = simulate("resnet18", machine)
    assert simulation.macs == workload_named("resnet18").macs
    assert simulation.cycles == sum(layer.cycles for layer in simulation.layers)
    assert simulation.energy.total == pytest.approx(sum(layer.energy.total for layer in simulation.layers))
    assert simulation.time == pytest.approx(simulation.cycles / machine.clock_mhz / 1e6)
    assert 0 < simulation.utilization < 1
    for layer in simulation.layers:
        assert 0 < layer.utilization < 1
        assert min(layer.energy.mac, layer.energy.sram, layer.energy.dram) > 0


def test_layer_alone_is_as_in_the_whole() -> None:
    whole = simulate("resnet18", CLOUD, batch=4)
    for layer in whole.layers:
        assert simulate("resnet18", CLOUD, batch=4, layer=layer.gemm.name).layers == (layer,)


def test_groups_run_one_after_the_other() -> None:
    depthwise = Conv2d(name="c", in_channels=8, out_channels=8, size=(6, 6), kernel=(3, 3), groups=8)
    layer = simulate(Workload(name="w", layers=(depthwise,)), TINY).layers[0]
    assert layer.cycles == 8 * accelerator_cycles(TINY, 16, 9, 1)
    assert layer.gemm.macs == 8 * 16 * 9
    assert layer.utilization == layer.gemm.macs / (layer.cycles * 16)


def test_batch_scales_work_and_fills_the_array() -> None:
    one, many = simulate("resnet18", CLOUD), simulate("resnet18", CLOUD, batch=64)
    assert many.macs == 64 * one.macs
    assert one.utilization < many.utilization
    assert simulate("resnet18", CLOUD, batch=65536).macs == 65536 * one.macs


def test_faster_clock_changes_time_alone() -> None:
    slow, fast = (simulate("resnet18", replace(CLOUD, clock_mhz=mhz)) for mhz in (500.0, 1000.0))
    assert slow.time == pytest.approx(2 * fast.time)
    assert slow.layers == fast.layers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workload": "vgg"}, "workload must be one of resnet18, not 'vgg'"),
        ({"pass_": "training"}, "pass must be one of forward, not 'training'"),
        ({"batch": 0}, "batch must be an integer in 1..65536, not 0"),
        ({"batch": 65537}, "batch must be an integer in 1..65536, not 65537"),
    ],
)
def test_mistakes(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        simulate(**({"workload": "resnet18", "machine": CLOUD} | arguments))  # type: ignore[arg-type]


def test_unknown_layer() -> None:
    with pytest.raises(ValueError, match=r"^layer of resnet18 must be one of conv1, .*, fc, not 'conv9'$"):
        simulate("resnet18", CLOUD, layer="conv9")
