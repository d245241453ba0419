"""Tracks against the truth, one video at a time."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.training.evaluation.test_predictors import drifting_noise
from training.data.labelled_video import LabelledVideo
from training.evaluation.metrics import METRIC_SIZE
from training.evaluation.predictors import standing_still
from training.evaluation.report import Metrics
from training.evaluation.score import score


def without_returns(scores: Metrics) -> Metrics:
    """Without what is said of points that come back, which none does here."""
    of_returns = {name: value for name, value in scores.items() if name.startswith(("AJ_RD", "returns_"))}
    assert all(value == 0 if name.startswith("returns_") else np.isnan(value) for name, value in of_returns.items())
    return {name: value for name, value in scores.items() if name not in of_returns}


def test_true_tracks_score_one() -> None:
    video = drifting_noise()
    scores = without_returns(score(video, video.xy, video.visible))
    assert scores.pop("misleading") == 0
    assert set(scores.values()) == {1}


def test_what_comes_back_scores_as_far_as_it_is_found() -> None:
    video = drifting_noise()
    gone = replace(video, visible=video.visible & (np.arange(6) != 2))
    scores = score(gone, gone.xy, gone.visible)
    assert scores["AJ_RD"] == 1
    assert (scores["returns_dmin1"], scores["returns_dmin4"]) == (3, 0)
    assert score(gone, gone.xy, np.zeros_like(gone.visible))["AJ_RD"] == 0


def test_it_misleads_where_it_shows_a_point_that_is_hidden_or_elsewhere() -> None:
    """Three points, asked for on frames 0, 2 and 5 of 6: eight frames come after."""
    video = drifting_noise()
    hidden, far = video.visible.copy(), video.xy.copy()
    hidden[0, 3] = False
    far[1, 4] += 100
    seen = video.visible
    assert score(replace(video, visible=hidden), video.xy, seen)["misleading"] == pytest.approx(1 / 8)
    assert score(video, far, seen)["misleading"] == pytest.approx(1 / 8)
    assert score(video, far, seen & (np.arange(6) != 4))["misleading"] == 0


def test_positions_are_scaled_to_256_before_they_are_scored() -> None:
    assert METRIC_SIZE == (256, 256)
    video = drifting_noise(height=64, width=64 + 64)
    off = video.xy + np.float32([0, 0.3])
    assert score(video, off, video.visible)["pts_within_1"] == 0  # 0.3 of 64 rows is 1.2 of 256
    assert score(video, off, video.visible)["pts_within_2"] == 1


@pytest.mark.parametrize(("mode", "frames"), [("first", 5 + 3 + 0), ("strided", 5 + 5 + 5)])
def test_the_mode_says_which_frames_count(mode: str, frames: int) -> None:
    """A single wrong flag of visibility, before the query of the last point, is one of so many."""
    video = drifting_noise()
    visible = video.visible.copy()
    visible[2, 0] = False
    wrong = 0 if mode == "first" else 1
    assert score(video, video.xy, visible, mode)["occlusion_accuracy"] == pytest.approx(1 - wrong / frames)


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_frames_of_which_nothing_is_known_are_not_scored(mode: str) -> None:
    """A tracker that calls points visible there is no worse for it, nor one that is lost there."""
    full = drifting_noise()
    known = np.arange(6) != 3
    xy = np.where(known[:, None], full.xy, np.nan).astype(np.float32)
    video = LabelledVideo(full.frames, xy[:2], full.visible[:2] & known, full.queries[:2], known)
    found = np.where(known[:, None], full.xy, 1000)[:2]
    metrics = without_returns(score(video, found, np.ones((2, 6), bool), mode))
    assert metrics.pop("misleading") == 0
    assert all(value == 1 for value in metrics.values())


def test_metrics_of_a_video_are_numbers_that_json_takes() -> None:
    video = drifting_noise()
    assert json.dumps(score(video, *standing_still(video)))
