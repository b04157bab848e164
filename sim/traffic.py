"""The bytes that a task moves: through the array and its accumulators, through the buffer, to and from DRAM."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quaver.golden import Machine
from quaver.sim.lowering import Gemm
from quaver.sim.operands import packed_bytes
from quaver.sim.tally import Tally
from quaver.sim.tiling import Schedule

if TYPE_CHECKING:
    from quaver.sim.step import UpdateWork
    from quaver.sim.vector_work import VectorWork


@dataclass(frozen=True, kw_only=True)
class Traffic(Tally):
    """Bytes moved; codes are packed."""

    streamed: int = 0
    """Read from the scratchpad into the array: the operand that streams, padding included."""
    held: int = 0
    """Loaded into the array: tiles of the operand that stays, padding included."""
    results: int = 0
    """Out of the output unit, padding included."""
    sum_reads: int = 0
    """Running sums read from the memories below the columns."""
    sum_writes: int = 0
    """Running sums written there."""
    scratchpad_writes: int = 0
    """Written into the scratchpad of the operand that streams; less than `streamed` where beats are replayed."""
    vector_reads: int = 0
    """Read by the vector or the update unit."""
    vector_writes: int = 0
    """Written by the vector or the update unit."""
    dram_reads: int = 0
    """Read from DRAM, in whole bursts."""
    dram_writes: int = 0
    """Written to DRAM, in whole bursts."""

    @property
    def accumulators(self) -> int:
        """All that the accumulator memories read or write."""
        return self.sum_reads + self.sum_writes

    @property
    def scratchpads(self) -> int:
        """All that the operands' memories beside the array read or write: the scratchpad and the tile buffer."""
        return self.scratchpad_writes + self.streamed + 2 * self.held

    @property
    def buffer(self) -> int:
        """All that the buffer reads or writes: everything from or to DRAM passes it, and so do operands and results."""
        units = self.scratchpad_writes + self.held + self.results + self.vector_reads + self.vector_writes
        return units + self.dram

    @property
    def dram(self) -> int:
        """All that DRAM reads or writes."""
        return self.dram_reads + self.dram_writes


def gemm_traffic(machine: Machine, gemm: Gemm, plan: Schedule) -> Traffic:
    """Bytes that `machine` moves for all groups of `gemm`, cut as `plan` says.

    1. A beat is moved whole, padding included: `rows` codes per beat of the operand that streams, `rows` x `columns`
       codes per tile of the other one (`os`: `columns` codes per product), `columns` codes per beat of results.
    2. Tiles are loaded once per command; the operand that streams is read from the buffer once per command, or once per
       step where the scratchpad can hold a block of it and replays it for the step's other columns.
    3. Each tile's pass adds to a running sum of each row and column.  The first pass of an output reads none and the
       last one writes none, its sum leaves the array; where rows divide chunk, the same holds for the inner sum of a
       chunk and the passes that it takes.  With `os` a chunk is one pass: its inner sums stay in the array.
    4. DRAM moves what `plan` says.  Sums are never among it.
    """
    stationary = machine.dataflow != "os"
    x, y = (gemm.b, gemm.a) if machine.dataflow == "is" else (gemm.a, gemm.b)
    tiles = gemm.groups * sum(count * -(-size // machine.columns) for size, count in plan.y.sizes)
    k_tiles = -(-gemm.k // machine.block_products)
    beat_rows = 1 if stationary else machine.rows
    streamed = fills = blocks = passed = 0
    for size, panels in plan.x.sizes:
        for rows, count in _blocks(machine, size):
            row_beats = (rows if stationary else machine.block_rows) * panels * count
            replayed = row_beats // (panels * count) * k_tiles // beat_rows <= machine.scratchpad_depth
            blocks += panels * count
            passed += row_beats
            streamed += row_beats * tiles
            fills += row_beats * (gemm.groups * plan.y.count if replayed else tiles)
    per_row = k_tiles * machine.block_products * x.bits if stationary else k_tiles * x.bits
    chunk_passes = -(-gemm.k // max(machine.block_products, machine.chunk))
    lanes = tiles * machine.columns
    running = lanes * passed * (chunk_passes - 1) * machine.outer.format.bits
    if machine.passes_per_chunk > 1:
        running += lanes * passed * (k_tiles - chunk_passes) * machine.inner_code.bits
    return Traffic(
        streamed=packed_bytes(streamed * per_row),
        held=packed_bytes(blocks * tiles * k_tiles * machine.block_products * machine.columns * y.bits),
        results=packed_bytes(lanes * x.outer * gemm.out_bits),
        sum_reads=packed_bytes(running),
        sum_writes=packed_bytes(running),
        scratchpad_writes=packed_bytes(fills * per_row),
        dram_reads=plan.reads,
        dram_writes=plan.writes,
    )


def vector_traffic(work: "VectorWork | UpdateWork") -> Traffic:
    """Bytes that the vector or the update unit moves: all of it comes from DRAM and goes there."""
    return Traffic(vector_reads=work.reads, vector_writes=work.writes, dram_reads=work.reads, dram_writes=work.writes)


def _blocks(machine: Machine, size: int) -> list[tuple[int, int]]:
    """Rows of the blocks of a panel, and how many there are of each."""
    blocks, rest = divmod(size, machine.block_rows)
    return [(rows, count) for rows, count in ((machine.block_rows, blocks), (rest, 1)) if rows and count]
