"""Points that see one another, and come while the video runs: slots stand for them until then."""

import json

import numpy as np
import pytest

import tapsdk
from tapsdk.errors import ArtifactError, ModelError, PointsError
from tapsdk.tracker import Tracker
from tests.export.conftest import SMALL_NEXT
from tests.support import import_or_skip, moving_texture, random_points

import_or_skip("torch")

FUSED = "onnxruntime:fused"
CLOSE = 1e-4
T = 6
POINTS = np.column_stack([[0, 2, 2, 4], random_points(4, moving_texture(1))]).astype(np.float32)


@pytest.fixture(scope="module")
def model(artifact_of):
    return tapsdk.load(artifact_of(SMALL_NEXT, "onnx"), backend=FUSED, threads=1)


@pytest.fixture(scope="module")
def video():
    return moving_texture(T)


@pytest.fixture(scope="module")
def whole(model, video):
    """All points known of from the first frame on, as in a whole video."""
    return tapsdk.track(video, POINTS, model)


def step(tracker, video, t):
    if (POINTS[:, 0] == t).any():
        tracker.add(POINTS[POINTS[:, 0] == t, 1:])
    return tracker.step(video[t])


def check(tracks, whole, t, rows=slice(None)):
    count = (POINTS[:, 0] <= t).sum()
    assert tracks.ids.tolist() == list(range(count))
    np.testing.assert_allclose(tracks.xy[rows, 0], whole.xy[:count, t][rows], atol=CLOSE)
    np.testing.assert_allclose(tracks.confidence[rows, 0], whole.confidence[:count, t][rows], atol=1e-5)


def test_points_in_slots_are_tracked_as_in_a_whole_video(model, video, whole):
    tracker = Tracker(model, slots=len(POINTS))
    for t in range(T):
        check(step(tracker, video, t), whole, t)


def test_without_slots_they_are_not(model, video, whole):
    tracker = Tracker(model)
    for t in range(T):
        tracks = step(tracker, video, t)
    assert np.abs(tracks.xy[:, 0] - whole.xy[:, -1]).max() > 100 * CLOSE


@pytest.mark.parametrize("at", range(T))
def test_saved_and_loaded_they_go_on(model, video, whole, tmp_path, at):
    tracker = Tracker(model, slots=len(POINTS))
    for t in range(T):
        if t == at:
            tracker.save(tmp_path / "tracker.npz")
            tracker = Tracker.load(tmp_path / "tracker.npz", model)
        check(step(tracker, video, t), whole, t)
    tracker.reset()
    for t in range(T):
        tracks = step(tracker, video, t)
        np.testing.assert_allclose(tracks.xy[:, 0], whole.xy[: len(tracks), t], atol=CLOSE)


def test_more_points_than_slots_join_as_they_would_without(model, video):
    one, other = Tracker(model, slots=2), Tracker(model)
    for tracker in (one, other):
        tracker.add(POINTS[:2, 1:])
        tracker.step(video[0])
        tracker.add(POINTS[2:, 1:])
    np.testing.assert_allclose(one.step(video[1]).xy, other.step(video[1]).xy, atol=CLOSE)
    assert one.ids == [0, 1, 2, 3]


def test_slots_that_are_left_stay_when_points_go(model, video):
    tracker = Tracker(model, slots=3)
    tracker.add(POINTS[:2, 1:])
    tracker.step(video[0])
    tracker.remove([0, 1])
    assert len(tracker.step(video[1])) == 0
    (id,) = tracker.add(POINTS[:1, 1:])
    tracks = tracker.step(video[2])
    assert tracks.ids.tolist() == [id]
    assert np.isfinite(tracks.xy).all()
    assert tracker._stream.free == 0
    tracker.reset()
    assert tracker._stream.free == 3


def test_a_model_whose_points_are_independent_needs_none(bundled, video):
    tracker = Tracker(bundled, FUSED, slots=5)
    tracker.add([[10, 10]])
    assert len(tracker.step(video[0])) == 1
    assert tracker._stream.free == 0


@pytest.mark.parametrize("slots", [-1, 1.5, "2", None, True])
def test_a_number_of_slots_that_is_none(model, slots):
    with pytest.raises(PointsError, match="slots must be a number of points, 0 or more"):
        Tracker(model, slots=slots)


def test_such_a_model_knows_no_point_by_its_looks(model, video, bundled):
    tracker = Tracker(model)
    with pytest.raises(ModelError, match="knows points by where they were asked for, not by their looks"):
        tracker.features(video[0], [[1, 1]])
    features = Tracker(bundled, FUSED).features(video[0], [[1, 1]])
    with pytest.raises(ModelError, match="not by their looks"):
        tracker.add(features=features)


@pytest.mark.parametrize("header", [{"free": 5}, {"free": -1}, {"slots": "3"}, {"free": 1}])
def test_a_saved_tracker_whose_slots_cannot_be(model, video, tmp_path, header):
    tracker = Tracker(model, slots=3)
    tracker.add(POINTS[:1, 1:])
    tracker.step(video[0])
    tracker.save(tmp_path / "tracker.npz")
    with np.load(tmp_path / "tracker.npz") as stored:
        arrays = dict(stored)
    arrays["header"] = np.str_(json.dumps(json.loads(str(arrays["header"])) | header))
    np.savez(tmp_path / "tracker.npz", **arrays)
    with pytest.raises(ArtifactError, match="is not a saved tracker, or is damaged"):
        Tracker.load(tmp_path / "tracker.npz", model)
