"""A synthetic clip as a video with its true tracks: python -m training.data.synthetic.export_clip --seed 7 -o DIR"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tapsdk.tracks import Tracks
from tapsdk.video import VideoWriter
from training.data.synthetic import SceneConfig, make_clip

FPS = 24.0


def export_clip(config: SceneConfig, seed: int, directory: Path) -> None:
    """Writes clip.mp4 and tracks.npz (true positions; confidence 1 where visible)."""
    clip = make_clip(config, seed)
    directory.mkdir(parents=True, exist_ok=True)
    with VideoWriter(directory / "clip.mp4", FPS, clip.frames.shape[1:3]) as writer:
        for frame in clip.frames:
            writer.write(frame)
    truth = Tracks(clip.xy, clip.visible, clip.visible.astype(np.float32), queries=clip.queries, fps=FPS)
    truth.save(directory / "tracks.npz")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.data.synthetic.export_clip", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, nargs=2, default=(288, 512), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=72)
    parser.add_argument("--points", type=int, default=64)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    args = parser.parse_args()
    height, width = args.size
    config = SceneConfig(height=height, width=width, frames=args.frames, points=args.points, query="frame0")
    export_clip(config, args.seed, args.output)


if __name__ == "__main__":
    main()
