"""GEMMs on an array's RTL whose streams never wait, at a hundred times the speed of `array_runs`: its bench is C++."""

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np
from numpy.typing import NDArray

from quaver.cosim.array_runs import GemmRun, patience
from quaver.cosim.simulator import SimulatorError, building, compile_program, translate
from quaver.cosim.tiles import Beats, assemble, beats, beats_by_part, sum_beats
from quaver.golden import Format, Machine
from quaver.hw.array import array_class
from quaver.hw.design import Design

_BENCH = Path(__file__).with_name("bench_flow.cpp")
_NUMBERS = np.dtype(np.int64)


class FlowingArray:
    """A running simulation of a machine's array that is given one GEMM after the other.

    It starts reset; from then on its random generators go on from GEMM to GEMM.

    Raises
    ------
    SimulatorError
        If Verilator or the compiler fails; later, if the array does not do what it should.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._folder = tempfile.TemporaryDirectory(prefix="quaver-")
        path = Path(self._folder.name)
        try:
            self._process = self._start(path)
        except SimulatorError:
            self._folder.cleanup()
            raise

    def _start(self, path: Path) -> subprocess.Popen[bytes]:
        design = Design()
        top = design.add(array_class(self.machine), self.machine)
        program = path / top
        with building(top):
            compile_program(translate(design.verilog(), top, path / "build", _BENCH), program)
        one = np.zeros((1, 1), np.int64)
        widths = [port.shape[1] for port in beats(self.machine, one, one)]
        self._sum_bytes = -(-self.machine.outer.format.bits * self.machine.columns // 8)
        arguments = [str(number) for number in (*widths, self._sum_bytes, patience(self.machine))]
        self._errors = path / "errors"
        with self._errors.open("wb") as errors:
            pipe = subprocess.PIPE
            return subprocess.Popen([str(program), *arguments], stdin=pipe, stdout=pipe, stderr=errors)

    def reset(self) -> None:
        """Reset the machine, and with it every random generator."""
        self._ask([], 0, keep=False, reset=True)

    def gemm(self, a: NDArray, b: NDArray, a_format: Format, b_format: Format) -> GemmRun:
        """Run the GEMM of codes a (M, K) and b (K, N)."""
        machine, (m, k), n = self.machine, a.shape, b.shape[1]
        choices = machine.a_formats.index(a_format), machine.b_formats.index(b_format)
        frames = ((*part, 1) for part in beats_by_part(machine, a, b, *choices))
        cycles, sums = self._ask(frames, sum_beats(machine, m, n), keep=True)
        return GemmRun(assemble(machine, sums, m, k, n), cycles)

    def pass_over(self, m: int, k: int, n: int, times: int) -> None:
        """Run a small GEMM of zeros of this shape `times` times, for what it makes the generators do."""
        a, b = np.zeros((m, k), np.int64), np.zeros((k, n), np.int64)
        self._ask([(*beats(self.machine, a, b), times)], times * sum_beats(self.machine, m, n), keep=False)

    def _ask(
        self, frames: Iterable[tuple[Beats, Beats, int]], sums: int, *, keep: bool, reset: bool = False
    ) -> tuple[int, Beats]:
        """Cycles, and beats of sums where they are to `keep`: the protocol is told in the bench."""
        request, answer = self._process.stdin, self._process.stdout
        assert request is not None and answer is not None
        try:
            _send(request, reset, sums, keep)
            for weights, activations, times in frames:
                _send(request, len(weights), len(activations), times)
                request.write(weights.tobytes() + activations.tobytes())
            _send(request, 0, 0, 0)
            request.flush()
        except BrokenPipeError:
            pass  # it has ended, and its answer is missing
        head = answer.read(_NUMBERS.itemsize)
        body = answer.read(sums * self._sum_bytes * keep)
        if len(head) < _NUMBERS.itemsize or len(body) < sums * self._sum_bytes * keep:
            self._process.wait()
            words = self._errors.read_text(encoding="utf-8", errors="replace").strip()
            raise SimulatorError(f"{_BENCH.stem} failed with status {self._process.returncode}\n{words}")
        return int(np.frombuffer(head, _NUMBERS)[0]), np.frombuffer(body, np.uint8).reshape(-1, self._sum_bytes)

    def close(self) -> None:
        """End the simulation and remove what was built."""
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()

    def __enter__(self) -> "FlowingArray":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _send(request: IO[bytes], *numbers: int) -> None:
    request.write(np.array(numbers, _NUMBERS).tobytes())
