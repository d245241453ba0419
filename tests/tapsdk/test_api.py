"""`tapsdk.track`: a whole video in one call, whatever the video comes as."""

import itertools
import weakref

import av
import numpy as np
import pytest

from tapsdk import check_output, load, track
from tapsdk.artifact import bundled_models
from tapsdk.artifact.registry import CALIBRATIONS
from tapsdk.backends import BACKENDS, EngineInfo
from tapsdk.errors import BackendError, FramesError, ModelError, PointsError, SaveError
from tapsdk.runtime import stream as stream_module
from tapsdk.runtime import whole_video
from tapsdk.runtime.stream import Stream
from tapsdk.selection import probe_cache
from tapsdk.selection.accuracy import Difference
from tapsdk.system.spool import Spool
from tapsdk.tracker import Tracker
from tapsdk.video import VideoWriter, open_frames
from tests.support import EXACT, PLANS, copy_artifact, moving_texture, random_points

SEEN = 1e-5
"""What EXACT is to positions, to confidences."""
FUSED = "onnxruntime:fused"


@pytest.fixture
def run(model):
    def track_small(frames, points, **options):
        return track(frames, points, model, **{"backend": FUSED, **options})

    track_small.model = model
    return track_small


def at(t, xy):
    """Points [N, 2] as queries [N, 3] on frame t."""
    return np.concatenate([np.full((len(xy), 1), t, np.float32), xy], axis=1)


# What comes out


def test_tracks_have_a_row_per_point_and_a_column_per_frame(run, video):
    points = random_points(3, video)
    tracks = run(video, points)
    assert tracks.xy.shape == (3, 6, 2)
    assert tracks.xy.dtype == tracks.confidence.dtype == np.float32
    assert tracks.visible.shape == tracks.confidence.shape == (3, 6)
    assert np.isfinite(tracks.xy).all()
    assert ((tracks.confidence >= 0) & (tracks.confidence <= 1)).all()
    np.testing.assert_array_equal(tracks.visible, tracks.confidence > 0.5)
    np.testing.assert_array_equal(tracks.queries, at(0, points))


def test_a_report_says_what_ran(run, video):
    report = run(video, [[5, 5]]).report
    assert report.model
    assert report.backend.startswith("onnxruntime ")
    assert (report.path, report.precision) == ("fused", "fp32")
    assert report.frames_per_second > 0


def test_the_bundled_model_needs_no_name(video):
    tracks = track(video[:3], [[0, 40, 24]])
    assert tracks.xy.shape == (1, 3, 2)
    assert tracks.report.model == "tapir/tiny"


def test_the_larger_bundled_model_is_the_other_one_on_larger_frames(video):
    large = track(video[:3], [[0, 40, 24]], "tapir/small", backend="onnxruntime:fused")
    expected = track(video[:3], [[0, 40, 24]], backend="onnxruntime:fused", resolution=512)
    assert large.report.model == "tapir/small"
    np.testing.assert_array_equal(large.xy, expected.xy)
    np.testing.assert_array_equal(large.visible, expected.visible)


@pytest.mark.parametrize("name", bundled_models())
def test_visible_begins_at_the_confidence_of_the_threshold(video, name):
    rule = load(name).manifest.visibility
    assert rule.calibration == CALIBRATIONS[name]
    begins = np.interp(rule.threshold, *zip(*rule.calibration, strict=True))
    tracks = track(np.concatenate([video, video[:4, ::-1] // 4]), random_points(20, video), name)
    assert 0 < tracks.visible.mean() < 1
    np.testing.assert_array_equal(tracks.visible, tracks.confidence > begins)


@pytest.mark.parametrize("plan", PLANS)
def test_a_query_comes_back_exactly_and_visible(run, video, plan):
    points = random_points(6, video)
    t = np.array([3, 0, 5, 1, 3, 2])
    tracks = run(video, np.concatenate([t[:, None], points], 1), backend=f"onnxruntime:{plan}")
    np.testing.assert_array_equal(tracks.xy[np.arange(6), t], points)
    assert tracks.visible[np.arange(6), t].all()


# What goes in


def as_floats(video):
    return video / np.float32(255)


def as_doubles(video):
    return video / 255


def as_list(video):
    return list(video)


def as_generator(video):
    return (frame for frame in video)


def as_mirrored_view(video):
    return np.ascontiguousarray(video[:, :, ::-1])[:, :, ::-1]


@pytest.mark.parametrize("form", [as_floats, as_doubles, as_list, as_generator, as_mirrored_view])
def test_every_form_of_the_frames_gives_the_same_tracks(run, video, form):
    points = at(2, random_points(3, video))
    expected = run(video, points)
    found = run(form(video), points)
    np.testing.assert_array_equal(found.xy, expected.xy)
    np.testing.assert_array_equal(found.confidence, expected.confidence)


def test_a_path(run, video, video_file):
    tracks = run(video_file, random_points(3, video))
    assert tracks.xy.shape == (3, len(video), 2)
    assert tracks.fps == 25
    np.testing.assert_array_equal(run(str(video_file), random_points(3, video)).xy, tracks.xy)


def test_times_are_those_of_the_video(run, video, video_file):
    np.testing.assert_allclose(run(video_file, [[5, 5]]).times, np.arange(len(video)) / 25, atol=1e-9)
    assert run(video, [[5, 5]]).times is None


def test_frames_that_were_taken_before_count_for_nothing(run, video, video_file):
    with open_frames(video_file) as source:
        next(source)
        next(source)
        tracks = run(source, [[5, 5]])
    assert tracks.num_frames == len(video) - 2
    np.testing.assert_allclose(tracks.times, np.arange(2, len(video)) / 25, atol=1e-9)


@pytest.mark.parametrize("points", [[[5, 5]], np.zeros((0, 2))], ids=["a point", "no points"])
def test_frames_that_were_all_taken_before_are_an_error(run, video, points):
    source = open_frames(iter(video))
    assert len(list(source)) == len(video)
    with pytest.raises(FramesError, match="all read before; open the video again"):
        run(source, points)


def test_a_rate_may_be_given_to_what_has_none_or_another(run, video, video_file):
    for frames in (video, video_file, iter(video)):
        tracks = run(frames, [[5, 5]], fps=50)
        assert tracks.fps == 50
        np.testing.assert_allclose(tracks.times, np.arange(len(video)) / 50)
    with pytest.raises(FramesError, match="fps must be a positive number of frames per second, got 0"):
        run(video, [[5, 5]], fps=0)


def test_the_rate_of_uneven_frames_is_their_mean(run, video, tmp_path):
    times = [0, 0.04, 0.08, 1, 2, 3]
    with VideoWriter(tmp_path / "uneven.mkv", 25, video.shape[1:3]) as writer:
        for frame, time in zip(video, times, strict=True):
            writer.write(frame, time)
    tracks = run(tmp_path / "uneven.mkv", [[5, 5]])
    np.testing.assert_allclose(tracks.times, times, atol=1e-3)
    assert tracks.fps == pytest.approx(5 / 3, rel=1e-3)


def test_a_generator_is_read_one_frame_at_a_time(run):
    """And let go of: however long the video, only a frame or two of it exist."""
    alive = weakref.WeakSet()
    most = 0

    def frames():
        nonlocal most
        for image in moving_texture(12):
            frame = Frame(image)
            alive.add(frame)
            most = max(most, len(alive))
            yield frame
            del frame, image

    class Frame:
        def __init__(self, image):
            self.image = image.copy()

        def __array__(self, dtype=None, copy=None):
            return self.image

    tracks = run(frames(), [[40, 24]])
    assert tracks.num_frames == 12
    assert most <= 2


def test_a_point_beyond_what_a_video_declares_is_tracked_if_the_frame_is_there(run, video, tmp_path):
    path = tmp_path / "video.mp4"
    with av.open(str(path), "w", options={"movflags": "frag_keyframe"}) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "4"})
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for image in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    last = len(video) - 1
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames < last
    assert run(path, [[last, 40, 24]]).num_frames == len(video)
    with pytest.raises(PointsError, match=rf"t must be in \[0, {last}\]"):
        run(path, [[len(video), 40, 24]])


def test_a_generator_that_fails_fails_the_call(run, video):
    def frames():
        yield video[0]
        raise OSError("the camera is gone")

    with pytest.raises(OSError, match="the camera is gone"):
        run(frames(), [[1, 1]])


# What ends early hands over what was tracked


def then(frames, error):
    yield from frames
    raise error


@pytest.mark.parametrize(
    "error", [FramesError("damaged"), OSError("gone"), MemoryError(), KeyboardInterrupt(), SystemExit()], ids=repr
)
def test_what_the_frames_raise_carries_the_tracks_before_it(run, video, error):
    points = random_points(3, video)
    with pytest.raises(type(error)) as caught:
        run(then(video[:4], error), points)
    assert caught.value is error
    expected = run(video[:4], points)
    np.testing.assert_array_equal(error.tracks.xy, expected.xy)
    np.testing.assert_array_equal(error.tracks.confidence, expected.confidence)


@pytest.mark.parametrize("join", ["query", "start"])
def test_points_are_tracked_backwards_from_where_the_frames_end(model, video, tmp_path, join):
    joined = copy_artifact(model, tmp_path / "joined", lambda table: table["points"].update(join=join))
    points = [[0, 40, 20], [2, 5, 6], [3, 70, 9], [5, 9, 9]]
    with pytest.raises(FramesError) as caught:
        track(then(video[:4], FramesError("damaged")), points, joined, backend=FUSED)
    expected = track(video[:4], points[:3], joined, backend=FUSED)
    found = caught.value.tracks
    np.testing.assert_allclose(found.xy[:3], expected.xy, atol=EXACT)
    np.testing.assert_allclose(found.confidence[:3], expected.confidence, atol=SEEN)
    np.testing.assert_array_equal(found.xy[3], [[9, 9]] * 4)
    assert not found.confidence[3].any()


def test_what_the_engine_raises_carries_the_tracks_before_it(run, video, monkeypatch):
    advance, calls = Stream.advance, []

    def advance_twice(*arguments):
        calls.append(1)
        if len(calls) > 2:
            raise BackendError("onnxruntime failed")
        return advance(*arguments)

    monkeypatch.setattr(Stream, "advance", advance_twice)
    with pytest.raises(BackendError) as caught:
        run(video, [[1, 1]])
    assert caught.value.tracks.num_frames == 2


def test_before_the_first_frame_there_are_no_tracks(run, video):
    for error in (FramesError("damaged"), OSError("gone")):
        with pytest.raises(type(error)) as caught:
            run(then([], error), [[1, 1]])
        assert getattr(caught.value, "tracks", None) is None
    with pytest.raises(PointsError) as refused:
        run(video, [[-1, 1]])
    assert refused.value.tracks is None


def test_a_query_beyond_the_end_does_not_cost_the_others_their_tracks(run, video):
    with pytest.raises(PointsError) as caught:
        run(iter(video), [[0, 1, 1], [6, 1, 1]])
    assert caught.value.tracks.xy.shape == (2, 6, 2)


# Outputs


def test_an_output_that_would_replace_an_input_is_refused(model, video_file, tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("1.png", "out.npz"):
        (tmp_path / "images" / name).write_bytes(b"")
    check_output(tmp_path / "out.mp4", video_file, tmp_path / "images", model, "tapir", np.zeros(3), None)
    check_output(tmp_path / "images" / "out.npz", tmp_path / "images")
    for output in (video_file, tmp_path / "images" / "1.png", model / "manifest.json"):
        with pytest.raises(SaveError, match="it would replace an input"):
            check_output(output, np.zeros(3), video_file, tmp_path / "images", str(model))


def test_inputs_may_be_patterns_and_lists(tmp_path, monkeypatch):
    image = tmp_path / "1.png"
    image.write_bytes(b"")
    monkeypatch.setenv("HOME", str(tmp_path))
    for inputs in (str(tmp_path / "*.png"), [tmp_path / "0.png", image], "~/1.png"):
        with pytest.raises(SaveError, match="it would replace an input"):
            check_output(image, inputs)
        check_output(tmp_path / "2.npz", inputs)


@pytest.mark.parametrize("size", [(80, 45), (1, 1), (1, 200), (200, 2)], ids=str)
def test_frames_of_any_shape(run, size):
    video = moving_texture(3, *size)
    tracks = run(video, [[1, 1, 1], [2, size[1], size[0]]])
    assert np.isfinite(tracks.xy).all()


@pytest.mark.parametrize("points", [[[0, 5, 6]], [[5, 6]]])
def test_a_video_of_one_frame(run, video, points):
    tracks = run(video[:1], points)
    np.testing.assert_array_equal(tracks.xy, [[[5, 6]]])
    assert tracks.visible.all()


@pytest.mark.parametrize("none", [[], np.zeros((0, 2)), np.zeros((0, 3), np.float32)])
def test_no_points(run, video, none):
    tracks = run(video, none)
    assert tracks.xy.shape == (0, 6, 2)
    assert tracks.queries.shape == (0, 3)


def test_a_thousand_points(run, video):
    points = random_points(1000, video)
    tracks = run(video[:2], points)
    assert tracks.xy.shape == (1000, 2, 2)
    alone = run(video[:2], points[[17, 900]])
    np.testing.assert_allclose(tracks.xy[[17, 900]], alone.xy, atol=EXACT)


@pytest.mark.parametrize(
    "query_format, row", [("txy", [2, 60, 30]), ("tyx", [2, 30, 60]), ("xyt", [60, 30, 2])], ids=str
)
def test_query_formats(run, video, query_format, row):
    tracks = run(video, [row], query_format=query_format)
    np.testing.assert_array_equal(tracks.queries, [[2, 60, 30]])
    np.testing.assert_array_equal(tracks.xy[0, 2], [60, 30])


def test_two_columns_are_x_and_y_on_the_first_frame_in_every_format(run, video):
    tracks = run(video, [[60, 30]], query_format="tyx")
    np.testing.assert_array_equal(tracks.queries, [[0, 60, 30]])


def test_the_resolution_is_the_callers_choice(run, video):
    xy = {r: run(video[:3], [[5, 5]], resolution=r).xy for r in (128, (96, 160), (64, 64))}
    np.testing.assert_array_equal(xy[128], xy[96, 160])  # a side is one of a square of the same area
    assert not np.array_equal(xy[128], xy[64, 64])


def test_progress_bars_change_nothing(run, video, capsys):
    points = at(3, random_points(2, video))
    np.testing.assert_array_equal(run(video, points, progress=True).xy, run(video, points).xy)
    out, err = capsys.readouterr()
    assert out == ""
    assert "tracking" in err, "a bar is shown, though this is no terminal"


# A point is on its own


@pytest.mark.parametrize("plan", PLANS)
def test_a_track_depends_on_no_other_point(run, video, plan):
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.integers(0, 6, (8, 1)), random_points(8, video)], 1)
    backend = f"onnxruntime:{plan}"
    together = run(video, points, backend=backend)
    for some in ([0], [5, 2], [7, 6, 5, 4, 3, 2, 1, 0]):
        apart = run(video, points[some], backend=backend)
        np.testing.assert_allclose(apart.xy, together.xy[some], atol=EXACT)
        np.testing.assert_allclose(apart.confidence, together.confidence[some], atol=SEEN)


@pytest.mark.parametrize("plan", PLANS)
def test_many_points_are_tracked_in_groups_and_no_track_changes(run, video, monkeypatch, plan):
    xy = random_points(30, video)
    points = np.concatenate([np.arange(30)[:, None] % len(video), xy], axis=1)
    together = run(video, points, backend=f"onnxruntime:{plan}")
    monkeypatch.setattr(stream_module, "POINTS_AT_ONCE", 7)
    grouped = run(video, points, backend=f"onnxruntime:{plan}")
    np.testing.assert_allclose(grouped.xy, together.xy, atol=EXACT)
    np.testing.assert_allclose(grouped.confidence, together.confidence, atol=SEEN)
    np.testing.assert_array_equal(grouped.visible, together.visible)


def test_more_points_than_a_fixed_shape_takes_are_tracked_in_groups(model, tmp_path, video):
    buckets = {"onnx": [4, 16]}
    fixed = copy_artifact(model, tmp_path / "fixed", lambda manifest: manifest["points"].update(buckets=buckets))
    points = random_points(21, video)
    found = track(video, points, fixed, backend=FUSED)
    np.testing.assert_allclose(found.xy, track(video, points, model, backend=FUSED).xy, atol=EXACT)


def test_points_that_see_each_other_are_tracked_together(model, video, tmp_path, monkeypatch):
    attend = copy_artifact(model, tmp_path / "attend", lambda manifest: manifest["points"].pop("independent"))
    together = []
    advance = Stream.advance

    def counted(self, frame, size, added, delay=None):
        together.append(len(added))
        return advance(self, frame, size, added, delay)

    monkeypatch.setattr(Stream, "advance", counted)
    monkeypatch.setattr(stream_module, "POINTS_AT_ONCE", 7)
    track(video, random_points(20, video), attend, backend=FUSED)
    assert together == [20, *[0] * (len(video) - 1)]


def test_queries_on_different_frames_are_separate_calls_in_one(run, video):
    points = [at(t, random_points(2, video, seed=t)) for t in (4, 0, 2)]
    together = run(video, np.concatenate(points))
    for i, some in enumerate(points):
        apart = run(video, some)
        np.testing.assert_allclose(together.xy[2 * i : 2 * i + 2], apart.xy, atol=EXACT)
        np.testing.assert_allclose(together.confidence[2 * i : 2 * i + 2], apart.confidence, atol=SEEN)


# Time


def test_a_query_on_the_last_frame_is_tracked_backwards(run, video):
    points = random_points(4, video)
    backwards = run(video, at(5, points))
    forwards = run(video[::-1], points)
    np.testing.assert_array_equal(backwards.xy, forwards.xy[:, ::-1])
    np.testing.assert_array_equal(backwards.confidence, forwards.confidence[:, ::-1])
    np.testing.assert_array_equal(backwards.visible, forwards.visible[:, ::-1])


def test_a_query_in_between_is_both(run, video):
    points = random_points(4, video)
    both = run(video, at(2, points))
    after, before = run(video[2:], points), run(video[2::-1], points)
    np.testing.assert_array_equal(both.xy[:, 2:], after.xy)
    np.testing.assert_array_equal(both.xy[:, :3], before.xy[:, ::-1])


def test_track_is_the_tracker_step_by_step(run, model, video):
    points = random_points(4, video)
    tracker = Tracker(model, FUSED, points=4)
    tracker.add(points)
    steps = [tracker.step(frame) for frame in video]
    tracks = run(video, points)
    np.testing.assert_array_equal(tracks.xy, np.concatenate([s.xy for s in steps], 1))
    np.testing.assert_array_equal(tracks.confidence, np.concatenate([s.confidence for s in steps], 1))


@pytest.mark.parametrize("spool_bytes", [1, 100_000])
def test_frames_for_the_way_back_may_lie_on_disk(run, video, monkeypatch, spool_bytes):
    points = np.concatenate([at(5, random_points(2, video)), at(1, random_points(2, video))])
    expected = run(video, points)
    monkeypatch.setattr(whole_video, "SPOOL_BYTES", spool_bytes)
    found = run(video, points)
    np.testing.assert_array_equal(found.xy, expected.xy)
    np.testing.assert_array_equal(found.confidence, expected.confidence)


def test_no_room_for_the_way_back(run, video, monkeypatch):
    class FullDisk:
        def write(self, data):
            raise OSError(28, "No space left on device")

        def close(self):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", FullDisk)
    monkeypatch.setattr(whole_video, "SPOOL_BYTES", 0)
    with pytest.raises(SaveError, match=r"could not keep the frames .*: No space left on device; make room"):
        run(video, [[5, 1, 1]])


def test_only_frames_up_to_the_last_query_are_kept(run, video, monkeypatch):
    kept = []
    append = Spool.append
    monkeypatch.setattr(Spool, "append", lambda self, frame: (kept.append(1), append(self, frame)))
    run(video, [[1, 1]])
    assert len(kept) == 0
    run(video, [[1, 1, 1], [3, 1, 1]])
    assert len(kept) == 4


def test_an_interruption_leaves_what_was_tracked(model, video):
    """As the command line uses it: a run outlives a KeyboardInterrupt."""
    from tapsdk import load
    from tapsdk.points import parse_query_points

    points = np.float32([[0, 9, 9], [1, 8, 8], [4, 7, 7]])

    def interrupted():
        yield from video[:3]
        raise KeyboardInterrupt

    source = open_frames(interrupted())
    query = parse_query_points(points, frame_size=source.size)
    run = whole_video.CausalRun(load(model, backend=FUSED), source, query)
    assert run.tracks().num_frames == 0
    with pytest.raises(KeyboardInterrupt):
        run.run()
    tracks = run.tracks()
    whole = track(video, points, model, backend=FUSED)
    assert tracks.xy.shape == (3, 3, 2)
    np.testing.assert_allclose(tracks.xy[0], whole.xy[0, :3], atol=EXACT)
    np.testing.assert_allclose(tracks.xy[1, 1:], whole.xy[1, 1:3], atol=EXACT)
    assert not tracks.visible[2].any()  # its frame was not reached
    np.testing.assert_array_equal(tracks.xy[2], [[7, 7]] * 3)


# What is refused


@pytest.mark.parametrize(
    "points, complaint",
    [
        ([[0, 81, 1]], r"points\[0\]: x = 81, but x must be in \[0, 80\]: the frame is 80 x 48 pixels"),
        ([[0, 1, 1], [0, 1, -0.5]], r"points\[1\]: y = -0\.5"),
        ([[np.nan, 1]], "NaN"),
        ([[6, 1, 1]], r"points\[0\]: t = 6, but t must be in \[0, 5\]: the video has 6 frames"),
        ([[-1, 1, 1]], "t must be 0"),
        ([[0.5, 1, 1]], "t is the index of a frame"),
        ([1, 1], r"write a single point as \[\[x, y\]\]"),
        (np.zeros((2, 4)), r"must have shape \[N, 3\] or \[N, 2\] \(x, y\), got \[2, 4\]"),
        ("points", "must be ints or floats"),
        (None, "must be ints or floats"),
    ],
)
def test_points_that_cannot_be(run, video, points, complaint):
    with pytest.raises(PointsError, match=complaint):
        run(video, points)


def test_a_query_beyond_the_end_of_a_generator(run, video):
    with pytest.raises(PointsError, match=r"points\[1\]: t = 6, but t must be in \[0, 5\]: the video has 6 frames"):
        run(iter(video), [[0, 1, 1], [6, 1, 1]])


@pytest.mark.parametrize(
    "frames, complaint",
    [
        (np.zeros((0, 48, 80, 3), np.uint8), "the video has no frames"),
        ([], "the video has no frames"),
        (iter([]), "the video has no frames"),
        (np.zeros((48, 80, 3), np.uint8), r"pass a single frame as frames\[None\]"),
        (np.zeros((2, 3, 48, 80), np.uint8), "put the channels last"),
        (np.zeros((2, 48, 80, 3), np.int64), "must be uint8 in"),
        (np.full((2, 48, 80, 3), 200.0), "divide frames"),
        (None, "got NoneType: pass an array"),
        ("nothing.mp4", r"nothing\.mp4: no such file"),
    ],
)
def test_frames_that_cannot_be(run, frames, complaint):
    with pytest.raises(FramesError, match=complaint):
        run(frames, [[0, 0]])


def test_a_frame_of_another_size_in_the_middle(run, video):
    with pytest.raises(FramesError, match="frame 2 is 9 x 9 pixels, but the frames before it are 80 x 48"):
        run(itertools.chain(video[:2], [np.zeros((9, 9, 3), np.uint8)]), [[1, 1]])


@pytest.mark.parametrize("options", [{"query_format": "yxt"}, {"query_format": ""}])
def test_an_unknown_query_format(run, video, options):
    with pytest.raises(PointsError, match=r"unknown query_format .*; use one of txy, tyx, xyt"):
        run(video, [[0, 1, 1]], **options)


@pytest.mark.parametrize("resolution", [1, (100, 100), 4096])
def test_a_resolution_that_the_model_cannot_work_at(run, video, resolution):
    with pytest.raises(ModelError, match="resolution must be a side, or"):
        run(video, [[1, 1]], resolution=resolution)


def test_an_unknown_model_and_an_unknown_backend(video):
    with pytest.raises(ModelError, match="unknown model"):
        track(video, [[1, 1]], "tapir/huge")
    with pytest.raises(BackendError, match="unknown backend"):
        track(video, [[1, 1]], backend="cuda")


# Which backend


def test_a_report_says_what_was_measured_and_what_could_not_run(run, video, monkeypatch):
    monkeypatch.setitem(
        BACKENDS, "absent", EngineInfo("no_such_engine", "no_such_engine", "pip install 'tapsdk[absent]'")
    )
    report = run(video, [[5, 5]], backend="auto").report
    assert any(report.backend.startswith(name.partition(":")[0]) for name in report.milliseconds)
    assert report.milliseconds["onnxruntime:fused"] > 0
    assert "pip install 'tapsdk[absent]'" in report.refused["absent"]
    assert run(video, [[5, 5]]).report.milliseconds == {}


def test_a_report_is_kept_with_the_tracks(run, video, tmp_path):
    tracks = run(video, [[5, 5]], backend="onnxruntime")
    for name in ("tracks.npz", "tracks.json"):
        tracks.save(tmp_path / name)
        assert tracks.load(tmp_path / name).report == tracks.report


def test_strict_measures_what_was_named(run, video):
    assert run(video, [[5, 5]], strict=True).report.milliseconds.keys() == {FUSED}


@pytest.mark.parametrize("backend", [FUSED, "auto"])
def test_strict_fails_if_something_that_is_installed_gives_other_tracks(run, video, monkeypatch, tmp_path, backend):
    monkeypatch.setenv("TAPSDK_CACHE", str(tmp_path))
    monkeypatch.setattr(probe_cache, "_remembered", {})
    monkeypatch.setattr(Difference, "complaint", lambda self, precision: "its tracks are off by 99 px")
    with pytest.raises(BackendError, match=r"^strict: .*onnxruntime:fused.*: its tracks are off by 99 px"):
        run(video, [[5, 5]], backend=backend, strict=True)
    with pytest.raises(BackendError, match=r"^strict: "):
        Tracker(run.model, backend, strict=True)


def test_more_points_than_an_artifact_takes_shows_before_the_video_is_read(model, tmp_path, video):
    points = {"buckets": {"onnx": [4, 16]}, "independent": False}
    fixed = copy_artifact(model, tmp_path / "fixed", lambda manifest: manifest["points"].update(points))
    read = []

    def frames():
        for frame in video:
            read.append(frame)
            yield frame

    with pytest.raises(BackendError, match="17 points are too many: this artifact takes 16 at most"):
        track(frames(), random_points(17, video), fixed, backend=FUSED)
    assert len(read) <= 1  # for the size


def test_progress_is_told_to_a_function():
    told = []
    frames = moving_texture(5, 48, 64)
    track(frames, [[2, 20, 20]], backend="onnxruntime:native", progress=lambda *what: told.append(what))
    assert told[:5] == [("tracking", done, 5) for done in range(1, 6)]
    assert [label for label, _, _ in told[5:]] == ["tracking backwards"] * (len(told) - 5)
    track(iter(frames), [[0, 20, 20]], backend="onnxruntime:native", progress=lambda *what: told.append(what))
    assert told[-1] == ("tracking", 5, None)


def test_what_a_progress_function_raises_ends_the_work_and_what_was_tracked_is_kept():
    def stop(label, done, total):
        if done == 3:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough") as caught:
        track(moving_texture(5, 48, 64), [[20, 20]], backend="onnxruntime:native", progress=stop)
    assert caught.value.tracks.num_frames == 3
