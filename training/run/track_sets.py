"""Tracks to learn from without a picture: one half of a scene's tracks is given, the other asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.data.labelled_video import LabelledVideo
from training.data.synthetic import SceneConfig, make_tracks
from training.run.config import ConfigError


@dataclass(frozen=True, eq=False, kw_only=True)
class TrackSet(LabelledVideo):
    """The tracks that are asked for, on black frames, and those that are given.

    given: [S, T, 2] float32, pixels. given_visible: [S, T] bool.
    """

    given: NDArray[np.float32]
    given_visible: NDArray[np.bool_]

    @property
    def sides(self) -> NDArray[np.float32]:
        """(width, height) of the frames."""
        return np.float32(self.frames.shape[2:0:-1])

    @property
    def inputs(self) -> tuple[NDArray[np.generic], ...]:
        """Arguments of `reconstruct` without a batch axis: tracks, visible, frames and queries_txy."""
        queries = self.queries / np.concatenate([np.float32([1]), self.sides])
        return self.given / self.sides, self.given_visible, np.int32(len(self.frames)), queries


def make_track_set(scene: SceneConfig, seed: int) -> TrackSet:
    """The one that `scene` and `seed` determine: points that are visible at any time, asked for at any such time."""
    scene = replace(scene, query="random", textures=None)
    xy, visible, queries = make_tracks(scene, seed)
    asked, given = slice(None, len(xy) // 2), slice(len(xy) // 2, None)
    black = np.zeros((scene.frames, scene.height, scene.width, 3), np.uint8)
    return TrackSet(black, xy[asked], visible[asked], queries[asked], given=xy[given], given_visible=visible[given])


def example(scene: SceneConfig, seed: int) -> dict[str, NDArray[np.generic]]:
    """given [S, T, 2] and given_visible [S, T], frames (T), queries_txy [Q, 3]; xy [Q, T, 2] and visible [Q, T] of the
    queries. Positions are shares of the frame's sides, float32."""
    tracks = make_track_set(scene, seed)
    names = ("given", "given_visible", "frames", "queries_txy")
    answer = {"xy": tracks.xy / tracks.sides, "visible": tracks.visible}
    return {**dict(zip(names, tracks.inputs, strict=True)), **answer}


def check(scene: SceneConfig, frames: int) -> None:
    """Raises ConfigError where a model of `frames` frames cannot learn from tracks of a scene."""
    if scene.points < 2:
        raise ConfigError("points is 1; it must be at least 2: one half of them is given, the other asked for")
    if scene.frames > frames:
        raise ConfigError(f"frames is {scene.frames}; this model takes tracks of at most {frames}")
