import os
import signal
import sys
import threading
from fractions import Fraction

import av
import numpy as np
import pytest

from tapsdk.errors import FramesError, SaveError
from tapsdk.video import VideoWriter, open_frames


def random_video(frames=3, height=5, width=7):
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def smooth_video(frames, height, width):
    """Something that a codec keeps well."""
    y, x = np.mgrid[:height, :width]
    ramps = [np.stack([128 + 100 * np.sin(x / 9 + t / 3), 2 * y % 200, 0 * x + 90], axis=-1) for t in range(frames)]
    return np.array(ramps).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".MP4", ".webm", ".gif"])
@pytest.mark.parametrize("shape", [(5, 48, 64), (1, 32, 32), (12, 64, 36)])
def test_what_is_written_is_read(tmp_path, suffix, shape):
    video = smooth_video(*shape)
    path = tmp_path / f"video{suffix}"
    with VideoWriter(path, 25, shape[1:]) as writer:
        for frame in video:
            writer.write(frame)
        assert not path.exists()
    with open_frames(path) as source:
        assert source.fps == 25
        frames = np.array(list(source))
    assert frames.shape == video.shape
    assert np.abs(frames.astype(int) - video).mean() < 6
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("size", [(31, 48), (32, 47), (1, 1), (31, 47)])
def test_an_odd_size_grows_by_a_copy_of_the_last_row_or_column(tmp_path, size):
    video = smooth_video(3, *size)
    with VideoWriter(tmp_path / "video.mp4", 25, size) as writer:
        for frame in video:
            writer.write(frame)
    frames = np.array(list(open_frames(tmp_path / "video.mp4")))
    height, width = size
    assert frames.shape[1:3] == (height + height % 2, width + width % 2)
    assert np.abs(frames[:, :height, :width].astype(int) - video).mean() < 8


def test_a_moving_picture_keeps_an_odd_size(tmp_path):
    video = smooth_video(3, 31, 47)
    with VideoWriter(tmp_path / "video.gif", 25, (31, 47)) as writer:
        for frame in video:
            writer.write(frame)
    assert next(open_frames(tmp_path / "video.gif")).shape == (31, 47, 3)


def test_a_moving_webp(tmp_path):
    """FFmpeg writes it and does not read it."""
    image = pytest.importorskip("PIL.Image")
    video = smooth_video(5, 31, 47)
    with VideoWriter(tmp_path / "video.webp", 25, (31, 47)) as writer:
        for frame in video:
            writer.write(frame)
    with image.open(tmp_path / "video.webp") as picture:
        assert (picture.n_frames, picture.size) == (5, (47, 31))
        for t in range(5):
            picture.seek(t)
            assert np.abs(np.array(picture.convert("RGB")).astype(int) - video[t]).mean() < 6
            assert picture.info["duration"] == 40


# Rates, times and the shape of pixels


def write_blank(path, times, fps=25, size=(16, 16), **options):
    with VideoWriter(path, fps, size, **options) as writer:
        for time in times:
            writer.write(np.zeros((*size, 3), np.uint8), time)
    return path


def shown(path):
    """Seconds at which frames are shown, by PyAV alone."""
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


HOUR, WEEK = 3600, 7 * 24 * 3600


@pytest.mark.parametrize(
    "fps", [1, 12.5, 24, 24000 / 1001, 30000 / 1001, 29.97, 60, 240, 1000, 10_000, 0.5, 1 / HOUR, 1 / WEEK]
)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_the_rate_is_kept(tmp_path, fps, suffix):
    path = write_blank(tmp_path / f"video{suffix}", [None] * 5, fps)
    assert open_frames(path).fps == pytest.approx(fps, rel=1e-5)
    np.testing.assert_allclose(shown(path), np.arange(5) / fps, rtol=1e-6)


@pytest.mark.parametrize("fps", [29.97, 25, 1000, 1 / HOUR, 1 / WEEK])
def test_matroska_keeps_it_to_the_millisecond(tmp_path, fps):
    path = write_blank(tmp_path / "video.mkv", [None] * 5, fps)
    np.testing.assert_allclose(shown(path), np.arange(5) / fps, atol=6e-4)


def test_a_rate_too_high_for_matroska(tmp_path):
    with pytest.raises(SaveError, match=r"holds 1000 frames per second at most, got 2000; write \.mp4 or \.mov"):
        VideoWriter(tmp_path / "video.mkv", 2000, (16, 16))


UNEVEN = {
    "two rates": [*np.arange(12) / 25, *(12 / 25 + np.arange(12) / 5)],
    "hourly": np.arange(6) * 3600.0,
    "daily": np.arange(6) * 86400.0,
    "since 1970": 1.7e9 + np.array([0, 0.04, 0.09, 3, 3.001]),
    "before zero": np.array([-1, -0.5, 2]),
    "a thousand a second": np.arange(30) / 1000,
    "a long gap": np.array([0, 0.04, 7 * 3600, 7 * 3600 + 0.04]),
    "one frame": np.array([5.0]),
}


@pytest.mark.parametrize("times", UNEVEN.values(), ids=UNEVEN)
@pytest.mark.parametrize("suffix, error", [(".mp4", 6e-5), (".mov", 6e-5), (".mkv", 6e-4), (".webm", 6e-4)])
def test_times_are_kept_from_the_first_frame_on(tmp_path, times, suffix, error):
    found = shown(write_blank(tmp_path / f"video{suffix}", times))
    assert found[0] == 0
    np.testing.assert_allclose(found, np.asarray(times) - times[0], atol=error)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_last_frame_is_shown_as_long_as_the_one_before_it(tmp_path, suffix):
    with av.open(str(write_blank(tmp_path / f"video{suffix}", [0, 0.04, 0.08, 2.08]))) as container:
        assert container.duration / av.time_base == pytest.approx(4.08, abs=1e-3)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_keeps_times_too(tmp_path):
    pipe, copy = tmp_path / "pipe.mp4", tmp_path / "copy.mp4"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: copy.write_bytes(pipe.read_bytes()))
    reader.start()
    times = [0, 0.04, 0.5, 3600, 7200, 7200.1]
    write_blank(pipe, times, pixel_aspect=Fraction(4, 3))
    reader.join(timeout=10)
    np.testing.assert_allclose(shown(copy), times, atol=6e-5)
    assert open_frames(copy).pixel_aspect == Fraction(4, 3)


@pytest.mark.parametrize("time", [float("nan"), float("inf"), 0.04, 0.0, -1.0])
def test_a_time_that_does_not_grow_writes_nothing_and_the_video_goes_on(tmp_path, time):
    path, frame = tmp_path / "video.mp4", np.zeros((16, 16, 3), np.uint8)
    with VideoWriter(path, 25, (16, 16)) as writer:
        writer.write(frame, 0.0)
        writer.write(frame, 0.04)
        with pytest.raises(FramesError, match="time of a frame must be"):
            writer.write(frame, time)
        writer.write(frame)
    np.testing.assert_allclose(shown(path), [0, 0.04, 0.08], atol=6e-5)


@pytest.mark.parametrize("aspect", [Fraction(2), Fraction(4, 3), Fraction(16, 15), Fraction(1), None], ids=str)
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_the_shape_of_pixels_is_kept(tmp_path, suffix, aspect):
    path = write_blank(tmp_path / f"video{suffix}", [0, 1], size=(48, 64), pixel_aspect=aspect)
    with av.open(str(path)) as container:
        assert (container.streams.video[0].sample_aspect_ratio or Fraction(1)) == (aspect or 1)


@pytest.mark.parametrize("aspect", [Fraction(0), Fraction(-1)])
def test_a_shape_of_pixels_that_is_none(tmp_path, aspect):
    with pytest.raises(SaveError, match="pixel_aspect must be positive"):
        VideoWriter(tmp_path / "video.mp4", 25, (16, 16), pixel_aspect=aspect)


def test_an_unknown_rate_is_30(tmp_path):
    with VideoWriter(tmp_path / "video.mp4", None, (16, 16)) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    assert open_frames(tmp_path / "video.mp4").fps == 30


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e-9, 1e9])
def test_a_rate_that_is_none(tmp_path, fps):
    with pytest.raises(SaveError, match="fps must be"):
        VideoWriter(tmp_path / "video.mp4", fps, (16, 16))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["video.avi", "video", "video.mp4.txt"])
def test_an_unknown_suffix_lists_the_known_ones(tmp_path, name):
    with pytest.raises(SaveError, match=r"\.mp4, \.mov, \.mkv, \.webm, \.webp, \.gif"):
        VideoWriter(tmp_path / name, 25, (16, 16))
    assert not list(tmp_path.iterdir())


def test_colours_are_tagged_so_that_players_agree(tmp_path):
    colour = np.array([220, 40, 60], np.uint8)
    with VideoWriter(tmp_path / "video.mp4", 25, (32, 32)) as writer:
        writer.write(np.broadcast_to(colour, (32, 32, 3)))
    with av.open(str(tmp_path / "video.mp4")) as container:
        assert container.streams.video[0].codec_context.colorspace == 1
    (frame,) = open_frames(tmp_path / "video.mp4")
    assert np.abs(frame.astype(int) - colour).max() <= 4


@pytest.mark.parametrize(
    "frame", [np.zeros((16, 18, 3), np.uint8), np.zeros((16, 16), np.uint8), np.zeros((16, 16, 3))]
)
def test_a_frame_that_does_not_fit(tmp_path, frame):
    with VideoWriter(tmp_path / "video.mp4", 25, (16, 16)) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
        with pytest.raises(FramesError, match="frame 1 must be uint8"):
            writer.write(frame)


@pytest.mark.parametrize("error", [RuntimeError("model broke"), KeyboardInterrupt()])
def test_an_exception_leaves_the_older_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "video.mp4"
    path.write_text("older")
    with pytest.raises(type(error)), VideoWriter(path, 25, (16, 16)) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
        raise error
    assert path.read_text() == "older"
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_ctrl_c_caught_inside_keeps_what_was_written(tmp_path):
    path = tmp_path / "video.mp4"
    with VideoWriter(path, 25, (16, 16)) as writer:
        try:
            for frame in smooth_video(7, 16, 16):
                writer.write(frame)
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass
    assert len(list(open_frames(path))) == 7


def test_finish_and_abort_happen_once(tmp_path):
    path = tmp_path / "video.mp4"
    writer = VideoWriter(path, 25, (16, 16))
    writer.write(np.zeros((16, 16, 3), np.uint8))
    writer.finish()
    writer.finish()
    writer.abort()
    assert len(list(open_frames(path))) == 1
    with pytest.raises(SaveError, match="closed"):
        writer.write(np.zeros((16, 16, 3), np.uint8))


def test_a_video_without_frames_is_not_written(tmp_path):
    with pytest.raises(SaveError, match="no frames"), VideoWriter(tmp_path / "video.mp4", 25, (16, 16)):
        pass
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_or_is_in_the_way(tmp_path):
    with pytest.raises(SaveError, match="No such file"):
        VideoWriter(tmp_path / "nothing" / "video.mp4", 25, (16, 16))
    (tmp_path / "video.mp4").mkdir()
    with pytest.raises(SaveError, match="folder"):
        VideoWriter(tmp_path / "video.mp4", 25, (16, 16))


def write_noise(path, frames=40):
    with VideoWriter(path, 25, (64, 64)) as writer:
        for frame in random_video(frames, 64, 64):
            writer.write(frame)


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limit on Windows")
@pytest.mark.parametrize("limit", [10, 20_000, 100_000])
def test_a_disk_that_fills_up(tmp_path, limit):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(SaveError, match="could not write"):
            write_noise(tmp_path / "video.mp4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("frames", [1, 40])
def test_a_full_device(frames):
    with pytest.raises(SaveError, match="/dev/full: No space left"):
        write_noise("/dev/full", frames)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_carries_a_video(tmp_path):
    pipe, copy = tmp_path / "pipe.mp4", tmp_path / "copy.mp4"
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: copy.write_bytes(pipe.read_bytes()))
    reader.start()
    write_noise(pipe, frames=10)
    reader.join(timeout=10)
    assert len(list(open_frames(copy))) == 10


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_whose_reader_leaves(tmp_path):
    pipe = tmp_path / "pipe.mp4"
    os.mkfifo(pipe)

    def read_a_little():
        with open(pipe, "rb") as file:
            file.read(10)

    reader = threading.Thread(target=read_a_little)
    reader.start()
    with pytest.raises(SaveError, match="Broken pipe"):
        write_noise(pipe)
    reader.join(timeout=10)
