"""The build's steps that pyproject.toml cannot say: an empty folder to build in, and the compiled engine."""

import hashlib
import shutil
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

NATIVE = Path("golden/native")


class CleanBuild(build_py):
    """Build into an empty folder: modules that an earlier build left there would be shipped again."""

    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


FILES = sorted(NATIVE.glob("*.cpp")) + sorted(NATIVE.glob("*.h"))
# By this a test tells whether the installed engine is that of these sources.
DIGEST = hashlib.sha256(b"".join(path.read_bytes() for path in FILES)).hexdigest()

ENGINE = Extension(
    "quaver.golden._engine",
    sources=[str(path) for path in FILES if path.suffix == ".cpp"],
    depends=[str(path) for path in FILES if path.suffix == ".h"],
    language="c++",
    # Kernels switch the rounding mode; vectors are passed between inlined functions only, so their ABI is no matter.
    extra_compile_args=["-std=c++17", "-O3", "-g0", "-frounding-math", "-fvisibility=hidden", "-Wno-psabi"],
    extra_link_args=["-pthread"],
    define_macros=[("Py_LIMITED_API", "0x030B0000"), ("SOURCES", f'"{DIGEST}"')],
    py_limited_api=True,
    optional=True,  # without a compiler the definition in NumPy does the same work, slowly
)

setup(
    cmdclass={"build_py": CleanBuild},
    ext_modules=[ENGINE],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
