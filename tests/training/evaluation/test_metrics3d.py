"""TAPVid-3D's metrics against numbers of the reference, and by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from tapsdk.errors import TracksError
from training.evaluation import tapvid3d_metrics
from training.evaluation.metrics3d import SCALINGS

TABLE = dict(np.load(Path(__file__).parents[2] / "golden" / "tapvid3d_metrics.npz"))
CASES = json.loads(str(TABLE["cases"]))
PARTS = ("gt_occluded", "gt_tracks", "pred_occluded", "pred_tracks")
INTRINSICS = (100.0, 100.0, 50.0, 50.0)


def called(case):
    """The golden's input in the order of the case, and the metrics of it."""
    order = case["order"].replace(" ", "")
    arrays = [TABLE[f"{case['input']}/{part}"] for part in PARTS]
    queries, intrinsics = TABLE[f"{case['input']}/query_points_tyx"], TABLE["intrinsics"]
    if order.endswith("tn"):
        arrays = [array.swapaxes(1, 2) for array in arrays]
    if "b" not in order:
        arrays, queries, intrinsics = [array[0] for array in arrays], queries[0], intrinsics[0]
    return tapvid3d_metrics(
        *arrays,
        intrinsics,
        scaling=case["scaling"],
        query_points=queries,
        fixed_thresholds=case["use_fixed_metric_threshold"],
        per_track=case["get_trackwise_metrics"],
        neighborhood=case["local_neighborhood_thresh"],
        order=order,
    )


@pytest.mark.parametrize("number", range(len(CASES)))
def test_every_scaling_option_and_order_is_the_references(number):
    found = called(CASES[number])
    assert sorted(found) == TABLE["metrics"].tolist()
    for name, expected in zip(TABLE["metrics"], TABLE[f"out{number:03d}"], strict=True):
        assert np.shape(found[name]) == expected.shape
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, err_msg=name)


def points(count=5, frames=7, seed=0):
    """Truth in front of the camera: occluded [N, T], xyz [N, T, 3], and a query (t, y, x) for each point."""
    rng = np.random.default_rng(seed)
    occluded = rng.random((count, frames)) < 0.3
    xyz = rng.uniform((-1, -1, 2), (1, 1, 5), (count, frames, 3))
    return occluded, xyz, np.column_stack([np.arange(count) % frames, np.zeros((count, 2))])


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("per_track", [False, True])
def test_the_truth_scores_one(scaling, per_track):
    occluded, xyz, queries = points()
    metrics = tapvid3d_metrics(
        occluded, xyz, occluded, xyz, INTRINSICS, scaling=scaling, query_points=queries, per_track=per_track
    )
    for name, value in metrics.items():
        np.testing.assert_array_equal(value, 1, err_msg=name)


@pytest.mark.parametrize("scaling", [scaling for scaling in SCALINGS if scaling != "none"])
def test_a_prediction_may_be_of_any_size(scaling):
    occluded, xyz, queries = points()
    metrics = tapvid3d_metrics(occluded, xyz, occluded, 1000 * xyz, INTRINSICS, scaling=scaling, query_points=queries)
    assert metrics["average_jaccard"] == 1


def test_without_scaling_it_may_not():
    occluded, xyz, _ = points()
    assert tapvid3d_metrics(occluded, xyz, occluded, 1000 * xyz, INTRINSICS, scaling="none")["pts_within_16"] == 0


@pytest.mark.parametrize("scaling", SCALINGS)
def test_a_batch_is_its_videos_one_by_one(scaling):
    videos = [points(seed=seed) for seed in range(3)]
    predicted = [
        xyz * (1 + seed) + np.random.default_rng(seed).normal(0, 0.03, xyz.shape)
        for seed, (_, xyz, _) in enumerate(videos)
    ]
    occluded, xyz, queries = (np.stack(part) for part in zip(*videos, strict=True))
    together = tapvid3d_metrics(
        occluded, xyz, occluded, np.stack(predicted), INTRINSICS, scaling=scaling, query_points=queries, order="bnt"
    )
    for b, (hidden, truth, asked) in enumerate(videos):
        alone = tapvid3d_metrics(hidden, truth, hidden, predicted[b], INTRINSICS, scaling=scaling, query_points=asked)
        for name, value in alone.items():
            np.testing.assert_allclose(together[name][b], np.squeeze(value), rtol=1e-12, err_msg=name)


def test_a_threshold_is_a_distance_in_the_picture_at_the_true_depth():
    """At 2 m and a focal length of 100 pixels, 4 pixels are 8 cm."""
    flags, truth = np.zeros((1, 1), bool), np.array([[[0, 0, 2.0]]])
    for off, within in ((0.079, 1), (0.08, 0), (0.081, 0)):
        metrics = tapvid3d_metrics(flags, truth, flags, np.add(truth, [off, 0, 0]), INTRINSICS, scaling="none")
        assert metrics["pts_within_4"] == within and metrics["pts_within_8"] == 1


def test_fixed_thresholds_are_the_same_at_every_depth():
    flags, truth = np.zeros((1, 1), bool), np.array([[[0, 0, 50.0]]])
    metrics = tapvid3d_metrics(
        flags, truth, flags, np.add(truth, [0.1, 0, 0]), INTRINSICS, scaling="none", fixed_thresholds=True
    )
    assert [int(metrics[f"pts_within_{d}"][0]) for d in (1, 2, 4, 8, 16)] == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (1, 1)])
@pytest.mark.parametrize("scaling", ["median", "mean", "none", "reproduce_2d"])
def test_no_points_and_no_frames_have_no_score_and_one_has(shape, scaling):
    flags, xyz = np.zeros(shape, bool), np.ones((*shape, 3))
    metrics = tapvid3d_metrics(flags, xyz, flags, xyz, INTRINSICS, scaling=scaling)
    assert metrics["average_jaccard"] == 1 if shape == (1, 1) else np.isnan(metrics["average_jaccard"])


def test_a_prediction_of_nan_is_wrong_and_no_error():
    occluded, xyz, _ = points()
    metrics = tapvid3d_metrics(occluded, xyz, occluded, np.full_like(xyz, np.nan), INTRINSICS)
    assert metrics["average_pts_within_thresh"] == 0 and metrics["occlusion_accuracy"] == 1


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"scaling": "guess"}, ValueError, "scaling must be one of median, mean, none"),
        ({"order": "nnt"}, ValueError, "order must be one of nt, tn, bnt, btn, got 'nnt'"),
        ({"order": "bnt"}, TracksError, r"gt_occluded must have shape \[B, N, T\], got \[5, 7\]"),
        ({"gt_tracks": np.zeros((5, 7, 2))}, TracksError, r"gt_tracks must have shape \[5, 7, 3\]"),
        ({"pred_occluded": np.zeros((7, 5))}, TracksError, "pred_occluded must have shape"),
        ({"intrinsics": np.ones((2, 4))}, TracksError, r"intrinsics must have shape \[4\] or \[1, 4\], got \[2, 4\]"),
        ({"intrinsics": (0, 1, 1, 1)}, TracksError, "positive focal lengths"),
        ({"scaling": "per_trajectory"}, TracksError, "needs query_points"),
        (
            {"scaling": "median_on_queries", "query_points": np.zeros((4, 3))},
            TracksError,
            r"query_points must have shape \[1, 5, 3\]",
        ),
        (
            {"scaling": "local_neighborhood", "query_points": np.full((5, 3), 7)},
            TracksError,
            "t from 0 to 6, the last frame",
        ),
        (
            {"gt_occluded": np.zeros((0, 2, 3)), "order": "bnt"}
            | {
                "gt_tracks": np.zeros((0, 2, 3, 3)),
                "pred_occluded": np.zeros((0, 2, 3)),
                "pred_tracks": np.zeros((0, 2, 3, 3)),
            },
            TracksError,
            "has no videos",
        ),
    ],
)
def test_what_does_not_fit_is_named(options, error, says):
    occluded, xyz, _ = points()
    arguments = dict(zip(PARTS, (occluded, xyz, occluded, xyz), strict=True)) | {"intrinsics": INTRINSICS} | options
    with pytest.raises(error, match=says):
        tapvid3d_metrics(**arguments)
