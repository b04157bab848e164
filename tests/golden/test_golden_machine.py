"""Descriptions of formats, roundings, arithmetics and machines: what is refused, in which words, and what is kept."""

import dataclasses
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import (
    FORMATS,
    PRESETS,
    Accumulator,
    AlignedSum,
    Arithmetic,
    ExactSum,
    Format,
    Machine,
    Memory,
    Rounding,
    format_named,
    noune,
    sr,
)
from quaver.golden.catalog import BF16, E4M3, E4M3FNUZ, E5M2, FP16, FP32

NAMES = ", ".join(FORMATS)
FIELDS = (
    "name, rows, columns, dataflow, a_formats, b_formats, inner, outer, chunk, seed, mac_depth, sr_adder, "
    "accumulator_depth, output_formats, output_random_bits, s2fp8, "
    "update_lanes, update, scratchpad_depth, queue_depth, memory, vector_lanes, clock_mhz, technology"
)


def message(call) -> str:
    with pytest.raises(ValueError) as error:
        call()
    text = str(error.value)
    assert "\n" not in text
    return text


# ------------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize(
    "name, largest, min_normal, smallest",
    [  # PAPERS: the numbers that the sources print
        ("e5m2", 57344, 2**-14, 2**-16),
        ("e4m3", 448, 2**-6, 2**-9),
        ("e4m3fnuz", 240, 2**-7, 2**-10),
        ("e5m2fnuz", 57344, 2**-15, 2**-17),
        ("e4m3b11fnuz", 30, 2**-10, 2**-13),
        ("e4m3_ieee", 240, 2**-6, 2**-9),
        ("noune_143b10", 2**5 * 1.875, 2**-9, 2**-12),
        ("noune_152b32", 2**-1 * 1.75, 2**-31, 2**-33),
        ("e5m2_wang", 2**16 * 1.75, 2**-14, 2**-16),
        ("hfp8_143", 30, 2**-10, 2**-13),
        ("dlfloat16", 8573157376, 2**-31 * (1 + 2**-9), 2**-31 * (1 + 2**-9)),
        ("e6m5", 4227858432, 2**-30, 2**-30),
        ("e6m5_sub", 4227858432, 2**-30, 2**-35),
        ("e6m9", 2**31 * (2 - 2**-9), 2**-30, 2**-39),
        ("fp16", 65504, 2**-14, 2**-24),
        ("bf16", 2**127 * (2 - 2**-7), 2**-126, 2**-133),
        ("e8m13", 2**127 * (2 - 2**-13), 2**-126, 2**-139),
        ("fp32", 2**127 * (2 - 2**-23), 2**-126, 2**-149),
    ],
)
def test_ranges_are_those_of_the_sources(name, largest, min_normal, smallest):
    fmt = FORMATS[name]
    assert (fmt.max_finite, fmt.min_normal, fmt.min_positive) == (largest, min_normal, smallest)
    assert fmt.source


def test_nouns_format_has_a_free_bias():
    for bias in (1, 7, 10, 15):
        fmt = noune(4, 3, bias)
        assert fmt.max_finite == 2.0 ** (15 - bias) * 1.875
        assert fmt.min_normal == 2.0 ** (1 - bias)
        assert fmt.min_positive == 2.0 ** (1 - bias - 3)
        assert fmt.name == f"noune_143b{bias}"


def test_names_are_unique_and_known():
    assert all(name == fmt.name == str(fmt) for name, fmt in FORMATS.items())
    assert format_named("fp16") is FP16
    assert message(lambda: format_named("fp12")) == f"format must be one of {NAMES}, not 'fp12'"
    assert message(lambda: format_named(7, "outer")) == f"outer must be one of {NAMES}, not 7"


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"exponent_bits": 0}, "x: exponent_bits must be an integer in 1..8, not 0"),
        ({"exponent_bits": 9}, "x: exponent_bits must be an integer in 1..8, not 9"),
        ({"mantissa_bits": 0}, "x: mantissa_bits must be an integer in 1..23, not 0"),
        ({"mantissa_bits": -1, "specials": "fn"}, "x: mantissa_bits must be an integer in 0..23, not -1"),
        ({"mantissa_bits": 24}, "x: mantissa_bits must be an integer in 1..23, not 24"),
        ({"mantissa_bits": 2.0}, "x: mantissa_bits must be an integer in 1..23, not 2.0"),
        ({"bias": -129}, "x: bias must be an integer in -128..255, not -129"),
        ({"bias": True}, "x: bias must be an integer in -128..255, not True"),
        ({"specials": "none"}, "x: specials must be one of ieee, fn, fnuz, dlfloat, finite, not 'none'"),
        ({"subnormals": "off"}, "x: subnormals must be one of gradual, flush, normal, not 'off'"),
    ],
)
def test_a_format_is_checked(changes, text):
    assert message(lambda: Format(**{"name": "x", "exponent_bits": 4, "mantissa_bits": 3, "bias": 7} | changes)) == text


# ---------------------------------------------------------------------------------------------- roundings, arithmetics


@pytest.mark.parametrize(
    "fields, text",
    [
        ({"mode": "up"}, "rounding must be one of rne, rha, rtz, sr, sr_fast, sr_unbiased, not 'up'"),
        ({"mode": ["rne"]}, "rounding must be one of rne, rha, rtz, sr, sr_fast, sr_unbiased, not ['rne']"),
        ({"mode": "sr"}, "random_bits must be an integer in 1..24, not 0"),
        ({"mode": "sr", "random_bits": 25}, "random_bits must be an integer in 1..24, not 25"),
        ({"mode": "sr", "random_bits": "9"}, "random_bits must be an integer in 1..24, not '9'"),
        ({"mode": "rne", "random_bits": 9}, "random_bits of rounding rne must be an integer in 0..0, not 9"),
    ],
)
def test_a_rounding_is_checked(fields, text):
    assert message(lambda: Rounding(**fields)) == text


def test_names_of_roundings_and_accumulators():
    assert [str(Rounding()), str(Rounding(mode="rha")), str(sr(9))] == ["rne", "rha", "sr(9)"]
    assert str(Accumulator(format=FP16, rounding=sr(9), overflow="saturate")) == "fp16 sr(9) saturating"
    assert str(Accumulator()) == "dlfloat16 rne"


@pytest.mark.parametrize(
    "fields, text",
    [
        ({"a": FP16}, "significant bits of operand a (fp16) must be an integer in 1..8, not 11"),
        ({"b": FP32}, "significant bits of operand b (fp32) must be an integer in 1..8, not 24"),
        ({"chunk": 0}, "chunk must be an integer in 1..1048576, not 0"),
        ({"seed": -1}, "seed must be an integer in 0..4294967295, not -1"),
    ],
)
def test_an_arithmetic_is_checked(fields, text):
    assert message(lambda: Arithmetic(**fields)) == text
    assert Arithmetic(a=BF16).a.precision == 8


def test_an_overflow_is_checked():
    assert message(lambda: Accumulator(overflow="wrap")) == "overflow must be one of special, saturate, not 'wrap'"


# ------------------------------------------------------------------------------------------------------------ machines


@pytest.mark.parametrize(
    "fields, text",
    [
        ({"rows": 0}, "rows must be an integer in 1..1024, not 0"),
        ({"rows": 1025}, "rows must be an integer in 1..1024, not 1025"),
        ({"rows": 4.0}, "rows must be an integer in 1..1024, not 4.0"),
        ({"columns": 0}, "columns must be an integer in 1..1024, not 0"),
        ({"dataflow": "rs"}, "dataflow must be one of ws, os, is, not 'rs'"),
        ({"chunk": 0}, "chunk must be an integer in 1..1048576, not 0"),
        ({"rows": 16, "chunk": 24}, "chunk must divide rows = 16 or be a multiple of it, not 24"),
        ({"rows": 16, "chunk": 5}, "chunk must divide rows = 16 or be a multiple of it, not 5"),
        ({"chunk": 24, "dataflow": "is"}, "chunk must divide rows = 16 or be a multiple of it, not 24"),
        ({"seed": 2**32}, "seed must be an integer in 0..4294967295, not 4294967296"),
        ({"mac_depth": 0}, "mac_depth must be an integer in 1..7, not 0"),
        ({"mac_depth": 8}, "mac_depth must be an integer in 1..7, not 8"),
        ({"accumulator_depth": 1}, "accumulator_depth must be an integer in 2..65536, not 1"),
        ({"technology": "3nm"}, "technology must be one of 45nm, 7nm, not '3nm'"),
        ({"clock_mhz": 0}, "clock_mhz must be a number above 0, not 0"),
        ({"clock_mhz": float("inf")}, "clock_mhz must be a number above 0, not inf"),
        ({"name": 5}, "name must be a string, not 5"),
        ({"clock_mhz": float("nan")}, "clock_mhz must be a number above 0, not nan"),
        ({"clock_mhz": "fast"}, "clock_mhz must be a number above 0, not 'fast'"),
        ({"clock_mhz": True}, "clock_mhz must be a number above 0, not True"),
        ({"a_formats": ()}, "a_formats must name at least one format, each once, not []"),
        ({"b_formats": (E4M3, E4M3)}, "b_formats must name at least one format, each once, not ['e4m3', 'e4m3']"),
        ({"a_formats": (E4M3, FP16)}, "a_formats: significant bits of fp16 must be an integer in 1..8, not 11"),
        (
            {"inner": Accumulator(format=E4M3FNUZ)},
            "specials of inner.format must be one of ieee, dlfloat, not 'fnuz'",
        ),
        ({"outer": Accumulator(format=E4M3)}, "specials of outer.format must be one of ieee, dlfloat, not 'fn'"),
        ({"inner": Accumulator(rounding=sr(17))}, "inner.random_bits must be an integer in 1..16, not 17"),
        (
            {"output_formats": (E4M3, E4M3)},
            "output_formats must name at most 15 formats, each once, not ['e4m3', 'e4m3']",
        ),
        ({"output_random_bits": 17}, "output_random_bits must be an integer in 0..16, not 17"),
        ({"s2fp8": 2}, "s2fp8 must be one of False, True, not 2"),
        ({"s2fp8": True}, "a_formats of a machine with s2fp8 must have bf16, not ['e4m3', 'e5m2']"),
        ({"update_lanes": 1025}, "update_lanes must be an integer in 0..1024, not 1025"),
        ({"update": Accumulator(format=FP32)}, "bits of update.format must be an integer in 1..16, not 32"),
        ({"update": Accumulator(format=E4M3)}, "specials of update.format must be one of ieee, dlfloat, not 'fn'"),
        ({"scratchpad_depth": 7}, "scratchpad_depth must be an integer in 8..65536, not 7"),
        ({"queue_depth": 1}, "queue_depth must be an integer in 2..256, not 1"),
        ({"inner": AlignedSum()}, "inner must be an Accumulator or an ExactSum, not AlignedSum(fraction_bits=13)"),
        ({"inner": "exact"}, "inner must be an Accumulator or an ExactSum, not 'exact'"),
        (
            {"inner": ExactSum(), "a_formats": (E4M3, BF16), "b_formats": (E5M2,)},
            "inner: bits of an exact sum of e4m3/bf16 x e5m2 must be an integer in 1..128, not 300",
        ),
        ({"outer": Accumulator(rounding=sr(24))}, "outer.random_bits must be an integer in 1..16, not 24"),
    ],
)
def test_a_machine_is_checked(fields, text):
    assert message(lambda: Machine(**fields)) == text


@pytest.mark.parametrize(
    "table, text",
    [
        ({"rowz": 4}, f"key must be one of {FIELDS}, not 'rowz'"),
        ({"rows": "4"}, "rows must be an integer in 1..1024, not '4'"),
        ({"a_formats": "e4m3"}, "a_formats must be a list of format names, not 'e4m3'"),
        ({"b_formats": ["e4m3", "e3m4"]}, f"b_formats must be one of {NAMES}, not 'e3m4'"),
        ({"inner": "fp16"}, "inner must be a table or \"exact\", not 'fp16'"),
        ({"outer": "exact"}, "outer must be a table, not 'exact'"),
        (
            {"outer": {"mode": "rne"}},
            "key of outer must be one of format, rounding, random_bits, overflow, not 'mode'",
        ),
        ({"inner": {"format": "fp12"}}, f"inner.format must be one of {NAMES}, not 'fp12'"),
        (
            {"inner": {"rounding": "up"}},
            "inner.rounding must be one of rne, rha, rtz, sr, sr_fast, sr_unbiased, not 'up'",
        ),
        ({"inner": {"rounding": "sr"}}, "inner.random_bits must be an integer in 1..24, not 0"),
        ({"outer": {"random_bits": 4}}, "outer.random_bits of rounding rne must be an integer in 0..0, not 4"),
        ({"outer": {"overflow": "wrap"}}, "outer.overflow must be one of special, saturate, not 'wrap'"),
    ],
)
def test_a_table_is_checked(table, text):
    assert message(lambda: Machine.from_dict(table)) == text


def test_files(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('rows = 8\nchunk = 2\n[inner]\nformat = "fp16"\nrounding = "sr"\nrandom_bits = 9\n')
    machine = Machine.load(str(path))
    assert machine == Machine(name="mine", rows=8, chunk=2, inner=Accumulator(format=FP16, rounding=sr(9)))

    path.write_text('name = "yours"\nrows = 0\n')
    assert message(lambda: Machine.load(str(path))) == f"{path}: rows must be an integer in 1..1024, not 0"
    path.write_text("rows = \n")
    assert message(lambda: Machine.load(str(path))).startswith(f"{path}: not a TOML file: Invalid value (at line 1")
    path.write_bytes(b"name = '\xff'\n")
    assert message(lambda: Machine.load(str(path))).startswith(f"{path}: not a TOML file: 'utf-8' codec can't decode")

    absent = tmp_path / "absent.toml"
    assert message(lambda: Machine.load(str(absent))) == f"{absent}: cannot be read: No such file or directory"
    presets = "tiny, ecp5, edge, rapid, cloud"
    text = f"machine must be one of {presets}, or a .toml file, not 'cluod'"
    assert message(lambda: Machine.load("cluod")) == text


def test_presets():
    assert {name: (m.rows, m.columns, m.chunk) for name, m in PRESETS.items()} == {
        "tiny": (4, 4, 4),
        "ecp5": (8, 8, 64),
        "edge": (16, 16, 64),
        "rapid": (64, 64, 64),
        "cloud": (128, 128, 64),
    }
    for name, machine in PRESETS.items():
        assert machine.name == name
        assert Machine.load(name) is machine
        assert machine.a_formats == machine.b_formats == (E4M3, E5M2)
        assert machine.inner == machine.outer == Accumulator()
    assert len({machine.digest for machine in PRESETS.values()}) == len(PRESETS)


accumulators = st.builds(
    Accumulator,
    format=st.sampled_from([f for f in FORMATS.values() if f.specials in ("ieee", "dlfloat")]),
    rounding=st.sampled_from([Rounding(), Rounding(mode="rtz"), Rounding(mode="rha"), sr(1), sr(13), sr(16)]),
    overflow=st.sampled_from(["special", "saturate"]),
)
narrow = st.sampled_from([f for f in FORMATS.values() if f.precision <= 8])


@st.composite
def machines(draw) -> Machine:
    chunk = draw(st.integers(1, 32))
    factor = draw(st.integers(1, 32))
    rows, chunk = draw(st.sampled_from([(chunk * factor, chunk), (chunk, chunk * factor)]))
    return Machine(
        name=draw(st.text(max_size=8)),
        rows=rows,
        chunk=chunk,
        dataflow=draw(st.sampled_from(["ws", "os", "is"])),
        columns=draw(st.integers(1, 1024)),
        a_formats=tuple(draw(st.lists(narrow, min_size=1, max_size=3, unique=True))),
        b_formats=tuple(draw(st.lists(narrow, min_size=1, max_size=3, unique=True))),
        inner=draw(accumulators),
        outer=draw(accumulators),
        seed=draw(st.integers(0, 2**32 - 1)),
        mac_depth=draw(st.integers(1, 7)),
        accumulator_depth=draw(st.integers(2, 65536)),
        output_formats=tuple(draw(st.lists(narrow, max_size=3, unique=True))),
        output_random_bits=draw(st.integers(0, 16)),
        update_lanes=draw(st.integers(0, 1024)),
        update=draw(accumulators.filter(lambda kept: kept.format.bits <= 16)),
        scratchpad_depth=draw(st.integers(8, 65536)),
        queue_depth=draw(st.integers(2, 256)),
        clock_mhz=draw(st.floats(1.0, 5000.0)),
    )


@settings(deadline=None, max_examples=150)
@given(machine=machines())
def test_a_machine_survives_its_table(machine):
    again = Machine.from_dict(machine.to_dict())
    assert again == machine
    assert again.digest == machine.digest
    assert machine.segments * machine.segment_rows == machine.rows
    assert machine.dataflow == "os" or machine.chunk == machine.segment_rows * machine.passes_per_chunk
    assert dataclasses.replace(machine, name="another").digest == machine.digest
    assert dataclasses.replace(machine, seed=machine.seed ^ 1).digest != machine.digest
    assert len(machine.digest) == 16
    arithmetic = machine.arithmetic(machine.a_formats[-1], machine.b_formats[-1])
    assert (arithmetic.a, arithmetic.b) == (machine.a_formats[-1], machine.b_formats[-1])
    assert (arithmetic.inner, arithmetic.outer) == (machine.inner, machine.outer)
    assert (arithmetic.chunk, arithmetic.seed) == (machine.chunk, machine.seed)


def test_every_field_counts_in_the_digest():
    machine = PRESETS["edge"]
    changes = dict(
        rows=32,
        columns=8,
        dataflow="os",
        a_formats=(E4M3,),
        b_formats=(E5M2,),
        inner=Accumulator(rounding=sr(9)),
        outer=Accumulator(overflow="saturate"),
        chunk=32,
        seed=1,
        mac_depth=3,
        sr_adder="eager",
        accumulator_depth=512,
        output_formats=(E4M3,),
        output_random_bits=9,
        update_lanes=3,
        update=Accumulator(format=FP16),
        scratchpad_depth=512,
        queue_depth=8,
        clock_mhz=501.0,
    )
    assert dataclasses.replace(machine, clock_mhz=500).digest == machine.digest, "500 MHz are 500.0 MHz"
    digests = {dataclasses.replace(machine, **{key: value}).digest for key, value in changes.items()}
    assert len(digests | {machine.digest}) == len(changes) + 1
    only_choice = {"name", "technology", "s2fp8"}  # the last one asks for other formats
    surroundings = {"memory": Memory(buffer_kib=1), "vector_lanes": 3}
    assert all(
        dataclasses.replace(machine, **{key: value}).digest == machine.digest for key, value in surroundings.items()
    )
    assert {f.name for f in dataclasses.fields(Machine)} == set(changes) | only_choice | set(surroundings)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"buffer_kib": 0}, "buffer_kib must be an integer in 1..4194304, not 0"),
        ({"double_buffered": 2}, "double_buffered must be one of False, True, not 2"),
        ({"dram": "hbm9"}, "dram must be one of ddr, hbm2, gddr6, not 'hbm9'"),
        ({"dram_gb_per_s": 0}, "dram_gb_per_s must be a number above 0, not 0"),
        ({"dram_gb_per_s": True}, "dram_gb_per_s must be a number above 0, not True"),
        ({"dram_latency_ns": -1.0}, "dram_latency_ns must be a number of at least 0, not -1.0"),
        (
            {"dram_burst_bytes": 48},
            f"dram_burst_bytes must be one of {', '.join(str(1 << i) for i in range(13))}, not 48",
        ),
    ],
)
def test_a_memory_is_checked(table, text):
    assert message(lambda: Machine.from_dict({"memory": table})) == f"memory.{text}"


def test_a_memory_is_read():
    machine = Machine.from_dict(tomllib.loads("[memory]\nbuffer_kib = 64\ndram_latency_ns = 0"))
    assert machine.memory == Memory(buffer_kib=64, dram_latency_ns=0)
    assert Machine.from_dict(machine.to_dict()) == machine
    assert message(lambda: Machine.from_dict({"memory": 3})) == "memory must be a table, not 3"
    assert message(lambda: Machine.from_dict({"memory": {"size": 3}})).startswith(
        "key of memory must be one of buffer_kib"
    )


def test_defaults_stand_in_for_absent_keys():
    assert Machine.from_dict({}, name="x", rows=4, chunk=4).rows == 4
    assert Machine.from_dict({"rows": 8}, name="x", rows=4, chunk=4).rows == 8
    table = tomllib.loads('a_formats = ["e5m2"]\n[outer]\noverflow = "saturate"')
    machine = Machine.from_dict(table)
    assert machine.a_formats == (E5M2,)
    assert machine.outer == Accumulator(overflow="saturate")


def test_arithmetic_takes_formats_of_the_machine_only():
    machine = PRESETS["tiny"]
    assert machine.arithmetic().a == E4M3
    text = "must be one of e4m3, e5m2, not bf16"
    assert message(lambda: machine.arithmetic(a=BF16)) == f"format of a {text}"
    assert message(lambda: machine.arithmetic(b=BF16)) == f"format of b {text}"


def test_an_output_stationary_machine_takes_any_chunk():
    machine = Machine(rows=16, chunk=24, mac_depth=4, dataflow="os")
    assert (machine.segments, machine.passes_per_chunk, machine.segment_rows) == (1, 1, 16)
    assert (machine.interleave, machine.block_rows, machine.block_products) == (4, 64, 1)
    other = Machine(rows=16, chunk=16, accumulator_depth=256)
    assert (other.interleave, other.block_rows, other.block_products) == (1, 256, 16)


def test_operands_of_an_input_stationary_machine_are_exchanged():
    machine = Machine(a_formats=(E4M3, BF16), b_formats=(E5M2,), dataflow="is")
    assert (machine.stationary_formats, machine.moving_formats) == ((E4M3, BF16), (E5M2,))
    other = machine.exchanged
    assert (other.dataflow, other.a_formats, other.b_formats) == ("ws", (E5M2,), (E4M3, BF16))
    assert (other.stationary_formats, other.moving_formats) == (machine.stationary_formats, machine.moving_formats)
    assert other.latency == machine.latency
    assert machine.arithmetic(BF16, E5M2).a == BF16
