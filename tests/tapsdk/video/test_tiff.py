import io
import struct
import time
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image

from tapsdk.errors import FramesError
from tapsdk.video import open_frames


def pages(count=5, height=12, width=17):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def stack(images, **options):
    first, *others = [image if isinstance(image, Image.Image) else Image.fromarray(image) for image in images]
    file = io.BytesIO()
    first.save(file, "TIFF", save_all=True, append_images=others, **options)
    return file.getvalue()


@pytest.mark.parametrize("big", [False, True], ids=["classic", "BigTIFF"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_page_of_a_stack_is_a_frame(tmp_path, count, compression, big):
    path = tmp_path / "stack.tif"
    path.write_bytes(stack(pages(count), compression=compression, big_tiff=big))
    for given in (path, path.read_bytes(), io.BytesIO(path.read_bytes())):
        with open_frames(given) as source:
            assert source.known_frames == count
            assert source.read_once == (given is not path)
            np.testing.assert_array_equal(list(source), pages(count))


def by_hand(images, order="<"):
    """Grey pages in the byte order of a Macintosh or a PC, the directory in front of its strips, each of two rows."""
    out = bytearray(struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8))
    for number, image in enumerate(images):
        height, width = image.shape[:2]
        strips = (height + 1) // 2
        lists = len(out) + 2 + 12 * 8 + 4
        data = lists + 8 * strips
        sizes = [min(2, height - 2 * i) * width * image.itemsize for i in range(strips)]
        entries = [
            (256, 4, 1, width),
            (257, 4, 1, height),
            (258, 4, 1, 8 * image.itemsize),
            (262, 4, 1, 1),
            (273, 4, strips, lists),
            (277, 4, 1, 1),
            (278, 4, 1, 2),
            (279, 4, strips, lists + 4 * strips),
        ]
        out += struct.pack(f"{order}H", len(entries))
        for entry in entries:
            out += struct.pack(f"{order}HHII", *entry)
        out += struct.pack(f"{order}I", data + image.nbytes if number + 1 < len(images) else 0)
        out += struct.pack(f"{order}{strips}I", *(data + sum(sizes[:i]) for i in range(strips)))
        out += struct.pack(f"{order}{strips}I", *sizes)
        out += image.astype(image.dtype.newbyteorder(order)).tobytes()
    return bytes(out)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_pages_of_both_byte_orders(order, dtype):
    grey = np.random.default_rng(0).integers(0, 256, (3, 7, 10)).astype(dtype)
    frames = list(open_frames(by_hand(grey * dtype(257 if dtype is np.uint16 else 1), order)))
    assert np.abs(np.subtract(frames, grey[..., None], dtype=int)).max() <= 1


def test_thumbnails_and_masks_are_no_frames():
    data = bytearray(by_hand(pages(3)[..., 0]))
    # The directory of the second page: its first entry becomes the kind of the page, reduced.
    second = struct.unpack_from("<I", data, 8 + 2 + 12 * 8)[0]
    struct.pack_into("<HHII", data, second + 2, 254, 4, 1, 1)
    np.testing.assert_array_equal(list(open_frames(bytes(data))), pages(3)[[0, 2], ..., :1].repeat(3, axis=-1))


def test_pages_of_two_sizes():
    data = stack([*pages(2), *pages(1, 8, 8)])
    with pytest.raises(FramesError, match="frame 2 is 8 x 8 pixels"):
        list(open_frames(data))


def test_a_stack_in_a_folder_is_named(tmp_path):
    (tmp_path / "stack.tif").write_bytes(stack(pages(3)))
    with pytest.raises(FramesError, match=r"stack\.tif holds 3 pages: give this file by itself"):
        list(open_frames(tmp_path))


def test_a_stack_that_ends_early_gives_the_pages_that_are_whole(tmp_path):
    data = by_hand(pages(5)[..., 0])
    source = open_frames(data[: len(data) * 7 // 10])
    found = []
    with pytest.raises(FramesError, match="ends early"):
        for frame in source:
            found.append(frame)
    np.testing.assert_array_equal(found, pages(5)[:3, ..., :1].repeat(3, axis=-1))


def test_a_stack_that_imagej_wrote_as_one_page():
    file = io.BytesIO()
    Image.fromarray(pages(1)[0]).save(file, "TIFF", description="ImageJ=1.53t\nimages=500\nslices=500\n")
    with pytest.raises(FramesError, match="image sequence"):
        open_frames(file.getvalue())


@pytest.mark.parametrize("big", [False, True])
def test_pages_that_point_at_one_another_end(big):
    data = bytearray(stack(pages(2), big_tiff=big))
    form, place = ("<Q", 8) if big else ("<I", 4)
    (first,) = struct.unpack_from(form, data, place)
    count_form, size, head = ("<Q", 20, 8) if big else ("<H", 12, 2)
    (count,) = struct.unpack_from(count_form, data, first)
    struct.pack_into(form, data, first + head + count * size, first)
    source = open_frames(bytes(data))
    next(source)
    with pytest.raises(FramesError, match="without end"):
        next(source)


def test_hostile_bytes_are_refused_in_no_time():
    data = stack(pages(2))
    random = np.random.default_rng(0)
    began = time.monotonic()
    for _ in range(300):
        broken = bytearray(data)
        for place in random.integers(4, len(data), 4):
            broken[place] = random.integers(0, 256)
        with suppress(FramesError):
            assert len(list(open_frames(bytes(broken)))) <= 2
    for head in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+\0\x08\0\0"):
        for rest in (b"", b"\xff" * 4, b"\xff" * 64, bytes(64), b"\x08\0\0\0\xff\xff" + b"\xff" * 64):
            with pytest.raises(FramesError):
                list(open_frames(head + rest))
    assert time.monotonic() - began < 20
