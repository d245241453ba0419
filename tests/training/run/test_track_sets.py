"""Tracks to learn from without a picture."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from training.data.synthetic import SceneConfig, make_clip, make_tracks
from training.run.batches import check_clips, make_batch
from training.run.config import ConfigError, Phase, TrainConfig
from training.run.track_sets import example, make_track_set

SCENE = SceneConfig(height=32, width=48, frames=5, points=7)


def test_tracks_are_those_of_the_clip_that_is_not_drawn() -> None:
    for seed in range(4):
        clip, (xy, visible, queries) = make_clip(SCENE, seed), make_tracks(SCENE, seed)
        assert np.array_equal(xy, clip.xy)
        assert np.array_equal(visible, clip.visible)
        assert np.array_equal(queries, clip.queries)


def test_one_half_is_given_and_the_other_asked_for() -> None:
    tracks = make_track_set(SCENE, 0)
    assert (tracks.given.shape, tracks.xy.shape) == ((4, 5, 2), (3, 5, 2))
    xy, visible, queries = make_tracks(SCENE, 0)
    assert np.array_equal(np.concatenate([tracks.xy, tracks.given]), xy)
    assert np.array_equal(np.concatenate([tracks.visible, tracks.given_visible]), visible)
    assert np.array_equal(tracks.queries, queries[:3])


def test_points_are_asked_for_in_any_frame_where_they_are_visible() -> None:
    for scene in (SCENE, replace(SCENE, query="frame0")):
        sets = [make_track_set(scene, seed) for seed in range(6)]
        frames = [tracks.queries[:, 0].astype(int) for tracks in sets]
        assert all(tracks.visible[np.arange(3), t].all() for tracks, t in zip(sets, frames, strict=True))
        assert len(set(np.concatenate(frames).tolist())) > 2


def test_positions_are_shares_of_the_frame() -> None:
    tracks, shares = make_track_set(SCENE, 0), example(SCENE, 0)
    assert {name: (array.shape, array.dtype.name) for name, array in shares.items()} == {
        "given": ((4, 5, 2), "float32"),
        "given_visible": ((4, 5), "bool"),
        "frames": ((), "int32"),
        "queries_txy": ((3, 3), "float32"),
        "xy": ((3, 5, 2), "float32"),
        "visible": ((3, 5), "bool"),
    }
    np.testing.assert_allclose(shares["xy"] * np.float32([48, 32]), tracks.xy, rtol=1e-6)
    at = shares["xy"][np.arange(3), shares["queries_txy"][:, 0].astype(int)]
    np.testing.assert_allclose(shares["queries_txy"][:, 1:], at, rtol=1e-6)
    assert shares["frames"] == 5


def of_tracks(**phase: int) -> TrainConfig:
    phases = (Phase(1, size=32, batch=2, **{"frames": 3, "points": 6, **phase}),)
    return TrainConfig("trajan/base", phases, architecture={"frames": 4})


def test_a_batch_is_of_the_kind_that_the_family_learns_from() -> None:
    batch = make_batch(of_tracks(), 0)
    assert batch["given"].shape == (2, 3, 3, 2)
    assert batch["frames"].tolist() == [3, 3]
    assert "video" not in batch


@pytest.mark.parametrize(
    ("phase", "says"),
    [({"points": 1}, "points is 1; it must be at least 2"), ({"frames": 5}, "frames is 5; .* at most 4")],
)
def test_what_cannot_be_learned_from_is_refused_before_the_first_step(phase: dict[str, int], says: str) -> None:
    check_clips(of_tracks())
    with pytest.raises(ConfigError, match=says):
        check_clips(of_tracks(**phase))


@pytest.mark.parametrize("asked", [{"data": "videos"}, {"validation": "videos"}, {"augment": {"flip": 1.0}}])
def test_it_learns_from_generated_tracks_alone(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.run.batches._check_dataset", lambda *_: None)
    with pytest.raises(ConfigError, match="generated tracks alone; leave out data"):
        check_clips(replace(of_tracks(), **asked))
