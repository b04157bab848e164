"""Products of a workload on the stepped machine: cycles that are counted one by one, and bits that are computed.

For small products: a machine of R x C MACs takes some 10 us a MAC and cycle.  DRAM has no part in it; groups of a
product are alike and are stepped once.
"""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from quaver.golden import Accelerator, Format, Machine
from quaver.golden.errors import Unsuitable
from quaver.sim.cycle_macs import Waits
from quaver.sim.lowering import Gemm
from quaver.sim.step import Step
from quaver.sim.stepped_gemm import Part, assembled, gemm_parts, step_gemm
from quaver.sim.timing import accelerator_cycles, utilization

STEPS_MAX = 1 << 25
"""Cycles times MACs of the largest product that is stepped; an array of fewer than 256 MACs counts as one of 256."""


@dataclass(frozen=True, kw_only=True)
class SteppedProduct:
    """One product, of one of its groups."""

    name: str
    """Name of the layer."""
    phase: str
    """What it is part of, as in `quaver.sim.Task`."""
    m: int
    k: int
    n: int
    cycles: int
    """Cycles that were stepped."""
    closed_form: int
    """Cycles by `quaver.sim.accelerator_cycles`."""
    waits: Waits
    """Cycles in which the array waited, by cause."""
    utilization: float
    """Useful multiply-accumulates per MAC and cycle."""
    results: int
    """Results that were compared with the golden model's."""
    wrong: int
    """Results that differ from them."""

    def to_dict(self) -> dict[str, object]:
        """The product as the command line's JSON has it."""
        table = asdict(self)
        return {("pass" if key == "phase" else key): value for key, value in table.items()}


@dataclass(frozen=True, kw_only=True)
class SteppedSimulation:
    """Products in the order in which they run, each on an idle machine."""

    workload: str
    """Name of the workload."""
    machine: Machine
    """What they ran on."""
    seed: int
    """Seed of the operands."""
    products: tuple[SteppedProduct, ...]
    """All of them."""

    @property
    def agrees(self) -> bool:
        """Whether every cycle count is the closed form's and every result the golden model's, and there was one."""
        return bool(self.products) and all(p.cycles == p.closed_form and p.wrong == 0 for p in self.products)

    def to_dict(self) -> dict[str, object]:
        """The simulation as the command line's JSON has it."""
        return {
            "workload": self.workload,
            "machine": self.machine.name,
            "fidelity": "cycle",
            "seed": self.seed,
            "agrees": self.agrees,
            "layers": [product.to_dict() for product in self.products],
        }


def step_products(step: Step, layer: str | None = None, *, seed: int = 0) -> SteppedSimulation:
    """Step every product of `step`, or those of `layer`, with random operands of the recipe's formats.

    Raises
    ------
    Unsuitable
        If a product would take more than `STEPS_MAX` steps, or the machine lacks a format of the recipe.
    """
    tasks = [task for task in step.tasks() if layer is None or layer in task.layers]
    works = [(task.name, task.phase, task.work) for task in tasks if isinstance(task.work, Gemm)]
    most = STEPS_MAX // max(256, step.machine.rows * step.machine.columns)
    for name, _, gemm in works:
        cycles = accelerator_cycles(step.machine, gemm.m, gemm.k, gemm.n)
        if cycles > most:
            raise Unsuitable(
                f"fidelity must be event where a product takes more than {most} cycles on "
                f"{step.machine.rows} x {step.machine.columns} MACs, as {name} with {cycles}"
            )
    rng = np.random.default_rng(seed)
    products = tuple(_step(step.machine, name, phase, gemm, rng) for name, phase, gemm in works)
    return SteppedSimulation(workload=step.workload.name, machine=step.machine, seed=seed, products=products)


def _step(machine: Machine, name: str, phase: str, gemm: Gemm, rng: np.random.Generator) -> SteppedProduct:
    a = _finite_codes(rng, gemm.a_format, (gemm.m, gemm.k))
    b = _finite_codes(rng, gemm.b_format, (gemm.k, gemm.n))
    a_format, b_format = machine.a_formats.index(gemm.a_format), machine.b_formats.index(gemm.b_format)
    codes, stepped = step_gemm(machine, a, b, a_format=a_format, b_format=b_format)
    expected = _expected(machine, gemm_parts(machine, a, b, a_format=a_format, b_format=b_format))
    return SteppedProduct(
        name=name,
        phase=phase,
        m=gemm.m,
        k=gemm.k,
        n=gemm.n,
        cycles=stepped.cycles,
        closed_form=accelerator_cycles(machine, gemm.m, gemm.k, gemm.n),
        waits=stepped.waits,
        utilization=utilization(machine, gemm.m * gemm.k * gemm.n, stepped.cycles),
        results=codes.size,
        wrong=int((codes != expected).sum()),
    )


def _expected(machine: Machine, parts: list[Part]) -> NDArray:
    """The golden model's results."""
    golden = Accelerator(machine)
    results = [golden.run(*part.work).codes for part in parts]
    return assembled(machine, parts, [codes for codes in results if codes is not None])


def _finite_codes(rng: np.random.Generator, fmt: Format, shape: tuple[int, int]) -> NDArray:
    """Random codes below the largest finite number's, of either sign."""
    codes = rng.integers(0, fmt.max_code + 1, shape)
    return codes | rng.integers(0, 2, shape) * fmt.sign_mask
