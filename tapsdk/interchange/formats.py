"""The table of formats. Without numpy: `tapsdk convert --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Need = Literal["size", "fps"]


@dataclass(frozen=True)
class Format:
    """A format of another program.

    module: in this package, with a function `write(tracks, scene, file)`.
    suffix: that files of it have as a rule. telling: whether the suffix alone says which format is meant.
    needs: what of the `Scene` it cannot be written without.
    """

    module: str
    suffix: str
    telling: bool
    needs: tuple[Need, ...]
    holds: str
    read_by: str


FORMATS: dict[str, Format] = {
    "parquet": Format(
        "parquet", ".parquet", True, (), "the columns of `tracks.to_dict()`; null for NaN", "pandas, polars, DuckDB"
    ),
    "nuke": Format(
        "nuke",
        ".nk",
        True,
        ("size",),
        "a Tracker4 node: keys and `enable` where a point is visible, `error` is 1 - confidence; frames from 1, y up "
        "from the bottom edge",
        "Nuke: Insert Comp Nodes",
    ),
    "after-effects": Format(
        "after_effects",
        ".txt",
        False,
        ("size", "fps"),
        "a motion tracker: Feature Center and Attach Point where a point is visible, Confidence in all frames; frames "
        "from 0",
        "After Effects: copy the text, paste onto a layer",
    ),
    "colmap": Format(
        "colmap",
        ".db",
        True,
        ("size",),
        "a database of one camera, keypoints where a point is visible, and matches of frames 1, 2, 4, 8, ... apart",
        "COLMAP: `geometric_verifier`, then `mapper`",
    ),
    "coco": Format(
        "coco",
        ".json",
        False,
        ("size",),
        "keypoints, an annotation a frame: v = 2 visible, 1 hidden, 0 outside the frame",
        "pycocotools, Datumaro",
    ),
    "cvat": Format(
        "cvat",
        ".xml",
        False,
        ("size",),
        "CVAT for video 1.1: a track a point, labelled `point`; `occluded` where hidden, `outside` outside the frame",
        "CVAT: Upload annotations",
    ),
    "rerun": Format(
        "rerun_recording", ".rrd", True, (), "visible points, and trails of 30 frames; frames from 0", "Rerun's viewer"
    ),
}
