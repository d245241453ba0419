"""Cameras and streams: opened by FFmpeg as devices and URLs, without a camera at hand."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import av
import numpy as np
import pytest

from tapsdk.errors import FramesError
from tapsdk.live import source as live_source
from tapsdk.live.origin import origin_of
from tapsdk.live.source import LiveSource
from tapsdk.video import cameras
from tapsdk.video.decoding import Opening, open_video
from tests.support import moving_texture

SECONDS = 20.0


@pytest.mark.parametrize(
    "source, is_camera, is_live",
    [
        ("0", True, True),
        ("12", True, True),
        ("/dev/video3", True, True),
        ("rtsp://user:secret@camera/1", False, True),
        ("http://camera/stream", False, True),
        ("video.mp4", False, False),
        ("-1", False, False),
        ("gs://bucket/video.mp4", False, False),
        ("-", False, False),
    ],
)
def test_what_is_a_camera_and_what_a_stream(source: str, is_camera: bool, is_live: bool):
    assert (cameras.is_camera(source), cameras.is_live(source)) == (is_camera, is_live)


def test_a_password_is_not_shown():
    assert origin_of("rtsp://user:secret@camera/1").name == "rtsp://user:***@camera/1"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
@pytest.mark.parametrize("source, device", [("99", "/dev/video99"), ("/dev/video99", "/dev/video99")])
def test_a_camera_that_is_not_there(source: str, device: str):
    with pytest.raises(FramesError, match=f"there is no {device}; is the camera plugged in"):
        cameras.open_camera(source)


@pytest.mark.parametrize(
    "platform, opened",
    [
        ("linux", ("/dev/video0", Opening("v4l2", {"video_size": "640x480", "framerate": "15"}))),
        ("darwin", ("0:none", Opening("avfoundation", {"framerate": "15", "video_size": "640x480"}))),
    ],
)
def test_how_a_camera_is_asked_for(monkeypatch: pytest.MonkeyPatch, platform: str, opened: object):
    monkeypatch.setattr(cameras, "open_video", lambda origin, name, read_once, opening: (origin, opening))
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(cameras.os.path, "exists", lambda path: True)
    assert cameras.open_camera("0", (480, 640), 15) == opened


def test_on_other_systems_a_url_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(FramesError, match="cameras are read on Linux and macOS; give the URL"):
        cameras.open_camera("0")


def test_a_device_is_read_as_it_comes():
    """FFmpeg's test picture, which is a device as a camera is."""
    with open_video("testsrc=size=64x48:rate=30", "the picture", read_once=True, opening=Opening("lavfi")) as frames:
        assert frames.size == (48, 64)
        seen = [next(frames) for _ in range(3)]
        assert (frames.fps, frames.num_frames) == (30, None)
        assert frames.last_time == pytest.approx(2 / 30, abs=0.01)
    assert all(frame.shape == (48, 64, 3) for frame in seen)


class _Stream(BaseHTTPRequestHandler):
    """Sends a video in pieces, and leaves."""

    def __init__(self, *args: object, pieces: list[bytes], **options: object) -> None:
        self.pieces = pieces
        super().__init__(*args, **options)  # type: ignore[arg-type]

    def log_message(self, *args: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "video/mp2t")
        self.end_headers()
        for piece in self.pieces:
            self.wfile.write(piece)


@pytest.fixture
def stream() -> Iterator[str]:
    """The URL of a stream of ten frames that ends whenever it was sent."""
    file = BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 80, 48, "yuv420p"
        for frame in moving_texture(10):
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode(None))
    handler = partial(_Stream, pieces=[file.getvalue()])
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/stream"
        server.shutdown()


def test_a_stream_that_breaks_off_is_opened_again(stream: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live_source, "FIRST_WAIT", 0.02)
    source = LiveSource(origin_of(stream))
    source.start()
    try:
        last = -1
        while last < 25:  # more than twice through
            arrival = source.take(SECONDS)
            if arrival is not None:
                assert arrival.picture.shape == (48, 80, 3)
                assert arrival.number > last
                last = arrival.number
    finally:
        source.close()
    assert np.isfinite(arrival.time)


def test_a_stream_that_nobody_sends():
    with pytest.raises(FramesError, match="Connection refused"):
        LiveSource(origin_of("http://127.0.0.1:9/stream"))
