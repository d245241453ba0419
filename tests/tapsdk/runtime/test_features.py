"""What a model knows points by: read off one picture, found in another."""

import numpy as np
import pytest

import tapsdk
from tapsdk import PointFeatures
from tapsdk.errors import ArtifactError, FramesError, ModelError, PointsError
from tapsdk.tracker import Tracker
from tests.support import copy_artifact, random_points, rewrite_headed

PLANS = ["onnxruntime:native", "onnxruntime:fused"]
SIZE = (128, 160)


def scene(shift=(0, 0)):
    """A picture with much to recognise, moved by whole pixels."""
    image = np.kron(np.random.default_rng(5).uniform(0, 255, (16, 20, 3)), np.ones((8, 8, 1)))
    return np.roll(image, (shift[1], shift[0]), (0, 1)).astype(np.uint8)


def elsewhere():
    """A picture of something else."""
    return np.random.default_rng(1).integers(0, 255, (*SIZE, 3), np.uint8)


POINTS = np.float32([[60, 40], [100, 90], [44, 100]])


@pytest.fixture(params=PLANS)
def model(request):
    return tapsdk.load(backend=request.param, threads=1)


def test_points_of_one_picture_are_found_where_they_are_in_another(model):
    tracker = Tracker(model)
    features = tracker.features(scene(), POINTS)
    assert len(features) == 3
    assert tracker.ids == []
    ids = tracker.add(features=features)
    tracks = tracker.step(scene(shift=(16, 8)))
    assert tracks.ids.tolist() == ids
    np.testing.assert_allclose(tracks.xy[:, 0], POINTS + np.float32([16, 8]), atol=1.5)
    assert tracks.visible.all()


def test_they_are_tracked_on_from_there(model):
    tracker = Tracker(model)
    tracker.add(features=tracker.features(scene(), POINTS))
    for t in range(4):
        tracks = tracker.step(scene(shift=(16 + 3 * t, 8 - 2 * t)))
    np.testing.assert_allclose(tracks.xy[:, 0], POINTS + np.float32([25, 2]), atol=1.5)


@pytest.mark.parametrize("wait", [1, 8])
def test_they_are_looked_for_until_they_are_seen_however_long_that_takes(model, wait):
    tracker = Tracker(model)
    tracker.add(features=tracker.features(scene(), POINTS))
    for _ in range(wait):
        assert not tracker.step(elsewhere()).visible.any()
    tracks = tracker.step(scene(shift=(16, 8)))
    np.testing.assert_allclose(tracks.xy[:, 0], POINTS + np.float32([16, 8]), atol=1.5)


def test_points_that_are_pointed_at_and_points_that_are_looked_for_come_in_the_order_of_their_ids(model):
    tracker = Tracker(model)
    features = tracker.features(scene(), POINTS)
    first = tracker.add([[10, 20]])
    second = tracker.add(features=features[:2])
    third = tracker.add([[30, 50]])
    assert tracker.ids == first + second + third == [0, 1, 2, 3]
    tracker.remove(second[0])
    tracks = tracker.step(scene())
    np.testing.assert_array_equal(tracks.xy[[0, 2], 0], [[10, 20], [30, 50]])
    np.testing.assert_allclose(tracks.xy[1, 0], POINTS[1], atol=1.5)


def test_others_beside_them_change_nothing(model):
    alone, together = Tracker(model), Tracker(model)
    features = alone.features(scene(), POINTS)
    together.add(random_points(3, np.zeros((1, *SIZE, 3))))
    for tracker in (alone, together):
        tracker.add(features=features)
    for t in range(3):
        picture = scene(shift=(8 + t, 0))
        expected = alone.step(picture)
        np.testing.assert_allclose(together.step(picture).xy[3:], expected.xy, atol=1e-4)


def test_a_saved_tracker_goes_on_looking_for_them(model, tmp_path):
    tracker = Tracker(model)
    tracker.add(features=tracker.features(scene(), POINTS))
    tracker.step(elsewhere())
    tracker.save(tmp_path / "tracker.npz")
    loaded = Tracker.load(tmp_path / "tracker.npz", model)
    picture = scene(shift=(16, -8))
    np.testing.assert_array_equal(loaded.step(picture).xy, tracker.step(picture).xy)


def test_frames_of_the_other_video_may_have_another_size(model):
    tracker = Tracker(model)
    tracker.step(np.zeros((40, 60, 3), np.uint8))
    features = tracker.features(scene(), POINTS)
    tracker.reset()
    tracker.add(features=features)
    tracks = tracker.step(np.kron(scene(), np.ones((2, 2, 1), np.uint8)))
    np.testing.assert_allclose(tracks.xy[:, 0], 2 * POINTS, atol=3)


# Files


@pytest.fixture
def features():
    return Tracker(backend=PLANS[0], threads=1).features(scene(), POINTS)


def test_a_file_of_them_is_small_and_gives_the_same(features, tmp_path):
    features.save(tmp_path / "cup.npz")
    assert (tmp_path / "cup.npz").stat().st_size < 25_000 * len(features)
    loaded = PointFeatures.load(tmp_path / "cup.npz")
    assert repr(loaded) == "PointFeatures: 3 points of tapir/tiny"
    assert (loaded.model, loaded.weights_sha256, loaded.space) == (
        features.model,
        features.weights_sha256,
        features.space,
    )
    assert loaded.arrays.keys() == features.arrays.keys()
    for name, array in features.arrays.items():
        np.testing.assert_array_equal(loaded.arrays[name], array)


@pytest.mark.parametrize("rows", [slice(1, 3), [2, 0], np.array([True, False, True]), [], [1]], ids=str)
def test_some_of_them(features, rows):
    index = np.arange(3)[rows if not isinstance(rows, list) else np.array(rows, np.int64)]
    some = features[rows]
    assert len(some) == len(index)
    for name, array in some.arrays.items():
        np.testing.assert_array_equal(array, features.arrays[name][index])


def test_none_of_them_are_no_points(features):
    tracker = Tracker(backend=PLANS[0], threads=1)
    assert tracker.add(features=features[:0]) == []
    assert len(tracker.step(scene())) == 0
    assert len(tracker.features(scene(), [])) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda header, arrays: header.update(format="tapsdk.tracker"),
        lambda header, arrays: header.update(version=2),
        lambda header, arrays: header.pop("space"),
        lambda header, arrays: header.update(space=[256]),
        lambda header, arrays: header.update(space=[256, "x"]),
        lambda header, arrays: header.update(model=3),
        lambda header, arrays: arrays.clear(),
        lambda header, arrays: arrays.update(row_features=arrays["row_features"][:2]),
        lambda header, arrays: arrays["row_features"].fill(np.nan),
        lambda header, arrays: arrays["row_texture"].fill(np.nan),
        lambda header, arrays: arrays.update(row_features=arrays["row_features"].astype(np.int64)),
        lambda header, arrays: arrays.update(row_features=np.float32(1)),
    ],
)
def test_a_file_that_does_not_hold_together(features, tmp_path, change):
    path = tmp_path / "cup.npz"
    features.save(path)
    rewrite_headed(path, change)
    with pytest.raises(ArtifactError, match=r"cup\.npz is not a file of point features, or is damaged"):
        PointFeatures.load(path)


@pytest.mark.parametrize("content", [b"", b"features"])
def test_a_damaged_file(tmp_path, content):
    (tmp_path / "cup.npz").write_bytes(content)
    with pytest.raises(ArtifactError, match="is not a file of point features, or is damaged"):
        PointFeatures.load(tmp_path / "cup.npz")


# What is refused


def test_features_of_another_model(features, bundled, tmp_path):
    other = copy_artifact(bundled, tmp_path / "other", lambda manifest: manifest.update(weights_sha256="0" * 64))
    tracker = Tracker(other, PLANS[0])
    with pytest.raises(ModelError, match=r"of other weights of tapir/tiny, .*read them off their picture again"):
        tracker.add(features=features)
    assert tracker.ids == []


def test_features_whose_arrays_are_not_the_models(features):
    lacking = PointFeatures(
        features.model, features.weights_sha256, features.space, {"other": np.zeros((3, 2), np.float32)}
    )
    tracker = Tracker(backend=PLANS[0], threads=1)
    with pytest.raises(ModelError, match="of other weights"):
        tracker.add(features=lacking)


def test_points_and_features_at_once(features):
    tracker = Tracker(backend=PLANS[0], threads=1)
    for given in ({}, {"points": [[1, 1]], "features": features}):
        with pytest.raises(PointsError, match="give either points, or features"):
            tracker.add(**given)


def test_points_outside_of_the_picture_and_pictures_that_are_none():
    tracker = Tracker(backend=PLANS[0], threads=1)
    with pytest.raises(PointsError, match=r"x must be in \[0, 160\]"):
        tracker.features(scene(), [[161, 1]])
    with pytest.raises(FramesError, match="the frame"):
        tracker.features(np.zeros((4, 4)), [[1, 1]])


def test_they_are_at_the_top_of_the_package():
    assert tapsdk.PointFeatures is PointFeatures
