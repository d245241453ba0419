"""A model with its points, one frame at a time."""

import numpy as np
import pytest

from tapsdk.artifact.manifest import Visibility
from tapsdk.errors import ModelError
from tapsdk.runtime.model import Engine
from tapsdk.runtime.sizes import working_size
from tapsdk.runtime.stages import confidence_of
from tests.support import EXACT, PLANS, copy_artifact, random_points

FUSED = "onnxruntime:fused"
NOBODY = np.zeros((0, 2), np.float32)


@pytest.fixture(scope="module", params=PLANS)
def engine(request, model):
    return Engine(model, f"onnxruntime:{request.param}", points=8, threads=1)


@pytest.fixture(autouse=True)
def no_points(request):
    if "engine" in request.fixturenames:
        request.getfixturevalue("engine").clear()


def advance(engine, image, added=NOBODY):
    return engine.advance(engine.prepare(image), image.shape[:2], np.asarray(added, np.float32))


# Frames


@pytest.mark.parametrize("size", [(48, 80), (80, 48), (1, 1), (1, 300), (97, 3), (720, 1280)])
def test_a_frame_keeps_its_aspect_ratio_as_far_as_it_goes(engine, size):
    image = np.zeros((*size, 3), np.uint8)
    image[..., 2] = 255
    frame = engine.prepare(image)
    manifest = engine.manifest
    assert frame.shape == (1, *working_size(size, manifest.resolution, manifest.size_multiple), 3)
    assert frame.dtype == np.float32
    np.testing.assert_allclose(frame[0, ..., 0], -1, atol=1e-6)
    np.testing.assert_allclose(frame[0, ..., 2], 1, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "resolution", "expected"),
    [
        ((720, 1280), None, (192, 336)),
        ((1280, 720), None, (336, 192)),
        ((720, 1280), 512, (384, 688)),
        ((720, 1280), (128, 256), (128, 256)),
        ((1, 1), None, (256, 256)),
    ],
)
def test_the_bundled_model_keeps_the_aspect_ratio_of_frames(bundled, size, resolution, expected):
    engine = Engine(bundled, "onnxruntime:fused", points=1, resolution=resolution)
    assert engine.prepare(np.zeros((*size, 3), np.uint8)).shape == (1, *expected, 3)


@pytest.mark.parametrize("resolution", [8, 63, 1025, (100, 256), (256, 256, 256), (64, 2048)])
def test_a_resolution_that_the_bundled_model_cannot_work_at(bundled, resolution):
    with pytest.raises(ModelError, match=r"in multiples of 16, from 64 to 1024 pixels, got "):
        Engine(bundled, "onnxruntime", points=1, resolution=resolution)


@pytest.mark.parametrize("plan", PLANS)
def test_the_bundled_model_tracks_the_same_points_at_every_resolution(bundled, plan):
    """A texture that drifts: what changes with the resolution is how finely it is seen."""
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 256, (30, 60, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    frames = [texture[2 * t : 2 * t + 180, 3 * t : 3 * t + 320] for t in range(5)]
    start = np.float32([[100, 60], [200, 100], [250, 140]])
    for resolution in (192, None, (192, 320)):
        engine = Engine(bundled, f"onnxruntime:{plan}", points=3, resolution=resolution)
        for t, frame in enumerate(frames):
            tracks = advance(engine, frame, NOBODY if t else start)
        np.testing.assert_allclose(tracks.xy[:, 0], start - [12, 8], atol=3)


@pytest.fixture
def fixed_size(model, tmp_path):
    """The model as if it had been exported for frames of one size, not square."""

    def fix(manifest):
        manifest.update(size_multiple=None, resolution=[64, 96])

    return copy_artifact(model, tmp_path / "fixed", fix)


@pytest.mark.parametrize("resolution", [None, (64, 96), [64, 96], np.array([64, 96])], ids=repr)
def test_where_the_size_is_fixed_frames_are_squashed(fixed_size, resolution):
    engine = Engine(fixed_size, FUSED, points=1, resolution=resolution)
    assert engine.prepare(np.zeros((300, 30, 3), np.uint8)).shape == (1, 64, 96, 3)


@pytest.mark.parametrize("resolution", [64, 96, 128, (96, 64), (64, 96, 3), "64", 64.0, ()], ids=repr)
def test_another_size_is_then_refused(fixed_size, resolution):
    with pytest.raises(ModelError, match=r"was exported to work at \(64, 96\) \(height, width\), not at "):
        Engine(fixed_size, FUSED, points=1, resolution=resolution)


@pytest.mark.parametrize(
    "resolution, shape",
    [(128, (96, 176)), (np.int64(128), (96, 176)), ((64, 64), (64, 64)), ([80, 112], (80, 112)), (1024, (768, 1024))],
    ids=repr,
)
def test_where_any_size_will_do_it_is_the_callers_choice(model, resolution, shape):
    engine = Engine(model, FUSED, points=1, resolution=resolution)
    assert engine.prepare(np.zeros((45, 80, 3), np.uint8)).shape == (1, *shape, 3)


@pytest.mark.parametrize(
    "resolution", [0, -64, 63, 1025, (64, 65), (64, 2048), (64, 64, 64), "64", 128.0, ()], ids=repr
)
def test_a_size_that_the_model_cannot_work_at(model, resolution):
    complaint = r"resolution must be a side, or \(height, width\) in multiples of 16, from 64 to 1024 pixels, got "
    with pytest.raises(ModelError, match=complaint):
        Engine(model, FUSED, points=1, resolution=resolution)


def test_a_report_says_what_runs(engine):
    report = engine.report
    assert report.model == engine.manifest.model
    assert report.backend.startswith("onnxruntime ")
    assert report.path in PLANS
    assert report.precision == "fp32"


# Points


def test_without_points_a_frame_gives_no_tracks(engine, video):
    tracks = advance(engine, video[0])
    assert (len(tracks), tracks.num_frames) == (0, 1)


def test_new_points_are_the_last_rows(engine, video):
    first, second = random_points(3, video), random_points(2, video, seed=1)
    advance(engine, video[0], first)
    tracks = advance(engine, video[1], second)
    assert tracks.xy.shape == (5, 1, 2)
    np.testing.assert_array_equal(tracks.xy[3:, 0], second)


def test_a_new_point_is_where_it_was_put_and_visible(engine, video):
    tracks = advance(engine, video[0], random_points(5, video))
    np.testing.assert_array_equal(tracks.xy[:, 0], random_points(5, video))
    assert tracks.visible.all()
    np.testing.assert_array_equal(tracks.confidence, 1)


def test_an_artifact_may_say_that_the_model_speaks_for_itself_at_the_query(model, video, tmp_path):
    directory = copy_artifact(
        model, tmp_path / "model", lambda manifest: manifest.update(query_frame="model", following=None)
    )
    engine = Engine(directory, FUSED, points=5, threads=1)
    points = random_points(5, video)
    tracks = advance(engine, video[0], points)
    assert not np.array_equal(tracks.xy[:, 0], points)


def test_visible_means_more_confidence_than_the_manifests_threshold(model, video, tmp_path):
    def ask_for_the_impossible(manifest):
        manifest["visibility"]["threshold"] = 1.0

    engine = Engine(copy_artifact(model, tmp_path / "model", ask_for_the_impossible), "auto", points=5, threads=1)
    advance(engine, video[0], random_points(5, video))
    assert not advance(engine, video[1]).visible.any()


def test_tracks_scale_with_the_frame(engine, video):
    """The model works at its own resolution; points and tracks are in pixels of the frame, whatever its size."""
    height, width = video.shape[1:3]
    points, runs = random_points(6, video), []
    for across, down in ((1, 1), (3, 2), (0.5, 7)):
        engine.clear()
        size, scale = (round(height * down), round(width * across)), np.float32((across, down))
        frames = [engine.prepare(image) for image in video[:3]]
        tracks = [engine.advance(f, size, points * scale if t == 0 else NOBODY) for t, f in enumerate(frames)]
        runs.append(tracks[-1].xy / scale)
    np.testing.assert_allclose(runs[1], runs[0], atol=1e-3)
    np.testing.assert_allclose(runs[2], runs[0], atol=1e-3)


def test_a_thousand_points(engine, video):
    points = random_points(1000, video)
    advance(engine, video[0], points)
    tracks = advance(engine, video[1])
    assert tracks.xy.shape == (1000, 1, 2)
    assert np.isfinite(tracks.xy).all()


def test_rows_that_are_kept_go_on(engine, video):
    points = random_points(6, video)
    advance(engine, video[0], points)
    expected = [advance(engine, frame) for frame in video[1:4]][-1]
    engine.clear()
    advance(engine, video[0], points)
    advance(engine, video[1])
    engine.keep(np.array([5, 2]))
    found = [advance(engine, frame) for frame in video[2:4]][-1]
    np.testing.assert_allclose(found.xy, expected.xy[[5, 2]], atol=EXACT)


def test_after_an_exception_the_rows_are_as_they_were(engine, video, monkeypatch):
    points = random_points(4, video)
    advance(engine, video[0], points)
    expected = advance(engine, video[1])
    engine.clear()
    advance(engine, video[0], points)

    def fail(frame, rows):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(engine._plan, "step", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            advance(engine, video[1], random_points(2, video))
    again = advance(engine, video[1])
    np.testing.assert_array_equal(again.xy, expected.xy)


def test_saved_rows_go_on_in_another_engine(engine, model, video):
    advance(engine, video[0], random_points(4, video))
    rows = engine.save_rows()
    expected = advance(engine, video[1])
    other = Engine(model, f"onnxruntime:{engine.report.path}", points=4, threads=1)
    other.restore_rows(rows, 4)
    np.testing.assert_array_equal(advance(other, video[1]).xy, expected.xy)


def test_no_rows_can_be_saved_too(engine):
    assert engine.save_rows() == {}
    engine.restore_rows({}, 0)


# Confidence


@pytest.mark.parametrize(
    "logits, signs, confidence",
    [
        ({"occlusion": 0.0, "expected_dist": 0.0}, {"occlusion": -1, "expected_dist": -1}, 0.25),
        ({"occlusion": -np.log(3), "expected_dist": -50.0}, {"occlusion": -1, "expected_dist": -1}, 0.75),
        ({"visible": np.log(3)}, {"visible": 1}, 0.75),
        ({"visible": 0.0, "unused": 9.0}, {"visible": 1}, 0.5),
        ({"visible": 1e30}, {"visible": 1}, 1.0),
        ({"visible": -1e30}, {"visible": 1}, 0.0),
        ({"visible": np.inf}, {"visible": -1}, 0.0),
    ],
)
def test_confidence_is_the_product_of_what_each_logit_says(logits, signs, confidence):
    arrays = {name: np.full(3, value, np.float32) for name, value in logits.items()}
    found = confidence_of(arrays, Visibility(signs))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.full(3, confidence), atol=1e-6)


def test_confidence_of_no_points():
    assert confidence_of({"visible": np.zeros(0, np.float32)}, Visibility({"visible": 1})).shape == (0,)
