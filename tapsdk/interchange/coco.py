"""Tracks as COCO's keypoints: https://cocodataset.org/#format-data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from tapsdk.interchange.scene import DIGITS, Scene, inside

if TYPE_CHECKING:
    from tapsdk.tracks import Tracks

CATEGORY = 1


def write(tracks: Tracks, scene: Scene, file: BinaryIO) -> None:
    """An image a frame, and an annotation for each frame that any point is in; keypoints are named by ids."""
    height, width = scene.size
    document = {
        "info": {"description": "points tracked by tapsdk"},
        "licenses": [],
        "images": [
            {"id": t + 1, "file_name": name, "height": height, "width": width} for t, name in enumerate(scene.images)
        ],
        "categories": [
            {
                "id": CATEGORY,
                "name": "points",
                "supercategory": "points",
                "keypoints": [str(id) for id in tracks.ids.tolist()],
                "skeleton": [],
            }
        ],
    }
    # Frame by frame: as Python's numbers, all of them would take ten times the memory of the tracks.
    file.write((json.dumps(document, allow_nan=False)[:-1] + ', "annotations": [').encode("ascii"))
    for number, annotation in enumerate(_annotations(tracks, scene)):
        file.write(((",\n" if number else "\n") + json.dumps(annotation, allow_nan=False)).encode("ascii"))
    file.write(b"]}\n")


def _annotations(tracks: Tracks, scene: Scene) -> Iterator[dict[str, Any]]:
    labelled = inside(tracks, scene.size)
    for t in np.flatnonzero(labelled.any(axis=0)).tolist():
        here = labelled[:, t]
        keypoints = np.zeros((len(tracks), 3))
        keypoints[here, :2] = tracks.xy[here, t].astype(np.float64).round(DIGITS)
        keypoints[here, 2] = 1 + tracks.visible[here, t]
        low, high = keypoints[here, :2].min(axis=0), keypoints[here, :2].max(axis=0)
        box = (high - low).round(DIGITS)
        yield {
            "id": t + 1,
            "image_id": t + 1,
            "category_id": CATEGORY,
            "iscrowd": 0,
            "num_keypoints": int(here.sum()),
            "keypoints": [int(value) if value.is_integer() else value for value in keypoints.ravel().tolist()],
            "segmentation": [],
            "bbox": [*low.tolist(), *box.tolist()],
            "area": float(box.prod()),
        }
