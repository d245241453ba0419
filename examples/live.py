"""Tracks frame by frame while points come and go: python examples/live.py SOURCE OUT.mp4

SOURCE is a video, or the number of a camera (Linux, macOS), which runs until Ctrl-C. A point that was hidden for a
second is removed; every second, points are added where there are none.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

import tapsdk

Picture = NDArray[np.uint8]  # [H, W, 3] RGB


def tracked(frames: tapsdk.FrameSource) -> Iterator[Picture]:
    """The frames with the points drawn on them."""
    tracker, unseen, xy = tapsdk.Tracker(), {}, np.zeros((0, 2))
    grid, second = tapsdk.grid_points(8, frames.size)[:, 1:], round(frames.fps or 30)
    for t, frame in enumerate(frames):
        if t % second == 0:
            distance = np.linalg.norm(grid[:, None] - xy, axis=-1).min(axis=1, initial=np.inf)
            tracker.add(grid[distance > min(frames.size) / 16])
        tracks = tracker.step(frame)
        ids, xy, visible = tracker.ids, tracks.xy[:, 0], tracks.visible[:, 0]
        painter = tapsdk.TrackPainter(len(ids), trail=0, colors=tapsdk.distinct_colors(64)[np.array(ids, int) % 64])
        yield painter.draw(frame, xy, visible)
        unseen = {i: 0 if seen else unseen.get(i, 0) + 1 for i, seen in zip(ids, visible, strict=True)}
        tracker.remove(i for i, count in unseen.items() if count >= second)


def main(source: str, output: str) -> None:
    tapsdk.check_output(output, source)
    with (
        tapsdk.open_frames(source) as frames,
        tapsdk.VideoWriter(output, frames.fps, frames.size, pixel_aspect=frames.pixel_aspect) as writer,
        suppress(KeyboardInterrupt),
    ):
        for frame in tracked(frames):
            writer.write(frame)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a video, or the number of a camera")
    parser.add_argument("output", help="the new video: .mp4 and others")
    try:
        main(**vars(parser.parse_args()))
    except (tapsdk.errors.TapsdkError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
