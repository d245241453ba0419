"""TAP-Vid's metrics, against the published implementation and on cases small enough to work out by hand."""

from pathlib import Path

import numpy as np
import pytest

from tapsdk.errors import TracksError
from training.evaluation.metrics import THRESHOLDS, tapvid_metrics

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.mark.parametrize("case", [0, 1, 2])
def test_equals_the_published_metrics_to_the_last_digit(case: int) -> None:
    golden = np.load(GOLDEN / f"tapvid_metrics_{case}.npz")
    inputs = [golden[k] for k in ("query_points", "gt_occluded", "gt_tracks", "pred_occluded", "pred_tracks")]
    metrics = tapvid_metrics(*inputs, str(golden["query_mode"]))
    expected = {k.removeprefix("metric_"): golden[k] for k in golden.files if k.startswith("metric_")}
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(metrics[name], value, err_msg=name)


def one_point(error: float, *, occluded: bool = False, said_occluded: bool = False, mode: str = "first") -> dict:
    """Metrics of one point, queried on frame 0 of 2, that is `error` pixels off on frame 1."""
    truth = np.zeros((1, 1, 2, 2))
    found = np.array([[[[0.0, 0.0], [error, 0.0]]]])
    return tapvid_metrics(np.zeros((1, 1, 3)), [[[False, occluded]]], truth, [[[False, said_occluded]]], found, mode)


def test_a_perfect_track_scores_one() -> None:
    metrics = one_point(0.0)
    assert all(value == 1 for value in metrics.values())


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_an_error_of_exactly_the_threshold_is_outside(threshold: int) -> None:
    assert one_point(threshold)[f"pts_within_{threshold}"] == 0
    assert one_point(threshold * 0.999)[f"pts_within_{threshold}"] == 1


def test_position_is_scored_whatever_the_tracker_says_of_visibility() -> None:
    metrics = one_point(0.0, said_occluded=True)
    assert metrics["average_pts_within_thresh"] == 1
    assert metrics["average_jaccard"] == 0
    assert metrics["occlusion_accuracy"] == 0


def test_a_video_with_nothing_visible_has_no_position_score() -> None:
    metrics = one_point(0.0, occluded=True, said_occluded=True)
    assert np.isnan(metrics["average_pts_within_thresh"])
    assert metrics["occlusion_accuracy"] == 1


def test_strided_queries_score_the_frames_before_them_too() -> None:
    truth, found = np.zeros((1, 1, 3, 2)), np.zeros((1, 1, 3, 2))
    found[0, 0, 0] = 100
    visible = np.zeros((1, 1, 3), bool)
    query = np.array([[[1, 0, 0]]])
    assert tapvid_metrics(query, visible, truth, visible, found, "strided")["pts_within_16"] == 0.5
    assert tapvid_metrics(query, visible, truth, visible, found, "first")["pts_within_16"] == 1


def test_an_unknown_query_mode_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="first, strided"):
        one_point(0.0, mode="last")


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"query_points": (1, 2, 2)}, r"query_points must have shape \[1, 2, 3\]"),
        ({"gt_tracks": (1, 4, 2, 2)}, r"gt_tracks must have shape \[1, 2, 4, 2\].* got \[1, 4, 2, 2\]"),
        ({"pred_occluded": (2, 4)}, "pred_occluded must have shape"),
    ],
)
def test_shapes_that_do_not_fit_are_named(changed: dict[str, tuple[int, ...]], says: str) -> None:
    flags, tracks = (1, 2, 4), (1, 2, 4, 2)
    shapes = {
        "query_points": (1, 2, 3),
        "gt_occluded": flags,
        "gt_tracks": tracks,
        "pred_occluded": flags,
        "pred_tracks": tracks,
    }
    with pytest.raises(TracksError, match=says):
        tapvid_metrics(*(np.zeros(shape) for shape in (shapes | changed).values()), "first")
