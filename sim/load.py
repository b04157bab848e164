"""Workloads by what a user calls them: a built-in name, an ONNX file, a SCALE-Sim topology."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from quaver.sim.network import Workload
from quaver.sim.scalesim_csv import TopologyRow, layer_of, read_topology
from quaver.sim.workloads import WORKLOADS, workload_named

if TYPE_CHECKING:
    from quaver.sim.imported import Imported


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A workload, and what else its source says."""

    workload: Workload
    """The network."""
    topology: tuple[TopologyRow, ...] = ()
    """The rows of a topology, in its own terms; empty for other sources."""
    imported: "Imported | None" = None
    """What of an ONNX file is no layer; None for other sources."""


def load_workload(name: str, sizes: Mapping[str, int] | None = None) -> Loaded:
    """A built-in workload by its name, or a network from an `.onnx` file or from a SCALE-Sim topology in a `.csv` file.

    Parameters
    ----------
    sizes:
        Sizes of the dimensions that an ONNX file leaves open, by their names.

    Raises
    ------
    ValueError
        For an unknown name, for a file that is missing or not of its kind, and for a network that it cannot hold.
    ModuleNotFoundError
        If an ONNX file is asked for and the package `onnx` is not installed.
    """
    path = Path(name)
    if sizes and path.suffix != ".onnx":
        raise ValueError("size must be left out where the workload is no .onnx file")
    if path.suffix not in (".onnx", ".csv"):
        if name not in WORKLOADS:
            raise ValueError(f"workload must be one of {', '.join(WORKLOADS)}, an .onnx or a .csv file, not {name!r}")
        return Loaded(workload=workload_named(name))
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    if path.suffix == ".onnx":
        from quaver.sim.onnx_import import load_onnx

        found = load_onnx(path, sizes=sizes)
        return Loaded(workload=found.workload, imported=found)
    rows = read_topology(path)
    try:
        layers = tuple(layer_of(row) for row in rows)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return Loaded(workload=Workload(name=path.stem, source=str(path), layers=layers), topology=rows)
