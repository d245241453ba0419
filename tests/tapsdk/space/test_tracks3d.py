"""Tracks in space: their files, their plot, and the page that shows them."""

import base64
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from tapsdk import Tracks3D
from tapsdk.errors import SaveError, TracksError
from tests.examples.browser import CHROMIUM

POSES = np.tile(np.eye(4), (5, 1, 1))
POSES[:, 2, 3] = np.linspace(0, 1, 5)


def made(points=3, frames=5, **fields):
    rng = np.random.default_rng(0)
    xyz = rng.uniform((-1, -1, 2), (1, 1, 4), (points, frames, 3)).astype(np.float32)
    visible = np.ones((points, frames), bool)
    visible[:1, 2:3] = False
    xyz[~visible] = np.nan
    return Tracks3D(xyz, visible, visible * np.float32(0.75), **fields)


def same(one, other):
    np.testing.assert_array_equal(one.xyz, other.xyz)
    np.testing.assert_array_equal(one.visible, other.visible)
    np.testing.assert_array_equal(one.confidence, other.confidence)
    assert one.frame == other.frame
    for name in ("queries", "times", "camera_to_world"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("points", "frames"), [(3, 5), (1, 5), (0, 5)])
def test_npz_holds_everything(tmp_path, points, frames):
    queries = np.zeros((points, 3))
    tracks = made(
        points, frames, queries=queries, fps=25, times=np.arange(5) / 25, frame="world", camera_to_world=POSES
    )
    tracks.save(tmp_path / "tracks.npz")
    found = Tracks3D.load(tmp_path / "tracks.npz")
    same(found, tracks)
    assert found.fps == 25


@pytest.mark.parametrize("frame", ["camera", "world"])
def test_csv_names_the_frame_of_reference(tmp_path, frame):
    tracks = made(frame=frame, times=np.arange(5) / 25)
    tracks.save(tmp_path / "tracks.csv")
    head, first = (tmp_path / "tracks.csv").read_text().splitlines()[:2]
    assert head == f"point,frame,x_{frame},y_{frame},z_{frame},visible,confidence,time"
    assert first.startswith("0,0,") and first.endswith(",1,0.75,0.0")
    same(Tracks3D.load(tmp_path / "tracks.csv"), tracks)


def test_ply_holds_visible_points_and_lines_that_break_where_they_are_not(tmp_path):
    tracks = made(2)
    tracks.save(tmp_path / "tracks.ply", colors=[[255, 0, 0], [0, 0, 255]])
    head, body = (tmp_path / "tracks.ply").read_bytes().split(b"end_header\n")
    assert b"format binary_little_endian 1.0" in head
    assert b"element vertex 9\n" in head and b"element edge 6\n" in head  # of 4 and 5 points; 0-1, 3-4 and four more
    colours = [(name, "u1") for name in ("red", "green", "blue")]
    place = [(name, "<f4") for name in "xyz"]
    vertex = np.dtype([*place, *colours, ("confidence", "<f4"), ("point", "<i4"), ("frame", "<i4")])
    edge = np.dtype([("from", "<i4"), ("to", "<i4"), *colours])
    vertices = np.frombuffer(body[: 9 * vertex.itemsize], vertex)
    edges = np.frombuffer(body[9 * vertex.itemsize :], edge)
    assert vertices["frame"].tolist() == [0, 1, 3, 4, 0, 1, 2, 3, 4]
    np.testing.assert_array_equal(np.stack([vertices[a] for a in "xyz"], 1)[4:], tracks.xyz[1])
    assert (vertices["red"][:4] == 255).all() and (vertices["blue"][4:] == 255).all()
    assert edges["from"].tolist() == [0, 2, 4, 5, 6, 7] and edges["to"].tolist() == [1, 3, 5, 6, 7, 8]


def test_rerun_is_asked_for_where_it_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(SaveError, match=r"pip install 'tapsdk\[rerun\]'"):
        made().save(tmp_path / "tracks.rrd")
    assert not list(tmp_path.iterdir())


def test_a_recording_for_rerun(tmp_path):
    pytest.importorskip("rerun", reason="needs rerun: pip install 'tapsdk[rerun]'")
    made(frame="world", camera_to_world=POSES, times=np.arange(5) / 25).save(tmp_path / "tracks.rrd")
    assert (tmp_path / "tracks.rrd").read_bytes()[:3] == b"RRF"


@pytest.mark.parametrize("name", ["tracks.json", "tracks", "tracks.obj"])
def test_an_unknown_suffix_lists_the_known_ones(tmp_path, name):
    with pytest.raises(SaveError, match=r"\.npz, \.csv, \.ply, \.rrd"):
        made().save(tmp_path / name)
    with pytest.raises(TracksError, match=r"\.npz, \.csv"):
        Tracks3D.load(tmp_path / name)
    for write, suffix in ((made().plot, ".svg"), (made().view, ".html")):
        with pytest.raises(SaveError, match=rf"an \{suffix} file"):
            write(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_files_of_another_kind_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", xy=np.zeros(3))
    (tmp_path / "other.csv").write_text("point,frame,x,y,visible,confidence\n")
    (tmp_path / "text.npz").write_text("text")
    for name in ("other.npz", "other.csv", "text.npz", "none.npz"):
        with pytest.raises(TracksError, match=name):
            Tracks3D.load(tmp_path / name)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"xyz": np.zeros((3, 5, 2))}, r"xyz must have shape \[N, T, 3\]"),
        ({"visible": np.ones((3, 4))}, r"visible must have shape \[3, 5\] to fit xyz"),
        ({"confidence": None}, r"confidence must have shape \[3, 5\]"),
        ({"camera_to_world": np.eye(4)}, r"camera_to_world must have shape \[5, 4, 4\]"),
        ({"times": [0]}, r"times must have shape \[5\]"),
        ({"frame": "body"}, "frame must be one of camera, world, got 'body'"),
        ({"fps": "25"}, "fps must be a number"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(fields, says):
    usual = {"xyz": np.zeros((3, 5, 3)), "visible": np.ones((3, 5)), "confidence": np.ones((3, 5))}
    with pytest.raises(TracksError, match=says):
        Tracks3D(**{**usual, **fields})


def test_colours_are_one_a_point(tmp_path):
    with pytest.raises(TracksError, match=r"colors must have shape \[3, 3\] to fit xyz"):
        made().save(tmp_path / "tracks.ply", colors=[[1, 2, 3]])


@pytest.mark.parametrize("tracks", [made(), made(0), made(frame="world", camera_to_world=POSES), made(2, 0)])
def test_a_plot_is_an_svg_of_two_views_with_a_scale(tmp_path, tracks):
    tracks.plot(tmp_path / "plot.svg", title="A <cat> & a dog")
    text = (tmp_path / "plot.svg").read_text()
    assert text.count("<circle") == 2 * (len(tracks) * bool(tracks.num_frames) + 1)
    assert re.search(r">(1|2|5|0\.\d+) m<", text) and "from above" in text and "A &lt;cat&gt; &amp; a dog" in text
    assert "nan" not in text


def test_everything_goes_to_a_store_and_comes_back(in_memory):
    tracks = made()
    tracks.save(in_memory / "tracks.npz")
    same(Tracks3D.load(in_memory / "tracks.npz"), tracks)
    tracks.plot(in_memory / "plot.svg")
    tracks.view(in_memory / "scene.html")
    assert (in_memory / "plot.svg").is_file() and (in_memory / "scene.html").is_file()


# The page


def data_of(path):
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.S)
    return json.loads(text)


def test_the_page_holds_the_tracks_and_needs_nothing_from_elsewhere(tmp_path):
    tracks = made(frame="world", camera_to_world=POSES, fps=25)
    tracks.view(tmp_path / "scene.html", title="</title><script>alert(1)</script>")
    text, data = (tmp_path / "scene.html").read_text(), data_of(tmp_path / "scene.html")
    found = np.frombuffer(base64.b64decode(data["xyz"]), "<f4").reshape(3, 5, 3)
    np.testing.assert_array_equal(found, tracks.xyz)
    assert (data["points"], data["frames"], data["frame"], len(data["poses"])) == (3, 5, "world", 5)
    assert "<script>alert" not in text and "default-src 'none'" in text
    assert not re.search(r"""(src|href)=["']?(?!data:)|https?://|url\(|@import|fetch\(""", text)


DEEDS = """
const said = [by("what").textContent, by("time").textContent];
const picture = () => { paint(); return canvas.toDataURL(); };
const pictures = [picture()];
const press = (type, x, y, more) => {
  const usual = { type: "pointer" + type, pointerId: 1, clientX: x, clientY: y, buttons: 1, shiftKey: false };
  canvas["onpointer" + type]({ ...usual, ...more });
};
press("down", 100, 100); press("move", 160, 130); press("up", 160, 130); pictures.push(picture());
press("down", 100, 100); press("move", 150, 100, { shiftKey: true }); press("up", 150, 100); pictures.push(picture());
press("down", 100, 100); press("down", 200, 100, { pointerId: 2 }); press("move", 260, 100, { pointerId: 2 });
press("up", 260, 100, { pointerId: 2 }); press("up", 100, 100); pictures.push(picture());
canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: 300, cancelable: true })); pictures.push(picture());
by("home").click(); said.push(picture() === pictures[0]);
by("frame").value = 2; by("frame").oninput({ target: by("frame") }); pictures.push(picture());
said.push(by("about").textContent.split(";")[0]);
for (const id of ["camera", "grid"]) { by(id).checked = false; pictures.push(picture()); }
by("colours").selectedIndex = 1; pictures.push(picture());
by("trail").value = 0; pictures.push(picture());
by("sure").value = 90; pictures.push(picture());
by("sure").value = 0;
const spot = projector()(at(1, 2)), area = canvas.getBoundingClientRect();
press("down", spot[0] + area.left, spot[1] + area.top); press("up", spot[0] + area.left, spot[1] + area.top);
paint(); said.push(single, by("about").textContent);
document.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
by("play").click();
said.push(by("time").textContent, by("play").textContent, pictures.length, new Set(pictures).size);
document.body.textContent = `said ${JSON.stringify(said)}`;
"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_in_a_browser_it_turns_moves_zooms_and_plays(tmp_path):
    """Every deed changes the picture, and the start view is what it was."""
    tracks = made(frame="world", camera_to_world=POSES, times=np.arange(5) / 10)
    page = tmp_path / "scene.html"
    tracks.view(page)
    text = page.read_text()
    assert text.count("show(time);\n</script>") == 1
    page.write_text(
        text.replace("show(time);\n</script>", f"show(time);\nsetTimeout(() => {{{DEEDS}}}, 100);\n</script>")
    )
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True).stdout
    (said,) = re.findall(r"said (\[.*\])</body>", dom)
    what, first, home, about, single, place, time, play, count, different = json.loads(said)
    assert what == "3 points, 5 frames, in the frame of the world" and first == "frame 4, 0.40 s"
    assert home and about.startswith("2 points seen, grid of ")
    x, y, z = tracks.xyz[1, 2].astype(float)
    assert single == 1 and place == f"point 1: {x:.3f}, {y:.3f}, {z:.3f} m"
    assert time == "frame 3, 0.30 s" and play == "Pause"
    assert count == different == 11
