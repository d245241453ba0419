import io
import struct
import zlib

import numpy as np
import pytest

pytest.importorskip("PIL", reason="datasets need Pillow: pip install '.[train]'")

from PIL import Image as pillow

from training.data.errors import DatasetError
from training.data.images import decode_image, natural_order, read_image, read_mask, resize_image, stack_frames


def encoded(image, kind="PNG"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def test_grey_pictures_become_rgb():
    assert decode_image(encoded(pillow.new("L", (5, 4), 7)), "it").tolist() == [[[7, 7, 7]] * 5] * 4


@pytest.mark.parametrize("data", [b"", b"no picture", encoded(pillow.new("RGB", (64, 64)), "JPEG")[:-300]])
def test_a_damaged_picture_is_named(data):
    with pytest.raises(DatasetError, match=r"video\[3\] is not a picture"):
        decode_image(data, "video[3]")


def bomb(side):
    """A PNG of black pixels, all rows in a few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_500, 14_000, 20_000, 1_000_000])
def test_a_picture_that_says_it_is_huge_is_refused(tmp_path, side):
    (tmp_path / "mask.png").write_bytes(bomb(side))
    with pytest.raises(DatasetError, match=r"mask\.png is not a picture, or is damaged: Image size"):
        read_mask(tmp_path / "mask.png")
    with pytest.raises(DatasetError, match=r"video\[3\] is not a picture, or is damaged: Image size"):
        decode_image(bomb(side), "video[3]")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"none\.jpg cannot be read"):
        read_image(tmp_path / "none.jpg")


@pytest.mark.parametrize(("mode", "object_", "background"), [("P", 2, 0), ("L", 255, 0), ("1", 1, 0), ("RGB", 255, 0)])
def test_a_mask_is_what_is_not_black_or_index_0(tmp_path, mode, object_, background):
    image = pillow.new(mode, (4, 3), background)
    image.putpixel((1, 2), object_ if mode != "RGB" else (0, 0, object_))
    if mode == "P":
        image.putpalette([9, 9, 9, 0, 0, 0, 0, 0, 0])  # colours say nothing: index 2 is black, and an object
    image.save(tmp_path / "mask.png")
    mask = read_mask(tmp_path / "mask.png")
    assert mask.shape == (3, 4)
    assert np.argwhere(mask).tolist() == [[2, 1]]


def test_the_size_asked_for_is_height_and_width():
    assert resize_image(np.zeros((4, 6, 3), np.uint8), (8, 5)).shape == (8, 5, 3)


@pytest.mark.parametrize("size", [None, (4, 6)])
def test_a_picture_of_that_size_is_left_alone(size):
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    assert resize_image(image, size) is image


def test_resizing_is_lanczos_with_the_support_of_the_larger_pixel():
    """Of a bright column, shrunk to a half: the weights of Lanczos-3 over 12 pixels, summed by hand."""
    image = np.zeros((24, 24, 3), np.uint8)
    image[:, 12] = 200
    x = (12 + 0.5) / 2 - (np.arange(12) + 0.5)
    weight = np.sinc(x) * np.sinc(x / 3) * (np.abs(x) < 3) / 2
    expected = np.clip(np.round(200 * weight), 0, 255)
    np.testing.assert_allclose(resize_image(image, (12, 12))[6, :, 0], expected, atol=1)


def test_frames_of_several_sizes_are_an_error():
    frames = [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5, 3), np.uint8)]
    with pytest.raises(DatasetError, match=r"it: frame 1 is \(4, 5\), the first is \(4, 4\)"):
        stack_frames(frames, None, "it")
    assert stack_frames(frames, (2, 2), "it").shape == (2, 2, 2, 3)


def test_no_frames_are_an_error():
    with pytest.raises(DatasetError, match="it has no frames"):
        stack_frames([], None, "it")


def test_names_are_counted(tmp_path):
    names = ["f10.jpg", "f9.jpg", "f009.jpg", "a.jpg"]
    ordered = [path.name for path in sorted((tmp_path / name for name in names), key=natural_order)]
    assert ordered == ["a.jpg", "f9.jpg", "f009.jpg", "f10.jpg"]
