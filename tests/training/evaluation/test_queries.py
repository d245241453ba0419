"""Which points are asked for, as TAP-Vid's own readers do it (arXiv:2211.03726, section 3)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.labelled_video import LabelledVideo
from training.evaluation.queries import sample_queries


def video(visible, seed=0):
    visible = np.asarray(visible, bool)
    xy = np.random.default_rng(seed).uniform(0, 8, (*visible.shape, 2)).astype(np.float32)
    return LabelledVideo(np.zeros((visible.shape[1], 8, 8, 3), np.uint8), xy, visible)


def test_first_asks_where_a_point_is_first_visible():
    tracked = video([[0, 1, 1], [1, 0, 1]])
    asked = sample_queries(tracked, "first")
    np.testing.assert_array_equal(asked.queries[:, 0], [1, 0])
    np.testing.assert_array_equal(asked.queries[:, 1:], [tracked.xy[0, 1], tracked.xy[1, 0]])


def test_first_leaves_out_what_is_never_visible():
    tracked = video([[0, 0, 0], [0, 0, 1]])
    asked = sample_queries(tracked, "first")
    np.testing.assert_array_equal(asked.xy, tracked.xy[1:])
    np.testing.assert_array_equal(asked.visible, tracked.visible[1:])


def test_strided_asks_on_every_fifth_frame_where_visible_frame_by_frame():
    visible = np.ones((2, 12), bool)
    visible[0, 5] = False
    tracked = video(visible)
    asked = sample_queries(tracked, "strided")
    np.testing.assert_array_equal(asked.queries[:, 0], [0, 0, 5, 10, 10])
    track = [0, 1, 1, 0, 1]
    np.testing.assert_array_equal(asked.xy, tracked.xy[track])
    np.testing.assert_array_equal(asked.visible, visible[track])
    np.testing.assert_array_equal(asked.queries[:, 1:], tracked.xy[track, [0, 0, 5, 10, 10]])


@pytest.mark.parametrize("mode", ["first", "strided"])
@given(seed=st.integers(0, 10_000), points=st.integers(0, 6), frames=st.integers(1, 13))
def test_every_query_is_a_visible_point_of_its_track(mode, seed, points, frames):
    asked = sample_queries(video(np.random.default_rng(seed).random((points, frames)) < 0.5, seed), mode)
    t = asked.queries[:, 0].astype(int)
    rows = np.arange(len(t))
    assert asked.visible[rows, t].all()
    np.testing.assert_array_equal(asked.queries[:, 1:], asked.xy[rows, t])
    assert asked.queries.dtype == np.float32
    assert asked.xy.shape == (len(t), frames, 2) and asked.visible.shape == (len(t), frames)


def test_an_unknown_mode_lists_the_known_ones():
    with pytest.raises(ValueError, match="first, strided"):
        sample_queries(video([[1]]), "last")
