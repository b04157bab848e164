from collections.abc import Callable, Mapping

import numpy as np
import pytest
from amaranth.hdl import Value
from amaranth.lib import wiring
from amaranth.sim import Simulator


@pytest.fixture(scope="session")
def play() -> Callable[..., dict[str, np.ndarray]]:
    """Runner of a component in Amaranth's own simulator, no Verilog between: see `run`."""

    def run(
        component: wiring.Component, inputs: Mapping[str, np.ndarray], outputs: list[str], *, clocked: bool = True
    ) -> dict[str, np.ndarray]:
        """Drive one vector of `inputs` per cycle; record `outputs` in each cycle before its edge."""
        record: dict[str, list[int]] = {name: [] for name in outputs}
        ports = {name: Value.cast(getattr(component, name)) for name in (*inputs, *outputs)}

        async def bench(context) -> None:
            for vector in zip(*(values.tolist() for values in inputs.values()), strict=True):
                for name, value in zip(inputs, vector, strict=True):
                    context.set(ports[name], value)
                if not clocked:
                    await context.delay(1e-9)
                for name in outputs:
                    record[name].append(context.get(ports[name]))
                if clocked:
                    await context.tick()

        simulator = Simulator(component)
        if clocked:
            simulator.add_clock(1e-8)
        simulator.add_testbench(bench)
        simulator.run()
        return {name: np.array(values) for name, values in record.items()}

    return run
