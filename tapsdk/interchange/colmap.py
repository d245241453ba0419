"""Tracks as a database of COLMAP: https://colmap.github.io/database.html.

Newer versions of COLMAP add the tables that they have beside these as they open it.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tapsdk.errors import SaveError
from tapsdk.interchange.scene import Scene, seen

if TYPE_CHECKING:
    from tapsdk.tracks import Tracks

MOST_IMAGES = 2147483647
"""Which pairs of images are numbered by."""
SIMPLE_RADIAL = 2
FOCAL = 1.2
"""COLMAP's own guess of a focal length, in longer sides of the picture."""
_SCHEMA = f"""
CREATE TABLE cameras (camera_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, model INTEGER NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, params BLOB, prior_focal_length INTEGER NOT NULL);
CREATE TABLE images (image_id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL UNIQUE,
    camera_id INTEGER NOT NULL, CONSTRAINT image_id_check CHECK(image_id >= 0 and image_id < {MOST_IMAGES}),
    FOREIGN KEY(camera_id) REFERENCES cameras(camera_id));
CREATE UNIQUE INDEX index_name ON images(name);
CREATE TABLE keypoints (image_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL,
    data BLOB, FOREIGN KEY(image_id) REFERENCES images(image_id) ON DELETE CASCADE);
CREATE TABLE descriptors (image_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL,
    data BLOB, FOREIGN KEY(image_id) REFERENCES images(image_id) ON DELETE CASCADE);
CREATE TABLE matches (pair_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL, cols INTEGER NOT NULL, data BLOB);
CREATE TABLE two_view_geometries (pair_id INTEGER PRIMARY KEY NOT NULL, rows INTEGER NOT NULL,
    cols INTEGER NOT NULL, data BLOB, config INTEGER NOT NULL, F BLOB, E BLOB, H BLOB, qvec BLOB, tvec BLOB);
"""


def write(tracks: Tracks, scene: Scene, file: BinaryIO) -> None:
    """Keypoints are the points that are visible in a frame, by their rows; pixels count as ours. Raises SaveError."""
    with TemporaryDirectory() as folder:  # SQLite writes to paths alone
        path = Path(folder) / "database.db"
        try:
            with closing(sqlite3.connect(path)) as database, database:
                _fill(database, tracks, scene)
        except sqlite3.Error as error:
            raise SaveError(f"the database for COLMAP could not be written: {error}") from error
        with open(path, "rb") as written:
            shutil.copyfileobj(written, file)


def _fill(database: sqlite3.Connection, tracks: Tracks, scene: Scene) -> None:
    database.executescript(_SCHEMA)
    height, width = scene.size
    lens = np.array([FOCAL * max(scene.size), width / 2, height / 2, 0], dtype="<f8")
    database.execute("INSERT INTO cameras VALUES (1, ?, ?, ?, ?, 0)", (SIMPLE_RADIAL, width, height, lens.tobytes()))
    database.executemany("INSERT INTO images VALUES (?, ?, 1)", enumerate(scene.images, 1))
    visible = seen(tracks)
    rows = ((t + 1, *_blob(tracks.xy[visible[:, t], t].astype("<f4"))) for t in range(tracks.num_frames))
    database.executemany("INSERT INTO keypoints VALUES (?, ?, ?, ?)", rows)
    database.executemany("INSERT INTO matches VALUES (?, ?, ?, ?)", _matches(visible))


def _matches(visible: NDArray[np.bool_]) -> Iterator[tuple[int, int, int, bytes]]:
    """Of frames 1, 2, 4, 8, ... apart: a few for each frame, and enough to join a point across where it is hidden."""
    frames = visible.shape[1]
    number = np.cumsum(visible, axis=0) - 1  # of a point among the keypoints of a frame
    apart = 1
    while apart < frames:
        for one in range(frames - apart):
            other = one + apart
            both = visible[:, one] & visible[:, other]
            if both.any():
                pairs = np.stack([number[both, one], number[both, other]], axis=1).astype("<u4")
                yield (one + 1) * MOST_IMAGES + other + 1, *_blob(pairs)
        apart *= 2


def _blob(matrix: NDArray[np.generic]) -> tuple[int, int, bytes]:
    return len(matrix), matrix.shape[1], matrix.tobytes()
