"""What gets evaluated: baselines, models, and predictions from a file."""

import numpy as np
import pytest

import tapsdk
from tapsdk.errors import ModelError, TracksError
from tests.support import known_model, needs_torch
from training.data.labelled_video import LabelledVideo
from training.evaluation.predictors import Predictions, lucas_kanade, predictor, standing_still


def drifting_noise(step: int = 2, height: int = 96, width: int = 128) -> LabelledVideo:
    """Smooth noise that moves `step` pixels to the right per frame, with queries on different frames."""
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV: pip install '.[train]'")
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (height, width + 40, 3), np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    frames = np.stack([texture[:, 20 - step * t : 20 - step * t + width] for t in range(6)])
    start = np.float32([[40, 30], [60, 50], [70, 70]])
    xy = start[:, None] + np.float32([step, 0]) * np.arange(6, dtype=np.float32)[None, :, None]
    t = np.array([0, 2, 5])
    queries = np.concatenate([t[:, None], xy[np.arange(3), t]], 1).astype(np.float32)
    return LabelledVideo(frames, xy, np.ones((3, 6), bool), queries, name="noise")


def test_lucas_kanade_follows_a_drift_both_ways():
    video = drifting_noise()
    xy, visible = lucas_kanade(video)
    assert np.abs(xy - video.xy).max() < 0.2
    assert visible.all()


def test_lucas_kanade_tracks_each_point_alone():
    video = drifting_noise()
    xy, visible = lucas_kanade(video)
    for point in range(3):
        rows = slice(point, point + 1)
        alone = LabelledVideo(video.frames, video.xy[rows], video.visible[rows], video.queries[rows])
        np.testing.assert_array_equal(lucas_kanade(alone)[0][0], xy[point])
        np.testing.assert_array_equal(lucas_kanade(alone)[1][0], visible[point])


def test_lucas_kanade_that_lost_a_point_does_not_find_it_again():
    video = drifting_noise()
    video.frames[2] = np.random.default_rng(1).integers(0, 256, video.frames[2].shape)
    _, visible = lucas_kanade(video)
    np.testing.assert_array_equal(visible[0], [True, True, False, False, False, False])
    np.testing.assert_array_equal(visible[2], [False, False, False, True, True, True])


def test_standing_still_is_as_wrong_as_the_motion_is_large():
    video = drifting_noise(step=2)
    xy, _ = standing_still(video)
    np.testing.assert_array_equal(np.abs(xy - video.xy)[0, :, 0], [0, 2, 4, 6, 8, 10])


@pytest.mark.parametrize("name", ["still", "lucas-kanade"])
def test_no_queries(name):
    video = drifting_noise()
    nothing = LabelledVideo(video.frames, video.xy[:0], video.visible[:0], video.queries[:0])
    xy, visible = predictor(name)(nothing)
    assert xy.shape == (0, 6, 2) and visible.shape == (0, 6)


def test_a_model_is_asked_for_points_within_the_frame(monkeypatch):
    """Annotations of TAP-Vid lie up to half a pixel outside."""
    asked = {}

    def track(frames, queries, **options):
        asked.update(options, queries=queries)
        shape = len(queries), len(frames)
        return tapsdk.Tracks(np.zeros((*shape, 2), np.float32), np.ones(shape, bool), np.ones(shape, np.float32))

    monkeypatch.setattr(tapsdk, "track", track)
    video = drifting_noise()
    video.queries[:] = [[0, -0.5, 20], [3, 128.5, 96.2], [5, 10, 20]]
    predictor("tapir/other", backend="fast")(video)
    np.testing.assert_array_equal(asked["queries"], [[0, 0, 20], [3, 128, 96], [5, 10, 20]])
    assert (asked["model"], asked["backend"]) == ("tapir/other", "fast")


# Published models that need the whole video

TAPNET = "tapnet/base"


@needs_torch
def test_a_model_of_whole_videos_goes_by_its_name(tmp_path, monkeypatch):
    """It was fetched, and nothing was exported; this one is a small one."""
    import torch

    from tests.training.models.tapnet.small import SMALL, random_weights
    from training.checkpoints import Canonical, loading, save_canonical
    from training.models import load
    from training.models.registry import parameter_shapes

    path = tmp_path / "fetched.safetensors"
    monkeypatch.setattr(loading, "cached", {TAPNET: path}.get)
    video = drifting_noise()
    with known_model(TAPNET, SMALL):
        weights = random_weights({name: np.zeros(shape) for name, shape in parameter_shapes(TAPNET).items()})
        save_canonical(Canonical(TAPNET, SMALL, weights, "random", "0" * 64), path)
        xy, visible = predictor(TAPNET)(video)
        frames = torch.from_numpy(video.frames)[None].float() / 127.5 - 1
        with torch.inference_mode():
            expected = load(TAPNET, weights).clip(frames, torch.from_numpy(video.queries[None][..., [0, 2, 1]]))
    np.testing.assert_allclose(xy, expected["tracks"][0], atol=1e-4)
    np.testing.assert_array_equal(visible, expected["occlusion"][0] < 0)


@needs_torch
def test_a_model_that_was_not_fetched_says_how_to(monkeypatch):
    from training.checkpoints import loading

    monkeypatch.setattr(loading, "cached", {}.get)
    with pytest.raises(ModelError, match="tapsdk fetch tapnet/base"):
        predictor(TAPNET)


def test_a_model_that_tracks_no_video_is_refused():
    with pytest.raises(ModelError, match="trajan/base tracks no video; it scores tracks"):
        predictor("trajan/base")(drifting_noise())


# Predictions from a file


@pytest.fixture
def video():
    rng = np.random.default_rng(0)
    xy, visible = rng.uniform(0, 8, (3, 4, 2)).astype(np.float32), rng.random((3, 4)) < 0.5
    frames, queries = np.zeros((4, 8, 8, 3), np.uint8), np.zeros((3, 3), np.float32)
    return LabelledVideo(frames, xy, visible, queries, name="dance/twirl")


def test_predictions_are_taken_from_a_file(video, tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **{"dance/twirl/tracks": video.xy.astype(np.float64), "dance/twirl/visible": video.visible})
    xy, visible = predictor(str(path))(video)
    np.testing.assert_array_equal(xy, video.xy)
    np.testing.assert_array_equal(visible, video.visible)
    assert xy.dtype == np.float32 and visible.dtype == bool


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, r"lacks dance/twirl/tracks; it has predictions of 0 videos"),
        ({"goat/tracks": np.zeros(3)}, r"lacks dance/twirl/tracks; it has predictions of 1 videos: goat"),
        ({"dance/twirl/tracks": np.zeros((3, 4, 2))}, "lacks dance/twirl/visible"),
        ({"dance/twirl/tracks": np.zeros((4, 3, 2))}, r"must have shape \[3, 4, 2\], got \[4, 3, 2\]"),
        (
            {"dance/twirl/tracks": np.zeros((3, 4, 2)), "dance/twirl/visible": np.zeros((2, 4), bool)},
            r"visible must have shape \[3, 4\], got \[2, 4\]",
        ),
        ({"dance/twirl/tracks": np.full((3, 4, 2), "a")}, "not numbers"),
        ({"dance/twirl/tracks": np.full((3, 4, 2), {})}, "no array of numbers"),
    ],
)
def test_predictions_that_do_not_fit(video, tmp_path, content, says):
    np.savez(tmp_path / "mine.npz", **content)
    with pytest.raises(TracksError, match=says):
        predictor(str(tmp_path / "mine.npz"))(video)


def test_files_that_are_no_predictions(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    for name in ("text.npz", "array.npz", "none.npz"):
        with pytest.raises(TracksError, match=name):
            Predictions(tmp_path / name)
