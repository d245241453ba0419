"""Files and folders of depth maps."""

import struct
from fractions import Fraction

import av
import numpy as np
import pytest

from tapsdk.errors import DepthError
from tapsdk.space.depth_images import read_depth_image
from tapsdk.space.depth_maps import open_depth

DEPTH = np.linspace(0.5, 9, 48, dtype=np.float32).reshape(6, 8)


def write_png(path, values, kind="gray16be"):
    """By FFmpeg."""
    codec = av.CodecContext.create("png", "w")
    codec.height, codec.width = values.shape[:2]
    codec.pix_fmt, codec.time_base = kind, Fraction(1)
    form = {"gray16be": "gray16le", "gray": "gray", "rgb24": "rgb24"}[kind]
    frame = av.VideoFrame.from_ndarray(values, format=form).reformat(format=kind)
    frame.pts = 0
    path.write_bytes(b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)]))


def exr(channels, dtype=np.float32):
    """An EXR file of channels [H, W] by name, not compressed (OpenEXR's file layout, version 2)."""
    names, (height, width) = sorted(channels), next(iter(channels.values())).shape

    def attribute(name, kind, data):
        return f"{name}\0{kind}\0".encode() + struct.pack("<i", len(data)) + data

    kind = {np.float32: 2, np.float16: 1}[dtype]
    listed = b"".join(name.encode() + b"\0" + struct.pack("<iB3xii", kind, 0, 1, 1) for name in names) + b"\0"
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    head = struct.pack("<ii", 20000630, 2) + attribute("channels", "chlist", listed)
    head += attribute("compression", "compression", b"\0") + attribute("dataWindow", "box2i", window)
    head += attribute("displayWindow", "box2i", window) + attribute("lineOrder", "lineOrder", b"\0")
    head += attribute("pixelAspectRatio", "float", struct.pack("<f", 1))
    head += attribute("screenWindowCenter", "v2f", bytes(8)) + attribute("screenWindowWidth", "float", bytes(4)) + b"\0"
    rows = [b"".join(channels[name][y].astype(dtype).tobytes() for name in names) for y in range(height)]
    lines = [struct.pack("<ii", y, len(row)) + row for y, row in enumerate(rows)]
    starts = len(head) + 8 * height + np.cumsum([0, *map(len, lines[:-1])])
    return head + starts.astype("<i8").tobytes() + b"".join(lines)


def test_a_folder_of_16_bit_png_holds_millimetres(tmp_path):
    for t in (9, 10, 8):
        write_png(tmp_path / f"frame{t}.png", np.full((6, 8), 1000 * t, np.uint16))
    (tmp_path / ".thumbnails").mkdir()
    with open_depth(tmp_path) as maps:
        assert maps.num_maps == 3 and maps.size == (6, 8)
        assert [float(each[0, 0]) for each in maps] == [8, 9, 10]
    with open_depth(tmp_path, depth_scale=0.0002) as maps:
        np.testing.assert_allclose(next(maps), 1.6)


def test_every_step_of_16_bits_is_read(tmp_path):
    values = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    write_png(tmp_path / "all.png", values)
    np.testing.assert_array_equal(read_depth_image(tmp_path / "all.png"), values)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("names", ["Y", "Z", "V", "RGB", "RGBA"])
def test_exr_files_hold_metres_whatever_their_channel_is_called(tmp_path, names, dtype):
    depth = DEPTH.copy()
    depth[0, :2] = np.inf, np.nan
    (tmp_path / "0.exr").write_bytes(exr(dict.fromkeys(names, depth), dtype))
    np.testing.assert_array_equal(read_depth_image(tmp_path / "0.exr"), depth.astype(dtype))
    with open_depth(tmp_path) as maps:
        found = next(maps)
    assert np.isnan(found[0, :2]).all()
    np.testing.assert_allclose(found[1:], depth[1:].astype(dtype))


@pytest.mark.parametrize(
    ("channels", "says"),
    [
        ({"R": DEPTH, "G": DEPTH + 1, "B": DEPTH}, "its three channels differ"),
        ({"Z": DEPTH, "id": DEPTH}, "it has the channels Z, id; write depth as a file of one"),
        ({"Depth.V": DEPTH}, "its channel is called Depth.V; give it a name of one letter"),
    ],
)
def test_exr_files_that_leave_depth_open(tmp_path, channels, says):
    (tmp_path / "0.exr").write_bytes(exr(channels))
    with pytest.raises(DepthError, match=says):
        read_depth_image(tmp_path / "0.exr")


def test_pictures_are_no_depth(tmp_path):
    write_png(tmp_path / "grey.png", np.zeros((6, 8), np.uint8), "gray")
    write_png(tmp_path / "colour.png", np.zeros((6, 8, 3), np.uint8), "rgb24")
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "text.exr").write_text("text")
    says = {"grey.png": "8 bits", "colour.png": "picture in colour", "text.png": "damaged", "text.exr": "no EXR"}
    for name, message in says.items():
        with pytest.raises(DepthError, match=f"{name} is no depth map.*{message}"):
            read_depth_image(tmp_path / name)


def test_a_folder_of_arrays(tmp_path):
    for t in range(3):
        np.save(tmp_path / f"{t}.npy", DEPTH + t)
    with open_depth(tmp_path) as maps:
        np.testing.assert_array_equal(np.stack(list(maps)), [DEPTH, DEPTH + 1, DEPTH + 2])


def test_a_folder_of_several_kinds_or_none_is_refused(tmp_path):
    with pytest.raises(DepthError, match="this folder holds none"):
        open_depth(tmp_path)
    (tmp_path / "a.png").touch()
    (tmp_path / "a.npy").touch()
    with pytest.raises(DepthError, match=r"this folder holds 1 \.png, 1 \.npy"):
        open_depth(tmp_path)


def test_a_file_that_is_missing_among_numbered_ones_is_named(tmp_path):
    for t in (0, 1, 2, 4, 5):
        np.save(tmp_path / f"depth_{t:03}.npy", DEPTH)
    with open_depth(tmp_path) as maps, pytest.raises(DepthError, match="5 depth maps for 6 frames; number 3 seems"):
        maps.refuse_number("5 depth maps", 6)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none.npy", "cannot be read: No such file"),
        ("none", "no such file or folder"),
        ("film.mp4", "cannot be read as depth: pass an array"),
        ("two.npz", "it holds the arrays a, b, and none is called depth"),
        ("flat.npy", r"must have shape \[T, H, W\], got \[6, 8\]"),
        ("objects.npy", "holds no depth maps"),
    ],
)
def test_files_that_hold_no_depth(tmp_path, name, says):
    (tmp_path / "film.mp4").touch()
    np.savez(tmp_path / "two.npz", a=DEPTH, b=DEPTH)
    np.save(tmp_path / "flat.npy", DEPTH)
    np.save(tmp_path / "objects.npy", np.array([None]), allow_pickle=True)
    with pytest.raises(DepthError, match=says):
        open_depth(tmp_path / name)


@pytest.mark.parametrize("scale", [0, -1, np.nan, np.inf])
def test_a_scale_is_a_number_above_zero(scale):
    with pytest.raises(DepthError, match="depth_scale must be"):
        open_depth(DEPTH[None], scale)
