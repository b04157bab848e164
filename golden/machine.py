"""The description of a machine: its arithmetic, its array, and the latencies that follow from them.

RTL, simulator, documents and command line read this one object.  hw builds to the latencies, its tests measure that it
does; sim reads them.
"""

import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path

from quaver.golden.arithmetic import Accumulator, Arithmetic, ExactSum
from quaver.golden.catalog import E4M3, E5M2
from quaver.golden.errors import check_choice
from quaver.golden.exact_register import ExactRegister
from quaver.golden.formats import Format
from quaver.golden.machine_checks import Dataflow, SrAdder, Technology, check_machine
from quaver.golden.machine_tables import check_keys, read_accumulator, read_formats, read_inner, read_memory, sum_table
from quaver.golden.memory import Memory
from quaver.golden.rounding import RTZ, Rounding, sr

OUTPUT_LATENCY = 4
"""Registers of the output unit, those of a power law aside."""
POWER_LATENCY = 4
"""Registers of S2FP8's power law."""
_SURROUNDINGS = ("name", "memory", "vector_lanes")
"""Fields that no RTL depends on."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """An array of `rows` x `columns` MACs with its accumulators.

    Raises
    ------
    ValueError
        If a field is out of its range; the message names the field and what is allowed.
    """

    name: str = "machine"
    """Name in reports."""
    rows: int = 16
    """Rows of the array: the products that a column adds up in one pass (`os`: output rows side by side), 1 to 1024."""
    columns: int = 16
    """Columns of the array: the outputs per beat, 1 to 1024."""
    dataflow: Dataflow = "ws"
    """`ws`: weights stay in the array, activations stream through it; `is`: the same with the operands exchanged, so
    that results leave transposed; `os`: sums stay in the array, both operands stream through it."""
    a_formats: tuple[Format, ...] = (E4M3, E5M2)
    """Formats of the activations, one chosen at run time by its index."""
    b_formats: tuple[Format, ...] = (E4M3, E5M2)
    """Formats of the weights, likewise."""
    inner: Accumulator | ExactSum = Accumulator()
    """Sum within a chunk: the adders of the array.  `inner = "exact"`: in fixed point, not rounded."""
    outer: Accumulator = Accumulator()
    """Sum of chunks: the adders below the array."""
    chunk: int = 64
    """Products per inner sum; divides `rows` or is a multiple of it (`os`: any)."""
    seed: int = 0
    """Seed of all random generators."""
    mac_depth: int = 4
    """Registers from operands to sum in one MAC, 1 to 7."""
    sr_adder: SrAdder = "lazy"
    """How adders round by `sr`, the bits are the same: `lazy` adds the random word to the normalised sum, `eager` while
    a cancelled sum is still being normalised, which is faster."""
    accumulator_depth: int = 1024
    """Rows of outer sums that are kept: the largest M (`is`: N) of a tile, 2 to 65536; `os` keeps `block_rows`."""
    output_formats: tuple[Format, ...] = (E4M3, E5M2)
    """Formats that results can be rounded to, besides the outer accumulator's own."""
    output_random_bits: int = 8
    """Bits of the random words of results that are rounded stochastically, 1 to 16; 0: results to nearest only."""
    s2fp8: bool = False
    """Whether operands in S2FP8 are decoded to BF16 on their way in, which both operands then have among their formats,
    and results can be squeezed and shifted on their way out."""
    update_lanes: int = 0
    """Lanes of the weight-update unit, 0 for none, to 1024."""
    update: Accumulator = Accumulator(rounding=sr(16))
    """Master weights, velocities and gradients of the weight update, and the rounding of its AXPYs."""
    scratchpad_depth: int = 1024
    """Beats of the a operand that are held for commands to come, or to be read again, 8 to 65536."""
    queue_depth: int = 16
    """Commands that wait, and as many that are under way, 2 to 256."""
    memory: Memory = Memory()
    """Buffer and DRAM beside the accelerator: what the simulator knows of the system, not generated."""
    vector_lanes: int = 16
    """Lanes of the unit beside the array that runs element-wise, normalising and pooling layers, an operation per lane
    and cycle, 1 to 65536; likewise not generated."""
    clock_mhz: float = 500.0
    """Clock that turns cycles into seconds."""
    technology: Technology = "45nm"
    """Table of energies."""

    def __post_init__(self) -> None:
        check_machine(self)

    # ------------------------------------------------------------------------------------------------ what it computes

    def arithmetic(self, a: Format | None = None, b: Format | None = None) -> Arithmetic:
        """The arithmetic of a GEMM with operand formats `a` and `b`, by default the machine's first ones."""
        a, b = a or self.a_formats[0], b or self.b_formats[0]
        check_choice("format of a", a, self.a_formats)
        check_choice("format of b", b, self.b_formats)
        return Arithmetic(a=a, b=b, inner=self.inner, outer=self.outer, chunk=self.chunk, seed=self.seed)

    @cached_property
    def result_formats(self) -> tuple[Format, ...]:
        """What results can be: codes of the outer accumulator's format, or of one of `output_formats`."""
        return (self.outer.format, *(fmt for fmt in self.output_formats if fmt != self.outer.format))

    @cached_property
    def inner_code(self) -> Format | ExactRegister:
        """What the codes of inner sums mean; both kinds know their `bits` and their `identity_code`."""
        if isinstance(self.inner, Accumulator):
            return self.inner.format
        return ExactRegister.of(self.a_formats, self.b_formats, self.chunk)

    @cached_property
    def exact_register(self) -> ExactRegister | None:
        """What exact inner sums are kept in; None where they are rounded."""
        return self.inner_code if isinstance(self.inner_code, ExactRegister) else None

    @cached_property
    def inner_rounding(self) -> Rounding:
        """Rounding of the inner sums; an exact one is unchanged by any, and needs no random words."""
        return self.inner.rounding if isinstance(self.inner, Accumulator) else RTZ

    # --------------------------------------------------------------------------------------------- how it is laid out

    @cached_property
    def moving_formats(self) -> tuple[Format, ...]:
        """Formats of the operand that streams along the rows of the array."""
        return self.b_formats if self.dataflow == "is" else self.a_formats

    @cached_property
    def stationary_formats(self) -> tuple[Format, ...]:
        """Formats of the operand whose tiles stay in the array, or that streams down its columns (`os`)."""
        return self.a_formats if self.dataflow == "is" else self.b_formats

    @cached_property
    def exchanged(self) -> "Machine":
        """The weight-stationary machine that multiplies the transposes, B^T A^T, as this one, `is`, multiplies A B."""
        return replace(self, dataflow="ws", a_formats=self.b_formats, b_formats=self.a_formats)

    @cached_property
    def interleave(self) -> int:
        """Sums that a PE keeps; with `os` as many as its MAC has registers, so that each cycle has one to add to."""
        return self.mac_depth if self.dataflow == "os" else 1

    @cached_property
    def block_products(self) -> int:
        """Products of an output that a pass through the array adds up: the largest K of a tile."""
        return 1 if self.dataflow == "os" else self.rows

    @cached_property
    def block_rows(self) -> int:
        """Rows of outer sums that are kept: the largest M of a block (`is`: N)."""
        return self.rows * self.interleave if self.dataflow == "os" else self.accumulator_depth

    @cached_property
    def segments(self) -> int:
        """Chunk sums that a column makes in one pass: rows / chunk, or 1."""
        return 1 if self.dataflow == "os" else max(1, self.rows // self.chunk)

    @cached_property
    def segment_rows(self) -> int:
        """Rows per segment."""
        return self.rows // self.segments

    @cached_property
    def passes_per_chunk(self) -> int:
        """K tiles per chunk where rows divide chunk: the inner sum returns to the top in between."""
        return 1 if self.dataflow == "os" else max(1, self.chunk // self.rows)

    # --------------------------------------------------------------------------------------------------- its latencies

    @cached_property
    def product_latency(self) -> int:
        """Registers between a MAC's operands and the entry of its sum; for an exact one all but the last."""
        return min(1, self.mac_depth - 1) if self.exact_register is None else self.mac_depth - 1

    @cached_property
    def adder_latency(self) -> int:
        """Registers from a sum's entry to its exit in a MAC: the distance from row to row."""
        return self.mac_depth - self.product_latency

    @cached_property
    def chunk_latency(self) -> int:
        """Registers between a chunk's sum at the foot of its column and an outer adder: an exact one is normalised."""
        return 0 if self.exact_register is None else 1 + (self.mac_depth >= 4)

    @cached_property
    def outer_latency(self) -> int:
        """Registers from a sum's entry to its exit in an outer adder."""
        return self.mac_depth - min(1, self.mac_depth - 1)

    def row_skew(self, row: int) -> int:
        """Cycles by which `row` works later than row 0.  All segments work at once; each outer adder takes its time.

        With `os` a weight needs one cycle from row to row.
        """
        if self.dataflow == "os":
            return row
        segment, within = divmod(row, self.segment_rows)
        return within * self.adder_latency + segment * self.outer_latency

    @cached_property
    def foot_cycle(self) -> int:
        """Cycles from accepting an activation to its first segment's sum at the foot of column 0.

        With `os` from a chunk's last activation to its first sum: through the MAC of row 0 and down the column.
        """
        if self.dataflow == "os":
            return 2 + self.mac_depth + self.rows
        return 2 + self.product_latency + self.segment_rows * self.adder_latency

    @cached_property
    def store_cycle(self) -> int:
        """Cycles from accepting an activation to the outer sum at the end of column 0's chain."""
        return self.foot_cycle + self.chunk_latency + self.segments * self.outer_latency

    @cached_property
    def latency(self) -> int:
        """Cycles from accepting an activation of the last K tile to its output beat, at the earliest.

        With `os` from a tile's last activation to its first output beat.
        """
        return self.store_cycle + (self.columns - 1) + 2

    @cached_property
    def input_latency(self) -> int:
        """Cycles from accepting a beat of a stream to offering it to the array, through the operands' buffers."""
        return 2 + self.decode_latency

    @cached_property
    def decode_latency(self) -> int:
        """Those of them in the decoders of S2FP8."""
        return POWER_LATENCY + 1 if self.s2fp8 else 0

    @cached_property
    def update_latency(self) -> int:
        """Cycles from accepting a beat of a weight update to offering its result: three AXPYs and two buffers."""
        return 3 * self.mac_depth + 2

    @cached_property
    def output_latency(self) -> int:
        """Cycles from a beat of sums of the array to the beat of results."""
        return OUTPUT_LATENCY + (POWER_LATENCY if self.s2fp8 else 0)

    @cached_property
    def load_cycles(self) -> int:
        """Cycles to load a tile's weights: one column per beat.  None with `os`, whose weights come along."""
        return 0 if self.dataflow == "os" else self.columns

    @cached_property
    def round_trip(self) -> int:
        """Cycles after which a sum is back for the next K tile, the write and the read of its memory included."""
        outer = self.segments * self.outer_latency + 2
        inner = self.rows * self.adder_latency + 2 if self.passes_per_chunk > 1 else 0
        return max(inner, outer)

    @cached_property
    def drain_steps(self) -> int:
        """K steps of `interleave` beats between the ends of two chunks (`os`): until the first one's sums are out."""
        return max(self.rows, -(-self.round_trip // self.interleave))

    @cached_property
    def output_depth(self) -> int:
        """Depth of the output buffer, a power of two: what is in flight when beats leave as fast as they come.

        With `os` the sums of a tile are spoken for with the first beat of its last K step.
        """
        tile = self.interleave + self.block_rows if self.dataflow == "os" else 0
        return 1 << (self.latency + 1 + tile).bit_length()

    # -------------------------------------------------------------------------------------------------- where it's from

    def to_dict(self) -> dict[str, object]:
        """The machine as the TOML file that describes it would be parsed; `from_dict` reads it back."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {
            "a_formats": [f.name for f in self.a_formats],
            "b_formats": [f.name for f in self.b_formats],
            "output_formats": [f.name for f in self.output_formats],
            "inner": sum_table(self.inner),
            "outer": sum_table(self.outer),
            "update": sum_table(self.update),
            "memory": asdict(self.memory),
            "clock_mhz": float(self.clock_mhz),
        }

    @cached_property
    def digest(self) -> str:
        """Hash of all that makes the accelerator: machines that differ in name or surroundings have equal digests."""
        content = {key: value for key, value in self.to_dict().items() if key not in _SURROUNDINGS}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @classmethod
    def from_dict(cls, table: Mapping[str, object], **defaults: object) -> "Machine":
        """Build a machine from a parsed TOML file; `defaults` stand in for absent keys.

        Raises
        ------
        ValueError
            For an unknown key or a bad value, with the key in the message.
        """
        readers: dict[str, Callable[[str, object], object]] = {
            "a_formats": read_formats,
            "b_formats": read_formats,
            "output_formats": read_formats,
            "inner": read_inner,
            "outer": read_accumulator,
            "update": read_accumulator,
            "memory": read_memory,
        }
        check_keys("key", table, [f.name for f in fields(cls)])
        values = {key: readers[key](key, value) if key in readers else value for key, value in table.items()}
        return cls(**(defaults | values))  # type: ignore[arg-type]

    @classmethod
    def load(cls, preset_or_path: str) -> "Machine":
        """A preset by its name, or a machine from a TOML file.

        Raises
        ------
        ValueError
            If there is no such preset or file, the file is no TOML, or it describes no machine.
        """
        if preset_or_path in PRESETS:
            return PRESETS[preset_or_path]
        path = Path(preset_or_path)
        if path.suffix != ".toml":
            raise ValueError(f"machine must be one of {', '.join(PRESETS)}, or a .toml file, not {preset_or_path!r}")
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a TOML file: {error}") from error
        try:
            return cls.from_dict(table, name=path.stem)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


_TINY = Machine(name="tiny", rows=4, columns=4, chunk=4, mac_depth=2, accumulator_depth=16, clock_mhz=50.0)
_ECP5 = Machine(name="ecp5", rows=8, columns=8, chunk=64, mac_depth=6, accumulator_depth=256, clock_mhz=100.0)
_EDGE = Machine(name="edge", rows=16, columns=16, chunk=64, mac_depth=4, accumulator_depth=1024, clock_mhz=500.0)
_CLOUD = Machine(name="cloud", rows=128, columns=128, chunk=64, mac_depth=4, accumulator_depth=1024, clock_mhz=1000.0)

_HBM2 = Memory(buffer_kib=24 << 10, dram="hbm2", dram_gb_per_s=512.0, dram_latency_ns=100.0, dram_burst_bytes=64)

PRESETS: dict[str, Machine] = {
    machine.name: machine
    for machine in (
        replace(
            _TINY,
            update_lanes=4,
            vector_lanes=4,
            memory=Memory(buffer_kib=16, dram_gb_per_s=0.4, dram_burst_bytes=16),
        ),
        replace(
            _ECP5,
            update_lanes=2,
            vector_lanes=8,
            memory=Memory(buffer_kib=128, dram_gb_per_s=1.6, dram_burst_bytes=16),
        ),
        replace(_EDGE, update_lanes=16, vector_lanes=64),
        replace(
            _CLOUD,
            name="rapid",
            rows=64,
            columns=64,
            update_lanes=64,
            vector_lanes=256,
            memory=replace(_HBM2, buffer_kib=6 << 10, dram_gb_per_s=256.0),
        ),
        replace(_CLOUD, update_lanes=128, vector_lanes=1024, memory=_HBM2),
    )
}
"""The named machines."""
