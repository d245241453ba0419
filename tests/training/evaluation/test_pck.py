"""Joints found to within a share of a person's size, by hand and against a plain loop of the definition."""

import numpy as np
import pytest

from training.data.labelled_video import LabelledVideo
from training.evaluation.errors import EvaluationError
from training.evaluation.pck import SHARES, ask_joints, pck, pool_pck
from training.evaluation.report import mean

SIZE = (100, 200)


def person(joints=3, frames=2, size=SIZE, original_size=None):
    """Joints along a line from (10, 10) to (40, 50): the box has a diagonal of 50, so that shares are of 30 pixels."""
    start = np.linspace((10, 10), (40, 50), joints)
    xy = np.repeat(start[:, None], frames, axis=1).astype(np.float32)
    visible = np.ones((joints, frames), bool)
    return LabelledVideo(np.zeros((frames, *size, 3), np.uint8), xy, visible, original_size=original_size)


def off(video, joint, frame, pixels):
    xy = video.xy.copy()
    xy[joint, frame, 0] += pixels
    return xy


def shares(metrics):
    return [metrics[f"PCK@{share}"] for share in SHARES]


def test_joints_in_their_places_are_all_found():
    video = person()
    assert shares(pck(video, video.xy, ~video.visible)) == [1] * 5


@pytest.mark.parametrize(("pixels", "found"), [(2.9, 5), (3.1, 4), (9.1, 2), (15.1, 0)])
def test_a_joint_is_right_within_a_share_of_the_box(pixels, found):
    """One of two frames of one of three joints is off."""
    video = person()
    metrics = pck(video, off(video, 1, 0, pixels), video.visible)
    assert shares(metrics) == pytest.approx([5 / 6] * (5 - found) + [1] * found)
    assert metrics["PCK@0.1/1"] == (1 if found == 5 else 0.5)
    assert metrics["joint_frames/1"] == 2


def test_the_box_is_of_visible_joints_and_hidden_ones_are_not_scored():
    video = person()
    video.visible[2] = False
    metrics = pck(video, off(video, 1, 0, 2), video.visible)  # the box shrank to a diagonal of 25: shares of 15
    assert np.isnan(metrics["PCK@0.1/2"]) and metrics["joint_frames/2"] == 0
    assert shares(metrics) == pytest.approx([3 / 4, 1, 1, 1, 1])


def test_sizes_are_of_the_video_before_it_was_resized():
    """Twice as wide there: an error of 2 pixels along x is one of 4."""
    video = person(original_size=(100, 400))
    box = 0.6 * np.hypot(60, 40)
    for pixels, right in ((0.1 * box / 2 - 0.01, 1), (0.1 * box / 2 + 0.01, 5 / 6)):
        assert pck(video, off(video, 0, 0, pixels), video.visible)["PCK@0.1"] == pytest.approx(right)


def test_a_position_that_is_no_number_is_wrong():
    video = person()
    assert shares(pck(video, off(video, 0, 0, np.nan), video.visible)) == pytest.approx([5 / 6] * 5)


def test_of_nothing_there_is_nothing_to_say():
    for video in (person(0), person(3)):
        video.visible[:] = False
        assert np.isnan(shares(pck(video, video.xy, video.visible))).all()
    assert np.isnan(shares(pool_pck([]))).all()


def test_videos_are_pooled_joint_by_joint():
    """As the published evaluation counts, in a loop; the mean over videos is something else."""
    rng = np.random.default_rng(0)
    distances = [[] for _ in range(3)]
    rows = []
    for frames in (2, 5, 9):
        video = person(frames=frames)
        video.visible[rng.integers(3)] = False
        found = video.xy + rng.normal(0, 6, video.xy.shape).astype(np.float32)
        rows.append(pck(video, found, video.visible))
        for t in range(frames):
            seen = video.xy[video.visible[:, t], t]
            box = 0.6 * np.linalg.norm(seen.max(axis=0) - seen.min(axis=0))
            for joint in np.flatnonzero(video.visible[:, t]):
                distances[joint].append(np.linalg.norm(found[joint, t] - video.xy[joint, t]) / box)
    expected = [np.mean([np.mean(np.array(of_joint) <= share) for of_joint in distances]) for share in SHARES]
    assert shares(pool_pck(rows)) == pytest.approx(expected)
    assert shares(mean(rows)) != pytest.approx(expected)


def test_every_joint_is_asked_for_in_the_first_frame():
    video = person()
    video.visible[1] = False
    video.xy[1] = np.nan
    queries = ask_joints(video, "first").queries
    np.testing.assert_array_equal(queries[[0, 2]], [[0, 10, 10], [0, 40, 50]])
    assert np.isfinite(queries).all() and queries.dtype == np.float32
    with pytest.raises(EvaluationError, match="--mode first"):
        ask_joints(video, "strided")
