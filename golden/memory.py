"""The description of what lies between the accelerator's streams and main memory; no RTL is generated for it."""

from dataclasses import dataclass
from math import inf
from typing import Literal, get_args

from quaver.golden.errors import check_choice, check_range

Dram = Literal["ddr", "hbm2", "gddr6"]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A buffer on the chip, and the DRAM that it is filled from.

    Raises
    ------
    ValueError
        If a field is out of its range; the message names the field and what is allowed.
    """

    buffer_kib: int = 512
    """Capacity of the buffer in KiB, for operands and results alike, 1 to 4194304."""
    double_buffered: bool = True
    """Whether the next tiles are fetched while these are computed with, which halves the room for each."""
    dram: Dram = "ddr"
    """Kind of DRAM: `ddr`, `hbm2` or `gddr6`, which decides its energy."""
    dram_gb_per_s: float = 12.8
    """Bandwidth of DRAM in 10^9 bytes per second, reads and writes together."""
    dram_latency_ns: float = 100.0
    """Time from a first request to its data, in nanoseconds."""
    dram_burst_bytes: int = 64
    """Bytes of a burst, the least that is read or written at a time: a power of two, 1 to 4096."""

    def __post_init__(self) -> None:
        check_range("buffer_kib", self.buffer_kib, 1, 1 << 22)
        check_choice("double_buffered", self.double_buffered, (False, True))
        check_choice("dram", self.dram, get_args(Dram))
        if not _is_number(self.dram_gb_per_s) or not 0 < self.dram_gb_per_s < inf:
            raise ValueError(f"dram_gb_per_s must be a number above 0, not {self.dram_gb_per_s!r}")
        if not _is_number(self.dram_latency_ns) or not 0 <= self.dram_latency_ns < inf:
            raise ValueError(f"dram_latency_ns must be a number of at least 0, not {self.dram_latency_ns!r}")
        check_choice("dram_burst_bytes", self.dram_burst_bytes, [1 << i for i in range(13)])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
