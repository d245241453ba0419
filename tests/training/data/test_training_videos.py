"""Labelled videos as a source of clips: any one by its number, cut to one shape, with tracks that fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tapsdk.errors import SaveError
from training.data import training_videos
from training.data.errors import DatasetError
from training.data.labelled_video import LabelledVideo
from training.data.training_videos import ClipShape, cut_clip, unpack

SHAPE = ClipShape(4, (16, 24), 6)
RNG = np.random.default_rng


def video(frames: int = 9, height: int = 32, width: int = 48, points: int = 3, name: str = "v") -> LabelledVideo:
    """Every pixel says its frame and where it is; points stand still, and the first is seen on frame 5 alone."""
    y, x = np.mgrid[:height, :width]
    picture = np.stack([4 * x, 4 * y], -1).clip(0, 255)
    stack = np.stack([np.dstack([picture, np.full_like(x, 10 * t)]) for t in range(frames)]).astype(np.uint8)
    start = RNG(0).uniform(8, 24, (points, 1, 2))
    xy = np.repeat(start, frames, 1).astype(np.float32)
    visible = np.ones((points, frames), bool)
    visible[:1] = np.arange(frames) == 5
    xy[~visible] = np.nan
    return LabelledVideo(stack, xy, visible, name=name)


def test_what_is_read_is_what_was_unpacked(tmp_path: Path) -> None:
    first, second = video(name="a"), video(frames=6, name="b")
    videos = unpack([first, second], SHAPE, tmp_path)
    assert len(videos) == 2
    found = videos.read(1, RNG(0))
    np.testing.assert_array_equal(found.frames, second.frames)
    np.testing.assert_array_equal(found.visible, second.visible)
    assert found.annotated.all()


def test_hidden_points_move_in_straight_lines_between_where_they_were_seen(tmp_path: Path) -> None:
    clip = video(points=1)
    xy, visible = np.zeros_like(clip.xy), np.zeros_like(clip.visible)
    xy[0, 2], xy[0, 6], visible[0, [2, 6]] = (10, 4), (18, 0), True
    found = unpack([LabelledVideo(clip.frames, xy, visible)], SHAPE, tmp_path).read(0, RNG(0))
    assert found.xy[0].tolist() == [[10, 4], [10, 4], [10, 4], [12, 3], [14, 2], [16, 1], [18, 0], [18, 0], [18, 0]]


def test_points_that_are_never_seen_are_left_out(tmp_path: Path) -> None:
    clip = video()
    clip.visible[1] = False
    assert unpack([clip], SHAPE, tmp_path).read(0, RNG(0)).xy.shape == (2, 9, 2)


def test_large_videos_are_kept_small_enough_for_crops(tmp_path: Path) -> None:
    large = video(height=64, width=256)
    found = unpack([large], SHAPE, tmp_path).read(0, RNG(0))
    assert found.frames.shape == (9, 32, 128, 3)
    np.testing.assert_allclose(found.xy[1], large.xy[1] / 2)


def test_videos_that_are_too_short_or_show_nothing_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hidden = video(name="hidden")
    hidden.visible[:] = False
    assert len(unpack([video(frames=3, name="short"), hidden, video()], SHAPE, tmp_path)) == 1
    assert [record.args[0] for record in caplog.records] == ["short", "hidden"]
    with pytest.raises(DatasetError, match="none of the videos has 4 frames and a visible point"):
        unpack([hidden], SHAPE, tmp_path)


def test_a_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training_videos.np, "save", full)
    with pytest.raises(SaveError, match="No space left on device; make room"):
        unpack([video()], SHAPE, tmp_path)


@pytest.mark.parametrize("crops", [0.0, 1.0])
def test_a_clip_is_consecutive_frames_with_queries_on_visible_points(crops: float) -> None:
    whole = video()
    whole.xy[0] = whole.xy[0, 5]
    for seed in range(20):
        clip = cut_clip(whole, SHAPE, RNG(seed), crops)
        assert clip.frames.shape == (4, 16, 24, 3)
        assert clip.xy.shape == (6, 4, 2) and clip.visible.shape == (6, 4)
        times = clip.frames[:, 8, 12, 2] // 10
        assert (np.diff(times.astype(int)) == 1).all()
        t, rows = clip.queries[:, 0].astype(int), np.arange(6)
        assert clip.visible[rows, t].all()
        np.testing.assert_array_equal(clip.queries[:, 1:], clip.xy[rows, t])
        # Where a point is, the picture still says where it was in the video.
        x, y = clip.xy[:, 0].T
        column, row = (np.floor(v).astype(int).clip(0, side - 1) for v, side in ((x, 24), (y, 16)))
        said = clip.frames[0, row, column, :2] / 4 + 0.5
        error = np.abs(said[:, None] - whole.xy[None, :, 0]).max(-1).min(-1)
        assert error.max() < 3


def test_points_are_asked_for_where_they_are_first_seen_or_anywhere() -> None:
    whole = video()
    whole.xy[0] = whole.xy[0, 5]
    first = [cut_clip(whole, SHAPE, RNG(seed)) for seed in range(20)]
    assert all((clip.queries[:, 0] == clip.visible.argmax(1)).all() for clip in first)
    anywhere = [cut_clip(whole, replace(SHAPE, random_queries=True), RNG(seed)) for seed in range(20)]
    assert {int(t) for clip in anywhere for t in clip.queries[:, 0]} == {0, 1, 2, 3}
    assert all(clip.visible[np.arange(6), clip.queries[:, 0].astype(int)].all() for clip in anywhere)


def test_clips_come_from_all_over_a_video() -> None:
    whole = video()
    whole.xy[0] = whole.xy[0, 5]
    starts = {int(cut_clip(whole, SHAPE, RNG(seed)).frames[0, 0, 0, 2]) // 10 for seed in range(40)}
    assert starts == set(range(6))


def test_a_clip_shows_a_point_where_a_video_shows_one_seldom() -> None:
    whole = video(frames=60, points=1)
    whole.xy[0] = whole.xy[0, 5]
    clips = [cut_clip(whole, SHAPE, RNG(seed), crops=1.0) for seed in range(10)]
    assert all(clip.visible.sum(axis=1).tolist() == [1] * 6 for clip in clips)


def test_what_nobody_looked_at_stays_unknown() -> None:
    whole = video(points=2)
    sparse = np.arange(9) == 5
    whole = LabelledVideo(whole.frames, whole.xy, whole.visible & sparse, annotated=sparse)
    clip = cut_clip(whole, SHAPE, RNG(0))
    assert clip.annotated.sum() == 1 and clip.visible[:, ~clip.annotated].sum() == 0


def test_a_video_that_is_too_short_is_refused() -> None:
    with pytest.raises(DatasetError, match="v has no 4 frames with a visible point"):
        cut_clip(video(frames=3), SHAPE, RNG(0))
