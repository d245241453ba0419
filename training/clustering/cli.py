"""python -m training cluster: points of a tracks file grouped by motion."""

from __future__ import annotations

import argparse
import io
import itertools
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import tapsdk
from tapsdk.geometry import Size
from tapsdk.system.files import AtomicFile
from tapsdk.tracks import Tracks
from training.clustering.clusters import Clusters, cluster
from training.clustering.errors import ClusterError

THROWN_OUT = (128, 128, 128)
"""The colour of points that are of no group."""


def add_parser(commands: Any) -> None:
    """Adds `cluster` to the subcommands of a parser."""
    parser = commands.add_parser(
        "cluster",
        help="group the points of a tracks file by motion",
        description="Groups tracked points by the rigid motion of what they lie on. Of several demonstrations, give a "
        "tracks file each, with the same points in the same order.",
    )
    parser.add_argument("tracks", type=Path, nargs="+", metavar="TRACKS.npz", help="as `tapsdk track --save` writes it")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="LABELS.npz", help="labels, error and kept")
    parser.add_argument("--overlay", type=Path, metavar="VIDEO", help="the video that was tracked, to be drawn on")
    parser.add_argument(
        "--overlay-output", type=Path, metavar="OUT.mp4", help="where to draw it (default: beside LABELS.npz, as .mp4)"
    )
    parser.add_argument("--size", metavar="HxW", type=_size, help="of the frames, where no video says it")
    parser.add_argument("--clusters", type=int, default=7, metavar="K", help="groups at the end (default: 7)")
    parser.add_argument("--most", type=int, default=12, metavar="K", help="groups in between (default: 12)")
    parser.add_argument("--em", action="store_true", help="points may belong to several groups in between")
    parser.add_argument("--six-dof", action="store_true", help="groups may turn in depth")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    parser.set_defaults(run=_run)


def _size(text: str) -> Size:
    sides = text.split("x")
    if len(sides) != 2 or not all(side.isdigit() and int(side) for side in sides):
        raise argparse.ArgumentTypeError(f"must be HEIGHTxWIDTH, such as 480x640, got {text!r}")
    return int(sides[0]), int(sides[1])


def _run(args: argparse.Namespace) -> None:
    drawn = None if args.overlay is None else args.overlay_output or args.output.with_suffix(".mp4")
    inputs = [*args.tracks, *filter(None, [args.overlay])]
    for output in filter(None, [args.output, drawn]):
        tapsdk.check_output(output, *inputs)
    if drawn is not None:
        tapsdk.check_output(drawn, args.output)
    episodes = [Tracks.load(path) for path in args.tracks]
    joined, boundaries = _joined(episodes, args.tracks)
    options = {"em": args.em, "six_dof": args.six_dof, "seed": args.seed}
    # Opened before the work, so that a wrong path shows at once.
    with AtomicFile(args.output, outdates=drawn) as file:
        found = cluster(
            joined.xy, joined.visible, _frame_size(args, joined), args.clusters, args.most, boundaries, **options
        )
        archive = io.BytesIO()  # numpy leaves its archive open when writing to a file fails
        np.savez_compressed(archive, labels=found.labels, error=found.error, kept=found.kept)
        file.write(archive.getbuffer())
    sizes = np.bincount(found.labels[found.kept], minlength=args.clusters)
    print(f"{args.output}: {len(found.labels)} points, groups of {', '.join(map(str, sizes))}", end="")
    print(f"; {int((~found.kept).sum())} seen too seldom" if not found.kept.all() else "")
    if drawn is not None:
        _draw(args.overlay, drawn, episodes[0], found)
        print(f"{drawn}: the points in the colours of their groups")


def _joined(episodes: list[Tracks], paths: list[Path]) -> tuple[Tracks, list[tuple[int, int]]]:
    """All frames one after the other, and where each file's begin and end."""
    for tracks, path in zip(episodes, paths, strict=True):
        if len(tracks) != len(episodes[0]):
            raise ClusterError(
                f"{path} has {len(tracks)} points and {paths[0]} has {len(episodes[0])}; "
                "all demonstrations need the same points"
            )
    ends = np.cumsum([0, *(tracks.num_frames for tracks in episodes)]).tolist()
    xy, visible, confidence = (
        np.concatenate([getattr(tracks, name) for tracks in episodes], axis=1)
        for name in ("xy", "visible", "confidence")
    )
    return Tracks(xy, visible, confidence), list(itertools.pairwise(ends))


def _frame_size(args: argparse.Namespace, tracks: Tracks) -> Size:
    if args.overlay is not None:
        with tapsdk.open_frames(args.overlay) as source:
            return source.size
    if args.size is not None:
        return int(args.size[0]), int(args.size[1])
    # It is no more than a scale: what holds all that is seen is as good.
    seen = tracks.xy[tracks.visible & np.isfinite(tracks.xy).all(axis=2)]
    width, height = np.maximum(np.ceil(seen.max(axis=0, initial=1)), 1).astype(int).tolist()
    return height, width


def _draw(video: Path, output: Path, tracks: Tracks, found: Clusters) -> None:
    """The video of the first tracks with every point in the colour of its group."""
    with ExitStack() as stack:
        source = stack.enter_context(tapsdk.open_frames(video))
        writer = tapsdk.VideoWriter(output, source.fps, source.size, pixel_aspect=source.pixel_aspect)
        stack.enter_context(writer)
        for t, frame in enumerate(tapsdk.draw(source, tracks, colors=group_colors(found.labels))):
            writer.write(frame, None if tracks.times is None else float(tracks.times[t]))


def group_colors(labels: NDArray[np.int64]) -> NDArray[np.uint8]:
    """[N, 3] uint8 RGB: one colour a group, grey for points of none."""
    palette = np.concatenate([tapsdk.distinct_colors(int(labels.max(initial=-1)) + 1), [THROWN_OUT]])
    colors: NDArray[np.uint8] = palette.astype(np.uint8)[labels]
    return colors
