"""A page that shows trackers side by side, and what it does in a browser."""

import base64
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="the generator and Lucas-Kanade need OpenCV: pip install '.[train]'")
pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")

from tests.examples.browser import CHROMIUM
from tests.training.evaluation.test_evaluate import badja as badja
from tests.training.evaluation.test_predictors import drifting_noise
from training.__main__ import main
from training.evaluation.compare import sources, write_page
from training.evaluation.errors import EvaluationError
from training.evaluation.predictors import standing_still
from training.evaluation.scorers import SCORERS


def data_of(path: Path) -> dict:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.S)
    return json.loads(text)


@pytest.fixture
def mine(badja: Path, tmp_path: Path) -> Path:
    """Predictions for the noise: right, but for a point that is no number and one that is called hidden."""
    video = drifting_noise()
    xy, visible = video.xy.copy(), video.visible.copy()
    xy[0, 3] = np.nan
    visible[1, 2] = False
    np.savez(tmp_path / "mine.npz", **{"noise/tracks": xy, "noise/visible": visible})
    return tmp_path / "mine.npz"


def test_predictions_and_models_are_on_one_page(badja: Path, mine: Path, tmp_path: Path, capsys) -> None:
    page = tmp_path / "page.html"
    assert main(["compare", f"Mine={mine}", "--model", "still", "--dataset", str(badja), "-o", str(page)]) == 0
    assert capsys.readouterr().out == f"{page}: Mine, still\n"
    (clip,) = data_of(page)["clips"]
    assert (clip["name"], clip["size"], clip["queries"]) == ("noise", [128, 96], [0, 0, 0])
    assert len(clip["frames"]) == 6 and base64.b64decode(clip["frames"][0])[:3] == b"\xff\xd8\xff"
    right, still = clip["trackers"]
    assert [right["name"], still["name"]] == ["Mine", "still"]
    assert right["xy"][0] == [400, 300, 420, 300, 440, 300, None, None, 480, 300, 500, 300]
    assert right["visible"] == ["111111", "110111", "111111"]
    assert still["metrics"]["AJ"] < right["metrics"]["AJ"] and still["metrics"]["AJ_RD"] is None
    assert clip["truth"]["visible"] == ["111011"] * 3


def test_the_page_needs_nothing_from_elsewhere(badja: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert main(["compare", "--model", "still", "--dataset", str(badja), "-o", str(page)]) == 0
    text = page.read_text()
    assert "default-src 'none'" in text
    assert not re.search(r"""(src|href)=["']?(?!data:)|https?://|url\(|@import|fetch\(""", text)


def test_names_cannot_get_out_of_the_data(tmp_path: Path) -> None:
    video = drifting_noise()
    name = "</script><script>alert(1)</script>"
    write_page(tmp_path / "page.html", [video], {name: standing_still}, SCORERS["tapvid"], "first")
    assert "<script>alert" not in (tmp_path / "page.html").read_text()
    assert data_of(tmp_path / "page.html")["clips"][0]["trackers"][0]["name"] == name


def test_several_clips_or_one_by_its_name(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    arguments = ["compare", "--model", "still", "--resolution", "32x32", "-o", str(page)]
    assert main([*arguments, "--videos", "2"]) == 0
    assert [clip["name"] for clip in data_of(page)["clips"]] == ["synthetic-000", "synthetic-001"]
    assert main([*arguments, "--video", "synthetic-001"]) == 0
    assert [clip["name"] for clip in data_of(page)["clips"]] == ["synthetic-001"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no tracker to show"),
        (["still", "--model", "still"], "two trackers are called still; give them names: NAME=still"),
        (["a=none.npz"], "none.npz cannot be read"),
        (["still", "--video", "goat"], "there is no video 'goat'; there are 1: noise"),
        (["still", "--videos", "0"], "--videos must be at least 1, got 0"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    badja: Path, tmp_path: Path, capsys, arguments: list[str], says: str
) -> None:
    page = tmp_path / "page.html"
    assert main(["compare", *arguments, "--dataset", str(badja), "-o", str(page)]) == 1
    assert says in capsys.readouterr().err
    assert not page.exists()


def test_a_name_may_be_anything_before_the_first_sign() -> None:
    assert sources(["A b=x/y=z.npz", "still"], ["tapir"]) == {"A b": "x/y=z.npz", "still": "still", "tapir": "tapir"}
    with pytest.raises(EvaluationError, match="no tracker"):
        sources([], [])


CLICKS = """
const said = [document.querySelectorAll("figure canvas").length, document.querySelector("figcaption").textContent];
const shown = () => [...document.querySelectorAll("canvas")].map(canvas => canvas.toDataURL()).join();
const pictures = new Set([shown()]);
by("frame").value = 4; by("frame").oninput({ target: by("frame") }); pictures.add(shown());
for (const id of ["truth", "errors"]) { by(id).checked = true; by(id).oninput(); pictures.add(shown()); }
by("colours").selectedIndex = 1; by("colours").oninput(); pictures.add(shown());
document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true })); pictures.add(shown());
const box = panels[0].canvas.getBoundingClientRect();
const there = { clientX: box.left + box.width * 50 / 128, clientY: box.top + box.height * 30 / 96 };
pick(panels[0].track, panels[0].canvas, there);
pictures.add(shown());
by("play").click();
const found = [0, 3, 4].map(t => share(clip.trackers[0], t));
said.push(by("time").textContent, single, pictures.size, by("play").textContent, found);
document.body.textContent = `said ${JSON.stringify(said)}`;
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_it_shows_what_is_asked_for(badja: Path, mine: Path, tmp_path: Path) -> None:
    """Every button and click changes the picture."""
    page = tmp_path / "page.html"
    assert main(["compare", f"Mine={mine}", "--model", "still", "--dataset", str(badja), "-o", str(page)]) == 0
    text = page.read_text().replace("open(0);", f"open(0);\nsetTimeout(() => {{{CLICKS}}}, 100);")
    page.write_text(text)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout
    (said,) = re.findall(r"said (\[.*\])</body>", dom)
    panels, caption, time, single, pictures, play, found = json.loads(said)
    assert panels == 2
    assert re.match(r"Mine ?AJ \d", caption)
    assert time == "frame 5" and single == 0 and pictures == 7 and play == "Pause"
    assert found == [None, None, 1]  # the query's frame, one of which nothing is known, and one where all are right
