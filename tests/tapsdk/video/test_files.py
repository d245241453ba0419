import io
import logging
import socket
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest

from tapsdk.errors import FramesError
from tapsdk.video import VideoWriter, open_frames
from tests.videos import write_video


def random_video(frames=3, height=5, width=7):
    return np.random.default_rng(0).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


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


@pytest.mark.parametrize(
    "matrix, turned",
    [
        *((kept, False) for kept in ((1, 0, 0, 1), (-1, 0, 0, 1), (-1, 0, 0, -1), (1, 0, 0, -1))),
        *((quarter, True) for quarter in ((0, 1, 1, 0), (0, 1, -1, 0), (0, -1, -1, 0), (0, -1, 1, 0))),
    ],
)
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


def test_damaged_frames_are_passed_over_and_counted(tmp_path, caplog):
    video = random_video(30, 64, 64)
    path = write_mp4(tmp_path / "video.mp4", video)
    data = bytearray(path.read_bytes())
    hole = len(data) // 2
    with av.open(str(path)) as container:
        intact = sum(packet.pos + packet.size <= hole for packet in container.demux(video=0) if packet.size)
    data[hole : hole + 20_000] = b"\xff" * 20_000
    path.write_bytes(data)
    with open_frames(path) as source, caplog.at_level(logging.WARNING, logger="tapsdk.video"):
        frames = list(source)
    assert intact < len(frames) < 30
    assert source.damaged == 30 - len(frames)
    assert f"passed over: {source.damaged} frames, at " in caplog.text
    # What is given is given at its own time.
    assert len(source.times) == len(frames)
    np.testing.assert_allclose(source.times[[0, intact - 3, -1]], [0, (intact - 3) / 25, 29 / 25])
    missing = np.setdiff1d(np.arange(30), np.rint(source.times * 25))
    assert f"at {missing[0] / 25:.2f} s to {missing[-1] / 25:.2f} s: frames from {missing[0]} on" in caplog.text


@pytest.mark.parametrize("codec, suffix", [("libx264", ".mp4"), ("mjpeg", ".avi"), ("mpeg4", ".avi")])
@pytest.mark.parametrize("kind", [str, lambda path: io.BytesIO(path.read_bytes())], ids=["path", "open file"])
def test_only_the_damaged_frames_are_missing_also_at_the_end(tmp_path, codec, suffix, kind, caplog):
    path = write_video(tmp_path / f"video{suffix}", random_video(30, 64, 64), codec, yuv(codec))
    with av.open(str(path)) as container:
        place, size, pts = [(each.pos, each.size, each.pts) for each in container.demux(video=0) if each.size][26]
        at = float(pts * container.streams.video[0].time_base)
    data = bytearray(path.read_bytes())
    data[place : place + size] = b"\xff" * size
    path.write_bytes(data)
    with open_frames(kind(path)) as source, caplog.at_level(logging.WARNING, logger="tapsdk.video"):
        frames = list(source)
    assert (len(frames), source.damaged) == (29, 1)
    assert f"passed over: 1 frame, at {at:.2f} s" in caplog.text


def damaged_mp4(path, first, last, **options):
    """60 frames of noise in H.264, with packets `first` to `last` overwritten by zeros."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in noise:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    with path.open("r+b") as file:
        for packet in packets[first : last + 1]:
            file.seek(packet.pos)
            file.write(bytes(packet.size))
    return path


@pytest.mark.parametrize("last", [24, 27, 30, 33])
@pytest.mark.parametrize("as_file", [False, True], ids=["path", "open file"])
def test_frames_stay_in_their_order_and_have_their_times_where_some_before_are_damaged(tmp_path, last, as_file):
    path = damaged_mp4(tmp_path / "video.mp4", 20, last, g="12", bf="3")
    with path.open("rb") as file, open_frames(file if as_file else path) as source:
        frames = list(source)
    assert source.damaged and len(frames) + source.damaged == 60
    assert source.times is not None and len(source.times) == len(frames)
    numbers = source.times * 25
    np.testing.assert_allclose(numbers, numbers.round(), atol=0.01)


def test_a_video_whose_only_key_frame_is_damaged(tmp_path, caplog):
    path = damaged_mp4(tmp_path / "video.mp4", 0, 0, g="250")
    with pytest.raises(FramesError, match="none of its 60 frames can be decoded: what is damaged, 1 frame, the others"):
        list(open_frames(path))


def yuv(codec):
    return "yuvj420p" if codec == "mjpeg" else "yuv420p"


def test_a_video_whose_every_frame_is_damaged(tmp_path):
    path = write_mp4(tmp_path / "video.mp4", random_video(5, 64, 64))
    with av.open(str(path)) as container:
        packets = [(each.pos, each.size) for each in container.demux(video=0) if each.size]
    data = bytearray(path.read_bytes())
    for place, size in packets:
        data[place : place + size] = b"\xff" * size
    path.write_bytes(data)
    with pytest.raises(FramesError, match=r"damaged: 0 frames could be read \(none of its 5 frames"):
        list(open_frames(path))


@pytest.mark.parametrize(
    "codec, suffix, options",
    [
        ("libx264", ".mp4", {"movflags": "faststart"}),
        ("mpeg4", ".avi", {}),
        ("mjpeg", ".avi", {}),
        ("ffv1", ".mkv", {}),
    ],
)
@pytest.mark.parametrize("into_frame", [0, 100])
def test_a_file_that_was_cut_off_gives_what_it_holds_and_an_error(tmp_path, codec, suffix, options, into_frame):
    pix_fmt = "bgr0" if codec == "ffv1" else yuv(codec)
    path = write_video(tmp_path / f"video{suffix}", random_video(30, 64, 64), codec, pix_fmt, **options)
    with av.open(str(path)) as container:
        packets = [(each.pos, each.size) for each in container.demux(video=0) if each.size]
    head = {".mkv": 30, ".avi": 8}.get(suffix, 0)  # some positions are those of what is around a packet
    path.write_bytes(path.read_bytes()[: packets[19][0] + packets[19][1] + head + into_frame])
    source = open_frames(path)
    frames = []
    with pytest.raises(FramesError, match=r"frames could be read .*(cut off|middle of a frame)"):
        for frame in source:
            frames.append(frame)
    assert len(frames) in (19, 20, 21)  # the last one in part


def test_frames_of_which_nothing_is_left_are_told_by_the_times(tmp_path, caplog):
    path = tmp_path / "video.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height = stream.width = 32
        stream.pix_fmt = "yuv420p"
        for number in [*range(20), *range(40, 60)]:
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with caplog.at_level(logging.WARNING, logger="tapsdk.video"):
        assert len(list(open_frames(path))) == 40
    assert "no frames between 0.76 s and 1.60 s, frames 19 and 20" in caplog.text


def test_fewer_frames_than_declared_are_logged(tmp_path, caplog):
    path = write_video(tmp_path / "video.avi", random_video(10, 64, 64), "mjpeg", "yuvj420p")
    data = bytearray(path.read_bytes())
    for box, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        struct.pack_into("<I", data, data.index(box) + offset, 30)
    path.write_bytes(data)
    source = open_frames(path)
    assert source.num_frames == 30
    with caplog.at_level(logging.WARNING, logger="tapsdk.video"):
        assert len(list(source)) == 10
    assert "declares 30 frames and holds 10" in caplog.text


def test_what_a_video_declares_is_a_hint(tmp_path):
    path = write_mp4(tmp_path / "video.mp4", random_video(36, 32, 32), movflags="frag_keyframe", g="12")
    with open_frames(path) as source:
        assert source.known_frames is None
        assert len(list(source)) == 36


def test_a_title_that_is_not_utf8_is_no_matter(tmp_path):
    with av.open(str(tmp_path / "titled.mp4"), "w") as container:
        container.metadata["title"] = "XYZWtitle"
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    data = (tmp_path / "titled.mp4").read_bytes()
    (tmp_path / "titled.mp4").write_bytes(data.replace(b"XYZWtitle", "Café là!!".encode("latin-1")))
    assert len(list(open_frames(tmp_path / "titled.mp4"))) == 1


LEADING_ELSEWHERE = {
    "a description of a stream": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video PORT RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "a playlist": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:PORT/a.ts\n#EXT-X-ENDLIST\n",
    "a list of files": "ffconcat version 1.0\nfile http://127.0.0.1:PORT/a.mp4\n",
    "a drawing": '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="http://127.0.0.1:PORT/"/></svg>',
}


@pytest.mark.parametrize("name", ["bytes", "a.mp4", "a.png", "a.m3u8", "a.sdp"])
@pytest.mark.parametrize("kind", LEADING_ELSEWHERE)
def test_a_file_leads_to_no_server(tmp_path, kind, name):
    with socket.create_server(("127.0.0.1", 0)) as server:
        data = LEADING_ELSEWHERE[kind].replace("PORT", str(server.getsockname()[1])).encode()
        (tmp_path / name).write_bytes(data)
        begun = time.monotonic()
        with pytest.raises(FramesError):
            list(open_frames(data if name == "bytes" else tmp_path / name))
        assert time.monotonic() - begun < 5  # who waits for a stream listens
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_codec_that_nobody_knows_is_named_as_the_reason(tmp_path):
    path = write_mp4(tmp_path / "strange.mp4", random_video(2, 32, 32))
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz9"))
    with pytest.raises(FramesError, match="compressed in a way that nothing here can decode"):
        list(open_frames(path))


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


# Paths, patterns and URLs


@pytest.mark.parametrize(
    "path, message",
    [
        ("", "the path of the frames is empty"),
        ("frame%04d.png", r"no such file or folder; write a pattern as 'frame\*\.png'"),
        ("none*.png", "no such file, and no file matches it as a pattern"),
        ("~/no such file.mp4", r"~/no such file\.mp4: no such file"),
        ("s3://bucket/a.mp4", r"s3 is not read here \(http, .*\); download it first"),
        ("https:/host/a.mp4", "this URL has lost a slash.* pass it as a str, https://"),
        (Path("https://host/a.mp4"), "this URL has lost a slash.* pass it as a str, https://"),
        ("file:///a.mp4", "pass the path, without file://"),
        ("http://127.0.0.1:1/a.mp4", r"http://127\.0\.0\.1:1/a\.mp4: not a video.*"),
        ("a\0b", "null"),
    ],
)
def test_paths_that_lead_nowhere_say_what_may_have_been_meant(path, message):
    with pytest.raises(FramesError, match=message):
        open_frames(path)


@pytest.mark.skipif(sys.platform == "win32", reason="there it may be a path")
def test_a_path_of_windows_elsewhere():
    with pytest.raises(FramesError, match="folders are separated by /"):
        open_frames("C:\\videos\\a.mp4")


def test_a_url_is_read_by_ffmpeg(tmp_path):
    write_mp4(tmp_path / "video.mp4", random_video(5, 32, 32))
    handler = partial(QuietHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with open_frames(f"http://127.0.0.1:{server.server_port}/video.mp4") as source:
            assert source.read_once
            assert len(list(source)) == 5
        server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows fewer names")
def test_a_name_that_looks_like_a_pattern_is_a_name_where_it_exists(tmp_path):
    folder = tmp_path / "shot[1]*"
    folder.mkdir()
    (tmp_path / "shot1").mkdir()
    write_image(tmp_path / "shot1" / "0.png", np.zeros((4, 4, 3), np.uint8))
    for number in range(3):
        write_image(folder / f"frame[{number}].png", np.full((4, 4, 3), 2 * number, np.uint8))
    assert len(list(open_frames(folder))) == 3
    assert len(list(open_frames(folder / "*.png"))) == 3
    (frame,) = open_frames(folder / "frame[2].png")
    assert frame.max() == 4


def test_a_pattern_that_matches_one_video_is_that_video(tmp_path):
    write_video(tmp_path / "clip.mkv", random_video())
    assert len(list(open_frames(tmp_path / "*.mkv"))) == 3
    write_video(tmp_path / "clip2.mkv", random_video())
    with pytest.raises(FramesError, match="2 files of other kinds; give the path of one video"):
        open_frames(tmp_path / "*.mkv")


def test_a_pattern_over_folders(tmp_path):
    for number in (10, 9):
        (tmp_path / f"shot{number}").mkdir()
        write_image(tmp_path / f"shot{number}" / "0.png", np.full((4, 4, 3), number, np.uint8))
    assert [frame.max() for frame in open_frames(tmp_path / "shot*" / "0.png")] == [9, 10]


def test_a_tilde_is_the_home_folder_unless_it_is_a_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    write_video(tmp_path / "clip.mkv", random_video())
    assert len(list(open_frames("~/clip.mkv"))) == 3
    (tmp_path / "~").mkdir()
    write_video(tmp_path / "~" / "clip.mkv", random_video(1))
    monkeypatch.chdir(tmp_path)
    assert len(list(open_frames("~/clip.mkv"))) == 1
