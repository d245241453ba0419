"""A model that looks now and then: what happens in between, and when it looks."""

from dataclasses import replace

import numpy as np
import pytest

import tapsdk
from tapsdk.errors import ModelError
from tapsdk.runtime.options import RunOptions
from tapsdk.runtime.pace import MOST, PREFIX, REAL_TIME, Between, Following, Pacer, check_pace
from tapsdk.selection.reference import DRIFT, moving_pattern

PLANS = ["onnxruntime:native", "onnxruntime:fused"]
FRAMES, POINTS = 11, 12
VIDEO, XY = moving_pattern((192, 336), FRAMES, POINTS)
TRUTH = XY[:, None] - np.arange(FRAMES, dtype=np.float32)[:, None] * np.float32(DRIFT[::-1])


@pytest.fixture(params=PLANS)
def model(request):
    return tapsdk.load(backend=request.param, threads=1)


@pytest.fixture
def looks(model, monkeypatch):
    """The frames that the model looked at, as they come."""
    seen, step = [], type(model.plan).step

    def watched(plan, frame, *args):
        seen.append(frame)
        return step(plan, frame, *args)

    monkeypatch.setattr(type(model.plan), "step", watched)
    return seen


def inside(margin=12):
    """[N] points that stay in the video, and away from its borders."""
    return ((margin < TRUTH) & (np.float32([336 - margin, 192 - margin]) > TRUTH)).all((1, 2))


@pytest.mark.parametrize(("pace", "count"), [(1, 11), (2, 6), (4, 3), (100, 1)])
def test_it_looks_at_every_kth_frame(model, looks, pace, count):
    tracks = tapsdk.track(VIDEO, XY, model=model, pace=pace)
    assert len(looks) == count
    assert tracks.report.pace == pace


@pytest.mark.parametrize("pace", [2, 4])
def test_points_are_where_they_are_in_every_frame(model, pace):
    tracks = tapsdk.track(VIDEO, XY, model=model, pace=pace)
    assert inside().sum() >= 5
    assert np.linalg.norm(tracks.xy - TRUTH, axis=-1)[inside()].max() < 1.5
    assert tracks.visible[inside()].all()


def test_positions_between_are_never_surer_than_the_look_before(model):
    noise = np.random.default_rng(0).integers(0, 255, VIDEO.shape, np.uint8)
    video = np.where(np.arange(FRAMES)[:, None, None, None] % 4 == 2, noise, VIDEO)
    confidence = tapsdk.track(video, XY, model=model, pace=4).confidence
    for look in range(0, FRAMES, 4):
        between = confidence[:, look : look + 4]
        assert (np.diff(between, axis=1) <= 0).all()
    assert (confidence[:, 2] < confidence[:, 1]).mean() > 0.8  # nothing leads on to what the noise shows


def test_a_point_that_joins_is_looked_at_at_once(model, looks):
    tracker = tapsdk.Tracker(model, pace=4)
    tracker.add(XY[:3])
    tracker.step(VIDEO[0])
    tracker.step(VIDEO[1])
    assert len(looks) == 1
    tracker.add(XY[3:4] - np.float32(DRIFT[::-1]) * 2)
    tracks = tracker.step(VIDEO[2])
    assert len(looks) == 2
    assert tracks.confidence[3, 0] == 1
    for t in (3, 4, 5, 6):
        tracks = tracker.step(VIDEO[t])
    assert len(looks) == 3
    assert np.linalg.norm(tracks.xy[:, 0] - TRUTH[:4, 6], axis=-1).max() < 1.5


def test_what_is_saved_between_two_looks_goes_on_as_it_would_have(model, tmp_path):
    tracker = tapsdk.Tracker(model, pace=4)
    tracker.add(XY)
    for t in range(3):
        tracker.step(VIDEO[t])
    tracker.save(tmp_path / "tracker.npz")
    again = tapsdk.Tracker.load(tmp_path / "tracker.npz", model=model, pace=4)
    for t in range(3, 7):
        expected, found = tracker.step(VIDEO[t]), again.step(VIDEO[t])
        np.testing.assert_array_equal(found.xy, expected.xy)
        np.testing.assert_array_equal(found.confidence, expected.confidence)


def test_points_that_are_removed_between_looks_change_nothing_for_others(model):
    def run(remove):
        tracker = tapsdk.Tracker(model, pace=4)
        tracker.add(XY)
        for t in range(7):
            if t == 2 and remove:
                tracker.remove([0, 5])
            tracks = tracker.step(VIDEO[t])
        return tracks

    kept = [i for i in range(POINTS) if i not in (0, 5)]
    np.testing.assert_allclose(run(True).xy, run(False).xy[kept], atol=1e-4)


def test_points_of_another_tracker_are_looked_at_in_the_next_frame(model, looks):
    tracker, late = tapsdk.Tracker(model, pace=4), tapsdk.Tracker(model, pace=4)
    tracker.add(XY[:2])
    late.add(XY[2:4])
    for t in range(2):
        tracker.step(VIDEO[t])
        late.step(VIDEO[t])
    assert len(looks) == 2
    tracker.join(late)
    tracks = tracker.step(VIDEO[2])
    assert len(looks) == 3
    assert np.linalg.norm(tracks.xy[:, 0] - TRUTH[:4, 2], axis=-1).max() < 1.5


def test_nothing_to_track_needs_no_look(model):
    tracker = tapsdk.Tracker(model, pace=3)
    assert [tracker.step(frame).xy.shape for frame in VIDEO[:4]] == [(0, 1, 2)] * 4


def test_frames_before_a_query_are_followed_too(model):
    query = np.concatenate([np.full((POINTS, 1), 8, np.float32), TRUTH[:, 8]], 1)[inside()]
    tracks = tapsdk.track(VIDEO, query, model=model, pace=4)
    assert np.linalg.norm(tracks.xy - TRUTH[inside()], axis=-1).max() < 1.5


@pytest.mark.parametrize("pace", [0, -1, 2.5, True, None, "fast", "4"])
def test_what_is_no_pace_is_refused(pace):
    with pytest.raises(ModelError, match="pace is how often the model looks"):
        check_pace(pace)


def test_models_of_whole_videos_have_no_pace(exported_clip):
    with pytest.raises(ModelError, match="looks at all frames of a video at once"):
        tapsdk.track(VIDEO, XY, model=exported_clip, pace=2)


def test_models_that_count_frames_have_none_either(model):
    manifest = replace(model.manifest, points=replace(model.manifest.points, join="start"))
    counting = replace(model, artifact=replace(model.artifact, manifest=manifest), options=RunOptions(pace=2))
    with pytest.raises(ModelError, match="has to see every frame"):
        counting.stream()


@pytest.mark.parametrize(
    ("look", "between", "every"),
    [(0.02, 0.001, 1), (0.1, 0.01, 4), (0.04, 0.01, 2), (9.0, 0.01, MOST), (0.1, 0.05, MOST)],
)
def test_real_time_looks_as_seldom_as_it_must(look, between, every):
    pacer = Pacer(REAL_TIME, rate=30)
    for _ in range(40):
        pacer.took(look, looked=True)
        pacer.took(between, looked=False)
    assert pacer.every == every


def test_real_time_looks_at_first():
    assert Pacer(REAL_TIME).every == 1


def between(count=2):
    xy, certainty = np.full((count, 2), 30, np.float32), np.ones(count, np.float32)
    return Between(np.zeros((1, 64, 64, 3), np.float32), xy, certainty, certainty, 1)


def picture():
    """[1, 64, 64, 3] with much to follow."""
    return np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)).repeat(4, 1).repeat(4, 2).astype(np.float32)


def seen(image, xy, certainty):
    sure = np.float32(certainty)
    return Between(image, np.float32(xy), sure, (sure > 0.5).astype(np.float32))


def test_a_point_that_was_not_visible_goes_with_those_around_it():
    image = picture()
    last = seen(image, [[30, 30], [32, 30], [3, 60]], [1, 0.4, 0.4])
    found = last.followed(np.roll(image, 2, 2), (64, 64), 0.5, Following(), None)
    np.testing.assert_allclose(found.xy, [[32, 30], [34, 30], [3, 60]], atol=0.1)
    assert found.lost.tolist() == [False, True, True]
    assert found.since == 1


def test_a_point_that_the_picture_does_not_lead_on_is_lost_and_less_sure():
    image = picture()
    found = seen(image, [[30, 30]], [1]).followed(picture()[:, ::-1, ::-1].copy(), (64, 64), 0.5, Following(), None)
    assert found.lost.all()
    assert 0.9 < found.certainty[0] < 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("xy", np.zeros((3, 2), np.float32)),
        ("xy", np.full((2, 2), np.nan, np.float32)),
        ("certainty", np.zeros(2, np.float64)),
        ("since", np.array(-1)),
        ("frame", np.zeros((64, 64, 3), np.float32)),
        ("other", np.zeros(1, np.float32)),
    ],
)
def test_saved_arrays_that_are_not_its_own_are_refused(name, value):
    with pytest.raises(ValueError, match="between looks"):
        Between.from_arrays({**between().to_arrays(), PREFIX + name: value}, 2)


def test_saved_arrays_of_others_are_given_back():
    kept, others = Between.from_arrays({**between().to_arrays(), "mine": np.zeros(1)}, 2)
    assert kept is not None
    assert list(others) == ["mine"]
    assert Between.from_arrays({}, 2) == (None, {})


@pytest.mark.parametrize("pace", ["0", "-2", "often"])
def test_the_command_line_refuses_it_in_a_sentence(pace, capsys):
    from tapsdk.commands.main import main

    with pytest.raises(SystemExit):
        main(["track", "v.mp4", "--grid", "2", "-o", "o.mp4", "--pace", pace])
    assert "--pace" in capsys.readouterr().err
