"""What a person may name: cameras, streams, files; and streams that break off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import av
import pytest

from tapsdk.errors import FramesError
from tapsdk.live import source as live_source
from tapsdk.live.origin import origin_of
from tapsdk.live.source import LiveSource
from tests.support import moving_texture
from tests.tapsdk.live.scenes import SECONDS


@pytest.mark.parametrize(
    "source, name, live",
    [
        ("0", "camera 0", True),
        ("12", "camera 12", True),
        ("rtsp://user:secret@camera/1", "rtsp://user:***@camera/1", True),  # a password is not shown
        ("http://camera/stream", "http://camera/stream", True),
        ("video.mp4", "video.mp4", False),
        ("-1", "-1", False),
        ("gs://bucket/video.mp4", "gs://bucket/video.mp4", False),
    ],
)
def test_what_comes_by_itself_and_what_is_a_file(source: str, name: str, live: bool):
    origin = origin_of(source)
    assert (origin.name, origin.live) == (name, live)


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("7").touch()
    assert not origin_of("7").live


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


def test_a_stream_that_nobody_sends():
    with pytest.raises(FramesError, match="Connection refused"):
        LiveSource(origin_of("http://127.0.0.1:9/stream"))
