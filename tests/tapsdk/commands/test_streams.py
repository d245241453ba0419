"""Commands, and the library, where stdin, stdout or stderr is closed, or nobody reads what they say."""

import os
import subprocess
import sys

import numpy as np
import pytest

from tapsdk.tracks import Tracks
from tapsdk.video import open_frames
from tests.support import child_environment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")

CLOSED = {
    "no stdout": ">&-",
    "no stderr": "2>&-",
    "neither": ">&- 2>&-",
    "nor stdin": "<&- >&- 2>&-",
}
ONE_BACKEND = "from tapsdk.backends import BACKENDS\nfor name in set(BACKENDS) - {'onnxruntime'}: del BACKENDS[name]\n"
MAIN = "import sys\nfrom tapsdk.commands.main import main\nsys.exit(main(sys.argv[1:]))"


def run(code, *arguments, closing="", **streams):
    command = ["sh", "-c", f'exec "$0" "$@" {closing}', sys.executable, "-c", code, *map(str, arguments)]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **streams}
    return subprocess.run(command, env=child_environment(), check=False, timeout=120, **streams)


def track(folder, video, *arguments):
    points = ("--points", "20,20;40,30", "--backend", "onnxruntime:fused")
    return ("track", video, *points, "-o", folder / "out.mp4", "--save", folder / "out.npz", *arguments)


def check_tracked(folder, frames):
    assert sorted(path.name for path in folder.iterdir()) == ["out.mp4", "out.npz"]
    assert Tracks.load(folder / "out.npz").num_frames == frames
    assert sum(1 for _ in open_frames(folder / "out.mp4")) == frames


@pytest.mark.parametrize("closing", CLOSED.values(), ids=CLOSED)
def test_track_writes_what_it_should_and_nothing_else_into_it(closing, tmp_path, video, video_file):
    assert run(MAIN, *track(tmp_path, video_file), closing=closing).returncode == 0
    check_tracked(tmp_path, len(video))


@pytest.mark.parametrize("closing", CLOSED.values(), ids=CLOSED)
@pytest.mark.parametrize("arguments", [["models"], ["--version"], ["track", "--help"]], ids=" ".join)
def test_what_is_only_said_is_done(closing, arguments):
    assert run(MAIN, *arguments, closing=closing).returncode == 0


@pytest.mark.parametrize("closing", CLOSED.values(), ids=CLOSED)
@pytest.mark.parametrize(
    "arguments, status", [(["dance"], 2), (["track", "none.mp4", "--grid", "2", "-o", "out.mp4"], 1)], ids=["2", "1"]
)
def test_errors_have_their_status(closing, arguments, status, tmp_path):
    assert run(MAIN, *arguments, closing=f"{closing} && cd {tmp_path}").returncode == status


def test_doctor_looks_at_everything():
    assert run(ONE_BACKEND + MAIN, "doctor", closing="<&- >&- 2>&-").returncode == 0


@pytest.fixture
def nobody():
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        yield pipe


def test_track_needs_nobody_who_reads_its_warnings(nobody, tmp_path, video, video_file):
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video_file.read_bytes()[:-100])
    folder = tmp_path / "out"
    folder.mkdir()
    # Points that look normalised, which is a warning.
    arguments = ("track", video_file, "--points", "0.2,0.3;0.5,0.6", "--backend", "onnxruntime:fused")
    done = run(MAIN, *arguments, "-o", folder / "out.mp4", "--save", folder / "out.npz", stderr=nobody)
    assert done.returncode == 0
    check_tracked(folder, len(video))


def test_an_error_that_nobody_reads_has_its_status(nobody):
    assert run(MAIN, "track", "none.mp4", "--grid", "2", "-o", "out.mp4", stderr=nobody).returncode == 1
    assert run(MAIN, "dance", stderr=nobody).returncode == 2


def test_what_nobody_reads_is_no_error_worth_words(nobody):
    done = run(MAIN, "models", stdout=nobody, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"")


LIBRARY = """
import sys, logging
import numpy as np
CHANGE
import tapsdk
if not getattr(sys.stderr, "closed", False):  # which Python's logging minds
    logging.getLogger("tapsdk").warning("odd")
frames = np.load(sys.argv[1])
tracks = tapsdk.track(frames, [[20, 30]], backend="onnxruntime:fused", progress=True)
tracks.save(sys.argv[2])
"""


@pytest.mark.parametrize(
    "change, closing",
    [("sys.stdout = sys.stderr = None", ""), ("sys.stderr.close()", ""), ("pass", ""), ("pass", ">&- 2>&-")],
    ids=["none", "closed", "gone", "closed from the start"],
)
def test_the_library_needs_no_streams(nobody, tmp_path, video, change, closing):
    np.save(tmp_path / "frames.npy", video)
    files = tmp_path / "frames.npy", tmp_path / "tracks.npz"
    # Python itself ends with 120 where it cannot write what was said.
    assert run(LIBRARY.replace("CHANGE", change), *files, closing=closing, stderr=nobody).returncode in (0, 120)
    assert Tracks.load(tmp_path / "tracks.npz").num_frames == len(video)
