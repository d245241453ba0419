"""What the README and the documentation say is true: the tables, the examples, the commands, the files, the links."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
import types
from argparse import ArgumentParser
from pathlib import Path

import pytest

import tapsdk
from tapsdk.artifact.registry import OFFICIAL
from tapsdk.backends import EngineInfo
from tapsdk.video import VideoWriter
from tests.support import ROOT, moving_texture, needs_torch
from training.models.registry import CONFIGS

OWN_TESTS = ("docs/migration.md", "docs/fine_tuning.md")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAPERS = {
    name: page.read_text(encoding="utf-8") for page in PAGES if (name := str(page.relative_to(ROOT))) not in OWN_TESTS
}
PARSERS = {
    "tapsdk": "tapsdk.commands.main",
    "tapsdk export": "export.__main__",
    "python -m tapsdk": "tapsdk.commands.main",
    "python -m export": "export.__main__",
    "python -m training": "training.__main__",
    "python -m benchmarks": "benchmarks.__main__",
}
"""The commands of this project, and the module whose `_parser` reads their arguments."""


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language in the papers."""
    return [b for text in PAPERS.values() for b in re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)]


def spans() -> set[str]:
    """What stands between single backticks in the papers."""
    prose = [re.sub(r"^```.*?^```", "", text, flags=re.M | re.S) for text in PAPERS.values()]
    return {" ".join(span.split()) for text in prose for span in re.findall(r"`([^`]+)`", text)}


def shell_lines() -> list[str]:
    """Every line of the shell blocks, without comments."""
    lines = [line.split(" #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


def arguments(command: str) -> tuple[str, list[str]] | None:
    """The entry of PARSERS that a command belongs to, and its arguments."""
    for name in sorted(PARSERS, key=len, reverse=True):
        if command.startswith(f"{name} "):
            return name, shlex.split(command[len(name) :].split(" | ")[0])
    return None


def parser_of(name: str) -> ArgumentParser:
    return importlib.import_module(PARSERS[name])._parser()


OURS = [line for line in shell_lines() if arguments(line)]
PROGRAMS = [line for line in shell_lines() if line.startswith("python examples/")]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of somebody who follows the README: with the files that it takes for granted."""
    monkeypatch.chdir(tmp_path)
    frames = moving_texture(frames=12, height=150, width=240)
    with VideoWriter("video.mp4", 10, frames.shape[1:3]) as writer:
        for frame in frames:
            writer.write(frame)
    Path("points.csv").write_text("t,x,y\n0,160,120\n11,80,60.5\n", encoding="utf-8")
    return tmp_path


@needs_torch
@pytest.mark.slow
def test_the_tables_are_those_of_the_code():
    # In a process of its own: other tests put models of their own into the tables.
    command = [sys.executable, "-m", "tools.doc_tables", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode == 2:
        pytest.skip(result.stderr.splitlines()[-1])
    assert result.returncode == 0, f"run: python -m tools.doc_tables\n{result.stderr}"


OWN_VIDEOS = ("docs/gallery.md", "docs/tapvid3d.md", "docs/three_dimensions.md")
"""Pages whose examples take files that `folder` does not have; what they show has tests where it lies."""
PYTHON = [name for name, text in PAPERS.items() if "```python" in text and name not in OWN_VIDEOS]


@pytest.mark.parametrize("name", PYTHON)
def test_the_python_examples_run(name: str, folder: Path):
    """Those of a page one after the other, as a reader would."""
    pytest.importorskip("pandas" if "to_dataframe()\n" in PAPERS[name] else "numpy")
    seen: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAPERS[name], re.M | re.S):
        exec(block, seen)
    assert len(seen["tracks"]) > 0


def test_the_first_example_gives_what_it_says(folder: Path):
    first = re.findall(r"^```python\n(.*?)^```", PAPERS["README.md"], re.M | re.S)[0]
    exec(first, {})
    tracks = tapsdk.Tracks.load("tracks.csv")
    assert tracks.xy.shape == (3, 12, 2)
    assert tracks.xy[2, 10].tolist() == [200, 90]
    with tapsdk.open_frames("tracked.mp4") as drawn:
        assert drawn.num_frames == 12


def test_what_is_public_is_named():
    (text,) = re.findall(
        r"`tapsdk.__all__` names what is public: (.*?)\. Everything", PAPERS["docs/versioning.md"], re.S
    )
    public = sorted(set(tapsdk.__all__) - {"__version__"})
    assert sorted(re.findall(r"`(\w+)`", text)) == public
    assert sorted(re.findall(r"^::: tapsdk\.(\w+)", PAPERS["docs/api.md"], re.M)) == public


@pytest.mark.slow
@pytest.mark.parametrize("command", PROGRAMS)
def test_the_programs_run(command: str, folder: Path):
    program, *options = shlex.split(command)[1:]
    if {"shaky.mp4", "poster.png"} & set(options):  # what the gallery takes for granted
        from tools import gallery

        gallery.prepare(folder)
    subprocess.run([sys.executable, ROOT / program, *options], check=True, capture_output=True, timeout=300)
    written = Path(options[-1])
    assert written.stat().st_size > 0
    if written.suffix == ".csv":
        assert tapsdk.Tracks.load(written).xy.shape == (2, 12, 2)


@pytest.fixture
def tables(monkeypatch):
    """The tables of a house with two targets, one of them in buckets, and two backends."""
    pytest.importorskip("torch")
    from tools import doc_tables

    stubs = {
        "paper": types.SimpleNamespace(format="paper", precisions={"fp32": 0.1, "int8": 1}, buckets=()),
        "stone": types.SimpleNamespace(format="stone", precisions={"fp16": 0.1}, buckets=(4, 16)),
    }
    monkeypatch.setattr(doc_tables, "TARGETS", {name: ("", f"export-{name}") for name in stubs})
    monkeypatch.setattr(doc_tables, "_target", stubs.get)
    monkeypatch.setattr(doc_tables, "CONFIGS", {"toy/a": None, "toy/b": None})
    reasons = {("toy/b", "stone"): "it is too long for stone"}
    monkeypatch.setattr(doc_tables, "why_not", lambda model, target: reasons.get((model, target)))
    rows = {
        "reader": EngineInfo("", "", "pip install reader", ("paper", "stone")),
        "mason": EngineInfo("", "", "pip install mason", ("stone",), ("darwin",)),
    }
    monkeypatch.setattr(doc_tables, "BACKENDS", rows)
    return doc_tables


def test_the_support_table_says_in_which_precision_or_why_not_and_what_runs_it(tables):
    assert tables.support_table() == [
        "| `--target` | `paper` | `stone` |",
        "| --- | --- | --- |",
        "| `toy/a` | fp32, int8 | fp16 |",
        "| `toy/b` | fp32, int8 | no (1) |",
        "| number of points | any | up to 16, or as many as `--points` says |",
        "| run by | `reader` | `reader`, `mason` |",
        "",
        "(1) it is too long for stone",
    ]


def test_the_other_tables_say_what_to_install(tables):
    assert tables.targets_table()[2:] == [
        '| `paper` | `pip install ".[export-paper]"` |',
        '| `stone` | `pip install ".[export-stone]"` |',
    ]
    assert tables.backends_table()[2:] == [
        "| `reader` | paper, stone | everywhere | `pip install reader` |",
        "| `mason` | stone | macOS | `pip install mason` |",
    ]


def test_a_table_is_written_between_its_marks_and_nowhere_else(tables):
    text = "before\n<!-- table: backends -->\nold\n<!-- end -->\nafter\n"
    fresh = tables.render(text)
    assert fresh.startswith("before\n<!-- table: backends -->\n\n| backend |")
    assert fresh.endswith("|\n\n<!-- end -->\nafter\n")
    assert "old" not in fresh
    assert tables.render(fresh) == fresh


def test_times_are_those_that_were_measured_and_marks_of_others_stay(tables, tmp_path, monkeypatch):
    page = "| toy/a, 64x64, 64 points, 1 thread | tapsdk, native plan | 12.6 | 1.00 |\n"
    page += "| toy/b, 64x64, 64 points, 2 threads | tapsdk, native plan | 7.0 | 1.00 |\n"
    (tmp_path / "performance.md").write_text(page, encoding="utf-8")
    monkeypatch.setattr(tables, "PERFORMANCE", tmp_path / "performance.md")
    text = "a <!-- ms: toy/a -->9<!-- end --> b <!-- ms: toy/b -->9<!-- end --> <!-- table: machine -->x<!-- end -->"
    fresh = "a <!-- ms: toy/a -->13<!-- end --> b <!-- ms: toy/b -->-<!-- end --> <!-- table: machine -->x<!-- end -->"
    assert tables.render(text) == fresh


@pytest.mark.parametrize("command", OURS)
def test_the_commands_are_accepted(command: str):
    name, options = arguments(command)
    if PARSERS[name].startswith("training"):
        pytest.importorskip("torch")
    parser_of(name).parse_args(options)


def test_commands_in_the_text_exist():
    found = [arguments(span) for span in spans()]
    for name, options in filter(None, found):
        if not re.fullmatch(r"[a-z]+", options[0]) or name.endswith("export"):
            continue  # a model, or an option
        commands = next(a.choices for a in parser_of(name)._actions if isinstance(a.choices, dict))
        assert options[0] in commands, f"{name} {options[0]}"


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("make ")])
def test_make_has_the_targets(line: str):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{line.split()[1]}:", makefile, re.M)


def test_the_files_exist():
    paths = {span for span in spans() if re.fullmatch(r"[\w.-]+(/[\w.-]*)+", span)}
    no_files = ("out/", "runs/", "PREDICTIONS/", *(f"{model.split('/')[0]}/" for model in [*CONFIGS, *OFFICIAL]))
    named = sorted(path for path in paths if not path.startswith(no_files))
    assert len(named) > 30
    assert not [path for path in named if not (ROOT / path).exists()]


def test_the_links_lead_somewhere():
    for name, text in PAPERS.items():
        for target in re.findall(r"\]\(([^)#:]+)[#)]", text):
            assert ((ROOT / name).parent / target).exists(), f"{name}: {target}"


def test_every_page_is_in_the_menu():
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert not [page.name for page in PAGES if page.parent.name == "docs" and f": {page.name}\n" not in menu]


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="https?://[^"]*\.(?:js|css|woff2?)"', page), "needs a network to be read"
