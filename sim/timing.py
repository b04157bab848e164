"""The closed-form time of a GEMM on the array: a contract that the RTL is tested against, not an estimate."""

from dataclasses import dataclass

from quaver.golden import Machine
from quaver.golden.errors import check_range

_MAX = 1 << 48


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """The weight-stationary loop nest of an M x K x N GEMM: for m_block, for n_tile, for k_tile, for m.

    Raises
    ------
    ValueError
        If a dimension is below 1.
    """

    m: int
    """Rows of activations."""
    k: int
    """Products per output."""
    n: int
    """Columns of weights."""
    rows: int
    """Rows of the array: products per K tile."""
    columns: int
    """Columns of the array: outputs per N tile."""
    depth: int
    """Rows of activations per M block, the last excepted."""

    def __post_init__(self) -> None:
        check_range("m", self.m, 1, _MAX)
        check_range("k", self.k, 1, _MAX)
        check_range("n", self.n, 1, _MAX)

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
    def beats(self) -> int:
        """Activation beats: each tile streams the rows of its block."""
        return self.m * self.n_tiles * self.k_tiles


def tiling(machine: Machine, m: int, k: int, n: int) -> Tiling:
    """How `machine` cuts an M x K x N GEMM into tiles."""
    return Tiling(m=m, k=k, n=n, rows=machine.rows, columns=machine.columns, depth=machine.accumulator_depth)


def gemm_cycles(machine: Machine, m: int, k: int, n: int) -> int:
    """Cycles of one M x K x N GEMM, from the edge that accepts the first beat to that of the last output beat, both in.

    The machine is idle before, every stream is always ready, and cycle 0 accepts the first beat of weights.

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
    nest = tiling(machine, m, k, n)
    load = machine.load_cycles

    def step(rows: int) -> int:
        return max(rows, load)

    def block(rows: int) -> int:
        return nest.n_tiles * ((nest.k_tiles - 1) * max(step(rows), machine.round_trip) + step(rows))

    full = (nest.blocks - 1) * block(nest.depth)
    last = block(nest.last_block) - step(nest.last_block) + nest.last_block
    return load + full + last + machine.latency


def utilization(machine: Machine, macs: int, cycles: int) -> float:
    """Useful multiply-accumulates per MAC and cycle, 0 to 1."""
    return macs / (cycles * machine.rows * machine.columns)
