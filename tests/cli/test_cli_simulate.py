"""`quaver simulate` and `quaver formats` as programs and people see them."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from quaver.golden import FORMATS, PRESETS
from quaver.sim import simulate

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
    assert len(answer["layers"]) == 21


def test_options_reach_the_simulation(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("rows = 32\ncolumns = 8\nchunk = 16\n", encoding="utf-8")
    arguments = ["--machine", str(path), "--pass", "forward", "--batch", "3", "--layer", "fc", "--json"]
    answer = json.loads(quaver("simulate", "resnet18", *arguments))
    assert (answer["machine"], answer["batch"]) == ("mine", 3)
    assert [layer["name"] for layer in answer["layers"]] == ["fc"]
    assert answer["layers"][0]["m"] == 3


@pytest.mark.parametrize("columns", ["40", "80", "100"])
def test_table_is_whole_at_any_width(columns: str) -> None:
    lines = [line.rstrip() for line in quaver("simulate", "resnet18", COLUMNS=columns).splitlines()]
    assert lines[0] == "resnet18 on cloud (128 x 128), forward pass, batch 1"
    assert max(map(len, lines[:29])) <= 80
    assert not any("…" in line for line in lines)
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    total = simulate("resnet18", PRESETS["cloud"])
    assert rows["conv1"][:4] == ["12544", "147", "64", "118.0"]
    assert rows["layer2.0.downsample.0"][:3] == ["784", "64", "128"]
    assert rows["total"][:2] == ["1,814.1", f"{total.cycles:,}"]
    assert rows["figures"] == ["Horowitz,", "ISSCC", "2014,", "45", "nm"]


def test_answer_comes_at_once() -> None:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        quaver("simulate", "resnet18", "--machine", "cloud", "--json")
        times.append(time.perf_counter() - start)
    assert min(times) < 2


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
