"""The closed-form time of a GEMM, on the array and on the whole accelerator: contracts that the RTL is tested against.

`gemm_cycles` is the array's, `accelerator_cycles` that of the machine behind its AXI4-Streams; sequences of commands of
any kind are `quaver.sim.sequence`'s.
"""

from dataclasses import dataclass

from quaver.golden import Machine
from quaver.golden.errors import check_range

_MAX = 1 << 48


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """The loop nest of an M x K x N GEMM: for m_block, for n_tile, for k_tile, for m.

    The weight-stationary nest; the input-stationary one is that of the transposes.  In the output-stationary one a
    K tile is one product, and a beat serves a row of every PE.
    """

    m: int
    """Rows of activations."""
    k: int
    """Products per output."""
    n: int
    """Columns of weights."""
    rows: int
    """Products per K tile."""
    columns: int
    """Columns of the array: outputs per N tile."""
    depth: int
    """Rows of activations per M block, the last excepted."""
    beat_rows: int = 1
    """Rows of activations that one beat serves."""
    padded: bool = False
    """Whether the last M block is filled up to `depth`."""

    @property
    def blocks(self) -> int:
        """M blocks, the last one included."""
        return -(-self.m // self.depth)

    @property
    def last_block(self) -> int:
        """Rows of the last M block, 1 to `depth`."""
        return self.m - (self.blocks - 1) * self.depth

    @property
    def k_tiles(self) -> int:
        return -(-self.k // self.rows)

    @property
    def n_tiles(self) -> int:
        return -(-self.n // self.columns)

    @property
    def tiles(self) -> int:
        """Weight tiles that are loaded, a tile counted again for every M block."""
        return self.blocks * self.n_tiles * self.k_tiles

    @property
    def passed_rows(self) -> int:
        """Rows that pass through the array with each K tile, over all M blocks."""
        return self.blocks * self.depth if self.padded else self.m

    @property
    def beats(self) -> int:
        """Activation beats: each tile streams the rows of its block."""
        return self.passed_rows * self.n_tiles * self.k_tiles // self.beat_rows


def tiling(machine: Machine, m: int, k: int, n: int) -> Tiling:
    """How `machine` cuts an M x K x N GEMM into tiles; of an input-stationary one, how it cuts the transposes.

    Raises
    ------
    ValueError
        If a dimension is below 1.
    """
    check_range("m", m, 1, _MAX)
    check_range("k", k, 1, _MAX)
    check_range("n", n, 1, _MAX)
    if machine.dataflow == "is":
        m, n = n, m
    slots = machine.dataflow == "os"
    return Tiling(
        m=m,
        k=k,
        n=n,
        rows=machine.block_products,
        columns=machine.columns,
        depth=machine.block_rows,
        beat_rows=machine.rows if slots else 1,
        padded=slots,
    )


def gemm_cycles(machine: Machine, m: int, k: int, n: int) -> int:
    """Cycles of one M x K x N GEMM on the array: its first beat in to its last beat of sums out, both edges included.

    The array is idle before, and every stream is always ready.

    Raises
    ------
    ValueError
        If a dimension is below 1.
    """
    nest = tiling(machine, m, k, n)
    return _output_stationary(machine, nest) if machine.dataflow == "os" else _weight_stationary(machine, nest)


def accelerator_cycles(machine: Machine, m: int, k: int, n: int) -> int:
    """Cycles of one M x K x N GEMM on the accelerator: its first beat of operands in to its last beat of results out.

    By the commands of `quaver.golden.plan`, none of them `transposed`, queued before they are needed; the machine is
    idle before, and every stream is always ready.  The buffers of the operands and the output unit are passed once and
    then keep the array's pace: a tile's columns enter it while the next one's beats are written, never slower than they
    come, and an N tile of fewer columns comes sooner.  So the array's time is longer by the way in and the way out:

        cycles = gemm_cycles + input_latency + output_latency.

    Rows of a transposed tile must all be there before its first column is, and take longer.

    Raises
    ------
    ValueError
        If a dimension is below 1.
    """
    return gemm_cycles(machine, m, k, n) + machine.input_latency + machine.output_latency


def _weight_stationary(machine: Machine, nest: Tiling) -> int:
    """Cycles where weights are loaded tile by tile; cycle 0 accepts the first beat of weights.

    Let L = `machine.load_cycles`, R = `machine.round_trip`, and let tile i stream B(i) activation beats, from cycle
    t(i) on.  Weights of the next tile are loaded while this one computes, so

        t(0) = L,   t(i+1) = t(i) + max(B(i), L, R where tile i+1 continues tile i's sums, else 0).

    The B(i) beats of tile i must all have entered, the next weights take L beats, and a sum must be back from the
    bottom of the array before its next K tile adds to it.  Within an M block of B rows every N tile has k_tiles tiles
    and hence k_tiles - 1 steps of max(B, L, R) and, to the next N tile or block, one of max(B, L):

        T(B) = n_tiles * ((k_tiles - 1) * max(B, L, R) + max(B, L)).

    All blocks but the last have the depth D of the accumulators, the last has B' rows.  After the last tile there is
    no step: its beats enter one a cycle, and the last one's output leaves `machine.latency` cycles after it.  With the
    edge of that output,

        cycles = L + (blocks - 1) * T(D) + T(B') - max(B', L) + B' + latency.
    """
    load = machine.load_cycles

    def step(rows: int) -> int:
        return max(rows, load)

    def block(rows: int) -> int:
        return nest.n_tiles * ((nest.k_tiles - 1) * max(step(rows), machine.round_trip) + step(rows))

    full = (nest.blocks - 1) * block(nest.depth)
    last = block(nest.last_block) - step(nest.last_block) + nest.last_block
    return load + full + last + machine.latency


def _output_stationary(machine: Machine, nest: Tiling) -> int:
    """Cycles where sums stay; cycle 0 accepts the first beat of activations.

    A k step is I = `machine.interleave` beats.  Let D = `machine.drain_steps`: so many k steps must lie between the
    ends of two chunks, the rest of which the array waits before the second one's last step.  A tile has chunks of
    L = `machine.chunk` products and a last one of l, hence takes, from the end of the tile before to its own end,

        T = (chunks - 1) * max(L, D) + max(l, D)

    k steps; only the first chunk of all has nothing to wait for, and takes as many steps as it has products, f.  With
    the last step's last beat `machine.latency` cycles pass until the first of the last tile's B' beats of sums leaves:

        cycles = I * (blocks * n_tiles * T - max(f, D) + f) + latency + B' - 1.
    """
    chunks = -(-nest.k // machine.chunk)

    def period(products: int) -> int:
        return max(products, machine.drain_steps)

    first = min(nest.k, machine.chunk)
    tile = (chunks - 1) * period(machine.chunk) + period(nest.k - (chunks - 1) * machine.chunk)
    steps = nest.blocks * nest.n_tiles * tile - period(first) + first
    return machine.interleave * steps + machine.latency + nest.last_block - 1


def utilization(machine: Machine, macs: int, cycles: int) -> float:
    """Useful multiply-accumulates per MAC and cycle, 0 to 1."""
    return macs / (cycles * machine.rows * machine.columns)
