"""How many points go together in so much memory."""

import numpy as np
import pytest

import tapsdk
from tapsdk.errors import PointsError, TapsdkError
from tapsdk.runtime import budget as module
from tapsdk.runtime.budget import ANY_BUDGET, TRACK_BYTES, Budget
from tapsdk.runtime.stream import Stream
from tests.support import moving_texture, random_points


def test_half_of_what_is_free_unless_somebody_says():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "free_memory", lambda: 1000)
        assert Budget.of(None) == Budget(500)
        patch.setattr(module, "free_memory", lambda: None)
        assert Budget.of(None) == ANY_BUDGET
    assert Budget.of(7) == Budget(7, given=True)


def test_without_a_bound_all_go_together():
    assert ANY_BUDGET.points(10**6, 10**6, 10**6) == 10**6
    assert ANY_BUDGET.spool(1234) == 1234


@pytest.mark.parametrize("total, each, fitting", [(4000, 100, 24), (4000, 3000, 1), (4000, 10**9, 1), (10**9, 1, 40)])
def test_points_share_what_frames_and_tracks_leave(total, each, fitting):
    assert Budget(total).points(40, None, each) == fitting
    tracks = 40 * TRACK_BYTES
    assert fitting in (1, 40, (total - total // 4 - tracks) // each)


def test_tracks_have_to_fit():
    assert Budget(10**6).points(1000, 1000, 1) == 1
    with pytest.raises(
        PointsError, match=r"1000 points in 1000 frames take 13 MB, and memory is limited to 1 MB: give"
    ):
        Budget(10**6, given=True).points(1000, 1000, 1)


@pytest.fixture
def groups(monkeypatch):
    """How many points were tracked together, each time."""
    seen, usual = [], Stream.advance

    def advance(self, frame, size, added, *others):
        seen.append(len(added))
        return usual(self, frame, size, added, *others)

    monkeypatch.setattr(Stream, "advance", advance)
    return seen


def test_less_memory_means_smaller_groups_and_the_same_tracks(groups):
    video, model = moving_texture(4), tapsdk.load(backend="onnxruntime:native", threads=1, resolution=64)
    points = np.column_stack([np.arange(60) % 4, random_points(60, video)])
    together = tapsdk.track(video, points, model)
    assert max(groups) == 15
    groups.clear()
    apart = tapsdk.track(video, points, model, memory="8MB")
    assert max(groups) < 8
    np.testing.assert_array_equal(apart.xy, together.xy)
    np.testing.assert_array_equal(apart.confidence, together.confidence)


def test_an_amount_that_is_none():
    with pytest.raises(TapsdkError, match="memory must be"):
        tapsdk.track(moving_texture(2), [[1, 1]], memory="much")
