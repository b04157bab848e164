"""What is shipped and what is installed: the rooms' modules, all of them, and nothing else."""

import shutil
import subprocess
import sys
import tarfile
import tomllib
from hashlib import sha256
from importlib import import_module
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
NATIVE = Path("golden/native")
ENGINE = "quaver/golden/_engine.abi3.so"
ROOMS = ("golden", "host", "hw", "sim", "synth", "train", "cosim", "cli")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def committed() -> list[Path]:
    """The project's files, relative to its root: git's, or where there is no git all that it would not ignore."""
    if (ROOT / ".git").exists():
        names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        return [Path(name) for name in names.splitlines() if (ROOT / name).is_file()]
    ours = [*map(ROOT.joinpath, (*ROOMS, "tests", "docs", "bench", "examples")), ROOT]
    files = [file for folder in ours for file in (folder.rglob("*") if folder != ROOT else folder.iterdir())]
    return [file.relative_to(ROOT) for file in files if file.is_file() and "__pycache__" not in file.parts]


def modules() -> set[str]:
    """The rooms' modules and their markers of being typed, as the wheel names them."""
    files = [path for path in committed() if path.parts[0] in ROOMS]
    return {f"quaver/{path.as_posix()}" for path in files if path.suffix in (".py", ".pyi") or path.name == "py.typed"}


def pages() -> set[str]:
    """What reports are made of, as the wheel names it."""
    return {f"quaver/{path.as_posix()}" for path in committed() if path.parent == Path("cli/page")}


def benches() -> set[str]:
    """Benches that are compiled with what they drive, likewise."""
    return {
        f"quaver/{path.as_posix()}" for path in committed() if path.parent == Path("cosim") and path.suffix == ".cpp"
    }


def test_there_is_something_to_compare():
    assert len(pages()) > 3 and benches()
    for room in ROOMS:
        assert f"quaver/{room}/__init__.py" in modules()
        assert f"quaver/{room}/py.typed" in modules()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from the committed files beside what an earlier build left behind."""
    tree = tmp_path_factory.mktemp("tree")
    for path in committed():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tree / path)
    stale = tree / "build" / "lib" / "quaver" / "hw"
    stale.mkdir(parents=True)
    (stale / "deleted.py").touch()
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "--no-index",
        "-w",
        "out",
        ".",
    ]
    run = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (built,) = (tree / "out").glob("*.whl")
    return built


def test_wheel_holds_the_rooms_and_nothing_else(wheel: Path):
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert names == modules() | pages() | benches() | {ENGINE}
        for name in names - {ENGINE}:
            assert archive.read(name) == (ROOT / name.removeprefix("quaver/")).read_bytes()
        notes = {name.partition("/")[2] for name in archive.namelist()} - {n.partition("/")[2] for n in names}
    assert {"METADATA", "entry_points.txt", "licenses/LICENSE"} <= notes


def test_sources_are_complete(tmp_path: Path, wheel: Path):
    """A source distribution can be built from: the engine's headers are in it too."""
    command = [sys.executable, "-c", "from setuptools import build_meta as b; import sys; b.build_sdist(sys.argv[1])"]
    run = subprocess.run([*command, str(tmp_path)], cwd=wheel.parents[1], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    native = {path.as_posix() for path in committed() if path.parent == NATIVE}
    assert len(native) > 5
    assert (
        native | {"setup.py", "pyproject.toml"} | {name.removeprefix("quaver/") for name in pages() | benches()}
        <= names
    )


def test_installed_engine_is_that_of_these_sources():
    """It is there at all, too: without it the definition would be tested against itself."""
    files = [*sorted((ROOT / NATIVE).glob("*.cpp")), *sorted((ROOT / NATIVE).glob("*.h"))]
    assert sha256(b"".join(p.read_bytes() for p in files)).hexdigest() == import_module("quaver.golden._engine").SOURCES


def test_installed_modules_are_those_of_this_tree():
    """Else the tests would judge what somebody installed some other day."""
    stale = []
    for name in sorted(modules()):
        if name.endswith(".py"):
            module = name.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
            spec = find_spec(module)
            source = ROOT / name.removeprefix("quaver/")
            if not (spec and spec.origin and Path(spec.origin).read_bytes() == source.read_bytes()):
                stale.append(module)
    assert not stale, "the installed copy is not this tree's: install it again"


def test_no_module_comes_to_life_twice():
    """From the root of the tree, where `import hw` would find a second copy of the room."""
    names = [name.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for name in modules()]
    # A bench is imported inside the simulator only.
    names = sorted(name for name in names if not name.endswith(("typed", ".pyi")) and ".bench_" not in name)
    code = f"""if True:
        import importlib, pathlib, sys
        for name in {names!r}:
            importlib.import_module(name)
        rooms = [pathlib.Path(room).resolve() for room in {ROOMS!r}]
        for name, module in sys.modules.items():
            file = getattr(module, "__file__", None)
            if file and pathlib.Path(file).resolve().parent in rooms:
                assert name.startswith("quaver."), name
        assert not set({ROOMS!r}) & set(sys.modules)
        print(sum(name.startswith("quaver.") for name in sys.modules))
    """
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) == len(names)


def test_every_room_is_packaged():
    tool = PROJECT["tool"]["setuptools"]
    assert tool["package-dir"] == {f"quaver.{room}": room for room in ROOMS}
    assert tool["packages"] == PROJECT["tool"]["mypy"]["packages"] == [f"quaver.{room}" for room in ROOMS]
    with_code = {path.parts[0] for path in committed() if path.name == "__init__.py" and len(path.parts) == 2}
    assert with_code == set(ROOMS)


def test_constraints_pin_what_is_required():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    names = []
    for pin in pins:
        name, equal, version = pin.partition("==")
        assert equal and version and not set(" @/;") & set(pin), pin
        names.append(canonical(name))
    project = PROJECT["project"]
    wanted = [line for extra in project["optional-dependencies"].values() for line in extra] + project["dependencies"]
    required = {canonical(name_of(line)) for line in wanted} - {"quaver"}
    assert required <= set(names)
    assert len(names) == len(set(names))


def test_every_dependency_has_its_reason():
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    project = PROJECT["project"]
    wanted = [line for extra in project["optional-dependencies"].values() for line in extra] + project["dependencies"]
    for requirement in wanted:
        if not requirement.startswith("quaver["):
            lines = [line for line in text if line.strip().startswith(f'"{requirement}",')]
            assert len(lines) == 1 and len(lines[0].partition("#")[2].strip()) > 3, requirement


def test_version_and_licence():
    installed = distribution("quaver")
    assert installed.version == PROJECT["project"]["version"]
    assert f"## [{installed.version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert installed.metadata["License-Expression"] == "Apache-2.0"


def name_of(requirement: str) -> str:
    """The distribution's name at the beginning of a requirement."""
    end = next((i for i, c in enumerate(requirement) if c in "<>=!~[; "), len(requirement))
    return requirement[:end]


def canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
