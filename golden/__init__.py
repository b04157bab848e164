"""What every bit must be: formats, rounding, random words, MAC, chunked GEMM, and the descriptions of machines."""

from quaver.golden import engine
from quaver.golden.accelerator import Accelerator, Results
from quaver.golden.adam import Adam, AdamStep
from quaver.golden.arithmetic import BLACKWELL_FP8, HOPPER_FP8, Accumulator, AlignedSum, Arithmetic, ExactSum
from quaver.golden.array_words import ArrayWords, GemmWords, Issued, array_words, issued_by
from quaver.golden.blocks import Blocks, decode_blocks, encode_blocks
from quaver.golden.casts import encode
from quaver.golden.catalog import FORMATS, format_named, noune
from quaver.golden.commands import Command, Matmul, Reseed
from quaver.golden.fitting import fitted, misfits
from quaver.golden.formats import Exact, Format, decode, from_float, to_float
from quaver.golden.gemm import gemm
from quaver.golden.lane_words import LaneWords
from quaver.golden.lfsr import LeapingLfsr, seed_of
from quaver.golden.logarithms import exp2_fixed, log2_fixed
from quaver.golden.loss_scaling import BackOff, ConstantScale, LogMax, LossScaling, RisingFloor
from quaver.golden.mac import accumulate, add, chunk_addend, mac, multiply
from quaver.golden.machine import PRESETS, Machine
from quaver.golden.memory import Memory
from quaver.golden.noune_biases import NOUNE_BIASES, NouneBiases, noune_bias
from quaver.golden.output import OutputStatistics, output
from quaver.golden.plan import Block, plan
from quaver.golden.recipe import Amax, Cast, Fixed, Recipe, Squeeze
from quaver.golden.recipes import RECIPES, recipe_named
from quaver.golden.rounding import RHA, RNE, RTZ, Rounding, round_to, sr
from quaver.golden.s2fp8 import (
    S2fp8Parameters,
    S2fp8Statistics,
    S2fp8Tensor,
    s2fp8_decode,
    s2fp8_encode,
    s2fp8_parameters,
    s2fp8_squeeze,
    s2fp8_statistics,
    s2fp8_unsqueeze,
)
from quaver.golden.s2fp8_fixed import (
    PowerRegisters,
    power_law,
    s2fp8_decode_fixed,
    s2fp8_encode_fixed,
    squeeze_registers,
    unsqueeze_registers,
)
from quaver.golden.scaling import AmaxHistory, amax_exponent, amax_scale, rescale, with_bias
from quaver.golden.update import Sgd, SgdStep, axpy

__all__ = [
    "BLACKWELL_FP8",
    "FORMATS",
    "HOPPER_FP8",
    "NOUNE_BIASES",
    "PRESETS",
    "RECIPES",
    "RHA",
    "RNE",
    "RTZ",
    "Accelerator",
    "Accumulator",
    "Adam",
    "AdamStep",
    "AlignedSum",
    "Amax",
    "AmaxHistory",
    "Arithmetic",
    "ArrayWords",
    "BackOff",
    "Block",
    "Blocks",
    "Cast",
    "Command",
    "ConstantScale",
    "Exact",
    "ExactSum",
    "Fixed",
    "Format",
    "GemmWords",
    "Issued",
    "LaneWords",
    "LeapingLfsr",
    "LogMax",
    "LossScaling",
    "Machine",
    "Matmul",
    "Memory",
    "NouneBiases",
    "OutputStatistics",
    "PowerRegisters",
    "Recipe",
    "Reseed",
    "Results",
    "RisingFloor",
    "Rounding",
    "S2fp8Parameters",
    "S2fp8Statistics",
    "S2fp8Tensor",
    "Sgd",
    "SgdStep",
    "Squeeze",
    "accumulate",
    "add",
    "amax_exponent",
    "amax_scale",
    "array_words",
    "axpy",
    "chunk_addend",
    "decode",
    "decode_blocks",
    "encode",
    "encode_blocks",
    "engine",
    "exp2_fixed",
    "fitted",
    "format_named",
    "from_float",
    "gemm",
    "issued_by",
    "log2_fixed",
    "mac",
    "misfits",
    "multiply",
    "noune",
    "noune_bias",
    "output",
    "plan",
    "power_law",
    "recipe_named",
    "rescale",
    "round_to",
    "s2fp8_decode",
    "s2fp8_decode_fixed",
    "s2fp8_encode",
    "s2fp8_encode_fixed",
    "s2fp8_parameters",
    "s2fp8_squeeze",
    "s2fp8_statistics",
    "s2fp8_unsqueeze",
    "seed_of",
    "squeeze_registers",
    "sr",
    "to_float",
    "unsqueeze_registers",
    "with_bias",
]
