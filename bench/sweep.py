"""How fast `quaver sweep` is: machines per second for ResNet-50's forward pass, and SCALE-Sim's time for one machine.

Two sweeps.  `example` is examples/sweep_resnet50.toml, 2,000 machines with 100 arrays: machines that differ in their
buffer, their DRAM or their vector unit share what was found out about tilings.  In `arrays` no two arrays are alike, so
that nothing is shared.  CPU seconds are those of all processes, their start included; where the computer has other work
to do, they say more than seconds.

SCALE-Sim needs NumPy 1, hence an environment of its own (`pip install scalesim==3.0.0 "numpy<2"`), whose interpreter
`--scalesim` names.  It runs its own topology of ResNet-18 on one machine of 128 x 128, weight-stationary, without
traces; `quaver` is timed on the same file and array.  The two do not compute the same: SCALE-Sim walks through the
addresses of every cycle, `quaver` finds tiles, DRAM's time and energy in closed form.
"""

import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import timing

from quaver.golden import PRESETS
from quaver.sim import load_workload, simulate
from quaver.sim.space import Space
from quaver.sim.sweep import sweep
from quaver.sim.sweep_file import SweepFile

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "sweep_resnet50.toml"
TOPOLOGY = ROOT / "tests" / "sim" / "data" / "scalesim" / "Resnet18.csv"
ARRAYS = """
workloads = "resnet50"
[machine]
chunk = 8
rows = { from = 8, to = 128, step = 8 }
columns = { from = 8, to = 128, step = 8 }
"""
GOAL_S = 300
"""Seconds for the example on 2 processors."""
SCALESIM = """
from scalesim.scale_sim import scalesim
run = scalesim(save_disk_space=True, verbose=False, config="run.cfg", topology={topology!r}, layout={topology!r})
run.run_scale(top_path="out")
"""
CONFIGURATION = """
[general]
run_name = run
[architecture_presets]
ArrayHeight: 128
ArrayWidth: 128
IfmapSramSzkB: 64
FilterSramSzkB: 64
OfmapSramSzkB: 64
IfmapOffset: 0
FilterOffset: 10000000
OfmapOffset: 20000000
Bandwidth: 10
Dataflow: ws
MemoryBanks: 1
ReadRequestBuffer: 512
WriteRequestBuffer: 512
[layout]
IfmapCustomLayout: False
IfmapSRAMBankBandwidth: 10
IfmapSRAMBankNum: 10
IfmapSRAMBankPort: 2
FilterCustomLayout: False
FilterSRAMBankBandwidth: 10
FilterSRAMBankNum: 10
FilterSRAMBankPort: 2
[sparsity]
SparsitySupport: false
[run_presets]
InterfaceBandwidth: CALC
UseRamulatorTrace: False
"""


def cpu_seconds() -> float:
    """Those of this process and of its children that have ended."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def timed(run: Callable[[], object]) -> timing.Record:
    wall, cpu = time.perf_counter(), cpu_seconds()
    run()
    return {"s": time.perf_counter() - wall, "cpu_s": cpu_seconds() - cpu}


def swept(name: str, space: Space, jobs: int, folder: Path) -> timing.Record:
    """One sweep into a new file."""
    rows: list[object] = []
    with SweepFile(folder / f"{name}.sqlite") as file:
        taken = timed(lambda: rows.extend(sweep(space, file, jobs=jobs).rows))
    return {
        "sweep": name,
        "machines": len(rows),
        "jobs": jobs,
        **taken,
        "machines_per_s": len(rows) / taken["s"],
        "cpu_ms_per_machine": 1000 * taken["cpu_s"] / len(rows),
    }


def scalesim(interpreter: str, folder: Path) -> timing.Record:
    """SCALE-Sim and this simulator on one machine."""
    (folder / "run.cfg").write_text(CONFIGURATION, encoding="utf-8")
    script = SCALESIM.format(topology=str(TOPOLOGY))
    peer = timed(lambda: subprocess.run([interpreter, "-c", script], cwd=folder, check=True, stdout=subprocess.DEVNULL))
    workload = load_workload(str(TOPOLOGY)).workload
    own = timed(lambda: simulate(workload, PRESETS["cloud"]))  # nothing is known of its tilings yet
    return {
        "workload": "resnet18, SCALE-Sim's topology",
        "array": "128 x 128, ws",
        "scalesim_s": peer["s"],
        "scalesim_cpu_s": peer["cpu_s"],
        "quaver_cpu_s": own["cpu_s"],
        "ratio_of_cpu_s": peer["cpu_s"] / own["cpu_s"],
    }


def main() -> None:
    parser = timing.parser(__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--scalesim", metavar="PYTHON", help="interpreter of an environment with SCALE-Sim 3.0.0")
    arguments = parser.parse_args()
    record = timing.started(__file__) | {"versions": timing.versions()}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays = folder / "arrays.toml"
        arrays.write_text(ARRAYS, encoding="utf-8")
        spaces = {"example": EXAMPLE, "arrays": arrays}
        record["sweeps"] = [swept(each, Space.load(path), arguments.jobs, folder) for each, path in spaces.items()]
        record["peer"] = scalesim(arguments.scalesim, folder) if arguments.scalesim else None
    record["goal_s"] = GOAL_S
    timing.tabulate("sweeps", record["sweeps"])
    if record["peer"]:
        timing.tabulate("one machine", [record["peer"]])
    timing.write(record, arguments.output)


if __name__ == "__main__":
    main()
