import io
import struct

import av
import numpy as np
import pytest
from PIL import Image

from tapsdk.video import open_frames
from tapsdk.video.orientation import exif_orientation, turned_upright

# How a picture is stored for each orientation, by the words of EXIF's standard.
STORED = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.transpose(1, 0, 2),
    6: lambda x: np.rot90(x, 1),
    7: lambda x: np.rot90(x, 2).transpose(1, 0, 2),
    8: lambda x: np.rot90(x, -1),
}
# (a, b, c, d) of the display matrix that says the same of a video.
MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


def picture():
    """32 x 48 pixels, of 8 x 8 each, no two sides of it alike."""
    cells = np.random.default_rng(0).integers(0, 256, (4, 6, 1), dtype=np.uint8)
    return np.kron(cells, np.ones((8, 8, 3), np.uint8))


def image_file(stored, kind, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    file = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    Image.fromarray(np.ascontiguousarray(stored)).save(file, kind, exif=exif, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "avif"])
def test_an_image_comes_out_as_viewers_show_it(tmp_path, suffix, orientation):
    kind = {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper())
    data = image_file(STORED[orientation](picture()), kind, orientation)
    path = tmp_path / f"0.{suffix}"
    path.write_bytes(data)
    for source in (tmp_path, path, [path], data):
        (frame,) = open_frames(source)
        assert frame.shape == (32, 48, 3)
        assert frame.flags.c_contiguous
        assert np.abs(frame.astype(int) - picture()).mean() < 3


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("scale", [1, 0.5])
def test_a_video_comes_out_as_players_show_it(tmp_path, orientation, scale):
    path = tmp_path / "video.mp4"
    stored = np.ascontiguousarray(STORED[orientation](picture()))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = stored.shape[:2]
        stream.pix_fmt = "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, format="rgb24")))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (round(each * scale * (1 << 16)) for each in MATRICES[orientation])
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    (frame,) = open_frames(path)
    assert frame.shape == (32, 48, 3)
    assert np.abs(frame.astype(int) - picture()).mean() < 8


@pytest.mark.parametrize("orientation", STORED)
def test_a_video_of_photographs_goes_by_what_they_say(tmp_path, orientation):
    data = image_file(STORED[orientation](picture()), "JPEG", orientation)
    (tmp_path / "video.mjpeg").write_bytes(data * 3)
    frames = list(open_frames(tmp_path / "video.mjpeg"))
    assert len(frames) == 3
    assert np.abs(np.subtract(frames, picture(), dtype=int)).mean() < 3


@pytest.mark.parametrize("orientation", STORED)
def test_turning_undoes_what_storing_did(orientation):
    image = np.random.default_rng(0).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    np.testing.assert_array_equal(turned_upright(STORED[orientation](image), orientation), image)


def tiff(order, value, kind=3, entries=1, place=8):
    packed = struct.pack(f"{order}H2x", value)
    return (
        (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IHHHI", place, entries, 274, kind, 1) + packed
    )


@pytest.mark.parametrize("order", "<>")
def test_both_byte_orders_are_read(order):
    assert exif_orientation(tiff(order, 6)) == 6


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xe1\xff\xffExif\0\0MM\0*",
        b"\xff\xd8" + b"\xff\xe0\0\0" * 9000,
        b"\x89PNG\r\n\x1a\n" + bytes(100_000),
        b"RIFF\0\0\0\0WEBPVP8 \xff\xff\xff\xff",
        tiff("<", 0),
        tiff("<", 9),
        tiff(">", 6, kind=4),
        tiff(">", 6, entries=65535)[:-6],
        tiff(">", 6, place=2**32 - 1),
        tiff("<", 6)[:12],
    ],
)
def test_what_tells_no_orientation_or_lies_about_it(data):
    assert exif_orientation(data) is None
