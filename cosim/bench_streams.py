"""Bench: GEMMs through the array's streams, with idle cycles and back-pressure as asked; sums and cycles recorded."""

import random

import cocotb
import numpy as np
from cocotb.handle import SimHandleBase
from numpy.typing import NDArray

from quaver.cosim.job import Cycle, load_job, reset, save_record, settle

TIMEOUT = 1000
"""Cycles without any transfer after which the array is taken to hang."""


class Source:
    """Offers beats on a stream; before each one it idles with probability `idle`.  What is offered stays offered."""

    def __init__(self, dut: SimHandleBase, name: str, rng: random.Random) -> None:
        self._payload = getattr(dut, f"{name}__payload")
        self._valid, self._ready = getattr(dut, f"{name}__valid"), getattr(dut, f"{name}__ready")
        self._rng = rng
        self._valid.value = 0
        self.load([], 0.0)

    def load(self, beats: list[int], idle: float) -> None:
        self._beats, self._idle, self.sent, self._offered = beats, idle, 0, False

    def drive(self) -> None:
        if not self._offered and self.sent < len(self._beats) and self._rng.random() >= self._idle:
            self._offered = True
            self._payload.value = self._beats[self.sent]
            self._valid.value = 1

    def sample(self) -> bool:
        """Whether a beat is accepted at the edge to come."""
        if not (self._offered and int(self._ready.value)):
            return False
        self.sent += 1
        self._offered = False
        return True

    def release(self) -> None:
        """After the edge: withdraw what was accepted."""
        if not self._offered:
            self._valid.value = 0


class Sink:
    """Takes beats from a stream; in each cycle it is not ready with probability `stall`.

    A beat that is offered must stay as it is until it is taken.
    """

    def __init__(self, dut: SimHandleBase, name: str, rng: random.Random) -> None:
        self._payload = getattr(dut, f"{name}__payload")
        self._valid, self._ready = getattr(dut, f"{name}__valid"), getattr(dut, f"{name}__ready")
        self._bytes = (len(self._payload) + 7) // 8
        self._rng = rng
        self._ready.value = 0
        self.received = bytearray()
        self.count = 0
        self.stall = 0.0
        self._waiting: int | None = None

    def drive(self) -> None:
        self._takes = self._rng.random() >= self.stall
        self._ready.value = self._takes

    def sample(self) -> bool:
        offered = int(self._payload.value) if int(self._valid.value) else None
        assert self._waiting in (None, offered), f"beat {self.count} of sums changed before it was taken"
        self._waiting = None if self._takes else offered
        if offered is None or not self._takes:
            return False
        self.received += offered.to_bytes(self._bytes, "little")
        self.count += 1
        return True

    @property
    def offered(self) -> bool:
        """Whether a beat waits to be taken."""
        return bool(int(self._valid.value))

    @property
    def beats(self) -> NDArray[np.uint8]:
        return np.frombuffer(bytes(self.received), np.uint8).reshape(-1, self._bytes)


@cocotb.test()
async def gemms(dut: SimHandleBase) -> None:
    """Stream GEMM after GEMM; each begins on an idle machine, freshly reset where the job says so.

    The job has `weights` and `activations`, shape (beats, bytes), for all GEMMs, and one entry per GEMM of
    `weight_beats`, `activation_beats`, `sum_beats`, `weights_idle`, `activations_idle`, `stall` and `reset`.
    """
    job = load_job()
    rng = random.Random(int(job["seed"]))
    weights, activations, sink = Source(dut, "weights", rng), Source(dut, "activations", rng), Sink(dut, "sums", rng)
    all_weights, all_activations = _beats(job["weights"]), _beats(job["activations"])
    cycles = []
    for index, expected in enumerate(job["sum_beats"].tolist()):
        if job["reset"][index]:
            await reset(dut)
            assert not sink.offered, "reset leaves a beat of sums"
        weight_count, activation_count = int(job["weight_beats"][index]), int(job["activation_beats"][index])
        weights.load(all_weights[:weight_count], float(job["weights_idle"][index]))
        activations.load(all_activations[:activation_count], float(job["activations_idle"][index]))
        del all_weights[:weight_count], all_activations[:activation_count]
        sink.stall = float(job["stall"][index])

        first, last, quiet, cycle = None, 0, 0, 0
        target = sink.count + expected
        # Behind the last beat the bench waits on, ready, for beats that should not come.
        while sink.count < target or quiet < int(job["afterwards"]):
            async with Cycle(dut):
                weights.drive()
                activations.drive()
                sink.drive()
                await settle()
                accepted = weights.sample() | activations.sample()
                arrived = sink.sample()
            weights.release()
            activations.release()
            if accepted and first is None:
                first = cycle
            if arrived:
                last = cycle
            if sink.count >= target:
                sink.stall = 0.0
            quiet = 0 if accepted or arrived else quiet + 1
            cycle += 1
            assert quiet < TIMEOUT, f"GEMM {index} hangs with {target - sink.count} beats of sums to come"
        assert sink.count == target, f"GEMM {index} gave {sink.count - target} beats of sums too many"
        assert (weights.sent, activations.sent) == (weight_count, activation_count), f"GEMM {index} left beats behind"
        assert first is not None
        cycles.append(last - first + 1)
    save_record(sums=sink.beats, cycles=cycles)


def _beats(rows: NDArray[np.uint8]) -> list[int]:
    return [int.from_bytes(row.tobytes(), "little") for row in rows]
