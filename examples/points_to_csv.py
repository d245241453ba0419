"""Tracks the points of a CSV file into a CSV file: python examples/points_to_csv.py VIDEO POINTS.csv TRACKS.csv

POINTS.csv has the columns t,x,y: a frame's index and a position in it in pixels; without t, in the first frame.
TRACKS.csv gets a line for every point and frame: point,frame,x,y,visible,confidence, and time in seconds where the
video says when frames are shown.
"""

from __future__ import annotations

import argparse
import csv
import sys

import tapsdk


def main(video: str, points_csv: str, tracks_csv: str) -> None:
    tapsdk.check_output(tracks_csv, video, points_csv)
    with open(points_csv, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        sys.exit(f"{points_csv} holds no points; write a first line t,x,y, then a point a line")
    points = {name: [float(row[name]) for row in rows] for name in ("t", "x", "y") if name in rows[0]}
    tracks = tapsdk.track(video, points, progress=True)
    tracks.save(tracks_csv)
    for point, visible in enumerate(tracks.visible):
        print(f"point {point}: visible in {visible.sum()} of {tracks.num_frames} frames")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", help="the video")
    parser.add_argument("points_csv", help="columns x,y, and t if need be")
    parser.add_argument("tracks_csv", help="the tracks, a line for every point and frame")
    try:
        main(**vars(parser.parse_args()))
    except (tapsdk.errors.TapsdkError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
