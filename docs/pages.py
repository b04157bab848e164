# amaranth: UnusedElaboratable=no
"""Renews the generated parts of README.md and of the pages beside this file: outputs and tables.

`python -m docs.pages` rewrites the pages; a test compares them with what the code says now.
"""

import json
from collections.abc import Callable
from dataclasses import replace

from amaranth.lib import data
from amaranth.lib.wiring import In

from docs.page_parts import ROOT, block, field_texts, recorded, run, source, table
from docs.simulator_page import PARTS as SIMULATOR
from docs.training_page import PARTS as TRAINING
from quaver.golden import FORMATS, PRESETS, RNE, Accumulator, Machine, Memory, Rounding, sr
from quaver.golden.commands import Matmul
from quaver.golden.logarithms import LOG2_FRACTION_BITS
from quaver.golden.machine_checks import RANDOM_BITS_MAX, ROUNDINGS
from quaver.host.beats import a_bytes, b_bytes, result_bytes, update_bytes
from quaver.host.documents import field_table, register_table
from quaver.host.registers import COUNTERS, REPORT, STATUS_BITS
from quaver.hw.accelerator import Accelerator
from quaver.hw.core import REPORTS, generator_groups
from quaver.hw.seeder import STAGES, Seeder
from quaver.hw.streams import activation_beat, sum_beat, weight_beat
from quaver.sim.sequence import sequence_cycles
from quaver.synth.flow import synthesize

EXAMPLE = ROOT / "examples" / "stochastic.toml"


def machine_keys() -> str:
    """Every key of a machine file, with its default and meaning."""
    texts, accumulator, rounding, memory = map(field_texts, (Machine, Accumulator, Rounding, Memory))
    below = {
        "format": accumulator["format"],
        "rounding": f"{rounding['mode']} A machine takes {', '.join(f'`{mode}`' for mode in ROUNDINGS)}.",
        "random_bits": f"{rounding['random_bits']} A machine takes at most {RANDOM_BITS_MAX}.",
        "overflow": accumulator["overflow"],
    }
    rows = []
    for key, default in Machine().to_dict().items():
        if key == "name":
            rows.append(["`name`", "the file's", texts[key]])
        elif isinstance(default, dict):
            rows.append([f"`[{key}]`", "", texts[key]])
            for part, value in default.items():
                meaning = memory[part] if key == "memory" else below.pop(part, "Likewise.")
                rows.append([f"`{key}.{part}`", f"`{json.dumps(value)}`", meaning])
        else:
            rows.append([f"`{key}`", f"`{json.dumps(default)}`", texts[key]])
    return table(["key", "default", "meaning"], rows)


def presets() -> str:
    """The named machines."""
    head = ["preset", "array", "chunk", "accumulators", "MAC depth", "accumulator depth", "clock, MHz"]
    head += ["buffer, KiB", "DRAM", "GB/s", "vector lanes"]
    rows = [
        [
            f"`{m.name}`",
            f"{m.rows} x {m.columns}",
            str(m.chunk),
            str(m.inner) if m.inner == m.outer else f"{m.inner}, {m.outer}",
            str(m.mac_depth),
            str(m.accumulator_depth),
            f"{m.clock_mhz:g}",
            f"{m.memory.buffer_kib:,}",
            m.memory.dram,
            f"{m.memory.dram_gb_per_s:g}",
            str(m.vector_lanes),
        ]
        for m in PRESETS.values()
    ]
    return table(head, rows)


def beats() -> str:
    """Where the members of each stream's payload are, in the preset `tiny`."""
    machine = PRESETS["tiny"]
    rows = []
    for stream, layout in (
        ("weights", weight_beat(machine)),
        ("activations", activation_beat(machine)),
        ("sums", data.StructLayout({"codes": sum_beat(machine)})),
    ):
        for member, field in layout:
            bits = f"{field.offset + field.width - 1}:{field.offset}" if field.width > 1 else str(field.offset)
            shape = layout.members[member]
            each = f"{shape.length} x {field.width // shape.length}" if isinstance(shape, data.ArrayLayout) else "1"
            rows.append([f"`{stream}`", f"`{member}`", bits, each if each != "1" else str(field.width)])
    return table(["stream", "member", "bits", "width"], rows)


def latencies() -> str:
    """The cycles that follow from each preset."""
    names = ("product_latency", "adder_latency", "foot_cycle", "store_cycle", "latency", "load_cycles", "round_trip")
    rows = [[f"`{name}`", *(str(getattr(machine, name)) for machine in PRESETS.values())] for name in names]
    rows.append(["`output_depth`, beats", *(str(machine.output_depth) for machine in PRESETS.values())])
    return table(["cycles", *(f"`{name}`" for name in PRESETS)], rows)


def timing() -> str:
    """A small block on the preset `tiny`, stream by stream, by the latencies of the machine."""
    machine = PRESETS["tiny"]
    command = Matmul(rows=2, columns=machine.columns, tiles=1, depth=machine.rows)
    loaded, entered = machine.input_latency, machine.input_latency + machine.load_cycles
    left = entered + machine.latency + machine.output_latency
    cycles = left + command.rows
    if cycles != sequence_cycles(machine, [command]):
        raise ValueError(f"the block must take {sequence_cycles(machine, [command])} cycles, not {cycles}")
    lines = [("cycle", [str(cycle) for cycle in range(cycles)])]
    for name, letter, start, count in (
        ("s_axis_b", "b", 0, command.columns),
        ("b enters", "b", loaded, command.columns),
        ("s_axis_a", "a", 0, command.rows),
        ("a enters", "a", entered, command.rows),
        ("m_axis", "y", left, command.rows),
    ):
        beats = {start + index: f"{letter}{index}" for index in range(count)}
        lines.append((name, [beats.get(cycle, ".") for cycle in range(cycles)]))
    rows = (f"{name:10}" + "".join(f"{cell:3}" for cell in cells).rstrip() for name, cells in lines)
    return block("text", "\n".join(rows))


def ports() -> str:
    """The ports of the preset `edge`."""
    rows = [
        [f"`{name}`", "in" if member.flow == In else "out", str(member.shape)]
        for name, member in Accelerator(PRESETS["edge"]).signature.members.items()
    ]
    return table(["port", "direction", "width"], rows)


def statuses() -> str:
    """The sticky bits."""
    rows = [[str(bit), f"`{name}`", meaning] for bit, (name, meaning) in enumerate(STATUS_BITS.items())]
    return table(["bit", "name", "meaning"], rows)


def report() -> str:
    """The members of a report of statistics."""
    rows = [
        [f"`{name}`", f"{width}, signed" if signed else str(width), meaning.format(fraction=LOG2_FRACTION_BITS)]
        for name, (width, signed, meaning) in REPORT.items()
    ]
    return table(["member", "bits", "meaning"], rows) + f"\n\n{REPORTS} reports can wait to be read."


def reseeding() -> str:
    """The formula of a re-seeding's cycles, tried on all presets."""
    for machine in PRESETS.values():
        groups = generator_groups(machine)
        if Seeder(groups).cycles != 1 + sum(count for _, count in groups) + STAGES:
            raise ValueError(f"the formula of a re-seeding is not that of {machine.name}")
    return block("text", f"cycles = 1 + generators + {STAGES}")


def counters() -> str:
    """The performance counters."""
    return table(["counter", "counts"], [[f"`{name}`", meaning] for name, meaning in COUNTERS.items()])


def parts() -> str:
    """Cycles and widths of the parts of each preset."""
    figures: dict[str, Callable[[Machine], int]] = {
        "`input_latency`: a beat of a stream to the array": lambda m: m.input_latency,
        "`latency`: the array, last beat of operands to first sums": lambda m: m.latency,
        "`output_latency`: sums to results": lambda m: m.output_latency,
        "`load_cycles`: a tile of the b operand into the array": lambda m: m.load_cycles,
        "`round_trip`: until a sum can be added to again": lambda m: m.round_trip,
        "`update_latency`: elements of an update to its results": lambda m: m.update_latency,
        "a re-seeding": lambda m: Seeder(generator_groups(m)).cycles,
        "bits of a beat of `s_axis_a`": lambda m: 8 * a_bytes(m),
        "bits of a beat of `s_axis_b`": lambda m: 8 * b_bytes(m),
        "bits of a beat of `m_axis`": lambda m: 8 * result_bytes(m),
        "bits of a beat of `s_axis_u`": lambda m: 8 * 3 * update_bytes(m),
        "bits of a beat of `m_axis_u`": lambda m: 8 * 2 * update_bytes(m),
    }
    rows = [[name, *(str(figure(machine)) for machine in PRESETS.values())] for name, figure in figures.items()]
    return table(["cycles, bits", *(f"`{name}`" for name in PRESETS)], rows)


def areas() -> str:
    """Area of the MAC in its shell, accumulator by accumulator."""
    rows = []
    for name in ("dlfloat16", "e6m5", "e6m5_sub", "fp16", "bf16", "fp32"):
        for rounding in (RNE, sr(9)):
            inner = Accumulator(format=FORMATS[name], rounding=rounding)
            area = synthesize(replace(PRESETS["tiny"], inner=inner))
            cells = (str(area[cell]) for cell in ("lut4", "ccu2c", "ff", "lut4_equivalent"))
            rows.append([name, str(rounding), *cells])
    decoder = area["decoder"]
    rows.append(["one decoder", "", *(str(decoder[cell]) for cell in ("lut4", "ccu2c", "ff", "lut4_equivalent"))])
    return table(["accumulator", "rounding", "LUT4", "CCU2C", "FF", "LUT4 + 2 x CCU2C"], rows)


def sr_adders() -> str:
    """The ways to build a stochastically rounding adder, side by side."""
    record = recorded("sr_adders")
    measures = {
        "lut4_equivalent": "LUT4 + 2 x CCU2C",
        "levels": "LUT levels",
        "cell_area": "cell area, µm²",
        "delay_ps": "cell delay, ns",
    }
    ways: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row in record["rows"]:
        mode, _, way = row["rounding"].partition(" ")
        if row["unit"] == "adder" and mode in ("rne", "sr(9)"):
            ways.setdefault((row["format"], ""), {})[way or mode] = row
    rows = []
    for (name, _), each in ways.items():
        for way, row in each.items():
            cells = [row["lut4_equivalent"], row["levels"], f"{row['cell_area']:,.0f}", f"{row['delay_ps'] / 1000:.1f}"]
            rows.append([name, way if way == "rne" else f"sr(9) {way}", *map(str, cells)])
    note = f"`{record['command']}`, {record['date'][:10]}, cells of {record['liberty']}, wires not counted."
    return table(["accumulator", "rounding", *measures.values()], rows) + "\n\n" + note


def gemm_speeds() -> str:
    """GEMMs per second, ours and the rivals'."""
    record = recorded("gemm")
    blas = next(row["mmac_per_s"] for row in record["rows"] if row["contestant"] == "BLAS float32")
    rows = [
        [row["contestant"], str(row["size"]), f"{row['mmac_per_s']:,.0f}", f"{row['mmac_per_s'] / blas:.2g}"]
        for row in record["rows"]
    ]
    old = record["recorded"]["mmac_per_s"]
    rows += [
        [f"{name} (recorded)", "512", f"{speed:,}", f"{speed / old['float32 BLAS']:.2g}"]
        for name, speed in old.items()
        if name.startswith("MPTorch")
    ]
    gains = [
        f"{name.replace(' / ', ' to ')} {ratio['of_best']:.2f} ({ratio['of_rounds']:.2f})"
        for name, ratio in record["ratios"].items()
        if ", two" in name
    ]
    notes = (
        f"{source(record)} Recorded: {record['recorded']['what']}; {record['recorded']['where']}. "
        f"Best turns, and in brackets the median of the rounds: {', '.join(gains)}."
    )
    return table(["", "size", "MMAC/s", "of BLAS"], rows) + "\n\n" + notes


def cast_speeds() -> str:
    """Casts per second, ours and the rivals'."""
    record = recorded("cast")
    speeds: dict[str, dict[str, str]] = {}
    for row in record["rows"]:
        who, fmt, *how = row["contestant"].split(" ")
        if "threads" not in how:
            speeds.setdefault(f"{who} {' '.join(how)}", {})[fmt] = f"{row['melem_per_s']:,.0f}"
    rows = [[name, each["E4M3"], each["E5M2"]] for name, each in speeds.items()]
    return table(["", "to E4M3", "to E5M2"], rows) + "\n\n" + source(record)


def engine_choice() -> str:
    """Beginnings and speeds of the engine and of its like in Numba."""
    record = recorded("engine_choice")
    speeds = {row["contestant"]: row["mmac_per_s"] for row in record["rows"]}
    columns = ("import_s", "first_call_s", "first_use_s")
    rows = []
    for name, seconds in record["starts"].items():
        cells = [f"{seconds[column]:.3f}" if column in seconds else "" for column in columns]
        speed = speeds.get(name.partition(",")[0])
        rows.append([name, *cells, f"{speed:,.0f}" if speed else ""])
    head = ["fresh process", "import, s", "first call, s", "both, s", "MMAC/s"]
    return table(head, rows) + "\n\n" + source(record)


PAGES: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "simulate": lambda: block("text", run("simulate", "resnet18")),
        "example": lambda: block("toml", EXAMPLE.read_text(encoding="utf-8")),
        "keys": machine_keys,
        "presets": presets,
    },
    "docs/engine.md": {"gemm": gemm_speeds, "cast": cast_speeds, "choice": engine_choice},
    "docs/accelerator.md": {
        "timing": timing,
        "ports": ports,
        "statuses": statuses,
        "reseeding": reseeding,
        "report": report,
        "counters": counters,
        "parts": parts,
        "registers": lambda: register_table(PRESETS["edge"]),
        "fields": lambda: field_table(PRESETS["edge"]),
    },
    "docs/simulator.md": SIMULATOR,
    "docs/training.md": TRAINING,
    "docs/hardware.md": {"beats": beats, "latencies": latencies, "areas": areas, "adders": sr_adders},
}
"""The pages, and what makes each of their generated parts, by the name of its markers."""


def rewritten(name: str) -> str:
    """The page `name` with its generated parts made anew."""
    page = (ROOT / name).read_text(encoding="utf-8")
    for part, make in PAGES[name].items():
        begin, end = f"<!-- generated: {part} -->\n", f"<!-- end: {part} -->"
        before, rest = page.split(begin)
        page = before + begin + make() + "\n" + end + rest.split(end)[1]
    return page


if __name__ == "__main__":
    for page in PAGES:
        (ROOT / page).write_text(rewritten(page), encoding="utf-8")
