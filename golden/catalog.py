"""The formats of the literature, each with its source.

Arithmetic on all of them is the same code; a format that is missing here is one more line of data.
"""

from quaver.golden.errors import check_choice
from quaver.golden.formats import Format

_OCP = "OCP OFP8; Micikevicius et al. 2022, arXiv 2209.05433, table 1"
_FNUZ = "Noune et al. 2022, arXiv 2206.02915; encoding as in ONNX and ml_dtypes"
_IBM = "IBM DLFloat16: zDNN, onnx-mlir, US patent 2019/0369960"
_MX = "OCP Microscaling Formats v1.0, section 5.3"
_SUN = "Sun et al. 2019 (HFP8), as described by Rodriguez, Deep Learning Systems; no reserved code assumed"

E5M2 = Format(name="e5m2", exponent_bits=5, mantissa_bits=2, bias=15, source=_OCP)
E4M3 = Format(name="e4m3", exponent_bits=4, mantissa_bits=3, bias=7, specials="fn", source=_OCP)
E4M3FNUZ = Format(name="e4m3fnuz", exponent_bits=4, mantissa_bits=3, bias=8, specials="fnuz", source=_FNUZ)
E5M2FNUZ = Format(name="e5m2fnuz", exponent_bits=5, mantissa_bits=2, bias=16, specials="fnuz", source=_FNUZ)
E4M3B11FNUZ = Format(name="e4m3b11fnuz", exponent_bits=4, mantissa_bits=3, bias=11, specials="fnuz", source="ml_dtypes")
E4M3_IEEE = Format(
    name="e4m3_ieee", exponent_bits=4, mantissa_bits=3, bias=7, source="PULP FP8ALT, cvfpu feature/expanding_dotp"
)
E5M2_WANG = Format(
    name="e5m2_wang",
    exponent_bits=5,
    mantissa_bits=2,
    bias=15,
    specials="finite",
    source="Wang et al. 2018 (1-5-2), as in QPyTorch's IBM8 example: subnormals kept, no code reserved",
)
E3M2 = Format(name="e3m2", exponent_bits=3, mantissa_bits=2, bias=3, specials="finite", source=_MX)
E2M3 = Format(name="e2m3", exponent_bits=2, mantissa_bits=3, bias=1, specials="finite", source=_MX)
E2M1 = Format(name="e2m1", exponent_bits=2, mantissa_bits=1, bias=1, specials="finite", source=_MX)
HFP8_143 = Format(name="hfp8_143", exponent_bits=4, mantissa_bits=3, bias=11, specials="finite", source=_SUN)
HFP8_153 = Format(
    name="hfp8_153",
    exponent_bits=5,
    mantissa_bits=3,
    bias=15,
    specials="finite",
    source=_SUN + "; the unit's internal 9-bit form, its bias that of 1-5-2",
)
DLFLOAT16 = Format(
    name="dlfloat16",
    exponent_bits=6,
    mantissa_bits=9,
    bias=31,
    specials="dlfloat",
    subnormals="normal",
    source=_IBM,
)
E6M9 = Format(
    name="e6m9", exponent_bits=6, mantissa_bits=9, bias=31, source="1-6-9 of Wang et al. 2018 in IEEE 754 encoding"
)
E6M5 = Format(
    name="e6m5",
    exponent_bits=6,
    mantissa_bits=5,
    bias=31,
    subnormals="flush",
    source="FP12 accumulator of Ben Ali et al. 2024, arXiv 2404.14010, subnormals off",
)
E6M5_SUB = Format(
    name="e6m5_sub", exponent_bits=6, mantissa_bits=5, bias=31, source="FP12 of Ben Ali et al. 2024, subnormals on"
)
E8M13 = Format(
    name="e8m13", exponent_bits=8, mantissa_bits=13, bias=127, source="FP22, Hopper's FP8 accumulator: MMA-Sim"
)
FP16 = Format(name="fp16", exponent_bits=5, mantissa_bits=10, bias=15, source="IEEE 754 binary16")
BF16 = Format(name="bf16", exponent_bits=8, mantissa_bits=7, bias=127, source="bfloat16")
FP32 = Format(name="fp32", exponent_bits=8, mantissa_bits=23, bias=127, source="IEEE 754 binary32")


def noune(exponent_bits: int, mantissa_bits: int, bias: int) -> Format:
    """Noune et al. 2022, section 2: 1.E.p with a free bias per tensor type, top exponent used, 0x80 the only NaN."""
    return Format(
        name=f"noune_1{exponent_bits}{mantissa_bits}b{bias}",
        exponent_bits=exponent_bits,
        mantissa_bits=mantissa_bits,
        bias=bias,
        specials="fnuz",
        source="Noune et al. 2022, arXiv 2206.02915",
    )


NOUNE_143 = noune(4, 3, 10)
"""The bias of activations in the paper's ResNet experiments."""
NOUNE_152 = noune(5, 2, 32)
"""The bias of activation gradients in the paper's ResNet-50 experiment."""

FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        *(E5M2, E4M3, E4M3FNUZ, E5M2FNUZ, E4M3B11FNUZ, E4M3_IEEE, NOUNE_143, NOUNE_152, E5M2_WANG, HFP8_143, HFP8_153),
        *(E3M2, E2M3, E2M1),
        *(DLFLOAT16, E6M9, E6M5, E6M5_SUB, E8M13, FP16, BF16, FP32),
    )
}
"""All named formats."""


def format_named(name: object, field: str = "format") -> Format:
    """Look a format up by its name; ValueError names `field` and all formats there are."""
    check_choice(field, name, FORMATS)
    return FORMATS[str(name)]
