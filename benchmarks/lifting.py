"""How well tracks are lifted into space: rooms of known geometry, true tracks and those of a model, true depth.

    python benchmarks/lifting.py [--model tapir] [--rooms 8]

One row each: how far depth is off where a point is visible in truth and in the result, how far its place in the world
is (as a share of depth), and the share of points and frames whose visibility is right: as the tracker says it, and
after depth had its say, without the camera's poses and with them.
"""

from __future__ import annotations

import argparse

import numpy as np

import tapsdk
from training.data.spatial_video import SpatialVideo
from training.data.synthetic import SceneConfig
from training.data.synthetic.rooms import make_room


def errors(video: SpatialVideo, tracks: tapsdk.Tracks) -> dict[str, float]:
    here = tapsdk.lift(tracks, video.depth, video.intrinsics)
    world = tapsdk.lift(tracks, video.depth, video.intrinsics, video.camera_to_world)
    both, also = here.visible & video.visible, world.visible & video.visible
    off = abs(here.xyz[both][:, 2] / video.xyz[both][:, 2] - 1)
    gap = np.linalg.norm(world.xyz[also] - video.xyz_world[also], axis=-1) / video.xyz[also][:, 2]
    return {
        "depth off, median": float(np.median(off)),
        "within 1 %": float((off < 0.01).mean()),
        "place off, median": float(np.median(gap)),
        "visible, tracker": float((tracks.visible == video.visible).mean()),
        "lifted": float((here.visible == video.visible).mean()),
        "with poses": float((world.visible == video.visible).mean()),
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
            rows.setdefault(name, []).append(errors(video, tracks))
    titles = list(next(iter(rows.values()))[0])
    print(f"{'':12s}" + "".join(f"{title:>20s}" for title in titles))
    for name, each in rows.items():
        print(f"{name:12s}" + "".join(f"{100 * np.mean([row[title] for row in each]):18.2f} %" for title in titles))


if __name__ == "__main__":
    main()
