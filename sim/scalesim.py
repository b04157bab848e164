"""SCALE-Sim's model of a systolic array in closed form, a second opinion beside `quaver.sim.timing`'s.

The shape that a dataflow lays along the rows, along the columns and in time is that of Samajdar et al., A Systematic
Methodology for Characterizing Scalability of DNN Accelerators using SCALE-Sim, ISPASS 2020: S_R, S_C and T.  Cycles
and utilisations are those that version 3.0.0 reports where its memory does not stall (interface bandwidth CALC), to
the cycle; tests hold them to its reports.  It knows neither a batch nor groups: here a batch multiplies M, and groups
run one after the other.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, get_args

from quaver.golden.errors import check_choice, check_range
from quaver.golden.machine_checks import Dataflow

_MAX = 1 << 48


class Multiplication(Protocol):
    """Multiplications of one shape: a `TopologyRow` and a `Gemm` are such."""

    @property
    def name(self) -> str:
        """Name of the layer."""

    @property
    def m(self) -> int:
        """Rows of one group's activations and outputs."""

    @property
    def k(self) -> int:
        """Products per output."""

    @property
    def n(self) -> int:
        """Columns of one group's weights and outputs."""

    @property
    def groups(self) -> int:
        """Multiplications of this shape, one after the other."""


@dataclass(frozen=True, kw_only=True)
class ScaleSimLayer:
    """One layer on SCALE-Sim's array, over all its groups.

    Raises
    ------
    ValueError
        For an unknown dataflow, and for a number below 1.
    """

    name: str
    """Name of the layer."""
    dataflow: Dataflow
    """Which operand stays in the array: weights (ws), inputs (is) or outputs (os)."""
    rows: int
    """Rows of the array."""
    columns: int
    """Columns of the array."""
    m: int
    """Rows of one group's activations and outputs."""
    k: int
    """Products per output."""
    n: int
    """Columns of one group's weights and outputs."""
    groups: int = 1
    """Multiplications of this shape, one after the other."""

    def __post_init__(self) -> None:
        check_choice("dataflow", self.dataflow, get_args(Dataflow))
        for field in ("rows", "columns", "m", "k", "n", "groups"):
            check_range(field, getattr(self, field), 1, _MAX)

    @property
    def _mapping(self) -> tuple[int, int, int]:
        """The paper's S_R, S_C and T."""
        match self.dataflow:
            case "ws":
                return self.k, self.n, self.m
            case "is":
                return self.k, self.m, self.n
            case "os":
                return self.m, self.n, self.k

    @property
    def folds(self) -> int:
        """Times that one group's stationary operand fills the array."""
        along_rows, along_columns, _ = self._mapping
        return -(-along_rows // self.rows) * -(-along_columns // self.columns)

    @property
    def fold_cycles(self) -> int:
        """Cycles of a fold: load the rows, unless outputs stay; stream; cross the array."""
        loading = 0 if self.dataflow == "os" else self.rows
        return loading + self._mapping[2] + self.rows + self.columns - 2

    @property
    def cycles(self) -> int:
        """The number of the last cycle, where SCALE-Sim counts a multiplication's from 0: folds do not overlap."""
        return self.groups * (self.folds * self.fold_cycles - 1)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all groups."""
        return self.groups * self.m * self.k * self.n

    @property
    def utilization(self) -> float:
        """Multiply-accumulates per MAC and cycle (its "Overall Util", there in percent)."""
        return self.macs / (self.rows * self.columns * self.cycles)

    @property
    def mapping_efficiency(self) -> float:
        """MACs that hold something, the mean over folds (its "Mapping Efficiency", there in percent)."""
        along_rows, along_columns, _ = self._mapping
        return along_rows * along_columns / (self.folds * self.rows * self.columns)

    @property
    def compute_utilization(self) -> float:
        """Busy MACs per MAC and cycle, the mean over folds (its "Compute Util", there in percent).

        Where weights or inputs stay, a fold counts for `columns` - 1 cycles more than it takes.
        """
        counted = self.fold_cycles + (0 if self.dataflow == "os" else self.columns - 1)
        return self.mapping_efficiency * self._mapping[2] / counted

    def to_dict(self) -> dict[str, object]:
        """The layer as the command line's JSON has it."""
        return {
            "name": self.name,
            "m": self.m,
            "k": self.k,
            "n": self.n,
            "macs": self.macs,
            "cycles": self.cycles,
            "utilization": self.utilization,
            "mapping_efficiency": self.mapping_efficiency,
            "compute_utilization": self.compute_utilization,
            "folds": self.folds,
        }


@dataclass(frozen=True, kw_only=True)
class ScaleSimulation:
    """Layers one after the other, as SCALE-Sim's report adds up."""

    workload: str
    """Name of the workload."""
    dataflow: Dataflow
    """Of all layers."""
    rows: int
    """Rows of the array."""
    columns: int
    """Columns of the array."""
    pass_: str
    """The pass that the products are of."""
    batch: int
    """Inputs that they process together."""
    layers: tuple[ScaleSimLayer, ...]
    """At least one."""

    @property
    def cycles(self) -> int:
        return sum(layer.cycles for layer in self.layers)

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def utilization(self) -> float:
        """Multiply-accumulates per MAC and cycle."""
        return self.macs / (self.rows * self.columns * self.cycles)

    def to_dict(self) -> dict[str, object]:
        """The simulation as the command line's JSON has it."""
        return {
            "workload": self.workload,
            "model": "scalesim",
            "dataflow": self.dataflow,
            "rows": self.rows,
            "columns": self.columns,
            "pass": self.pass_,
            "batch": self.batch,
            "layers": [layer.to_dict() for layer in self.layers],
            "total": {"cycles": self.cycles, "macs": self.macs, "utilization": self.utilization},
        }


def scalesim_cycles(dataflow: Dataflow, rows: int, columns: int, m: int, k: int, n: int) -> int:
    """Cycles that SCALE-Sim reports for an M x K x N multiplication on an array of `rows` x `columns`.

    With R rows and C columns: ws ceil(K/R) ceil(N/C) (2R + C + M - 2) - 1, is ceil(K/R) ceil(M/C) (2R + C + N - 2) - 1,
    os ceil(M/R) ceil(N/C) (R + C + K - 2) - 1.

    Raises
    ------
    ValueError
        For an unknown dataflow, and for a number below 1.
    """
    return ScaleSimLayer(name="", dataflow=dataflow, rows=rows, columns=columns, m=m, k=k, n=n).cycles


def simulate_scalesim(
    workload: str,
    products: Iterable[Multiplication],
    *,
    dataflow: Dataflow,
    rows: int,
    columns: int,
    pass_: str = "forward",
    batch: int = 1,
) -> ScaleSimulation:
    """Simulate products one after the other.

    Parameters
    ----------
    workload:
        Name in the report.
    products:
        At least one, in the order in which they run.
    pass_:
        The pass that they are of, for the report.
    batch:
        Inputs that they process together, for the report: it is in their shapes already.

    Raises
    ------
    ValueError
        For an unknown dataflow, without products, and for a number below 1.
    """
    layers = tuple(
        ScaleSimLayer(
            name=product.name,
            dataflow=dataflow,
            rows=rows,
            columns=columns,
            m=product.m,
            k=product.k,
            n=product.n,
            groups=product.groups,
        )
        for product in products
    )
    check_range(f"{workload}: number of layers", len(layers), 1, 1 << 20)
    return ScaleSimulation(
        workload=workload, dataflow=dataflow, rows=rows, columns=columns, pass_=pass_, batch=batch, layers=layers
    )
