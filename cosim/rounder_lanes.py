"""Many rounders side by side, and what they answer: the bulk check of the output unit's rounding."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from quaver.cosim.lanes import LANES
from quaver.cosim.simulator import Model
from quaver.golden import Format
from quaver.hw.decoder import unpack
from quaver.hw.design import place
from quaver.hw.rounder import ROUNDER_LATENCY, Rounder, number_layout
from quaver.hw.unpacked import operand_shape

SCALED_EXPONENT_BITS = 12
"""Width of the exponent of a sum times any power of two of a command."""
_OVERFLOW, _UNDERFLOW = 32, 33
"""Bits of a lane's 64-bit answer, above the code."""


class RounderLanes(wiring.Component):
    """`LANES` sums side by side, each rounded to all `targets`; ports are arrays, for `round_rtl`."""

    def __init__(self, source: Format, targets: tuple[Format, ...], random_bits: int) -> None:
        self.source, self.targets, self.random_bits = source, targets, random_bits
        inputs = dict.fromkeys(("code", "scale", "word", "stochastic", "saturate"), In(data.ArrayLayout(32, LANES)))
        super().__init__(inputs | {target.name: Out(data.ArrayLayout(64, LANES)) for target in targets})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shape = operand_shape((self.source,))
        for index in range(LANES):
            y = unpack(m, self.code[index][: self.source.bits], self.source, shape)
            for target in self.targets:
                layout = number_layout(shape.significand_bits, SCALED_EXPONENT_BITS)
                label = f"rounder_{target.name}_{index}"
                rounder = place(m, platform, label, Rounder, layout, target, self.random_bits)
                answer = getattr(self, target.name)[index]
                m.d.comb += [
                    rounder.enable.eq(1),
                    rounder.number.significand.eq(y.significand),
                    rounder.number.exponent.eq(y.exponent + shape.low + self.scale[index].as_signed()),
                    *(getattr(rounder.number, name).eq(getattr(y, name)) for name in ("sign", "inf", "nan")),
                    rounder.saturate.eq(self.saturate[index]),
                    answer[: target.bits].eq(rounder.code),
                    answer[_OVERFLOW].eq(rounder.overflow),
                    answer[_UNDERFLOW].eq(rounder.underflow),
                ]
                if self.random_bits:
                    m.d.comb += [
                        rounder.stochastic.eq(self.stochastic[index]),
                        rounder.word.eq(self.word[index]),
                    ]
        return m


class Rounded(NamedTuple):
    """What a rounder answers, each of shape (cases,)."""

    codes: NDArray[np.int64]
    overflow: NDArray[np.bool_]
    underflow: NDArray[np.bool_]


def round_rtl(model: Model, targets: tuple[Format, ...], inputs: Mapping[str, NDArray]) -> dict[str, Rounded]:
    """What the rounder of each target answers to inputs of shape (cases,), by the target's name."""
    cases = len(inputs["code"])
    cycles = -(-cases // LANES)
    job: dict[str, object] = {"outputs": [target.name for target in targets]}
    for name, values in inputs.items():
        lanes = np.zeros((cycles + ROUNDER_LATENCY, LANES), "<i4")
        lanes[:cycles].reshape(-1)[:cases] = values
        job[f"in_{name}"] = lanes.view(np.uint8)
    record = model.run("bench_vectors", job)
    answers = {}
    for target in targets:
        lanes = record[target.name].reshape(-1).view("<u8").reshape(-1, LANES)[ROUNDER_LATENCY:]
        answer = lanes.reshape(-1)[:cases].astype(np.int64)
        codes = answer & ((1 << 32) - 1)
        answers[target.name] = Rounded(codes, answer >> _OVERFLOW & 1 == 1, answer >> _UNDERFLOW & 1 == 1)
    return answers
