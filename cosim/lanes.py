"""A device under test that checks components in bulk: many copies side by side, one vector of lanes per cycle."""

from collections.abc import Mapping

import numpy as np
from amaranth.hdl import Module, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import ArrayLike, NDArray

from quaver.cosim.simulator import Model
from quaver.golden import Machine
from quaver.hw.chunk_adder import place_chunk_adder
from quaver.hw.decoder import Decoder
from quaver.hw.design import place
from quaver.hw.lfsr import word_port
from quaver.hw.mac import Mac
from quaver.hw.multiplier import Multiplier
from quaver.hw.streams import code_bits
from quaver.hw.unpacked import Unpacked, operand_shape, product_shape

LANES = 8
_WORD = 32
"""Every port of a lane is a multiple of this wide, so that NumPy packs lanes as 32-bit integers."""


def lane_words(machine: Machine) -> int:
    """Words per port of a lane: one, but for exact sums."""
    return -(-machine.inner_code.bits // _WORD)


def product_of(machine: Machine) -> Unpacked:
    """Shape of the products of a machine."""
    return product_shape(operand_shape(machine.a_formats), operand_shape(machine.b_formats))


class Parts(wiring.Component):
    """The arithmetic of `machine`, part by part: `product` of two decoded codes (combinational), `mac`, `outer`."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        members = {
            **{"a": In(code_bits(machine.a_formats)), "a_format": In(4)},
            **{"b": In(code_bits(machine.b_formats)), "b_format": In(4)},
            "product": Out(product_of(machine).layout.size),
            "sum": In(machine.inner_code.bits),
            "mac": Out(machine.inner_code.bits),
            "chunk": In(machine.inner_code.bits),
            "outer_sum": In(machine.outer.format.bits),
            "outer": Out(machine.outer.format.bits),
            **word_port(machine.inner_rounding),
        }
        if machine.outer.rounding.stochastic:
            members["outer_word"] = In(machine.outer.rounding.random_bits)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        machine = self.machine
        a_shape, b_shape = operand_shape(machine.a_formats), operand_shape(machine.b_formats)
        multiplier = place(m, platform, "multiplier", Multiplier, a_shape, b_shape)
        mac = place(m, platform, "mac", Mac, machine)
        outer = place_chunk_adder(m, platform, "outer", machine)
        for label, formats, code, choice in (
            ("a", machine.a_formats, self.a, self.a_format),
            ("b", machine.b_formats, self.b, self.b_format),
        ):
            decoder = place(m, platform, f"{label}_decoder", Decoder, formats)
            m.d.comb += [
                decoder.code.eq(code),
                getattr(multiplier, label).eq(decoder.operand),
                getattr(mac, label).eq(decoder.operand),
            ]
            if len(formats) > 1:
                m.d.comb += decoder.format.eq(choice)
        m.d.comb += [
            self.product.eq(multiplier.product),
            mac.sum.eq(self.sum),
            self.mac.eq(mac.result),
            outer.chunk.eq(self.chunk),
            outer.sum.eq(self.outer_sum),
            self.outer.eq(outer.result),
        ]
        if machine.inner_rounding.stochastic:
            m.d.comb += mac.word.eq(self.word)
        if machine.outer.rounding.stochastic:
            m.d.comb += outer.word.eq(self.outer_word)
        return m


class Lanes(wiring.Component):
    """`LANES` copies of `Parts(machine)`, whose ports it has as arrays of `lane_words` 32-bit words."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        parts = Parts(machine)
        parts._MustUse__silence = True  # built for its signature alone
        array = data.ArrayLayout(_WORD * lane_words(machine), LANES)
        super().__init__(
            {name: In(array) if member.flow == In else Out(array) for name, member in parts.signature.members.items()}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for index in range(LANES):
            lane = place(m, platform, f"lane_{index}", Parts, self.machine)
            for name, member in self.signature.members.items():
                outside, inside = getattr(self, name)[index], Value.cast(getattr(lane, name))
                m.d.comb += inside.eq(outside) if member.flow == In else outside.eq(inside)
        return m


def evaluate(
    model: Model,
    output: str,
    inputs: Mapping[str, ArrayLike],
    *,
    latency: int = 0,
    late: Mapping[str, int] | None = None,
    words: int = 1,
) -> NDArray:
    """What the lanes answer at port `output` to arrays of inputs, each of shape (cases,).

    Latencies are obeyed, not searched for: a component with another latency gives other answers.

    Parameters
    ----------
    latency:
        Cycles from the inputs to the answer.
    late:
        Inputs that come some cycles after the others.
    words:
        `lane_words`; if there is more than one, wide inputs and the answer are arrays of Python's integers.
    """
    late = late or {}
    cases = len(np.asarray(next(iter(inputs.values()))))
    cycles = -(-cases // LANES)
    job: dict[str, object] = {"outputs": [output]}
    for name, values in inputs.items():
        lanes = np.zeros((cycles + latency, LANES, words), "<u4")
        start = late.get(name, 0)
        lanes[start : start + cycles].reshape(-1, words)[:cases] = _split(np.asarray(values), words)
        job[f"in_{name}"] = lanes.reshape(len(lanes), -1).view(np.uint8)
    record = model.run("bench_vectors", job)[output]
    answers = record.reshape(-1).view("<u4").reshape(-1, LANES, words)[latency:].reshape(-1, words)[:cases]
    return _join(answers)


def _split(values: NDArray, words: int) -> NDArray:
    """Words of `values`, the lowest first: shape (cases, words)."""
    if words == 1:
        return values[:, None]
    wide = values.astype(object)
    return np.stack([wide >> _WORD * word & ((1 << _WORD) - 1) for word in range(words)], axis=1)


def _join(words: NDArray) -> NDArray:
    """The values of `words` again."""
    if words.shape[1] == 1:
        return words[:, 0]
    return np.bitwise_or.reduce([column.astype(object) << _WORD * word for word, column in enumerate(words.T)])
