"""`Tracks.export`: which format, and what it needs."""

import re

import pytest

from tapsdk.errors import SaveError
from tapsdk.interchange.formats import FORMATS
from tests.support import ROOT
from tests.tapsdk.interchange.made import SIZE, awkward

PLAIN = [name for name in FORMATS if name not in ("parquet", "rerun")]  # what needs no package
TELLING = {name: row.suffix for name, row in FORMATS.items() if row.telling}


@pytest.mark.parametrize("name", PLAIN)
def test_a_format_that_is_named_takes_any_path(tmp_path, name):
    awkward().export(tmp_path / "tracks of a video.dat", name, size=SIZE)
    awkward().export(tmp_path / f"other{FORMATS[name].suffix}", name, size=SIZE)
    first, second = (
        (tmp_path / file).read_bytes() for file in ("tracks of a video.dat", f"other{FORMATS[name].suffix}")
    )
    assert first == second
    assert b"nan" not in first.lower() or name == "colmap"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"other{FORMATS[name].suffix}", "tracks of a video.dat"]


def test_suffixes_that_tell_the_format_are_of_one_each():
    assert set(TELLING.values()) == {".parquet", ".nk", ".db", ".rrd"}
    assert len(set(TELLING.values())) == len(TELLING)


def test_a_suffix_in_capitals_tells_the_same(tmp_path):
    awkward().export(tmp_path / "tracks.NK", size=SIZE)
    assert (tmp_path / "tracks.NK").read_text().startswith("Tracker4 {")


@pytest.mark.parametrize("file", ["tracks.json", "tracks.xml", "tracks.txt", "tracks"])
def test_a_suffix_that_many_formats_have_asks_for_a_name(tmp_path, file):
    with pytest.raises(SaveError, match="name one of parquet, nuke, after-effects, colmap, coco, cvat, rerun"):
        awkward().export(tmp_path / file, size=SIZE)


def test_an_unknown_format_lists_those_there_are(tmp_path):
    with pytest.raises(SaveError, match="no format is called 'blender'; there are parquet, nuke"):
        awkward().export(tmp_path / "tracks.nk", "blender", size=SIZE)


@pytest.mark.parametrize("name", [name for name in FORMATS if "size" in FORMATS[name].needs])
def test_what_needs_a_size_asks_for_it(tmp_path, name):
    with pytest.raises(SaveError, match=rf"{name} needs the size of the frames; give size=\(height, width\)"):
        awkward().export(tmp_path / "tracks.x", name)
    assert not list(tmp_path.iterdir())


def test_what_needs_a_rate_asks_for_it(tmp_path):
    tracks = awkward()
    object.__setattr__(tracks, "fps", None)
    with pytest.raises(SaveError, match="after-effects needs the frames per second; give fps=25"):
        tracks.export(tmp_path / "tracks.txt", "after-effects", size=SIZE)
    tracks.export(tmp_path / "tracks.nk", size=SIZE)


@pytest.mark.parametrize(
    ("scene", "complaint"),
    [
        ({"size": (0, 240)}, "two whole numbers from 1"),
        ({"size": (150.5, 240)}, "two whole numbers from 1"),
        ({"size": (150, 240, 3)}, "two whole numbers from 1"),
        ({"size": 150}, "two whole numbers from 1"),
        ({"size": (float("nan"), float("inf"))}, "two whole numbers from 1"),
        ({"size": SIZE, "fps": 0}, "a number above 0"),
        ({"size": SIZE, "fps": float("nan")}, "a number above 0"),
        ({"size": SIZE, "fps": "fast"}, "a number above 0"),
        ({"size": SIZE, "images": ["one.png"]}, "6 different names"),
        ({"size": SIZE, "images": ["same.png"] * 6}, "6 different names"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(tmp_path, scene, complaint):
    with pytest.raises(SaveError, match=complaint) as caught:
        awkward().export(tmp_path / "tracks.nk", **scene)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_fails_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    (tmp_path / "tracks.nk").write_text("older")
    monkeypatch.setattr("tapsdk.interchange.nuke._track", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        awkward().export(tmp_path / "tracks.nk", size=SIZE)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"]


def test_the_documentation_names_every_format():
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| (\.\w+)( \(named\))? \|", text, re.M)
    assert rows == [(name, row.suffix, "" if row.telling else " (named)") for name, row in FORMATS.items()]
