import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapsdk.errors import PointsError
from tapsdk.motion import rigid_groups
from tests.golden.rigid_tracks import rigid_tracks


def purity(labels, true):
    """The share of points that are in a group mostly of their own kind."""
    return sum(np.bincount(true[labels == k]).max() for k in np.unique(labels[labels >= 0])) / len(true)


@pytest.mark.parametrize("groups, seed", [(3, 62), (3, 7), (4, 11), (2, 1), (5, 5)])
def test_bodies_that_move_differently_are_told_apart(groups, seed):
    xy, visible, true = rigid_tracks(groups, 12, 40, seed)
    labels = rigid_groups(xy, visible)
    assert labels.max() + 1 == groups
    assert purity(labels, true) == 1


def test_noise_may_be_allowed_for():
    xy, visible, true = rigid_tracks(3, 20, 40, 3)
    xy = xy + np.random.default_rng(0).normal(0, 1, xy.shape)
    labels = rigid_groups(xy, visible, threshold=3)
    assert purity(labels, true) > 0.95


def test_points_that_go_their_own_ways_are_of_no_group():
    xy, visible, true = rigid_tracks(2, 12, 40, 4)
    alone = np.random.default_rng(0).uniform(0, 256, (5, 40, 2)).cumsum(axis=1) / 20
    labels = rigid_groups(np.concatenate([xy, alone]), np.concatenate([visible, np.ones((5, 40), bool)]))
    assert (labels[24:] == -1).all()
    assert purity(labels[:24], true) == 1


def test_the_largest_group_comes_first():
    xy, visible, true = rigid_tracks(2, 30, 30, 6)
    some = np.flatnonzero((true == 1) | (np.arange(60) < 24))
    labels = rigid_groups(xy[some], visible[some])
    sizes = np.bincount(labels[labels >= 0])
    assert sizes.tolist() == sorted(sizes, reverse=True)
    assert (labels[true[some] == 1] == 0).all()


def test_no_more_groups_than_are_asked_for():
    xy, visible, _ = rigid_tracks(4, 12, 40, 11)
    assert set(rigid_groups(xy, visible, most=2)) == {-1, 0, 1}


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10), st.floats(-300, 300))
def test_where_the_picture_lies_and_in_which_order_points_come_does_not_matter(seed, scale, shift):
    xy, visible, _ = rigid_tracks(3, 12, 40, 62)
    order = np.random.default_rng(seed).permutation(len(xy))
    expected = rigid_groups(xy, visible)[order]
    found = rigid_groups(xy[order] * scale + shift, visible[order], threshold=1.5 * scale)
    assert len(set(zip(found.tolist(), expected.tolist(), strict=True))) == 3


@pytest.mark.parametrize("points", [0, 1, 3, 4])
def test_fewer_points_than_a_group_has(points):
    labels = rigid_groups(np.ones((points, 8, 2)), np.ones((points, 8), bool))
    assert labels.tolist() == [-1] * points


def test_points_that_are_never_seen_are_of_no_group():
    xy, visible, _ = rigid_tracks(2, 12, 40, 4)
    visible[:5] = False
    xy[:5] = np.nan
    labels = rigid_groups(xy, visible)
    assert (labels[:5] == -1).all()
    assert (labels[5:] >= 0).all()


@pytest.mark.parametrize(
    "options, sentence",
    [({"threshold": 0}, "threshold must be a positive"), ({"least": 3}, "least must be 4 or more")],
)
def test_arguments_that_do_not_fit(options, sentence):
    with pytest.raises(PointsError, match=sentence):
        rigid_groups(np.ones((9, 8, 2)), np.ones((9, 8), bool), **options)
