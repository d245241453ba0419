"""The gallery: every picture is there, small enough, and of the code that stands beside it."""

import json
import shutil
import sys
from itertools import pairwise

import numpy as np
import pytest

from tapsdk.video import VideoWriter, open_frames
from tests.support import ROOT, moving_texture

PICTURES = ROOT / "docs" / "gallery"
PAGE = (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
MOST_BYTES = 2_500_000


@pytest.fixture
def gallery():
    for package in ("cv2", "PIL", "torch"):
        pytest.importorskip(package, reason="needs what makes the pictures: pip install '.[test]'")
    from tools import gallery

    return gallery


def test_every_section_has_a_picture_and_the_code_that_made_it(gallery):
    found = gallery.sections(PAGE)
    assert len(found) == PAGE.count("\n## ") >= 10
    assert all(section.blocks for section in found)
    assert sorted(path.name for path in PICTURES.iterdir()) == sorted(["code.json", *(each.picture for each in found)])
    sums = json.loads((PICTURES / "code.json").read_text(encoding="utf-8"))
    assert sums == {section.name: section.sum for section in found}, "run: make gallery"


def test_the_pictures_are_small():
    assert sum(path.stat().st_size for path in PICTURES.iterdir()) < MOST_BYTES


def test_a_section_without_a_picture_is_none(gallery):
    page = "# T\n\n## One\n\n![a](gallery/one.webp)\n\n```sh\ntapsdk models\n```\n\n## Two\n\ntext\n"
    assert gallery.sections(page) == [gallery.Section("One", "one.webp", [("sh", "tapsdk models\n")])]


def test_other_code_has_another_sum(gallery):
    one, other = (gallery.Section("One", "one.webp", [("sh", text)]) for text in ("a\n", "b\n"))
    assert one.sum != other.sum
    assert one.sum == gallery.Section("Else", "else.webp", one.blocks).sum


@pytest.mark.parametrize("size", [(48, 80), (49, 35)])
def test_an_unsteady_hand_leaves_sizes_and_shakes(gallery, size):
    still = np.repeat(moving_texture(1, *size), 5, axis=0)
    shaken = np.stack(gallery.shaken(still))
    assert shaken.shape == still.shape
    assert all((a != b).any() for a, b in pairwise(shaken))


def test_what_code_leaves_becomes_a_small_picture(gallery, tmp_path, monkeypatch):
    from PIL import Image

    frames = moving_texture(8, 48, 80)
    with VideoWriter(tmp_path / "video.mp4", 24, frames.shape[1:3]) as writer:
        for frame in frames:
            writer.write(frame)
    monkeypatch.setattr(gallery, "WIDTHS", {1: 40})
    copied = "import shutil; shutil.copy('video.mp4', 'copied.mp4')"
    section = gallery.Section("Copied", "copied.webp", [("python", copied)])
    gallery.run(section, tmp_path)
    gallery.picture_of(section, tmp_path, tmp_path / "copied.webp")
    with Image.open(tmp_path / "copied.webp") as picture:  # FFmpeg does not read these
        assert picture.size == (40, 24)
        assert picture.n_frames == 4
    drawn = gallery.Section("Drawn", "drawn.svg", [("sh", "python -c \"open('drawn.svg', 'w').write('<svg/>')\"")])
    gallery.run(drawn, tmp_path)
    gallery.picture_of(drawn, tmp_path, tmp_path / "out.svg")
    assert (tmp_path / "out.svg").read_text() == "<svg/>"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32" or shutil.which("bash") is None, reason="needs a POSIX shell")
def test_a_page_is_photographed_when_it_is_ready(gallery, tmp_path, monkeypatch):
    from tools import chromium

    if chromium.CHROMIUM is None:
        pytest.skip("needs chromium: apt install chromium")
    monkeypatch.setattr(gallery, "SECONDS", 0)
    page = "<body style='margin: 0; background: red'><script>let tries = 0</script></body>"
    (tmp_path / "page.html").write_text(page)
    until = "document.body.style.background = location.search.slice(1), ++tries > 2"
    gallery.photograph(tmp_path / "page", tmp_path / "taken.png", gallery.Page(200, "?blue", until))
    with open_frames(tmp_path / "taken.png") as source:
        assert next(source)[5, 5].tolist() == [0, 0, 255]
    with chromium.Browser((100, 100)) as browser, pytest.raises(chromium.BrowserError, match="no is not defined"):
        browser.run("no.thing")
