"""The bytes that a GEMM moves: through the array's streams and accumulators, and to and from DRAM."""

from dataclasses import dataclass

from quaver.golden import Machine
from quaver.sim.lowering import Gemm
from quaver.sim.timing import tiling


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes moved; codes are packed, and each count is rounded up to a whole byte."""

    weights: int
    """Streamed into the array: elements of b."""
    activations: int
    """Streamed into the array: elements of a."""
    outputs: int
    """Streamed out of the array."""
    accumulator_reads: int
    """Running sums read from the memories below the columns."""
    accumulator_writes: int
    """Running sums written there."""
    dram_reads: int
    """Input and weight tensors."""
    dram_writes: int
    """Output tensor."""

    @property
    def streams(self) -> int:
        """All that enters or leaves the array."""
        return self.weights + self.activations + self.outputs

    @property
    def accumulators(self) -> int:
        """All that the accumulator memories read or write."""
        return self.accumulator_reads + self.accumulator_writes

    @property
    def dram(self) -> int:
        """All that DRAM reads or writes."""
        return self.dram_reads + self.dram_writes


def traffic(machine: Machine, gemm: Gemm) -> Traffic:
    """Bytes that `machine` moves for all groups of `gemm`.

    1. Operands are in the machine's first formats, outputs in the outer accumulator's.
    2. A beat is moved whole, padding included: `rows` codes per activation beat, `rows` codes for each of the `columns`
       weight beats of a tile (`os`: `columns` codes per k step), `columns` codes per output beat.
    3. The loop nest fixes the beats: weights come again for every M block, activations for every N tile.  With `is`
       activations are what is held and weights what streams.
    4. Each tile's pass adds to a running sum of each row and column.  The first pass of an output reads none and the
       last one writes none, its sum leaves the array; where rows divide chunk, the same holds for the inner sum of a
       chunk and the passes that it takes.  With `os` a chunk is one pass: its inner sums stay in the array.
    5. DRAM is compulsory traffic: each element of the input, weight and output tensors that is used crosses once, as
       if on-chip buffers held all that is used again.  Biases and normalisation are not counted.
    """
    nest = tiling(machine, gemm.m, gemm.k, gemm.n)
    arithmetic = machine.arithmetic()
    a_bits, b_bits, outer_bits = arithmetic.a.bits, arithmetic.b.bits, machine.outer.format.bits

    held, streamed = nest.tiles * nest.rows * machine.columns, nest.beats * machine.rows
    activations, weights = (held, streamed) if machine.dataflow == "is" else (streamed, held)
    lanes = gemm.groups * nest.n_tiles * machine.columns
    chunk_passes = -(-nest.k // max(nest.rows, machine.chunk))
    running = lanes * nest.passed_rows * (chunk_passes - 1) * outer_bits
    if machine.passes_per_chunk > 1:
        running += lanes * nest.m * (nest.k_tiles - chunk_passes) * machine.inner_code.bits
    return Traffic(
        weights=_bytes(gemm.groups * weights * b_bits),
        activations=_bytes(gemm.groups * activations * a_bits),
        outputs=_bytes(lanes * nest.m * outer_bits),
        accumulator_reads=_bytes(running),
        accumulator_writes=_bytes(running),
        dram_reads=_bytes(gemm.input_elements * a_bits) + _bytes(gemm.weight_elements * b_bits),
        dram_writes=_bytes(gemm.output_elements * outer_bits),
    )


def _bytes(bits: int) -> int:
    return -(-bits // 8)
