"""What the tools that check the source have to say: who imports whom, types, style."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tapsdk
from tests.support import ROOT

CPP = sorted(
    path
    for folder in ("kernels", "bindings", "tests")
    for path in (ROOT / folder).rglob("*.[ch]*")
    if "third_party" not in path.parts
)
CPP = [path for path in CPP if path.suffix in (".cc", ".h")]


def check(tool, *arguments):
    """Runs a tool of this Python environment, else of the system; skips where neither has it."""
    path = shutil.which(tool, path=Path(sys.executable).parent) or shutil.which(tool)
    if path is None:
        pytest.skip(f"needs {tool}: pip install 'tapsdk[test]'")
    command = [path, *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_imports_run_one_way():
    check("lint-imports")


def test_the_hall_of_tapsdk_stays_small():
    """What grows beyond it gets a room."""
    assert len(list((ROOT / "tapsdk").glob("*.py"))) <= 12


@pytest.mark.parametrize("path", sorted((ROOT / "examples").rglob("*.py")), ids=lambda path: path.name)
def test_examples_use_nothing_but_what_is_public(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    deep = [ast.unparse(node) for node in ast.walk(tree) if _is_deep_import(node)]
    assert not deep, "import tapsdk, and use the names of tapsdk.__all__"
    used = {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "tapsdk"
    }
    assert used <= set(tapsdk.__all__)


def _is_deep_import(node):
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
    names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
    return any(name.startswith("tapsdk.") or (isinstance(node, ast.ImportFrom) and name == "tapsdk") for name in names)


def test_types():
    """Of tapsdk and tapkernels, as pyproject.toml says."""
    check("mypy")


def test_python_is_clean():
    check("ruff", "check")


def test_python_is_formatted():
    check("ruff", "format", "--check")


def test_cpp_is_formatted():
    assert CPP
    check("clang-format", "--dry-run", "--Werror", *CPP)
