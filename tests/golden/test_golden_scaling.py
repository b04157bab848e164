"""Scales of tensors, held against exact fractions and against what the papers say."""

import json
from dataclasses import replace
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quaver.golden import FORMATS, RHA, RNE, RTZ, LaneWords, Rounding, decode, encode, noune, sr, to_float
from quaver.golden.catalog import DLFLOAT16, E2M1, E4M3, E4M3B11FNUZ, E5M2, E5M2_WANG, FP16, FP32, HFP8_143, NOUNE_143
from quaver.golden.noune_biases import NOUNE_BIASES, NouneBiases, noune_bias
from quaver.golden.scalars import as_reals, check_fraction, check_positive, check_power_of_two, check_real
from quaver.golden.scaling import AmaxHistory, amax_exponent, amax_scale, rescale, with_bias
from quaver.golden.states import State

MODES = [
    *(RNE, RHA, RTZ, sr(1), sr(9), sr(16)),
    *(Rounding(mode=mode, random_bits=r) for mode in ("sr_fast", "sr_unbiased") for r in (2, 13)),
]
PAIRS = [
    *(("dlfloat16", "e4m3"), ("dlfloat16", "e5m2"), ("fp16", "e4m3fnuz"), ("fp32", "dlfloat16"), ("fp32", "e6m9")),
    *(("bf16", "fp16"), ("e6m9", "bf16"), ("e5m2", "fp32"), ("e4m3", "noune_152b32"), ("fp16", "hfp8_143")),
    *(("e6m5_sub", "e6m5"), ("fp32", "e4m3_ieee")),
]


def power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


# ------------------------------------------------------------------------------------------------------------- rescale


@pytest.mark.parametrize(
    "source, target",
    [
        *((FORMATS[source], FORMATS[target]) for source, target in PAIRS),
        *((FP16, replace(fmt, name=f"u{fmt.name}", signed=False)) for fmt in (E4M3, E5M2, DLFLOAT16, HFP8_143)),
    ],
    ids=str,
)
def test_rescale_is_the_exact_product_rounded_once(law, real, source, target):
    rng = np.random.default_rng(source.bits * 100 + target.bits)
    compared = moved = 0
    for index, rounding in enumerate(MODES):
        # Exponents that put the source's numbers across, below and above the target's range.
        for exponent in rng.integers(-source.bias - target.bias - 8, target.bias + 8, 4).tolist():
            codes = rng.integers(0, 1 << source.bits, 60).astype(source.dtype)
            if target.nan_code is None:
                codes = codes[~decode(codes, source).nan]
            words = rng.integers(0, 1 << rounding.random_bits, codes.size)
            saturate = index % 2 == 1
            got = rescale(codes, source, target, rounding, exponent=exponent, words=words, saturate=saturate)
            assert got.dtype == target.dtype
            for code, word, result in zip(codes.tolist(), words.tolist(), got.tolist(), strict=True):
                x = law.decode(code, source)
                scaled = real(x.kind, x.negative, x.magnitude * power(exponent))
                want = law.round(scaled, target, rounding.mode, rounding.random_bits, word, saturate)
                if law.decode(want, target).kind == "nan":
                    want = law.nan(target)
                assert result == want, (code, exponent, str(rounding), word)
                compared += 1
                moved += x.magnitude != 0
    assert compared > 2000
    assert moved > 1000


def test_rescale_without_a_scale_is_a_cast_whose_nans_are_canonical():
    codes = np.arange(1 << 16)
    got = rescale(codes, FP16, E4M3)
    with np.errstate(invalid="ignore"):
        want = encode(to_float(codes, FP16), E4M3)
    nan = (want & 0x7F) == 0x7F
    np.testing.assert_array_equal(got[~nan], want[~nan])
    assert set(got[nan].tolist()) == {0x7F}
    assert set(want[nan].tolist()) == {0x7F, 0xFF}
    assert nan.sum() > 10_000
    assert (~nan).sum() > 30_000


def test_rescale_takes_the_law_of_lanes():
    law = LaneWords(lanes=4, seed=5, issued=2)
    codes = np.random.default_rng(1).integers(0, 0x7000, (3, 7))
    want = rescale(codes, DLFLOAT16, E5M2, sr(9), exponent=-3, words=law.of_tensor((3, 7), 9))
    np.testing.assert_array_equal(rescale(codes, DLFLOAT16, E5M2, sr(9), exponent=-3, words=law), want)
    unrounded = rescale(codes, DLFLOAT16, E5M2, exponent=-3)
    np.testing.assert_array_equal(rescale(codes, DLFLOAT16, E5M2, exponent=-3, words=law), unrounded)
    assert (unrounded != want).any()


def test_a_finite_target_refuses_nan_and_takes_infinities(message):
    assert rescale([0x7C00, 0xFC00], FP16, E5M2_WANG).tolist() == [0x7F, 0xFF]
    assert message(lambda: rescale([0x7E00], FP16, E5M2_WANG)) == "NaN cannot be encoded in e5m2_wang"


# ---------------------------------------------------------------------------------------------------------------- bias


@pytest.mark.parametrize("name", ["e4m3", "e5m2", "hfp8_143", "noune_143b10", "fp16", "dlfloat16", "e6m5"])
def test_a_bias_is_a_power_of_two_beside_the_tensor(name):
    fmt = FORMATS[name]
    rng = np.random.default_rng(3)
    values = np.ldexp(rng.standard_normal(3000), rng.integers(-50, 40, 3000))
    compared = 0
    for bias in (-4, 0, fmt.bias, fmt.bias + 1, 37):
        other = with_bias(fmt, bias)
        assert other.bias == bias
        shift = bias - fmt.bias
        np.testing.assert_array_equal(encode(values, other), encode(np.ldexp(values, shift), fmt))
        codes = np.arange(1 << 8)
        np.testing.assert_array_equal(to_float(codes, other), np.ldexp(to_float(codes, fmt), -shift))
        # Without a format of its own: the same codes, a scale in the output unit.
        product = encode(values, FP32)
        np.testing.assert_array_equal(rescale(product, FP32, other), rescale(product, FP32, fmt, exponent=shift))
        compared += values.size
    assert compared == 15_000


def test_names_of_biased_formats():
    assert with_bias(E4M3, 7) is E4M3
    assert with_bias(E4M3, 11).name == "e4m3b11"
    assert with_bias(NOUNE_143, 14) == noune(4, 3, 14)
    assert with_bias(with_bias(E4M3, 11), 12).name == "e4m3b12"
    # HFP8: "fixed exponent bias offset -4".
    ours = with_bias(HFP8_143, 7)
    np.testing.assert_array_equal(to_float(np.arange(256), HFP8_143), to_float(np.arange(256), ours) / 16)


# ---------------------------------------------------------------------------------------------------------------- amax

amaxes = st.floats(min_value=2.0**-800, max_value=2.0**800, exclude_min=True)


@settings(deadline=None, max_examples=300)
@given(amaxes, st.sampled_from(list(FORMATS)), st.integers(0, 64))
def test_the_exponent_is_the_largest_that_fits(amax, name, margin):
    fmt = FORMATS[name]
    e = amax_exponent(amax, fmt, margin=margin)
    top = Fraction(fmt.max_finite) * power(-margin)
    assert Fraction(amax) * power(e) <= top < Fraction(amax) * power(e + 1)
    scale = amax_scale(amax, fmt, margin=margin)
    assert Fraction(scale) == power(e)
    real = amax_scale(amax, fmt, margin=margin, power_of_two=False)
    assert scale <= real <= 2 * scale
    assert abs(Fraction(real) * Fraction(amax) / top - 1) < power(-52)


@pytest.mark.parametrize("fmt", [E4M3, E5M2, E4M3B11FNUZ, HFP8_143, E2M1, FP16], ids=str)
def test_a_scaled_tensor_fills_the_format_and_never_overflows(fmt):
    rng = np.random.default_rng(8)
    compared = 0
    for _ in range(200):
        x = np.ldexp(rng.standard_normal(50), rng.integers(-60, 60))
        amax = float(np.abs(x).max())
        for power_of_two in (True, False):
            codes = encode(x * amax_scale(amax, fmt, power_of_two=power_of_two), fmt)
            top = int((codes & fmt.magnitude_mask).max())
            assert not decode(codes, fmt).nan.any()
            assert fmt.max_finite / 2 <= to_float(top, fmt) <= fmt.max_finite
            assert power_of_two or top == fmt.max_code
            compared += 1
        exponent = amax_exponent(amax, fmt)
        np.testing.assert_array_equal(
            rescale(encode(x, FP32), FP32, fmt, exponent=exponent),
            encode(to_float(encode(x, FP32), FP32) * amax_scale(amax, fmt), fmt),
        )
    assert compared == 400


def test_scales_by_hand():
    assert amax_exponent(448.0, E4M3) == 0
    assert amax_exponent(np.nextafter(448.0, 500), E4M3) == -1
    assert amax_exponent(224.0, E4M3) == 1
    assert amax_scale(3.0, E4M3) == 128.0
    assert amax_scale(3.0, E4M3, margin=2) == 32.0
    assert amax_scale(3.0, E4M3, power_of_two=False) == 448 / 3
    assert amax_scale(np.float32(1.0), E5M2) == 2.0**15
    assert amax_scale(0, E4M3) == amax_scale(-0.0, E4M3, power_of_two=False) == 1.0
    assert amax_scale(2.0**-1015, E4M3) == 2.0**1023


def test_a_history_remembers_its_window():
    history = AmaxHistory(length=3)
    assert history.amax == 0.0
    assert amax_scale(history.amax, E4M3) == 1.0
    seen = []
    for value in (1.0, 5.0, 2.0, 3.0, 1.5, 0.0):
        history = history.updated(value)
        seen.append((history.amax, history.values))
    assert seen == [
        (1.0, (1.0,)),
        (5.0, (1.0, 5.0)),
        (5.0, (1.0, 5.0, 2.0)),
        (5.0, (5.0, 2.0, 3.0)),
        (3.0, (2.0, 3.0, 1.5)),
        (3.0, (3.0, 1.5, 0.0)),
    ]
    last = AmaxHistory(length=2, rule="most_recent").updated(7.0).updated(np.float32(0.1))
    assert last.amax == float(np.float32(0.1))
    assert AmaxHistory(length=2) == AmaxHistory(length=2)


def test_a_history_survives_json():
    history = AmaxHistory(length=4, rule="most_recent", values=(0.1, np.float32(0.3)))
    text = json.dumps(history.to_dict())
    again = AmaxHistory.from_dict(json.loads(text))
    assert json.loads(text) == history.to_dict() == again.to_dict()
    assert again == history
    assert again.updated(1 / 3) == history.updated(1 / 3)


# --------------------------------------------------------------------------------------------------------------- Noune


def test_the_table_is_the_papers():
    """Biases A, W, dx, dw as the paper prints them."""
    rows = {(row.model, row.forward, row.backward): row for row in NOUNE_BIASES}
    assert len(rows) == len(NOUNE_BIASES) == 10

    def biases(*key: str) -> tuple:
        row = rows[key]
        return row.activations, row.weights, row.activation_gradients, row.weight_gradients

    assert biases("ResNet-32 CIFAR-100", "1.4.3", "1.4.3") == (10, 14, 20, 16)
    assert biases("ResNet-32 CIFAR-100", "1.5.2", "1.5.2") == (24, 28, 32, 33)
    assert biases("ResNet-32 CIFAR-100", "1.4.3", "1.5.2") == (10, 14, 33, 31)
    assert biases("ResNet-18 ImageNet", "1.5.2", "1.5.2") == (28, 24, 34, 31)
    assert biases("ResNet-50 ImageNet", "1.4.3", "1.5.2") == (10, 14, 32, 32)
    assert biases("EfficientNet ImageNet", "1.4.3", "1.5.2") == (7, 12, 16, None)
    assert biases("Transformer WMT14", "1.4.3", "1.5.2") == (10, 16, 40, 40)
    for row in NOUNE_BIASES:
        formats = row.formats()
        assert set(formats) >= {"activations", "weights", "activation_gradients"}
        assert ("weight_gradients" in formats) == (row.weight_gradients is not None)
        for kind, fmt in formats.items():
            layout = row.forward if kind in ("activations", "weights") else row.backward
            assert fmt == noune(int(layout[2]), int(layout[4]), getattr(row, kind))
    assert rows["ResNet-32 CIFAR-100", "1.4.3", "1.4.3"].formats()["activations"] == NOUNE_143


@settings(deadline=None, max_examples=200)
@given(st.floats(min_value=2.0**-60, max_value=2.0**60), st.sampled_from([(4, 3), (5, 2), (3, 4)]))
def test_a_bias_is_the_largest_that_holds_the_amax(amax, layout):
    bias = noune_bias(amax, *layout)
    assert noune(*layout, bias).max_finite >= amax > noune(*layout, bias + 1).max_finite
    assert noune_bias(amax, *layout, margin=3) == bias - 3


def test_a_typical_loss_scale_is_a_bias():
    """The paper: a loss scale of 2^22 with the standard bias 15 is a bias of 37."""
    values = np.random.default_rng(2).standard_normal(1000) * 2.0**-12
    np.testing.assert_array_equal(encode(values, noune(5, 2, 37)), encode(values * 2.0**22, noune(5, 2, 15)))
    amax = noune(5, 2, 15).max_finite * 2.0**-22
    assert noune_bias(amax, 5, 2) == 37
    assert noune_bias(0.0, 5, 2) == 15
    assert noune_bias(0, 4, 3) == 7


# -------------------------------------------------------------------------------------------------------------- errors


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: rescale([256], E4M3, E5M2), "codes of e4m3 must be in 0..0xff"),
        (
            lambda: rescale([1], E4M3, E5M2, exponent=1 << 17),
            "exponent must be an integer in -65536..65536, not 131072",
        ),
        (lambda: rescale([1], E4M3, E5M2, exponent=0.5), "exponent must be an integer in -65536..65536, not 0.5"),
        (lambda: rescale([1], E4M3, E5M2, sr(4)), "words are needed by rounding sr(4)"),
        (lambda: rescale([1], E4M3, E5M2, sr(4), words=[16]), "words of sr(4) must be in 0..15"),
        (lambda: with_bias(E4M3, 256), "e4m3b256: bias must be an integer in -128..255, not 256"),
        (lambda: amax_scale(NAN, E4M3), "amax must be a finite number of at least 0, not nan"),
        (lambda: amax_scale(INF, E4M3), "amax must be a finite number of at least 0, not inf"),
        (lambda: amax_scale(-1, E4M3), "amax must be a finite number of at least 0, not -1.0"),
        (lambda: amax_scale(1.0, E4M3, margin=-1), "margin must be an integer in 0..64, not -1"),
        (lambda: amax_scale(2.0**-1016, E4M3), f"amax must allow a scale within float64, not {2.0**-1016}"),
        (lambda: amax_scale(2.0**1023, noune(4, 3, 255)), f"amax must allow a scale within float64, not {2.0**1023}"),
        (
            lambda: amax_exponent(1 << 1025, E4M3),
            "amax must be in the range of float64, not an integer of 1026 bits",
        ),
        (lambda: AmaxHistory(length=0), "length must be an integer in 1..65536, not 0"),
        (lambda: AmaxHistory(length=2, rule="mean"), "rule must be one of max, most_recent, not 'mean'"),
        (lambda: AmaxHistory(length=1, values=(1.0, 2.0)), "number of values must be an integer in 0..1, not 2"),
        (
            lambda: AmaxHistory(length=2, values=(1.0, -2.0)),
            "values[1] must be a finite number of at least 0, not -2.0",
        ),
        (lambda: AmaxHistory(length=2).updated(INF), "amax must be a finite number of at least 0, not inf"),
        (lambda: AmaxHistory.from_dict({"length": 1}), "kind must be one of AmaxHistory, not None"),
        (
            lambda: AmaxHistory.from_dict(AmaxHistory(length=1).to_dict() | {"size": 1}),
            "key of AmaxHistory must be one of kind, length, rule, values, not 'size'",
        ),
        (
            lambda: AmaxHistory.from_dict({"kind": "AmaxHistory", "length": 1}),
            "rule of AmaxHistory is missing",
        ),
        (lambda: noune_bias(NAN, 4, 3), "amax must be a finite number of at least 0, not nan"),
        (
            lambda: noune_bias(2.0**-300, 4, 3),
            "noune_143b315: bias must be an integer in -128..255, not 315",
        ),
        (
            lambda: NouneBiases(
                model="m",
                forward="1.3.4",
                backward="1.5.2",
                activations=1,
                weights=1,
                activation_gradients=1,
                weight_gradients=1,
            ),
            "forward must be one of 1.4.3, 1.5.2, not '1.3.4'",
        ),
        (lambda: check_real("lr", -INF), "lr must be finite, not -inf"),
        (lambda: check_positive("alpha", 0), "alpha must be a finite number above 0, not 0.0"),
        (lambda: check_fraction("decay", 1), "decay must be at least 0 and below 1, not 1.0"),
        (lambda: check_fraction("decay", NAN), "decay must be at least 0 and below 1, not nan"),
        (lambda: check_power_of_two("scale", 3.0), "scale must be a power of two, not 3.0"),
        (lambda: check_power_of_two("scale", -2.0), "scale must be a power of two, not -2.0"),
        (lambda: check_power_of_two("scale", NAN), "scale must be a power of two, not nan"),
        (lambda: as_reals("x", [1.0, NAN]), "x must be finite"),
    ],
)
def test_bad_values_are_refused(call, text, message):
    assert message(call) == text


@pytest.mark.parametrize(
    "call, text",
    [
        (lambda: rescale([1.0], E4M3, E5M2), "codes of e4m3 must be integers, not float64"),
        (lambda: rescale([1], E4M3, E5M2, sr(4), words=[1.0]), "words must be integers, not float64"),
        (lambda: amax_scale("1", E4M3), "amax must be a real number, not '1'"),
        (lambda: amax_scale(True, E4M3), "amax must be a real number, not True"),
        (lambda: amax_scale(1j, E4M3), "amax must be a real number, not 1j"),
        (lambda: amax_scale(None, E4M3), "amax must be a real number, not None"),
        (lambda: AmaxHistory(length=1).updated("2"), "amax must be a real number, not '2'"),
        (lambda: as_reals("x", ["1"]), "x must be real numbers, not <U1"),
        (lambda: as_reals("x", [1j]), "x must be real numbers, not complex128"),
        (lambda: as_reals("x", [True]), "x must be real numbers, not bool"),
        (lambda: as_reals("x", np.zeros(2, "V2")), "x must be real numbers, not |V2"),
    ],
)
def test_wrong_types_are_refused(call, text, message):
    assert message(call, TypeError) == text


def test_real_numbers_of_all_kinds():
    for dtype in (np.float16, np.float32, np.int8, np.uint64, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2):
        got = as_reals("x", np.array([1, 3], dtype))
        assert got.dtype == np.float64
        assert got.tolist() == [1.0, 3.0]
    assert check_power_of_two("scale", np.float32(0.25)) == check_power_of_two("scale", 1) / 4 == 0.25
    assert State().to_dict() == {"kind": "State"}
