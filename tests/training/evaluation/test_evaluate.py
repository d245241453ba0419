"""Evaluation from videos to a table."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="the generator and Lucas-Kanade need OpenCV: pip install '.[train]'")

from training.__main__ import main
from training.evaluation import evaluate as evaluation
from training.evaluation.datasets import DATASETS, Sample, synthetic
from training.evaluation.evaluate import evaluate, score
from training.evaluation.predictors import lucas_kanade, standing_still


def drifting_noise(step: int = 2, height: int = 96, width: int = 128) -> Sample:
    """Smooth noise that moves `step` pixels to the right per frame, with queries on different frames."""
    import cv2

    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (height, width + 40, 3), np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    frames = np.stack([texture[:, 20 - step * t : 20 - step * t + width] for t in range(6)])
    start = np.float32([[40, 30], [60, 50], [70, 70]])
    xy = start[:, None] + np.float32([step, 0]) * np.arange(6, dtype=np.float32)[None, :, None]
    t = np.array([0, 2, 5])
    queries = np.concatenate([t[:, None], xy[np.arange(3), t]], 1).astype(np.float32)
    return Sample("noise", frames, queries, xy, np.ones((3, 6), bool))


def test_lucas_kanade_follows_a_drift_both_ways() -> None:
    sample = drifting_noise()
    xy, visible = lucas_kanade(sample)
    assert np.abs(xy - sample.xy).max() < 0.2
    assert visible.all()


def test_standing_still_is_as_wrong_as_the_motion_is_large() -> None:
    sample = drifting_noise(step=2)
    xy, _ = standing_still(sample)
    np.testing.assert_array_equal(np.abs(xy - sample.xy)[0, :, 0], [0, 2, 4, 6, 8, 10])


def test_positions_are_scaled_to_256_before_they_are_scored() -> None:
    sample = drifting_noise(height=64, width=64 + 64)
    off = sample.xy + np.float32([0, 0.3])
    assert score(sample, (off, sample.visible))["pts_within_1"] == 0  # 0.3 of 64 rows is 1.2 of 256
    assert score(sample, (off, sample.visible))["pts_within_2"] == 1


def test_a_model_is_scored_beside_the_baselines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:
    monkeypatch.setitem(DATASETS, "noise", lambda textures: iter([drifting_noise()]))
    assert main(["evaluate", "--dataset", "noise", "--json", str(tmp_path / "rows.json")]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert list(rows) == ["still", "lucas-kanade", "tapir"]
    assert rows["lucas-kanade"]["average_jaccard"] > rows["still"]["average_jaccard"]
    assert "lucas-kanade" in capsys.readouterr().out


def test_an_unknown_dataset_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--dataset", "nothing"]) == 1
    assert "use one of synthetic" in capsys.readouterr().err


def test_metrics_are_the_plain_mean_over_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = drifting_noise()
    monkeypatch.setattr(
        evaluation, "predictor", lambda name: lambda s: (s.xy if s is sample else s.xy + 100, s.visible)
    )
    assert evaluate(["x"], [sample, drifting_noise()])["x"]["average_jaccard"] == 0.5


def test_the_held_out_clips_are_the_same_every_time() -> None:
    first, again = (next(synthetic(None)) for _ in range(2))
    np.testing.assert_array_equal(first.frames, again.frames)
    assert first.frames.shape == (24, 256, 256, 3)
