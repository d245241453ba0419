"""What tests of several commands use."""

from fractions import Fraction

import pytest

from tapsdk.commands import main as cli
from tapsdk.errors import FramesError
from tapsdk.video import VideoWriter, open_frames
from tests.support import moving_texture
from tests.tapsdk.commands.tracked import UNEVEN
from tests.videos import write_video


@pytest.fixture
def run(model, tmp_path, monkeypatch):
    """`tapsdk track` with the small model in an empty folder; gives the exit status."""
    monkeypatch.chdir(tmp_path)

    def track_small(*arguments):
        return cli.main(["track", "--model", str(model), "--backend", "onnxruntime:fused", *map(str, arguments)])

    return track_small


@pytest.fixture
def uneven(tmp_path):
    """A video whose frames and pixels are not even."""
    video = moving_texture()
    with VideoWriter(tmp_path / "uneven.mkv", 25, video.shape[1:3], pixel_aspect=Fraction(4, 3)) as writer:
        for frame, time in zip(video, UNEVEN, strict=True):
            writer.write(frame, time)
    return tmp_path / "uneven.mkv"


@pytest.fixture
def cut_file(tmp_path_factory):
    """A recording that ends in the middle of a frame, and how many of its frames can be read."""
    path = tmp_path_factory.mktemp("cut") / "cut.avi"
    write_video(path, moving_texture(20), "mjpeg", "yuvj420p")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    count = 0
    with pytest.raises(FramesError), open_frames(path) as source:
        for _ in source:
            count += 1
    assert 2 < count < 20
    return path, count
