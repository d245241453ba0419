"""Holds a video still, as if the camera had stood on a tripod: python examples/stabilize.py VIDEO OUT.mp4

Points all over the first frame say how each frame moved, turned and grew against it; what moves by itself is outvoted.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import tapsdk

Complex = NDArray[np.complex128]
FEWEST = 8  # points that a frame's motion is read from; with fewer in sight, the motion of the frame before stays


def main(video: str, output: str) -> None:
    if video == "-" or Path(video).is_fifo():
        sys.exit(f"{video} can be read once, and this program reads its video more than once: save it as a file first")
    tapsdk.check_output(output, video)
    with tapsdk.open_frames(video) as source:
        points = tapsdk.grid_points(12, source.size)
    tracks = tapsdk.track(video, points, progress=True)
    places = tracks.xy[..., 0] + 1j * tracks.xy[..., 1].astype(np.float64)  # [N, T]: x + iy
    zoom_turn, shift = 1 + 0j, 0j
    times = [None] * tracks.num_frames if tracks.times is None else tracks.times
    with (
        tapsdk.open_frames(video) as source,
        tapsdk.VideoWriter(output, source.fps, source.size, pixel_aspect=source.pixel_aspect) as writer,
    ):
        for t, (frame, time) in enumerate(zip(source, times, strict=True)):
            seen = tracks.visible[:, t]
            if seen.sum() >= FEWEST:
                zoom_turn, shift = fit_similarity(places[seen, 0], places[seen, t])
            writer.write(move_back(frame, zoom_turn, shift), time)


def fit_similarity(start: Complex, end: Complex) -> tuple[complex, complex]:
    """(a, b) with end = a * start + b for most of the points [N]: a zooms and turns, b shifts."""
    weights = np.ones(len(start))
    for _ in range(10):  # points far from where the others say they should be count less and less
        table = np.stack([start, np.ones_like(start)], axis=1) * weights[:, None]
        (a, b), *_ = np.linalg.lstsq(table, end * weights, rcond=None)
        gap = abs(a * start + b - end)
        weights = 1 / (1 + (gap / (2 * np.median(gap) + 0.1)) ** 2)
    return a, b


def move_back(frame: NDArray[np.uint8], a: complex, b: complex) -> NDArray[np.uint8]:
    """The frame as it would lie over the first one; black where it does not reach."""
    height, width = frame.shape[:2]
    pixels = np.arange(width) + 0.5 + 1j * (np.arange(height)[:, None] + 0.5)
    place = a * pixels + b - (0.5 + 0.5j)
    x, y = place.real, place.imag
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    inside = (left >= 0) & (top >= 0) & (left < width - 1) & (top < height - 1)
    left, top = np.where(inside, left, 0), np.where(inside, top, 0)
    right, down = (x - left)[..., None], (y - top)[..., None]
    upper = frame[top, left] * (1 - right) + frame[top, left + 1] * right
    lower = frame[top + 1, left] * (1 - right) + frame[top + 1, left + 1] * right
    blended = upper * (1 - down) + lower * down
    return np.where(inside[..., None], blended + 0.5, 0).astype(np.uint8)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", help="the video")
    parser.add_argument("output", help="the new video: .mp4 and others")
    try:
        main(**vars(parser.parse_args()))
    except (tapsdk.errors.TapsdkError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
