"""Trained networks quantised after training: adaptive floating point for weights, FP8 for all operands of products.

AFP (Liu et al., ICCV 2021): weights alone, products in float32; formats searched layer by layer, as in the paper, one
for all layers, as in its code, and with all layers held to 3, 4, .. 8 bits.  PTQ (Micikevicius et al. 2022): weights
and activations, products on the bit-exact engine; the format's own bias against scales from calibration, first and last
layer exempt or not, several sums.

Weights come from a checkpoint of `quaver train`, or, with --model and --data, from a file that `torch.save` made of the
state dict of a network of that name.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from timing import Record, note, started, tabulate, versions, write
from timing import parser as options
from torch import Tensor, nn

from quaver.golden import HOPPER_FP8, Accumulator, Arithmetic, engine
from quaver.golden.catalog import DLFLOAT16, E5M2
from quaver.train.afp_search import AfpResult, apply_afp, search_afp
from quaver.train.calibration import Calibration, calibrate
from quaver.train.data import load_data
from quaver.train.data_set import DataSet, Split
from quaver.train.models import build_model
from quaver.train.ptq import POST_TRAINING, quantise_post_training
from quaver.train.tasks import task_of

AFP_SEARCHES: dict[str, dict] = {
    "3 to 8 bits": {},
    "3 to 8 bits, annealed": {"method": "annealing"},
    "3 to 8 bits, one for all layers": {"scope": "network"},
    "3 to 8 bits, aligned divergence": {"measure": "aligned"},
} | {f"{bits} bits": {"bits": (bits, bits), "measure": "aligned"} for bits in range(3, 9)}
E5M2_OPERANDS = replace(POST_TRAINING, a=E5M2, b=E5M2)
DLFLOAT_SUMS = Arithmetic(inner=Accumulator(format=DLFLOAT16), outer=Accumulator(format=DLFLOAT16))
PTQ_CHOICES: dict[str, tuple[Arithmetic, dict]] = {
    "E4M3, bias alone": (POST_TRAINING, {"scales": "none"}),
    "E4M3, powers of two": (POST_TRAINING, {}),
    "E4M3, real scales": (POST_TRAINING, {"scales": "real"}),
    "E4M3, powers of two, first and last exempt": (POST_TRAINING, {"exempt": ("first", "last")}),
    "E4M3, powers of two, Hopper's sums": (HOPPER_FP8, {}),
    "E4M3, powers of two, 1-6-9 sums": (DLFLOAT_SUMS, {}),
    "E5M2, bias alone": (E5M2_OPERANDS, {"scales": "none"}),
    "E5M2, powers of two": (E5M2_OPERANDS, {}),
    "E5M2, real scales": (E5M2_OPERANDS, {"scales": "real"}),
}


def trained(path: Path, model: str | None, data: str | None) -> tuple[str, DataSet, nn.Module]:
    """Name, data and network of a file; the names are the checkpoint's unless they are given."""
    state = torch.load(path, weights_only=True)
    if "quaver_checkpoint" in state:
        settings = state["training"]["settings"]
        model, data = model or settings["model"], data or settings["data"]
        state = state["training"]["model"]
    if not model or not data:
        raise SystemExit(f"--model and --data are needed: {path} is no checkpoint of quaver train")
    examples = load_data(data)
    network = build_model(model, examples, seed=0)
    network.load_state_dict({name: tensor for name, tensor in state.items() if not name.endswith("_extra_state")})
    return model, examples, network.eval()


def layers_of(result: AfpResult) -> dict[str, str]:
    """Format of each layer."""
    return {layer.name: f"{layer.format}, {layer.bits} bits" for layer in result.layers}


def afp_rows(network: nn.Module, tested: "Test") -> Iterator[Record]:
    for name, choices in AFP_SEARCHES.items():
        result = search_afp(network, **choices)
        row: Record = {"method": "AFP", "variant": name, "bits": round(result.average_bits, 3)}
        yield row | tested.numbers(apply_afp(network, result)) | {"layers": layers_of(result)}


def ptq_rows(network: nn.Module, calibration: Calibration, tested: "Test") -> Iterator[Record]:
    for name, (arithmetic, choices) in PTQ_CHOICES.items():
        quantised = quantise_post_training(network, calibration, arithmetic=arithmetic, **choices)
        yield {"method": "PTQ", "variant": name, "bits": arithmetic.b.bits} | tested.numbers(quantised)


class Test:
    """What networks are judged by."""

    def __init__(self, data: DataSet, count: int | None, batch: int) -> None:
        self.task, self.batch = task_of(data.kind), batch
        self.split = Split(*(tensor[:count] for tensor in data.test))

    def numbers(self, network: nn.Module) -> dict[str, float]:
        found = self.task.evaluate(network, self.split, self.batch)
        return {name: round(value, 6) for name, value in found.items()}


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("weights", type=Path, help="checkpoint of a training, or a network's state dict")
    parser.add_argument("--model", help="network of the state dict")
    parser.add_argument("--data", help="data that it has learnt")
    parser.add_argument("--calibration", type=int, default=512, help="training inputs for calibration (default 512)")
    parser.add_argument("--test", type=int, help="test inputs; by default all")
    parser.add_argument("--batch", type=int, default=128, help="inputs at a time (default 128)")
    arguments = parser.parse_args()
    name, data, network = trained(arguments.weights, arguments.model, arguments.data)
    tested = Test(data, arguments.test, arguments.batch)
    batches: tuple[Tensor, ...] = data.train.inputs[: arguments.calibration].split(arguments.batch)
    calibration = calibrate(network, batches)
    record = started(__file__) | {
        "versions": versions("torch"),
        "engine": engine.kernels()[-1] if engine.available() else None,
        "model": name,
        "data": data.name,
        "digest": data.digest(),
    }
    record |= {"metric": tested.task.metric, "calibration": calibration.to_dict()}
    rows: list[Record] = [{"method": "float32", "variant": "", "bits": 32} | tested.numbers(network)]
    for more in (afp_rows(network, tested), ptq_rows(network, calibration, tested)):
        for row in more:
            rows.append(row)
            note(f"{row['method']} {row['variant']}: {row[tested.task.metric]}")
    record["rows"] = rows
    write(record, arguments.output)
    tabulate(f"{name} on {data.name}", [{k: v for k, v in row.items() if k != "layers"} for row in rows])


if __name__ == "__main__":
    main()
