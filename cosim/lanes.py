"""Devices under test that check components in bulk: many copies side by side, one vector of lanes per cycle."""

from collections.abc import Mapping

import numpy as np
from amaranth.hdl import Module, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike, NDArray

from quaver.cosim.simulator import Model
from quaver.golden import Machine
from quaver.hw.chunk_adder import ChunkAdder
from quaver.hw.decoder import Decoder
from quaver.hw.design import place
from quaver.hw.mac import Mac
from quaver.hw.multiplier import Multiplier
from quaver.hw.unpacked import operand_shape, product_shape

LANES = 8
_WORD = 32
"""Every port of a lane is this wide, so that NumPy packs lanes as 32-bit integers."""


class ProductPath(wiring.Component):
    """Two decoders and a multiplier: what becomes of a pair of codes before it is added.  Combinational."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        shape = product_shape(operand_shape(machine.a_formats), operand_shape(machine.b_formats))
        super().__init__({**_OPERANDS, "result": Out(len(Value.cast(shape.layout(0))))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a_shape, b_shape = operand_shape(self.machine.a_formats), operand_shape(self.machine.b_formats)
        multiplier = place(m, platform, "multiplier", Multiplier, a_shape, b_shape)
        _decode(m, platform, self, multiplier.a, multiplier.b)
        m.d.comb += self.result.eq(multiplier.product)
        return m


class MacPath(wiring.Component):
    """Two decoders and a MAC."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        members = {**_OPERANDS, "sum": In(machine.inner.format.bits), "result": Out(machine.inner.format.bits)}
        if machine.inner.rounding.stochastic:
            members["word"] = In(machine.inner.rounding.random_bits)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        mac = place(m, platform, "mac", Mac, self.machine)
        _decode(m, platform, self, mac.a, mac.b)
        m.d.comb += [mac.sum.eq(self.sum), self.result.eq(mac.result)]
        if self.machine.inner.rounding.stochastic:
            m.d.comb += mac.word.eq(self.word)
        return m


_OPERANDS = {"a": In(8), "b": In(8), "a_format": In(4), "b_format": In(4)}


def _decode(m: Module, platform: object, path: ProductPath | MacPath, a: Value, b: Value) -> None:
    for name, formats, code, choice, operand in (
        ("a_decoder", path.machine.a_formats, path.a, path.a_format, a),
        ("b_decoder", path.machine.b_formats, path.b, path.b_format, b),
    ):
        decoder = place(m, platform, name, Decoder, formats)
        m.d.comb += [decoder.code.eq(code), operand.eq(decoder.operand)]
        if len(formats) > 1:
            m.d.comb += decoder.format.eq(choice)


class Lanes(wiring.Component):
    """`LANES` copies of `component_class(*args)`, whose ports it has as arrays of 32-bit words."""

    def __init__(self, component_class: type[wiring.Component], *args: object) -> None:
        self.part = (component_class, *args)
        lane = component_class(*args)
        lane._MustUse__silence = True  # built for its signature alone
        array = data.ArrayLayout(_WORD, LANES)
        super().__init__(
            {name: In(array) if member.flow == In else Out(array) for name, member in lane.signature.members.items()}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for index in range(LANES):
            lane = place(m, platform, f"lane_{index}", *self.part)
            for name, member in self.signature.members.items():
                outside, inside = getattr(self, name)[index], Value.cast(getattr(lane, name))
                m.d.comb += inside.eq(outside) if member.flow == In else outside.eq(inside)
        return m


def evaluate(model: Model, latencies: Mapping[str, int], inputs: Mapping[str, ArrayLike]) -> NDArray[np.uint32]:
    """Outputs of a `Lanes` model for arrays of inputs, each of shape (cases,).

    Parameters
    ----------
    latencies:
        Cycles from the first inputs to each later port: `result`, and inputs that come late.  They are obeyed, not
        searched for: a component with another latency gives other results.
    """
    cases = len(np.asarray(next(iter(inputs.values()))))
    cycles, total = -(-cases // LANES), max(latencies.values())
    job: dict[str, object] = {"outputs": np.array(["result"])}
    for name, values in inputs.items():
        lanes = np.zeros((cycles + total, LANES), "<u4")
        late = latencies.get(name, 0)
        lanes[late : late + cycles].reshape(-1)[:cases] = values
        job[f"in_{name}"] = lanes.view(np.uint8)
    record = model.run("bench_vectors", job)["result"]
    return record.reshape(-1).view("<u4").reshape(-1, LANES)[latencies["result"] :].reshape(-1)[:cases]


__all__ = ["LANES", "ChunkAdder", "Lanes", "MacPath", "ProductPath", "evaluate"]
