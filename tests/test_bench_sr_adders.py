"""The bench of stochastically rounding adders: it runs, and what is recorded is complete and hangs together."""

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RECORDED = json.loads((ROOT / "bench" / "results" / "sr_adders.json").read_text(encoding="utf-8"))
FORMATS = ("dlfloat16", "e6m5", "e6m5_sub", "fp16", "bf16")
BITS = (4, 9, 13)
CELLS = ("lut4_equivalent", "levels")
LIBRARY = ("cell_area", "delay_ps")


def roundings(*random_bits: int) -> list[str]:
    return ["rne", *(f"sr({bits}) {adder}" for bits in random_bits for adder in ("lazy", "eager"))]


def check_gains(record: dict, figures: tuple[str, ...]) -> int:
    """Recompute the comparison from the rows; returns how many figures there are."""
    rows = {(row["unit"], row["format"], row["rounding"]): row for row in record["rows"]}
    assert len(rows) == len(record["rows"])
    for name, gain in record["eager_over_lazy"].items():
        unit, fmt, rounding = name.split()
        eager, lazy = rows[unit, fmt, f"{rounding} eager"], rows[unit, fmt, f"{rounding} lazy"]
        assert gain == {key: round(eager[key] / lazy[key] - 1, 4) for key in figures}
        assert eager["ff"] == lazy["ff"]
    for row in record["rows"]:
        assert row["lut4_equivalent"] == row["lut4"] + 2 * row["ccu2c"] > 100
        assert row["levels"] > 10
    return len(record["eager_over_lazy"]) * len(figures)


def test_the_record_is_complete() -> None:
    assert RECORDED["command"] == "python bench/sr_adders.py --liberty sky130hd_tt.lib -o bench/results/sr_adders.json"
    wanted = list(product(("adder", "mac"), FORMATS, roundings(*BITS)))
    assert [(row["unit"], row["format"], row["rounding"]) for row in RECORDED["rows"]] == wanted
    assert check_gains(RECORDED, CELLS + LIBRARY) == 2 * len(FORMATS) * len(BITS) * 4


@pytest.mark.parametrize("unit", ["adder", "mac"])
def test_the_eager_adder_is_faster(unit: str) -> None:
    """That is what it is for; without subnormals it is also smaller, with them it costs cells."""
    gains = {
        tuple(name.split()[1:]): gain for name, gain in RECORDED["eager_over_lazy"].items() if unit in name.split()
    }
    assert len(gains) == len(FORMATS) * len(BITS)
    assert all(gain["levels"] <= 0 for gain in gains.values())
    assert sum(gain["delay_ps"] < 0 for gain in gains.values()) >= len(gains) - 1
    for figure in ("levels", "delay_ps"):
        assert sum(gain[figure] for gain in gains.values()) / len(gains) < -0.05
    plain = [gain for (name, _), gain in gains.items() if name in ("dlfloat16", "e6m5")]
    assert len(plain) == 2 * len(BITS)
    assert all(gain["cell_area"] < 0 and gain["delay_ps"] < 0 for gain in plain)


def test_the_bench_runs(tmp_path: Path) -> None:
    output = tmp_path / "record.json"
    options = ["--units", "adder", "--formats", "e6m5", "--random-bits", "2", "--output", str(output)]
    command = [sys.executable, "bench/sr_adders.py", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
    assert not done.returncode, done.stderr
    record = json.loads(output.read_text(encoding="utf-8"))
    assert [(row["unit"], row["rounding"]) for row in record["rows"]] == [("adder", r) for r in roundings(2)]
    assert check_gains(record, CELLS) == 2
    assert record["liberty"] is None
    assert list(record) == list(RECORDED)
    assert "adder e6m5 sr(2)" in done.stderr
