"""The arithmetic once more, as scalar statements on fractions.Fraction, and the cases on which golden is compared."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from fractions import Fraction
from functools import cache, reduce
from typing import NamedTuple

import numpy as np
import pytest

from quaver.golden import AlignedSum, ExactSum, Format, LaneWords, encode, engine, to_float


class Real(NamedTuple):
    """A real number with a signed zero, an infinity or a NaN."""

    kind: str
    negative: bool
    magnitude: Fraction


ZERO = Fraction(0)
NAN = Real("nan", False, ZERO)
MINUS_ZERO = Real("finite", True, ZERO)


def power_of_two(exponent: int) -> Fraction:
    return Fraction(1 << exponent) if exponent >= 0 else Fraction(1, 1 << -exponent)


def floor_log2(x: Fraction) -> int:
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if power_of_two(e) <= x else e - 1


class Law:
    """Sections 1 to 4 of the definition, one scalar at a time."""

    @staticmethod
    @cache
    def decode(code: int, fmt: Format) -> Real:
        e_bits, m_bits, bias = fmt.exponent_bits, fmt.mantissa_bits, fmt.bias
        negative = code >= 2 ** (e_bits + m_bits)
        e, m = divmod(code % 2 ** (e_bits + m_bits), 2**m_bits)
        all_ones = e == 2**e_bits - 1 and m == 2**m_bits - 1
        if fmt.specials == "ieee" and e == 2**e_bits - 1:
            return Real("inf", negative, ZERO) if m == 0 else Real("nan", negative, ZERO)
        if fmt.specials in ("fn", "dlfloat") and all_ones:
            return Real("nan", negative, ZERO)
        if fmt.specials == "fnuz" and negative and e == m == 0:
            return Real("nan", True, ZERO)
        normal = power_of_two(e - bias) * (1 + Fraction(m, 2**m_bits))
        if e > 0:
            magnitude = normal
        elif fmt.subnormals == "gradual":
            magnitude = power_of_two(1 - bias) * Fraction(m, 2**m_bits)
        elif fmt.subnormals == "flush":
            magnitude = ZERO
        else:
            magnitude = normal if m else ZERO
        if magnitude == 0 and not Law.has_negative_zero(fmt):
            negative = False
        return Real("finite", negative, magnitude)

    @staticmethod
    def has_negative_zero(fmt: Format) -> bool:
        return fmt.signed and fmt.specials not in ("fnuz", "dlfloat")

    @staticmethod
    def real(value: float) -> Real:
        """A finite number."""
        return Real("finite", bool(np.signbit(value)), abs(Fraction(value)))

    @staticmethod
    @cache
    def largest(fmt: Format) -> Fraction:
        """Largest finite number."""
        top = 2**fmt.exponent_bits - 1 - fmt.bias
        ulps = 2 ** (fmt.mantissa_bits + 1) - 1
        if fmt.specials == "ieee":
            if fmt.exponent_bits == 1:  # no number has a leading one
                return power_of_two(1 - fmt.bias) * Fraction(2**fmt.mantissa_bits - 1, 2**fmt.mantissa_bits)
            top -= 1
        elif fmt.specials in ("fn", "dlfloat"):
            if fmt.mantissa_bits == 0:  # the reserved code is a whole binade
                top -= 1
            else:
                ulps -= 1
        return power_of_two(top) * Fraction(ulps, 2**fmt.mantissa_bits)

    @staticmethod
    def code(negative: bool, magnitude: Fraction, fmt: Format) -> int:
        """Code of a number that the format holds."""
        sign = 2 ** (fmt.exponent_bits + fmt.mantissa_bits) if negative else 0
        if magnitude == 0:
            return sign if Law.has_negative_zero(fmt) else 0
        e = floor_log2(magnitude)
        if e < 1 - fmt.bias and fmt.subnormals == "gradual":
            field, m = 0, magnitude / power_of_two(1 - fmt.bias) * 2**fmt.mantissa_bits
        else:
            field, m = e + fmt.bias, (magnitude / power_of_two(e) - 1) * 2**fmt.mantissa_bits
        assert m.denominator == 1
        result = sign + field * 2**fmt.mantissa_bits + m.numerator
        assert Law.decode(result, fmt) == Real("finite", negative, magnitude)
        return result

    @staticmethod
    def nan(fmt: Format, negative: bool = False) -> int:
        ones, m_bits = 2 ** (fmt.exponent_bits + fmt.mantissa_bits), fmt.mantissa_bits
        sign = ones if negative and fmt.signed else 0
        match fmt.specials:
            case "ieee":
                return sign + ones - 2**m_bits + 2 ** (m_bits - 1)
            case "fn":
                return sign + ones - 1
            case "dlfloat":
                return ones - 1
            case "fnuz":
                return ones
        raise AssertionError(f"{fmt} has no NaN")

    @staticmethod
    def infinite(negative: bool, fmt: Format, saturate: bool, from_infinity: bool) -> int:
        """Code of a result that is too large, or infinite; in an unsigned format the smallest number is 0."""
        if negative and not fmt.signed:
            return 0 if saturate or fmt.specials == "finite" else Law.nan(fmt)
        if fmt.specials == "finite" or (saturate and not (fmt.specials == "fnuz" and from_infinity)):
            return Law.code(negative, Law.largest(fmt), fmt)
        if fmt.specials == "ieee":
            return ((int(negative) + 1) * 2**fmt.exponent_bits - 1) * 2**fmt.mantissa_bits
        return Law.nan(fmt, negative)

    @staticmethod
    def round(x: Real, fmt: Format, mode: str, bits: int = 0, word: int = 0, saturate: bool = False) -> int:
        """Round `x` as a cast does: a NaN keeps its sign where the format has one."""
        if x.kind == "nan":
            return Law.nan(fmt, x.negative)
        if x.kind == "inf":
            return Law.infinite(x.negative, fmt, saturate, from_infinity=True)
        result = ZERO
        if x.magnitude:
            e = floor_log2(x.magnitude)
            if fmt.subnormals == "gradual":
                e = max(e, 1 - fmt.bias)
            ulp = power_of_two(e - fmt.mantissa_bits)
            ulps, rest = divmod(x.magnitude, ulp)
            rest /= ulp
            match mode:
                case "rne":
                    # Without mantissa bits a code is even or odd by its exponent.
                    odd = ulps % 2 == 1 if fmt.mantissa_bits else ulps == 1 and (e + fmt.bias) % 2 == 1
                    up = rest > Fraction(1, 2) or (rest == Fraction(1, 2) and odd)
                case "rha":
                    up = rest >= Fraction(1, 2)
                case "rtz":
                    up = False
                case "sr":
                    up = (x.magnitude / ulp * 2**bits).__floor__() + word >= (ulps + 1) * 2**bits
                case "sr_fast":
                    up = (rest * 2 ** (bits + 1)).__floor__() + 2 * word + 1 >= 2 ** (bits + 1)
                case "sr_unbiased":
                    up = round(rest * 2**bits) + word >= 2**bits
            result = (ulps + up) * ulp
            smallest = {
                "gradual": ZERO,
                "flush": power_of_two(1 - fmt.bias),
                "normal": power_of_two(-fmt.bias) * (1 + Fraction(1, 2**fmt.mantissa_bits)),
            }
            if result < smallest[fmt.subnormals]:
                result = ZERO
        if x.negative and result and not fmt.signed:
            return 0 if mode == "rtz" else Law.infinite(True, fmt, saturate, from_infinity=False)
        if result > Law.largest(fmt):
            if mode == "rtz":
                result = Law.largest(fmt)
            else:
                return Law.infinite(x.negative, fmt, saturate, from_infinity=False)
        return Law.code(x.negative, result, fmt)

    @staticmethod
    def first_word_up(x: Real, fmt: Format, mode: str, bits: int) -> int:
        """The smallest word that rounds a finite magnitude up, 2^bits if there is none."""
        if x.kind != "finite" or not x.magnitude:
            return 2**bits
        e = floor_log2(x.magnitude)
        ulp = power_of_two((max(e, 1 - fmt.bias) if fmt.subnormals == "gradual" else e) - fmt.mantissa_bits)
        rest = x.magnitude / ulp % 1
        match mode:
            case "sr":
                return 2**bits - (rest * 2**bits).__floor__()
            case "sr_fast":
                return (2 ** (bits + 1) - (rest * 2 ** (bits + 1)).__floor__()) // 2
        return 2**bits - round(rest * 2**bits)

    @staticmethod
    def multiply(a: Real, b: Real) -> Real:
        negative = a.negative != b.negative
        if a.kind == "nan" or b.kind == "nan":
            return NAN
        if a.kind == "inf" or b.kind == "inf":
            zero = Real("finite", a.negative, ZERO) == a or Real("finite", b.negative, ZERO) == b
            return NAN if zero else Real("inf", negative, ZERO)
        return Real("finite", negative, a.magnitude * b.magnitude)

    @staticmethod
    def add(x: Real, y: Real) -> Real:
        if x.kind == "nan" or y.kind == "nan":
            return NAN
        if x.kind == "inf" or y.kind == "inf":
            if x.kind == y.kind and x.negative != y.negative:
                return NAN
            return x if x.kind == "inf" else y
        total = (-x.magnitude if x.negative else x.magnitude) + (-y.magnitude if y.negative else y.magnitude)
        if total:
            return Real("finite", total < 0, abs(total))
        both = x.magnitude == y.magnitude == 0 and x.negative and y.negative
        return Real("finite", both, ZERO)

    @staticmethod
    def accumulate(acc: int, addend: Real, accumulator, word: int = 0) -> int:
        """round(acc + addend), NaNs canonical."""
        return Law.round_sum(Law.add(Law.decode(acc, accumulator.format), addend), accumulator, word)

    @staticmethod
    def round_sum(total: Real, accumulator, word: int = 0) -> int:
        fmt, rounding = accumulator.format, accumulator.rounding
        code = Law.round(total, fmt, rounding.mode, rounding.random_bits, word, accumulator.overflow == "saturate")
        return Law.nan(fmt) if Law.decode(code, fmt).kind == "nan" else code

    @staticmethod
    def exponent(x: Real, fmt: Format) -> int:
        """Exponent of a finite number of `fmt` other than zero; a subnormal one keeps that of its binade."""
        return max(floor_log2(x.magnitude), -fmt.bias if fmt.subnormals == "normal" else 1 - fmt.bias)

    @staticmethod
    def aligned(terms: list[tuple[Real, int | None]], fraction_bits: int) -> Real:
        """Sum of terms (each with its exponent, a zero with any) that are cut to a common quantum."""
        total = reduce(Law.add, [x for x, _ in terms])
        exponents = [e for x, e in terms if x.magnitude]
        if total.kind != "finite" or not exponents:
            return total
        quantum = power_of_two(max(exponents) - fraction_bits)
        cut = sum((-1) ** x.negative * (x.magnitude // quantum) for x, _ in terms)
        return Real("finite", cut < 0, abs(cut) * quantum)

    @staticmethod
    def mac(acc: int, a: int, b: int, a_format: Format, b_format: Format, accumulator, word: int = 0) -> int:
        product = Law.multiply(Law.decode(a, a_format), Law.decode(b, b_format))
        return Law.accumulate(acc, product, accumulator, word)

    @staticmethod
    def chunk_sum(products: list[Real], arithmetic, words: list[int] | None) -> Real:
        """What a chunk's products add to the outer sum: their exact sum, or that of an inner accumulator."""
        if isinstance(arithmetic.inner, ExactSum):
            return reduce(Law.add, products)
        fmt = arithmetic.inner.format
        s = Law.code(True, ZERO, fmt)
        for index, product in enumerate(products):
            s = Law.accumulate(s, product, arithmetic.inner, 0 if words is None else words[index])
        x = Law.decode(s, fmt)
        # The only zero of a format without -0 is read as -0, the identity of addition.
        return MINUS_ZERO if x.kind == "finite" and not x.magnitude and not Law.has_negative_zero(fmt) else x

    @staticmethod
    def scaled(x: Real, scale: Fraction | None) -> Real:
        return NAN if scale is None else x._replace(magnitude=x.magnitude * scale)

    @staticmethod
    def aligned_chunk(y: int, products: list[Real], pairs, arithmetic, scale: Fraction | None, word: int) -> int:
        terms = []
        for product, (a, b) in zip(products, pairs, strict=True):
            exponent = None
            if product.magnitude and scale is not None:
                exponent = Law.exponent(Law.decode(a, arithmetic.a), arithmetic.a) + floor_log2(scale)
                exponent += Law.exponent(Law.decode(b, arithmetic.b), arithmetic.b)
            terms.append((Law.scaled(product, scale), exponent))
        start = Law.decode(y, arithmetic.outer.format)
        terms.append((start, Law.exponent(start, arithmetic.outer.format) if start.magnitude else None))
        return Law.round_sum(Law.aligned(terms, arithmetic.inner.fraction_bits), arithmetic.outer, word)

    @staticmethod
    def gemm(a, b, arithmetic, c=None, inner_words=None, outer_words=None, scales=None) -> list[list[int]]:
        """The loops of section 4 on lists of codes; scales[chunk][m][n] are powers of two, or None for NaN."""
        depth, chunk = len(b), arithmetic.chunk
        columns = len(b[0]) if depth else 0
        result = []
        for m in range(len(a)):
            result.append([])
            for n in range(columns):
                y = 0 if c is None else c[m][n]
                for index, start in enumerate(range(0, depth, chunk)):
                    ks = range(start, min(start + chunk, depth))
                    products = [
                        Law.multiply(Law.decode(a[m][k], arithmetic.a), Law.decode(b[k][n], arithmetic.b)) for k in ks
                    ]
                    words = None if inner_words is None else [inner_words[k][m][n] for k in ks]
                    scale = Fraction(1) if scales is None else scales[index][m][n]
                    word = 0 if outer_words is None else outer_words[index][m][n]
                    if isinstance(arithmetic.inner, AlignedSum):
                        pairs = [(a[m][k], b[k][n]) for k in ks]
                        y = Law.aligned_chunk(y, products, pairs, arithmetic, scale, word)
                    else:
                        s = Law.scaled(Law.chunk_sum(products, arithmetic, words), scale)
                        y = Law.accumulate(y, s, arithmetic.outer, word)
                result[-1].append(y)
        return result


@pytest.fixture(scope="module", params=["numpy", "native"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Who computes casts and GEMMs: tests of what both must do run once on the definition and once on the engine."""
    with engine.using(request.param):
        yield request.param


@pytest.fixture(scope="session")
def message() -> Callable[..., str]:
    """The words of the error that a call raises, which must be of just this kind."""

    def raised(call: Callable[[], object], kind: type[Exception] = ValueError) -> str:
        with pytest.raises(kind) as error:
            call()
        assert type(error.value) is kind
        return str(error.value)

    return raised


@pytest.fixture(scope="session")
def law() -> type[Law]:
    """The definition on fractions.Fraction."""
    return Law


@pytest.fixture(scope="session")
def real() -> type[Real]:
    return Real


@pytest.fixture(scope="session")
def resumed() -> Callable:
    """The state after an optimiser's step as it comes back from a file."""

    def read_back(state, kind: type):
        table = json.loads(json.dumps([*(array.tolist() for array in state[:-1]), asdict(state.words)]))
        arrays = [np.array(codes, array.dtype) for codes, array in zip(table[:-1], state[:-1], strict=True)]
        return kind(*arrays, LaneWords(**table[-1]))

    return read_back


class Cases(NamedTuple):
    acc: np.ndarray
    a: np.ndarray
    b: np.ndarray


def mac_cases(rng: np.random.Generator, count: int, a_format: Format, b_format: Format, acc_format: Format) -> Cases:
    """Codes for acc + a * b: uniform, cancelling, aligned within a few ulps, small, large, and special ones."""
    a = rng.integers(0, 1 << a_format.bits, count)
    b = rng.integers(0, 1 << b_format.bits, count)
    acc = rng.integers(0, 1 << acc_format.bits, count)
    kind = rng.integers(0, 6, count)

    def of(fmt: Format, choices: np.ndarray, where: np.ndarray, codes: np.ndarray) -> None:
        """Replace magnitudes by a draw from `choices`."""
        codes[where] = (codes[where] & fmt.sign_mask) | rng.choice(choices, np.count_nonzero(where))

    for codes, fmt in ((a, a_format), (b, b_format), (acc, acc_format)):
        m = fmt.mantissa_bits
        of(fmt, np.arange(3 << min(m, 10)), kind == 1, codes)
        largest = fmt.max_code - np.arange(3 << min(m, 10))
        of(fmt, largest[largest > 0], kind == 2, codes)
        ends = np.array([0, 1, fmt.min_code, 1 << m, fmt.max_code, fmt.max_code + 1, fmt.magnitude_mask])
        of(fmt, np.unique(ends & fmt.magnitude_mask), (kind == 3) & (rng.random(count) < 0.6), codes)
    with np.errstate(invalid="ignore"):
        product = to_float(a, a_format) * to_float(b, b_format)
    near = (kind >= 4) & np.isfinite(product)
    target = np.where(near, product, 0.0)
    # Kind 4 cancels but for a few ulps; kind 5 lies within a significand's width, either sign.
    shift = rng.integers(-acc_format.precision - 2, acc_format.precision + 9, count)
    target = np.where(kind == 4, -target, np.ldexp(target, shift) * rng.choice([-1.0, 1.0], count))
    codes = encode(target, acc_format, saturate=True).astype(np.int64)
    wobble = np.where(
        kind == 4, rng.integers(-2, 3, count) * rng.integers(0, 2, count), rng.integers(-(1 << 9), 1 << 9, count)
    )
    magnitude = np.clip((codes & acc_format.magnitude_mask) + wobble, 0, acc_format.max_code)
    return Cases(np.where(near, (codes & acc_format.sign_mask) | magnitude, acc), a, b)


@pytest.fixture(scope="session")
def cases() -> Callable[..., Cases]:
    """Maker of MAC operands."""
    return mac_cases
