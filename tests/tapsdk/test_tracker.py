"""Tracking frame by frame: points come and go while the video runs."""

import os

import numpy as np
import pytest

import tapsdk
from tapsdk.errors import ArtifactError, FramesError, ModelError, PointsError, SaveError
from tapsdk.tracker import Tracker
from tests.support import EXACT, copy_artifact, moving_texture, needs_full_device, random_points, rewrite_headed

FUSED = "onnxruntime:fused"


@pytest.fixture
def tracker(model):
    return Tracker(model, FUSED, points=4, threads=1)


def step_all(tracker, frames):
    return np.concatenate([tracker.step(frame).xy for frame in frames], axis=1)


# Points and their ids


def test_points_get_ids_in_the_order_of_the_rows(tracker, video):
    assert tracker.add([[10, 20], [30, 40]]) == [0, 1]
    assert tracker.add([(50, 5)]) == [2]
    assert tracker.ids == [0, 1, 2]
    tracks = tracker.step(video[0])
    assert tracks.xy.shape == (3, 1, 2)
    np.testing.assert_array_equal(tracks.xy[:, 0], [[10, 20], [30, 40], [50, 5]])
    assert tracks.visible.dtype == np.bool_
    assert tracks.visible.all()


def test_ids_are_never_used_twice(tracker, video):
    tracker.add(random_points(3, video))
    tracker.step(video[0])
    tracker.remove([0, 2])
    assert tracker.add([[1, 1]]) == [3]
    tracker.reset()
    assert tracker.add([[1, 1]]) == [4]


@pytest.mark.parametrize("none", [[], np.zeros((0, 2)), np.zeros((0, 2), np.float32)])
def test_adding_no_points(tracker, video, none):
    assert tracker.add(none) == []
    assert len(tracker.step(video[0])) == 0


def test_a_step_without_points_still_learns_the_size_of_the_frames(tracker, video):
    tracks = tracker.step(video[0])
    assert tracks.xy.shape == (0, 1, 2)
    with pytest.raises(PointsError, match=r"x must be in \[0, 80\]: the frame is 80 x 48 pixels"):
        tracker.add([[81, 1]])


def test_points_may_lie_on_every_border(tracker, video):
    corners = np.float32([[0, 0], [80, 0], [0, 48], [80, 48]])
    tracker.add(corners)
    np.testing.assert_array_equal(tracker.step(video[0]).xy[:, 0], corners)
    assert np.isfinite(tracker.step(video[1]).xy).all()


def test_a_point_added_while_others_run_changes_none_of_them(tracker, video):
    points = random_points(3, video)
    tracker.add(points)
    alone = step_all(tracker, video)
    tracker.reset()
    tracker.add(points)
    tracker.step(video[0])
    tracker.step(video[1])
    (late,) = tracker.add([[7, 7]])
    together = step_all(tracker, video[2:])
    assert tracker.ids == [*range(3, 6), late]
    np.testing.assert_array_equal(together[3, 0], [7, 7])
    np.testing.assert_allclose(together[:3], alone[:, 2:], atol=EXACT)


@pytest.mark.parametrize("gone", [[1], [0, 3], [3, 2, 1, 0], [2, 2]], ids=str)
def test_removing_points_changes_no_other(tracker, video, gone):
    tracker.add(random_points(4, video))
    alone = step_all(tracker, video)
    tracker.reset()
    tracker.add(random_points(4, video))
    step_all(tracker, video[:3])
    ids = tracker.ids
    tracker.remove(ids[i] for i in gone)
    kept = [i for i in range(4) if i not in gone]
    assert tracker.ids == [ids[i] for i in kept]
    np.testing.assert_allclose(step_all(tracker, video[3:]), alone[kept, 3:], atol=EXACT)


def test_a_single_id_may_be_removed(tracker, video):
    tracker.add(random_points(3, video))
    tracker.remove(1)
    tracker.step(video[0])
    tracker.remove(np.int64(0))
    assert tracker.ids == [2]


def test_a_point_may_be_removed_before_its_first_frame(tracker, video):
    tracker.add([[1, 1], [2, 2]])
    tracker.remove([0])
    np.testing.assert_array_equal(tracker.step(video[0]).xy[:, 0], [[2, 2]])


def test_removing_nobody(tracker, video):
    tracker.add(random_points(2, video))
    tracker.step(video[0])
    tracker.remove([])
    assert tracker.ids == [0, 1]


def test_an_unknown_id_removes_nobody(tracker, video):
    tracker.add(random_points(2, video))
    tracker.step(video[0])
    with pytest.raises(PointsError, match="no point has id 5; the ids are 0, 1"):
        tracker.remove([0, 5])
    assert tracker.ids == [0, 1]
    tracker.reset()
    with pytest.raises(PointsError, match="the ids are none"):
        tracker.remove(0)


def test_reset_of_some_points_is_their_removal(tracker, video):
    tracker.add(random_points(3, video))
    tracker.step(video[0])
    tracker.reset([0])
    assert tracker.ids == [1, 2]
    assert tracker.step(video[1]).xy.shape == (2, 1, 2)


def test_reset_makes_ready_for_another_video(tracker, video):
    tracker.add(random_points(3, video))
    first = step_all(tracker, video)
    tracker.reset()
    assert tracker.ids == []
    assert len(tracker.step(np.zeros((9, 7, 3), np.uint8))) == 0
    tracker.reset()
    tracker.add(random_points(3, video))
    np.testing.assert_array_equal(step_all(tracker, video), first)


# Points of frames that are over


@pytest.mark.parametrize("backend", ["onnxruntime:fused", "onnxruntime:native"])
@pytest.mark.parametrize("others", [0, 3], ids=["to none", "to others"])
def test_points_of_another_tracker_join_as_if_they_had_been_here(bundled, backend, others):
    loaded = tapsdk.load(bundled, backend=backend, threads=1)
    video = moving_texture(8, 72, 104)
    tracker, late, alone, together = (Tracker(loaded) for _ in range(4))
    tracker.add(random_points(others, video))
    together.add(random_points(others, video))
    late.add(random_points(2, video, seed=1))
    alone.add(random_points(2, video, seed=1))
    for frame in video[:3]:
        tracker.step(frame)
        late.step(frame)
    assert tracker.join(late) == [others, others + 1]
    assert (late.ids, tracker.ids) == ([], list(range(others + 2)))
    joined = step_all(tracker, video[3:])
    np.testing.assert_allclose(joined[others:], step_all(alone, video)[:, 3:], atol=EXACT)
    np.testing.assert_allclose(joined[:others], step_all(together, video)[:, 3:], atol=EXACT)
    late.add([[3, 3]])
    assert len(late.step(video[0])) == 1


def test_who_may_not_join(model, video, tmp_path):
    def see_each_other(table):
        table["points"]["independent"] = False

    loaded = tapsdk.load(model, backend=FUSED, threads=1)
    attentive = tapsdk.load(copy_artifact(model, tmp_path / "model", see_each_other), backend=FUSED, threads=1)
    cases = [
        (Tracker(loaded), Tracker(tapsdk.load(model, backend=FUSED, threads=1)), ModelError, "of another model"),
        (Tracker(attentive), Tracker(attentive), ModelError, "see each other"),
    ]
    for tracker, late, kind, complaint in cases:
        for each in (tracker, late):
            each.add([[10, 20]])
            each.step(video[0])
        with pytest.raises(kind, match=complaint):
            tracker.join(late)
        assert (tracker.ids, late.ids) == ([0], [0])
    tracker, late = Tracker(loaded), Tracker(loaded)
    tracker.step(video[0])
    late.add([[10, 20]])
    with pytest.raises(PointsError, match="call step"):
        tracker.join(late)
    late.step(video[0][:40])
    with pytest.raises(PointsError, match="have not seen the same frames"):
        tracker.join(late)


# Frames


@pytest.mark.parametrize("size", [(80, 48), (160, 90), (1, 1), (3, 64)], ids=str)
def test_frames_of_any_shape(tracker, size):
    video = moving_texture(3, *size)
    tracker.add(random_points(2, video))
    xy = step_all(tracker, video)
    assert xy.shape == (2, 3, 2)
    assert np.isfinite(xy).all()


def test_more_resolution_is_another_look_at_the_same_points(model, video):
    points = random_points(2, video)
    runs = []
    for resolution in (None, (128, 160)):
        tracker = Tracker(model, FUSED, resolution=resolution)
        tracker.add(points)
        runs.append(step_all(tracker, video[:3]))
    np.testing.assert_array_equal(runs[0][:, 0], runs[1][:, 0])
    assert not np.array_equal(runs[0][:, 1:], runs[1][:, 1:])


def test_float_frames_are_the_same_as_bytes(tracker, video):
    tracker.add(random_points(2, video))
    expected = step_all(tracker, video)
    tracker.reset()
    tracker.add(random_points(2, video))
    np.testing.assert_array_equal(step_all(tracker, video / 255), expected)


def test_a_thousand_points(tracker, video):
    tracker.add(random_points(1000, video))
    assert step_all(tracker, video[:2]).shape == (1000, 2, 2)


def test_the_bundled_model_is_the_default():
    video = moving_texture(3, 96, 96)
    tracker = Tracker(points=1)
    tracker.add([[48, 48]])
    assert np.isfinite(step_all(tracker, video)).all()
    assert tracker.report.model == "tapir/tiny"


# What is refused, and leaves the tracker as it was


@pytest.mark.parametrize(
    "points, complaint",
    [
        ([[0, 1, 1]], r"Tracker\.add takes \[N, 2\] \(x, y\) in the next frame"),
        ([1, 2], r"write a single point as \[\[x, y\]\]"),
        ([[1, 2], [3]], "must be an array of numbers"),
        ([["a", "b"]], "must be ints or floats"),
        ([[np.nan, 1]], r"points\[0\]: x = nan, but NaN and infinity are not allowed"),
        ([[1, 1], [1, np.inf]], r"points\[1\]: y = inf"),
        ([[1, -1]], r"points\[0\]: y = -1, but y must be in \[0, "),
    ],
)
def test_points_that_cannot_be(tracker, video, points, complaint):
    for _ in range(2):  # before the first frame, and after it
        with pytest.raises(PointsError, match=complaint):
            tracker.add(points)
        tracker.step(video[0])
    assert tracker.ids == []


def test_before_the_first_frame_nothing_is_said_about_its_size(tracker):
    with pytest.raises(PointsError) as caught:
        tracker.add([[-1, 1]])
    assert "the frame is" not in str(caught.value)


def test_points_outside_the_first_frame_show_when_it_comes(tracker, video):
    tracker.add([[10, 10], [10, 49]])
    with pytest.raises(PointsError, match=r"points\[1\]: y = 49, but y must be in \[0, 48\]"):
        tracker.step(video[0])
    assert tracker.ids == [0, 1]
    tracker.remove(1)
    assert len(tracker.step(video[0])) == 1


@pytest.mark.parametrize(
    "frame, complaint",
    [
        (np.zeros((80, 48, 3), np.uint8), r"is 48 x 80 pixels, but those before it were 80 x 48 pixels; call reset"),
        (np.zeros((48, 80), np.uint8), r"must have shape \[H, W, 3\], got \[48, 80\]"),
        (np.zeros((1, 48, 80, 3), np.uint8), "must have shape"),
        (np.zeros((0, 80, 3), np.uint8), "must have shape"),
        (np.zeros((48, 80, 3), np.int32), "must be uint8"),
        (np.full((48, 80, 3), np.nan), r"must lie in \[0, 1\]"),
        (np.full((48, 80, 3), 255.0), "divide frames"),
        (None, "the frame"),
        ([[1, 2], [3]], "cannot be read as a numpy array"),
    ],
)
def test_a_frame_that_cannot_be_leaves_the_tracker_as_it_was(tracker, video, frame, complaint):
    tracker.add(random_points(2, video))
    expected = step_all(tracker, video[:3])
    tracker.reset()
    tracker.add(random_points(2, video))
    tracker.step(video[0])
    tracker.step(video[1])
    (added,) = tracker.add([[5, 5]])
    with pytest.raises(FramesError, match=complaint):
        tracker.step(frame)
    assert tracker.ids[-1] == added
    found = tracker.step(video[2])
    assert len(found) == 3
    np.testing.assert_allclose(found.xy[:2], expected[:, 2:], atol=EXACT)


def test_an_engine_that_fails_leaves_the_tracker_as_it_was(tracker, video, monkeypatch):
    tracker.add(random_points(2, video))
    tracker.step(video[0])
    tracker.add([[5, 5]])

    def fail(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(tracker._stream._plan, "step", fail)
        with pytest.raises(MemoryError):
            tracker.step(video[1])
    assert tracker.ids == [0, 1, 2]
    np.testing.assert_array_equal(tracker.step(video[1]).xy[2, 0], [5, 5])


def test_an_unknown_model():
    with pytest.raises(ModelError, match="unknown model 'tapir/huge'"):
        Tracker("tapir/huge")


# Saving


def test_a_saved_tracker_goes_on_identically(tracker, model, video, tmp_path):
    tracker.add(random_points(4, video))
    step_all(tracker, video[:3])
    tracker.remove(1)
    tracker.save(tmp_path / "tracker.npz")
    loaded = Tracker.load(tmp_path / "tracker.npz", model, FUSED, threads=1)
    assert loaded.ids == tracker.ids == [0, 2, 3]
    for each in (tracker, loaded):
        assert each.add([[9, 9]]) == [4]
    np.testing.assert_array_equal(step_all(loaded, video[3:]), step_all(tracker, video[3:]))
    with pytest.raises(FramesError, match="those before it were 80 x 48"):
        loaded.step(np.zeros((9, 9, 3), np.uint8))


def test_it_goes_on_with_the_other_plan(tracker, model, video, tmp_path):
    tracker.add(random_points(4, video))
    step_all(tracker, video[:3])
    tracker.save(tmp_path / "tracker.npz")
    loaded = Tracker.load(tmp_path / "tracker.npz", model, "onnxruntime:native", threads=1)
    np.testing.assert_allclose(step_all(loaded, video[3:]), step_all(tracker, video[3:]), atol=0.01)


def test_a_bundled_model_is_found_by_its_name(video, tmp_path):
    tracker = Tracker("tapir", FUSED, threads=1)
    tracker.add([[5, 5]])
    tracker.step(video[0])
    tracker.save(tmp_path / "tracker.npz")
    assert Tracker.load(tmp_path / "tracker.npz", backend=FUSED).report.model == "tapir/tiny"


@pytest.mark.parametrize("steps", [0, 1])
def test_a_tracker_without_points(tracker, model, video, tmp_path, steps):
    for frame in video[:steps]:
        tracker.step(frame)
    tracker.save(tmp_path / "tracker.npz")
    loaded = Tracker.load(tmp_path / "tracker.npz", model, FUSED)
    assert loaded.ids == []
    assert loaded.add([[1, 1]]) == [0]
    assert len(loaded.step(video[0])) == 1


def test_points_that_wait_for_a_frame_are_not_saved_silently(tracker, tmp_path):
    tracker.add([[1, 1]])
    with pytest.raises(PointsError, match=r"call step\(frame\) before save"):
        tracker.save(tmp_path / "tracker.npz")
    assert not list(tmp_path.iterdir())


@needs_full_device
def test_a_full_disk(tracker, video):
    tracker.add(random_points(2, video))
    tracker.step(video[0])
    with pytest.raises(SaveError, match="could not write /dev/full: No space left on device"):
        tracker.save("/dev/full")


@pytest.fixture
def saved(tracker, video, tmp_path):
    tracker.add(random_points(2, video))
    tracker.step(video[0])
    tracker.save(tmp_path / "tracker.npz")
    return tmp_path / "tracker.npz"


@pytest.mark.parametrize(
    "change",
    [
        lambda header, arrays: header.update(format="tapsdk.tracks"),
        lambda header, arrays: header.update(version=1),
        lambda header, arrays: header.pop("ids"),
        lambda header, arrays: header.update(unknown=1),
        lambda header, arrays: header["ids"].append(7),
        lambda header, arrays: arrays.pop("row_features"),
        lambda header, arrays: arrays.update(row_features=arrays["row_features"][:, :-1]),
        lambda header, arrays: header.update(ids=[1, 1]),
        lambda header, arrays: header.update(ids=[0, 2]),
        lambda header, arrays: header.update(ids=[0, -1]),
        lambda header, arrays: header.update(ids=[0, 1.0]),
        lambda header, arrays: header.update(ids=[0, True]),
        lambda header, arrays: header.update(ids="01"),
        lambda header, arrays: header.update(next_id=1e9),
        lambda header, arrays: header.update(size=[48, 0]),
        lambda header, arrays: header.update(size=[48, 80, 3]),
        lambda header, arrays: header.update(size=[1e400, 80]),
        lambda header, arrays: header.update(model=3),
        lambda header, arrays: header.update(weights_sha256=None),
        lambda header, arrays: arrays["row_features"].fill(np.nan),
        lambda header, arrays: arrays["row_previous"].fill(np.inf),
        lambda header, arrays: arrays.update(row_features=arrays["row_features"].astype(str)),
        lambda header, arrays: arrays.update(row_texture=np.float32([np.nan, 1])),
        lambda header, arrays: arrays.update(row_texture=np.zeros(3, np.float32)),
        lambda header, arrays: arrays.update(row_frame=np.full((1, 8, 8, 3), np.nan, np.float32)),
        lambda header, arrays: arrays.update(row_frame=np.zeros((8, 8, 3), np.float32)),
    ],
)
def test_a_file_that_does_not_hold_together(saved, model, change):
    rewrite_headed(saved, change)
    with pytest.raises(ArtifactError, match=r"tracker\.npz is not a saved tracker, or is damaged"):
        Tracker.load(saved, model, FUSED)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_file(saved, model, damage):
    data = bytearray(saved.read_bytes())
    data[len(data) // 2] ^= 255
    contents = {"truncated": data[: len(data) // 2], "flipped": data, "empty": b"", "text": b"tracker"}
    saved.write_bytes(contents[damage])
    with pytest.raises(ArtifactError, match=r"tracker\.npz is not a saved tracker, or is damaged"):
        Tracker.load(saved, model)


def test_tracks_are_not_a_tracker(tracker, video, model, tmp_path):
    tracker.step(video[0]).save(tmp_path / "tracks.npz")
    with pytest.raises(ArtifactError, match="is not a saved tracker"):
        Tracker.load(tmp_path / "tracks.npz", model)


def test_a_missing_file(tmp_path, model):
    with pytest.raises(ArtifactError, match=r"none\.npz cannot be read: No such file"):
        Tracker.load(tmp_path / "none.npz", model)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(weights_sha256="0" * 64),
        lambda manifest: manifest["points"].update(space=[256, 248]),
    ],
    ids=["weights", "space"],
)
def test_state_of_other_weights_or_of_another_space_is_refused(saved, model, tmp_path, change):
    other = copy_artifact(model, tmp_path / "other", change)
    with pytest.raises(ArtifactError, match=r"was saved with other weights of .*, or at another size"):
        Tracker.load(saved, other, FUSED)


def test_saving_over_a_file_replaces_it(saved, tracker, video, model):
    before = os.stat(saved).st_ino
    tracker.step(video[1])
    tracker.save(saved)
    assert os.stat(saved).st_ino != before
    assert Tracker.load(saved, model, FUSED).ids == [0, 1]


def test_it_is_at_the_top_of_the_package():
    assert tapsdk.Tracker is Tracker
