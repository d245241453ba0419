"""What the tools that check the source have to say: who imports whom, types, style."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

CPP = sorted(path for folder in ("kernels", "bindings", "tests") for path in (ROOT / folder).rglob("*.[ch]*"))
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
