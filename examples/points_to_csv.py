"""Tracks the points of a CSV file into a CSV file: python examples/points_to_csv.py VIDEO POINTS.csv TRACKS.csv

POINTS.csv has the columns t,x,y: a frame's index and a position in it in pixels. TRACKS.csv gets a line for every
point and frame: point,frame,x,y,visible,confidence, and time in seconds where the video says when frames are shown.
"""

from __future__ import annotations

import csv
import sys

import tapsdk


def main(video: str, points_csv: str, tracks_csv: str) -> None:
    tapsdk.check_output(tracks_csv, video, points_csv)
    with open(points_csv, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    points = {name: [float(row[name]) for row in rows] for name in ("t", "x", "y")}
    tracks = tapsdk.track(video, points, progress=True)
    tracks.save(tracks_csv)
    for point, visible in enumerate(tracks.visible):
        print(f"point {point}: visible in {visible.sum()} of {tracks.num_frames} frames")


if __name__ == "__main__":
    main(*sys.argv[1:])
