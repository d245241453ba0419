"""Tracks points through a video and draws them: python examples/demo.py [VIDEO]

Without a video it takes the clip beside it, whose true tracks are known, and says how far off the tracker was.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import tapsdk

HERE = Path(__file__).parent
OUT = Path("out")


def main(video: str | None) -> None:
    truth = None if video else tapsdk.Tracks.load(HERE / "demo" / "tracks.npz")
    path = video or HERE / "demo" / "clip.mp4"
    if str(path) == "-" or Path(path).is_fifo():
        sys.exit(f"{path} can be read once, and this program reads its video more than once: save it as a file first")
    for output in (OUT / "demo.npz", OUT / "demo.mp4", OUT / "demo.webp"):
        tapsdk.check_output(output, path)
    with tapsdk.open_frames(path) as source:
        size = source.size
    points = tapsdk.grid_points(10, size) if truth is None else truth.queries

    tracks = tapsdk.track(path, points, progress=True)

    OUT.mkdir(exist_ok=True)
    tracks.save(OUT / "demo.npz")
    for name in ("demo.mp4", "demo.webp"):
        tracks.draw(path, OUT / name, trail=12)

    report = tracks.report
    speed = f"{report.frames_per_second:.1f} frames per second"
    print(f"tracked   {len(tracks)} points through {tracks.num_frames} frames at {speed}")
    print(f"ran       {report.model} ({report.precision}) on {report.backend}, {report.path} plan")
    if truth is not None:
        print(f"error     {describe_error(tracks, truth, size)}")
    print(f"wrote     {OUT / 'demo.mp4'}, {OUT / 'demo.webp'}, {OUT / 'demo.npz'}")


def describe_error(tracks: tapsdk.Tracks, truth: tapsdk.Tracks, size: tuple[int, int]) -> str:
    """Against the true tracks, where the point can be seen, in pixels of a 256x256 frame as TAP-Vid counts them."""
    found, true = (tapsdk.scale_points(t.xy, size, (256, 256)) for t in (tracks, truth))
    later = np.arange(truth.num_frames) > truth.queries[:, :1]
    error = np.linalg.norm(found - true, axis=-1)[truth.visible & later]
    within = np.mean([(error < d).mean() for d in (1, 2, 4, 8, 16)])
    agree = (tracks.visible == truth.visible)[later].mean()
    return f"median {np.median(error):.2f} px of 256x256, <delta_avg {within:.1%}, visibility right {agree:.1%}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", nargs="?", help="a video of yours")
    try:
        main(parser.parse_args().video)
    except tapsdk.errors.TapsdkError as error:
        sys.exit(f"error: {error}")
