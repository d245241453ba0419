"""How well tracks are lifted into space: rooms of known geometry, true tracks and those of a model, true depth.

    python -m benchmarks.lifting --model tapir --rooms 8

For each: the error of depth where a point is visible in truth and in the result, and the share of points and frames
whose visibility is right, before depth had its say and after.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray

import tapsdk
from training.data.spatial_video import SpatialVideo
from training.data.synthetic import SceneConfig
from training.data.synthetic.rooms import make_room


def errors(video: SpatialVideo, tracks: tapsdk.Tracks, poses: NDArray[np.float64] | None) -> dict[str, float]:
    found = tapsdk.lift(tracks, video.depth, video.intrinsics, poses)
    both = found.visible & video.visible
    truth = video.xyz if poses is None else video.xyz_world
    gap = np.linalg.norm(found.xyz[both] - truth[both], axis=-1) / video.xyz[both][:, 2]
    here = tapsdk.lift(tracks, video.depth, video.intrinsics)
    both &= here.visible
    off = abs(here.xyz[both][:, 2] / video.xyz[both][:, 2] - 1)
    return {
        "depth, median": float(np.median(off)),
        "depth, within 1 %": float((off < 0.01).mean()),
        "place, median": float(np.median(gap)),
        "visible, tracker": float((tracks.visible == video.visible).mean()),
        "visible, lifted": float((found.visible == video.visible).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tapir")
    parser.add_argument("--rooms", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1_000_000, help="of the first room")
    parser.add_argument("--size", type=int, nargs=2, default=(256, 320), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--points", type=int, default=64)
    args = parser.parse_args()
    config = SceneConfig(args.size[0], args.size[1], args.frames, args.points, query="frame0", split="heldout")
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in range(args.seed, args.seed + args.rooms):
        video = make_room(config.without_appearance(), seed)
        true = tapsdk.Tracks(video.xy, video.visible, video.visible.astype(np.float32), queries=video.queries)
        for name, tracks in (("truth", true), (args.model, tapsdk.track(video.frames, video.queries, args.model))):
            for place, poses in (("camera", None), ("world", video.camera_to_world)):
                rows.setdefault(f"{name}, {place}", []).append(errors(video, tracks, poses))
    titles = list(next(iter(rows.values()))[0])
    print(f"{'':24s}" + "".join(f"{title:>20s}" for title in titles))
    for name, each in rows.items():
        print(f"{name:24s}" + "".join(f"{100 * np.mean([row[title] for row in each]):18.2f} %" for title in titles))


if __name__ == "__main__":
    main()
