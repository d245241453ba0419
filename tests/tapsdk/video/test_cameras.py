"""Cameras, with FFmpeg's generated pictures where there is no device."""

import sys

import av
import pytest

from tapsdk.errors import FramesError
from tapsdk.video import cameras, open_frames

needs_pictures = pytest.mark.skipif("lavfi" not in av.formats_available, reason="this FFmpeg generates no pictures")


@pytest.fixture
def camera(monkeypatch):
    """Camera 7: 48 x 32 pixels, 10 frames a second, without an end."""
    monkeypatch.setitem(cameras.DRIVERS, sys.platform, ("lavfi", "testsrc=size=48x32:rate=10:duration={}00"))
    return "7"


@needs_pictures
def test_a_camera_goes_by_its_number(camera):
    with open_frames(camera) as source:
        assert source.size == (32, 48)
        assert source.read_once
        assert not source.may_be_read_ahead
        assert source.known_frames is None
        frames = [next(source) for _ in range(5)]
        assert source.times.tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    assert len({frame.tobytes() for frame in frames}) > 1


@needs_pictures
def test_a_file_or_folder_of_that_name_comes_first(camera, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / camera).mkdir()
    with pytest.raises(FramesError, match="no images"):
        open_frames(camera)


@pytest.mark.skipif(sys.platform != "linux", reason="of Linux's drivers")
def test_a_camera_that_there_is_not():
    with pytest.raises(FramesError, match=r"^97: no such file or folder, and no camera of this number: camera 97: "):
        open_frames("97")
    with pytest.raises(FramesError, match=r"^/dev/video97: no such file or folder"):
        open_frames("/dev/video97")


def test_a_system_whose_cameras_have_no_numbers_is_told_so(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(FramesError, match="cameras are read by their number on Linux and macOS alone"):
        cameras.open_camera("0")


@pytest.mark.parametrize(
    "wanted, options",
    [
        ((None, None), {}),
        (((480, 640), 15.0), {"video_size": "640x480", "framerate": "15"}),
        ((None, 29.97), {"framerate": "29.97"}),
    ],
)
def test_what_a_camera_is_asked_for(camera, monkeypatch, wanted, options):
    asked = []
    monkeypatch.setattr(cameras, "open_video", lambda *origin, opening, **others: asked.append(opening.options))
    cameras.open_camera(camera, *wanted)
    assert asked == [options]
