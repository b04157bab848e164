"""What every bit must be: formats, rounding, random words, MAC, chunked GEMM, and the descriptions of machines."""

from quaver.golden.arithmetic import Accumulator, Arithmetic
from quaver.golden.array_words import Issued, array_words, issued_by
from quaver.golden.catalog import FORMATS, format_named, noune
from quaver.golden.formats import Exact, Format, decode, from_float, to_float
from quaver.golden.gemm import GemmWords, gemm
from quaver.golden.lfsr import LeapingLfsr, seed_of
from quaver.golden.mac import accumulate, add, chunk_addend, mac, multiply
from quaver.golden.machine import PRESETS, Machine
from quaver.golden.rounding import RHA, RNE, RTZ, Rounding, encode, round_to, sr

__all__ = [
    "FORMATS",
    "PRESETS",
    "RHA",
    "RNE",
    "RTZ",
    "Accumulator",
    "Arithmetic",
    "Exact",
    "Format",
    "GemmWords",
    "Issued",
    "LeapingLfsr",
    "Machine",
    "Rounding",
    "accumulate",
    "add",
    "array_words",
    "chunk_addend",
    "decode",
    "encode",
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
