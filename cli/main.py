"""The command `quaver`.  What a command does not need it does not import: help and small answers come at once."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quaver.cli.errors import UserError, checking_input, needing, one_line
from quaver.cli.json_output import print_json
from quaver.golden.errors import ToolError

if TYPE_CHECKING:
    from quaver.golden import Machine

# Later versions of Typer bring their own copy of Click, so its base of usage errors is reached through Typer.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]

MachineOption = Annotated[
    str, typer.Option(metavar="PRESET|FILE.toml", help="Machine: the name of a preset, or a file that describes one.")
]
FitOption = Annotated[
    bool, typer.Option("--fit", help="Give the machine the operand formats and the sums that the recipe asks for.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(
    name="quaver",
    help="An FP8 training accelerator that is generated, simulated and trusted to the last bit.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def simulate(
    workload: Annotated[
        str,
        typer.Argument(metavar="WORKLOAD", help="A built-in workload, an .onnx file, a SCALE-Sim topology .csv."),
    ],
    machine: MachineOption = "cloud",
    pass_: Annotated[
        str, typer.Option("--pass", metavar="PASS", help="forward, or training: a whole step with its update.")
    ] = "forward",
    batch: Annotated[int, typer.Option(metavar="N", help="Inputs processed together, 1 to 65536.")] = 1,
    layer: Annotated[str | None, typer.Option(metavar="NAME", help="Simulate this layer alone.")] = None,
    recipe: Annotated[str, typer.Option(metavar="NAME", help="Formats of the tensors.")] = "hybrid",
    fit: FitOption = False,
    accumulate: Annotated[
        int, typer.Option(metavar="N", help="Micro-batches whose gradients are added up before an update.")
    ] = 1,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Compute activations again for the backward pass.")
    ] = False,
    size: Annotated[
        list[str] | None, typer.Option(metavar="NAME=N", help="Size of a dimension that an ONNX file leaves open.")
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="MODEL", help="quaver, or scalesim: the published formulas of SCALE-Sim.")
    ] = "quaver",
    fidelity: Annotated[
        str, typer.Option(metavar="FIDELITY", help="event, or cycle: step the array, bit by bit; for small products.")
    ] = "event",
    as_json: JsonOption = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="F.html", help="Write a page with charts: time line, causes, roofline."),
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(metavar="F.json", help="Write the time line for Perfetto or chrome://tracing.")
    ] = None,
) -> None:
    """Cycles and their causes, traffic and energy of a workload, layer by layer."""
    from quaver.cli.simulate import Asked, answer

    asked = Asked(
        workload=workload,
        machine=_load(machine, recipe if fit else None),
        pass_=pass_,
        batch=batch,
        layer=layer,
        recipe=recipe,
        accumulate=accumulate,
        recompute=recompute,
        sizes=tuple(size or ()),
        model=model,
        fidelity=fidelity,
    )
    answer(asked, as_json=as_json, report=report, trace=trace)


@app.command()
def formats(as_json: JsonOption = False) -> None:
    """Number formats: layouts, ranges, special codes."""
    from quaver.cli.report import format_dict, formats_report
    from quaver.golden import FORMATS

    if as_json:
        print_json([format_dict(fmt) for fmt in FORMATS.values()])
        return
    from quaver.cli.console import show

    show(*formats_report(FORMATS.values()))


@app.command()
def generate(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the files.")],
    machine: MachineOption = "tiny",
    prefix: Annotated[
        str, typer.Option(metavar="NAME", help="What the names of files, modules and macros begin with.")
    ] = "quaver",
) -> None:
    """Generate the machine's Verilog, its register map as a page and a C header, a FuseSoC core file."""
    described = _load(machine)
    from quaver.hw.generate import check_prefix
    from quaver.hw.generate import generate as generate_files

    with checking_input():
        check_prefix(prefix)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{output}: no folder can be made there: {error.strerror}") from error
    if not os.access(output, os.W_OK):
        raise UserError(f"{output}: no permission to write there")
    try:
        paths = generate_files(described, output, prefix)
    except OSError as error:
        raise UserError(f"{error.filename or output}: cannot be written: {error.strerror}") from error
    for path in paths:
        print(path)


@app.command()
def verify(
    machine: Annotated[
        str | None,
        typer.Option(
            metavar="PRESET|FILE.toml", help="Machine, as elsewhere; by default tiny, with --trace the trace's own."
        ),
    ] = None,
    cases: Annotated[
        int | None, typer.Option(metavar="N", help="Random cases for the MAC, from 1; by default 20000.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="S", help="Seed of the random cases, 0 to 2^32 - 1; by default 0.")
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="In place of random cases: products that `quaver train --trace` wrote."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold the RTL against golden model and simulator.

    Exit status 1 and the first mismatch on standard error if a bit or a cycle differs.
    """
    from quaver.cli.verify import Asked, answer

    asked = Asked(machine=None if machine is None else _load(machine), cases=cases, seed=seed, trace=trace)
    answer(asked, as_json=as_json)


@app.command()
def synth(
    target: Annotated[str, typer.Option(metavar="TARGET", help="Technology to map to: ecp5.")],
    machine: MachineOption = "tiny",
    unit: Annotated[str, typer.Option(metavar="UNIT", help="Part of the machine: mac.")] = "mac",
    as_json: JsonOption = False,
) -> None:
    """Area of a part of the machine, by synthesis."""
    described = _load(machine)
    with needing("synth"):
        from quaver.synth.flow import check_request, synthesize
    with checking_input():
        check_request(unit=unit, target=target)
    from quaver.cli.console import progress, show

    with progress(f"synthesising {unit} of {described.name}"):
        area = synthesize(described, unit=unit, target=target)
    if as_json:
        print_json(area)
        return
    from quaver.cli.report import area_report

    show(*area_report(area, area["decoder"]))


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(metavar="[RECIPE]", help="Recipe; left out with --resume.", show_default=False)
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Network: lenet5, the default, resnet8, resnet20, transformer or ncf."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="NAME|PATH|MODULE:FUNCTION", help="Data; by default the model's usual ones.")
    ] = None,
    machine: Annotated[
        str | None,
        typer.Option(metavar="PRESET|FILE.toml", help="Machine whose array computes; by default the recipe's sums."),
    ] = None,
    fit: FitOption = False,
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Times that all training data are seen.")] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Steps to do at most.")] = None,
    batch: Annotated[int | None, typer.Option(metavar="N", help="Inputs per step.")] = None,
    optimizer: Annotated[str | None, typer.Option(metavar="NAME", help="sgd, with momentum, or adam.")] = None,
    lr: Annotated[float | None, typer.Option(metavar="X", help="Learning rate at its largest.")] = None,
    momentum: Annotated[float | None, typer.Option(metavar="X", help="Of sgd, below 1.")] = None,
    weight_decay: Annotated[float | None, typer.Option(metavar="X", help="At least 0.")] = None,
    schedule: Annotated[str | None, typer.Option(metavar="NAME", help="cosine or constant.")] = None,
    warmup: Annotated[int | None, typer.Option(metavar="N", help="Steps in which the learning rate rises.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="S", help="Of weights, batches and random words.")] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="Threads of the engine; results do not depend on them.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="Folder for metrics.jsonl and checkpoint.pt."),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Go on with the training of this folder; takes no other setting.")
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the operands of products, for `quaver verify --trace`.")
    ] = None,
    trace_products: Annotated[int, typer.Option(metavar="N", help="Products that the trace takes.")] = 100,
    plot: Annotated[Path | None, typer.Option(metavar="F.png|F.svg", help="Draw loss and test results.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a network by a recipe of the literature, every product bit by bit as the hardware computes it."""
    with needing("train"):
        from quaver.cli.train import Asked, answer
        from quaver.train import Settings
    if fit and machine is None:
        raise UserError("fit must be left out without --machine: what it would be given is the recipe's already")
    if (recipe is None) == (resume is None):
        raise UserError("RECIPE must be given, or --resume, and not both")
    given: dict[str, Any] = {
        "model": model,
        "data": data,
        "machine": machine,
        "epochs": epochs,
        "steps": steps,
        "batch": batch,
        "optimizer": optimizer,
        "lr": lr,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "schedule": schedule,
        "warmup": warmup,
        "seed": seed,
    }
    settings = None
    if recipe is None:
        for option, value in given.items():
            if value is not None:
                raise UserError(f"{option} must be left out with resume: the training goes on with what it began with")
    else:
        described = None if machine is None else _load(machine, recipe if fit else None)
        given |= {"model": model or Settings.model, "machine": described}
        with checking_input():
            settings = Settings.usual(recipe, **given)
    asked = Asked(
        settings=settings,
        output=output,
        resume=resume,
        threads=threads,
        trace=trace,
        trace_products=trace_products,
        plot=plot,
    )
    answer(asked, as_json=as_json)


@app.command()
def sweep(
    space: Annotated[Path, typer.Argument(metavar="SPACE.toml", help="Workloads, and axes of a machine.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="SQLite file of the results; by default SPACE.sqlite."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(metavar="N", help="Processes; by default as many as there are processors.")
    ] = None,
    dask: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Compute on the Dask cluster with this scheduler.")
    ] = None,
    pareto: Annotated[
        str, typer.Option(metavar="COLUMN,...", help="What is to be small on the front of best machines.")
    ] = "time_s,energy_pj",
    plot: Annotated[
        Path | None, typer.Option(metavar="F.png|F.svg|F.html", help="Plot all machines and the front.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="F.csv", help="Write all results as a table.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate workloads on all machines of a space, and show those that no other one beats.

    Results are written to the file as they come: what is there is not computed again.
    """
    from quaver.cli.sweep import Asked, answer

    asked = Asked(space=space, output=output, jobs=jobs, dask=dask, pareto=pareto, plot=plot, csv=csv)
    answer(asked, as_json=as_json)


def _load(preset_or_path: str, recipe: str | None = None) -> "Machine":
    """A machine, with what a recipe asks for where one is named."""
    from quaver.golden import Machine, fitted, recipe_named

    with checking_input():
        machine = Machine.load(preset_or_path)
        return machine if recipe is None else fitted(recipe_named(recipe), machine)


def main() -> int:
    """Run the command line; the result is the exit status."""
    try:
        status = app(sys.argv[1:] or ["--help"], prog_name="quaver", standalone_mode=False)
        sys.stdout.flush()
    except USAGE_ERROR as error:
        message = error.format_message()  # type: ignore[attr-defined]
    except UserError as error:
        message = str(error)
    except ToolError as error:
        # The tool's own words may take several lines, and it is not the user's input that is wrong.
        print(f"quaver: error: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        # Whoever reads has enough; what is still buffered must not raise at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    else:
        return status or 0
    print(f"quaver: error: {one_line(message)}", file=sys.stderr)
    return 2
