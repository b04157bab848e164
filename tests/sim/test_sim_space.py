"""Spaces: notation, combinations, constraints, samples, keys, and mistakes in the file."""

import json
import re
from pathlib import Path

import pytest

from quaver.golden import PRESETS, Machine
from quaver.sim import space as module
from quaver.sim.constraint import Constraint
from quaver.sim.space import Space
from quaver.sim.space_values import machine_keys, value_at, values_of


def loaded(folder: Path, text: str) -> Space:
    path = folder / "space.toml"
    path.write_text(text if "workloads" in text else f'workloads = "lenet5"\n{text}', encoding="utf-8")
    return Space.load(path)


def values(space: Space, *keys: str) -> list[tuple[object, ...]]:
    return [tuple(value_at(table, key) for key in keys) for table in space.machines()]


def test_documented_example(tmp_path: Path) -> None:
    lines = [line[4:] for line in (module.__doc__ or "").splitlines() if line.startswith("    ") or not line]
    text = re.sub('"nets/mine.onnx"', '"lenet5"', "\n".join(lines))
    space = loaded(tmp_path, text)
    assert [workload.name for workload in space.workloads] == ["resnet50", "lenet5"]
    assert [request.batch for request in space.requests] == [1, 8]
    assert space.size == 2 * 4 * 3 * 2 * 2 * 2 * 3 * 2
    assert len(list(space.machines())) == 500
    assert len(list(space.points())) == 500 * 2 * 2
    assert set(space.varied) == {
        *("dataflow", "rows", "clock_mhz", "memory.buffer_kib", "a_formats", "inner", "columns", "vector_lanes"),
        *("memory.dram", "memory.dram_gb_per_s"),
    }


def test_example_of_2000_machines() -> None:
    space = Space.load(Path(__file__).parents[2] / "examples" / "sweep_resnet50.toml")
    machines = [Machine.from_dict(table) for table in space.machines()]
    assert len(set(machines)) == space.size == len(list(space.points())) == 2000


def test_combinations_in_order(tmp_path: Path) -> None:
    space = loaded(tmp_path, "[machine]\nrows = [4, 8]\nchunk = 4\nmemory.buffer_kib = [1, 2]\n")
    assert values(space, "rows", "memory.buffer_kib", "chunk") == [(4, 1, 4), (4, 2, 4), (8, 1, 4), (8, 2, 4)]
    assert space.varied == ("rows", "memory.buffer_kib")
    cloud = PRESETS["cloud"].to_dict()
    for table in space.machines():
        assert {key for key in cloud if table[key] != cloud[key]} == {"rows", "chunk", "memory"}
        memory = table["memory"]
        assert isinstance(memory, dict)
        assert memory | {"buffer_kib": 24576} == cloud["memory"]


def test_three_ways_to_name_a_key_of_a_table(tmp_path: Path) -> None:
    ways = ["[machine]\nmemory.dram_latency_ns = [1, 2]", '[machine]\n"memory.dram_latency_ns" = [1, 2]']
    for text in [*ways, "[machine.memory]\ndram_latency_ns = [1, 2]"]:
        assert values(loaded(tmp_path, text), "memory.dram_latency_ns") == [(1.0,), (2.0,)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{from = 16, to = 128, factor = 2}", [16, 32, 64, 128]),
        ("{from = 16, to = 127, factor = 2}", [16, 32, 64]),
        ("{from = 3, to = 11, step = 4}", [3, 7, 11]),
        ("{from = 5, to = 5, step = 1}", [5]),
        ("{from = 0.1, to = 0.3, step = 0.1}", [0.1, 0.2, 0.3]),
        ("{from = 1, to = 3, factor = 1.5}", [1.0, 1.5, 2.25]),
        ("{from = 1e-3, to = 1, factor = 10}", [0.001, 0.01, 0.1, 1.0]),
        ("7", [7]),
        ("[7, 9]", [7, 9]),
    ],
)
def test_values(tmp_path: Path, text: str, expected: list[float]) -> None:
    (key, given), *_ = module.tomllib.loads(f"clock_mhz = {text}").items()
    found = values_of(key, given)
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


def test_lists_and_tables_as_values(tmp_path: Path) -> None:
    one = loaded(tmp_path, '[machine]\na_formats = ["e4m3", "bf16"]')
    assert values(one, "a_formats") == [(["e4m3", "bf16"],)]
    text = '[machine]\na_formats = [["e4m3"], ["e5m2"]]\ninner = ["exact", {format = "fp32", rounding = "rtz"}]'
    several = loaded(tmp_path, text)
    machines = [Machine.from_dict(table) for table in several.machines()]
    assert [machine.a_formats[0].name for machine in machines] == ["e4m3", "e4m3", "e5m2", "e5m2"]
    assert [str(machine.inner) == "exact" for machine in machines] == [True, False] * 2
    assert machines[1].inner_code.bits == 32
    assert machines[1].inner_rounding.mode == "rtz"
    partly = loaded(tmp_path, '[machine]\nmemory = [{buffer_kib = 64}, {dram = "ddr", dram_gb_per_s = 9}]')
    expected = [(64, "hbm2", 512.0), (24576, "ddr", 9.0)]
    assert values(partly, "memory.buffer_kib", "memory.dram", "memory.dram_gb_per_s") == expected


def test_tied(tmp_path: Path) -> None:
    text = '[machine]\nrows = [64, 128]\n[[tied]]\nmemory.dram = ["ddr", "hbm2", "hbm2"]\nclock_mhz = [1, 2, 3]'
    expected = [(r, d, c) for r in (64, 128) for d, c in (("ddr", 1.0), ("hbm2", 2.0), ("hbm2", 3.0))]
    assert values(loaded(tmp_path, text), "rows", "memory.dram", "clock_mhz") == expected


def test_where(tmp_path: Path) -> None:
    text = "[machine]\nrows = [1, 2, 4, 8]\ncolumns = [1, 2, 4, 8]\nmemory.buffer_kib = [4, 8]"
    where = 'where = ["rows * columns <= 8", "memory.buffer_kib > rows and not (columns == 1)"]\n'
    pairs = values(loaded(tmp_path, where + text), "rows", "columns", "memory.buffer_kib")
    sides = (1, 2, 4, 8)
    assert pairs == [(r, c, b) for r in sides for c in sides for b in (4, 8) if r * c <= 8 and b > r and c != 1]
    assert len(pairs) > 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rows + 2 * columns == 14", True),
        ("(rows + 2) * columns == 14", False),
        ("1 < rows <= 4 < columns", True),
        ("1 < rows < 4 < columns", False),
        ("dataflow in ['ws', 'os']", True),
        ("dataflow not in ('ws', 'os')", False),
        ("rows % 3 == 1 or rows / 0 > 1", True),
        ("rows // 3 == 1 and -columns < 0", True),
        ("not rows", False),
        ("memory.dram == 'hbm2'", True),
    ],
)
def test_constraints(text: str, expected: bool) -> None:
    table = {"rows": 4, "columns": 5, "dataflow": "ws", "memory": {"dram": "hbm2"}}
    assert Constraint.parse(text, machine_keys()).holds(lambda key: value_at(table, key)) is expected


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "rows.real", "rows ** 9", "[r for r in (1,)]", "lambda: 1", "rows if rows else 1", "'a'[0]"],
)
def test_no_other_python(text: str) -> None:
    with pytest.raises(ValueError, match="in "):
        Constraint.parse(text, machine_keys())


def test_samples(tmp_path: Path) -> None:
    axes = "[machine]\nrows = {from = 1, to = 1000, step = 1}\ncolumns = {from = 1, to = 1000, step = 1}\n"
    wide = axes + "vector_lanes = {from = 1, to = 300, step = 1}\nseed = {from = 0, to = 300, step = 1}\n"

    def drawn(text: str, head: str) -> list[tuple[object, ...]]:
        return values(loaded(tmp_path, head + text), "rows", "columns", "vector_lanes", "seed")

    some = drawn(wide, "sample = 50\nseed = 3\n")
    assert len(set(some)) == 50
    assert drawn(wide, "sample = 80\nseed = 3\n")[:50] == some
    assert not set(some) & set(drawn(wide, "sample = 50\n"))
    small = [pair[0] for pair in drawn(axes, 'sample = 40\nwhere = "rows <= 20"\n')]
    assert len(small) == 40
    assert max(small) <= 20  # type: ignore[type-var]
    everything = drawn("[machine]\nrows = [1, 2, 4]", "sample = 9\n")
    assert sorted(row for row, *_ in everything) == [1, 2, 4]  # type: ignore[type-var]


def test_keys_are_of_content(tmp_path: Path) -> None:
    def keys(text: str) -> list[str]:
        return [point.key for point in loaded(tmp_path, text).points()]

    one = keys("[machine]\nrows = 64")
    assert keys("[machine]\nrows = [64, 128]")[0] == one[0]
    assert keys("[[tied]]\nrows = [64, 64]\nclock_mhz = [1000, 1000.0]") == one
    (tmp_path / "other.toml").write_text(
        "\n".join(
            f"{key} = {json.dumps(value)}"
            for key, value in PRESETS["cloud"].to_dict().items()
            if key != "name" and not isinstance(value, dict)
        )
        + '\nmemory = {buffer_kib = 24576, dram = "hbm2", dram_gb_per_s = 512, dram_burst_bytes = 64}\n',
        encoding="utf-8",
    )
    assert keys('base = "other.toml"\n[machine]\nrows = 64') == one
    others = [
        keys(text)[0]
        for text in (
            "[machine]\nrows = 128",
            "batch = 2\n[machine]\nrows = 64",
            'pass = "training"\n[machine]\nrows = 64',
            'recipe = "bf16"\n[machine]\nrows = 64',
            'workloads = "ncf"\n[machine]\nrows = 64',
            "[machine]\nrows = 64\nmemory.dram_latency_ns = 99",
        )
    ]
    assert len({*others, *one}) == len(others) + 1


def test_workload_files_are_beside_the_space(tmp_path: Path) -> None:
    path = tmp_path / "nets" / "mine.csv"
    path.parent.mkdir()
    path.write_text("Layer, M, N, K\na, 3, 4, 5\n", encoding="utf-8")
    space = loaded(tmp_path, 'workloads = ["nets/mine.csv", "lenet5"]')
    assert [workload.name for workload in space.workloads] == ["mine", "lenet5"]
    first = next(space.points()).key
    path.write_text("Layer, M, N, K\na, 3, 4, 6\n", encoding="utf-8")
    assert next(loaded(tmp_path, 'workloads = "nets/mine.csv"').points()).key != first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rows = [1]", "key must be one of workloads, pass, .*, tied, not 'rows'"),
        ("[machine]\nrow = [1]", "key of machine must be one of rows, columns, .*, technology, not 'row'"),
        ("[machine]\nname = 'a'", "key of machine must be one of .*, not 'name'"),
        ("[machine.memory]\nbuffer = 1", "key of machine must be one of .*, not 'memory.buffer'"),
        ("[machine]\nrows = ['a']", "machine.rows must be an integer, not 'a'"),
        ("[machine]\nrows = [1, 2.5]", "machine.rows must be an integer, not 2.5"),
        ("[machine]\nrows = true", "machine.rows must be an integer, not True"),
        ("[machine]\ndataflow = 1", "machine.dataflow must be a string, not 1"),
        ("[machine]\ns2fp8 = [0, 1]", "machine.s2fp8 must be true or false, not 0"),
        ("[machine]\nclock_mhz = inf", "machine.clock_mhz must be a finite number, not inf"),
        ("[machine]\nmemory.dram_gb_per_s = ['fast']", "machine.memory.dram_gb_per_s must be a finite number, not .*"),
        ("[machine]\na_formats = 'e4m3'", "machine.a_formats must be a list, not 'e4m3'"),
        ("[machine]\ninner = ['none', 3]", "inner must be a string, not 3"),
        ("[machine]\ninner = [{bits = 3}]", "key of machine must be one of .*, not 'inner.bits'"),
        ("[machine]\nrows = []", r"rows must have at least one value, not \[\]"),
        ("[machine]\nrows = [2, 2]", "rows must have different values, not 2 twice"),
        ("[machine]\nrows = {from = 1}", "rows must be a range with from, to and either step or factor, not .*"),
        ("[machine]\nrows = {from = 1, to = 2, by = 1}", "key of rows must be one of from, to, step, factor, not 'by'"),
        ("[machine]\nrows = {from = 1, to = 'a', step = 1}", "to of rows must be a finite number, not 'a'"),
        ("[machine]\nrows = {from = 1, to = 9, step = 0}", "rows must be a range that rises from from to to, not .*"),
        ("[machine]\nrows = {from = 1, to = 9, factor = 1}", "rows must be a range that rises from from to to, not .*"),
        ("[machine]\nrows = {from = 9, to = 1, step = 1}", "rows must be a range that rises from from to to, not .*"),
        ("[machine]\nseed = {from = 0, to = 99999, step = 1}", "seed must be a range of at most 65536 values, not .*"),
        ("machine = 3", "machine must be a table, not 3"),
        ("tied = 3", r"tied must be tables, each under \[\[tied\]\]"),
        ("[[tied]]\nrows = [1, 2]\ncolumns = [1]", "tied must have lists of equal length, not 2 of rows, 1 of columns"),
        ("[[tied]]\nrows = []\ncolumns = []", "rows, columns must have at least one value"),
        ("[machine]\nrows = 1\n[[tied]]\nrows = [1]", "machine.rows must be on one axis, not on that of rows, too"),
        (
            "[machine]\ninner = ['exact']\n[[tied]]\ninner.format = ['fp32']",
            "machine.inner.format must be on one axis, not on that of inner, too",
        ),
        ("batch = 0", "batch must be an integer in 1..65536, not 0"),
        ("batch = ['a']", "batch must be an integer in 1..65536, not 'a'"),
        ("pass = 'back'", "pass must be one of forward, training, not 'back'"),
        ("recipe = [1]", "recipe must be a string or a list of strings, not 1"),
        ("recipe = 'mine'", "recipe must be one of .*, not 'mine'"),
        ("base = 'big'", "machine must be one of .*, or a .toml file, not 'big'"),
        ("base = 'big.toml'", ".*/big.toml: cannot be read: No such file or directory"),
        ("workloads = 'vgg'", "workload must be one of .*, an .onnx or a .csv file, not 'vgg'"),
        ("workloads = 'a.csv'", ".*/a.csv: there is no such file"),
        ("# workloads", "workloads must name at least one workload"),
        ("where = 'rows'\nsample = 0", "sample must be an integer in 1..262144, not 0"),
        ("seed = -1", "seed must be an integer in 0..4294967295, not -1"),
        ("where = 3", "where must be a string or a list of strings, not 3"),
        ("where = 'rows <'", "'rows <' is no comparison of keys: invalid syntax"),
        ("where = 'row < 3'", "key in 'row < 3' must be one of .*, not 'row'"),
        ("where = 'rows < dataflow'", "'rows < dataflow' cannot be computed: .*"),
        (
            "[machine]\nseed = {from = 1, to = 600, step = 1}\nrows = {from = 1, to = 600, step = 1}",
            "sample must be given where there are more than 262144 machines, not 360000",
        ),
        ("rows = ", "not a TOML file: .*"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    path = re.escape(str(tmp_path / "space.toml"))
    with pytest.raises(ValueError, match=f"^{path}: {message}$"):
        loaded(tmp_path, text)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.toml: cannot be read: No such file or directory$"):
        Space.load(tmp_path / "none.toml")
