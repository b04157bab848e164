"""SCALE-Sim's model against the reports of SCALE-Sim 3.0.0 itself, layer by layer."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from quaver.golden.machine_checks import Dataflow
from quaver.sim.scalesim import ScaleSimLayer, ScaleSimulation, scalesim_cycles, simulate_scalesim
from quaver.sim.scalesim_csv import TopologyRow, read_topology

DATA = Path(__file__).parent / "data/scalesim"
RUNS: list[dict[str, Any]] = json.loads((DATA / "reports.json").read_text(encoding="utf-8"))
DATAFLOWS: tuple[Dataflow, ...] = get_args(Dataflow)
ROW = TopologyRow(name="x", ifmap=(12, 11), filter=(3, 2), channels=5, filters=7, stride=(2, 2))


def of_topology(run: dict[str, Any]) -> ScaleSimulation:
    rows = read_topology(DATA / run["topology"])
    return simulate_scalesim("net", rows, dataflow=run["dataflow"], rows=run["rows"], columns=run["columns"])


def test_what_was_reported() -> None:
    """All three dataflows on square arrays and others, of the published network, synthetic layers and products."""
    synthetic = [(8, 8), (4, 16), (5, 3)]
    arrays = {"Resnet18.csv": [(32, 32), (128, 128)], "layers.csv": synthetic, "gemms.csv": synthetic}
    every = {(name, *array, dataflow) for name in arrays for array in arrays[name] for dataflow in DATAFLOWS}
    seen = [(run["topology"], run["rows"], run["columns"], run["dataflow"]) for run in RUNS]
    assert sorted(seen) == sorted(every)


@pytest.mark.parametrize("run", RUNS, ids=lambda run: "{topology}-{rows}x{columns}-{dataflow}".format(**run))
def test_layers_are_those_of_the_report(run: dict[str, Any]) -> None:
    """Cycles to the cycle, utilisations to the last digits; a depthwise row is one layer per channel there."""
    simulation = of_topology(run)
    layers = [replace(layer, groups=1) for layer in simulation.layers for _ in range(layer.groups)]
    assert len(layers) == len(run["layers"]) >= 6
    for layer, (name, cycles, overall, mapping, compute) in zip(layers, run["layers"], strict=True):
        assert layer.name == name.partition("Channel_")[0]
        assert layer.cycles == cycles
        assert 100 * layer.utilization == pytest.approx(overall, rel=1e-12)
        assert 100 * layer.mapping_efficiency == pytest.approx(mapping, rel=1e-12)
        assert 100 * layer.compute_utilization == pytest.approx(compute, rel=1e-12)
    assert simulation.cycles == sum(cycles for _, cycles, *_ in run["layers"])


@pytest.mark.parametrize(
    ("side", "dataflow", "cycles", "percent"),
    [
        (32, "ws", 2_519_815, 57.0),
        (32, "os", 1_718_353, 83.6),
        (32, "is", 2_838_997, 50.6),
        (128, "ws", 417_628, 21.5),
        (128, "os", 262_370, 34.2),
        (128, "is", 595_543, 15.1),
    ],
)
def test_totals_of_resnet18(side: int, dataflow: Dataflow, cycles: int, percent: float) -> None:
    """Sums over the reports of runs of the whole file."""
    rows = read_topology(DATA / "Resnet18.csv")
    simulation = simulate_scalesim("resnet18", rows, dataflow=dataflow, rows=side, columns=side)
    assert simulation.cycles == cycles
    assert round(100 * simulation.utilization, 1) == percent


def test_formulas_by_hand() -> None:
    """M, K, N = 9, 33, 5 on 8 x 4: five folds along K, two along M and two along N."""
    shape = {"m": 9, "k": 33, "n": 5}
    assert scalesim_cycles("ws", 8, 4, **shape) == 5 * 2 * (2 * 8 + 4 + 9 - 2) - 1
    assert scalesim_cycles("os", 8, 4, **shape) == 2 * 2 * (8 + 4 + 33 - 2) - 1
    assert scalesim_cycles("is", 8, 4, **shape) == 5 * 3 * (2 * 8 + 4 + 5 - 2) - 1
    layer = ScaleSimLayer(name="x", dataflow="ws", rows=8, columns=4, **shape)
    assert (layer.folds, layer.fold_cycles, layer.macs) == (10, 27, 9 * 33 * 5)
    assert layer.utilization == 9 * 33 * 5 / (32 * 269)
    assert layer.mapping_efficiency == 33 * 5 / 320


def test_rows_have_the_outputs_of_their_own_rule() -> None:
    (layer,) = simulate_scalesim("net", [ROW], dataflow="ws", rows=4, columns=4).layers
    assert layer.m == 6 * 6  # of which 5 x 5 fit


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_groups_take_turns(dataflow: Dataflow) -> None:
    """A result is a multiplication again, and what became of a row becomes of it."""
    for groups in (1, 5):
        row = replace(ROW, groups=groups)
        simulation = simulate_scalesim("net", [row], dataflow=dataflow, rows=4, columns=8)
        assert simulation.cycles == groups * scalesim_cycles(dataflow, 4, 8, 36, 30, 7)
        assert simulation.macs == groups * 36 * 30 * 7
        (layer,) = simulation.layers
        assert (layer.m, layer.k, layer.n, layer.groups) == (36, 30, 7, groups)
        assert layer.utilization == pytest.approx(replace(layer, groups=1).utilization)
        assert simulate_scalesim("net", [layer], dataflow=dataflow, rows=4, columns=8) == simulation


def test_dictionary() -> None:
    rows = [ROW, replace(ROW, name="y", groups=2)]
    simulation = simulate_scalesim("net", rows, dataflow="os", rows=4, columns=8, pass_="train", batch=2)
    found: dict[str, Any] = json.loads(json.dumps(simulation.to_dict()))
    layers, total = found.pop("layers"), found.pop("total")
    assert found == {
        "workload": "net",
        "model": "scalesim",
        "dataflow": "os",
        "rows": 4,
        "columns": 8,
        "pass": "train",
        "batch": 2,
    }
    assert [layer["name"] for layer in layers] == ["x", "y"]
    for layer, groups in zip(layers, (1, 2), strict=True):
        assert (layer["m"], layer["k"], layer["n"]) == (36, 30, 7)
        assert layer["macs"] == groups * 36 * 30 * 7
        assert layer["folds"] == 9
        assert layer["cycles"] == groups * (9 * (4 + 8 + 30 - 2) - 1)
        assert layer["utilization"] == pytest.approx(36 * 30 * 7 / (32 * (9 * 40 - 1)))
        assert layer["mapping_efficiency"] == pytest.approx(7 / 8)
        assert layer["compute_utilization"] == pytest.approx(7 / 8 * 30 / 40)
    assert total["cycles"] == simulation.cycles == sum(layer["cycles"] for layer in layers)
    assert total["macs"] == sum(layer["macs"] for layer in layers)
    assert total["utilization"] == total["macs"] / (32 * total["cycles"])


def test_what_is_refused() -> None:
    array: dict[str, Any] = {"dataflow": "ws", "rows": 4, "columns": 4}
    with pytest.raises(ValueError, match=r"^dataflow must be one of ws, os, is, not 'rs'$"):
        simulate_scalesim("net", [ROW], **(array | {"dataflow": "rs"}))
    with pytest.raises(ValueError, match=r"^columns must be an integer in 1\.\.281474976710656, not 0$"):
        simulate_scalesim("net", [ROW], **(array | {"columns": 0}))
    with pytest.raises(ValueError, match=r"^net: number of layers must be an integer in 1\.\.1048576, not 0$"):
        simulate_scalesim("net", [], **array)
    with pytest.raises(ValueError, match=r"^k must be an integer in 1\.\.281474976710656, not 0$"):
        scalesim_cycles("ws", 4, 4, 1, 0, 1)
