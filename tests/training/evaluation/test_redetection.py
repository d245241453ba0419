"""AJ_RD against numbers of the reference, and by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from tapsdk.errors import TracksError
from training.evaluation import aj_rd
from training.evaluation.redetection import pool_redetection, redetection, returns

TABLE = np.load(Path(__file__).parents[2] / "golden" / "aj_rd.npz")
CASES = json.loads(str(TABLE["cases"]))


def of(case, name):
    return TABLE[f"{case}/{name}"]


@pytest.mark.parametrize("case", CASES)
def test_every_metric_is_the_references(case):
    own = {"distances": CASES[case]["dist_thresholds"], "durations": CASES[case]["d_min_thresholds"]}
    found = aj_rd(
        ~of(case, "gt_visible"),
        of(case, "gt_tracks"),
        ~of(case, "pred_visible"),
        of(case, "pred_tracks"),
        **{name: values for name, values in own.items() if values},
    )
    expected = {key.rpartition("/")[2]: TABLE[key] for key in TABLE.files if key.startswith(f"{case}/metric/")}
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_videos_scored_one_by_one_come_to_what_all_of_them_are_scored(case):
    truth = ~of(case, "gt_visible"), of(case, "gt_tracks")
    predicted = ~of(case, "pred_visible"), of(case, "pred_tracks")
    rows = [redetection([a[i : i + 1] for a in truth], [a[i : i + 1] for a in predicted]) for i in range(len(truth[0]))]
    pooled, together = pool_redetection(rows), aj_rd(*truth, *predicted)
    for name in ("AJ_RD", "AJ_RD_dmin1", "AJ_RD_dmin4", "AJ_RD_dmin16"):
        np.testing.assert_allclose(pooled[name], together[name], err_msg=name)
    assert pooled["returns_dmin1"] == len(of(case, "events"))


def test_without_returns_there_is_nothing_to_pool():
    seen, xy = np.ones((1, 2, 5), bool), np.zeros((1, 2, 5, 2))
    pooled = pool_redetection([redetection((~seen, xy), (~seen, xy))] * 2)
    assert np.isnan(pooled["AJ_RD"]) and pooled["returns_dmin1"] == 0


@pytest.mark.parametrize("case", CASES)
def test_points_return_when_the_reference_says(case):
    assert sorted(returns(of(case, "gt_visible"))) == sorted(map(tuple, of(case, "events").tolist()))


def one_return(**changes):
    """A point at (10, 10) that is gone in frames 2 and 3 of 6, found again at once, and what is changed about it."""
    seen = np.array([[[1, 1, 0, 0, 1, 1]]], bool)
    xy = np.full((1, 1, 6, 2), 10.0)
    predicted = {"seen": seen, "xy": xy} | changes
    return aj_rd(~seen, xy, ~predicted["seen"], predicted["xy"])


def test_a_point_that_is_found_at_once_scores_in_full():
    found = one_return()
    assert found["AJ_RD_D1_dmin1"] == found["AJ_RD"] == 1
    assert np.isnan(found["AJ_RD_dmin4"])


def test_a_point_that_is_never_found_scores_nothing():
    assert one_return(seen=np.array([[[1, 1, 0, 0, 0, 0]]], bool))["AJ_RD"] == 0


def test_what_happened_before_the_return_has_no_say():
    lost = np.array([[[0, 0, 1, 1, 1, 1]]], bool)
    assert one_return(seen=lost)["AJ_RD"] == 1


def test_a_wrong_place_costs_twice():
    """One of two frames right: a hit, a miss and a false alarm."""
    xy = np.full((1, 1, 6, 2), 10.0)
    xy[0, 0, 5] = 90
    assert one_return(xy=xy)["AJ_RD_D16_dmin1"] == pytest.approx(1 / 3)


def test_without_points_there_is_nothing_to_say():
    nothing = np.zeros((1, 0, 5))
    assert np.isnan(aj_rd(nothing, np.zeros((1, 0, 5, 2)), nothing, np.zeros((1, 0, 5, 2)))["AJ_RD"])


@pytest.mark.parametrize(
    ("name", "shape"),
    [("gt_occluded", (5,)), ("gt_tracks", (1, 5, 3, 2)), ("pred_occluded", (1, 3)), ("pred_tracks", (1, 3, 5, 3))],
)
def test_shapes_that_do_not_fit_are_named(name, shape):
    """As in numbers of the reference, where time comes before points."""
    shapes = {
        "gt_occluded": (1, 3, 5),
        "gt_tracks": (1, 3, 5, 2),
        "pred_occluded": (1, 3, 5),
        "pred_tracks": (1, 3, 5, 2),
    }
    with pytest.raises(TracksError, match=f"{name} must have shape"):
        aj_rd(**{key: np.zeros(value) for key, value in (shapes | {name: shape}).items()})


def test_a_position_that_is_no_number_is_never_right():
    xy = np.full((1, 1, 6, 2), 10.0)
    xy[0, 0, 4:] = np.nan
    assert one_return(xy=xy)["AJ_RD"] == 0
