"""Videos for batches, and what a batch left."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av

from tapsdk.video import Frame, VideoWriter
from tests.support import moving_texture

BACKEND = "onnxruntime:native"
OWN = ("index.parquet", "summary.csv", "summary.json")


def make_videos(folder: Path, count: int, frames: int = 4) -> Path:
    """A folder with v000.mp4, v001.mp4, ..., all different."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        video = moving_texture(frames, step=(1 + number % 3, number % 2), seed=number)
        with VideoWriter(folder / f"v{number:03d}.mp4", 25, video.shape[1:3]) as writer:
            for frame in video:
                writer.write(frame)
    return folder


def write_images(folder: Path, frames: Iterable[Frame]) -> None:
    """A folder with 0.png, 1.png, ..."""
    folder.mkdir()
    for number, image in enumerate(frames):
        codec = av.CodecContext.create("png", "w")
        codec.height, codec.width = image.shape[:2]
        codec.pix_fmt, codec.time_base = "rgb24", Fraction(1)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        packets = [*codec.encode(frame), *codec.encode(None)]
        (folder / f"{number}.png").write_bytes(b"".join(map(bytes, packets)))


def tracks_in(folder: Path) -> dict[str, bytes]:
    """Every file of tracks below a folder, whatever lies there temporarily too, by its path in it."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in OWN)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
