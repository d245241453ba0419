"""Pastes a picture onto something flat that moves: python examples/corner_pin.py VIDEO PICTURE "CORNERS" OUT.mp4

CORNERS are four points of the first frame, "x,y;x,y;x,y;x,y", where the picture's top left, top right, bottom right and
bottom left corners go. Points between them are tracked, and where most of them agree the picture is laid.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import tapsdk

Floats = NDArray[np.float64]
SIDE = 8  # points a side
FEWEST = 16  # points that must agree on where the picture is, for it to be laid at all
CLOSE = 0.05  # of the picture's sides: what counts as agreeing


def main(video: str, picture: str, corners: str, output: str) -> None:
    if video == "-" or Path(video).is_fifo():
        sys.exit(f"{video} can be read once, and this program reads its video more than once: save it as a file first")
    tapsdk.check_output(output, video, picture)
    with tapsdk.open_frames(picture) as source:
        image = next(source)
    square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
    pinned = np.array([point.split(",") for point in corners.split(";")], float)
    cells = (np.arange(SIDE) + 0.5) / SIDE
    inside = np.stack(np.meshgrid(cells, cells), axis=-1).reshape(-1, 2)  # of the picture, from 0 to 1
    points = project(fit_homography(square, pinned), inside)

    tracks = tapsdk.track(video, points, progress=True)
    times = [None] * tracks.num_frames if tracks.times is None else tracks.times
    with (
        tapsdk.open_frames(video) as source,
        tapsdk.VideoWriter(output, source.fps, source.size, pixel_aspect=source.pixel_aspect) as writer,
    ):
        for t, (frame, time) in enumerate(zip(source, times, strict=True)):
            seen = tracks.visible[:, t]
            if seen.sum() >= FEWEST:
                found = tracks.xy[seen, t].astype(float)
                to_picture = fit_homography(found, inside[seen])
                gap = np.linalg.norm(project(to_picture, found) - inside[seen], axis=1)
                if (gap < CLOSE).sum() >= FEWEST:
                    frame = paste(frame, image, to_picture)
            writer.write(frame, time)


def fit_homography(start: Floats, end: Floats) -> Floats:
    """[3, 3] that takes most of the points start [N, 2] to end [N, 2]; at least four of them."""
    weights = np.ones(len(start))
    # Numbers around 1 keep the equations well conditioned.
    centre, size = start.mean(axis=0), np.ptp(start, axis=0).max()
    normalize = np.array([[1 / size, 0, -centre[0] / size], [0, 1 / size, -centre[1] / size], [0, 0, 1]])
    x, y = project(normalize, start).T
    u, v = end.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    rows = np.stack(
        [[x, y, one, zero, zero, zero, -u * x, -u * y, -u], [zero, zero, zero, x, y, one, -v * x, -v * y, -v]]
    )
    for _ in range(10):  # points far from where the others say they should be count less and less
        table = (rows * weights).transpose(0, 2, 1).reshape(-1, 9)
        homography = np.linalg.svd(table)[2][-1].reshape(3, 3) @ normalize
        gap = np.linalg.norm(project(homography, start) - end, axis=1)
        weights = 1 / (1 + (gap / (2 * np.median(gap) + 1e-3)) ** 2)
    return homography * np.sign(np.median(depth(homography, start)))


def project(homography: Floats, points: Floats) -> Floats:
    """Points [..., 2] as a homography [3, 3] maps them."""
    return (points @ homography[:2, :2].T + homography[:2, 2]) / depth(homography, points)[..., None]


def depth(homography: Floats, points: Floats) -> Floats:
    """Positive for points [..., 2] on this side of the horizon."""
    return points @ homography[2, :2] + homography[2, 2]


def paste(frame: NDArray[np.uint8], image: NDArray[np.uint8], to_picture: Floats) -> NDArray[np.uint8]:
    """The frame with the image where `to_picture` maps it into the square from 0 to 1."""
    height, width = frame.shape[:2]
    centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1)
    unit = project(to_picture, centres)
    covered = ((unit >= 0) & (unit < 1)).all(axis=-1) & (depth(to_picture, centres) > 0)
    column, row = (np.where(covered[..., None], unit, 0) * image.shape[1::-1]).astype(int).transpose(2, 0, 1)
    return np.where(covered[..., None], image[row, column], frame)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", help="the video")
    parser.add_argument("picture", help="an image")
    parser.add_argument("corners", help='"x,y;x,y;x,y;x,y" in the first frame')
    parser.add_argument("output", help="the new video: .mp4 and others")
    try:
        main(**vars(parser.parse_args()))
    except (tapsdk.errors.TapsdkError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
