"""Simulations of whole workloads: keys, sums, choices, and what must hold for any machine and any layer."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import PRESETS, RECIPES, Machine
from quaver.golden.catalog import FP16
from quaver.golden.errors import Unsuitable
from quaver.sim.event import Cycles
from quaver.sim.layers import Conv2d, Linear
from quaver.sim.lowering import Gemm
from quaver.sim.network import Workload
from quaver.sim.simulate import Simulation, simulate
from quaver.sim.step import UpdateWork
from quaver.sim.timing import accelerator_cycles
from quaver.sim.traffic import Traffic
from quaver.sim.vector_layers import Vector
from quaver.sim.workloads import WORKLOADS, workload_named
from tests.sim.draws import layers, machines

TINY, CLOUD = PRESETS["tiny"], PRESETS["cloud"]


def test_keys() -> None:
    """Other programs read these; a change breaks them."""
    result = simulate("resnet18", CLOUD, batch=2).to_dict()
    asked = {"workload": "resnet18", "machine": "cloud", "recipe": "hybrid", "pass": "forward", "batch": 2}
    assert list(result) == [*asked, "accumulate", "recompute", "layers", "total"]
    assert {key: result[key] for key in asked} == asked
    layers, total = result["layers"], result["total"]
    assert isinstance(layers, list)
    assert isinstance(total, dict)
    causes = ["macs", "edges", "weights", "sums", "fill", "vector", "update", "dram_bandwidth", "dram_latency"]
    components = ["mac", "accumulator", "scratchpad", "buffer", "dram", "vector", "update", "leakage"]
    for layer in layers:
        assert list(layer) == [
            *("name", "pass", "unit", "m", "k", "n", "groups", "repeats", "macs", "start", "cycles", "utilization"),
            *("causes", "traffic_bytes", "energy_pj", "energy_by_component_pj"),
        ]
    for table in (*layers, total):
        assert list(table["causes"]) == causes
        assert list(table["energy_by_component_pj"]) == components
    assert list(total) == [
        *("cycles", "macs", "utilization", "gemm_utilization", "causes", "traffic_bytes", "activations_kept_bytes"),
        *("energy_pj", "energy_by_component_pj", "pj_per_mac", "teraflops_per_watt", "time_s"),
    ]


def check_sums(simulation: Simulation) -> None:
    """Totals are sums of tasks, tasks follow each other, each total is the sum of its parts."""
    tasks = simulation.tasks
    assert simulation.cycles == sum(task.cycles for task in tasks)
    assert simulation.causes == sum((task.causes for task in tasks), Cycles())
    assert simulation.traffic == sum((task.traffic for task in tasks), Traffic())
    assert simulation.energy.total == pytest.approx(sum(task.energy.total for task in tasks))
    start = 0
    for task in tasks:
        assert task.start == start
        assert task.cycles == sum(task.causes.to_dict().values()) > 0
        assert all(value >= 0 for value in task.causes.to_dict().values())
        assert task.energy.total == pytest.approx(sum(task.energy.to_dict().values()))
        start += task.cycles


@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
@pytest.mark.parametrize("preset", PRESETS)
def test_total_is_the_sum(preset: str, dataflow: str) -> None:
    machine = replace(PRESETS[preset], dataflow=dataflow)
    simulation = simulate("resnet18", machine, pass_="training", batch=2)
    check_sums(simulation)
    assert simulation.time == pytest.approx(simulation.cycles / machine.clock_mhz / 1e6)
    assert 0 < simulation.utilization < simulation.gemm_utilization < 1


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_workload_runs(name: str) -> None:
    """All that is asked of the array or the vector unit is done: forward MACs are the network's."""
    network = workload_named(name)
    forward = simulate(network, CLOUD, batch=3)
    assert forward.macs == 3 * network.macs
    check_sums(forward)
    training = simulate(network, CLOUD, pass_="training", batch=3)
    check_sums(training)
    updated = sum(task.task.work.parameters for task in training.tasks if isinstance(task.task.work, UpdateWork))
    assert updated == network.parameters
    assert 2 * forward.macs <= training.macs <= 3.4 * forward.macs, "a gradient of a valid convolution gathers padding"


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(machines(kib=(4, 16, 64)), layers(), st.integers(1, 3), st.sampled_from(["forward", "training"]))
def test_conservation(machine: Machine, layer: object, batch: int, pass_: str) -> None:
    """No work is lost, and nothing is faster than its MACs, or its bytes, allow."""
    named = replace(layer, name="l")  # type: ignore[type-var]
    network = Workload(name="w", layers=(Linear(name="stem", in_features=2, out_features=2), named))
    try:
        simulation = simulate(network, machine, pass_=pass_, batch=batch)
    except Unsuitable:
        assert machine.memory.buffer_kib < 64
        return
    check_sums(simulation)
    peak, rate = machine.rows * machine.columns, machine.memory.dram_gb_per_s * 1e9 / (machine.clock_mhz * 1e6)
    done = {"forward": 0, "weight_gradient": 0}
    for task in simulation.tasks:
        work = task.task.work
        assert task.cycles >= task.traffic.dram / rate - 1e-6
        if isinstance(work, Gemm):
            assert task.unit == "array"
            assert task.cycles >= task.macs / peak
            assert task.traffic.dram_reads >= work.unique_bytes
            assert task.traffic.dram_writes >= work.result_bytes
        if task.task.phase in done:
            done[task.task.phase] += task.macs
    assert done["forward"] == batch * network.macs
    learnt = sum(part.macs for part in network.layers if isinstance(part, Conv2d | Linear))
    assert done["weight_gradient"] == (batch * learnt if pass_ == "training" else 0)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(machines(kib=(64,)), layers(), st.integers(1, 3))
def test_more_is_never_worse(machine: Machine, layer: object, batch: int) -> None:
    """More buffer never means more traffic; more bandwidth never means more cycles."""
    network = Workload(name="w", layers=(Linear(name="stem", in_features=2, out_features=2), layer))  # type: ignore[arg-type]

    def run(**memory: object) -> Simulation:
        changed = replace(machine, memory=replace(machine.memory, **memory))  # type: ignore[arg-type]
        return simulate(network, changed, pass_="training", batch=batch)

    traffic = [run(buffer_kib=kib).traffic.dram for kib in (8, 16, 32, 64, 512)]
    assert traffic == sorted(traffic, reverse=True)
    cycles = [run(dram_gb_per_s=rate).cycles for rate in (0.02, 0.1, 0.5, 3.0, 1e6)]
    assert cycles == sorted(cycles, reverse=True)


def test_layer_alone_is_as_in_the_whole() -> None:
    whole = simulate("resnet18", CLOUD, batch=4, pass_="training")
    for name in ("conv1", "layer1.0.bn1", "layer3.0.downsample.0", "fc"):
        alone = simulate("resnet18", CLOUD, batch=4, pass_="training", layer=name).tasks
        expected = [task for task in whole.tasks if name in task.task.layers]
        assert [replace(task, start=0) for task in alone] == [replace(task, start=0) for task in expected]
        assert alone


def test_groups_follow_each_other_without_a_pause() -> None:
    """8 products of 16 x 9 by 9 x 2 on `tiny`: three K tiles of 16 rows each; the array is filled and drained once."""
    grouped = Conv2d(name="c", in_channels=16, out_channels=16, size=(6, 6), kernel=(3, 3), groups=8)
    single = replace(grouped, in_channels=2, out_channels=2, groups=1)
    eight, one = (simulate(Workload(name="w", layers=(layer,)), TINY).tasks[0] for layer in (grouped, single))
    assert eight.causes.gemm - one.causes.gemm == 7 * 5 * 16
    assert eight.macs == 8 * one.macs
    assert one.causes.gemm == accelerator_cycles(TINY, 16, 18, 2)


def test_batch_scales_work_and_fills_the_array() -> None:
    one, many = simulate("resnet18", CLOUD), simulate("resnet18", CLOUD, batch=64)
    assert many.macs == 64 * one.macs
    assert one.gemm_utilization < many.gemm_utilization
    assert simulate("resnet18", CLOUD, batch=65536).macs == 65536 * one.macs


def test_faster_clock_changes_time_and_waiting() -> None:
    """Without DRAM to wait for the cycles stay; leakage halves with the time."""
    memory = replace(CLOUD.memory, dram_gb_per_s=1e12, dram_latency_ns=0)
    slow, fast = (simulate("resnet18", replace(CLOUD, clock_mhz=mhz, memory=memory)) for mhz in (500.0, 1000.0))
    assert slow.time == pytest.approx(2 * fast.time)
    assert slow.causes == fast.causes
    assert slow.energy.leakage == pytest.approx(2 * fast.energy.leakage)
    assert replace(slow.energy, leakage=0.0) == replace(fast.energy, leakage=0.0)


def test_vector_layers_take_the_longer_of_lanes_and_dram() -> None:
    """1000 ReLUs on 4 lanes: 250 cycles; 2000 bytes at 8 bytes a cycle: 250, at 4 bytes a cycle 500."""
    network = Workload(name="w", layers=(Vector(name="r", kind="relu", outputs=1000),))
    assert simulate(network, TINY).causes == Cycles(vector=250, dram_latency=5)
    half = replace(TINY, memory=replace(TINY.memory, dram_gb_per_s=0.2))
    assert simulate(network, half).causes == Cycles(vector=250, dram_bandwidth=250, dram_latency=5)
    assert simulate(network, half).gemm_utilization == 0


def test_updates_go_to_the_update_unit_where_it_has_the_format() -> None:
    """1-6-9 master weights on 4 lanes, FP32 ones on the vector unit's, six operations each."""
    network = Workload(name="w", layers=(Linear(name="l", in_features=100, out_features=10, bias=False),))
    memory = replace(TINY.memory, dram_gb_per_s=1e6, dram_latency_ns=0)
    for recipe, unit, causes in (
        ("hybrid", "update", Cycles(update=250 + TINY.update_latency)),
        ("micikevicius2022", "vector", Cycles(vector=1500)),
    ):
        last = simulate(network, replace(TINY, memory=memory), pass_="training", recipe=recipe).tasks[-1]
        assert (last.task.phase, last.unit, last.causes) == ("update", unit, causes)
    without = simulate(network, replace(TINY, memory=memory, update_lanes=0), pass_="training").tasks[-1]
    assert (without.unit, without.causes) == ("vector", Cycles(vector=1500))
    narrow = replace(TINY, memory=memory, update=replace(TINY.update, format=FP16))
    assert simulate(network, narrow, pass_="training").tasks[-1].unit == "vector", "16 bits, but of another format"


def test_micro_batches_repeat() -> None:
    one = simulate("lenet5", TINY, pass_="training", batch=2)
    four = simulate("lenet5", TINY, pass_="training", batch=2, accumulate=4)
    check_sums(four)
    assert four.macs == 4 * one.macs
    updates = [sum(t.cycles for t in s.tasks if t.task.phase == "update") for s in (one, four)]
    assert updates[0] == updates[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"workload": "vgg"}, f"workload must be one of {', '.join(WORKLOADS)}, not 'vgg'"),
        ({"pass_": "backward"}, "pass must be one of forward, training, not 'backward'"),
        ({"batch": 0}, "batch must be an integer in 1..65536, not 0"),
        ({"batch": 65537}, "batch must be an integer in 1..65536, not 65537"),
        (
            {"recipe": "fp7"},
            f"recipe must be one of {', '.join(RECIPES)}, not 'fp7'",
        ),
    ],
)
def test_mistakes(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        simulate(**({"workload": "resnet18", "machine": CLOUD} | arguments))  # type: ignore[arg-type]


def test_unknown_layer() -> None:
    with pytest.raises(ValueError, match=r"^layer of resnet18 must be one of conv1, .*, fc, .*not 'conv9'$"):
        simulate("resnet18", CLOUD, layer="conv9")
