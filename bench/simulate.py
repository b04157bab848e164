"""Seconds and memory of `quaver simulate`, each run a fresh process, beside an empty interpreter and SCALE-Sim.

    python bench/simulate.py -o bench/results/simulate.json

SCALE-Sim takes minutes; `bench/sweep.py --scalesim PYTHON` runs it.  Its figures here were taken on a machine of the
same kind.
"""

import os
import subprocess
import sys
import time

from timing import Record, parser, started, tabulate, versions, write

QUAVER = "import sys; from quaver.cli.main import main; sys.exit(main())"
CONTESTANTS = {
    "an empty interpreter": ["-c", ""],
    "NumPy alone": ["-c", "import numpy"],
    "ResNet-50, training step, batch 32, cloud": [
        *("-c", QUAVER, "simulate", "resnet50", "--pass", "training", "--batch", "32", "--machine", "cloud"),
    ],
    "ResNet-18, forward, cloud": ["-c", QUAVER, "simulate", "resnet18", "--machine", "cloud"],
    "BERT-large, training step, batch 8, cloud": [
        *("-c", QUAVER, "simulate", "bert_large", "--pass", "training", "--batch", "8", "--machine", "cloud"),
    ],
    "ResNet-18 by SCALE-Sim's formulas": ["-c", QUAVER, "simulate", "resnet18", "--model", "scalesim"],
}
PEER = {
    "what": "SCALE-Sim 3.0.0, ResNet-18 in its own topology, forward, ws, mode CALC, traces off",
    "processor_s": {"32 x 32": 289, "128 x 128": 132},
    "peak_mib": {"32 x 32": 5335, "128 x 128": 3411},
}
GOALS = {"ResNet-50, training step, batch 32, cloud": {"wall_s": 1.5, "peak_mib": 400}}


def turn(arguments: list[str]) -> tuple[float, float, float]:
    """Wall seconds, processor seconds, peak memory in MiB of one process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status:
        raise SystemExit(f"{arguments} ended with status {status}")
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    """Let the contestants take turns; of each the best one counts, and the most memory."""
    options = parser(__doc__).parse_args()
    record: Record = started(__file__) | {"versions": versions("typer", "rich")}
    turns: dict[str, list[tuple[float, float, float]]] = {name: [] for name in CONTESTANTS}
    for _ in range(min(options.rounds, 10)):
        for name, arguments in CONTESTANTS.items():
            turns[name].append(turn(arguments))
    record["rows"] = [
        {
            "contestant": name,
            "wall_s": round(min(wall for wall, _, _ in each), 3),
            "processor_s": round(min(used for _, used, _ in each), 3),
            "peak_mib": round(max(peak for _, _, peak in each), 1),
            "turns": len(each),
        }
        for name, each in turns.items()
    ]
    record["goals"] = GOALS
    record["peer"] = PEER
    tabulate("quaver simulate, fresh processes", record["rows"])
    write(record, options.output)


if __name__ == "__main__":
    main()
