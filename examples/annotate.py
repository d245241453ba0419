"""One point's track through clicks: python examples/annotate.py VIDEO CLICKS.csv TRACK.csv

CLICKS.csv has the columns t,x,y: where the point is in some frames, as somebody has clicked it. Between two clicks it
is tracked from both; each of the two tracks is bent to end at the other's click, and the nearer and surer one counts
for more. So the track goes through every click, and a click more wherever it drifts is all that is left to do.
"""

from __future__ import annotations

import argparse
import csv
import sys

import numpy as np

import tapsdk


def main(video: str, clicks_csv: str, track_csv: str) -> None:
    tapsdk.check_output(track_csv, video, clicks_csv)
    with open(clicks_csv, newline="", encoding="utf-8") as file:
        clicks = {int(row["t"]): (float(row["x"]), float(row["y"])) for row in csv.DictReader(file)}
    if not clicks:
        sys.exit(f"{clicks_csv} holds no clicks; write t,x,y, a click a line")
    t, xy = np.array(sorted(clicks)), np.array([clicks[t] for t in sorted(clicks)])
    join(tapsdk.track(video, np.column_stack([t, xy]), progress=True), t, xy).save(track_csv)


def join(tracks: tapsdk.Tracks, t: np.ndarray, xy: np.ndarray) -> tapsdk.Tracks:
    """One track [1, T] of those [K, T] that start from clicks xy [K, 2] in frames t [K], in order."""
    path, confidence, visible = (np.array(each) for each in (tracks.xy, tracks.confidence, tracks.visible))
    frame = np.arange(tracks.num_frames)
    before = np.clip(np.searchsorted(t, frame, side="right") - 1, 0, None)  # the click before each frame
    after = np.minimum(before + (frame > t[before]), len(t) - 1)
    share = (frame - t[before]) / np.maximum(t[after] - t[before], 1)
    forward = path[before, frame] + share[:, None] * (xy[after] - path[before, t[after]])
    backward = path[after, frame] + (1 - share[:, None]) * (xy[before] - path[after, t[before]])
    weight = np.stack([(1 - share) * confidence[before, frame], share * confidence[after, frame]]) + 1e-6
    weight /= weight.sum(axis=0)
    mixed = weight[0, :, None] * forward + weight[1, :, None] * backward
    seen = (weight * np.stack([visible[before, frame], visible[after, frame]])).sum(axis=0)
    sure = (weight * np.stack([confidence[before, frame], confidence[after, frame]])).sum(axis=0)
    at_click = np.isin(frame, t)
    mixed[t], sure[at_click], seen[at_click] = xy, 1, 1
    return tapsdk.Tracks(mixed[None], seen[None] > 0.5, sure[None], fps=tracks.fps, times=tracks.times)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", help="the video")
    parser.add_argument("clicks_csv", help="columns t,x,y: where the point is in some frames")
    parser.add_argument("track_csv", help="the track, a line a frame")
    try:
        main(**vars(parser.parse_args()))
    except (tapsdk.errors.TapsdkError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
