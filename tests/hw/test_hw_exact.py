"""Exact sums in Amaranth's own simulator: the MAC, the outer adder, and what becomes of zeros, infinities and NaNs."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

from quaver.cosim.cases import join_chunks, mac_cases, outer_cases
from quaver.cosim.exact_cases import add_product, canonical
from quaver.golden import Accumulator, ExactSum, Machine, decode, encode, gemm, sr, to_float
from quaver.golden.catalog import E5M2, E6M5, FP16, FP32
from quaver.golden.exact_register import ExactRegister
from quaver.hw.decoder import Decoder
from quaver.hw.exact_chunk_adder import ExactChunkAdder
from quaver.hw.mac import Mac

Play = Callable[..., dict[str, np.ndarray]]
COUNT = 200


def exact(depth: int = 1, **fields: object) -> Machine:
    defaults = {"rows": 2, "columns": 2, "chunk": 2, "outer": Accumulator(format=FP16)}
    return Machine(mac_depth=depth, inner=ExactSum(), **(defaults | fields))  # type: ignore[arg-type]


def register_of(machine: Machine) -> ExactRegister:
    assert machine.exact_register is not None
    return machine.exact_register


def delayed(values: np.ndarray, cycles: int) -> np.ndarray:
    return np.concatenate([np.zeros(cycles, values.dtype), values])[: len(values)]


def operand(play: Play, machine: Machine, codes: np.ndarray, choice: np.ndarray) -> np.ndarray:
    return play(Decoder(machine.a_formats), {"code": codes, "format": choice}, ["operand"], clocked=False)["operand"]


@pytest.mark.parametrize("depth", range(1, 8))
def test_mac_and_its_latency(play: Play, depth: int) -> None:
    """Sums enter at the last register; no other latency gives these sums."""
    machine = exact(depth, chunk=64 * 2)
    register = register_of(machine)
    drawn = mac_cases(np.random.default_rng(depth), machine, COUNT)
    inputs = {name: operand(play, machine, drawn[name], drawn[f"{name}_format"]) for name in "ab"}
    inputs["sum"] = delayed(drawn["sum"], depth - 1)
    got = canonical(register, play(Mac(machine), inputs, ["result"])["result"].astype(object))
    expected = np.zeros(COUNT, object)
    for i, j in product(range(2), repeat=2):
        of = (drawn["a_format"] == i) & (drawn["b_format"] == j)
        a, b = decode(drawn["a"][of], machine.a_formats[i]), decode(drawn["b"][of], machine.b_formats[j])
        expected[of] = add_product(register, drawn["sum"][of], a, b)
    matching = [d for d in range(12) if np.array_equal(got[d:], expected[: COUNT - d])]
    assert matching == [depth] == [machine.product_latency + machine.adder_latency]


@pytest.mark.parametrize(
    ("depth", "rounding"),
    [*((depth, "lazy") for depth in range(1, 8)), (1, "rne"), (4, "rne"), (2, "eager"), (7, "eager")],
)
def test_outer_adder_and_its_latency(play: Play, depth: int, rounding: str) -> None:
    outer = Accumulator(format=E6M5) if rounding == "rne" else Accumulator(format=FP32, rounding=sr(6))
    machine = exact(depth, outer=outer, sr_adder="eager" if rounding == "eager" else "lazy")
    drawn = outer_cases(np.random.default_rng(depth), machine, COUNT)
    inputs = {"chunk": drawn["chunk"], "sum": delayed(drawn["outer_sum"], machine.chunk_latency)}
    if outer.rounding.stochastic:
        inputs["word"] = delayed(drawn["outer_word"], machine.chunk_latency)
    adder = ExactChunkAdder(register_of(machine), outer, depth, machine.sr_adder)
    got = play(adder, inputs, ["result"])["result"]
    expected = join_chunks(drawn["outer_sum"], drawn["chunk"], machine, outer, drawn.get("outer_word"))
    matching = [d for d in range(12) if np.array_equal(got[d:], expected[: COUNT - d])]
    assert matching == [machine.chunk_latency + machine.outer_latency]


ONE, TINY, HUGE, INF, NAN = 0x3C, 0x01, 0x7B, 0x7C, 0x7E
SIGN = 0x80
OPERANDS = [  # E5M2: what meets in a chunk of two products with +1 and +1, +1 and -1, and so on
    (0, 0),
    (SIGN, SIGN),
    (SIGN, 0),
    (ONE, ONE | SIGN),
    (TINY, TINY | SIGN),
    (TINY, HUGE),
    (HUGE, HUGE),
    (HUGE | SIGN, HUGE | SIGN),
    (HUGE, HUGE | SIGN),
    (INF, ONE),
    (INF | SIGN, ONE),
    (INF, INF | SIGN),
    (INF, 0),
    (INF, INF),
    (NAN, 0),
    (NAN | SIGN, INF),
]


def chunk_sums(play: Play, machine: Machine, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chunk sums of each row of `a` with each column of `b`, all E5M2, and +0 plus each of them."""
    register, pairs = register_of(machine), len(a) * b.shape[1]
    sums = np.full(pairs, register.identity_code, object)
    for k in range(a.shape[1]):
        inputs = {"sum": np.append(sums, 0)}
        for name, codes in (("a", np.repeat(a[:, k], b.shape[1])), ("b", np.tile(b[k], len(a)))):
            inputs[name] = operand(play, machine, np.append(codes, 0), np.ones(pairs + 1, np.int64))
        sums = play(Mac(machine), inputs, ["result"])["result"][1:].astype(object)
    inputs = {"chunk": np.append(sums, [0, 0]), "sum": np.zeros(pairs + 2, np.int64)}
    y = play(ExactChunkAdder(register, machine.outer, machine.mac_depth), inputs, ["result"])["result"][2:]
    return sums.reshape(len(a), -1), y.reshape(len(a), -1)


def test_specials(play: Play) -> None:
    """Inf - Inf, 0 * Inf, NaN, cancellation and zeros of both signs, against the golden GEMM."""
    machine, codes = exact(), np.array(OPERANDS)
    sums, y = chunk_sums(play, machine, codes, codes.T)
    expected = gemm(codes, codes.T, machine.arithmetic(E5M2, E5M2))
    np.testing.assert_array_equal(y, expected)
    nan, inf = expected == FP16.nan_code, expected & FP16.magnitude_mask == FP16.inf_code
    assert min(np.count_nonzero(kind) for kind in (nan, inf, expected == 0)) > 20
    flags = sums >> register_of(machine).width & 3
    np.testing.assert_array_equal(flags == 3, nan, "a NaN is both infinities")
    assert not (flags != 0)[~(nan | inf)].any()


def test_zeros(play: Play) -> None:
    """A chunk is -0 if all its products are; what cancels is +0."""
    machine = exact()
    a = np.array([[0, 0], [SIGN, SIGN], [SIGN, 0], [ONE, ONE | SIGN], [TINY, TINY | SIGN]])
    sums, y = chunk_sums(play, machine, a, np.array([[ONE, ONE], [SIGN | ONE, SIGN | ONE]]).T)
    identity = register_of(machine).identity_code
    assert sums.tolist() == [[0, identity], [identity, 0], [0, 0], [0, 0], [0, 0]]
    assert not y.any(), "+0 and -0 are +0"


def test_padding_changes_nothing(play: Play) -> None:
    """-0 is the identity: a chunk of padding leaves an outer sum of -0 as it is, a cancelled one makes it +0."""
    machine = exact()
    register = register_of(machine)
    chunk = np.array([register.identity_code, 0, register.identity_code, 0, 0], object)
    y = np.array([FP16.sign_mask, FP16.sign_mask, 0, 0, 0])
    inputs = {"chunk": chunk, "sum": delayed(y, machine.chunk_latency)}
    adder = ExactChunkAdder(register, machine.outer, machine.mac_depth)
    assert play(adder, inputs, ["result"])["result"][2:].tolist() == [FP16.sign_mask, 0, 0]


def test_one_rounding(play: Play) -> None:
    """1 + 2^-11 is a tie, which goes to 1 in FP16; the 2^-32 behind it, the least product, is not lost."""
    machine = exact(chunk=4)
    a, b = (encode(np.array([values]), E5M2).astype(int) for values in ([1, 2**-11, 2**-16], [1, 1, 2**-16]))
    sums, y = chunk_sums(play, machine, a, b.T)
    assert sums.tolist() == [[(1 << 32) + (1 << 21) + 1]]
    assert to_float(y, FP16).tolist() == [[1 + 2**-10]]
    _, y = chunk_sums(play, machine, a[:, :2], b[:, :2].T)
    assert to_float(y, FP16).tolist() == [[1]]
