"""What every bit must be: formats, rounding, random words, MAC, chunked GEMM, and the descriptions of machines."""

from quaver.golden.arithmetic import BLACKWELL_FP8, HOPPER_FP8, Accumulator, AlignedSum, Arithmetic, ExactSum
from quaver.golden.array_words import ArrayWords, GemmWords, Issued, array_words, issued_by
from quaver.golden.blocks import Blocks, decode_blocks, encode_blocks
from quaver.golden.casts import encode
from quaver.golden.catalog import FORMATS, format_named, noune
from quaver.golden.formats import Exact, Format, decode, from_float, to_float
from quaver.golden.gemm import gemm
from quaver.golden.lane_words import LaneWords
from quaver.golden.lfsr import LeapingLfsr, seed_of
from quaver.golden.mac import accumulate, add, chunk_addend, mac, multiply
from quaver.golden.machine import PRESETS, Machine
from quaver.golden.rounding import RHA, RNE, RTZ, Rounding, round_to, sr

__all__ = [
    "BLACKWELL_FP8",
    "FORMATS",
    "HOPPER_FP8",
    "PRESETS",
    "RHA",
    "RNE",
    "RTZ",
    "Accumulator",
    "AlignedSum",
    "Arithmetic",
    "ArrayWords",
    "Blocks",
    "Exact",
    "ExactSum",
    "Format",
    "GemmWords",
    "Issued",
    "LaneWords",
    "LeapingLfsr",
    "Machine",
    "Rounding",
    "accumulate",
    "add",
    "array_words",
    "chunk_addend",
    "decode",
    "decode_blocks",
    "encode",
    "encode_blocks",
    "format_named",
    "from_float",
    "gemm",
    "issued_by",
    "mac",
    "multiply",
    "noune",
    "round_to",
    "seed_of",
    "sr",
    "to_float",
]
