"""`quaver simulate` and `quaver formats` as programs and people see them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from quaver.cli.simulation_report import CAUSES, COMPONENTS
from quaver.golden import FORMATS, PRESETS, Machine
from quaver.sim import accelerator_cycles, simulate

RUN = "import sys; from quaver.cli.main import main; sys.exit(main())"


def quaver(*arguments: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", RUN, *arguments],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | environment,
        timeout=60,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_json_is_the_simulation() -> None:
    answer = json.loads(quaver("simulate", "resnet18", "--json"))
    assert answer == simulate("resnet18", PRESETS["cloud"]).to_dict()
    assert len([layer for layer in answer["layers"] if layer["unit"] == "array"]) == 21


def test_options_reach_the_simulation(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("rows = 32\ncolumns = 8\nchunk = 16\n[memory]\nbuffer_kib = 99\n", encoding="utf-8")
    arguments = ["--machine", str(path), "--pass", "training", "--batch", "3", "--layer", "fc", "--json"]
    arguments += ["--recipe", "micikevicius2022", "--accumulate", "2", "--recompute"]
    answer = json.loads(quaver("simulate", "resnet18", *arguments))
    asked = {"machine": "mine", "batch": 3, "pass": "training", "recipe": "micikevicius2022"}
    asked |= {"accumulate": 2, "recompute": True}
    assert {key: answer[key] for key in asked} == asked
    assert {layer["name"] for layer in answer["layers"]} == {"fc"}
    assert answer["layers"][0]["m"] == 3
    found = simulate(
        "resnet18",
        Machine.load(str(path)),
        pass_="training",
        batch=3,
        layer="fc",
        recipe="micikevicius2022",
        accumulate=2,
        recompute=True,
    )
    assert answer == found.to_dict()


@pytest.mark.parametrize("columns", ["40", "80", "100"])
def test_table_is_whole_at_any_width(columns: str) -> None:
    lines = [line.rstrip() for line in quaver("simulate", "resnet18", COLUMNS=columns).splitlines()]
    assert lines[0] == "resnet18 on cloud (128 x 128), forward pass, batch 1, recipe hybrid"
    assert max(map(len, lines[:30])) <= 80
    assert not any("…" in line for line in lines)
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    total = simulate("resnet18", PRESETS["cloud"])
    assert rows["conv1"][:4] == ["12544", "147", "64", "118.0"]
    assert rows["layer2.0.downsample.0"][:3] == ["784", "64", "128"]
    assert rows["total"][:2] == ["1,814.1", f"{total.cycles:,}"]
    assert rows["array"][0] == f"{100 * total.gemm_utilization:.1f}"
    assert rows["figures"][:4] == ["Horowitz,", "ISSCC", "2014,", "45"]
    # Every cause and every component that is not 0 has a line, in words.
    text = "\n".join(lines)
    for words, parts in ((CAUSES, total.causes.to_dict()), (COMPONENTS, total.energy.to_dict())):
        assert set(words) == set(parts)
        assert all((words[name] in text) == (part > 0) for name, part in parts.items() if name not in ("dram", "mac"))
    assert f"{total.causes.edges:,}" in text


def test_a_training_step_has_a_row_per_layer() -> None:
    lines = quaver("simulate", "lenet5", "--pass", "training", "--machine", "tiny").splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.strip()}
    shares = [float(share) for share in rows["fc1"][:3]]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert min(shares) > 10
    first = [float(share) for share in rows["conv1"][:3]]
    assert first[1] == 0, "nobody wants the gradient of the image"
    assert rows["kept"][1] in ("KiB", "MiB")


def test_scalesim_model(tmp_path: Path) -> None:
    path = tmp_path / "g.csv"
    path.write_text("Layer, M, N, K\nfirst, 10, 20, 300\nsecond, 1, 2, 3\n", encoding="utf-8")
    answer = json.loads(quaver("simulate", str(path), "--model", "scalesim", "--json"))
    assert answer["model"] == "scalesim"
    cycles = [3 * (2 * 128 + 128 + 10 - 2) - 1, 2 * 128 + 128 + 1 - 2 - 1]
    assert [layer["cycles"] for layer in answer["layers"]] == cycles
    text = quaver("simulate", str(path), "--model", "scalesim")
    assert f"{sum(cycles):,} cycles" in text


def test_stepping(tmp_path: Path) -> None:
    path = tmp_path / "g.csv"
    path.write_text("Layer, M, N, K\ng, 5, 7, 9\n", encoding="utf-8")
    answer = json.loads(quaver("simulate", str(path), "--machine", "tiny", "--fidelity", "cycle", "--json"))
    (layer,) = answer["layers"]
    assert answer["agrees"] is True
    assert (layer["results"], layer["wrong"]) == (35, 0)
    assert layer["cycles"] == layer["closed_form"] == accelerator_cycles(PRESETS["tiny"], 5, 9, 7)
    assert "agrees with the closed form" in quaver("simulate", str(path), "--machine", "tiny", "--fidelity", "cycle")


def test_formats_json() -> None:
    answer = json.loads(quaver("formats", "--json"))
    assert [fmt["name"] for fmt in answer] == list(FORMATS)
    by_name = {fmt["name"]: fmt for fmt in answer}
    e4m3 = by_name["e4m3"]
    assert (e4m3["exponent_bits"], e4m3["mantissa_bits"], e4m3["bias"]) == (4, 3, 7)
    assert (e4m3["max_finite"], e4m3["min_normal"], e4m3["min_positive"]) == (448, 2**-6, 2**-9)
    assert (e4m3["inf"], e4m3["nan"], e4m3["negative_zero"]) == (None, 0x7F, 0x80)
    e5m2 = by_name["e5m2"]
    assert (e5m2["max_finite"], e5m2["inf"], e5m2["nan"]) == (57344, 0x7C, 0x7E)
    assert all(fmt["source"] for fmt in answer)


def test_formats_table() -> None:
    lines = [line.split() for line in quaver("formats").splitlines()]
    assert ["e4m3", "1-4-3", "7", "448", "2^-6", "2^-9", "-", "7f", "80"] in lines
    assert ["dlfloat16", "1-6-9", "31", "8.57316e+09", "4.66571e-10", "4.66571e-10", "-", "7fff", "-"] in lines
    assert ["fp16", "IEEE", "754", "binary16"] in lines
    assert {line[0] for line in lines if line} >= set(FORMATS)


def test_no_arguments_show_the_commands() -> None:
    assert quaver() == quaver("--help")
    for command in ("simulate", "formats", "generate", "verify", "synth"):
        assert f"\n  {command} " in quaver()
    assert "completion" not in quaver()


def test_reader_that_leaves() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    for arguments in (["formats", "--json"], ["formats"]):
        command = [sys.executable, "-c", RUN, *arguments]
        result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60)
        assert (result.returncode, result.stderr) == (1, b"")
    os.close(writer)


def test_simulation_needs_no_hardware() -> None:
    code = (
        "import sys; sys.argv[1:] = ['simulate', 'resnet18', '--json']\n"
        "from quaver.cli.main import main; main()\n"
        "unwanted = {'amaranth', 'cocotb', 'pyosys', 'rich', 'quaver.hw', 'quaver.cosim', 'quaver.synth'}\n"
        "sys.exit(' '.join(unwanted & set(sys.modules)) or None)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
