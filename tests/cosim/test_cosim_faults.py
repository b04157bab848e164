"""A check that finds no fault proves nothing: faults are planted in the Verilog, and each must be found and told."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from quaver.cli.main import main
from quaver.cosim.cases import gemm_cases, mac_cases, outer_cases
from quaver.cosim.lanes import Lanes
from quaver.cosim.simulator import Model
from quaver.cosim.verify import (
    GEMMS,
    SEQUENCES,
    Check,
    Report,
    check_accelerator,
    check_gemms,
    check_macs,
    check_outer,
    check_products,
)
from quaver.golden import Machine
from quaver.golden.catalog import E4M3, E5M2
from quaver.hw.array import Array

MACHINE = Machine(name="small", rows=2, columns=1, chunk=2, mac_depth=1, accumulator_depth=4)
"""Short tiles and few columns: K tiles wait for their sums."""
PRODUCT_BIT = (
    "quaver_multiplier",
    r"(assign product) = ([^;]+);",
    # 1.125 x 1.375 in units of 1/8, both of exponent 0 above E5M2's lowest, -16: a pair that E5M2 does not have.
    r"\1 = (\2) ^ (a == 12'h109 && b == 12'h10b);",
)
"""One bit of one product of one pairing."""
SUM_BIT = ("quaver_adder", r"(result <=) ([^;]+);", r"\1 (\2) ^ (sum == 16'h7ffe);")
"""The last bit where the largest number is added to."""
EARLY = ("quaver_array", r"= ! patience;", r"= patience <= 1;")
"""A K tile starts one cycle before its sums are back."""
LATE = (
    "quaver_array",
    r"assign (\w+) = ! patience;",
    r"reg late = 0; always @(posedge clk) late <= |patience; assign \1 = !patience && !late;",
)
"""A K tile starts one cycle after its sums are back: no bit is wrong."""


def test_a_wrong_bit_of_one_product(faulty: Callable[..., Model]) -> None:
    rng = np.random.default_rng(0)
    with faulty(Lanes, MACHINE, *PRODUCT_BIT) as model:
        wrong = check_products(model, MACHINE, E4M3, E4M3, rng)
        right = check_products(model, MACHINE, E4M3, E5M2, rng)
    first = "product e4m3 x e4m3: a = 0x39 (e4m3), b = 0x3b (e4m3): expected +1.546875, got +1.53125"
    assert wrong == Check(name="product e4m3 x e4m3", compared=65_536, mismatches=1, first=first)
    assert (right.compared, right.mismatches, right.first) == (65_536, 0, None)


def test_a_wrong_bit_of_a_sum(faulty: Callable[..., Model]) -> None:
    cases = mac_cases(np.random.default_rng(1), MACHINE, 5000)
    chunks = outer_cases(np.random.default_rng(2), MACHINE, 5000)
    hit = cases["sum"] == 0x7FFE
    at = int(np.flatnonzero(hit)[0])
    with faulty(Lanes, MACHINE, *SUM_BIT) as model:
        check, other = check_macs(model, MACHINE, cases), check_outer(model, MACHINE, chunks)
    assert (check.compared, check.mismatches) == (5000, np.count_nonzero(hit))
    operands = ", ".join(f"{name} = {codes[at]:#x}" for name, codes in cases.items())
    assert check.first is not None and check.first.startswith(f"mac dlfloat16 rne: {operands}: expected 0x")
    expected, got = (int(word.split()[-1], 16) for word in check.first.split(": ")[-1].split(", "))
    assert expected ^ got == 1
    assert (other.compared, other.mismatches) == (5000, 0)


@pytest.mark.parametrize(("fault", "bits_differ"), [(EARLY, True), (LATE, False)], ids=["early", "late"])
def test_wrong_time(faulty: Callable[..., Model], fault: tuple[str, str, str], bits_differ: bool) -> None:
    cases = gemm_cases(np.random.default_rng(3), MACHINE, 30)
    with faulty(Array, MACHINE, *fault) as model:
        bits, cycles = check_gemms(model, MACHINE, cases, 3)
    assert bits.compared == sum(case.shape[0] * case.shape[2] for case in cases)
    assert cycles.compared == 15
    assert bool(bits.mismatches) == bits_differ
    assert cycles.mismatches > 0
    assert cycles.first is not None and "GEMM M = " in cycles.first and " cycles, got " in cycles.first
    if bits_differ:
        assert bits.first is not None and "GEMM M = " in bits.first and ": expected 0x" in bits.first


@pytest.mark.parametrize(
    ("part", "fault", "name", "checks"),
    [(Lanes, PRODUCT_BIT, "product e4m3 x e4m3", 1), (Array, LATE, "gemm cycles", 8)],
    ids=["product", "cycle"],
)
def test_the_command_fails(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    faulty: Callable[..., Model],
    part: type,
    fault: tuple[str, str, str],
    name: str,
    checks: int,
) -> None:
    right = Model.of

    def of(component: type, machine: Machine) -> Model:
        return faulty(component, machine, *fault) if component is part else right(component, machine)

    monkeypatch.setattr(Model, "of", of)
    path = tmp_path / "small.toml"
    path.write_text("rows = 2\ncolumns = 1\nchunk = 2\nmac_depth = 1\naccumulator_depth = 4\n")
    monkeypatch.setattr(sys, "argv", ["quaver", "verify", "--machine", str(path), "--cases", "100", "--json"])
    status = main()
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert status == 1
    assert (report["machine"], report["seed"], report["passed"]) == ("small", 0, False)
    assert len(report["checks"]) == checks
    last = report["checks"][-1]
    assert last["name"] == name and last["compared"] >= GEMMS // 2 and last["mismatches"] > 0
    assert err.startswith(f"{name}: ") and ": expected " in err and "got " in err


def test_a_right_machine_passes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["quaver", "verify", "--machine", "tiny", "--seed", "5", "--json"])
    status = main()
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert (status, err) == (0, "")
    assert (report["machine"], report["seed"], report["passed"]) == ("tiny", 5, True)
    compared = {check["name"]: check["compared"] for check in report["checks"]}
    assert [check["mismatches"] for check in report["checks"]] == [0] * len(compared)
    pairings = [f"product {a} x {b}" for a, b in product(("e4m3", "e5m2"), repeat=2)]
    assert [compared[pairing] for pairing in pairings] == [65_536] * 4
    assert compared["mac dlfloat16 rne"] == compared["outer sum dlfloat16 rne"] == 20_000
    assert compared["gemm bits"] > 1000 and compared["gemm cycles"] == GEMMS // 2 >= 25
    assert list(compared)[8:] == ["results", "updates", "reports", "states at the end", "sequence cycles"]
    assert compared["results"] > 500 and compared["updates"] > 100 and compared["reports"] >= 7
    assert compared["states at the end"] == 5 * SEQUENCES and compared["sequence cycles"] == SEQUENCES // 2 >= 12


def test_no_updates_where_there_is_no_unit_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["results", "updates", "reports"]

    def found(*_: object) -> list[Check]:
        return [check(0 if name == "updates" else 5, 0, name) for name in names]

    monkeypatch.setattr("quaver.cosim.verify.check_sequences", found)
    for lanes, expected in ((0, ["results", "reports"]), (2, names)):
        machine = replace(MACHINE, update_lanes=lanes)
        checks = check_accelerator(cast(Model, None), machine, np.random.default_rng(0), 0)
        assert [one.name for one in checks] == expected
        assert Report(machine="m", seed=0, checks=checks).passed == (lanes == 0), "nothing passes that compared nothing"


def check(compared: int, mismatches: int, name: str = "a") -> Check:
    return Check(name=name, compared=compared, mismatches=mismatches, first="a: why" if mismatches else None)


@pytest.mark.parametrize(
    ("checks", "passed", "first"),
    [
        ([], False, None),
        ([check(0, 0)], False, None),
        ([check(5, 0)], True, None),
        ([check(5, 0), check(0, 0)], False, None),
        ([check(5, 0), check(5, 1)], False, "a: why"),
    ],
)
def test_nothing_passes_that_compared_nothing(checks: list[Check], passed: bool, first: str | None) -> None:
    report = Report(machine="m", seed=3, checks=checks)
    assert (report.passed, report.first_mismatch) == (passed, first)
    assert report.to_dict() == {
        "machine": "m",
        "seed": 3,
        "checks": [{"name": c.name, "compared": c.compared, "mismatches": c.mismatches} for c in checks],
        "passed": passed,
    }
