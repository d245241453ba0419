"""What an installed wheel can do, in fresh environments and in folders that have nothing to do with this one."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT

pytestmark = pytest.mark.slow

PACKAGES = {"export", "tapkernels", "tapsdk", "training"}
CLIP = ROOT / "examples" / "demo" / "clip.mp4"
SHADOWS = ("export", "training", "onnx", "torch")
"""Names of ours, and of what we import, that a user's folder may have for things of their own."""

WHERE = f"import importlib, json; print(json.dumps([importlib.import_module(p).__file__ for p in {sorted(PACKAGES)}]))"

UNKNOWN_PRECISION = ("tapir", "--target", "onnx", "--precision", "fp8")
"""To export: precisions are looked at after everything was imported, and before work that takes minutes."""


class Environment:
    """A virtual environment. What runs there sees nothing of the one that the tests run in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        venv.create(folder, with_pip=True, symlinks=os.name != "nt")
        scheme = "venv" if "venv" in sysconfig.get_scheme_names() else sysconfig.get_default_scheme()
        paths = sysconfig.get_paths(scheme, vars={"base": str(folder), "platbase": str(folder)})
        self.scripts, self.packages = Path(paths["scripts"]), Path(paths["purelib"])

    def run(self, command: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
        program, *first = command.split()
        hidden = ("PYTHON", "VIRTUAL_ENV", "COVERAGE")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        return subprocess.run(
            [self.scripts / program, *first, *map(str, arguments)],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )

    def install(self, *what: object) -> subprocess.CompletedProcess[str]:
        return self.run("python -m pip install --quiet --disable-pip-version-check", *what, cwd=self.folder)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once, with what is here to build it, else with what pip can fetch."""
    folder = tmp_path_factory.mktemp("wheel")
    here = all(importlib.util.find_spec(name) for name in ("nanobind", "scikit_build_core"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(ROOT)]
    built = subprocess.run(
        [*command, *(["--no-build-isolation"] if here else [])], capture_output=True, text=True, check=False
    )
    if built.returncode and not here and "No matching distribution" in built.stderr:
        pytest.skip("pip finds no scikit-build-core to build the wheel with")
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """What `pip install` gives without extras."""
    environment = Environment(tmp_path_factory.mktemp("base"))
    installed = environment.install(wheel)
    if "No matching distribution" in installed.stderr:
        pytest.skip(f"pip cannot fetch the dependencies: {installed.stderr.splitlines()[-1]}")
    assert installed.returncode == 0, installed.stderr
    return environment


@pytest.fixture(scope="session")
def with_export(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel, and after it the packages of the Python that runs the tests, in place of fetching PyTorch again."""
    for package in ("torch", "onnx", "onnxscript", "safetensors", "cv2"):
        pytest.importorskip(package, reason=f"needs {package}: pip install 'tapsdk[export-onnx]'")
    environment = Environment(tmp_path_factory.mktemp("export"))
    installed = environment.install("--no-deps", wheel)
    assert installed.returncode == 0, installed.stderr
    # Only the folders: the .pth files in them, such as that of an editable installation, do not count there.
    folders = dict.fromkeys(sysconfig.get_path(kind) for kind in ("purelib", "platlib"))
    (environment.packages / "more.pth").write_text("".join(f"{folder}\n" for folder in folders), encoding="utf-8")
    return environment


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


@pytest.fixture
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder of somebody whose own "packages", or "modules", have names that we use. None of them can be imported."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in SHADOWS:
        path = folder / name / "__init__.py" if request.param == "packages" else folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"raise AssertionError('this {name} is somebody else\\'s')\n", encoding="utf-8")
    return folder


def assert_all_was_imported(result: subprocess.CompletedProcess[str]) -> None:
    assert result.returncode == 1
    assert result.stderr == "error: unknown precision 'fp8' for onnx; allowed: fp32, fp16, int8\n"


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_it_holds_every_file_of_the_packages_and_the_compiled_module(wheel: Path) -> None:
    sources = {"tapkernels": ROOT / "bindings" / "tapkernels", **{p: ROOT / p for p in PACKAGES - {"tapkernels"}}}
    kinds = {".py", ".pyi", ".typed", ".onnx", ".json", ".npz", ".toml", ".html", ".gz", ".safetensors"}
    expected = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in sources.items()
        for path in folder.rglob("*")
        if path.suffix in kinds
    }
    found = {name for name in names(wheel) if ".dist-info/" not in name}
    (compiled,) = found - expected
    assert expected <= found
    assert compiled.startswith("tapkernels/_ext.")
    assert {"training/weights/tapir-tiny.safetensors", "training/configs/tapir-tiny.toml", "tapsdk/py.typed"} <= found
    assert wheel.stat().st_size < 12e6


def test_it_holds_nothing_else(wheel: Path) -> None:
    assert {name.split("/")[0] for name in names(wheel) if ".dist-info/" not in name} == PACKAGES


def test_it_tracks_in_an_empty_folder(base: Environment, empty: Path) -> None:
    result = base.run("tapsdk track", CLIP, "--grid", 3, "-o", "out.mp4", "--save", "out.npz", "--quiet", cwd=empty)
    assert (result.returncode, result.stderr) == (0, "")
    assert sorted(path.name for path in empty.iterdir()) == ["out.mp4", "out.npz"]


@pytest.mark.parametrize("command", ["tapsdk", "python -m tapsdk", "python -I -m tapsdk"])
def test_it_says_what_export_needs(base: Environment, empty: Path, command: str) -> None:
    result = base.run(f"{command} export", "tapir", "--target", "onnx", cwd=empty)
    assert (result.returncode, result.stdout) == (2, "")
    (message,) = result.stderr.splitlines()
    assert message.endswith("(No module named 'torch'); run: pip install 'tapsdk[export-onnx]'")
    assert list(empty.iterdir()) == []


def test_it_says_what_training_needs(base: Environment, empty: Path) -> None:
    result = base.run("python -m training", "evaluate", cwd=empty)
    assert (result.returncode, result.stdout) == (2, "")
    (message,) = result.stderr.splitlines()
    assert message.endswith("; run: pip install 'tapsdk[train]'")


def test_what_runs_is_the_wheel_s(with_export: Environment, empty: Path) -> None:
    result = with_export.run("python -I -c", WHERE, cwd=empty)
    assert result.returncode == 0, result.stderr
    files = [Path(file) for file in json.loads(result.stdout)]
    assert all(file.is_relative_to(with_export.packages) for file in files), files


def test_it_exports_in_an_empty_folder_and_tracks_with_the_artifact(with_export: Environment, empty: Path) -> None:
    exported = with_export.run("tapsdk export", "tapir", "--target", "onnx", cwd=empty)
    assert exported.returncode == 0, exported.stderr
    assert exported.stdout.startswith(f"{Path('artifacts') / 'tapir-onnx'}: tapir/tiny, ")
    artifact = empty / "artifacts" / "tapir-onnx"
    assert (artifact / "manifest.json").is_file()
    options = ("--grid", 3, "--model", artifact, "--save", "out.npz", "--quiet")
    tracked = with_export.run("tapsdk track", CLIP, *options, cwd=empty)
    assert tracked.returncode == 0, tracked.stderr
    assert sorted(path.name for path in empty.iterdir()) == ["artifacts", "out.npz"]


@pytest.mark.parametrize("hostile", ["modules"], indirect=True)
def test_it_exports_beside_files_of_the_same_names(with_export: Environment, hostile: Path) -> None:
    before = {path.name for path in hostile.iterdir()}
    result = with_export.run("python -m tapsdk export", "tapir", "--target", "onnx", "-o", "exported", cwd=hostile)
    assert result.returncode == 0, result.stderr
    assert (hostile / "exported" / "manifest.json").is_file()
    assert {path.name for path in hostile.iterdir()} - {"__pycache__"} == {*before, "exported"}


@pytest.mark.parametrize("hostile", ["packages", "modules"], indirect=True)
@pytest.mark.parametrize("command", ["tapsdk export", "python -m tapsdk export", "python -I -m export"])
def test_it_imports_nothing_of_the_same_names(with_export: Environment, hostile: Path, command: str) -> None:
    assert_all_was_imported(with_export.run(command, *UNKNOWN_PRECISION, cwd=hostile))


def test_its_own_name_will_do_where_the_user_has_only_a_folder_of_it(with_export: Environment, empty: Path) -> None:
    (empty / "export").mkdir()
    (empty / "training.py").touch()
    assert_all_was_imported(with_export.run("python -m export", *UNKNOWN_PRECISION, cwd=empty))
