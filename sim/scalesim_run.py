"""A step by SCALE-Sim's model: the products that a step consists of, or a topology's rows as SCALE-Sim reads them."""

from collections.abc import Iterator
from typing import NamedTuple

from quaver.sim.load import Loaded
from quaver.sim.lowering import Gemm
from quaver.sim.scalesim import ScaleSimulation, simulate_scalesim
from quaver.sim.step import Step


class Product(NamedTuple):
    """What SCALE-Sim's formulas know of a product."""

    name: str
    m: int
    k: int
    n: int
    groups: int


def scalesim_of(step: Step, loaded: Loaded, layer: str | None = None) -> ScaleSimulation:
    """Simulate `step`, made of `loaded` with all products on the array, on the array and dataflow of its machine.

    The forward pass of a topology has SCALE-Sim's own output sizes, times the batch.
    """
    machine, request = step.machine, step.request
    products = _rows(loaded, request.batch) if loaded.topology and not request.training else _products(step)
    return simulate_scalesim(
        loaded.workload.name,
        (product for product in products if layer in (None, product.name)),
        dataflow=machine.dataflow,
        rows=machine.rows,
        columns=machine.columns,
        pass_=request.pass_,
        batch=request.batch,
    )


def _rows(loaded: Loaded, batch: int) -> Iterator[Product]:
    for row in loaded.topology:
        yield Product(row.name, batch * row.m, row.k, row.n, row.groups)


def _products(step: Step) -> Iterator[Product]:
    for task in step.tasks():
        if isinstance(gemm := task.work, Gemm):
            for _ in range(task.repeats):
                yield Product(task.name, gemm.m, gemm.k, gemm.n, gemm.groups)
