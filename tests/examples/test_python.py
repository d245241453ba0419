"""The small programs do what they say, on videos whose motion is known."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tapsdk import Tracks
from tapsdk.video import VideoWriter, open_frames
from tests.support import ROOT, child_environment, moving_texture

EXAMPLES = ROOT / "examples"


def run(program: str, *arguments: object) -> None:
    subprocess.run([sys.executable, EXAMPLES / program, *map(str, arguments)], check=True, capture_output=True)


def write(path: Path, frames: NDArray[np.uint8]) -> Path:
    with VideoWriter(path, 10, frames.shape[1:3]) as writer:
        for frame in frames:
            writer.write(frame)
    return path


def read(path: Path) -> NDArray[np.float32]:
    with open_frames(path) as source:
        return np.stack(list(source)).astype(np.float32)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """8 dark frames of 192 x 128 pixels, in which everything moves 2 pixels to the right and 1 down a frame."""
    return write(tmp_path / "video.mp4", moving_texture(8, 128, 192, step=(2, 1)) // 2)


@pytest.mark.slow
def test_a_stabilized_video_stands_still(video: Path, tmp_path: Path):
    run("stabilize.py", video, tmp_path / "steady.mp4")
    before, after = read(video), read(tmp_path / "steady.mp4")
    assert after.shape == before.shape
    middle = (slice(20, -20), slice(30, -30))
    moved, held = (abs(frames[-1] - frames[0])[middle].mean() for frames in (before, after))
    assert held < moved / 4
    assert (after[-1, :, -10:] < 16).mean() > 0.5, "what lies beyond the frame is black"


@pytest.mark.slow
def test_a_pinned_picture_moves_along(video: Path, tmp_path: Path):
    picture = write(tmp_path / "pink.mp4", np.full((1, 32, 32, 3), (255, 0, 255), np.uint8))
    run("corner_pin.py", video, picture, "60,40;120,40;120,80;60,80", tmp_path / "pinned.mp4")
    for t, frame in enumerate(read(tmp_path / "pinned.mp4")):
        red, green, blue = frame.transpose(2, 0, 1)
        y, x = np.nonzero((red > 180) & (blue > 180) & (green < 90))
        # The rectangle's middle, and its area.
        assert np.allclose([x.mean() + 0.5, y.mean() + 0.5], [90 + 2 * t, 60 + t], atol=2), f"frame {t}"
        assert abs(len(x) / (60 * 40) - 1) < 0.1, f"frame {t}"


@pytest.mark.slow
def test_a_track_goes_through_every_click_and_follows_the_picture_between(video: Path, tmp_path: Path):
    (tmp_path / "clicks.csv").write_text("t,x,y\n6,72.5,46.25\n1,62,41\n")  # the second half a pixel off
    run("annotate.py", video, tmp_path / "clicks.csv", tmp_path / "track.csv")
    track = Tracks.load(tmp_path / "track.csv")
    assert track.xy.shape == (1, 8, 2) and track.visible.all()
    np.testing.assert_array_equal(track.xy[0, [1, 6]], [[62, 41], [72.5, 46.25]])
    np.testing.assert_allclose(track.xy[0], np.float32([60, 40]) + np.outer(np.arange(8), [2, 1]), atol=1)


def test_tracks_from_clicks_are_bent_to_meet():
    """Two tracks that drift apart from clicks in frames 1 and 4 of 6; outside of them each is on its own."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        from annotate import join
    finally:
        sys.path.remove(str(EXAMPLES))
    t, xy = np.array([1, 4]), np.float32([[10, 0], [40, 0]])
    path = np.stack([np.stack([11 * np.arange(6), np.zeros(6)], 1), np.full((6, 2), (40, 0))]).astype(np.float32)
    path[0, :, 0] -= 1
    sure = np.float32([[1] * 6, [0] * 6])
    joined = join(Tracks(path, sure > 0.5, sure), t, xy)
    np.testing.assert_allclose(joined.xy[0, :, 0], [-1, 10, 20, 30, 40, 40], atol=1e-3)
    assert joined.visible[0].tolist() == [True] * 5 + [False]
    single = join(Tracks(path[:1], sure[:1] > 0.5, sure[:1]), t[:1], xy[:1])
    np.testing.assert_allclose(single.xy[0, :, 0], [-1, 10, 21, 32, 43, 54], atol=1e-3)


@pytest.mark.parametrize(
    "program, arguments",
    [
        ("annotate.py", ["{video}", "{video}", "{same}"]),
        ("stabilize.py", ["{video}", "{same}"]),
        ("corner_pin.py", ["{video}", "{video}", "60,40;120,40;120,80;60,80", "{same}"]),
        ("corner_pin.py", ["missing.mp4", "{video}", "60,40;120,40;120,80;60,80", "{same}"]),
        ("points_to_csv.py", ["{video}", "{video}", "{same}"]),
        ("points_to_csv.py", ["missing.mp4", "{video}", "{same}"]),
        ("live.py", ["{video}", "{same}"]),
        ("demo.py", ["{same}"]),
    ],
)
def test_an_example_never_replaces_what_it_reads(video: Path, tmp_path: Path, program: str, arguments: list[str]):
    """By another name than it is read by; the demo's output has a fixed one."""
    (tmp_path / "out").mkdir()
    same = tmp_path / "out" / "demo.mp4"
    os.link(video, same)
    before = video.read_bytes()
    command = [sys.executable, EXAMPLES / program, *(text.format(video=video, same=same) for text in arguments)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=child_environment())
    assert done.returncode == 1
    assert "it would replace an input" in done.stderr.splitlines()[-1]
    assert video.read_bytes() == same.read_bytes() == before
    assert os.path.samefile(video, same)


@pytest.mark.parametrize("name", ["pipe", "-", "/dev/stdin"])
@pytest.mark.parametrize(
    "program, arguments",
    [
        ("stabilize.py", ["out.mp4"]),
        ("corner_pin.py", ["{picture}", "60,40;120,40;120,80;60,80", "out.mp4"]),
        ("demo.py", []),
    ],
)
def test_an_example_that_reads_its_video_twice_refuses_what_can_be_read_once(
    video: Path, tmp_path: Path, program: str, arguments: list[str], name: str
):
    """At once, though nobody writes into the pipe."""
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, EXAMPLES / program, name, *(text.format(picture=video) for text in arguments)]
    env = child_environment()
    done = subprocess.run(
        command, cwd=tmp_path, input="", capture_output=True, text=True, env=env, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"{name} can be read once, and this program reads its video more than once")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.mp4").exists()
    assert not (tmp_path / "out").exists()


def test_every_example_is_listed():
    listed = set(re.findall(r"\]\(([^)]+)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    found = {path.name for path in EXAMPLES.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert found - {"__pycache__"} <= {target.split("/")[0] for target in listed}
    assert all((EXAMPLES / target).exists() for target in listed if "://" not in target)


PROGRAMS = sorted(path.name for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_example_explains_itself(program: str):
    done = subprocess.run([sys.executable, EXAMPLES / program, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage: " in done.stdout


@pytest.mark.parametrize(
    "program, arguments",
    [
        ("demo.py", ["none.mp4"]),
        ("points_to_csv.py", ["none.mp4", "none.csv", "out.csv"]),
        ("annotate.py", ["none.mp4", "none.csv", "out.csv"]),
        ("live.py", ["none.mp4", "out.mp4"]),
        ("stabilize.py", ["none.mp4", "out.mp4"]),
        ("corner_pin.py", ["none.mp4", "none.png", "0,0;1,0;1,1;0,1", "out.mp4"]),
    ],
)
def test_what_is_not_there_is_one_sentence(program: str, arguments: list[str], tmp_path: Path):
    command = [sys.executable, EXAMPLES / program, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=child_environment(), check=False)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")
