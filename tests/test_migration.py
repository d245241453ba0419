"""What docs/migration.md says is true: its blocks run, its commands and names exist, its links lead somewhere."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import numpy as np
import pytest

from tapsdk.backends import BACKENDS
from tapsdk.video import VideoWriter
from tests.support import ROOT, moving_texture
from tests.test_readme import arguments, parser_of

TEXT = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```", "", TEXT, flags=re.M | re.S)
SPANS = sorted(set(re.findall(r"`([^`]+)`", PROSE)))
NAMES = sorted({name for span in SPANS for name in re.findall(r"^(?:tapsdk|training)(?:\.\w+)+", span)})
LINES = [line for block in re.findall(r"^```sh\n(.*?)^```", TEXT, re.M | re.S) for line in block.splitlines()]
COMMANDS = [*LINES, *(span for span in SPANS if arguments(span))]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    frames = moving_texture(frames=8, height=150, width=240)
    with VideoWriter("video.mp4", 10, frames.shape[1:3]) as writer:
        for frame in frames:
            writer.write(frame)
    return tmp_path


@pytest.mark.slow  # five of them track a video
def test_the_blocks_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one engine, as measuring all of them takes longer than the rest."""
    pytest.importorskip("torch")
    for name in set(BACKENDS) - {"onnxruntime"}:
        monkeypatch.delitem(BACKENDS, name)
    seen: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", TEXT, re.M | re.S):
        exec(block, seen)
    assert seen["outputs"]["tracks"].shape == (1, 1, 3, 2)
    assert seen["pred_tracks"].shape == (1, 8, 2, 2) and seen["pred_visibility"].shape == (1, 8, 2)
    np.testing.assert_array_equal(seen["pred_tracks"][0, [0, 5], [0, 1]], [[160, 120], [80, 60]])
    assert seen["online"].xy.shape == (4, 1, 2)
    assert sorted(path.name for path in folder.iterdir()) == ["mine.npz", "out.mp4", "video.mp4"]


@pytest.mark.parametrize("name", NAMES)
def test_the_names_exist(name: str) -> None:
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError as error:
            if not name.startswith(str(error.name)):
                pytest.skip(f"needs {error.name}")
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return
    raise AssertionError(f"there is no {name}")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_are_accepted(command: str) -> None:
    """Those that are whole as they stand; of the others the subcommand exists."""
    pytest.importorskip("torch")
    name, options = arguments(command)
    if command in LINES or name.endswith("export"):
        parser_of(name).parse_args(options)
        return
    commands = next(action.choices for action in parser_of(name)._actions if action.choices)
    assert options[0] in commands
    known = {option for action in commands[options[0]]._actions for option in action.option_strings}
    assert {option for option in options if option.startswith("--")} <= known


def test_the_files_exist() -> None:
    paths = [span for span in SPANS if re.fullmatch(r"examples/[\w./-]+", span)]
    assert paths and all((ROOT / path).exists() for path in paths)


def test_the_links_lead_somewhere() -> None:
    headings = {re.sub(r"[^\w -]", "", text.lower()).replace(" ", "-") for text in re.findall(r"^#+ (.*)$", TEXT, re.M)}
    for target in re.findall(r"\]\(([^):]+)\)", TEXT):
        assert target[1:] in headings if target.startswith("#") else (ROOT / "docs" / target).exists(), target
