"""How long points are followed before they are lost."""

from dataclasses import replace

import numpy as np
import pytest

from training.data.labelled_video import LabelledVideo
from training.evaluation.survival import LOST, survival


def still(points=2, frames=5, size=(256, 256), query=0):
    """Points that stand still at (10, 10), asked for in one frame."""
    xy = np.full((points, frames, 2), 10, np.float32)
    queries = np.tile(np.float32([query, 10, 10]), (points, 1))
    return LabelledVideo(np.zeros((frames, *size, 3), np.uint8), xy, np.ones((points, frames), bool), queries)


def moved(video, point, frames, by):
    xy = video.xy.copy()
    xy[point, frames, 0] += by
    return xy


def test_who_follows_to_the_end_survives():
    video = still()
    assert survival(video, video.xy) == {
        "survival": 1,
        "survival_after_1": 1,
        "survival_after_2": 1,
        "survival_after_4": 1,
    }


def test_a_point_that_was_lost_once_stays_lost():
    video = still()
    found = survival(video, moved(video, 0, 2, LOST))
    assert found["survival_after_1"] == 1
    assert found["survival_after_2"] == found["survival_after_4"] == 0.5
    assert found["survival"] == (4 + 1) / 8


def test_less_than_the_limit_is_not_lost_and_no_number_is():
    video = still(1)
    assert survival(video, moved(video, 0, 2, LOST - 0.1))["survival"] == 1
    assert survival(video, moved(video, 0, 1, np.nan))["survival"] == 0


def test_nobody_is_lost_where_the_point_cannot_be_seen():
    video = still(1)
    hidden = replace(video, visible=np.array([[True, True, False, True, True]]))
    assert survival(hidden, moved(video, 0, 2, 500))["survival"] == 1


def test_frames_up_to_the_query_have_no_say():
    video = still(1, query=3)
    assert survival(video, moved(video, 0, slice(0, 4), 500)) == {"survival": 1, "survival_after_1": 1}


def test_distances_are_of_256_pixels():
    wide = still(1, size=(256, 512))
    assert survival(wide, moved(wide, 0, 1, LOST + 1))["survival"] == 1
    assert survival(wide, moved(wide, 0, 1, 2 * LOST + 1))["survival"] == 0


@pytest.mark.parametrize("video", [still(0), still(1, frames=1)])
def test_where_no_frame_follows_a_query_there_is_nothing_to_say(video):
    (value,) = survival(video, video.xy).values()
    assert np.isnan(value)
