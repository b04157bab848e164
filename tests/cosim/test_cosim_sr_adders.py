"""Lazy and eager adders equal the golden model's stochastic rounding on every bit.

In bulk as netlists of gates, a million cases at a time; through Verilator at every depth.
"""

import json
from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from quaver.cosim.cases import beside, mac_cases, outer_cases
from quaver.cosim.lanes import Lanes, Parts, product_of
from quaver.cosim.simulator import Model
from quaver.cosim.verify import check_macs, check_outer
from quaver.golden import Accumulator, Format, Machine, accumulate, chunk_addend, encode, mac, sr
from quaver.golden.catalog import (
    BF16,
    DLFLOAT16,
    E2M1,
    E3M2,
    E4M3,
    E5M2,
    E6M5,
    E6M5_SUB,
    E6M9,
    E8M13,
    FP16,
    FP32,
)
from quaver.golden.exact_register import ExactRegister
from quaver.golden.machine_checks import SrAdder
from quaver.hw.design import Design
from quaver.hw.exact_chunk_adder import ExactChunkAdder
from quaver.synth.yosys import run

ADDERS = get_args(SrAdder)
CASES = 8192
MILLION = 1_000_000
Inputs = dict[str, NDArray[np.integer]]


GATES: dict[str, Callable[..., NDArray[np.uint64]]] = {
    "$_NOT_": lambda A: ~A,
    "$_AND_": lambda A, B: A & B,
    "$_OR_": lambda A, B: A | B,
    "$_XOR_": lambda A, B: A ^ B,
    "$_MUX_": lambda A, B, S: A ^ (S & (A ^ B)),
    "$_DFF_P_": lambda D, C: D,
}


class Netlist:
    """A component as gates, evaluated on one bit per case, 64 cases per word; registers are wires."""

    def __init__(self, folder: Path, component_class: type, *args: Any) -> None:
        design = Design()
        top = design.add(component_class, *args)
        target = folder / f"{len(list(folder.iterdir()))}.json"
        gates = [f"synth -flatten -noabc -top {top}", "dfflegalize -cell $_DFF_P_ 0", "opt_clean -purge"]
        run(design.verilog(), [*gates, f"write_json {target}"])
        module = json.loads(target.read_text(encoding="utf-8"))["modules"][top]
        self.ports = {name: port["bits"] for name, port in module["ports"].items()}
        by_output = {}
        for cell in module["cells"].values():
            pins = {pin: bits[0] for pin, bits in cell["connections"].items()}
            output = pins.pop("Q" if "Q" in pins else "Y")
            by_output[output] = (GATES[cell["type"]], pins)
        order = TopologicalSorter({output: pins.values() for output, (_, pins) in by_output.items()}).static_order()
        self.gates = [(output, *by_output[output]) for output in order if output in by_output]

    def __call__(self, output: str, inputs: Inputs, block: int = 1 << 16) -> NDArray[np.int64]:
        """The values of `output` for arrays of inputs; inputs that are not named are 0."""
        count = len(next(iter(inputs.values())))
        parts = [
            self._evaluate(output, {name: values[start : start + block] for name, values in inputs.items()})
            for start in range(0, count, block)
        ]
        return np.concatenate(parts)

    def _evaluate(self, output: str, inputs: Inputs) -> NDArray[np.int64]:
        count = len(next(iter(inputs.values())))
        words = -(-count // 64)
        zero = np.zeros(words, np.uint64)
        nets: dict[int | str, NDArray[np.uint64]] = {"0": zero, "1": ~zero, "x": zero}
        for name in ("clk", "rst", *self.ports):
            for net in self.ports.get(name, ()):
                nets[net] = zero
        for name, values in inputs.items():
            for position, net in enumerate(self.ports[name]):
                bits = np.zeros(64 * words, np.uint8)
                bits[:count] = values >> position & 1
                nets[net] = np.packbits(bits, bitorder="little").view(np.uint64)
        for net, gate, pins in self.gates:
            nets[net] = gate(**{pin: nets[source] for pin, source in pins.items()})
        result = np.zeros(count, np.int64)
        for position, net in enumerate(self.ports[output]):
            result |= np.unpackbits(nets[net].view(np.uint8), bitorder="little")[:count].astype(np.int64) << position
        return result


def kept(fmt: Format, bits: int, overflow: str = "special") -> Accumulator:
    return Accumulator(format=fmt, rounding=sr(bits), overflow=overflow)  # type: ignore[arg-type]


def machine_with(fmt: Format, bits: int, adder: str, a: Format = E4M3, b: Format = E5M2) -> Machine:
    sums = kept(fmt, bits)
    return Machine(
        rows=2,
        chunk=2,
        mac_depth=1,
        a_formats=(a,),
        b_formats=(b,),
        inner=sums,
        outer=sums,
        sr_adder=adder,  # type: ignore[arg-type]
    )


def expected_mac(machine: Machine, cases: Inputs) -> NDArray:
    formats = {"a_format": machine.a_formats[0], "b_format": machine.b_formats[0]}
    return mac(cases["sum"], cases["a"], cases["b"], accumulator=machine.inner, words=cases["word"], **formats)


def expected_outer(machine: Machine, cases: Inputs) -> NDArray:
    addend = chunk_addend(cases["chunk"], machine.inner.format)
    return accumulate(cases["outer_sum"], addend, machine.outer, cases["outer_word"])


def grid(**widths: int) -> Inputs:
    """Every combination of codes of these widths, the last one changing fastest."""
    columns = np.indices([1 << width for width in widths.values()]).reshape(len(widths), -1)
    return dict(zip(widths, columns, strict=True))


SMALL = [
    Format(name=f"e3m2_{kind}", exponent_bits=3, mantissa_bits=2, bias=1, specials=specials, subnormals=kind)  # type: ignore[arg-type]
    for kind, specials in (("gradual", "ieee"), ("flush", "ieee"), ("normal", "dlfloat"))
]


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("fmt", SMALL, ids=str)
def test_every_operand_sum_and_word(fmt: Format, bits: int, tmp_path: Path) -> None:
    """E2M1 x E3M2: the products reach three bits below the smallest subnormal, and beyond the largest number."""
    macs = grid(a=E2M1.bits, b=E3M2.bits, sum=fmt.bits, word=bits)
    outers = grid(chunk=fmt.bits, outer_sum=fmt.bits, outer_word=bits)
    for adder in ADDERS:
        machine = machine_with(fmt, bits, adder, E2M1, E3M2)
        netlist = Netlist(tmp_path, Parts, machine)
        for output, cases, expected in (("mac", macs, expected_mac), ("outer", outers, expected_outer)):
            got, wanted = netlist(output, cases), expected(machine, cases).astype(np.int64)
            assert len(got) == len(wanted) == 1 << (16 if output == "mac" else 12) + bits
            assert np.flatnonzero(got != wanted).tolist() == []
            by_word = got.reshape(-1, 1 << bits)
            assert (by_word.min(1) != by_word.max(1)).mean() > 0.1, "words decide"


@pytest.mark.parametrize("bits", [9, 13])
@pytest.mark.parametrize("fmt", [DLFLOAT16, E6M9], ids=str)
def test_a_million_sums(fmt: Format, bits: int, tmp_path: Path) -> None:
    """Half of the sums cancel their addends but for a few ulps or overlap their bits; see `beside`."""
    machines = [machine_with(fmt, bits, adder) for adder in ADDERS]
    netlists = [Netlist(tmp_path, Parts, machine) for machine in machines]
    rng = np.random.default_rng(bits)
    for output, make, expected in (("mac", mac_cases, expected_mac), ("outer", outer_cases, expected_outer)):
        cases = make(rng, machines[0], MILLION)
        wanted = expected(machines[0], cases).astype(np.int64)
        for netlist in netlists:
            got = netlist(output, cases)
            assert len(got) == len(wanted) == MILLION
            assert np.flatnonzero(got != wanted).tolist() == []


@pytest.mark.parametrize("outer", [kept(DLFLOAT16, 9), kept(E6M5, 4), kept(E6M9, 13), kept(FP16, 7)], ids=str)
def test_exact_inner_sums(outer: Accumulator, tmp_path: Path) -> None:
    """Addends of 42 significant bits: the eager adder answers as the lazy one does."""
    register = ExactRegister.of((E4M3,), (E4M3,), 64)
    rng = np.random.default_rng(outer.rounding.random_bits)
    magnitude = rng.integers(0, 1 << 42, MILLION // 4) >> rng.integers(0, 42, MILLION // 4)
    chunk = np.where(rng.integers(0, 2, len(magnitude)) == 1, -magnitude, magnitude)
    near = encode(chunk * 2.0**register.lsb, outer.format).astype(np.int64)
    cases = {
        "chunk": (chunk & ((1 << register.width) - 1)) | rng.choice([0, 0, 0, 1, 2, 4], len(chunk)) << register.width,
        "sum": np.where(
            rng.integers(0, 2, len(near)) == 1, beside(rng, near, outer.format), near ^ outer.format.sign_mask
        ),
        "word": rng.integers(0, 1 << outer.rounding.random_bits, len(near)),
    }
    lazy, eager = (Netlist(tmp_path, ExactChunkAdder, register, outer, 1, adder)("result", cases) for adder in ADDERS)
    assert len(lazy) == MILLION // 4
    assert np.flatnonzero(eager != lazy).tolist() == []
    assert len(np.unique(lazy)) > 1000


def other(
    depth: int, inner: Accumulator, outer: Accumulator, a: tuple[Format, ...] = (E4M3, E5M2), b: tuple[Format, ...] = ()
) -> Machine:
    return Machine(
        rows=2, chunk=2, mac_depth=depth, a_formats=a, b_formats=b or a, inner=inner, outer=outer, sr_adder="eager"
    )


# Every depth; addends wider and narrower than the sum, so that the first shift has two to four steps.
MACHINES = [
    other(1, kept(E6M5, 9), kept(FP16, 16), (BF16,)),
    other(2, kept(FP16, 9), kept(E6M5_SUB, 3)),
    other(3, kept(BF16, 13), kept(DLFLOAT16, 1, "saturate"), (E2M1,)),
    other(4, kept(E6M5_SUB, 5, "saturate"), kept(E6M9, 12), (E4M3,), (BF16,)),
    other(5, kept(DLFLOAT16, 9), kept(E6M5, 16)),
    other(6, kept(E8M13, 1), kept(BF16, 8)),
    other(7, kept(FP32, 16), kept(E8M13, 11), (E5M2,)),
]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: f"{machine.mac_depth}-{machine.inner.format}")
def test_other_shapes_and_depths(machine: Machine) -> None:
    rng = np.random.default_rng(machine.mac_depth)
    with Model.of(Lanes, machine) as model:
        checks = [check_macs(model, machine, mac_cases(rng, machine, CASES))]
        checks.append(check_outer(model, machine, outer_cases(rng, machine, CASES)))
    assert [(check.first, check.compared) for check in checks] == [(None, CASES)] * 2


def test_depths_and_first_shifts_are_all_there() -> None:
    assert [machine.mac_depth for machine in MACHINES] == list(range(1, 8))
    wider = [product_of(machine).significand_bits - machine.inner.format.precision for machine in MACHINES]
    assert {max(excess, 1).bit_length() for excess in wider} == {1, 3, 4}
