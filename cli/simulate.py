"""`quaver simulate`: what was asked, checked; what is answered, on the screen or in files."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from typer import Exit

from quaver import sim
from quaver.cli.errors import UserError, checking_input, needing
from quaver.cli.json_output import print_json
from quaver.golden import Machine, Recipe, recipe_named
from quaver.golden.errors import Unsuitable, check_choice
from quaver.sim.scalesim import ScaleSimulation

MODELS = ("quaver", "scalesim")
FIDELITIES = ("event", "cycle")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of the command, as they were given."""

    workload: str
    machine: Machine
    pass_: str
    batch: int
    layer: str | None
    recipe: str
    accumulate: int
    recompute: bool
    sizes: tuple[str, ...]
    model: str
    fidelity: str

    def check(self) -> tuple[sim.Loaded, sim.Request, Recipe]:
        """What they mean; ValueErrors name an option that means nothing."""
        check_choice("model", self.model, MODELS)
        check_choice("fidelity", self.fidelity, FIDELITIES)
        if self.model == "scalesim" and self.fidelity == "cycle":
            raise ValueError("fidelity must be event with model scalesim, not 'cycle'")
        request = sim.Request(pass_=self.pass_, batch=self.batch, accumulate=self.accumulate, recompute=self.recompute)
        recipe = recipe_named(self.recipe)
        loaded = sim.load_workload(self.workload, sizes=dict(map(_size, self.sizes)))
        if self.layer is not None:
            loaded.workload.layer_named(self.layer)
        return loaded, request, recipe


def _size(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not name or not number.isdecimal() or int(number) < 1:
        raise ValueError(f"size must be NAME=N with N of at least 1, not {text!r}")
    return name, int(number)


def answer(asked: Asked, *, as_json: bool, report: Path | None, trace: Path | None) -> None:
    """Simulate and show."""
    with needing("onnx"), checking_input():
        loaded, request, recipe = asked.check()
    if asked.model == "scalesim" or asked.fidelity == "cycle":
        for option, given in (("report", report), ("trace", trace)):
            if given is not None:
                raise UserError(f"{option} must be left out with model scalesim and with fidelity cycle")
    for line in _unknown(loaded):
        print(f"quaver: warning: {line}", file=sys.stderr)
    step = sim.Step(loaded.workload, asked.machine, recipe, request, on_array=asked.model == "scalesim")
    if asked.model == "scalesim":
        _show_scalesim(sim.scalesim_of(step, loaded, asked.layer), as_json)
    elif asked.fidelity == "cycle":
        with suited():
            stepped = sim.step_products(step, asked.layer)
        _show_stepped(stepped, as_json)
        if not stepped.agrees:
            raise Exit(1)
    else:
        with suited():
            simulation = sim.run(step, asked.layer)
        _write(simulation, report, trace)
        _show(simulation, loaded, as_json)


@contextmanager
def suited() -> Iterator[None]:
    """Turn what a machine cannot do into a UserError."""
    try:
        yield
    except Unsuitable as error:
        raise UserError(str(error)) from error


def _unknown(loaded: sim.Loaded) -> Iterator[str]:
    """What of an ONNX file is not simulated, a line per type of operator."""
    if loaded.imported is not None:
        for kind, names in loaded.imported.unknown.items():
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            yield f"{len(names)} operators of type {kind} are not known and not simulated: {shown}"


def _write(simulation: sim.Simulation, report: Path | None, trace: Path | None) -> None:
    try:
        if report is not None:
            with needing("report"):
                from quaver.cli.html_report import write_html
            write_html(simulation, report)
        if trace is not None:
            from quaver.cli.trace import write_trace

            write_trace(simulation, trace)
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be written: {error.strerror}") from error


def _show(simulation: sim.Simulation, loaded: sim.Loaded, as_json: bool) -> None:
    if as_json:
        imported = {} if loaded.imported is None else {"imported": loaded.imported.to_dict()}
        print_json(simulation.to_dict() | imported)
        return
    from quaver.cli.console import show
    from quaver.cli.simulation_report import simulation_report

    show(*simulation_report(simulation))


def _show_scalesim(simulation: ScaleSimulation, as_json: bool) -> None:
    if as_json:
        print_json(simulation.to_dict())
        return
    from quaver.cli.console import show
    from quaver.cli.simulation_report import scalesim_report

    show(*scalesim_report(simulation))


def _show_stepped(stepped: sim.SteppedSimulation, as_json: bool) -> None:
    if as_json:
        print_json(stepped.to_dict())
        return
    from quaver.cli.console import show
    from quaver.cli.simulation_report import stepped_report

    show(*stepped_report(stepped))
