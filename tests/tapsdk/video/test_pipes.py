import io
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from tapsdk.errors import FramesError
from tapsdk.video import open_frames
from tests.videos import write_video

VIDEO = np.random.default_rng(0).integers(0, 256, (5, 32, 48, 3), dtype=np.uint8)


def video_file(path, codec="libx264", pix_fmt="yuv420p", **options):
    return write_video(path, VIDEO, codec, pix_fmt, **options).read_bytes()


def still(kind, **options):
    file = io.BytesIO()
    Image.fromarray(VIDEO[0]).save(file, kind, **options)
    return file.getvalue()


def several(kind):
    return still(kind, save_all=True, append_images=[Image.fromarray(image) for image in VIDEO[1:]], duration=40)


# (bytes of a file, frames in it)
FILES = {
    "an MP4 with its index last": lambda path: (video_file(path / "a.mp4"), 5),
    "an MP4 with its index first": lambda path: (video_file(path / "a.mp4", movflags="faststart"), 5),
    "an MP4 in fragments": lambda path: (video_file(path / "a.mp4", movflags="frag_keyframe+empty_moov"), 5),
    "a MOV": lambda path: (video_file(path / "a.mov"), 5),
    "a transport stream": lambda path: (video_file(path / "a.ts"), 5),
    "a Matroska": lambda path: (video_file(path / "a.mkv"), 5),
    "an AVI": lambda path: (video_file(path / "a.avi", "mjpeg", "yuvj420p"), 5),
    "an image": lambda path: (still("PNG"), 1),
    "a WebP": lambda path: (still("WEBP"), 1),
    "an AVIF": lambda path: (still("AVIF"), 1),
    "a GIF": lambda path: (several("GIF"), 5),
    "an animated PNG": lambda path: (several("PNG"), 5),
    "a TIFF stack": lambda path: (several("TIFF"), 5),
}


class Pipe(io.RawIOBase):
    """Gives a few bytes at a time, and cannot go back."""

    def __init__(self, data):
        self._data, self.closed_by_us = io.BytesIO(data), False

    def readable(self):
        return True

    def readinto(self, buffer):
        part = self._data.read(min(len(buffer), 1000))
        buffer[: len(part)] = part
        return len(part)


@pytest.fixture(params=FILES, name="file")
def _file(request, tmp_path):
    return FILES[request.param](tmp_path)


@pytest.mark.parametrize("wrap", [io.BytesIO, Pipe, bytes, bytearray, memoryview])
def test_a_file_in_memory_or_a_pipe_is_read_once(file, wrap):
    data, count = file
    with open_frames(wrap(data)) as source:
        assert source.read_once
        frames = list(source)
    assert [frame.shape for frame in frames] == [(32, 48, 3)] * count


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes in folders")
def test_a_named_pipe_is_read_as_it_comes(file, tmp_path):
    data, count = file
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(data), daemon=True)
    writer.start()
    with open_frames(tmp_path / "pipe") as source:
        assert source.read_once
        assert len(list(source)) == count
    writer.join(10)


READ = """
import sys
from tapsdk.video import open_frames
from tests.videos import write_video
with open_frames(sys.argv[1]) as source:
    print(sum(1 for _ in source), source.read_once)
"""


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no /dev")
def test_standard_input_is_a_source(tmp_path, name):
    data = video_file(tmp_path / "a.mp4")
    done = subprocess.run([sys.executable, "-c", READ, name], input=data, capture_output=True, check=True)
    assert done.stdout.split() == [b"5", b"True"]


@pytest.mark.parametrize("name", ["-", "/dev/stdin", "/dev/fd/0"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no /dev")
def test_standard_input_from_a_named_pipe_whose_writer_is_done(tmp_path, name):
    data = video_file(tmp_path / "a.mp4", movflags="faststart")
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reading, True)
    (tmp_path / "pipe").write_bytes(data)  # shorter than what a pipe holds
    with open(reading, "rb") as file:
        done = subprocess.run([sys.executable, "-c", READ, name], stdin=file, capture_output=True, timeout=30)
    assert done.stdout.split() == [b"5", b"True"]


def test_a_rate_may_be_given_for_every_kind_of_source(file, tmp_path):
    data, count = file
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "image.png").write_bytes(still("PNG"))
    images = [tmp_path / "image.png"] * 3
    array = VIDEO[:3]
    sources = [
        *((each, count) for each in (data, Pipe(data), io.BytesIO(data), tmp_path / "file")),
        *((each, 3) for each in (images, array, list(array), iter(array))),
        (str(tmp_path / "image*.png"), 1),
    ]
    for frames, number in sources:
        with open_frames(frames, fps=5) as source:
            assert len(list(source)) == number
        assert source.fps == 5
        np.testing.assert_allclose(source.times, np.arange(number) / 5)


def test_standard_input_from_a_file(tmp_path):
    video_file(tmp_path / "a.mp4")
    with open(tmp_path / "a.mp4", "rb") as file:
        done = subprocess.run([sys.executable, "-c", READ, "-"], stdin=file, capture_output=True, check=True)
    assert done.stdout.split() == [b"5", b"True"]


def test_an_open_file_is_read_from_where_it_stands_and_stays_open(tmp_path):
    data = video_file(tmp_path / "a.mkv")
    (tmp_path / "both").write_bytes(b"header" + data)
    with open(tmp_path / "both", "rb") as file:
        file.seek(6)
        with open_frames(file) as source:
            assert len(list(source)) == 5
        assert not file.closed


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: io.StringIO("a video"), r"StringIO is open as text; open it as bytes: open\(path, 'rb'\)"),
        (lambda: io.BytesIO(b""), "BytesIO holds no bytes$"),
        (lambda: io.BytesIO(b"x\ny"), "BytesIO: not a video"),
        (lambda: Pipe(b""), "Pipe holds no bytes$"),
        (lambda: Pipe(b"hello" * 100_000), "Pipe: not a video"),
    ],
)
def test_open_files_that_hold_no_video_are_named(make, message):
    with pytest.raises(FramesError, match=message):
        open_frames(make())


def test_a_file_that_was_just_written_has_to_go_back_to_its_start(tmp_path):
    file = io.BytesIO()
    file.write(video_file(tmp_path / "a.mkv"))
    with pytest.raises(FramesError, match=r"seek\(0\)"):
        open_frames(file)


def test_a_closed_file():
    file = io.BytesIO(b"abc")
    file.close()
    with pytest.raises(FramesError, match="closed file"):
        open_frames(file)


def test_a_keyboard_is_no_video(monkeypatch):
    class Keyboard(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Keyboard())
    with pytest.raises(FramesError, match="standard input is the keyboard"):
        open_frames("-")


def test_a_capture_of_opencv_is_named():
    class VideoCapture:
        def grab(self): ...

        def read(self): ...

    with pytest.raises(FramesError, match=r"VideoCapture: pass the path .* frame\[\.\.\., ::-1\]"):
        open_frames(VideoCapture())


def test_nothing_stays_in_the_temporary_folder(file, tmp_path, monkeypatch):
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    source = open_frames(Pipe(file[0]))
    next(source)
    assert list(folder.iterdir()) == []
    source.close()
