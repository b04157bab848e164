"""The weight-update unit: stochastic gradient descent as three rounded AXPYs, one row of lanes per cycle."""

from typing import get_args

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from quaver.golden import Accumulator, Format, seed_of
from quaver.golden.errors import check_choice, check_range
from quaver.golden.lfsr import UPDATE_GENERATORS, WIDTH
from quaver.golden.machine_checks import MAC_DEPTH_MAX, RANDOM_BITS_MAX, ROUNDINGS, SrAdder
from quaver.hw.axpy import Axpy
from quaver.hw.decoder import Decoder
from quaver.hw.design import place
from quaver.hw.lfsr import RESEEDING, WordGenerator, addressed
from quaver.hw.pipeline import delay
from quaver.hw.unpacked import operand_shape

SCALARS = ("decay", "momentum", "rate")
"""The scalar of each AXPY of an element, in order; an AXPY is a stage."""
STAGES = len(SCALARS)


def element_beat(fmt: Format, lanes: int) -> data.StructLayout:
    """A row of lanes: element i of a tensor is in lane i mod `lanes`.  `last` goes through to the result."""
    codes = data.ArrayLayout(fmt.bits, lanes)
    return data.StructLayout({"weights": codes, "velocities": codes, "gradients": codes, "last": 1})


def updated_beat(fmt: Format, lanes: int) -> data.StructLayout:
    """The row of lanes after the step.  `nan`: one of its weights is NaN, as it is where the velocity is."""
    codes = data.ArrayLayout(fmt.bits, lanes)
    return data.StructLayout({"weights": codes, "velocities": codes, "last": 1, "nan": 1})


class UpdateLane(wiring.Component):
    """The three AXPYs of one element after the other, each with its generator of random words.

    Latency: 3 * `depth`.  Throughput: one element per cycle.

    Parameters
    ----------
    accumulator, depth, sr_adder:
        As of `Axpy`.

    Members
    -------
    decay, momentum, rate:
        The scalars, unpacked; `rate` is negative.
    weight, velocity, gradient:
        Codes of an element.
    seeds, reseed, state:
        Initial state of the generator of each stage; the stage whose generator starts anew, and from where.  For
        stochastic rounding only, as `step`.
    step:
        For each stage: an element enters it in the next cycle.
    new_weight, new_velocity:
        Codes of the element after the step.
    """

    def __init__(self, accumulator: Accumulator, depth: int, sr_adder: SrAdder = "lazy") -> None:
        self.accumulator, self.depth, self.sr_adder = accumulator, depth, sr_adder
        scalar, code = operand_shape((accumulator.format,)).layout, accumulator.format.bits
        members = {name: In(scalar) for name in SCALARS}
        members |= {name: In(code) for name in ("weight", "velocity", "gradient")}
        members |= {name: Out(code) for name in ("new_weight", "new_velocity")}
        if accumulator.rounding.stochastic:
            members |= {"seeds": In(data.ArrayLayout(WIDTH, STAGES)), "step": In(STAGES)}
            members |= {"reseed": In(STAGES), "state": In(WIDTH)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rounding = self.accumulator.rounding
        axpys = [place(m, platform, name, Axpy, self.accumulator, self.depth, self.sr_adder) for name in SCALARS]
        decayed, accelerated, moved = axpys
        for stage, axpy in enumerate(axpys):
            m.d.comb += axpy.alpha.eq(getattr(self, SCALARS[stage]))
            if rounding.stochastic:
                generator = place(m, platform, f"generator_{stage}", WordGenerator, rounding.random_bits)
                m.d.comb += [
                    generator.seed.eq(self.seeds[stage]),
                    generator.reseed.eq(self.reseed[stage]),
                    generator.state.eq(self.state),
                    generator.step.eq(self.step[stage]),
                    axpy.word.eq(generator.word),
                ]
        m.d.comb += [
            decayed.x.eq(self.weight),
            decayed.y.eq(self.gradient),
            accelerated.x.eq(delay(m, self.velocity, self.depth, "velocity_delayed")),
            accelerated.y.eq(decayed.result),
            moved.x.eq(accelerated.result),
            moved.y.eq(delay(m, self.weight, 2 * self.depth, "weight_delayed")),
            self.new_weight.eq(moved.result),
            self.new_velocity.eq(delay(m, accelerated.result, self.depth, "new_velocity_delayed")),
        ]
        return m


class UpdateUnit(wiring.Component):
    """One step of `quaver.golden.Sgd` (momentum and L2 regularisation, not Nesterov's) on the weights of a tensor.

        g = q(g + decay * w)        v = q(momentum * v + g)        w = q(w - rate * v)

    Lanes that a tensor's last beat does not need are filled with zeros (code 0); their results mean nothing.  All
    generators step once per beat accepted, so that idle cycles and back-pressure change no bit.

    Latency: `latency` from a beat accepted to its result on offer.  Throughput: one beat per cycle.  Nothing inside
    stalls: a beat is accepted when there is room for its result in the output buffer, which never limits a unit whose
    results leave as they come.

    Parameters
    ----------
    accumulator:
        Format of weights, velocity, gradient and scalars (`ieee` or `dlfloat`), and rounding and overflow of each AXPY.
    lanes:
        Elements per beat, 1 to 1024.
    depth:
        Registers of an AXPY, 1 to 7.
    seed:
        Seed of all generators: that of stage s, lane l has the number `UPDATE_GENERATORS` + s * `lanes` + l.
    sr_adder:
        As of `Axpy`.

    Members
    -------
    decay, momentum, rate:
        Codes of the scalars; they keep still while a tensor is in the unit.
    elements:
        Stream of `element_beat`.
    updated:
        Stream of `updated_beat`, in the same order.
    reseeding:
        A generator starts anew; nothing may be in the unit.

    Raises
    ------
    TypeError, ValueError
        If a parameter is out of its range; the message names it.
    """

    def __init__(
        self, accumulator: Accumulator, lanes: int, depth: int, seed: int = 0, sr_adder: SrAdder = "lazy"
    ) -> None:
        fmt, rounding = accumulator.format, accumulator.rounding
        check_choice("specials of format", fmt.specials, ("ieee", "dlfloat"))
        check_choice("rounding", rounding.mode, ROUNDINGS)
        if rounding.stochastic:
            check_range("random_bits", rounding.random_bits, 1, RANDOM_BITS_MAX)
        check_range("lanes", lanes, 1, 1024)
        check_range("depth", depth, 1, MAC_DEPTH_MAX)
        check_range("seed", seed, 0, (1 << 32) - 1)
        check_choice("sr_adder", sr_adder, get_args(SrAdder))
        self.accumulator, self.lanes, self.depth, self.seed, self.sr_adder = accumulator, lanes, depth, seed, sr_adder
        super().__init__(
            {
                **{name: In(fmt.bits) for name in SCALARS},
                "elements": In(stream.Signature(element_beat(fmt, lanes))),
                "updated": Out(stream.Signature(updated_beat(fmt, lanes))),
                "reseeding": In(RESEEDING),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a beat's acceptance to its result on offer: the beat's register, the AXPYs, the output buffer."""
        return STAGES * self.depth + 2

    @property
    def output_depth(self) -> int:
        """Beats of the output buffer: as many as are accepted before the first one's room is known to be free again."""
        return self.latency + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fmt = self.accumulator.format
        elements, updated = self.elements, self.updated

        # Accept: every beat has its place in the output buffer before it enters.
        room = Signal(range(self.output_depth + 1), init=self.output_depth)
        accepted, left = Signal(), Signal()
        m.d.comb += [
            elements.ready.eq(room != 0),
            accepted.eq(elements.valid & elements.ready),
            left.eq(updated.valid & updated.ready),
        ]
        m.d.sync += room.eq(room - accepted + left)
        beat = Signal.like(elements.payload)
        m.d.sync += beat.eq(elements.payload)

        # Update: word generators answer in the cycle after their step, when the element is there.
        enters = [delay(m, accepted, stage * self.depth, f"enters_{stage}") for stage in range(STAGES)]
        scalars = self._scalars(m, platform)
        result = Signal.like(updated.payload)
        for index in range(self.lanes):
            lane = place(m, platform, f"lane_{index}", UpdateLane, self.accumulator, self.depth, self.sr_adder)
            m.d.comb += [getattr(lane, name).eq(scalar) for name, scalar in scalars.items()]
            m.d.comb += [
                lane.weight.eq(beat.weights[index]),
                lane.velocity.eq(beat.velocities[index]),
                lane.gradient.eq(beat.gradients[index]),
                result.weights[index].eq(lane.new_weight),
                result.velocities[index].eq(lane.new_velocity),
            ]
            if self.accumulator.rounding.stochastic:
                numbers = [UPDATE_GENERATORS + stage * self.lanes + index for stage in range(STAGES)]
                seeds = [seed_of(self.seed, number) for number in numbers]
                m.d.comb += [seed.eq(constant) for seed, constant in zip(lane.seeds, seeds, strict=True)]
                m.d.comb += [
                    lane.step.eq(Cat(enters)),
                    lane.reseed.eq(Cat(addressed(self.reseeding, number) for number in numbers)),
                    lane.state.eq(self.reseeding.state),
                ]

        # Leave: sums have one NaN, and whatever is NaN on the way is NaN in the weight.
        m.submodules.buffer = buffer = SyncFIFO(width=len(result.as_value()), depth=self.output_depth)
        m.d.comb += [
            result.last.eq(delay(m, beat.last, STAGES * self.depth, "last")),
            result.nan.eq(Cat(weight == fmt.nan_code for weight in result.weights).any()),
            buffer.w_data.eq(result),
            buffer.w_en.eq(delay(m, accepted, STAGES * self.depth + 1, "leaves")),
            updated.payload.eq(buffer.r_data),
            updated.valid.eq(buffer.r_rdy),
            buffer.r_en.eq(updated.ready),
        ]
        return m

    def _scalars(self, m: Module, platform: object) -> dict[str, data.View]:
        """The unpacked scalars; the rate is negative, for weights go down the gradient."""
        fmt = self.accumulator.format
        signs = {"decay": 0, "momentum": 0, "rate": fmt.sign_mask}
        scalars = {}
        for name, sign in signs.items():
            decoder = place(m, platform, f"{name}_decoder", Decoder, (fmt,))
            m.d.comb += decoder.code.eq(getattr(self, name) ^ sign)
            scalars[name] = decoder.operand
        return scalars
