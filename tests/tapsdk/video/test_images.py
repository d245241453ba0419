import io
import logging
import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from tapsdk.errors import FramesError
from tapsdk.video import open_frames


def picture(seed=0, height=16, width=24):
    """Smooth enough for lossy formats."""
    cells = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 1), dtype=np.uint8)
    return np.kron(cells, np.ones((8, 8, 3), np.uint8))


def save(path, image=None):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(picture() if image is None else image).save(path)
    return path


def by_ffmpeg(codec, pix_fmt, image):
    encoder = av.CodecContext.create(codec, "w")
    encoder.height, encoder.width = image.shape[:2]
    encoder.pix_fmt = pix_fmt
    encoder.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def grey(path, values):
    """A grey image of 16 bits."""
    Image.fromarray(np.asarray(values, np.uint16)).save(path)


# Formats

BY_PILLOW = ["jpg", "jpeg", "png", "tif", "tiff", "bmp", "webp", "gif", "avif", "jp2", "j2k"]
BY_PILLOW += ["ppm", "pgm", "pbm", "pnm", "tga", "qoi"]


@pytest.mark.parametrize("suffix", [*BY_PILLOW, "dpx"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_every_format_that_is_listed_is_read_right(tmp_path, suffix, mode):
    path = tmp_path / f"0.{suffix}"
    expected = picture()
    if suffix == "pbm":
        expected = np.where(expected > 127, 255, 0).astype(np.uint8)
        Image.fromarray(expected).convert("1").save(path)
    elif suffix == "pgm":
        Image.fromarray(expected[..., 0]).save(path)
    elif suffix == "dpx":
        path.write_bytes(by_ffmpeg("dpx", "gbrp10le", expected))
    elif (mode == "RGBA" and suffix in ("jpg", "jpeg")) or (mode == "L" and suffix == "qoi"):
        pytest.skip("the format has no such images")
    else:
        Image.fromarray(expected).convert(mode).save(path)
    (frame,) = open_frames(tmp_path)
    assert np.abs(frame.astype(int) - expected).mean() < (0.01 if suffix in ("png", "tif", "bmp", "tga") else 3)


@pytest.mark.parametrize("mode", ["P", "1", "I;16"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_palettes_bits_and_16_bits_come_out_as_they_look(tmp_path, suffix, mode):
    image = np.where(picture() > 127, 255, 0).astype(np.uint8)
    if mode == "I;16":
        grey(tmp_path / f"0.{suffix}", image[..., 0].astype(int) * 257)
    else:
        Image.fromarray(image).convert(mode).save(tmp_path / f"0.{suffix}")
    (frame,) = open_frames(tmp_path)
    np.testing.assert_array_equal(frame, image)


@pytest.mark.parametrize("name", ["0.png", "0.jpg", "0.gif", "0.bmp", "0.tga", "0.avif", "100%d.png"])
def test_one_image_is_one_frame(tmp_path, name):
    source = open_frames(save(tmp_path / name))
    (frame,) = source
    assert np.abs(frame.astype(int) - picture()).mean() < 3


def animation(path, frames=3):
    first, *others = [Image.fromarray(picture(seed)) for seed in range(frames)]
    first.save(path, save_all=True, append_images=others, duration=100)
    return path


READS_WEBP = "webp_anim" in av.formats_available
needs_webp = pytest.mark.skipif(not READS_WEBP, reason="this FFmpeg reads no animated WebP: pip install 'av>=19'")


@pytest.mark.parametrize("suffix", ["gif", "png", "avif", pytest.param("webp", marks=needs_webp)])
def test_an_animation_is_a_video_by_itself_and_no_frame_of_a_folder(tmp_path, suffix):
    path = animation(tmp_path / f"0.{suffix}")
    frames = list(open_frames(path))
    assert np.abs(np.subtract(frames, [picture(0), picture(1), picture(2)], dtype=int)).mean() < 3
    with pytest.raises(FramesError, match=rf"0\.{suffix} holds several pictures: give this file by itself"):
        list(open_frames(tmp_path))


@pytest.mark.skipif(READS_WEBP, reason="this FFmpeg reads them")
def test_an_animation_that_ffmpeg_does_not_read_is_named(tmp_path):
    with pytest.raises(FramesError, match="an animated WebP"):
        list(open_frames(animation(tmp_path / "0.webp")))


def test_a_photograph_with_smaller_copies_of_itself_is_one_frame(tmp_path):
    path = tmp_path / "0.jpg"
    Image.fromarray(picture()).save(
        path, "MPO", save_all=True, append_images=[Image.fromarray(picture(1, 8, 8))], quality=95
    )
    for source in (path, tmp_path, path.read_bytes()):
        (frame,) = open_frames(source)
        assert np.abs(frame.astype(int) - picture()).mean() < 3


def test_a_title_in_latin_1_is_no_matter(tmp_path):
    data = save(tmp_path / "0.png").read_bytes()
    title = b"tEXt" + "Title\0Café".encode("latin-1")
    chunk = struct.pack(">I", len(title) - 4) + title + struct.pack(">I", zlib.crc32(title))
    (tmp_path / "0.png").write_bytes(data[:33] + chunk + data[33:])
    (frame,) = open_frames(tmp_path)
    np.testing.assert_array_equal(frame, picture())


def test_an_image_of_more_pixels_than_any_camera_has_is_refused(tmp_path):
    def chunk(content):
        return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))

    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(2501) * 20_000)
    data = b"\x89PNG\r\n\x1a\n" + chunk(header) + chunk(b"IDAT" + rows) + chunk(b"IEND")
    (tmp_path / "0.png").write_bytes(data)
    with pytest.raises(FramesError, match=r"0\.png: not an image"):
        list(open_frames(tmp_path))


# Folders of several kinds


def test_as_many_masks_as_pictures_are_an_error_that_says_how_to_choose(tmp_path):
    for number in range(4):
        save(tmp_path / f"{number:05}.jpg")
        save(tmp_path / f"{number:05}.png", picture() // 255)
    with pytest.raises(FramesError, match=r"several kinds: 4 \*\.jpg .*4 \*\.png .*pattern: .*\*\.jpg' or .*\*\.png'"):
        open_frames(tmp_path)
    assert len(list(open_frames(tmp_path / "*.jpg"))) == 4


def test_a_preview_among_pictures_is_left_out_and_named(tmp_path, caplog):
    for number in range(4):
        save(tmp_path / f"frame{number}.tif", picture(number))
    save(tmp_path / "preview.png", picture(9, 8, 8))
    with caplog.at_level(logging.WARNING, logger="tapsdk.video"):
        source = open_frames(tmp_path)
    np.testing.assert_array_equal(list(source), [picture(number) for number in range(4)])
    assert source.known_frames == 4
    assert "Read are the 4 *.tif; left out are preview.png" in caplog.text


def test_one_suffix_in_several_spellings_is_one_kind(tmp_path, caplog):
    for number, suffix in enumerate([".jpg", ".JPG", ".jpeg", ".Jpeg"]):
        save(tmp_path / f"frame{number}{suffix}", picture(number))
    for given in (tmp_path, str(tmp_path / "*.jpg"), str(tmp_path / "*.JPEG"), str(tmp_path / "frame*.jpg")):
        frames = list(open_frames(given))
        assert np.abs(np.subtract(frames, [picture(number) for number in range(4)], dtype=int)).mean() < 8
    assert not caplog.records


@pytest.mark.parametrize("mask", ["mask{}.png", "frame{}_mask.png"])
def test_masks_with_names_of_their_own_are_another_kind(tmp_path, mask):
    for number in range(4):
        save(tmp_path / f"frame{number}.png", picture(number))
        save(tmp_path / mask.format(number), picture(9))
    with pytest.raises(FramesError, match=r"several kinds: 4 .*4 .*pattern: ") as caught:
        open_frames(tmp_path)
    assert f"'{tmp_path / 'frame*.png'}'" in str(caught.value)
    np.testing.assert_array_equal(list(open_frames(tmp_path / "frame*.png")), [picture(number) for number in range(4)])
    assert len(list(open_frames(tmp_path / mask.format("*")))) == 4
    assert len(list(open_frames(tmp_path / "*.png"))) == 8


@pytest.mark.parametrize(
    "names", [["a", "b", "c", "d"], ["1", "2", "10"], ["a1f3", "b2c4", "90ab", "11"], ["t1", "end"]]
)
def test_names_that_are_in_no_series_are_of_one_kind(tmp_path, names, caplog):
    for name in names:
        save(tmp_path / f"{name}.png")
    assert len(list(open_frames(tmp_path))) == len(names)
    assert not caplog.records


def test_sizes_that_differ_are_named(tmp_path):
    save(tmp_path / "1.png")
    save(tmp_path / "2.png", picture(0, 8, 24))
    with pytest.raises(FramesError, match=r"2\.png: frame 1 is 24 x 8 pixels, .* before it are 24 x 16 pixels"):
        list(open_frames(tmp_path))


def test_a_folder_that_holds_a_video_says_so(tmp_path):
    (tmp_path / "clip.MP4").write_bytes(b"")
    with pytest.raises(FramesError, match=r"it holds a video: give the path .*clip\.MP4"):
        open_frames(tmp_path)


# Lists of paths


@pytest.mark.parametrize(
    "kind", [list, tuple, iter, lambda paths: (path for path in paths), lambda p: list(map(str, p))]
)
def test_paths_are_frames_in_their_order(tmp_path, kind):
    paths = [save(tmp_path / f"{name}.png", picture(seed)) for seed, name in enumerate(["b", "a", "10", "9"])]
    source = open_frames(kind(paths))
    np.testing.assert_array_equal(list(source), [picture(seed) for seed in range(4)])


def test_a_list_of_paths_is_as_long_as_it_is(tmp_path):
    path = save(tmp_path / "0.png")
    assert open_frames([path] * 3).known_frames == 3


@pytest.mark.parametrize(
    "paths, message",
    [
        (["nothing.png"], r"nothing\.png: no such image"),
        (["clip.mp4"], r"clip\.mp4 is not an image .*give a video as a path by itself"),
        (["notes.txt"], r"notes\.txt is not an image"),
        (["0.png", np.zeros((16, 24, 3))], r"frame 1 is float64, but the frames before it are uint8"),
    ],
)
def test_paths_of_no_images_are_named(tmp_path, monkeypatch, paths, message):
    monkeypatch.chdir(tmp_path)
    for name in ("clip.mp4", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    save(tmp_path / "0.png")
    with pytest.raises(FramesError, match=message):
        list(open_frames(paths))
    with pytest.raises(FramesError, match=message):
        list(open_frames(iter(paths)))


# Warnings


@pytest.mark.parametrize(
    "brightest, warned", [(4095, True), (1023, True), (8191, True), (8300, False), (65535, False), (0, False)]
)
@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_12_bits_in_16_are_told_once(tmp_path, suffix, brightest, warned, caplog):
    for number in range(3):
        grey(tmp_path / f"{number}.{suffix}", np.linspace(0, brightest, 64).reshape(8, 8))
    with caplog.at_level(logging.WARNING, logger="tapsdk.video"):
        list(open_frames(tmp_path))
    told = [record.getMessage() for record in caplog.records if "nearly black" in record.getMessage()]
    assert len(told) == warned
    if warned:
        assert f"{brightest} of 65535" in told[0]


def test_a_folder_of_masks_is_told(tmp_path, caplog):
    Image.fromarray((picture()[..., 0] > 127).astype(np.uint8)).save(tmp_path / "0.png")
    list(open_frames(tmp_path))
    assert "holds only 0 and 1" in caplog.text


def test_bytes_of_an_image_are_a_frame():
    file = io.BytesIO()
    Image.fromarray(picture()).save(file, "PNG")
    (frame,) = open_frames(file.getvalue())
    np.testing.assert_array_equal(frame, picture())
