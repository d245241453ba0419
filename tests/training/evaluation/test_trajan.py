"""Motion judged by an autoencoder of tracks: scores, distances, and what cannot be judged."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tapsdk.errors import ModelError, TracksError
from tests.training.models.trajan.small import SMALL, small
from training.data.labelled_video import LabelledVideo
from training.evaluation import trajan
from training.evaluation.report import Metrics
from training.evaluation.trajan import (
    embed,
    frechet_distance,
    motion_distance,
    reconstruction_score,
    trajan_score,
)

SIZE = (48, 64)
FRAMES = 9
SURE = 9.0


def drifting(points: int = 8, frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray]:
    """Tracks [N, T, 2] in pixels of SIZE and visible [N, T]; hidden positions are NaN."""
    rng = np.random.default_rng(0)
    start, step = rng.uniform((5, 5), (40, 30), (points, 1, 2)), rng.uniform(-0.5, 0.5, (points, 1, 2))
    xy = (start + step * np.arange(frames)[:, None]).astype(np.float32)
    visible = rng.random((points, frames)) < 0.8
    visible[:, :2] = True
    return np.where(visible[..., None], xy, np.float32(np.nan)), visible


class Knowing:
    """Stands for the model: it knows the tracks, and says them with an error of `offset` pixels along x."""

    config = SimpleNamespace(frames=12)

    def __init__(self, xy: np.ndarray, visible: np.ndarray, offset: float = 0, seen: bool | None = None) -> None:
        self.xy, self.visible, self.offset, self.seen = xy, visible, offset, seen
        self.asked: dict[str, np.ndarray] = {}

    def encode(self, tracks: np.ndarray, visible: np.ndarray, frames: np.ndarray) -> np.ndarray:
        return np.zeros((1, 2, 3), np.float32)

    def reconstruct(
        self, tracks: np.ndarray, visible: np.ndarray, frames: np.ndarray, queries_txy: np.ndarray
    ) -> dict[str, np.ndarray]:
        self.asked = {"tracks": tracks, "visible": visible, "frames": frames, "queries": queries_txy}
        height, width = SIZE
        at = queries_txy[0, :, 0].astype(int)
        there = self.xy[:, at].swapaxes(0, 1) / np.float32([width, height]) - queries_txy[0, :, None, 1:]
        mine = np.nan_to_num(np.abs(there).max(-1), nan=9).argmin(1)
        found = np.nan_to_num(self.xy[mine]) + np.float32([self.offset, 0])
        seen = self.visible[mine] if self.seen is None else np.full_like(self.visible[mine], self.seen)
        missing = self.config.frames - found.shape[1]
        found = np.pad(found / np.float32([width, height]), ((0, 0), (0, missing), (0, 0)))
        logits = np.pad(np.where(seen, SURE, -SURE), ((0, 0), (0, missing)))
        return {"tracks": found[None], "visible_logits": logits[None], "certain_logits": logits[None]}


def knowing_score(*, offset: float = 0, seen: bool | None = None, **options: Any) -> Metrics:
    xy, visible = drifting()
    return reconstruction_score(xy, visible, SIZE, Knowing(xy, visible, offset, seen), **options)


# How well tracks are reconstructed


def test_who_knows_the_tracks_scores_one() -> None:
    scores = knowing_score()
    assert [scores[name] for name in ("average_jaccard", "average_pts_within_thresh", "occlusion_accuracy")] == [1] * 3


def test_errors_are_measured_at_256() -> None:
    """A pixel of 64 is four of 256, just not within four."""
    assert knowing_score(offset=0.99)["pts_within_4"] == 1
    scores = knowing_score(offset=1.01)
    assert (scores["pts_within_4"], scores["pts_within_8"]) == (0, 1)


def test_who_sees_nothing_scores_for_hidden_points_alone() -> None:
    scores = knowing_score(seen=False)
    assert scores["average_jaccard"] == 0 < scores["occlusion_accuracy"] < 1


def test_one_half_is_given_and_the_other_asked_for_where_it_is_visible() -> None:
    xy, visible = drifting(points=7)
    model = Knowing(xy, visible)
    reconstruction_score(xy, visible, SIZE, model)
    given, seen, queries = (model.asked[name] for name in ("tracks", "visible", "queries"))
    assert given.shape == (1, 4, FRAMES, 2) and queries.shape == (1, 3, 3)
    assert model.asked["frames"].tolist() == [FRAMES]
    everything = np.nan_to_num(xy) / np.float32([64, 48])
    rows = [np.flatnonzero((everything == track).all((1, 2))).item() for track in given[0]]
    assert np.array_equal(seen[0], visible[rows])
    asked = [i for i in range(7) if i not in rows]
    found = {tuple(query) for query in queries[0].tolist()}
    possible = {(float(t), *everything[i, t].tolist()) for i in asked for t in np.flatnonzero(visible[i])}
    assert found <= possible


def test_the_frames_asked_for_are_not_scored_and_vary() -> None:
    xy, visible = drifting(points=40)
    model = Knowing(xy, visible)
    frames = []
    for seed in (0, 0, 1):
        reconstruction_score(xy, visible, SIZE, model, seed=seed)
        frames.append(model.asked["queries"][0, :, 0].tolist())
    assert frames[0] == frames[1] != frames[2]
    assert len(set(frames[0])) > 3
    one = np.zeros((4, 2), bool)
    one[:, 0] = True
    scores = reconstruction_score(xy[:4, :2], one, SIZE, Knowing(xy[:4, :2], one))
    assert np.isnan(scores["average_pts_within_thresh"])  # no other frame is visible


def test_the_authors_way_to_score() -> None:
    """In pixels of the video, with frame 0 left out; only who is neither sure nor certain calls a point hidden."""
    scores = knowing_score(offset=1.51, as_published=True)  # half a pixel of it is theirs
    assert (scores["pts_within_1"], scores["pts_within_2"]) == (0, 1)
    assert knowing_score(as_published=True)["average_jaccard"] == 1
    outputs = {"visible_logits": np.float32([9, 9, -9, 0]), "certain_logits": np.float32([9, -9, -9, 0])}
    assert trajan._published_visible(outputs).tolist() == [True, True, False, True]


def test_the_authors_positions_are_half_a_pixel_off() -> None:
    xy, visible = drifting()
    model = Knowing(xy + np.float32(0.5), visible)
    assert reconstruction_score(xy, visible, SIZE, model, as_published=True)["average_jaccard"] == 1
    reconstruction_score(xy, visible, SIZE, model)
    plain = model.asked["tracks"]
    reconstruction_score(xy, visible, SIZE, model, as_published=True)
    shown = model.asked["visible"][..., None]
    moved = (model.asked["tracks"] - plain) * np.float32([64, 48])
    np.testing.assert_allclose(moved, np.where(shown, 0.5, moved), atol=1e-5)


# Any tracks


@pytest.fixture(params=["torch", "jax"])
def model(request: pytest.FixtureRequest) -> Any:
    return small(request.param)


def test_models_of_both_frameworks_score(model: Any) -> None:
    xy, visible = drifting(frames=SMALL.frames)
    scores = reconstruction_score(xy, visible, SIZE, model)
    assert all(0 <= value <= 1 for value in scores.values())
    latents = embed(xy, visible, SIZE, model)
    assert latents.shape == (SMALL.latents, SMALL.channels) and latents.dtype == np.float32


def test_the_frameworks_score_alike() -> None:
    xy, visible = drifting(frames=SMALL.frames)
    latents = [embed(xy, visible, SIZE, small(framework)) for framework in ("torch", "jax")]
    assert motion_distance(*latents) < 1e-4


def test_tracks_that_are_never_visible_are_left_out() -> None:
    xy, visible = drifting(frames=SMALL.frames)
    more = np.concatenate([xy, xy[:3] + 1]), np.concatenate([visible, np.zeros_like(visible[:3])])
    torch = small("torch")
    assert reconstruction_score(*more, SIZE, torch) == reconstruction_score(xy, visible, SIZE, torch)
    assert np.array_equal(embed(*more, SIZE, torch), embed(xy, visible, SIZE, torch))


@pytest.mark.parametrize("points", [0, 1, 5])
def test_where_fewer_than_two_tracks_are_visible_there_is_no_score(points: int) -> None:
    xy, visible = drifting(points, SMALL.frames)
    visible[1:] = False
    scores = reconstruction_score(xy, visible, SIZE, small("torch"))
    assert scores.keys() == knowing_score().keys()
    assert all(np.isnan(value) for value in scores.values())


def test_one_point_has_a_motion_and_none_has_none() -> None:
    xy, visible = drifting(1, SMALL.frames)
    assert np.isfinite(embed(xy, visible, SIZE, small("torch"))).all()
    for tracks, seen in ((xy, np.zeros_like(visible)), (xy[:0], visible[:0])):
        with pytest.raises(TracksError, match="no point is ever visible, so there is no motion to embed"):
            embed(tracks, seen, SIZE, small("torch"))


def test_one_frame_is_enough() -> None:
    xy, visible = drifting(frames=2)
    assert np.isfinite(embed(xy[:, :1], visible[:, :1], SIZE, small("torch"))).all()
    scores = reconstruction_score(xy[:, :1], visible[:, :1], SIZE, small("torch"))
    assert np.isnan(scores["occlusion_accuracy"])  # the frame asked for is not scored


def test_only_the_first_frames_of_long_tracks_are_scored(caplog: pytest.LogCaptureFixture) -> None:
    xy, visible = drifting(frames=SMALL.frames + 7)
    torch = small("torch")
    first = xy[:, : SMALL.frames], visible[:, : SMALL.frames]
    expected = reconstruction_score(*first, SIZE, torch), embed(*first, SIZE, torch)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert reconstruction_score(xy, visible, SIZE, torch) == expected[0]
    assert "only the first 6 of 13 frames are scored" in caplog.text
    assert np.array_equal(embed(xy, visible, SIZE, torch), expected[1])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tracks": np.zeros((3, 4))}, r"tracks must be \[N, T, 2\] and visible \[N, T\], got \[3, 4\] and \[8, 9\]"),
        ({"visible": np.ones((9, 8), bool)}, r"got \[8, 9, 2\] and \[9, 8\]"),
        ({"tracks": np.zeros((8, 0, 2)), "visible": np.ones((8, 0))}, r"got \[8, 0, 2\] and \[8, 0\]"),
        ({"visible": np.full((8, FRAMES), 0.5)}, "visible must be True or False, or 1 or 0"),
        ({"visible": np.full((8, FRAMES), np.nan)}, "visible must be True or False, or 1 or 0"),
        ({"visible": np.ones((8, FRAMES), bool)}, "positions that are not finite where visible"),
        ({"size": (0, 64)}, r"size must be \(height, width\) of the video in pixels, got \(0, 64\)"),
        ({"size": (64,)}, "size must be"),
    ],
)
def test_what_cannot_be_scored_is_an_error(change: dict[str, Any], says: str) -> None:
    xy, visible = drifting()
    arguments = {"tracks": xy, "visible": visible, "size": SIZE, **change}
    for judge in (reconstruction_score, embed):
        with pytest.raises(TracksError, match=says):
            judge(**arguments, model=Knowing(xy, visible))


def test_a_tracker_scores_nothing() -> None:
    with pytest.raises(ModelError, match=r"tracks are scored by a model of trajan/base, got SimpleNamespace"):
        reconstruction_score(*drifting(), SIZE, SimpleNamespace(clip=None))


# Distances


def test_equal_motions_are_no_distance_apart() -> None:
    torch = small("torch")
    latents = embed(*drifting(frames=SMALL.frames), SIZE, torch)
    assert motion_distance(latents, latents) == 0
    xy, visible = drifting(frames=SMALL.frames)
    assert motion_distance(latents, embed(2 * xy, visible, (96, 128), torch)) < 1e-5  # the same at twice the size
    assert motion_distance(latents, embed(xy[:, ::-1], visible[:, ::-1], SIZE, torch)) > 0.01


def test_the_distance_is_euclidean() -> None:
    assert motion_distance(np.zeros((2, 3)), np.full((2, 3), 2.0)) == pytest.approx(24**0.5)


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (np.zeros((2, 3)), np.zeros((3, 2)), r"latents of one model have one shape, got \[2, 3\] and \[3, 2\]"),
        (np.zeros((2, 3)), np.full((2, 3), np.nan), "latents have numbers that are not finite"),
    ],
)
def test_latents_that_cannot_be_compared_are_an_error(a: np.ndarray, b: np.ndarray, says: str) -> None:
    with pytest.raises(TracksError, match=says):
        motion_distance(a, b)


def textbook_frechet(a: np.ndarray, b: np.ndarray) -> float:
    """By the roots of the eigenvalues of the product of both covariances."""
    apart = np.square(a.mean(0) - b.mean(0)).sum()
    one, other = np.cov(a.T), np.cov(b.T)
    roots = np.sqrt(np.linalg.eigvals(one @ other).astype(complex)).real.sum()
    return float(apart + np.trace(one) + np.trace(other) - 2 * roots)


@pytest.mark.parametrize(("videos", "others"), [(40, 30), (4, 3), (2, 9)])
def test_the_frechet_distance_is_that_of_the_textbook(videos: int, others: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(videos, 6)), rng.normal(0.5, 2, (others, 6))
    assert frechet_distance(a.reshape(-1, 2, 3), b.reshape(-1, 2, 3)) == pytest.approx(textbook_frechet(a, b))


def test_a_set_is_no_distance_from_itself_and_as_far_as_it_is_moved() -> None:
    a = np.random.default_rng(0).normal(size=(5, 128, 64)).astype(np.float32)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    moved = a.copy()
    moved[:, 0, 0] += 3
    assert frechet_distance(a, moved) == pytest.approx(9, rel=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [
        (np.zeros((1, 2, 3)), np.zeros((4, 2, 3)), r"at least two videos .* got \[1, 2, 3\] and \[4, 2, 3\]"),
        (np.zeros((4, 2, 3)), np.zeros((4, 3, 2)), r"got \[4, 2, 3\] and \[4, 3, 2\]"),
        (np.zeros(4), np.zeros(4), r"got \[4\] and \[4\]"),
        (np.full((4, 2), np.inf), np.zeros((4, 2)), "not finite"),
    ],
)
def test_sets_that_cannot_be_compared_are_an_error(a: np.ndarray, b: np.ndarray, says: str) -> None:
    with pytest.raises(TracksError, match=says):
        frechet_distance(a, b)


# In an evaluation


def test_a_video_is_scored_by_its_tracks_and_by_their_distance_from_the_true_ones() -> None:
    xy, visible = drifting(frames=SMALL.frames)
    video = LabelledVideo(np.zeros((SMALL.frames, *SIZE, 3), np.uint8), xy, visible)
    torch = small("torch")
    scores = trajan_score(video, xy, visible, torch)
    plain = reconstruction_score(xy, visible, SIZE, torch)
    assert {name: scores[f"trajan_{name}"] for name in plain} == plain
    assert scores["trajan_distance"] == 0
    assert trajan_score(video, np.nan_to_num(xy) + 5, visible, torch)["trajan_distance"] > 0.01
    assert np.isnan(trajan_score(video, xy, np.zeros_like(visible), torch)["trajan_distance"])


def test_evaluate_prints_what_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cv2")
    from training.__main__ import main
    from training.data import datasets
    from training.evaluation import evaluate

    asked = []
    monkeypatch.setattr(evaluate, "load", lambda *model: asked.append(model) or small("torch"))
    monkeypatch.setitem(datasets.GENERATED, "synthetic", {"frames": 4, "height": 32, "width": 32, "points": 4})
    common = ["evaluate", "--model", "still", "--metrics"]
    assert main([*common, "benchmark", "trajan", "--trajan-weights", "w.npz", "--json", str(tmp_path / "s.json")]) == 0
    assert asked == [("trajan/base", "w.npz")]
    assert capsys.readouterr().out.split()[:8] == ["AJ", "<d_avg", "OA", "AJ_RD", "mislead", "TR_AJ", "TR_d", "TR_OA"]
    assert '"trajan_distance"' in (tmp_path / "s.json").read_text()
