import logging
import struct
import subprocess
import sys
import tracemalloc
from fractions import Fraction

import av
import numpy as np
import pytest

from tapsdk.errors import FramesError
from tapsdk.video import VideoWriter, open_frames


def random_video(frames=3, height=5, width=7):
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def write_video(path, video, codec="ffv1", pix_fmt="bgr0", rate=25, **options):
    """By PyAV alone; lossless unless another codec is asked for."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = pix_fmt
        for image in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_mp4(path, video, **options):
    return write_video(path, video, "libx264", "yuv420p", **options)


def write_image(path, image):
    codec, pix_fmt = {".jpg": ("mjpeg", "yuvj444p"), ".png": ("png", "rgb24"), ".bmp": ("bmp", "bgr24")}[path.suffix]
    encoder = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = image.shape[:2]
    encoder.pix_fmt = pix_fmt
    encoder.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
    path.write_bytes(b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)]))


# Reading videos


@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 33, 20), (4, 21, 9)])
@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_a_lossless_video_comes_out_as_it_went_in(tmp_path, shape, kind):
    video = random_video(*shape)
    path = write_video(tmp_path / "video.mkv", video)
    with open_frames(kind(path)) as source:
        assert source.size == shape[1:]
        frames = list(source)
    np.testing.assert_array_equal(frames, video)
    assert all(frame.dtype == np.uint8 and frame.flags.c_contiguous for frame in frames)


def test_an_mp4_declares_its_length_and_rate(tmp_path):
    path = write_mp4(tmp_path / "video.mp4", random_video(12, 32, 48), rate=30)
    source = open_frames(path)
    assert source.num_frames == 12
    assert source.fps == 30
    assert len(list(source)) == 12


@pytest.mark.parametrize("name", ["with space.mkv", "http:colon.mkv", "per%03dcent.mkv", "ünïcode.mkv", "-dash.mkv"])
@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows fewer names")
def test_a_name_is_only_a_name(tmp_path, monkeypatch, name):
    write_video(tmp_path / name, random_video())
    monkeypatch.chdir(tmp_path)
    assert len(list(open_frames(name))) == 3


def with_rotation(path, a, b, c, d):
    """Put a rotation tag, as telephones do, into the track header of an mp4."""
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40
    data[matrix : matrix + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "matrix, turns",
    [((1, 0, 0, 1), 0), ((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)],
    ids=["upright", "90 clockwise", "180", "90 counter-clockwise"],
)
def test_a_rotated_video_comes_out_upright(tmp_path, matrix, turns):
    image = np.zeros((32, 48, 3), np.uint8)
    image[:16, :24] = 255
    path = with_rotation(write_mp4(tmp_path / "video.mp4", np.stack([image] * 3)), *matrix)
    source = open_frames(path)
    expected = np.rot90(image, turns)
    assert source.size == expected.shape[:2]
    for frame in source:
        assert frame.flags.c_contiguous
        assert np.abs(frame.astype(int) - expected).mean() < 8


@pytest.mark.parametrize("matrix, turned", [((1, 0, 0, 1), False), ((0, 1, -1, 0), True), ((-1, 0, 0, -1), False)])
def test_the_shape_of_pixels_is_that_of_the_upright_frame(tmp_path, matrix, turned):
    path = tmp_path / "video.mp4"
    with VideoWriter(path, 25, (32, 48), pixel_aspect=Fraction(4, 3)) as writer:
        writer.write(np.zeros((32, 48, 3), np.uint8))
    with open_frames(with_rotation(path, *matrix)) as source:
        assert source.pixel_aspect == (Fraction(3, 4) if turned else Fraction(4, 3))
        assert len(list(source)) == 1


def test_a_video_that_says_nothing_of_its_pixels(tmp_path):
    assert open_frames(write_mp4(tmp_path / "video.mp4", random_video(1, 32, 48))).pixel_aspect is None


def test_a_given_rate_takes_the_place_of_the_videos(tmp_path):
    with open_frames(write_mp4(tmp_path / "video.mp4", random_video(3, 32, 48)), fps=10) as source:
        assert (len(list(source)), source.fps) == (3, 10)
        np.testing.assert_allclose(source.times, [0, 0.1, 0.2])


def test_reading_runs_in_bounded_memory(tmp_path):
    image = np.zeros((128, 128, 3), np.uint8)
    path = write_video(tmp_path / "video.mkv", np.broadcast_to(image, (100, *image.shape)))
    tracemalloc.start()
    try:
        for _ in open_frames(path):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * image.size


def test_closing_early_ends_the_iteration(tmp_path):
    with open_frames(write_video(tmp_path / "video.mkv", random_video(10))) as source:
        next(source)
    assert list(source) == []


# Videos that cannot be read


def test_a_missing_file():
    with pytest.raises(FramesError, match=r"nothing\.mp4: no such file or folder"):
        open_frames("nothing.mp4")


@pytest.mark.parametrize("content", [b"", b"hello\n" * 100, bytes(range(256)) * 40], ids=["empty", "text", "noise"])
def test_not_a_video(tmp_path, content):
    path = tmp_path / "video.mp4"
    path.write_bytes(content)
    with pytest.raises(FramesError, match=r"video\.mp4: (not a video|holds no video)"):
        open_frames(path)


def test_a_video_whose_index_is_cut_off(tmp_path):
    path = write_mp4(tmp_path / "video.mp4", random_video(30, 64, 64))
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(FramesError, match=r"video\.mp4: not a video, or damaged"):
        open_frames(path)


def test_sound_only(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(FramesError, match="no video stream"):
        open_frames(path)


def read_until_error(path):
    frames = []
    with pytest.raises(FramesError, match=r"(\d+) frames could be read") as caught:
        for frame in open_frames(path):
            frames.append(frame)
    return frames, str(caught.value)


def test_a_video_that_ends_in_the_middle_of_a_frame(tmp_path):
    path = write_mp4(tmp_path / "video.mp4", random_video(30, 64, 64), movflags="faststart")
    path.write_bytes(path.read_bytes()[:50_000])
    frames, message = read_until_error(path)
    assert 1 < len(frames) < 30
    assert f"{len(frames)} frames could be read" in message


def test_a_video_with_a_hole(tmp_path):
    video = random_video(30, 64, 64)
    path = write_mp4(tmp_path / "video.mp4", video)
    data = bytearray(path.read_bytes())
    hole = len(data) // 2
    with av.open(str(path)) as container:
        intact = sum(packet.pos + packet.size <= hole for packet in container.demux(video=0) if packet.size)
    data[hole : hole + 20_000] = b"\xff" * 20_000
    path.write_bytes(data)
    frames, message = read_until_error(path)
    # The decoder may hold back a few frames, and loses them with its error.
    assert intact - 3 <= len(frames) < 30
    assert f"{len(frames)} frames could be read" in message


def test_fewer_frames_than_declared_are_logged(tmp_path, caplog):
    path = write_mp4(tmp_path / "video.mp4", random_video(30, 64, 64), movflags="faststart")
    with av.open(str(path)) as container:
        ends = sorted(packet.pos + packet.size for packet in container.demux(video=0) if packet.size)
    # Between two packets, where nothing tells the cut from an end.
    path.write_bytes(path.read_bytes()[: ends[9]])
    with caplog.at_level(logging.WARNING, logger="tapsdk.video"):
        assert len(list(open_frames(path))) == 10
    assert "declares 30 frames and holds 10" in caplog.text


# Folders of images


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg"])
def test_a_folder_is_read_in_natural_order(tmp_path, suffix):
    for number in (10, 9, 100, 1):
        write_image(tmp_path / f"frame{number}{suffix}", np.full((7, 9, 3), number * 2, np.uint8))
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / f".hidden{suffix}").write_text("a thumbnail")
    with open_frames(tmp_path) as source:
        assert source.num_frames == 4
        assert source.size == (7, 9)
        assert source.fps is None
        levels = [int(frame.mean().round()) for frame in source]
    assert np.abs(np.subtract(levels, [2, 18, 20, 200])).max() <= 1


def test_an_image_comes_out_as_it_went_in_whatever_its_name(tmp_path):
    image = random_video(1, 6, 11)[0]
    write_image(tmp_path / "100%d of it.png", image)
    (frame,) = open_frames(str(tmp_path))
    np.testing.assert_array_equal(frame, image)


def test_images_of_two_sizes(tmp_path):
    write_image(tmp_path / "1.png", np.zeros((4, 4, 3), np.uint8))
    write_image(tmp_path / "2.png", np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(FramesError, match="frame 1 is 5 x 4 pixels"):
        list(open_frames(tmp_path))


def test_a_folder_without_images(tmp_path):
    with pytest.raises(FramesError, match=r"no images.*\.jpg.*\.png"):
        open_frames(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello"])
def test_a_broken_image_is_named(tmp_path, content):
    write_image(tmp_path / "1.png", np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "2.png").write_bytes(content)
    source = open_frames(tmp_path)
    next(source)
    with pytest.raises(FramesError, match=r"2\.png: not an image"):
        next(source)


def test_importing_loads_no_codec():
    modules = ["errors", "geometry", "tracks", "video", "video.colors", "video.draw", "system.files", "system.progress"]
    code = "".join(f"import tapsdk.{name}\n" for name in modules)
    code += "import sys; print([name for name in ('av', 'tqdm', 'onnxruntime', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
