"""The notebooks run from their first cell to their last, and what is stored of them is worth looking at."""

from __future__ import annotations

import ast
import base64
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, child_environment, import_or_skip

nbformat = import_or_skip("nbformat", "notebooks")

NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
MOST_BYTES = 400_000
PICTURES = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff"}
MACHINE = re.compile(r"(?<![\w.])/(?:home|root|tmp|usr|opt|var|work|mnt|content|Users)/|[A-Z]:\\\\|site-packages")

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def outputs(path: Path) -> list[Any]:
    cells = nbformat.read(path, as_version=4).cells
    return [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]


def test_there_is_one_for_each_of_the_reference() -> None:
    assert len(NOTEBOOKS) == 10


@each
def test_it_is_valid_and_small(path: Path) -> None:
    nbformat.validate(nbformat.read(path, as_version=4))
    assert path.stat().st_size < MOST_BYTES


@each
def test_it_tells_a_story_that_begins_with_a_title_and_the_installation(path: Path) -> None:
    title, install, *_ = nbformat.read(path, as_version=4).cells
    assert title.cell_type == "markdown" and title.source.startswith("# ")
    (extras,) = re.findall(r"%pip install --quiet \"\.\./\.\.\[([\w,-]+)\]\"", install.source)
    known = re.findall(r"^([\w-]+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert set(extras.split(",")) <= set(known)


@each
def test_what_is_stored_was_run_in_order_and_without_an_error(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for output in outputs(path) if output.output_type == "error"]
    assert not [output for output in outputs(path) if output.get("name") == "stderr"]


@each
def test_pictures_are_stored(path: Path) -> None:
    stored = [
        base64.b64decode(output.data[kind]).startswith(start)
        for output in outputs(path)
        for kind, start in PICTURES.items()
        if kind in output.get("data", {})
    ]
    assert len(stored) >= 2 and all(stored)


@each
def test_nothing_stored_names_a_machine(path: Path) -> None:
    for output in outputs(path):
        texts = [output.get("text", ""), *(str(v) for k, v in output.get("data", {}).items() if k.startswith("text/"))]
        for text in texts:
            assert not MACHINE.search(re.sub(r"base64,[\w+/=]+", "", text))


@each
def test_it_is_listed(path: Path) -> None:
    assert f"(notebooks/{path.name})" in (ROOT / "examples" / "README.md").read_text(encoding="utf-8")


@each
def test_it_downloads_nothing(path: Path) -> None:
    """What fetches stands in text, for whoever wants it."""
    for cell in nbformat.read(path, as_version=4).cells[2:]:
        if cell.cell_type == "code":
            code = re.sub(r"^( *)%.*$", r"\1pass", cell.source, flags=re.M)
            words = [node.value for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
            assert not [word for word in words if isinstance(word, str) and re.search(r"\bfetch\b|://", word)]


@pytest.mark.slow
@each
def test_it_runs(path: Path, tmp_path: Path) -> None:
    for package in ("nbclient", "ipykernel", "matplotlib", "torch", "onnxscript", "cv2"):
        import_or_skip(package, "notebooks")
    command = [sys.executable, "-m", "tools.notebooks", path.stem, "-o", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=child_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / path.name).exists()


def test_a_notebook_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.notebooks", "nothing", "-o", str(tmp_path)],
        cwd=ROOT,
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if "No module named" in done.stderr:
        pytest.skip("needs nbclient: pip install 'tapsdk[notebooks]'")
    assert done.returncode == 2 and "there is no notebook nothing" in done.stderr
    assert not list(tmp_path.iterdir())
