"""A loaded model, and streams of frames on it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tapsdk import Tracker, load, track
from tapsdk.artifact.manifest import Visibility
from tapsdk.backends import BACKENDS
from tapsdk.errors import BackendError, ModelError
from tapsdk.runtime.sizes import working_size
from tapsdk.runtime.stages import certainty_of, confidence_of
from tapsdk.selection.candidates import why_absent
from tests.support import EXACT, PLANS, copy_artifact, import_or_skip, random_points

FUSED = "onnxruntime:fused"
EMPTY = np.zeros((0, 2), np.float32)


@pytest.fixture(scope="module", params=PLANS)
def stream(request, model):
    return load(model, backend=f"onnxruntime:{request.param}", points=8, threads=1).stream()


@pytest.fixture(autouse=True)
def no_points(request):
    if "stream" in request.fixturenames:
        request.getfixturevalue("stream").clear()


def advance(stream, image, added=EMPTY):
    return stream.advance(stream.prepare(image), image.shape[:2], np.asarray(added, np.float32))


# Loaded once


def test_a_loaded_model_says_what_it_is(model):
    loaded = load(model, backend=FUSED, threads=1)
    assert loaded.name == loaded.manifest.model
    assert loaded.is_causal
    assert repr(loaded).startswith(f"<tapsdk.Model {loaded.name} (fp32) on onnxruntime ")


def test_tracking_with_a_loaded_model_opens_nothing(model, video, monkeypatch):
    loaded = load(model, backend=FUSED)
    expected = track(video, [[5, 5]], model, backend=FUSED)
    for opens in ("tapsdk.api.open_artifact", "tapsdk.api.choose", "tapsdk.artifact.artifact.read_content"):
        monkeypatch.setattr(opens, None)
    monkeypatch.setattr("onnxruntime.InferenceSession", None)
    np.testing.assert_array_equal(track(video, [[5, 5]], loaded).xy, expected.xy)
    tracker = Tracker(loaded)
    tracker.add([[5, 5]])
    np.testing.assert_array_equal(tracker.step(video[0]).xy, expected.xy[:, :1])


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_another_tracker_of_a_loaded_model_takes_no_memory_but_its_points(bundled, video):
    loaded = load(bundled, backend=FUSED, threads=1)

    def follow():
        tracker = Tracker(loaded)
        tracker.add([[5, 5]])
        tracker.step(video[0])
        return tracker

    kept = [follow(), follow()]  # what is allocated at first use is there
    before = resident_bytes()
    kept += [follow() for _ in range(8)]
    assert (resident_bytes() - before) / 8 < 3e6
    assert len(kept) == 10


def resident_bytes():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return 1024 * int(line.split()[1])


@pytest.mark.parametrize(
    "backend, artifact", [("onnxruntime", "model"), ("openvino", "model"), ("litert", "exported_tflite")]
)
def test_threads_may_share_a_loaded_model(request, backend, artifact, video):
    """Each has points of its own, and gets what it would get alone."""
    if why_absent(BACKENDS[backend]):
        pytest.skip(why_absent(BACKENDS[backend]))
    loaded = load(request.getfixturevalue(artifact), backend=f"{backend}:fused", threads=1)
    points = [random_points(3, video, seed) for seed in range(4)]
    alone = [track(video, each, loaded).xy for each in points]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda each: track(video, each, loaded).xy, points * 3))
    for found, expected in zip(together, alone * 3, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_loaded_model_works_at_another_resolution_with_the_same_weights(bundled, video):
    loaded = load(bundled, backend=FUSED)
    wide = loaded.at(320)
    assert (wide.plan, wide.options.resolution) == (loaded.plan, 320)
    expected = track(video, [[5, 5]], bundled, backend=FUSED, resolution=320)
    np.testing.assert_array_equal(track(video, [[5, 5]], loaded, resolution=320).xy, expected.xy)
    with pytest.raises(ModelError, match=r"resolution must be a side"):
        loaded.at(8)


@pytest.mark.parametrize(
    "late, names",
    [
        ({"backend": "onnxruntime"}, "backend"),
        ({"device": "cpu", "threads": 2, "strict": True}, "device, threads, strict"),
    ],
)
def test_what_is_decided_when_loading_cannot_be_changed_later(model, video, late, names):
    loaded = load(model, backend=FUSED)
    with pytest.raises(ModelError, match=f"the model is loaded already: give {names} to tapsdk.load"):
        track(video, [[5, 5]], loaded, **late)
    with pytest.raises(ModelError, match=f"the model is loaded already: give {names} to tapsdk.load"):
        Tracker(loaded, **late)


@pytest.mark.parametrize("options", [{}, {"device": "cpu"}, {"device": "CPU", "threads": 1}], ids=str)
def test_the_processor_is_a_device_of_every_backend(model, video, options):
    assert track(video, [[5, 5]], load(model, **options)).num_frames == len(video)


def test_a_device_that_no_backend_has(model):
    with pytest.raises(BackendError, match=r"backend 'onnxruntime' has no device 'npu:7': .* device 'cpu'"):
        load(model, backend="onnxruntime", device="npu:7")
    import_or_skip("openvino", "export-openvino")  # else the reason is that it is not installed
    with pytest.raises(BackendError, match=r"no backend can run .* has no device 'npu:7'"):
        load(model, device="npu:7")


# Frames


def test_frames_are_in_the_range_that_the_manifest_asks_for(model, tmp_path):
    """An artifact for [0, 1] gets that, and not [-1, 1] in silence."""

    def other_range(manifest):
        manifest["frames"]["range"] = [0.0, 1.0]
        manifest["flow"] = None

    unit = load(copy_artifact(model, tmp_path / "unit", other_range), backend=FUSED).stream()
    image = random_image()
    expected = (load(model, backend=FUSED).stream().prepare(image) + 1) / 2
    np.testing.assert_allclose(unit.prepare(image), expected, atol=1e-6)


def random_image():
    return np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)


@pytest.mark.parametrize("size", [(48, 80), (80, 48), (1, 1), (1, 300), (97, 3), (720, 1280)])
def test_a_frame_keeps_its_aspect_ratio_as_far_as_it_goes(stream, size):
    image = np.zeros((*size, 3), np.uint8)
    image[..., 2] = 255
    frame = stream.prepare(image)
    manifest = stream.manifest
    assert frame.shape == (1, *working_size(size, manifest.frames.size, manifest.frames.multiple), 3)
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
    stream = load(bundled, backend="onnxruntime:fused", points=1, resolution=resolution).stream()
    assert stream.prepare(np.zeros((*size, 3), np.uint8)).shape == (1, *expected, 3)


@pytest.mark.parametrize("resolution", [8, 63, 1025, (100, 256), (256, 256, 256), (64, 2048)])
def test_a_resolution_that_the_bundled_model_cannot_work_at(bundled, resolution):
    with pytest.raises(ModelError, match=r"in multiples of 16, from 64 to 1024 pixels, got "):
        load(bundled, backend="onnxruntime", points=1, resolution=resolution).stream()


@pytest.mark.parametrize("plan", PLANS)
def test_the_bundled_model_tracks_the_same_points_at_every_resolution(bundled, plan):
    """A texture that drifts: what changes with the resolution is how finely it is seen."""
    rng = np.random.default_rng(0)
    texture = np.kron(rng.integers(0, 256, (30, 60, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    frames = [texture[2 * t : 2 * t + 180, 3 * t : 3 * t + 320] for t in range(5)]
    start = np.float32([[100, 60], [200, 100], [250, 140]])
    for resolution in (192, None, (192, 320)):
        stream = load(bundled, backend=f"onnxruntime:{plan}", points=3, resolution=resolution).stream()
        for t, frame in enumerate(frames):
            tracks = advance(stream, frame, EMPTY if t else start)
        np.testing.assert_allclose(tracks.xy[:, 0], start - [12, 8], atol=3)


@pytest.fixture
def fixed_size(model, tmp_path):
    """The model as if it had been exported for frames of one size, not square."""

    def fix(manifest):
        manifest["frames"].update(multiple=None, size=[64, 96])

    return copy_artifact(model, tmp_path / "fixed", fix)


@pytest.mark.parametrize("resolution", [None, (64, 96), [64, 96], np.array([64, 96])], ids=repr)
def test_where_the_size_is_fixed_frames_are_squashed(fixed_size, resolution):
    stream = load(fixed_size, backend=FUSED, points=1, resolution=resolution).stream()
    assert stream.prepare(np.zeros((300, 30, 3), np.uint8)).shape == (1, 64, 96, 3)


@pytest.mark.parametrize("resolution", [64, 96, 128, (96, 64), (64, 96, 3), "64", 64.0, ()], ids=repr)
def test_another_size_is_then_refused(fixed_size, resolution):
    with pytest.raises(ModelError, match=r"was exported to work at \(64, 96\) \(height, width\), not at "):
        load(fixed_size, backend=FUSED, points=1, resolution=resolution).stream()


@pytest.mark.parametrize(
    "resolution, shape",
    [(128, (96, 176)), (np.int64(128), (96, 176)), ((64, 64), (64, 64)), ([80, 112], (80, 112)), (1024, (768, 1024))],
    ids=repr,
)
def test_where_any_size_will_do_it_is_the_callers_choice(model, resolution, shape):
    stream = load(model, backend=FUSED, points=1, resolution=resolution).stream()
    assert stream.prepare(np.zeros((45, 80, 3), np.uint8)).shape == (1, *shape, 3)


@pytest.mark.parametrize(
    "resolution", [0, -64, 63, 1025, (64, 65), (64, 2048), (64, 64, 64), "64", 128.0, ()], ids=repr
)
def test_a_size_that_the_model_cannot_work_at(model, resolution):
    complaint = r"resolution must be a side, or \(height, width\) in multiples of 16, from 64 to 1024 pixels, got "
    with pytest.raises(ModelError, match=complaint):
        load(model, backend=FUSED, points=1, resolution=resolution).stream()


def test_a_report_says_what_runs(stream):
    report = stream.model.report
    assert report.model == stream.manifest.model
    assert report.backend.startswith("onnxruntime ")
    assert report.path in PLANS
    assert report.precision == "fp32"


# Points


def test_without_points_a_frame_gives_no_tracks(stream, video):
    tracks = advance(stream, video[0])
    assert (len(tracks), tracks.num_frames) == (0, 1)


def test_new_points_are_the_last_rows(stream, video):
    first, second = random_points(3, video), random_points(2, video, seed=1)
    advance(stream, video[0], first)
    tracks = advance(stream, video[1], second)
    assert tracks.xy.shape == (5, 1, 2)
    np.testing.assert_array_equal(tracks.xy[3:, 0], second)


def test_a_new_point_is_where_it_was_put_and_visible(stream, video):
    tracks = advance(stream, video[0], random_points(5, video))
    np.testing.assert_array_equal(tracks.xy[:, 0], random_points(5, video))
    assert tracks.visible.all()
    np.testing.assert_array_equal(tracks.confidence, 1)


def test_an_artifact_may_say_that_the_model_speaks_for_itself_at_the_query(model, video, tmp_path):
    def let_it_speak(manifest):
        manifest["points"]["query_frame"] = "model"
        manifest["flow"] = None

    directory = copy_artifact(model, tmp_path / "model", let_it_speak)
    stream = load(directory, backend=FUSED, points=5, threads=1).stream()
    points = random_points(5, video)
    tracks = advance(stream, video[0], points)
    assert not np.array_equal(tracks.xy[:, 0], points)


def test_visible_means_more_confidence_than_the_manifests_threshold(model, video, tmp_path):
    def ask_for_the_impossible(manifest):
        manifest["visibility"]["threshold"] = 1.0

    directory = copy_artifact(model, tmp_path / "model", ask_for_the_impossible)
    stream = load(directory, backend=FUSED, points=5, threads=1).stream()
    advance(stream, video[0], random_points(5, video))
    assert not advance(stream, video[1]).visible.any()


def test_tracks_scale_with_the_frame(stream, video):
    """The model works at its own resolution; points and tracks are in pixels of the frame, whatever its size."""
    height, width = video.shape[1:3]
    points, runs = random_points(6, video), []
    for across, down in ((1, 1), (3, 2), (0.5, 7)):
        stream.clear()
        size, scale = (round(height * down), round(width * across)), np.float32((across, down))
        frames = [stream.prepare(image) for image in video[:3]]
        tracks = [stream.advance(f, size, points * scale if t == 0 else EMPTY) for t, f in enumerate(frames)]
        runs.append(tracks[-1].xy / scale)
    np.testing.assert_allclose(runs[1], runs[0], atol=1e-3)
    np.testing.assert_allclose(runs[2], runs[0], atol=1e-3)


def test_a_thousand_points(stream, video):
    points = random_points(1000, video)
    advance(stream, video[0], points)
    tracks = advance(stream, video[1])
    assert tracks.xy.shape == (1000, 1, 2)
    assert np.isfinite(tracks.xy).all()


def test_rows_that_are_kept_go_on(stream, video):
    points = random_points(6, video)
    advance(stream, video[0], points)
    expected = [advance(stream, frame) for frame in video[1:4]][-1]
    stream.clear()
    advance(stream, video[0], points)
    advance(stream, video[1])
    stream.keep(np.array([5, 2]))
    found = [advance(stream, frame) for frame in video[2:4]][-1]
    np.testing.assert_allclose(found.xy, expected.xy[[5, 2]], atol=EXACT)


def test_after_an_exception_the_rows_are_as_they_were(stream, video, monkeypatch):
    points = random_points(4, video)
    advance(stream, video[0], points)
    expected = advance(stream, video[1])
    stream.clear()
    advance(stream, video[0], points)

    def fail(*_):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(stream._plan, "step", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            advance(stream, video[1], random_points(2, video))
    again = advance(stream, video[1])
    np.testing.assert_array_equal(again.xy, expected.xy)


def test_saved_state_goes_on_in_another_stream(stream, model, video):
    advance(stream, video[0], random_points(4, video))
    state = stream.save_state()
    expected = advance(stream, video[1])
    other = load(model, backend=f"onnxruntime:{stream.model.report.path}", points=4, threads=1).stream()
    other.restore_state(state, 4)
    np.testing.assert_array_equal(advance(other, video[1]).xy, expected.xy)


def test_no_rows_can_be_saved_too(stream):
    assert stream.save_state() == {}
    stream.restore_state({}, 0)


# Confidence


@pytest.mark.parametrize(
    "logits, signs, certainty",
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
def test_certainty_is_the_product_of_what_each_logit_says(logits, signs, certainty):
    arrays = {name: np.full(3, value, np.float32) for name, value in logits.items()}
    found = certainty_of(arrays, Visibility(signs))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.full(3, certainty), atol=1e-6)


def test_confidence_follows_the_calibration():
    line = Visibility({"visible": 1}, calibration=((0, 0), (0.5, 0.2), (0.9, 0.8), (1, 1)))
    found = confidence_of(np.float32([[0, 0.25, 0.5], [0.7, 0.95, 1]]), line)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0, 0.1, 0.2], [0.5, 0.9, 1]], atol=1e-6)


def test_without_a_calibration_confidence_is_the_certainty():
    certainty = np.float32([0, 0.3, 1])
    np.testing.assert_array_equal(confidence_of(certainty, Visibility({"visible": 1})), certainty)


@pytest.mark.parametrize("calibration", [(), ((0, 0), (0.5, 0.2), (1, 1))])
def test_confidence_of_no_points(calibration):
    rule = Visibility({"visible": 1}, calibration=calibration)
    certainty = certainty_of({"visible": np.zeros(0, np.float32)}, rule)
    assert certainty.shape == confidence_of(certainty, rule).shape == (0,)
